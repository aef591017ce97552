"""A run in words: its keys, their checks, its presets and its TOML file."""

from repdyn_keras.config.files import load_config, load_versions, to_toml, with_trust
from repdyn_keras.config.keys import Config, describe_keys, parse_value
from repdyn_keras.config.presets import resolve

__all__ = [
    "Config",
    "describe_keys",
    "load_config",
    "load_versions",
    "parse_value",
    "resolve",
    "to_toml",
    "with_trust",
]

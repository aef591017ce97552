"""A run in words: its keys, their checks, its presets and its TOML file."""

from repdyn_keras.config.files import (
    check_paths,
    load_config,
    load_versions,
    to_toml,
    with_trust,
)
from repdyn_keras.config.keys import Config, describe_keys, parse_value
from repdyn_keras.config.limits import require_memory
from repdyn_keras.config.paths import usable_path
from repdyn_keras.config.presets import resolve

__all__ = [
    "Config",
    "check_paths",
    "describe_keys",
    "load_config",
    "load_versions",
    "parse_value",
    "require_memory",
    "resolve",
    "to_toml",
    "usable_path",
    "with_trust",
]

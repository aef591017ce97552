"""The configuration of a run: keys and their checks, registries, presets and TOML files."""

from repdyn_keras.config.files import (
    check_paths,
    load_config,
    load_versions,
    to_toml,
    versions,
    with_trust,
)
from repdyn_keras.config.key_table import describe_keys
from repdyn_keras.config.keys import Config, parse_pairs, parse_value, values_of
from repdyn_keras.config.limits import require_memory, usable_path
from repdyn_keras.config.presets import ResolvedConfig, resolve
from repdyn_keras.config.registry import DATASETS, NETWORKS, OPTIMIZERS, SCHEDULES

__all__ = [
    "DATASETS",
    "NETWORKS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Config",
    "ResolvedConfig",
    "check_paths",
    "describe_keys",
    "load_config",
    "load_versions",
    "parse_pairs",
    "parse_value",
    "require_memory",
    "resolve",
    "to_toml",
    "usable_path",
    "values_of",
    "versions",
    "with_trust",
]

"""Defaults of unset keys, from the network, the optimizer and the preset."""

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from repdyn_keras.config.keys import Config
from repdyn_keras.config.registry import NETWORKS, OPTIMIZERS, Values
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted

EPOCHS = 102

if TYPE_CHECKING:

    class ResolvedConfig(Config):
        """A configuration with all defaults filled in. At run time it is a `Config`."""

        epochs: int
        data_seed: int
        learning_rate: float
        schedule: str
        batch_size: int

else:
    ResolvedConfig = Config


def resolve(config: Config) -> ResolvedConfig:
    """Fills in the unset keys from the network, the optimizer and the preset.

    Raises:
        InputError: the preset is unknown or belongs to another network.
    """
    network, optimizer = NETWORKS.find(config.model), OPTIMIZERS.find(config.optimizer)
    defaults: dict[str, Any] = {
        "epochs": EPOCHS,
        "data_seed": config.seed,
        **network.defaults,
        **network.training.get(config.optimizer, optimizer.defaults),
        **preset_values(config),
    }
    missing = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    return cast(ResolvedConfig, dataclasses.replace(config, **missing))


def preset_values(config: Config) -> Values:
    """The sizes of the configuration's preset; empty if it has none."""
    if config.preset is None:
        return {}
    presets = NETWORKS.find(config.model).presets
    if not presets:
        raise InputError(
            f"Expected no preset: the network {quoted(config.model)} has fixed sizes. Received: "
            f"preset = {quoted(config.preset)}."
        )
    if config.preset not in presets:
        raise unknown(f"preset of {config.model}", config.preset, presets)
    return presets[config.preset]

"""Builds the network of a configuration, with seeded initializers."""

from collections.abc import Callable
from typing import Any

import keras

from repdyn_keras.config import NETWORKS, Config, require_memory, values_of
from repdyn_keras.config.registry import import_object
from repdyn_keras.seeds import initializer_seeds

# Bytes per weight in training: the weight, its gradient and one moment, in float32.
BYTES_PER_WEIGHT = 12
# Lists with more numbers are described by their length.
MAX_NUMBERS = 8


def build_model(config: Config, image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Builds the network of a resolved configuration, with weights drawn from `config.seed`.

    Args:
        config: a resolved configuration.
        image_shape: (height, width, channels).
        n_classes: number of classes.

    Raises:
        InputError: the network does not accept images of this shape or exceeds the memory of the
            machine, or a user's network cannot be loaded or built.
    """
    require_memory_for_weights(config)
    entry = NETWORKS.find(config.model)
    return entry.load_factory()(
        image_shape=image_shape,
        n_classes=n_classes,
        seed=config.seed,
        **values_of(config, entry.keys),
    )


def require_memory_for_weights(config: Config) -> None:
    """Raises InputError if the weights and their training state exceed the machine's memory.

    Args:
        config: a resolved configuration.
    """
    entry = NETWORKS.find(config.model)
    if entry.weights is None:
        return
    sizes = values_of(config, entry.size_keys)
    weights = import_object(entry.weights)(**sizes)
    described = " and ".join(f"{name} = {describe_size(value)}" for name, value in sizes.items())
    require_memory(
        BYTES_PER_WEIGHT * weights, f"the {config.model} with {described}", " or ".join(sizes)
    )


def describe_size(value: object) -> str:
    """The value of a size key, for messages."""
    if isinstance(value, tuple) and len(value) > MAX_NUMBERS:
        return f"{len(value)} numbers"
    return str(value)


def recorded_layers(config: Config) -> str | None:
    """Regular expression of the layers to record: the configured one, or the network's default.

    None for a user's network without a configured expression: the recorder then chooses.
    """
    return config.layers or NETWORKS.find(config.model).layers


def block_layers(config: Config) -> str | None:
    """Regular expression of the recorded layers that are blocks of the network.

    None for a user's network, whose blocks are unknown.
    """
    return NETWORKS.find(config.model).blocks


def seeded(seed: int) -> Callable[..., keras.initializers.Initializer]:
    """Returns a function that creates initializers, each with a new seed derived from `seed`.

    Global random state is neither used nor changed, so the same seed always gives the same network.
    """
    seeds = initializer_seeds(seed)

    def initializer(kind: str = "he_normal", **options: Any) -> keras.initializers.Initializer:
        config = {"seed": next(seeds), **options}
        return keras.initializers.get({"class_name": kind, "config": config})

    return initializer

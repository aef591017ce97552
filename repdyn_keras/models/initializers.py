"""Initializers with a seed for each layer."""

from collections.abc import Callable
from typing import Any

import keras

from repdyn_keras.seeds import initializer_seeds


def seeded(seed: int) -> Callable[..., keras.initializers.Initializer]:
    """A function that creates initializers, each with its own seed derived from `seed`.

    Global random state is neither used nor changed: the same seed gives the same network, whatever
    was built before.
    """
    seeds = initializer_seeds(seed)

    def initializer(kind: str = "he_normal", **options: Any) -> keras.initializers.Initializer:
        config = {"seed": next(seeds), **options}
        return keras.initializers.get({"class_name": kind, "config": config})

    return initializer

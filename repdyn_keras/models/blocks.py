"""Pieces that both families of networks share."""

import keras


def seeded(seed: int):
    """A function that gives each layer an initializer seed of its own, drawn from `seed` alone.

    Nothing touches the global random state, so the same seed gives the same network whatever was
    built before it.
    """
    count = iter(range(10**9))

    def initializer(kind: str = "he_normal", **options):
        config = {"seed": (seed * 100_003 + next(count)) % 2**31, **options}
        return keras.initializers.get({"class_name": kind, "config": config})

    return initializer

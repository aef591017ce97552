"""A random order of images that preserves the proportions of the classes."""

import numpy as np


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order in which every contiguous part holds the classes in about their proportions.

    Each image gets the position (rank within its class + uniform) / size of its class.

    Args:
        labels: (n,) integers.
        seed: seed of the order.

    Returns:
        (n,) indices, a permutation.
    """
    rng = np.random.default_rng(seed)
    position = np.empty(len(labels))
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        position[members] = (np.arange(len(members)) + rng.random(len(members))) / len(members)
    return np.argsort(position, kind="stable")

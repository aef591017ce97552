"""Seeds of a run, derived from its two (`seed` and `data_seed`), and the random order of images."""

import itertools
from collections.abc import Iterator

import numpy as np

# Offsets for what is drawn before a data set is used.
SPLIT, NOISE = 1, 2
# Purposes of what is drawn from a data set, see `derived`.
IMAGE_ORDER, PROBE_IMAGES, PLANES = 11, 12, 13
EVALUATION_IMAGES, TEST_IMAGES = 21, 22


def derived(seed: int, purpose: int) -> int:
    """The seed of one purpose, one of the constants of this module."""
    return seed * 100 + purpose


def legacy(seed: int) -> int:
    """A seed within the range of NumPy's legacy generator, which scikit-learn uses."""
    return seed % 2**32


def initializer_seeds(seed: int) -> Iterator[int]:
    """One seed for each initializer of a network, in the order of its layers."""
    return ((seed * 100_003 + count) % 2**31 for count in itertools.count())


def epoch_generator(seed: int, *place: int) -> np.random.Generator:
    """The generator of an epoch, or of a batch of it: `place` is (epoch,) or (epoch, batch)."""
    return np.random.default_rng([seed, *place])


def epoch_seeds(seed: int, epoch: int) -> np.random.SeedSequence:
    """The seeds of an epoch's random layers."""
    return np.random.SeedSequence([seed, epoch])


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

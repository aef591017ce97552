"""Seeds derived from `seed` and `data_seed` of a run, and random orders of images."""

import itertools
from collections.abc import Iterator

import numpy as np

# Offsets of the seeds of the split and the label noise.
SPLIT, NOISE = 1, 2
# The seed of the bootstrap sample of the probe images, which is the same in every run.
RESAMPLING = 31
# Purposes of the seeds that `derived` returns.
IMAGE_ORDER, PROBE_IMAGES, PLANES = 11, 12, 13
EVALUATION_IMAGES, TEST_IMAGES, TRAINING_IMAGES = 21, 22, 23


def derived(seed: int, purpose: int) -> int:
    """The seed for one purpose, which is one of the constants of this module."""
    return seed * 100 + purpose


def legacy(seed: int) -> int:
    """A seed within the range of NumPy's legacy generator, which scikit-learn uses."""
    return seed % 2**32


def initializer_seeds(seed: int) -> Iterator[int]:
    """An endless sequence of seeds, one for each initializer of a network."""
    return ((seed * 100_003 + count) % 2**31 for count in itertools.count())


def epoch_generator(seed: int, *place: int) -> np.random.Generator:
    """The random generator of an epoch or of one of its batches.

    Args:
        seed: the seed.
        place: the epoch, optionally followed by the number of the batch.
    """
    return np.random.default_rng([seed, *place])


def epoch_seeds(seed: int, epoch: int) -> np.random.SeedSequence:
    """The seeds of the random layers in an epoch."""
    return np.random.SeedSequence([seed, epoch])


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order in which every contiguous part has about the same shares of the classes.

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

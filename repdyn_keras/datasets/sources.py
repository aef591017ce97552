"""Data sets that need no files: digits and synthetic images."""

import numpy as np

from repdyn_keras.config import require_memory
from repdyn_keras.datasets.load import RawData, stratified_split


def digits(seed: int, test_share: float) -> RawData:
    """The 1797 scans of handwritten digits in scikit-learn, 8 x 8 x 1.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI).

    Args:
        seed: seed of the split.
        test_share: share of the test images.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    images = source.images[..., None].astype(np.float32)
    labels = source.target.astype(np.int64)
    train, test = stratified_split(labels, test_share, seed, range(10), "digits")
    return RawData.from_arrays((images[train], labels[train], images[test], labels[test]))


def synthetic(
    seed: int,
    synthetic_train: int,
    synthetic_test: int,
    synthetic_size: int,
    synthetic_channels: int,
    synthetic_classes: int,
) -> RawData:
    """Generated images: one smooth pattern per class, which is shifted, scaled and made noisy.

    Args:
        seed: seed of the images.
        synthetic_train: number of training images.
        synthetic_test: number of test images.
        synthetic_size: side of the images in pixels.
        synthetic_channels: number of channels.
        synthetic_classes: number of classes.
    """
    rng = np.random.default_rng(seed)
    size, channels, classes = synthetic_size, synthetic_channels, synthetic_classes
    n = synthetic_train + synthetic_test
    # Peak memory: four float64 arrays of the images and two of the patterns.
    require_memory(
        8 * size**2 * channels * (4 * n + 2 * classes),
        f"{n} synthetic images of {size} x {size} x {channels}",
        "synthetic_train, synthetic_test, synthetic_size, synthetic_channels or synthetic_classes",
    )
    coarse = rng.normal(size=(classes, 4, 4, channels))
    grid = np.linspace(0, 3, size)
    low = np.minimum(grid.astype(int), 2)
    part = grid - low
    rows = coarse[:, low] * (1 - part)[:, None, None] + coarse[:, low + 1] * part[:, None, None]
    patterns = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, low + 1] * part[:, None]
    labels = rng.permutation(np.arange(n) % classes).astype(np.int64)
    reach = max(1, size // 8)
    shifts = rng.integers(-reach, reach + 1, size=(n, 2))
    scales = rng.uniform(0.7, 1.3, size=(n, 1, 1, 1))
    noise = 0.7 * rng.normal(size=(n, size, size, channels))
    row, column = ((np.arange(size)[None] - shifts[:, axis, None]) % size for axis in (0, 1))
    moved = patterns[labels[:, None, None], row[:, :, None], column[:, None, :]]
    images = (scales * moved + noise).astype(np.float32)
    cut = synthetic_train
    return RawData.from_arrays((images[:cut], labels[:cut], images[cut:], labels[cut:]), classes)

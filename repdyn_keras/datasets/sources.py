"""Data sets in the form of arrays: digits, synthetic images and NumPy archives."""

from pathlib import Path

import numpy as np

from repdyn_keras.config import require_memory, usable_path
from repdyn_keras.datasets.load import RawData, stratified_split
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names

# The squares of larger pixel values overflow float32.
MAX_PIXEL = 1e18
MAX_LABEL = 65_534
ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")


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


def npz(path: str, seed: int) -> RawData:
    """The arrays x_train, y_train, x_test and y_test of a NumPy archive.

    Args:
        path: the archive.
        seed: not used, since an archive has its own split.

    Raises:
        InputError: the archive cannot be read, or its arrays are not images and labels.
    """
    arrays = read_archive(usable_path(path), path)
    train, test = (
        checked_arrays(arrays[f"x_{split}"], arrays[f"y_{split}"], split, path)
        for split in ("train", "test")
    )
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InputError(
            f"{path}: x_train and x_test do not fit together. Expected the same (height, "
            f"width, channels) in x_train and x_test. Received: {train[0].shape[1:]} and "
            f"{test[0].shape[1:]}."
        )
    return RawData.from_arrays((*train, *test))


def read_archive(file: Path, path: str) -> dict[str, np.ndarray]:
    """Reads the arrays of an archive by name; `path` is the file as the user wrote it."""
    expected = f"a NumPy archive (.npz) of the arrays {', '.join(ARRAY_NAMES)}"
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                f"Expected {expected}, written by numpy.savez. Received: {path}, a single array."
            )
        with archive:
            missing = [name for name in ARRAY_NAMES if name not in archive.files]
            if missing:
                raise InputError(
                    f"{path} lacks {', '.join(missing)}. Expected {expected}. Received: "
                    f"{format_names(archive.files) or 'none'}."
                )
            return {name: np.asarray(archive[name]) for name in ARRAY_NAMES}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"No file {path}. Expected {expected}. Received: {path}.") from None
    except Exception as error:  # damaged archives raise whatever their reader raises
        raise InputError(
            f"Cannot read {path}. Expected a whole NumPy archive (.npz) of plain number arrays, "
            f"written by numpy.savez. Received: {error}."
        ) from None


def checked_arrays(
    images: np.ndarray, labels: np.ndarray, split: str, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """Images as (n, height, width, channels) and labels as (n,) int64.

    Raises:
        InputError: the arrays are not images and labels.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.size == 0 or not is_real(images):
        raise InputError(
            f"{path}: x_{split} is not images. Expected numbers of shape (n, height, width) or "
            f"(n, height, width, channels). Received: {images.dtype} of shape {images.shape}."
        )
    if not np.isfinite(images).all() or float(np.abs(images).max()) > MAX_PIXEL:
        raise InputError(
            f"{path}: x_{split} has pixels that cannot be used. Expected finite ones. Received: "
            f"NaN, infinite ones or some beyond {MAX_PIXEL:g}."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: y_{split} does not fit x_{split}. Expected one whole number per image, shape "
            f"({len(images)},). Received: shape {labels.shape} for {len(images)} images."
        )
    if not is_real(labels) or not np.isfinite(labels).all() or (np.mod(labels, 1) != 0).any():
        raise InputError(
            f"{path}: y_{split} is not class labels. Expected whole numbers 0, 1, ... Received: "
            f"other values, {labels.dtype}."
        )
    if labels.min() < 0 or labels.max() > MAX_LABEL:
        raise InputError(
            f"{path}: y_{split} is not class labels. Expected 0 to the number of classes - 1, at "
            f"most {MAX_LABEL}. Received: {labels.min()} to {labels.max()}."
        )
    return images, labels.astype(np.int64)


def is_real(array: np.ndarray) -> bool:
    """Whether an array holds integers or real floats."""
    return np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)

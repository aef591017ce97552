"""Data sets as they are read: `(x_train, y_train, x_test, y_test)` before noise and scaling.

Images are (n, height, width, channels), labels (n,) int64 from 0.
"""

import numpy as np

from repdyn_keras.config import Config, require_memory, usable_path
from repdyn_keras.errors import InputError

# Squares of larger ones overflow float32.
LARGEST_PIXEL = 1e18

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def digits(test_share: float, seed: int) -> Arrays:
    """The 1797 scans of handwritten digits, 8 x 8 x 1, that scikit-learn ships.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        raw.images[..., None].astype(np.float32),
        raw.target.astype(np.int64),
        test_size=test_share,
        random_state=seed % 2**32,
        stratify=raw.target,
    )
    return x_train, y_train, x_test, y_test


def synthetic(config: Config, seed: int) -> Arrays:
    """Seeded images that can be learned: one smooth pattern a class, shifted, scaled and noisy."""
    rng = np.random.default_rng(seed)
    size, channels = config.synthetic_size, config.synthetic_channels
    n = config.synthetic_train + config.synthetic_test
    # Four arrays of the images, and two of the patterns, are there at once.
    require_memory(
        8 * size**2 * channels * (4 * n + 2 * config.synthetic_classes),
        f"Making {n} images of {size} x {size} x {channels}",
        "synthetic_train, synthetic_test, synthetic_size, synthetic_channels or synthetic_classes",
    )
    coarse = rng.normal(size=(config.synthetic_classes, 4, 4, channels))
    grid = np.linspace(0, 3, size)
    low = np.minimum(grid.astype(int), 2)
    part = grid - low
    rows = coarse[:, low] * (1 - part)[:, None, None] + coarse[:, low + 1] * part[:, None, None]
    patterns = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, low + 1] * part[:, None]
    labels = rng.permutation(np.arange(n) % config.synthetic_classes).astype(np.int64)
    reach = max(1, size // 8)
    shifts = rng.integers(-reach, reach + 1, size=(n, 2))
    scales = rng.uniform(0.7, 1.3, size=(n, 1, 1, 1))
    noise = 0.7 * rng.normal(size=(n, size, size, channels))
    at = (
        (np.arange(size)[None] - shifts[:, :1]) % size,
        (np.arange(size)[None] - shifts[:, 1:]) % size,
    )
    moved = patterns[labels[:, None, None], at[0][:, :, None], at[1][:, None, :]]
    images = (scales * moved + noise).astype(np.float32)
    cut = config.synthetic_train
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def npz(path: str) -> Arrays:
    """The arrays x_train, y_train, x_test, y_test of a NumPy archive."""
    names = ("x_train", "y_train", "x_test", "y_test")
    file = usable_path(path)
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                f"{path} holds a single array. Expected an archive (.npz) of the arrays "
                f"{', '.join(names)}, written by numpy.savez."
            )
        with archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise InputError(
                    f"{path} lacks {', '.join(missing)}. Expected the arrays {', '.join(names)}; "
                    f"it holds {', '.join(archive.files) or 'none'}."
                )
            arrays = {name: np.asarray(archive[name]) for name in names}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"No file {path}. Expected a NumPy archive (.npz).") from None
    except Exception as error:  # damaged archives raise whatever their reader raises
        raise InputError(
            f"Cannot read {path}: {error}. Expected a whole NumPy archive (.npz), "
            "written by numpy.savez, of plain number arrays."
        ) from None
    parts = []
    for split in ("train", "test"):
        parts += checked(arrays[f"x_{split}"], arrays[f"y_{split}"], split, path)
    if parts[0].shape[1:] != parts[2].shape[1:]:
        raise InputError(
            f"{path}: images of x_train have shape {parts[0].shape[1:]}, of x_test "
            f"{parts[2].shape[1:]}. Expected the same (height, width, channels)."
        )
    return tuple(parts)


def checked(images: np.ndarray, labels: np.ndarray, split: str, path: str):
    """Images as (n, height, width, channels) and labels as (n,) int64, or InputError."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.size == 0 or not is_real(images):
        raise InputError(
            f"{path}: x_{split} is {images.dtype} of shape {images.shape}. "
            "Expected numbers of shape (n, height, width) or (n, height, width, channels)."
        )
    if not np.isfinite(images).all() or float(np.abs(images).max()) > LARGEST_PIXEL:
        raise InputError(
            f"{path}: x_{split} holds NaN or infinite pixels, or some beyond {LARGEST_PIXEL:g}. "
            "Expected finite ones."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: y_{split} has shape {labels.shape} for {len(images)} images. "
            f"Expected one whole number an image, ({len(images)},)."
        )
    if not is_real(labels) or not np.isfinite(labels).all() or (np.mod(labels, 1) != 0).any():
        raise InputError(
            f"{path}: y_{split} holds other than whole numbers, {labels.dtype}. Expected classes, "
            "0, 1, ..."
        )
    if labels.min() < 0 or labels.max() >= 65_535:
        raise InputError(
            f"{path}: labels of y_{split} run from {labels.min()} to {labels.max()}. "
            "Expected 0 to the number of classes - 1."
        )
    return images, labels.astype(np.int64)


def is_real(array: np.ndarray) -> bool:
    """Whether an array holds integers or real floats."""
    return np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)

"""A named data set as standardized arrays with given and true labels."""

from dataclasses import dataclass

import numpy as np

from repdyn_keras.config import Config
from repdyn_keras.datasets.sources import digits, npz, synthetic
from repdyn_keras.errors import InputError, unknown

# Seeds derived from the run's seed, one per purpose.
SPLIT, NOISE = 1, 2


@dataclass(frozen=True)
class Data:
    """Images and labels of one run, ready for training.

    Attributes:
        x_train: (n, height, width, channels) float32, standardized by the training images.
        y_train: (n,) int64, the labels that the network is given, noise included.
        true_train: (n,) int64, the labels before noise.
        x_test, y_test: the test images, standardized the same way, and their labels.
        n_classes: number of classes.
        pixel_mean, pixel_deviation: (channels,) of the training images as they were read.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    true_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    n_classes: int
    pixel_mean: np.ndarray
    pixel_deviation: np.ndarray


def load(config: Config) -> Data:
    """The data set that `config` names.

    The split and the noise depend on `config.data_seed` alone (`config.seed` where it is None),
    never on the backend.

    Raises:
        InputError: unknown name, unreadable file, or arrays that do not fit together.
    """
    seed = config.seed if config.data_seed is None else config.data_seed
    kind, _, rest = config.dataset.partition(":")
    if kind == "digits":
        arrays = digits(config.test_share, seed + SPLIT)
    elif kind == "synthetic":
        arrays = synthetic(config, seed + SPLIT)
    elif kind == "npz":
        arrays = npz(rest)
    else:
        raise unknown("dataset", config.dataset, ("digits", "synthetic", "npz:FILE"))
    x_train, y_train, x_test, y_test = arrays
    n_classes = int(max(y_train.max(), y_test.max())) + 1
    if kind == "synthetic":
        n_classes = config.synthetic_classes
    if n_classes < 2:
        raise InputError(
            f"Dataset {config.dataset!r} has one class. Expected at least 2: labels 0, 1, ..."
        )
    mean, deviation = pixel_moments(x_train)
    given = with_label_noise(y_train, config.label_noise, n_classes, seed + NOISE)
    return Data(
        x_train=standardize(x_train, mean, deviation),
        y_train=given,
        true_train=y_train,
        x_test=standardize(x_test, mean, deviation),
        y_test=y_test,
        n_classes=n_classes,
        pixel_mean=mean,
        pixel_deviation=deviation,
    )


def pixel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (1 where constant) of each channel, as float32."""
    mean = x.mean(axis=(0, 1, 2), dtype=np.float64)
    deviation = x.std(axis=(0, 1, 2), dtype=np.float64)
    deviation[deviation == 0] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def standardize(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(x - mean) / deviation by channel, as float32."""
    return ((x.astype(np.float32) - mean) / deviation).astype(np.float32)


def with_label_noise(labels: np.ndarray, share: float, n_classes: int, seed: int) -> np.ndarray:
    """The labels, each replaced with probability `share` by a *different*, uniformly drawn class.

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), label noise drawn once and kept.
    """
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(labels)) < share
    shift = rng.integers(1, n_classes, len(labels))
    return np.where(noisy, (labels + shift) % n_classes, labels)

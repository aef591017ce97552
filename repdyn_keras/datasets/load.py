"""A named data set with given and true labels, its images standardized as they are taken."""

from dataclasses import dataclass

import numpy as np

from repdyn_keras.config import Config
from repdyn_keras.config import DATASETS
from repdyn_keras.datasets.folder import folder
from repdyn_keras.datasets.images import Images, pixel_moments
from repdyn_keras.datasets.raw import Raw
from repdyn_keras.datasets.sources import digits, npz, synthetic
from repdyn_keras.datasets.tfds import tfds
from repdyn_keras.errors import InputError, unknown

# Seeds derived from the run's seed, one per purpose.
SPLIT, NOISE = 1, 2


@dataclass(frozen=True)
class Data:
    """Images and labels of one run, ready for training.

    Attributes:
        x_train: (n, height, width, channels), standardized by the training images when taken,
            unless the configuration leaves them as they are.
        y_train: (n,) int64, the labels that the network is given, noise included.
        true_train: (n,) int64, the labels before noise.
        x_test, y_test: the test images, standardized the same way, and their labels.
        n_classes: number of classes.
        pixel_mean, pixel_deviation: (channels,) of the training images as they were read; 0 and
            1 where pixels are left as they are.
        class_names: names of the classes; None where they have none.
        notes: what was done to the data that the user should know.
    """

    x_train: Images
    y_train: np.ndarray
    true_train: np.ndarray
    x_test: Images
    y_test: np.ndarray
    n_classes: int
    pixel_mean: np.ndarray
    pixel_deviation: np.ndarray
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def load(config: Config) -> Data:
    """The data set that `config` names.

    The split and the noise depend on `config.data_seed` alone (`config.seed` where it is None),
    never on the backend.

    Raises:
        InputError: unknown name, unreadable files, or arrays that do not fit together.
    """
    seed = config.seed if config.data_seed is None else config.data_seed
    raw = read(config, seed + SPLIT)
    if raw.n_classes < 2:
        raise InputError(
            f"Dataset {config.dataset!r} has one class. Expected at least 2: labels 0, 1, ..."
        )
    mean, deviation = np.zeros(1, np.float32), np.ones(1, np.float32)
    if config.standardize:
        mean, deviation = pixel_moments(raw.train, raw.train_rows)
    given = with_label_noise(raw.y_train, config.label_noise, raw.n_classes, seed + NOISE)
    return Data(
        x_train=Images(raw.train, mean, deviation, raw.train_rows),
        y_train=given,
        true_train=raw.y_train,
        x_test=Images(raw.test, mean, deviation, raw.test_rows),
        y_test=raw.y_test,
        n_classes=raw.n_classes,
        pixel_mean=mean,
        pixel_deviation=deviation,
        class_names=raw.class_names,
        notes=raw.notes,
    )


def read(config: Config, seed: int) -> Raw:
    """The data set as it is read; `seed` is that of the split."""
    kind, _, rest = config.dataset.partition(":")
    if kind == "digits":
        return Raw.of_arrays(digits(config.test_share, seed))
    if kind == "synthetic":
        return Raw.of_arrays(synthetic(config, seed), config.synthetic_classes)
    if kind == "npz":
        return Raw.of_arrays(npz(rest))
    if kind == "folder":
        return folder(config, rest, seed)
    if kind == "tfds":
        return tfds(config, rest, seed)
    raise unknown("dataset", config.dataset, DATASETS)


def with_label_noise(labels: np.ndarray, share: float, n_classes: int, seed: int) -> np.ndarray:
    """The labels, each replaced with probability `share` by a *different*, uniformly drawn class.

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), label noise drawn once and kept.
    """
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(labels)) < share
    shift = rng.integers(1, n_classes, len(labels))
    return np.where(noisy, (labels + shift) % n_classes, labels)

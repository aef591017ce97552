"""The data set of a configuration, with given and true labels, standardized on access."""

from dataclasses import dataclass

import numpy as np

from repdyn_keras.config import DATASETS, Config, values_of
from repdyn_keras.datasets.images import Images, pixel_moments
from repdyn_keras.datasets.raw import RawData
from repdyn_keras.errors import InputError
from repdyn_keras.seeds import NOISE, SPLIT
from repdyn_keras.text import quoted


@dataclass(frozen=True)
class Data:
    """Images and labels of one run, ready for training.

    Attributes:
        x_train: (n, height, width, channels), standardized on access by the mean and the deviation
            of the training images, unless the configuration turns that off.
        y_train: (n,) int64, the labels that the network is trained on, noise included.
        true_train: (n,) int64, the labels before noise.
        x_test: the test images, standardized the same way.
        y_test: their labels, int64.
        n_classes: number of classes.
        pixel_mean: (channels,) mean of the training images before standardization; 0 where pixels
            are not standardized.
        pixel_deviation: (channels,) their standard deviation; 1 where pixels are not standardized.
        class_names: names of the classes; None where they have none.
        notes: what the user should know about the preparation.
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
    """The data set of a configuration.

    The split and the noise depend on `config.data_seed` alone (`config.seed` where it is None),
    never on the backend.

    Raises:
        InputError: unknown name, unreadable files, or arrays that do not fit together.
    """
    seed = config.seed if config.data_seed is None else config.data_seed
    raw = load_raw(config, seed + SPLIT)
    if raw.n_classes < 2:
        raise InputError(
            "Expected at least 2 classes: labels 0, 1, ... Received: one class in dataset "
            f"{quoted(config.dataset)}."
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


def load_raw(config: Config, seed: int) -> RawData:
    """The data set before noise and standardization.

    Args:
        config: the configuration.
        seed: seed of the split.
    """
    entry = DATASETS.find(config.dataset)
    argument = [entry.argument(config.dataset)] if entry.has_argument else []
    return entry.load_factory()(*argument, seed=seed, **values_of(config, entry.keys))


def with_label_noise(labels: np.ndarray, share: float, n_classes: int, seed: int) -> np.ndarray:
    """The labels, each replaced with probability `share` by a *different*, uniformly drawn class.

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), label noise drawn once and kept.
    """
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(labels)) < share
    shift = rng.integers(1, n_classes, len(labels))
    return np.where(noisy, (labels + shift) % n_classes, labels)

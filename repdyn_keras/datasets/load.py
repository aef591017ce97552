"""Loads the data set of a configuration, with given and true labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from repdyn_keras.config import DATASETS, Config, values_of
from repdyn_keras.datasets.images import Images, Pixels, pixel_moments
from repdyn_keras.datasets.reading import DecodedImages
from repdyn_keras.errors import InputError
from repdyn_keras.seeds import NOISE, SPLIT, TRAINING_IMAGES, derived, legacy, stratified_order
from repdyn_keras.text import format_names

# Least number of float32 values within a standard deviation of the pixels.
MIN_STEPS = 16
# x_train, y_train, x_test and y_test.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RawData:
    """Images and labels of a data set before noise and standardization.

    Attributes:
        train: (n, height, width, channels) pixels that include the training images.
        y_train: (n,) int64 labels, in the order of `train_rows`.
        test: pixels that include the test images; may be the same as `train`.
        y_test: (n,) int64 labels, in the order of `test_rows`.
        n_classes: number of classes.
        train_rows: indices of the training images in `train`, in order; None for all.
        test_rows: indices of the test images in `test`, in order; None for all.
        class_names: names of the classes; None if they have none.
        image_names: names of the images in `train`; None if they have none.
        notes: messages to the user about the preparation.
    """

    train: Pixels
    y_train: np.ndarray
    test: Pixels
    y_test: np.ndarray
    n_classes: int
    train_rows: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    image_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_classes: int | None = None) -> "RawData":
        """A data set from the arrays x_train, y_train, x_test and y_test.

        Args:
            arrays: images (n, height, width, channels), labels (n,) int64 from 0.
            n_classes: number of classes; None for the largest label + 1.
        """
        train, y_train, test, y_test = arrays
        largest = int(max(y_train.max(), y_test.max()))
        return cls(train, y_train, test, y_test, n_classes or largest + 1)

    @classmethod
    def from_images(
        cls,
        images: DecodedImages,
        classes: Sequence[str],
        n_train: int | None,
        share: float,
        seed: int,
        dataset_name: str,
        notes: Sequence[str],
    ) -> "RawData":
        """A data set from decoded images.

        Args:
            images: the images; if `n_train` is given, the training images come first.
            classes: names of the classes.
            n_train: number of training images; None to split off test images.
            share: share of the test images of a stratified split.
            seed: seed of the split.
            dataset_name: name of the data set, for messages.
            notes: further messages to the user.

        Raises:
            InputError: there are too few images to split.
        """
        labels = images.labels
        if n_train is None:
            train, test = stratified_split(labels, share, seed, classes, dataset_name)
            notes = [
                describe_split(dataset_name, len(test), len(labels), share),
                *notes,
            ]
        else:
            train, test = np.arange(n_train), np.arange(n_train, len(labels))
        return cls(
            train=images.pixels,
            y_train=labels[train],
            test=images.pixels,
            y_test=labels[test],
            n_classes=len(classes),
            train_rows=train,
            test_rows=test,
            class_names=tuple(classes),
            notes=(*notes, *images.notes),
        )


def describe_split(dataset_name: object, test: int, total: int, share: float) -> str:
    """The note that test images were split off.

    Args:
        dataset_name: name of the data set, or its path.
        test: number of test images.
        total: number of all images.
        share: the share that was to be split off.
    """
    return (
        f"{dataset_name} has no test images: {test} of {total} were split off "
        f"(test_share = {share:g}) by the data seed."
    )


def stratified_split(
    labels: np.ndarray, share: float, seed: int, names: Sequence[object], dataset_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test images, each class split in the same proportion.

    Args:
        labels: (n,) integers from 0.
        share: share of the test images.
        seed: seed of the split.
        names: names of the classes.
        dataset_name: name of the data set, for messages.

    Raises:
        InputError: a class has too few images, or there are too few for the share.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)),
            test_size=share,
            random_state=legacy(seed),
            stratify=labels,
        )
    except ValueError:
        counts = np.bincount(labels, minlength=len(names))
        fewest = int(np.where(counts == 0, len(labels), counts).argmin())
        raise InputError(
            f"{dataset_name} cannot be split with test_share = {share:g}. Expected at least 2 "
            "images of each class, one for training and one for testing. Received: "
            f"{len(labels)} images of {np.count_nonzero(counts)} classes; {names[fewest]!r} has "
            f"{counts[fewest]}."
        ) from None
    return train, test


@dataclass(frozen=True)
class Data:
    """Images and labels of one run, ready for training.

    Attributes:
        x_train: (n, height, width, channels), standardized on access by the mean and the standard
            deviation of the training images, unless the configuration turns this off.
        y_train: (n,) int64, the given labels, which include label noise.
        true_train: (n,) int64, the true labels.
        x_test: the test images, standardized the same way.
        y_test: their labels, int64.
        n_classes: number of classes.
        pixel_mean: (channels,) mean of the training images before standardization; 0 if pixels
            are not standardized.
        pixel_deviation: (channels,) their standard deviation; 1 if pixels are not standardized.
        n_available: number of training images of the data set, of which `n_train` are used.
        class_names: names of the classes; None if they have none.
        train_names: names of the training images, such as files; None if they have none.
        notes: messages to the user about the preparation.
    """

    x_train: Images
    y_train: np.ndarray
    true_train: np.ndarray
    x_test: Images
    y_test: np.ndarray
    n_classes: int
    pixel_mean: np.ndarray
    pixel_deviation: np.ndarray
    n_available: int
    class_names: tuple[str, ...] | None = None
    train_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def load(config: Config) -> Data:
    """Loads the data set of a configuration.

    The split, the sample of `n_train` images and the label noise depend only on `config.data_seed`
    (`config.seed` if it is None), not on the backend.

    Raises:
        InputError: the name is unknown, files cannot be read, arrays do not fit together, or
            `n_train` is larger than the data set.
    """
    seed = config.seed if config.data_seed is None else config.data_seed
    raw = load_raw(config, seed + SPLIT)
    if raw.n_classes < 2:
        raise InputError(
            "Expected at least 2 classes: labels 0, 1, ... Received: one class in dataset "
            f"{config.dataset!r}."
        )
    n_available = len(raw.y_train)
    if config.n_train is not None:
        raw = sampled(raw, config.n_train, derived(seed, TRAINING_IMAGES), config.dataset)
    mean, deviation = np.zeros(1, np.float32), np.ones(1, np.float32)
    if config.standardize:
        mean, deviation = pixel_moments(raw.train, raw.train_rows)
        check_contrast(mean, deviation, config.dataset)
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
        n_available=n_available,
        class_names=raw.class_names,
        train_names=names_of_training(raw),
        notes=raw.notes,
    )


def names_of_training(raw: RawData) -> tuple[str, ...] | None:
    """The names of the training images; None if they have none, or not different ones."""
    if raw.image_names is None or len(set(raw.image_names)) < len(raw.image_names):
        return None
    rows = range(len(raw.y_train)) if raw.train_rows is None else raw.train_rows.tolist()
    return tuple(raw.image_names[row] for row in rows)


def sampled(raw: RawData, n_train: int, seed: int, dataset_name: str) -> RawData:
    """The data set with a stratified sample of its training images, in their order.

    Of one seed, a smaller sample is a part of every larger one. No pixels are copied.

    Args:
        raw: the data set.
        n_train: number of training images.
        seed: seed of the sample.
        dataset_name: name of the data set, for messages.

    Raises:
        InputError: the data set has fewer training images.
    """
    n_available = len(raw.y_train)
    if n_train > n_available:
        raise InputError(
            f"n_train is too large. Expected at most {n_available}, the number of training images "
            f"of {dataset_name}. Received: n_train = {n_train}."
        )
    if n_train == n_available:
        return raw
    rows = np.sort(stratified_order(raw.y_train, seed)[:n_train])
    labels = raw.y_train[rows]
    lost = np.setdiff1d(raw.y_train, labels).tolist()
    names = [raw.class_names[label] for label in lost] if raw.class_names else lost
    without = f" None of them has the label {format_names(names)}." if lost else ""
    return replace(
        raw,
        y_train=labels,
        train_rows=rows if raw.train_rows is None else raw.train_rows[rows],
        notes=(
            *raw.notes,
            f"{n_train} of the {n_available} training images of {dataset_name} are used (n_train), "
            f"a stratified sample drawn by the data seed.{without}",
        ),
    )


def check_contrast(mean: np.ndarray, deviation: np.ndarray, dataset_name: str) -> None:
    """Raises InputError if float32 cannot hold how pixels differ.

    Args:
        mean: (channels,) float32.
        deviation: (channels,) float32.
        dataset_name: name of the data set, for the message.
    """
    step = np.spacing(np.abs(mean))
    worst = int((step / deviation).argmax())
    if step[worst] > deviation[worst] / MIN_STEPS:
        raise InputError(
            f"The pixels of {dataset_name} differ too little for float32. Expected a standard "
            f"deviation of at least {MIN_STEPS * step[worst]:g} around their mean. Received: mean "
            f"{mean[worst]:g}, standard deviation {deviation[worst]:g}. Subtract a constant from "
            "all pixels."
        )


def load_raw(config: Config, seed: int) -> RawData:
    """Loads the data set before label noise and standardization.

    Args:
        config: the configuration.
        seed: seed of the split.
    """
    entry = DATASETS.find(config.dataset)
    argument = [entry.argument(config.dataset)] if entry.has_argument else []
    return entry.load_factory()(*argument, seed=seed, **values_of(config, entry.keys))


def with_label_noise(labels: np.ndarray, share: float, n_classes: int, seed: int) -> np.ndarray:
    """The labels, each replaced with probability `share` by a *different*, uniformly drawn class.

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), with label noise that is drawn once and kept.
    """
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(labels)) < share
    shift = rng.integers(1, n_classes, len(labels))
    return np.where(noisy, (labels + shift) % n_classes, labels)

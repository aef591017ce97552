"""A data set before noise and standardization, and the split of one without a test part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repdyn_keras.datasets.images import Pixels
from repdyn_keras.datasets.reading import DecodedImages
from repdyn_keras.errors import InputError
from repdyn_keras.seeds import legacy

# x_train, y_train, x_test and y_test.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RawData:
    """Images and labels of a data set before noise and standardization.

    Attributes:
        train: (n, height, width, channels) pixels that hold the training images.
        y_train: (n,) int64 labels, in the order of `train_rows`.
        test: pixels that hold the test images, perhaps the same as `train`.
        y_test: (n,) int64 labels, in the order of `test_rows`.
        n_classes: number of classes.
        train_rows: indices of the training images in `train`, in order; None for all.
        test_rows: indices of the test images in `test`, in order; None for all.
        class_names: names of the classes; None where they have none.
        notes: what the user should know about the preparation.
    """

    train: Pixels
    y_train: np.ndarray
    test: Pixels
    y_test: np.ndarray
    n_classes: int
    train_rows: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_classes: int | None = None) -> "RawData":
        """Arrays x_train, y_train, x_test and y_test.

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
        where: str,
        notes: Sequence[str],
    ) -> "RawData":
        """Decoded images.

        Args:
            images: the images; the training images first, where `n_train` is given.
            classes: names of the classes.
            n_train: number of training images; None to split off test images.
            share: share of the test images that are split off, stratified.
            seed: seed of that split.
            where: the data set, for messages.
            notes: what the user should know already.

        Raises:
            InputError: too few images to split.
        """
        labels = images.labels
        if n_train is None:
            train, test = stratified_split(labels, share, seed, classes, where)
            notes = [
                f"{where} has no test images: {len(test)} of {len(labels)} were split off "
                f"(test_share = {share:g}) by the data seed.",
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


def stratified_split(
    labels: np.ndarray, share: float, seed: int, names: Sequence[object], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test images, each class split in the same proportion.

    Args:
        labels: (n,) integers from 0.
        share: share of the test images.
        seed: seed of the split.
        names: names of the classes.
        where: the data set, for messages.

    Raises:
        InputError: there are too few images of a class, or for the share.
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
        fewest = int(counts.argmin())
        raise InputError(
            f"{where} cannot be split with test_share = {share:g}. Expected at least 2 images of "
            "each class, and one of each for training and for testing. Received: "
            f"{len(labels)} images of {len(names)} classes; {names[fewest]!r} has "
            f"{counts[fewest]}."
        ) from None
    return train, test

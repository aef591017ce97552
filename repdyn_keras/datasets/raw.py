"""A data set as it is read, before noise and scaling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repdyn_keras.datasets.reading import Read
from repdyn_keras.datasets.splits import stratified_split


@dataclass(frozen=True)
class Raw:
    """Images and labels of a data set as they are read.

    Attributes:
        train, test: (n, height, width, channels), arrays or a `FilePixels`.
        y_train, y_test: (n,) int64 labels, in the order of the rows.
        n_classes: number of classes.
        train_rows, test_rows: which of the images count, in order; None for all.
        class_names: names of the classes; None where they have none.
        notes: what the user should know.
    """

    train: object
    y_train: np.ndarray
    test: object
    y_test: np.ndarray
    n_classes: int
    train_rows: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_arrays(cls, arrays, n_classes: int | None = None) -> "Raw":
        """Arrays x_train, y_train, x_test and y_test; the labels tell the classes' number."""
        train, y_train, test, y_test = arrays
        found = int(max(y_train.max(), y_test.max())) + 1
        return cls(train, y_train, test, y_test, n_classes or found)

    @classmethod
    def of_images(
        cls,
        images: Read,
        classes: Sequence[str],
        n_train: int | None,
        share: float,
        seed: int,
        where: str,
        notes: Sequence[str],
    ) -> "Raw":
        """Decoded images, the first `n_train` of them for training.

        Where that is None, `share` of them are split off for testing, stratified and seeded.

        Raises:
            InputError: too few images to split.
        """
        labels = images.labels
        if n_train is None:
            train, test = stratified_split(labels, share, seed, classes, where)
            notes = [
                f"{where} has no test images of its own: {len(test)} of {len(labels)} were split "
                f"off (test_share = {share:g}), as the data seed decides.",
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

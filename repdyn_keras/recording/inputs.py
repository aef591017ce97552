"""Checks and orders the input arrays of a recorder, and computes hashes of arrays."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import batch_length
from repdyn_keras.seeds import stratified_order

LABELS_REMEDY = (
    "Give one class per image, numbered from 0, or leave out the labels to record only "
    "fingerprints."
)


def as_images(images, name: str) -> np.ndarray:
    """`images` as an array (n, ...) of finite numbers; raises InputError otherwise."""
    array = np.asarray(images)
    if array.ndim < 2 or len(array) == 0 or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"Expected {name} as numbers of shape (n, ...), one entry per image. Received: an "
            f"array of {array.dtype} of shape {array.shape}."
        )
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"Expected finite {name}. Received: NaN or infinite values.")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def as_labels(labels, n: int, name: str) -> np.ndarray:
    """`labels` as (n,) int64, from integers (n,) or (n, 1) or one-hot rows (n, classes)."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and len(array) == n:
        one_hot = np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()
        if not one_hot:
            raise InputError(
                f"Expected one-hot {name}, with a single 1 in each row. Received: other rows in an "
                f"array of shape {array.shape}. {LABELS_REMEDY}"
            )
        return array.argmax(axis=1).astype(np.int64)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"Expected {name} as integers ({n},) or one-hot rows ({n}, classes), for {n} images. "
            f"Received: an array of {array.dtype} of shape {array.shape}. {LABELS_REMEDY}"
        )
    if not np.isfinite(array).all() or not np.all(np.mod(array, 1) == 0) or array.min() < 0:
        raise InputError(
            f"Expected {name} as whole numbers from 0 to classes - 1. Received: values from "
            f"{array.min()} to {array.max()}. {LABELS_REMEDY}"
        )
    return array.astype(np.int64)


def indices_among(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) index of each image among other images; -1 if it is not among them.

    Args:
        images: (n, ...) images.
        others: (m, ...) images. Images are equal if all their pixels are.
    """
    indices = np.full(len(images), -1)
    if images.dtype != others.dtype or images.shape[1:] != others.shape[1:]:
        return indices
    by_bytes = {hash(image.tobytes()): index for index, image in enumerate(others)}
    for number, image in enumerate(images):
        index = by_bytes.get(hash(image.tobytes()), -1)
        if index >= 0 and np.array_equal(others[index], image):
            indices[number] = index
    return indices


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels.

    Attributes:
        x: (n, ...) images.
        y: (n,) int64 labels.
        true: (n,) int64 labels before noise, or None if they are not known.
    """

    x: np.ndarray
    y: np.ndarray
    true: np.ndarray | None = None

    @classmethod
    def from_pair(cls, pair, name: str, true=None) -> "LabelledImages":
        """Checks a pair (x, y) and the true labels of x."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(
                f"Expected {name} as a pair (images, labels). Received: an object of type "
                f"{type(pair).__name__}."
            )
        x = as_images(pair[0], f"{name} images")
        y = as_labels(pair[1], len(x), f"{name} labels")
        return cls(x, y, None if true is None else as_labels(true, len(x), f"true {name} labels"))

    def take(self, index: np.ndarray) -> "LabelledImages":
        """The images with these indices, in this order."""
        return LabelledImages(
            self.x[index], self.y[index], None if self.true is None else self.true[index]
        )

    def probe_sample(self, limit: int, seed: int) -> "LabelledImages":
        """At most `limit` images in a random order, stratified by label."""
        return self.take(stratified_order(self.y, seed)[:limit])

    def subsets(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By name of a subset: (n,) mask of its images, and (n,) the labels to compare with."""
        everything = np.ones(len(self.y), bool)
        if self.true is None:
            return {"train": (everything, self.y)}
        wrong = self.y != self.true
        return {
            "train": (everything, self.y),
            "clean": (~wrong, self.y),
            "mislabeled_given": (wrong, self.y),
            "mislabeled_true": (wrong, self.true),
        }


@dataclass(frozen=True)
class EvaluationImages:
    """The evaluation images, whose representations are compared, in their fixed order.

    Attributes:
        x: (n, ...) images, n a multiple of `batch`.
        ids: (n,) ids of the images.
        given, true: (n,) given and true labels, or None.
        batch: number of images in a CKA batch.
        left_out: number of images that were left out so that n is a multiple of `batch`.
    """

    x: np.ndarray
    ids: np.ndarray
    given: np.ndarray | None
    true: np.ndarray | None
    batch: int
    left_out: int

    @classmethod
    def from_arrays(
        cls, images, labels, true, ids, batch_size: int, seed: int
    ) -> "EvaluationImages":
        """Checks the images, shuffles them (stratified by given label) and keeps whole batches."""
        x = as_images(images, "images")
        given = None if labels is None else as_labels(labels, len(x), "labels")
        true = given if true is None else as_labels(true, len(x), "images_true_labels")
        ids = np.arange(len(x)) if ids is None else np.asarray(ids)
        if ids.shape != (len(x),) or len(np.unique(ids)) != len(x):
            raise InputError(
                f"Expected sample_ids of shape ({len(x)},), all of them different. Received: "
                f"{len(np.unique(ids))} different ids in an array of shape {ids.shape}."
            )
        batch = batch_length(len(x), batch_size)
        strata = np.zeros(len(x), int) if given is None else given
        order = stratified_order(strata, seed)[: len(x) // batch * batch]
        return cls(
            x=x[order],
            ids=ids[order],
            given=None if given is None else given[order],
            true=None if true is None else true[order],
            batch=batch,
            left_out=len(x) - len(order),
        )

    @cached_property
    def hash(self) -> str:
        """Hash of the images, by which recordings of the same images are recognized."""
        return arrays_hash([self.x])

    def prepared(self, function: Callable[[np.ndarray], np.ndarray]) -> "EvaluationImages":
        """These images after a function of their pixels; the hash remains that of the images."""
        images = replace(self, x=function(self.x))
        images.__dict__["hash"] = self.hash
        return images


def arrays_hash(arrays) -> str:
    """SHA-256 of arrays: their dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

"""Checks and orders the input arrays of a recorder, and computes hashes of arrays."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import batch_length
from repdyn_keras.seeds import stratified_order
from repdyn_keras.text import format_names

LABELS_REMEDY = (
    "Give one class per image, numbered from 0, or leave out the labels (labelled=False in "
    "from_data) to record only fingerprints."
)


def as_images(images, name: str) -> Any:
    """`images` as an array (n, ...) of finite numbers, or as a structure of such arrays.

    A dict, or a list or tuple of arrays, holds one array for each input of a model.

    Raises:
        InputError: an array is no array of finite numbers, or the arrays differ in n.
    """
    if not is_structure(images):
        return as_array(images, name, least=2)
    arrays = mapped(images, lambda array: as_array(array, name, least=1))
    lengths = {len(array) for array in keras.tree.flatten(arrays)}
    if len(lengths) != 1:
        raise InputError(
            f"Expected {name} as arrays of one length, one entry per image. Received: arrays of "
            f"{format_names(sorted(lengths))} entries."
        )
    return arrays


def is_structure(images) -> bool:
    """Whether images are the arrays of several inputs, as Keras takes them."""
    if isinstance(images, dict):
        return True
    is_sequence = isinstance(images, list | tuple) and len(images) > 0
    return is_sequence and all(is_structure(x) or getattr(x, "ndim", 0) for x in images)


def mapped(images, function: Callable[[Any], np.ndarray]) -> Any:
    """A structure of inputs with the results of a function in place of the arrays."""
    if isinstance(images, dict):
        items = ((key, mapped(value, function)) for key, value in images.items())
        return OrderedDict(items) if isinstance(images, OrderedDict) else dict(items)
    if is_structure(images):
        values = [mapped(value, function) for value in images]
        return type(images)(*values) if hasattr(images, "_fields") else type(images)(values)
    return function(images)


def as_array(array, name: str, least: int) -> np.ndarray:
    """An array of finite numbers with at least so many axes; raises InputError otherwise."""
    array = dense(array, name)
    is_numeric = np.issubdtype(array.dtype, np.number) or array.dtype == bool
    if array.ndim < least or len(array) == 0 or not is_numeric:
        raise InputError(
            f"Expected {name} as numbers of shape (n, ...), one entry per image. Received: an "
            f"array of {array.dtype} of shape {array.shape}."
        )
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"Expected finite {name}. Received: NaN or infinite values.")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def dense(array, name: str) -> np.ndarray:
    """A tensor of any backend, or nested lists, as a NumPy array.

    Raises:
        InputError: its entries have different shapes.
    """
    kind = type(array).__name__
    try:
        if not kind.startswith(("Ragged", "Sparse")):
            # A tensor of torch may need gradients, or be on a GPU.
            return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    except ValueError:
        kind = "sequence of entries of different shapes"
    raise InputError(
        f"Expected {name} as dense arrays. Received: a {kind}. Pad them to one shape; an input of "
        "the model whose name holds 'mask' tells which positions are padding."
    )


def count(images) -> int:
    """The number of images in a structure of arrays."""
    return len(keras.tree.flatten(images)[0])


def taken(images, index) -> Any:
    """The images with an index, a slice or an array of indices, in the same structure."""
    return keras.tree.map_structure(lambda array: array[index], images)


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


def as_ids(ids, n: int, name: str) -> np.ndarray:
    """`ids` as an array (n,) of different numbers or texts; None gives 0 to n - 1."""
    if ids is None:
        return np.arange(n)
    values = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in ids]
    array = np.asarray(values)
    is_number = array.dtype.kind in "iuf" and bool(np.isfinite(array).all())
    is_text = array.dtype.kind == "U" and all(map(is_storable, values))
    if array.shape != (n,) or not (is_number or is_text):
        raise InputError(
            f"Expected {name} of shape ({n},): numbers, or texts without NUL characters. "
            f"Received: an array of {array.dtype} of shape {array.shape}."
        )
    if len(np.unique(array)) != n:
        raise InputError(
            f"Expected {name} of shape ({n},), all of them different. Received: "
            f"{len(np.unique(array))} different ids in an array of shape {array.shape}."
        )
    return array


def is_storable(text: str) -> bool:
    """Whether a file can hold a text: without NUL, and without parts that are no characters."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def indices_among(images, others) -> np.ndarray:
    """(n,) index of each image among other images; -1 if it is not among them.

    Args:
        images: (n, ...) images, or a structure of arrays.
        others: (m, ...) images of the same structure. Images are equal if all their pixels are.
    """
    parts, other_parts = keras.tree.flatten(images), keras.tree.flatten(others)
    indices = np.full(count(images), -1)
    kinds = [[(x.dtype, x.shape[1:]) for x in group] for group in (parts, other_parts)]
    if kinds[0] != kinds[1]:
        return indices

    def key(arrays, index):
        return hash(tuple(array[index].tobytes() for array in arrays))

    by_bytes = {key(other_parts, index): index for index in range(count(others))}
    for number in range(len(indices)):
        index = by_bytes.get(key(parts, number), -1)
        pairs = zip(parts, other_parts, strict=True)
        if index >= 0 and all(np.array_equal(x[number], y[index]) for x, y in pairs):
            indices[number] = index
    return indices


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels.

    Attributes:
        x: (n, ...) images, or a structure of arrays for several inputs.
        y: (n,) int64 labels.
        ids: (n,) ids of the images, all of them different.
        true: (n,) int64 labels before noise, or None if they are not known.
    """

    x: Any
    y: np.ndarray
    ids: np.ndarray
    true: np.ndarray | None = None

    @classmethod
    def from_pair(cls, pair, name: str, true=None, ids=None) -> "LabelledImages":
        """Checks a pair (x, y), the true labels of x, and its ids; None numbers the images."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(
                f"Expected {name} as a pair (images, labels). Received: an object of type "
                f"{type(pair).__name__}."
            )
        x = as_images(pair[0], f"{name} images")
        y = as_labels(pair[1], count(x), f"{name} labels")
        true = None if true is None else as_labels(true, len(y), f"true {name} labels")
        return cls(x, y, as_ids(ids, len(y), f"{name}_ids"), true)

    def take(self, index: np.ndarray) -> "LabelledImages":
        """The images with these indices, in this order."""
        true = None if self.true is None else self.true[index]
        return LabelledImages(taken(self.x, index), self.y[index], self.ids[index], true)

    def probe_sample(self, limit: int, seed: int) -> "LabelledImages":
        """At most `limit` images in a random order, stratified by true label if that is known."""
        strata = self.y if self.true is None else self.true
        return self.take(stratified_order(strata, seed)[:limit])

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
        x: (n, ...) images, or a structure of arrays for several inputs; n is a multiple of
            `batch`.
        ids: (n,) ids of the images.
        given, true: (n,) given and true labels, or None.
        batch: number of images in a CKA batch.
        left_out: number of images that were left out so that n is a multiple of `batch`.
    """

    x: Any
    ids: np.ndarray
    given: np.ndarray | None
    true: np.ndarray | None
    batch: int
    left_out: int

    @classmethod
    def from_arrays(
        cls, images, labels, true, ids, batch_size: int, seed: int
    ) -> "EvaluationImages":
        """Checks the images, shuffles them (stratified by true label) and keeps whole batches."""
        x = as_images(images, "images")
        n = count(x)
        given = None if labels is None else as_labels(labels, n, "labels")
        true = given if true is None else as_labels(true, n, "images_true_labels")
        ids = as_ids(ids, n, "sample_ids")
        batch = batch_length(n, batch_size)
        strata = np.zeros(n, int) if true is None else true
        order = stratified_order(strata, seed)[: n // batch * batch]
        return cls(
            x=taken(x, order),
            ids=ids[order],
            given=None if given is None else given[order],
            true=None if true is None else true[order],
            batch=batch,
            left_out=n - len(order),
        )

    @cached_property
    def hash(self) -> str:
        """Hash of the images, by which recordings of the same images are recognized."""
        return arrays_hash(keras.tree.flatten(self.x))

    def prepared(self, function: Callable[[Any], Any]) -> "EvaluationImages":
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

"""The images at the corners of planes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.inputs import EvaluationImages, as_images, as_labels, count
from repdyn_keras.text import format_names, quoted
from repdyn_keras.triplets import Triplet

MAX_NEAREST = 3


@dataclass(frozen=True)
class PlaneCorners:
    """The three images that each plane goes through.

    Attributes:
        x: (plane, 3, ...) images, or a structure of such arrays for several inputs.
        ids: (plane, 3) their ids.
        given, true: (plane, 3) given and true labels, or None.
    """

    x: Any
    ids: np.ndarray
    given: np.ndarray | None
    true: np.ndarray | None

    @classmethod
    def among(cls, images: EvaluationImages, indices: np.ndarray) -> "PlaneCorners":
        """The evaluation images with these indices (plane, 3)."""
        return cls(
            x=keras.tree.map_structure(lambda array: array[indices], images.x),
            ids=images.ids[indices],
            given=None if images.given is None else images.given[indices],
            true=None if images.true is None else images.true[indices],
        )

    @classmethod
    def named(cls, triplets: tuple[Triplet, ...], images, labels, true, ids) -> "PlaneCorners":
        """The images with these ids.

        Args:
            triplets: (plane, 3) ids.
            images: (n, ...) images among which they are, or a structure of arrays.
            labels, true: (n,) their given and true labels; None if they are not known.
            ids: (n,) ids of the images; None numbers them.

        Raises:
            InputError: there is no image of an id.
        """
        x = as_images(images, "images")
        n = count(x)
        given = None if labels is None else as_labels(labels, n, "labels")
        ids = np.arange(n) if ids is None else np.asarray(ids)
        whole = EvaluationImages(
            x=x,
            ids=ids,
            given=given,
            true=given if true is None else as_labels(true, n, "images_true_labels"),
            batch=n,
            left_out=0,
        )
        return cls.among(whole, indices_of(triplets, ids))

    def prepared(self, function: Callable[[Any], Any]) -> "PlaneCorners":
        """These images after a function of images (n, ...)."""
        shape = self.ids.shape
        flat = keras.tree.map_structure(lambda a: a.reshape(-1, *a.shape[2:]), self.x)
        x = keras.tree.map_structure(lambda a: a.reshape(*shape, *a.shape[1:]), function(flat))
        return replace(self, x=x)


def indices_of(triplets: tuple[Triplet, ...], ids: np.ndarray) -> np.ndarray:
    """(plane, 3) index of each id of the triplets; raises InputError if there is no such id."""
    known = {value: index for index, value in enumerate(ids.tolist())}
    for triplet in triplets:
        for each in triplet:
            if each not in known:
                raise unknown_id(each, triplet, ids)
    return np.array([[known[each] for each in triplet] for triplet in triplets], np.int64)


def unknown_id(given: int | str, triplet: Triplet, ids: np.ndarray) -> InputError:
    """The error for an id that no image has, with the nearest ones."""
    place = f"It is one of the triplet {quoted(triplet)} in planes."
    if not np.issubdtype(ids.dtype, np.integer):
        return unknown("image id", given, map(str, ids.tolist()), place)
    values = np.sort(ids)
    expected = f"one of {len(values)} image ids from {values[0]} to {values[-1]}"
    if isinstance(given, int) and len(values) <= values[-1] - values[0]:
        distances = [abs(value - given) for value in values.tolist()]
        closest = np.argsort(distances, kind="stable")[:MAX_NEAREST]
        expected += f", nearest: {format_names(sorted(values[closest].tolist()))}"
    return InputError(f"Unknown image id. Expected {expected}. Received: {quoted(given)}. {place}")

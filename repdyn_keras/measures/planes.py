"""Planes through three images, and grids of points on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, quoted

# Minimum distance of the third image from the line through the first two, relative to its distance
# from the first. Below it, rounding errors would determine the plane.
COLLINEAR = 1e-5


@dataclass(frozen=True)
class Plane:
    """A plane through three images and the extent of a grid on it.

    Attributes:
        origin: (d,) the first image, flattened.
        axes: (2, d) orthonormal vectors, by Gram-Schmidt.
        corners: (3, 2) coordinates of the three images along the axes.
        low, high: (2,) the extent of the grid.
    """

    origin: np.ndarray
    axes: np.ndarray
    corners: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def grid(self, resolution: int) -> np.ndarray:
        """(resolution, resolution, 2) coordinates; rows run along the second axis, upwards.

        The points are the centres of equal cells that fill the extent, so that each stands for the
        same area. Points on the edge would stand for half a cell, and bias the agreement of coarse
        grids.
        """
        shares = (np.arange(resolution) + 0.5) / resolution
        first, second = (self.low + shares[:, None] * (self.high - self.low)).T
        return np.stack(np.meshgrid(first, second), axis=-1)

    def positions(self, resolution: int) -> np.ndarray:
        """(3, 2) fractional row and column of the three images on the grid."""
        spacing = (self.high - self.low) / resolution
        return ((self.corners - self.low) / spacing)[:, ::-1] - 0.5


def plane_through(images: np.ndarray, margin: float = 0.1) -> Plane | None:
    """The plane through three images, or None if they are collinear or not distinct.

    Source: Somepalli et al. 2022 (arXiv 2203.08124): a Gram-Schmidt basis, and the bounding box of
    the three points, widened by 0.1 of its extent on each side. Points are not clipped.

    Args:
        images: (3, ...) images.
        margin: widening on each side, relative to the extent of the bounding box.
    """
    points = np.asarray(images, np.float64).reshape(3, -1)
    first, second = points[1] - points[0], points[2] - points[0]
    length, distance = np.linalg.norm(first), np.linalg.norm(second)
    if length == 0 or distance == 0:
        return None
    first = first / length
    along = second @ first
    rest = second - along * first
    rest -= (rest @ first) * first
    height = np.linalg.norm(rest)
    if height <= COLLINEAR * distance:
        return None
    corners = np.array([[0, 0], [length, 0], [along, height]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    widening = margin * (high - low)
    return Plane(
        origin=points[0],
        axes=np.stack([first, rest / height]),
        corners=corners,
        low=low - widening,
        high=high + widening,
    )


def draw_planes(
    images: np.ndarray, labels: np.ndarray, count: int, margin: float, seed: int
) -> tuple[np.ndarray, list[Plane]]:
    """Draws random planes through three images of three distinct classes, if there are so many.

    With two classes, a plane goes through two images of one class and one of the other; with one
    class, through three images of it. Triplets that span no plane are drawn again.

    Args:
        images: (n, ...) images.
        labels: (n,) classes of the images.
        count: number of planes.
        margin: as for `plane_through`.
        seed: seed of the draw.

    Returns:
        (count, 3) indices of the corners' images, and the planes.

    Raises:
        InputError: too few distinct triplets span a plane.
    """
    rng = np.random.default_rng(seed)
    members = {value: np.flatnonzero(labels == value) for value in np.unique(labels)}
    triplets: list[tuple[int, ...]] = []
    planes: list[Plane] = []
    seen: set[frozenset[int]] = set()
    tries = 100 * count
    while len(planes) < count:
        if tries == 0:
            raise InputError(
                f"Expected images that span {count} planes. Received: images that span only "
                f"{len(planes)}: too few images of distinct classes, or repeated or collinear "
                "images. Use more distinct images or fewer planes."
            )
        tries -= 1
        triplet = draw_triplet(members, rng)
        plane = plane_through(images[list(triplet)], margin)
        if plane is None or frozenset(triplet) in seen:
            continue
        seen.add(frozenset(triplet))
        triplets.append(triplet)
        planes.append(plane)
    return np.array(triplets, dtype=np.int64).reshape(count, 3), planes


def planes_through(images: np.ndarray, names: Sequence[object], margin: float) -> list[Plane]:
    """The planes through given images.

    Args:
        images: (plane, 3, ...) images.
        names: (plane,) what each plane is called in a message, such as the ids of its images.
        margin: as for `plane_through`.

    Raises:
        InputError: three images are on a line.
    """
    planes = []
    for name, three in zip(names, images, strict=True):
        plane = plane_through(three, margin)
        if plane is None:
            raise InputError(
                "Expected three images that are not on one line for each plane in planes. "
                f"Received: {quoted(name)}, whose images are on a line, or equal. Replace one of "
                "them."
            )
        planes.append(plane)
    return planes


def draw_triplet(members: dict[int, np.ndarray], rng: np.random.Generator) -> tuple[int, ...]:
    """Indices of three images, of as many classes as possible; repeated if there are too few.

    Args:
        members: indices of the images of each class.
        rng: the generator to draw from.
    """
    classes = np.array(list(members))
    if len(classes) >= 3:
        return tuple(int(rng.choice(members[c])) for c in rng.choice(classes, 3, replace=False))
    order = rng.permutation(classes)
    counts = (2, 1) if len(classes) == 2 else (3,)
    return tuple(
        int(index)
        for value, size in zip(order, counts, strict=True)
        for index in rng.choice(members[value], size, replace=len(members[value]) < size)
    )


def planes_notice(labels: np.ndarray | None) -> str:
    """A message about planes through images of fewer than three classes; empty for more.

    Args:
        labels: (n,) classes of the images that planes go through.
    """
    count = 0 if labels is None else len(np.unique(labels))
    if count == 2:
        return (
            "the evaluation images are of 2 classes: each plane goes through two images of one "
            "class and one of the other."
        )
    if count == 1:
        return (
            "the evaluation images are all of one class: each plane goes through three images of "
            "it."
        )
    return ""


def corners_notice(names: Sequence[object], labels: np.ndarray) -> str:
    """A message about given planes through images of fewer than three classes; empty for others.

    Args:
        names: (plane,) what each plane is called.
        labels: (plane, 3) classes of its images.
    """
    few = [name for name, three in zip(names, labels, strict=True) if len(set(three.tolist())) < 3]
    if not few:
        return ""
    return (
        f"{len(few)} of {len(names)} planes go through images of fewer than three true classes: "
        f"{format_names(few)}."
    )

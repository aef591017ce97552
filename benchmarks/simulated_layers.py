"""Simulated layers of which it is known whether and where they have phases.

A layer is a path of unit vectors (its states) plus scatter, at recorded epochs 0, 1, 2, ... spaced
by a sixth of an octave. Its similarities are the cosines between records.
"""

from dataclasses import dataclass

import numpy as np

DRIFTS = (
    "still",
    "straight",
    "curved",
    "walk",
    "rough walk",
    "fast middle",
    "settling",
    "falling noise",
)
TRUTHS = ("step", "two steps", "freeze", "step and freeze")
NOISES = (0.005, 0.02, 0.1, 0.25)
RECORDS, DIMENSIONS, COLOURS = (20, 31, 40), (10, 30, 100), (0.0, 0.5)
# 1 - similarity of the two ends of a drift, and of the states before and after a step.
EXTENTS, STEP = (0.1, 0.3, 0.6), 0.2


@dataclass(frozen=True)
class Layer:
    """A simulated layer.

    Attributes:
        gram: (t, t) similarities.
        epochs: (t,) epochs of the records.
        borders: indices of the first records of new phases.
        family, noise, dimension, colour: how it was made: noise is the share of scatter in the
            squared norm of a record (before a freeze, or at the start where it falls), dimension
            the number of its dimensions, colour its correlation between successive records.
    """

    gram: np.ndarray
    epochs: np.ndarray
    borders: list[int]
    family: str
    noise: float
    dimension: int
    colour: float


def simulated_layer(family: str, noise: float, seed: list[int]) -> Layer:
    """One layer with random numbers of records and dimensions, colour and extent.

    Args:
        family: one of DRIFTS and TRUTHS.
        noise: share of scatter.
        seed: seed of everything that is random.
    """
    rng = np.random.default_rng(seed)
    t, dimension, colour = (rng.choice(values) for values in (RECORDS, DIMENSIONS, COLOURS))
    scheduled = np.unique(np.round(2 ** (np.arange(60) / 6)).astype(int))
    epochs = np.concatenate([[0], scheduled[: t - 1]])
    u = np.log2(1 + epochs)
    if family in DRIFTS:
        path, shares = drift(family, u, noise, rng)
        borders: list[int] = []
    else:
        path, shares, borders = changes(family, u, noise, rng)
    if family == "falling noise":
        dimension = max(dimension, 90)  # the more dimensions, the clearer the fall
    gram = similarities(path, shares, int(dimension), float(colour), rng)
    return Layer(gram, epochs, borders, family, noise, int(dimension), float(colour))


def arc(angles: np.ndarray, axes: int = 2) -> np.ndarray:
    """(t, axes) points on a great circle at angles."""
    points = np.zeros((len(angles), axes))
    points[:, 0], points[:, 1] = np.cos(angles), np.sin(angles)
    return points


def drift(
    family: str, u: np.ndarray, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(t, axes) states that change smoothly, and (t,) noise shares."""
    t, along = len(u), (u - u[0]) / (u[-1] - u[0])
    extent = rng.choice(EXTENTS)
    angle = np.arccos(1 - extent)
    shares = np.full(t, noise)
    if family == "still":
        return arc(0 * along), shares
    if family == "straight":
        return arc(angle * along), shares
    if family == "curved":
        orders = np.arange(1, 5)
        phase = np.pi * orders * along[:, None] + rng.uniform(0, 2 * np.pi, 4)
        size = np.sqrt(extent) * rng.uniform(0.5, 1, 4) / orders
        return np.hstack([np.ones((t, 1)), size * np.cos(phase), size * np.sin(phase)]), shares
    if family in ("walk", "rough walk"):
        axes, reach = (20, extent) if family == "walk" else (8, 1.5)
        steps = rng.normal(size=(t, axes)) * np.sqrt(2 * reach / axes)
        steps *= np.sqrt(np.diff(along, prepend=0))[:, None]
        return np.hstack([np.ones((t, 1)), steps.cumsum(axis=0)]), shares
    if family == "fast middle":  # 80% of the change in 2.6 octaves
        middle = u[0] + rng.uniform(0.35, 0.65) * (u[-1] - u[0])
        return arc(angle / (1 + np.exp(-(u - middle) / 0.6))), shares
    if family == "settling":  # most of the change in the first octaves
        slowing = 1 - np.exp(-(u - u[0]) / rng.choice([1.0, 2.0]))
        return arc(1.5 * angle * slowing), noise * np.exp(-(u - u[0]) / 4)
    return arc(0.5 * angle * along), noise * 0.05**along


def changes(
    family: str, u: np.ndarray, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """(t, axes) states with sharp changes, (t,) noise shares, and the borders.

    Half of the paths drift, too. A freeze reduces the scatter to a tenth, and to at most 0.01.
    """
    t, index = len(u), np.arange(len(u))
    along = (u - u[0]) / (u[-1] - u[0])
    angle, shares = np.arccos(1 - STEP), np.full(t, noise)
    slow = 0.5 * angle * along * rng.integers(0, 2)
    frozen = min(0.01, noise / 10)

    def between(low: float, high: float) -> int:
        return int(np.searchsorted(along, rng.uniform(low, high)))

    if family == "freeze":
        border = between(0.35, 0.8)
        shares[border:] = frozen
        return arc(np.minimum(slow, slow[border])), shares, [border]
    borders = [between(0.3, 0.75)] if family == "step" else [between(0.25, 0.4)]
    if family != "step":
        borders.append(between(0.62, 0.78))
    path = arc(slow, 4)
    for axis, border in enumerate(borders[: 2 if family == "two steps" else 1], 2):
        path[border:] *= np.cos(angle)
        path[index >= border, axis] = np.sin(angle)
    if family == "step and freeze":
        shares[borders[1] :] = frozen
    return path, shares, borders


def similarities(
    path: np.ndarray, shares: np.ndarray, dimension: int, colour: float, rng: np.random.Generator
) -> np.ndarray:
    """(t, t) cosines between records, which scatter in half of the path's axes and in others."""
    t, axes = path.shape
    path = path / np.linalg.norm(path, axis=1, keepdims=True)
    scatter = rng.normal(size=(t, dimension)) / np.sqrt(dimension)
    for record in range(1, t):
        scatter[record] *= np.sqrt(1 - colour**2)
        scatter[record] += colour * scatter[record - 1]
    records = np.zeros((t, axes + dimension))
    records[:, :axes] = np.sqrt(1 - shares)[:, None] * path
    start = axes // 2
    records[:, start : start + dimension] += np.sqrt(shares)[:, None] * scatter
    records /= np.linalg.norm(records, axis=1, keepdims=True)
    return records @ records.T

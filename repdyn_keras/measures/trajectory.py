"""Paths of layers through training, computed from epoch x epoch similarity matrices.

A positive semidefinite matrix G of similarities is the Gram matrix of one point for each epoch:
|point_s - point_t|^2 = G_ss + G_tt - 2 G_st. These points are the path.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import median_filter


def octaves(epochs: np.ndarray) -> np.ndarray:
    """The axis of paths, u = log2(1 + epoch)."""
    return np.log2(1.0 + np.asarray(epochs, float))


def trapezoid_widths(u: np.ndarray) -> np.ndarray:
    """(t,) widths of the points on an axis as in the trapezoidal rule."""
    steps = np.diff(u)
    return np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2


def jitter(gram: np.ndarray) -> np.ndarray:
    """(t,) squared size of each point's scatter around a smooth path.

    s_t = max(0, G_tt + G_(t-1,t+1) - G_(t-1,t) - G_(t,t+1)), with copied ends and a running median
    of 3. The expectation of s_t is the squared size of white scatter around a smooth path.

    Args:
        gram: (t, t) similarities, t >= 3.
    """
    diagonal = np.diagonal(gram)
    inner = diagonal[1:-1] + np.diagonal(gram, 2) - np.diagonal(gram, 1)[:-1]
    inner = np.maximum(0, inner - np.diagonal(gram, 1)[1:])
    return median_filter(np.concatenate([inner[:1], inner, inner[-1:]]), 3, mode="nearest")


def squared_steps(gram: np.ndarray) -> np.ndarray:
    """(t - 1,) squared distances between successive points."""
    diagonal = np.diagonal(gram)
    return np.maximum(0, diagonal[:-1] + diagonal[1:] - 2 * np.diagonal(gram, 1))


def step_shares(gram: np.ndarray) -> np.ndarray:
    """(t - 1,) share of each step in the sum of squared steps, after subtracting jitter.

    All NaN if no step is larger than the jitter.
    """
    scatter = jitter(gram)
    steps = np.maximum(0, squared_steps(gram) - scatter[:-1] - scatter[1:])
    total = steps.sum()
    return steps / total if total > 0 else np.full_like(steps, np.nan)


def progress(shares: np.ndarray) -> np.ndarray:
    """(t,) cumulative sum of step shares, from 0 to 1."""
    return np.concatenate([[0.0], np.cumsum(shares)])


def settling_index(gram: np.ndarray, level: float = 0.95) -> int:
    """First index from which the similarity to the final point stays above `level`."""
    below = np.flatnonzero(~(gram[:, -1] > level))
    return int(below[-1]) + 1 if len(below) else 0


def defined_records(gram: np.ndarray) -> np.ndarray:
    """Indices of the records at which a layer's similarities are defined."""
    return np.flatnonzero(~np.isnan(np.diagonal(gram)))


# Maximum number of matrix entries of the surrogates that are held at a time.
MAX_CHUNK_ENTRIES = 1 << 20


def even_pace_surrogates(
    gram: np.ndarray, u: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Similarity matrices of simulated paths with the same shape but without phases.

    The jitter is subtracted from the diagonal, and the path is smoothed by (1, 2, 1) / 4 except at
    its ends. A surrogate advances along the arc length of this path, which is linear between its
    points, by increments drawn from Gamma(2 du / mean du) and rescaled to the total length. Finally
    the jitter is added back in random order.

    Args:
        gram: (t, t) similarities, finite, t >= 3.
        u: (t,) the axis of the path, increasing.
        count: number of surrogates.
        rng: source of randomness.

    Yields:
        (k, t, t) similarities of the next k surrogates.
    """
    t = len(gram)
    scatter = jitter(gram)
    smoother = smoothing(t)
    path = smoother @ (gram - np.diag(scatter)) @ smoother.T
    length = np.concatenate([[0.0], np.cumsum(np.sqrt(squared_steps(path)))])
    du = np.diff(u)
    pace = rng.gamma(2 * du / du.mean(), size=(count, t - 1))
    distances = np.concatenate([np.zeros((count, 1)), np.cumsum(pace, axis=1)], axis=1)
    distances *= length[-1] / distances[:, -1:]
    permuted_jitter = rng.permuted(np.tile(scatter, (count, 1)), axis=1)
    index = np.arange(t)
    chunk_size = max(1, MAX_CHUNK_ENTRIES // t**2)
    for start in range(0, count, chunk_size):
        group = slice(start, start + chunk_size)
        weights = interpolation(length, distances[group])
        surrogates = weights @ path @ weights.swapaxes(1, 2)
        surrogates[:, index, index] += permuted_jitter[group]
        yield surrogates


def smoothing(t: int) -> np.ndarray:
    """(t, t) matrix of a running mean with weights (1, 2, 1) / 4; the end points are unchanged."""
    matrix = 0.5 * np.eye(t) + 0.25 * (np.eye(t, k=1) + np.eye(t, k=-1))
    matrix[[0, -1]] = 0
    matrix[0, 0] = matrix[-1, -1] = 1
    return matrix


def interpolation(length: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Weights of linear interpolation at given arc lengths of a path.

    Args:
        length: (t,) arc length at each point of the path, not decreasing.
        distances: (count, t) arc lengths at which to interpolate.

    Returns:
        (count, t, t) weights of the path's points. Rows sum to 1 and have at most two nonzero
        entries.
    """
    count, t = distances.shape
    after = np.clip(np.searchsorted(length, distances, side="right"), 1, t - 1)
    gap = length[after] - length[after - 1]
    part = np.divide(
        distances - length[after - 1], gap, out=np.zeros_like(distances), where=gap > 0
    ).clip(0, 1)
    weights = np.zeros((count, t, t))
    np.put_along_axis(weights, after[..., None], part[..., None], axis=2)
    np.put_along_axis(weights, after[..., None] - 1, 1 - part[..., None], axis=2)
    return weights

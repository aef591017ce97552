"""A layer's path through training, computed from its epoch x epoch similarity matrix.

A positive semidefinite matrix G of similarities is the Gram matrix of points, one for each epoch:
|point_s - point_t|^2 = G_ss + G_tt - 2 G_st. These points are the path.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import median_filter


def octaves(epochs: np.ndarray) -> np.ndarray:
    """The axis that paths are measured on, u = log2(1 + epoch)."""
    return np.log2(1.0 + np.asarray(epochs, float))


def trapezoid_widths(u: np.ndarray) -> np.ndarray:
    """(t,) trapezoid widths of points on an axis: the part of the axis that each represents."""
    steps = np.diff(u)
    return np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2


def jitter(gram: np.ndarray) -> np.ndarray:
    """(t,) squared size of each point's scatter around a smooth path.

    s_t = max(0, G_tt + G_(t-1,t+1) - G_(t-1,t) - G_(t,t+1)), ends copied, running median of 3:
    white scatter around a smooth path has exactly this expectation.

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
    """(t - 1,) each step's share of the path's squared steps, less jitter; sums to 1.

    NaN where no step is larger than the jitter.
    """
    scatter = jitter(gram)
    steps = np.maximum(0, squared_steps(gram) - scatter[:-1] - scatter[1:])
    total = steps.sum()
    return steps / total if total > 0 else np.full_like(steps, np.nan)


def progress(shares: np.ndarray) -> np.ndarray:
    """(t,) running sum of step shares, from 0 to 1."""
    return np.concatenate([[0.0], np.cumsum(shares)])


def settling_index(gram: np.ndarray, level: float = 0.95) -> int:
    """First index from which the similarity to the final point stays above `level`."""
    below = np.flatnonzero(~(gram[:, -1] > level))
    return int(below[-1]) + 1 if len(below) else 0


def defined_records(gram: np.ndarray) -> np.ndarray:
    """Indices of the records at which a layer's similarities are defined."""
    return np.flatnonzero(~np.isnan(np.diagonal(gram)))


# Matrix entries of the surrogates that are held at a time.
MAX_CHUNK_ENTRIES = 1 << 20


def even_pace_surrogates(
    gram: np.ndarray, u: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Similarity matrices of paths of the same shape without phases.

    The jitter is subtracted from the diagonal and the path smoothed by (1, 2, 1) / 4, ends copied.
    The surrogate advances along its arc length by increments drawn from Gamma(2 du / mean du),
    rescaled to the length; between two points the path is linear. Permuted jitter is added back.

    Args:
        gram: (t, t) similarities, finite, t >= 3.
        u: (t,) the axis of the path, increasing.
        count: number of surrogates.
        rng: source of randomness.

    Yields:
        (k, t, t) similarities, until `count` surrogates were yielded.
    """
    t = len(gram)
    scatter = jitter(gram)
    smoother = smoothing(t)
    path = smoother @ (gram - np.diag(scatter)) @ smoother.T
    length = np.concatenate([[0.0], np.cumsum(np.sqrt(squared_steps(path)))])
    du = np.diff(u)
    pace = rng.gamma(2 * du / du.mean(), size=(count, t - 1))
    walked = np.concatenate([np.zeros((count, 1)), np.cumsum(pace, axis=1)], axis=1)
    walked *= length[-1] / walked[:, -1:]
    put_back = rng.permuted(np.tile(scatter, (count, 1)), axis=1)
    index = np.arange(t)
    at_once = max(1, MAX_CHUNK_ENTRIES // t**2)
    for start in range(0, count, at_once):
        group = slice(start, start + at_once)
        weights = interpolation(length, walked[group])
        surrogates = weights @ path @ weights.swapaxes(1, 2)
        surrogates[:, index, index] += put_back[group]
        yield surrogates


def smoothing(t: int) -> np.ndarray:
    """(t, t) running mean with weights (1, 2, 1) / 4; the end points stay."""
    matrix = 0.5 * np.eye(t) + 0.25 * (np.eye(t, k=1) + np.eye(t, k=-1))
    matrix[[0, -1]] = 0
    matrix[0, 0] = matrix[-1, -1] = 1
    return matrix


def interpolation(length: np.ndarray, walked: np.ndarray) -> np.ndarray:
    """Weights of the path's points in the points at given arc lengths.

    Args:
        length: (t,) arc length at each point of the path, not decreasing.
        walked: (count, t) arc lengths wanted.

    Returns:
        (count, t, t), rows sum to 1, at most two entries of a row are not 0.
    """
    count, t = walked.shape
    after = np.clip(np.searchsorted(length, walked, side="right"), 1, t - 1)
    gap = length[after] - length[after - 1]
    part = np.divide(
        walked - length[after - 1], gap, out=np.zeros_like(walked), where=gap > 0
    ).clip(0, 1)
    weights = np.zeros((count, t, t))
    np.put_along_axis(weights, after[..., None], part[..., None], axis=2)
    np.put_along_axis(weights, after[..., None] - 1, 1 - part[..., None], axis=2)
    return weights

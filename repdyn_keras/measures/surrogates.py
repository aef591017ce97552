"""Even-pace surrogates: the same path, traversed at a steady random pace."""

from collections.abc import Iterator

import numpy as np

from repdyn_keras.measures.trajectory import jitter, squared_steps

# Matrix entries of the surrogates that are held at a time.
NUMBERS_AT_ONCE = 1 << 20


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
    at_once = max(1, NUMBERS_AT_ONCE // t**2)
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

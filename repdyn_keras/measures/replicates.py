"""Replicates of a layer: its own states at its own epochs, with new scatter.

Unlike the surrogates of phases, replicates keep every change of the layer, also those between two
records at the start, which `trails.fit_trail` takes for scatter.
"""

import numpy as np

from repdyn_keras.measures.surrogates import redrawn
from repdyn_keras.measures.trajectory import noise_shares, states

# The states are smoothed in this many passes where this many times the scatter exceeds their steps.
SMOOTHING_PASSES, SMOOTHING_RATIO = 3, 4
NOISE_OFFSET, MAX_NOISE = 0.01, 0.9
# Bounds of the estimated dimension of the scatter, and the dimension taken where it is unknown.
MIN_DIMENSION, MAX_DIMENSION, UNKNOWN_DIMENSION = 5, 200, 30
# Least mean noise share and number of pairs of records that the dimension is estimated from.
MIN_MEAN_NOISE, MIN_PAIRS = 0.005, 10
# Median of the square of a standard normal number.
MEDIAN_SQUARE = 0.455


def smoothed_states(gram: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points of a layer's states, averaged with their neighbours where scatter exceeds the steps.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, t >= 3.
        shares: (t,) noise shares.

    Returns:
        (t, t) unit vectors, the axis of the largest extent first.
    """
    similarities = np.clip(states(gram, shares), -1, 1)
    values, vectors = np.linalg.eigh(similarities)
    points = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    steps = np.maximum(2 - 2 * np.diagonal(similarities, 1), 0)
    steps = (steps[:-1] + steps[1:]) / 2
    scatter = (SMOOTHING_RATIO * shares[1:-1]) ** 2
    weight = (scatter / (scatter + steps**2 + 1e-12))[:, None]
    for _ in range(SMOOTHING_PASSES):
        neighbours = (points[:-2] + points[2:]) / 2
        points[1:-1] += weight / 2 * (neighbours - points[1:-1])
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)


def noise_dimension(gram: np.ndarray, shares: np.ndarray) -> int:
    """Dimension of the scatter, from the deviations of similarities between distant records.

    A second difference of G in both records has the variance n_s n_t / d for independent scatter in
    d dimensions. 30 where the scatter is too small or the records too few to tell.

    Args:
        gram: (t, t) similarities with unit diagonal, t >= 3.
        shares: (t,) noise shares n.

    Returns:
        The dimension, between 5 and 200.
    """
    difference = np.array([1, -2, 1]) / np.sqrt(6)
    t = len(gram)
    rows = sum(c * gram[i : t - 2 + i] for i, c in enumerate(difference))
    both = sum(c * rows[:, i : t - 2 + i] for i, c in enumerate(difference))
    expected = np.outer(shares[1:-1], shares[1:-1])
    used = np.triu(expected > 1e-6, 3)
    if shares.mean() < MIN_MEAN_NOISE or used.sum() < MIN_PAIRS:
        return UNKNOWN_DIMENSION
    typical = max(float(np.median(both[used] ** 2 / expected[used])), 1e-9)
    return int(np.clip(MEDIAN_SQUARE / typical, MIN_DIMENSION, MAX_DIMENSION))


def replicates(gram: np.ndarray, u: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Similarity matrices of a layer's states with new scatter.

    The scatter is normal and white, with the layer's noise shares (see `surrogates.redrawn`) and
    dimension, on the leading axes of the states.

    Source: a method of this project.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite, t >= 3.
        u: (t,) octaves of the records, increasing.
        count: number of replicates.
        rng: source of randomness.

    Returns:
        (count, t, t) similarities with unit diagonal.
    """
    shares = noise_shares(gram, u)
    points, dimension, t = smoothed_states(gram, shares), noise_dimension(gram, shares), len(u)
    scatter = redrawn(u, shares, NOISE_OFFSET, count, rng).clip(0, MAX_NOISE)[..., None]
    paths = np.zeros((count, t, max(t, dimension)))
    paths[:, :, :t] = np.sqrt(1 - scatter) * points
    normal = rng.standard_normal((count, t, dimension))
    paths[:, :, :dimension] += np.sqrt(scatter / dimension) * normal
    paths /= np.linalg.norm(paths, axis=2, keepdims=True)
    return paths @ paths.swapaxes(1, 2)

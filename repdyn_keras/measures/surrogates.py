"""Surrogates of a layer: simulated paths of the same shape that change at a smooth pace."""

import numpy as np

from repdyn_keras.measures.trajectory import noise_dimension, noise_shares, states

# Paces and noise shares are smoothed in the logarithm, after adding these offsets.
PACE_OFFSET, NOISE_OFFSET = 0.1, 0.01
# Deviation, in octaves, of the Gaussian weights that paces and noise shares are smoothed with.
BANDWIDTH = 1.0
# Largest deviation of the lognormal lumps of a pace or noise share.
MAX_LUMPS = 0.6
MAX_SURROGATE_NOISE = 0.9
# The trail is smoothed in this many passes where this many times the scatter exceeds its steps.
SMOOTHING_PASSES, SMOOTHING_RATIO = 3, 4


def surrogates(
    gram: np.ndarray,
    u: np.ndarray,
    count: int,
    rng: np.random.Generator,
    smooth_pace: bool = True,
) -> np.ndarray:
    """Similarity matrices of paths with the same trail, walked at a smooth pace, with scatter.

    The pace and the noise shares of a surrogate are smooth courses times lognormal lumps, which are
    as large as the residuals of the layer's own, see `redrawn`. The scatter is normal in as many
    dimensions as that of the layer, and shares the leading axes of the trail.

    Source: a method of this project.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite, t >= 3.
        u: (t,) octaves of the records, increasing.
        count: number of surrogates.
        rng: source of randomness.
        smooth_pace: False leaves the pace as it is, so that the surrogates differ from the layer
            by their scatter alone.

    Returns:
        (count, t, t) similarities with unit diagonal.
    """
    shares = noise_shares(gram, u)
    dimension = noise_dimension(gram, shares)
    points = trail(gram, shares)
    if smooth_pace:
        walked = walks(points, u, count, rng)
    else:
        walked = np.broadcast_to(points, (count, *points.shape))
    scatter = redrawn(u, shares, NOISE_OFFSET, count, rng).clip(0, MAX_SURROGATE_NOISE)[..., None]
    t = len(u)
    paths = np.zeros((count, t, max(t, dimension)))
    paths[:, :, :t] = np.sqrt(1 - scatter) * walked
    normal = rng.standard_normal((count, t, dimension))
    paths[:, :, :dimension] += np.sqrt(scatter / dimension) * normal
    paths /= np.linalg.norm(paths, axis=2, keepdims=True)
    return paths @ paths.swapaxes(1, 2)


def trail(gram: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points of a layer's states, smoothed where their steps are smaller than the scatter.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite.
        shares: (t,) noise shares.

    Returns:
        (t, t) unit vectors, the axis of the largest extent first.
    """
    similarities = states(gram, shares)
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


def walks(points: np.ndarray, u: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Paths along a trail at a smooth random pace, from its start to its end.

    Args:
        points: (t, t) unit vectors of the trail, which is linear between them.
        u: (t,) octaves of the records, increasing.
        count: number of paths.
        rng: source of randomness.

    Returns:
        (count, t, t) unit vectors.
    """
    gaps = np.diff(u)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    pace = redrawn((u[1:] + u[:-1]) / 2, steps / gaps, PACE_OFFSET, count, rng)
    walked = np.zeros((count, len(u)))
    walked[:, 1:] = np.cumsum(np.maximum(pace, 1e-9) * gaps, axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    walked *= length[-1] / walked[:, -1:]
    after = np.clip(np.searchsorted(length, walked, side="right"), 1, len(u) - 1)
    gap = length[after] - length[after - 1]
    part = np.divide(walked - length[after - 1], gap, out=np.zeros_like(walked), where=gap > 0)
    part = part.clip(0, 1)[..., None]
    paths = points[after - 1] * (1 - part) + points[after] * part
    return paths / np.maximum(np.linalg.norm(paths, axis=2, keepdims=True), 1e-9)


def redrawn(
    at: np.ndarray, values: np.ndarray, offset: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Smooth courses of a nonnegative quantity, times lognormal lumps.

    The course is a local-linear fit of log(value + offset). The deviation of the lumps is that of
    the residuals (1.4826 times their median absolute deviation), at most 0.6.

    Args:
        at: (k,) positions, octaves.
        values: (k,) values.
        offset: added before the logarithm.
        count: number of courses.
        rng: source of randomness.

    Returns:
        (count, k) values; those below 0 are due to the offset.
    """
    logs = np.log(values + offset)
    smooth = local_linear(at, logs)
    residuals = logs - smooth
    deviation = 1.4826 * np.median(np.abs(residuals - np.median(residuals)))
    lumps = min(deviation, MAX_LUMPS) * rng.standard_normal((count, len(at)))
    return np.exp(smooth + lumps) - offset


def local_linear(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(k,) local-linear fit of (k,) values at their positions, with Gaussian weights."""
    distance = at - at[:, None]
    weight = np.exp(-0.5 * (distance / BANDWIDTH) ** 2)
    first = weight * distance
    s0, s1, s2 = weight.sum(axis=1), first.sum(axis=1), (first * distance).sum(axis=1)
    determinant = np.maximum(s0 * s2 - s1**2, 1e-9)
    return (s2 * (weight @ values) - s1 * (first @ values)) / determinant

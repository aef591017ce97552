"""Surrogates of a layer: simulated paths with the same trail that change at a smooth pace."""

import numpy as np

from repdyn_keras.measures.trails import Trail, local_linear

# Paces and noise shares are smoothed in the logarithm, after adding these offsets.
PACE_OFFSET, NOISE_OFFSET = 0.1, 0.01
# Deviation, in octaves, of the Gaussian weights that paces and noise shares are smoothed with.
BANDWIDTH = 1.0
# Largest deviation of the lognormal lumps of a pace or noise share.
MAX_LUMPS = 0.6
MAX_SURROGATE_NOISE = 0.9
# Records that say less than this about the scatter are left out of the deviation of its lumps.
MIN_WEIGHT, MIN_WEIGHTED = 0.3, 4


def surrogates(trail: Trail, u: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Similarity matrices of paths with the same trail, walked at a smooth pace, with scatter.

    The pace and the noise shares of a surrogate are smooth courses times lognormal lumps, which are
    as large as the residuals of the layer's own, see `redrawn`. The scatter is normal, with the
    dimension and the colour of the layer's, and shares the leading axes of the trail.

    Source: a method of this project.

    Args:
        trail: the trail of the layer.
        u: (t,) octaves of the records, increasing.
        count: number of surrogates.
        rng: source of randomness.

    Returns:
        (count, t, t) float32 similarities with unit diagonal.
    """
    t, dimension = len(u), trail.dimension
    walked = walks(trail.points, u, count, rng)
    # The squared length of normal scatter varies by itself: log(chi2_d / d) has variance 2 / d.
    shares = redrawn(
        u, trail.residual_shares, NOISE_OFFSET, count, rng, trail.weights, 2 / dimension
    )
    shares = shares.clip(0, MAX_SURROGATE_NOISE).astype(np.float32)[..., None]
    paths = np.zeros((count, t, max(t, dimension)), np.float32)
    paths[:, :, :t] = np.sqrt(1 - shares) * walked
    scatter = rng.standard_normal((count, t, dimension), np.float32)
    for record in range(1, t if trail.colour else 0):
        scatter[:, record] *= np.float32(np.sqrt(1 - trail.colour**2))
        scatter[:, record] += np.float32(trail.colour) * scatter[:, record - 1]
    paths[:, :, :dimension] += np.sqrt(shares / dimension) * scatter
    paths /= np.linalg.norm(paths, axis=2, keepdims=True)
    return paths @ paths.swapaxes(1, 2)


def walks(points: np.ndarray, u: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Paths along a trail at a smooth random pace, from its start to its end.

    Args:
        points: (t, t) unit vectors of the trail, which is linear between them.
        u: (t,) octaves of the records, increasing.
        count: number of paths.
        rng: source of randomness.

    Returns:
        (count, t, t) float32 unit vectors.
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
    part = part.clip(0, 1).astype(np.float32)[..., None]
    points = points.astype(np.float32)
    paths = points[after - 1] * (1 - part) + points[after] * part
    return paths / np.maximum(np.linalg.norm(paths, axis=2, keepdims=True), 1e-9)


def redrawn(
    at: np.ndarray,
    values: np.ndarray,
    offset: float,
    count: int,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
    variance: float = 0.0,
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
        weights: (k,) weights of the values; None: all 1.
        variance: variance of the logarithms that is not due to lumps.

    Returns:
        (count, k) values; those below 0 are due to the offset.
    """
    logs = np.log(values + offset)
    smooth = local_linear(at, logs, BANDWIDTH, weights)
    residuals = logs - smooth
    if weights is not None and (weights > MIN_WEIGHT).sum() >= MIN_WEIGHTED:
        residuals = residuals[weights > MIN_WEIGHT]
    deviation = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    deviation = np.sqrt(max(min(deviation, MAX_LUMPS) ** 2 - variance, 0.0))
    return np.exp(smooth + deviation * rng.standard_normal((count, len(at)))) - offset

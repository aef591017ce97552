"""Trails of layers: the course of the states of a path, without the scatter of its records.

Each record is taken as a state plus scatter. The states are the path of least total variation near
the records (the fused lasso): it averages over records that only scatter separates, and keeps sharp
changes sharp. What it leaves is the scatter: its share at every record, its correlation from record
to record, and the number of dimensions that it fills.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from repdyn_keras.measures.trajectory import noise_shares

# The penalty on a change is that at which pure scatter would have no change, times this.
PENALTY = 1.3
# Changes much larger than this many deviations of the scatter are penalized less.
LARGE_CHANGE = 4.0
# Iterations of the penalty: first of the total variation alone, then with large changes freed.
CONVEX_ITERATIONS, FREED_ITERATIONS = 20, 10
# Rounds of estimating the path and the scatter from each other.
ROUNDS = 2
# Noise shares are smoothed over the records with a Gaussian of this deviation, in octaves.
NOISE_BANDWIDTH = 0.7
MAX_TRAIL_NOISE = 0.9
# Correction of the correlation of residuals, which the path absorbs in part, and its bound.
COLOUR_SLOPE, COLOUR_OFFSET, MAX_COLOUR = 1.2, 0.05, 0.6
# With a smaller mean noise share, colour and dimension are not estimated.
MIN_SCATTER = 0.003
MIN_DIMENSION, MAX_DIMENSION, UNKNOWN_DIMENSION = 5, 200, 30
# Number of records between two residuals that count as independent, and least number of records.
INDEPENDENT, MIN_RECORDS = 3, 8


@dataclass(frozen=True)
class Trail:
    """A path divided into states and scatter.

    Attributes:
        points: (t, t) unit vectors of the states; the axis of the largest extent is the first.
        noise_shares: (t,) share of each record's squared norm that is scatter, smooth in octaves.
        residual_shares: (t,) the same of each record on its own.
        weights: (t,) how much each record says about the scatter, between 0 and 1: little where
            the states change on both sides of it.
        colour: correlation of the scatter between successive records, 0 = white.
        dimension: dimension of the scatter.
    """

    points: np.ndarray
    noise_shares: np.ndarray
    residual_shares: np.ndarray
    weights: np.ndarray
    colour: float
    dimension: int


def fit_trail(
    gram: np.ndarray, u: np.ndarray, whole: Trail | None = None, part: slice = slice(None)
) -> Trail:
    """Divides a path into states and scatter.

    Source: Tibshirani et al. 2005 (JRSS B 67) for the fused lasso, Bleakley and Vert 2011
    (arXiv:1106.4199) for its form in several dimensions and the weights of the penalty; the
    estimates of the scatter are a method of this project.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite, t >= 3.
        u: (t,) octaves of the records, increasing.
        whole: the trail of a longer path that this one is a part of. Its colour and dimension hold
            for the part, too.
        part: the records of the part in the longer path.

    Returns:
        The trail.
    """
    t = len(gram)
    values, vectors = np.linalg.eigh(gram)
    records = vectors * np.sqrt(np.maximum(values, 0))
    if whole is None:
        shares, colour, dimension = noise_shares(gram, u), 0.0, UNKNOWN_DIMENSION
    else:
        shares, colour, dimension = whole.noise_shares[part], whole.colour, whole.dimension
    before = np.arange(1, t)
    # The norm of the sum of t records' scatter up to a record, if the mean of all is subtracted.
    bridge = np.sqrt(before * (t - before) / t)
    for _ in range(ROUNDS):
        variances = shares / (1 - shares) + 1e-5
        typical = np.median(variances)
        deviation = np.sqrt(typical * (1 + colour) / (1 - colour))
        scaled = records / np.sqrt(1 - shares)[:, None]
        smooth, hat = least_variation(
            scaled, typical / variances, PENALTY * deviation * bridge, LARGE_CHANGE * deviation
        )
        residuals = scaled - smooth
        kept = ((np.eye(t) - hat) ** 2).sum(axis=1)
        squares = (residuals**2).sum(axis=1) / np.maximum(kept, 0.1)
        weights = np.minimum(kept, 1) ** 2 + 1e-4
        local = local_linear(u, np.log(squares + 1e-3), NOISE_BANDWIDTH, weights)
        local = np.maximum(np.exp(local) - 1e-3, 1e-6)
        shares = np.clip(local / (1 + local), 0, MAX_TRAIL_NOISE)
        if whole is None:
            colour, dimension = _character(residuals, weights, float(shares.mean()))
    axes = np.linalg.svd(smooth, full_matrices=False)[2]
    points = smooth @ axes.T
    return Trail(
        points=points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9),
        noise_shares=shares,
        residual_shares=squares / (1 + squares),
        weights=weights,
        colour=colour,
        dimension=dimension,
    )


def _character(residuals: np.ndarray, weights: np.ndarray, share: float) -> tuple[float, int]:
    """Colour and dimension of scatter."""
    t = len(residuals)
    if t < MIN_RECORDS or share < MIN_SCATTER:
        return 0.0, UNKNOWN_DIMENSION
    units = residuals / np.sqrt((residuals**2).sum(axis=1) + 1e-9)[:, None]
    cosines = units @ units.T
    pairs = np.sqrt(weights[1:] * weights[:-1])
    correlation = float((np.diagonal(cosines, 1) * pairs).sum() / pairs.sum())
    colour = float(np.clip(COLOUR_SLOPE * correlation + COLOUR_OFFSET, 0, MAX_COLOUR))
    alike = float((cosines[np.triu_indices(t, INDEPENDENT)] ** 2).mean())
    return colour, int(np.clip(1 / max(alike, 1e-6), MIN_DIMENSION, MAX_DIMENSION))


def least_variation(
    records: np.ndarray, weights: np.ndarray, penalties: np.ndarray, large: float
) -> tuple[np.ndarray, np.ndarray]:
    """The path near given points of which the penalized changes are the smallest.

    It minimizes sum_t w_t |y_t - x_t|^2 / 2 + sum_t p_t large log(1 + |y_t+1 - y_t| / large), by
    weighted least squares with the weights of the last solution; the first iterations, without the
    logarithm, solve the convex problem.

    Args:
        records: (t, d) points x.
        weights: (t,) weights w.
        penalties: (t - 1,) penalties p of the changes.
        large: changes beyond this are penalized less.

    Returns:
        (t, d) the path y, and (t, t) the matrix of the last least squares, y = H x.
    """
    path = records
    for iteration in range(CONVEX_ITERATIONS + FREED_ITERATIONS):
        changes = np.linalg.norm(np.diff(path, axis=0), axis=1)
        stiffness = penalties / np.sqrt(changes**2 + 1e-6)
        if iteration >= CONVEX_ITERATIONS:
            stiffness = stiffness / (1 + changes / large)
        bands = np.zeros((2, len(weights)))
        bands[0, 1:] = -stiffness
        bands[1] = weights
        bands[1, 1:] += stiffness
        bands[1, :-1] += stiffness
        path = solveh_banded(bands, weights[:, None] * records, check_finite=False)
    return path, solveh_banded(bands, np.diag(weights), check_finite=False)


def local_linear(
    at: np.ndarray, values: np.ndarray, bandwidth: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Local-linear fit with Gaussian weights.

    Args:
        at: (k,) positions, octaves.
        values: (k,) values.
        bandwidth: deviation of the Gaussian, octaves.
        weights: (k,) further weights of the values; None: all 1.

    Returns:
        (k,) the fit at the positions.
    """
    distance = at - at[:, None]
    weight = np.exp(-0.5 * (distance / bandwidth) ** 2) + 1e-12
    if weights is not None:
        weight = weight * weights
    first = weight * distance
    s0, s1, s2 = weight.sum(axis=1), first.sum(axis=1), (first * distance).sum(axis=1)
    # Small where one record lies far from all others, whose fit is then its own value.
    determinant = np.maximum(s0 * s2 - s1**2, np.finfo(float).tiny)
    return (s2 * (weight @ values) - s1 * (first @ values)) / determinant

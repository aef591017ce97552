"""Progress of a layer: how much of its change from the first to the last state it has made."""

import numpy as np
from scipy.optimize import isotonic_regression

from repdyn_keras.measures.replicates import replicates, smoothed_states
from repdyn_keras.measures.trajectory import noise_shares

# A layer has no timing if its first and last states are at least as similar as 1 - MIN_CHANGE.
MIN_CHANGE = 0.1
# Records at the end of the path that the first estimate takes as the last state.
MAX_END_RECORDS = 3
# The first and last states are then estimated anew, so often, as weighted means of all records. The
# weight is a power of the progress: SHARPNESS divided by the scatter, but at least MIN_POWER.
REFINEMENTS, SHARPNESS, MIN_POWER = 3, 0.1, 2.0
MIN_SCATTER = 1e-3
REPLICATES = 20


def progress(gram: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Progress of a layer from its first state (0) to its last state (1).

    The state of every record (see `replicates.smoothed_states`) is compared with the first and the
    last state: y = similarity to the last - similarity to the first. The progress is the isotonic
    fit of y, rescaled to 0..1. At first the first state is the first record, and the last state the
    mean of the last three. Then, three times, both are weighted means of all records, with the
    weights du (1 - progress)^k and du progress^k. k = max(2, 0.1 / s) is the larger, the smaller
    the scatter s, the root mean square residual of the fit: a clean path is compared with records
    at its ends, a noisy one with means over many records.

    Source: a method of this project.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite, t >= 3.
        u: (t,) octaves of the records, increasing.

    Returns:
        (t,) from 0 to 1, not decreasing. NaN if the layer has no timing: its first and last states
        differ by less than 0.1 in similarity.
    """
    points = smoothed_states(gram, noise_shares(gram, u))
    similarity = points @ points.T
    ends, widths = min(MAX_END_RECORDS, len(u) // 3), np.gradient(u)
    undefined = np.full(len(u), np.nan)
    if 1 - similarity[0, -ends:].mean() < MIN_CHANGE:
        return undefined
    first, last = np.zeros(len(u)), np.zeros(len(u))
    first[0], last[-ends:] = 1, 1
    for _ in range(1 + REFINEMENTS):
        y = similarity @ (last / last.sum() - first / first.sum())
        fit = isotonic_regression(y).x
        change = fit[-1] - fit[0]
        if not change > 0:
            return undefined
        made = (fit - fit[0]) / change
        scatter = max(np.sqrt(np.mean((y - fit) ** 2)) / change, MIN_SCATTER)
        power = max(MIN_POWER, SHARPNESS / scatter)
        first, last = widths * (1 - made) ** power, widths * made**power
    return made


def area(progress: np.ndarray, other: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(...) area between progress curves (..., t) over u, in octaves: 0 = identical."""
    return np.trapezoid(np.abs(progress - other), u)


def noise_floor(gram: np.ndarray, u: np.ndarray, seed: int = 0) -> float:
    """Area between the progress curves of one layer that its scatter alone causes, in octaves.

    The root mean square over all pairs of 20 replicates of the layer with new scatter.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite, t >= 3.
        u: (t,) octaves of the records, increasing.
        seed: seed of the replicates.

    Returns:
        The floor; NaN if fewer than two replicates have a timing.
    """
    rng = np.random.default_rng(seed)
    curves = np.stack([progress(each, u) for each in replicates(gram, u, REPLICATES, rng)])
    curves = curves[np.isfinite(curves).all(axis=1)]
    first, second = np.triu_indices(len(curves), 1)
    areas = area(curves[first], curves[second], u)
    return float(np.sqrt(np.mean(areas**2))) if len(areas) else float("nan")

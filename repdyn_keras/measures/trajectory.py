"""Paths of layers through training, computed from epoch x epoch similarity matrices.

A positive semidefinite matrix G of similarities is the Gram matrix of one point for each record:
|point_s - point_t|^2 = G_ss + G_tt - 2 G_st. These points are the path. A path is a course of
states, on which each record scatters on its own.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy.ndimage import median_filter

# A function from epochs to the positions of records on the axis of paths, in octaves.
Axis: TypeAlias = Callable[[np.ndarray], np.ndarray]

MAX_NOISE_SHARE = 0.95
# Second differences measure scatter where the records on both sides are at most this far apart.
MAX_GAP = 0.5
# The number of records that must be as close as that; with fewer, all records are taken.
MIN_CLOSE_RECORDS = 3


def octaves(epochs: np.ndarray) -> np.ndarray:
    """The usual axis of paths, u = log2(1 + epoch)."""
    return np.log2(1.0 + np.asarray(epochs, float))


def defined_records(gram: np.ndarray) -> np.ndarray:
    """Indices of the records at which a layer's similarities are defined."""
    return np.flatnonzero(~np.isnan(np.diagonal(gram)))


def whole_epochs(records: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """The records of whole epochs among records, as indices.

    Phases and synchronization leave early records out: whatever a layer does in the first steps is
    abrupt on the axis log2(1 + epoch).

    Args:
        records: indices of records.
        epochs: (t,) all recorded epochs.
    """
    times = np.asarray(epochs, float)[records]
    return records[times == np.floor(times)]


def settling_index(gram: np.ndarray, level: float = 0.95) -> int:
    """First index from which the similarity to the final point stays above `level`."""
    below = np.flatnonzero(~(gram[:, -1] > level))
    return int(below[-1]) + 1 if len(below) else 0


# --- scatter and states -------------------------------------------------------------------------


def second_differences(gram: np.ndarray) -> np.ndarray:
    """(..., t - 2) size of the scatter of each inner record, G_tt + G_rs - G_rt - G_ts.

    r and s are the records before and after t. The expectation is the squared size of the scatter
    of t, if the scatter of different records is independent and the states lie on a line.

    Args:
        gram: (..., t, t) similarities, t >= 3.
    """
    inner = np.diagonal(gram, 0, -2, -1)[..., 1:-1] + np.diagonal(gram, 2, -2, -1)
    steps = np.diagonal(gram, 1, -2, -1)
    return inner - steps[..., :-1] - steps[..., 1:]


def noise_shares(gram: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Share of the squared norm of every record that is scatter, between 0 and 0.95.

    The second difference at a record, where both gaps to its neighbours are at most half an octave
    (at all inner records if there are fewer than three of these), and the running median of three.
    Other records get the share of the nearest one.

    Args:
        gram: (..., t, t) similarities with unit diagonal, t >= 3.
        u: (t,) octaves of the records, increasing.

    Returns:
        (..., t) noise shares.
    """
    gaps = np.diff(u)
    close = np.flatnonzero(np.maximum(gaps[:-1], gaps[1:]) <= MAX_GAP)
    if len(close) < MIN_CLOSE_RECORDS:
        close = np.arange(len(u) - 2)
    shares = np.clip(second_differences(gram)[..., close], 0, MAX_NOISE_SHARE)
    size = (1,) * (shares.ndim - 1) + (3,)
    shares = median_filter(shares, size, mode="nearest")
    nearest = np.abs(np.arange(len(u))[:, None] - (close + 1)).argmin(axis=1)
    return shares[..., nearest]


def states(gram: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Similarities without scatter, M_st = G_st / sqrt((1 - n_s)(1 - n_t)).

    They are not clipped: scatter moves those near 1 both ways.

    Args:
        gram: (..., t, t) similarities with unit diagonal.
        shares: (..., t) noise shares n.

    Returns:
        (..., t, t) similarities with unit diagonal.
    """
    kept = np.sqrt(1 - shares)
    similarities = gram / (kept[..., :, None] * kept[..., None, :])
    index = np.arange(similarities.shape[-1])
    similarities[..., index, index] = 1
    return similarities


# --- steps ---------------------------------------------------------------------------------------


def jitter(gram: np.ndarray) -> np.ndarray:
    """(t,) squared size of each point's scatter around a smooth path.

    The second difference at the point, but at least 0, with copied ends and a running median of 3.
    Its expectation is the squared size of white scatter around a smooth path.

    Args:
        gram: (t, t) similarities, t >= 3.
    """
    inner = np.maximum(0, second_differences(gram))
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

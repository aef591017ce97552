"""Borders between phases: where two neighbouring stretches of a path differ.

Two stretches differ in their state, if records within a stretch are more alike than records as far
apart on two sides of the border, or in their restlessness, if records scatter more before it than
after it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Half-windows on either side of a border, in octaves, and least number of records on either side.
HALF_WINDOWS = (1.0, 2.0)
MIN_SIDE_RECORDS = 2
# Width of the bins of the distance between two records, in octaves, and the first edge.
LAG_WIDTH, FIRST_LAG = 2 / 6, 1.5 / 6
# Restlessness compares records up to this far apart, in at least so many pairs on either side.
RESTLESS_BINS, MIN_RESTLESS_PAIRS = 3, 3
# A border moves by at most this many records at a time, and this often. It is placed by a window of
# this half-width in octaves.
MAX_SHIFT, MAX_MOVES, PLACING_WINDOW = 3, 3, 1.5


def lag_bins(u: np.ndarray) -> np.ndarray:
    """(t, t) number of the bin of the distance between two records on the axis u."""
    lags = np.abs(u[:, None] - u)
    edges = np.arange(FIRST_LAG, lags.max() + LAG_WIDTH, LAG_WIDTH)
    return np.searchsorted(edges, lags)


@dataclass(frozen=True)
class Windows:
    """The windows of all borders of a path, and the linear maps of `effects`.

    Attributes:
        borders: (window,) index of the first record after the border.
        contrast, fall: (window, pair) float32 weights of the pairs of records, those above the
            diagonal of a matrix of similarities, in the contrast and in the fall of restlessness.
    """

    borders: np.ndarray
    contrast: np.ndarray
    fall: np.ndarray


# A path of 200 records has windows of 60 MB.
@lru_cache(maxsize=8)
def windows(u: tuple[float, ...]) -> Windows:
    """The windows of one and two octaves around every border; see `effects`.

    Args:
        u: octaves of the records, increasing.
    """
    axis = np.array(u)
    t, index, bins = len(axis), np.arange(len(axis)), lag_bins(axis)
    upper = np.triu(np.ones((t, t), bool), 1)
    contrasts, falls, borders = [], [], []
    for border in range(MIN_SIDE_RECORDS, t - MIN_SIDE_RECORDS + 1):
        middle = (axis[border - 1] + axis[border]) / 2
        for half in HALF_WINDOWS:
            near_before = (axis >= middle - half) | (index >= border - MIN_SIDE_RECORDS)
            near_after = (axis <= middle + half) | (index < border + MIN_SIDE_RECORDS)
            before, after = near_before & (index < border), near_after & (index >= border)
            sides = ((before, before), (after, after), (before, after))
            pairs = [np.outer(a, b) & upper for a, b in sides]
            counts = np.array([np.bincount(bins[k], minlength=bins.max() + 1) for k in pairs])
            means = _means(pairs, counts, bins, np.all(counts > 0, axis=0))
            if means is None:
                continue
            contrasts.append(((means[0] + means[1]) / 2 - means[2])[upper])
            near = np.all(counts[:2] > 0, axis=0) & (np.arange(len(counts[0])) < RESTLESS_BINS)
            enough = (counts[:2] * near).sum(axis=1).min() >= MIN_RESTLESS_PAIRS
            rests = _means(pairs[:2], counts[:2], bins, near) if enough else None
            falls.append((np.zeros((t, t)) if rests is None else rests[1] - rests[0])[upper])
            borders.append(border)
    shape = len(borders), t * (t - 1) // 2
    maps = (np.array(each, np.float32).reshape(shape) for each in (contrasts, falls))
    return Windows(np.array(borders, dtype=np.int64), *maps)


def _means(pairs: list, counts: np.ndarray, bins: np.ndarray, used: np.ndarray) -> list | None:
    """(t, t) weights of a mean over each group of pairs, with equal weights of the bins in each.

    Args:
        pairs: (t, t) masks of the groups of pairs.
        counts: (group, bin) number of pairs.
        bins: (t, t) bin of each pair.
        used: (bin,) which bins are used; None is returned if there are none.
    """
    if not used.any():
        return None
    share = np.where(used, 1 / (1 / np.maximum(counts, 1)).sum(axis=0), 0)
    share = share / share.sum()
    groups = zip(pairs, counts, strict=True)
    return [inside * (share / np.maximum(count, 1))[bins] for inside, count in groups]


def effects(grams: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Contrast and fall of restlessness at every border, in windows of one and two octaves.

    The pairs of records in a window are sorted into bins of equal distance in octaves. Bins that
    hold pairs within both stretches and across the border count, weighted by 1 / sum(1 / n). With
    the mean similarities w_a within the stretch before, w_b within the one after, and x across, the
    contrast is (w_a + w_b) / 2 - x.

    The fall of restlessness is w_b - w_a of pairs less than an octave apart, since distant records
    differ by the course of the states. It is 0 with fewer than three such pairs on either side.

    Args:
        grams: (k, t, t) similarities.
        windows: the windows at the octaves of the t records.

    Returns:
        (k, window) contrasts and (k, window) falls of restlessness.
    """
    pairs = grams[(slice(None), *np.triu_indices(grams.shape[-1], 1))]
    return pairs @ windows.contrast.T, pairs @ windows.fall.T


def place(excess: np.ndarray, u: np.ndarray, border: int) -> int:
    """The border near another that fits best.

    The values before, after and across a border, in a window of 1.5 octaves on either side, deviate
    the least from their three means (least squares). The border moves by at most three records, and
    then from there, at most three times.

    Args:
        excess: (t, t) similarities beyond those of smooth change.
        u: (t,) octaves of the records, increasing.
        border: index of the first record after the border.

    Returns:
        Index of the first record after the best border, at least two records from either end.
    """
    for _ in range(MAX_MOVES):
        before, border = border, _moved(excess, u, border)
        if border == before:
            break
    return border


def _moved(excess: np.ndarray, u: np.ndarray, border: int) -> int:
    """The best border within three records."""
    t, index = len(u), np.arange(len(u))
    near = np.abs(u - (u[border - 1] + u[border]) / 2) <= PLACING_WINDOW
    near |= (index >= border - MIN_SIDE_RECORDS) & (index < border + MIN_SIDE_RECORDS)
    inside = index[near]
    inner = excess[np.ix_(inside, inside)]
    upper = np.triu(np.ones(inner.shape, bool), 1)
    costs = {}
    first = max(MIN_SIDE_RECORDS, border - MAX_SHIFT)
    last = min(t - MIN_SIDE_RECORDS, border + MAX_SHIFT)
    for candidate in range(first, last + 1):
        before = inside < candidate
        if min(before.sum(), (~before).sum()) < MIN_SIDE_RECORDS:
            continue
        blocks = (np.outer(before, before), np.outer(~before, ~before), np.outer(before, ~before))
        parts = [inner[upper & block] for block in blocks]
        costs[candidate] = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    return min(costs, key=lambda candidate: (costs[candidate], candidate))

"""Borders between phases: where two neighbouring stretches of a path differ.

Two stretches differ in their state, if records within a stretch are more alike than records as far
apart on two sides of the border, or in their restlessness, if records scatter more before it than
after it.
"""

from functools import lru_cache

import numpy as np

# Half-windows on either side of a border, in octaves, and least number of records on either side.
HALF_WINDOWS = (1.0, 2.0)
MIN_SIDE_RECORDS = 3
# Width of the bins of the distance between two records, in octaves, and the first edge.
LAG_WIDTH, FIRST_LAG = 2 / 6, 1.5 / 6
# A border is placed at most this many records away, by a window of this half-width in octaves.
MAX_SHIFT, PLACING_WINDOW = 3, 1.5


def lag_bins(u: np.ndarray) -> np.ndarray:
    """(t, t) number of the bin of the distance between two records on the axis u."""
    lags = np.abs(u[:, None] - u)
    edges = np.arange(FIRST_LAG, lags.max() + LAG_WIDTH, LAG_WIDTH)
    return np.searchsorted(edges, lags)


@lru_cache(maxsize=64)
def _windows(u: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The linear maps of `effects`, and the border of each.

    Returns:
        (3, window, pair) weights of the pairs of records in the means within the stretch before,
        within the stretch after, and across; (window,) indices of the borders.
    """
    axis = np.array(u)
    t, index, bins = len(axis), np.arange(len(axis)), lag_bins(axis)
    upper = np.triu(np.ones((t, t), bool), 1)
    weights: list[list[np.ndarray]] = [[], [], []]
    borders = []
    for border in range(MIN_SIDE_RECORDS, t - MIN_SIDE_RECORDS + 1):
        middle = (axis[border - 1] + axis[border]) / 2
        for half in HALF_WINDOWS:
            near_before = (axis >= middle - half) | (index >= border - MIN_SIDE_RECORDS)
            near_after = (axis <= middle + half) | (index < border + MIN_SIDE_RECORDS)
            before, after = near_before & (index < border), near_after & (index >= border)
            pairs = [
                np.outer(a, b) & upper
                for a, b in ((before, before), (after, after), (before, after))
            ]
            counts = np.array([np.bincount(bins[k], minlength=bins.max() + 1) for k in pairs])
            common = (counts > 0).all(axis=0)
            if not common.any():
                continue
            share = np.where(common, 1 / (1 / np.maximum(counts, 1)).sum(axis=0), 0)
            share /= share.sum()
            borders.append(border)
            for part, inside, count in zip(weights, pairs, counts, strict=True):
                part.append((inside * (share / np.maximum(count, 1))[bins])[upper])
    shape = (3, len(borders), t * (t - 1) // 2)
    return np.array(weights).reshape(shape), np.array(borders, dtype=np.int64)


def border_candidates(u: np.ndarray) -> np.ndarray:
    """(window,) index of the first record after the border of each window; see `effects`."""
    return _windows(tuple(u))[1]


def effects(grams: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contrast and fall of restlessness at every border, in windows of one and two octaves.

    The pairs of records in a window are sorted into bins of equal distance in octaves. Bins that
    hold pairs within both stretches and across the border count, weighted by 1 / sum(1 / n). With
    the mean similarities w_a within the stretch before, w_b within the one after, and x across, the
    contrast is (w_a + w_b) / 2 - x, and the fall of restlessness is w_b - w_a.

    Args:
        grams: (k, t, t) similarities.
        u: (t,) octaves of the records, increasing.

    Returns:
        (k, window) contrasts and (k, window) falls of restlessness, for the borders that
        `border_candidates` lists.
    """
    weights, borders = _windows(tuple(u))
    pairs = grams[(slice(None), *np.triu_indices(len(u), 1))]
    before, after, across = (pairs @ part.T for part in weights)
    return (before + after) / 2 - across, after - before


def place(gram: np.ndarray, u: np.ndarray, border: int) -> int:
    """The border within 3 records of another that fits best.

    The similarities before, after and across a border, in a window of 1.5 octaves on either side,
    deviate the least from their three means (least squares).

    Args:
        gram: (t, t) similarities.
        u: (t,) octaves of the records, increasing.
        border: index of the first record after the border.

    Returns:
        Index of the first record after the best border, at least three records from either end.
    """
    t, index = len(u), np.arange(len(u))
    near = np.abs(u - (u[border - 1] + u[border]) / 2) <= PLACING_WINDOW
    near |= (index >= border - MIN_SIDE_RECORDS) & (index < border + MIN_SIDE_RECORDS)
    inside = index[near]
    similarities = gram[np.ix_(inside, inside)]
    upper = np.triu(np.ones(similarities.shape, bool), 1)
    costs = {}
    first = max(MIN_SIDE_RECORDS, border - MAX_SHIFT)
    last = min(t - MIN_SIDE_RECORDS, border + MAX_SHIFT)
    for candidate in range(first, last + 1):
        before = inside < candidate
        if min(before.sum(), (~before).sum()) < 2:
            continue
        blocks = (np.outer(before, before), np.outer(~before, ~before), np.outer(before, ~before))
        parts = [similarities[upper & block] for block in blocks]
        costs[candidate] = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    return min(costs, key=lambda candidate: (costs[candidate], candidate))

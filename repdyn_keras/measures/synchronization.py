"""Synchronization: whether two layers change at the same time."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series
from repdyn_keras.measures.trajectory import (
    defined_records,
    octaves,
    progress,
    settling_index,
    step_shares,
)

# Timing needs second differences, and hence three records.
MIN_RECORDS = 3


def timing_overlap(gram: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two paths' step shares: similarity, 1 = identical timing.

    It is the sum of the smaller of the two shares over all steps.

    Args:
        gram, other: (t, t) similarities of two layers over the same epochs.
    """
    return float(np.minimum(step_shares(gram), step_shares(other)).sum())


def timing_spread(gram: np.ndarray, other: np.ndarray, epochs: np.ndarray) -> float:
    """Area between two progress curves on u = log2(1 + epoch), in octaves: 0 = identical timing."""
    difference = np.abs(progress(step_shares(gram)) - progress(step_shares(other)))
    return float(np.trapezoid(difference, octaves(epochs)))


def half_progress(gram: np.ndarray, epochs: np.ndarray) -> float:
    """The u = log2(1 + epoch) at which a path has made half of its steps."""
    curve = progress(step_shares(gram))
    if np.isnan(curve).any():
        return float("nan")
    after = int(np.searchsorted(curve, 0.5))
    u = octaves(epochs)[after - 1 : after + 1]
    return float(np.interp(0.5, curve[after - 1 : after + 1], u))


def concordance(gram: np.ndarray, other: np.ndarray) -> float:
    """Lin's concordance of the upper triangles of two matrices: similarity, 1 = identical.

    It mostly compares the amplitudes of the matrices, not the timing of changes.

    Source: Lin 1989, Biometrics 45.

    Args:
        gram, other: (t, t) similarities, t >= 3.
    """
    upper = np.triu_indices(len(gram), 1)
    x, y = gram[upper], other[upper]
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / spread) if spread > 0 else float("nan")


def timing_by_layer(cka: np.ndarray, epochs: list[int]) -> dict[str, np.ndarray]:
    """Synchronization of all pairs of layers, from the records at which both are defined.

    Args:
        cka: (layer, epoch, epoch_other).
        epochs: the recorded epochs.

    Returns:
        `synchronization`, `concordance`, `timing_spread` (octaves) and `lag` (layer, layer_other)
        in octaves, positive if `layer` changes later; `settling_epoch` (layer,).
    """
    layers = len(cka)
    shape = (layers, layers)
    overlap, similarity, spread, lag = (np.full(shape, np.nan) for _ in range(4))
    settling = np.full(layers, np.nan)
    times = np.array(epochs)
    for i in range(layers):
        records = defined_records(cka[i])
        if len(records):
            settling[i] = times[records][settling_index(cka[i][np.ix_(records, records)])]
        for j in range(layers):
            both = np.intersect1d(records, defined_records(cka[j]))
            if len(both) < MIN_RECORDS:
                continue
            part = np.ix_(both, both)
            gram_i, gram_j, common_times = cka[i][part], cka[j][part], times[both]
            overlap[i, j] = timing_overlap(gram_i, gram_j)
            similarity[i, j] = concordance(gram_i, gram_j)
            spread[i, j] = timing_spread(gram_i, gram_j, common_times)
            lag[i, j] = half_progress(gram_i, common_times) - half_progress(gram_j, common_times)
    return {
        "synchronization": overlap,
        "concordance": similarity,
        "timing_spread": spread,
        "lag": lag,
        "settling_epoch": settling,
    }


def synchronization_mean(overlap: np.ndarray, blocks: np.ndarray) -> float:
    """Mean timing overlap over all pairs of blocks; NaN if there are fewer than two.

    Args:
        overlap: (layer, layer_other) timing overlap.
        blocks: (layer,) whether a layer is a block of the network.
    """
    block_indices = np.flatnonzero(blocks)
    first, second = np.triu_indices(len(block_indices), 1)
    pairs = overlap[np.ix_(block_indices, block_indices)][first, second]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def over_epochs(series: Series) -> Arrays:
    """Timing of all pairs of layers, and its mean over pairs of blocks."""
    cka = series.computed("cka")
    if cka is None:
        return {}
    timing = timing_by_layer(cka, series.epochs)
    mean = synchronization_mean(timing["synchronization"], series.blocks)
    return {**timing, "synchronization_mean": mean}


PAIR = ("layer", "layer_other")
MEASURE = Measure(
    name="synchronization",
    title="synchronization",
    computed={
        "synchronization": PAIR,
        "concordance": PAIR,
        "timing_spread": PAIR,
        "lag": PAIR,
        "settling_epoch": ("layer",),
    },
    attributes=("synchronization_mean",),
    over_epochs=over_epochs,
)

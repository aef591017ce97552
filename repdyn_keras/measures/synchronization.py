"""Synchronization: whether two layers change at the same time."""

from functools import cache

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series
from repdyn_keras.measures.progress import area, noise_floor, progress
from repdyn_keras.measures.threads import one_blas_thread
from repdyn_keras.measures.trajectory import (
    Axis,
    defined_records,
    octaves,
    settling_index,
    step_shares,
    whole_epochs,
)

# Scatter is estimated from second differences, and hence from three records.
MIN_RECORDS = 3
PAIRWISE = ("synchronization", "spread", "lag", "timing_overlap", "concordance")


def spread(area: float, floor: float, floor_other: float) -> float:
    """Area between two progress curves that scatter does not explain, in octaves: 0 = together.

    Args:
        area: area between the curves, octaves.
        floor, floor_other: area that scatter alone causes, of each layer, octaves.
    """
    return float(np.sqrt(np.maximum(0, area**2 - (floor**2 + floor_other**2) / 2)))


def lag(progress: np.ndarray, other: np.ndarray, u: np.ndarray) -> float:
    """Octaves by which the first of two layers changes earlier: integral of the difference over u.

    Args:
        progress, other: (t,) progress of two layers.
        u: (t,) octaves of the records, increasing.
    """
    return float(np.trapezoid(progress - other, u))


def timing_overlap(gram: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two paths' step shares: similarity, 1 = identical timing.

    It is the sum of the smaller of the two shares over all steps. Scatter dominates it: layers that
    change together but scatter independently have a small overlap.

    Args:
        gram, other: (t, t) similarities of two layers over the same epochs.
    """
    return float(np.minimum(step_shares(gram), step_shares(other)).sum())


def concordance(gram: np.ndarray, other: np.ndarray) -> float:
    """Lin's concordance of the upper triangles of two matrices: similarity, 1 = identical.

    It mostly compares the amplitudes of the matrices, not the timing of changes.

    Source: Lin 1989, Biometrics 45.

    Args:
        gram, other: (t, t) similarities, t >= 3.
    """
    upper = np.triu_indices(len(gram), 1)
    x, y = gram[upper], other[upper]
    total = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / total) if total > 0 else float("nan")


def synchronization_by_layer(
    grams: np.ndarray, epochs: list[float], axis: Axis = octaves
) -> dict[str, np.ndarray]:
    """Synchronization of all pairs of layers, from the records at which both are defined.

    Args:
        grams: (layer, epoch, epoch_other) similarities with unit diagonal.
        epochs: the recorded epochs.
        axis: positions of epochs, in octaves.

    Returns:
        `progress` (layer, epoch), from 0 to 1; NaN at every epoch for a layer without timing,
        and where a layer is undefined.
        `spread_floor` (layer,), octaves between progress curves that differ by scatter alone.
        (layer, layer_other): `spread`, the area between both progress curves that scatter does not
        explain, octaves; `synchronization`, 1 - spread / range of u, 1 = together; `lag`, octaves
        by which `layer` is earlier; `timing_overlap` and `concordance`. NaN with fewer than three
        common records; the first three are also NaN if a layer has no timing. All these and
        `spread_floor` are of whole epochs, see `whole_epochs`.
        `settling_epoch` (layer,), the first epoch from which the similarity to the final state
        stays above 0.95.
    """
    layers, t = grams.shape[:2]
    times, u = np.array(epochs), axis(np.array(epochs))
    pairs = {name: np.full((layers, layers), np.nan) for name in PAIRWISE}
    curves = np.full((layers, t), np.nan)
    floors, settling = np.full(layers, np.nan), np.full(layers, np.nan)
    defined = [defined_records(gram) for gram in grams]
    compared = [whole_epochs(records, times) for records in defined]

    @cache
    def timing(layer: int, records: tuple[int, ...]) -> tuple[np.ndarray, float]:
        """Progress and floor of a layer at some records; NaN if it has no timing there."""
        gram, at = grams[layer][np.ix_(records, records)], u[list(records)]
        curve = progress(gram, at)
        return curve, noise_floor(gram, at) if np.isfinite(curve).all() else float("nan")

    for i, (records, own_records) in enumerate(zip(defined, compared, strict=True)):
        if len(records):
            own = grams[i][np.ix_(records, records)]
            settling[i] = times[records][settling_index(own)]
        if len(records) >= MIN_RECORDS:
            curves[i, records], _ = timing(i, tuple(records.tolist()))
        if len(own_records) >= MIN_RECORDS:
            _, floors[i] = timing(i, tuple(own_records.tolist()))
        for j in range(i, layers):
            both = np.intersect1d(own_records, compared[j])
            if len(both) < MIN_RECORDS:
                continue
            part, at, common = np.ix_(both, both), u[both], tuple(both.tolist())
            curve, floor = timing(i, common)
            curve_other, floor_other = timing(j, common)
            apart = spread(float(area(curve, curve_other, at)), floor, floor_other)
            earlier = lag(curve, curve_other, at)
            for name, value in (
                ("synchronization", 1 - apart / (at[-1] - at[0])),
                ("spread", apart),
                ("lag", earlier),
                ("timing_overlap", timing_overlap(grams[i][part], grams[j][part])),
                ("concordance", concordance(grams[i][part], grams[j][part])),
            ):
                pairs[name][i, j] = pairs[name][j, i] = value
            pairs["lag"][j, i] = -earlier
    return pairs | {"progress": curves, "spread_floor": floors, "settling_epoch": settling}


def synchronization_mean(synchronization: np.ndarray, blocks: np.ndarray) -> float:
    """Mean synchronization over all pairs of blocks that both have a timing; NaN without any.

    Args:
        synchronization: (layer, layer_other).
        blocks: (layer,) whether a layer is a block of the network.
    """
    block_indices = np.flatnonzero(blocks)
    first, second = np.triu_indices(len(block_indices), 1)
    pairs = synchronization[np.ix_(block_indices, block_indices)][first, second]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def over_epochs(series: Series) -> Arrays:
    """Synchronization of all pairs of layers by CKA, and its mean over pairs of blocks."""
    cka = series.computed("cka")
    if cka is None:
        return {}
    # Its matrices are too small for several threads.
    with one_blas_thread():
        variables = synchronization_by_layer(cka, series.epochs)
    mean = synchronization_mean(variables["synchronization"], series.blocks)
    return {**variables, "synchronization_mean": mean}


MEASURE = Measure(
    name="synchronization",
    title="synchronization",
    computed={
        **dict.fromkeys(PAIRWISE, ("layer", "layer_other")),
        "progress": ("layer", "epoch"),
        "spread_floor": ("layer",),
        "settling_epoch": ("layer",),
    },
    meanings={
        "synchronization": ("share of the training in which two layers progress together", "1"),
        "spread": ("area between two progress curves beyond their floors", "octave"),
        "lag": ("octaves by which the layer is earlier than the other", "octave"),
        "timing_overlap": ("overlap of the shares of change between successive records", "1"),
        "concordance": ("Lin's concordance of two CKA matrices", "1"),
        "progress": ("share of the change from the first to the last state", "1"),
        "spread_floor": ("area between progress curves owed to scatter alone", "octave"),
        "settling_epoch": ("epoch from which the CKA with the final state stays high", "epoch"),
    },
    attributes=("synchronization_mean",),
    over_epochs=over_epochs,
)

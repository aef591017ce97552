"""Phases of a layer: segments of its path that are tested against even drift."""

from dataclasses import dataclass

import numpy as np

from repdyn_keras.measures import Arrays, Dims, Measure, Series
from repdyn_keras.measures.trajectory import (
    defined_records,
    even_pace_surrogates,
    jitter,
    octaves,
    trapezoid_widths,
)

MAX_PHASES = 6
MIN_PHASE_RECORDS = 2
MIN_RECORDS = 8
SURROGATES = 199
SIGNIFICANCE = 0.05
# Suffixes of the variables of phases, by the similarity that defines the paths.
SIMILARITIES = {"cka": "", "region_agreement": "_regions"}
NUMBERS = ("phases_p", "distinguishability", "distinguishability_raw", "jitter_share")


@dataclass(frozen=True)
class Phases:
    """The phases of one path.

    Attributes:
        labels: (t,) number of the phase of each record, from 1; all 1 where the path cannot be
            distinguished from even drift.
        candidate: (t,) the best division into at least two phases, whether or not significant.
        p: share of even-pace surrogates that look at least as divided; NaN with fewer than 8
            records.
        distinguishability: R2(3) minus its mean over the surrogates; 0 = even drift.
        distinguishability_raw: R2(3).
        jitter_share: share of the path's variance that is jitter.
    """

    labels: np.ndarray
    candidate: np.ndarray
    p: float
    distinguishability: float
    distinguishability_raw: float
    jitter_share: float


def find_phases(gram: np.ndarray, epochs: np.ndarray, seed: int = 0) -> Phases:
    """Divides a path into phases and tests the division against even drift.

    The segments minimize the weighted within-segment variance in the kernel; the weights are the
    trapezoid widths on u = log2(1 + epoch). The test statistic is the largest standardized gain
    over K, (R2(K) - mean) / deviation, with the mean and the deviation over 199 even-pace
    surrogates. The number of phases is the K >= 2 with the largest gap between the mean log cost of
    the surrogates and the log cost of the path.

    Source: Arlot et al. 2019 (JMLR 20) for kernel change points; Tibshirani et al. 2001 for the
    gap. The surrogates are a method of this project.

    Args:
        gram: (t, t) similarities, finite, positive semidefinite.
        epochs: (t,) epochs of the records, increasing.
        seed: seed of the surrogates.

    Returns:
        The phases; with fewer than 8 records one phase and NaN.
    """
    t = len(gram)
    single_phase = np.ones(t, dtype=np.int64)
    if t < MIN_RECORDS:
        return Phases(single_phase, single_phase, *[float("nan")] * 4)
    u = octaves(epochs)
    weights = trapezoid_widths(u)
    max_phases = min(MAX_PHASES, t // MIN_PHASE_RECORDS)
    segments = segment_costs(gram, weights)
    costs = partition_costs(segments, max_phases)
    if not costs[0] > 1e-12 * np.abs(np.diagonal(gram)).max() * weights.sum():
        return Phases(single_phase, single_phase, 1.0, 0.0, 0.0, float("nan"))
    drift = even_pace_surrogates(gram, u, SURROGATES, np.random.default_rng(seed))
    drift_costs = np.concatenate(
        [partition_costs(segment_costs(surrogates, weights), max_phases) for surrogates in drift]
    )
    gains = explained(costs)
    jitter_share = float(np.sum(weights * jitter(gram)) / costs[0])
    if not drift_costs[:, 0].min() > 1e-12 * costs[0]:
        # The path consists only of jitter, so its surrogates do not move.
        return Phases(single_phase, single_phase, 1.0, 0.0, float(gains[2]), jitter_share)
    drift_gains = explained(drift_costs)
    mean, deviation = drift_gains.mean(axis=0), drift_gains.std(axis=0, ddof=1)
    deviation = np.maximum(deviation, 1e-12)
    evidence = ((gains - mean) / deviation)[1:].max()
    drift_evidence = ((drift_gains - mean) / deviation)[:, 1:].max(axis=1)
    p = (1 + np.sum(drift_evidence >= evidence)) / (SURROGATES + 1)
    floor = 1e-12 * costs[0]
    gap = np.log(np.maximum(drift_costs, floor)).mean(axis=0) - np.log(np.maximum(costs, floor))
    candidate = segmentation(segments, 2 + int(np.argmax(gap[1:])))
    return Phases(
        labels=candidate if p <= SIGNIFICANCE else single_phase,
        candidate=candidate,
        p=float(p),
        distinguishability=float(gains[2] - mean[2]),
        distinguishability_raw=float(gains[2]),
        jitter_share=jitter_share,
    )


def explained(costs: np.ndarray) -> np.ndarray:
    """Explained variance R2(K) = 1 - cost(K) / cost(1) along the last axis."""
    return 1 - costs / costs[..., :1]


def segment_costs(gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted within-segment variance of every segment.

    cost[i, j] = sum w G_ii - sum_ij w_i w_j G_ij / sum w, over the records i, ..., j - 1.

    Args:
        gram: (..., t, t) similarities.
        weights: (t,) weights of the records.

    Returns:
        (..., t + 1, t + 1), 0 where j <= i.
    """
    t = gram.shape[-1]
    batch_shape = gram.shape[:-2]
    table = np.zeros((*batch_shape, t + 1, t + 1))
    table[..., 1:, 1:] = (gram * weights[:, None] * weights).cumsum(axis=-2).cumsum(axis=-1)
    diagonal_sums = np.zeros((*batch_shape, t + 1))
    diagonal_sums[..., 1:] = (np.diagonal(gram, axis1=-2, axis2=-1) * weights).cumsum(axis=-1)
    weight_sums = np.concatenate([[0.0], weights.cumsum()])
    corner = np.diagonal(table, axis1=-2, axis2=-1)
    square = corner[..., None, :] + corner[..., :, None] - table - table.swapaxes(-1, -2)
    length = weight_sums[None] - weight_sums[:, None]
    upper = np.triu(np.ones((t + 1, t + 1), bool), 1)
    mean = np.divide(square, length, out=np.zeros_like(square), where=upper & (length > 0))
    return np.where(
        upper, np.maximum(0, diagonal_sums[..., None, :] - diagonal_sums[..., :, None] - mean), 0
    )


def partition_costs(segments: np.ndarray, max_segments: int) -> np.ndarray:
    """Lowest costs of divisions into 1, ..., `max_segments` segments of at least two records.

    Args:
        segments: (..., t + 1, t + 1) costs of the segments, as from `segment_costs`.
        max_segments: largest number of segments.

    Returns:
        (..., max_segments).
    """
    t = segments.shape[-1] - 1
    starts, ends = np.meshgrid(np.arange(t + 1), np.arange(t + 1), indexing="ij")
    allowed = np.where(ends - starts >= MIN_PHASE_RECORDS, segments, np.inf)
    best = allowed[..., 0, :]
    costs = [best[..., t]]
    for _ in range(max_segments - 1):
        best = np.min(best[..., :, None] + allowed, axis=-2)
        costs.append(best[..., t])
    return np.stack(costs, axis=-1)


def segmentation(segments: np.ndarray, count: int) -> np.ndarray:
    """(t,) segment numbers, from 1, of the least costly division into `count` segments."""
    import ruptures

    class TableCost(ruptures.base.BaseCost):
        model = "segment costs"
        min_size = MIN_PHASE_RECORDS

        def fit(self, signal):
            self.signal = signal
            return self

        def error(self, start, end):
            return segments[start, end]

    t = len(segments) - 1
    search = ruptures.Dynp(custom_cost=TableCost(), jump=1, min_size=MIN_PHASE_RECORDS)
    ends = search.fit(np.zeros((t, 1))).predict(n_bkps=count - 1)
    return np.searchsorted(ends, np.arange(t), side="right") + 1


def phases_by_layer(grams: np.ndarray, epochs: list[int]) -> dict[str, np.ndarray]:
    """Phases of every layer. Records at which a layer is undefined are left out and get phase 0.

    Args:
        grams: (layer, epoch, epoch_other) similarities.
        epochs: the recorded epochs.

    Returns:
        `phase` and `phase_candidate` (layer, epoch), and each of NUMBERS (layer,).
    """
    layers, t = grams.shape[:2]
    labels = np.zeros((layers, t), dtype=np.int64)
    candidates = np.zeros((layers, t), dtype=np.int64)
    numbers = np.full((layers, len(NUMBERS)), np.nan)
    for index, gram in enumerate(grams):
        records = defined_records(gram)
        if len(records) == 0:
            continue
        phases = find_phases(gram[np.ix_(records, records)], np.array(epochs)[records])
        labels[index, records] = phases.labels
        candidates[index, records] = phases.candidate
        numbers[index] = (
            phases.p,
            phases.distinguishability,
            phases.distinguishability_raw,
            phases.jitter_share,
        )
    by_name = {name: numbers[:, place] for place, name in enumerate(NUMBERS)}
    return {"phase": labels, "phase_candidate": candidates, **by_name}


def over_epochs(series: Series) -> Arrays:
    """Phases of every layer by CKA and, if regions are recorded, by region agreement."""
    variables: dict[str, np.ndarray] = {}
    for similarity, suffix in SIMILARITIES.items():
        grams = series.computed(similarity)
        if grams is not None:
            phases = phases_by_layer(grams, series.epochs)
            variables |= {f"{name}{suffix}": array for name, array in phases.items()}
    return variables


def variable_table() -> dict[str, Dims]:
    """Dims of the variables of all similarities."""
    table: dict[str, Dims] = {}
    for suffix in SIMILARITIES.values():
        table |= {f"{name}{suffix}": ("layer", "epoch") for name in ("phase", "phase_candidate")}
        table |= {f"{name}{suffix}": ("layer",) for name in NUMBERS}
    return table


MEASURE = Measure(name="phases", title="phases", computed=variable_table(), over_epochs=over_epochs)

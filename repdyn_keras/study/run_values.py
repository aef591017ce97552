"""What findings compare: one number of every run, from the values of its blocks.

Every function takes the runs, a similarity and a reading, and returns (run,) numbers. A run is NaN
where the value of one of its blocks is not defined, so that no run is compared by fewer blocks.
"""

import numpy as np
from scipy import stats

from repdyn_keras.measures.borders import MIN_SIDE_RECORDS
from repdyn_keras.study.paired_runs import PairedRuns

STATE, RESTLESSNESS = 1, 2
# Octaves between a border and what it is attributed to.
MAX_DISTANCE = 0.5
# Octaves of the aligned window, t_fit/8 to 4 t_fit.
WINDOW_OCTAVES = 5
# Of n records, so many cannot be the first of a new phase.
MARGIN_RECORDS = 2 * MIN_SIDE_RECORDS - 1


def block_mean(runs: PairedRuns, values: np.ndarray) -> np.ndarray:
    """(run,) the mean over the blocks of each run; NaN where a block is.

    Args:
        runs: the runs.
        values: (run, layer).
    """
    is_block = runs.array("is_block") == 1
    count = is_block.sum(axis=1)
    total = np.where(is_block, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def state_distinguishability(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over blocks of the distinguishability, in units of similarity."""
    return block_mean(runs, runs.array("distinguishability", similarity, reading))


def noise_share(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over blocks of the share of scatter in the squared norm of a record."""
    return block_mean(runs, runs.array("noise_share", similarity, reading))


def strongest_fall(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over blocks of the fall of restlessness at the strongest border, 0 without one."""
    return _size_at_strongest(runs, similarity, reading, RESTLESSNESS, np.array(True))


def memorization_contrast(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over blocks of the contrast at the strongest border of the memorization, or 0."""
    return _strongest_at_memorization(runs, similarity, reading, STATE)


def memorization_fall(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over blocks of the fall of restlessness at the strongest border there, or 0."""
    return _strongest_at_memorization(runs, similarity, reading, RESTLESSNESS)


def synchronization(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Mean over pairs of blocks of the synchronization, 1 = they change together."""
    return runs.array("synchronization_mean", similarity, reading)


def perfect_fit_share(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Share of blocks with a border of any kind within half an octave of the perfect fit."""
    distance = np.abs(runs.array("border_u", similarity, reading))
    found = (distance <= MAX_DISTANCE) & _is_border(runs, similarity, reading)
    share = block_mean(runs, found.any(axis=-1) + _zero_if_tested(runs, similarity, reading))
    return np.where(np.isfinite(runs.array("perfect_fit_epoch")), share, np.nan)


def perfect_fit_chance(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """The same share, expected if every border fell on any of the records where one can be.

    A block with m borders has one there with a probability of 1 - (1 - q)^m, where
    q = (r + 1) / (n - 3). Here r is the number of records of the aligned window per octave, so
    that r + 1 records are within half an octave of the perfect fit, and n is the number of records
    of the reading; a border needs two records on each side, which leaves n - 3 places.
    """
    per_octave = (runs.array("n_records", reading="aligned") - 1) / WINDOW_OCTAVES
    places = runs.array("n_records", reading=reading) - MARGIN_RECORDS
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.where(places > 0, np.minimum(1, (per_octave + 1) / places), np.nan)
    count = _is_border(runs, similarity, reading).sum(axis=-1)
    chance = 1 - (1 - near[:, None]) ** count
    return block_mean(runs, chance + _zero_if_tested(runs, similarity, reading))


def depth_correlation(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """Spearman's rank correlation over blocks of the change of a block with its depth.

    1 = every block changes more than all before it. NaN with fewer than three blocks, or if all
    change equally.
    """
    change = runs.array("change", similarity, reading)
    position = np.asarray(runs.array("position"), float)
    is_block = runs.array("is_block") == 1
    found = np.full(len(change), np.nan)
    patterns, of_run = np.unique(is_block, axis=0, return_inverse=True)
    for index, blocks in enumerate(patterns):
        members = np.flatnonzero(of_run.reshape(-1) == index)
        if blocks.sum() >= 3:
            found[members] = _rank_correlation(
                change[members][:, blocks], position[members][:, blocks]
            )
    return found


def zero(runs: PairedRuns, similarity: str, reading: str) -> np.ndarray:
    """0 for every run: what a correlation is compared with."""
    return np.zeros(len(runs.names))


def has_double_descent(runs: PairedRuns, min_fall: float) -> np.ndarray:
    """(run,) 1 where the test accuracy falls by `min_fall` or more and at least half comes back.

    Args:
        runs: the runs.
        min_fall: from the best accuracy to the minimum after it.
    """
    fall, recovery = runs.array("test_fall"), runs.array("test_recovery")
    return np.where(np.isnan(fall), np.nan, (fall >= min_fall) & (recovery >= fall / 2))


def _rank_correlation(a, b):
    """(run,) Spearman's correlation along the second axis; NaN where a value is."""
    finite = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    found = np.full(len(a), np.nan)
    if finite.any():
        ranks = [stats.rankdata(each[finite], axis=1) for each in (a, b)]
        x, y = (each - each.mean(axis=1, keepdims=True) for each in ranks)
        size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
        product = (x * y).sum(axis=1)
        found[finite] = np.divide(product, size, out=np.full(len(x), np.nan), where=size > 0)
    return found


def _zero_if_tested(runs, similarity, reading):
    """(run, layer) 0 where borders were tested, else NaN: a dead layer, or too few records."""
    return 0 * runs.array("distinguishability", similarity, reading)


def _is_border(runs, similarity, reading):
    return runs.array("border_kind", similarity, reading) > 0


def _size_at_strongest(runs, similarity, reading, kind, counted):
    """(run,) mean over blocks of the size of the strongest border of a kind, 0 without one.

    The strongest border has the largest z. Only those count for which `counted` (run, layer,
    border) is true.
    """
    name = "border_contrast" if kind == STATE else "border_restlessness"
    of_kind = (runs.array("border_kind", similarity, reading) == kind) & counted
    z = np.where(of_kind, runs.array("border_z", similarity, reading), -np.inf)
    strongest = z.argmax(axis=-1)[..., None]
    size = np.where(of_kind, runs.array(name, similarity, reading), 0.0)
    found = np.take_along_axis(size, strongest, axis=-1)[..., 0]
    return block_mean(runs, found + _zero_if_tested(runs, similarity, reading))


def _strongest_at_memorization(runs, similarity, reading, kind):
    """(run,) the same at borders within half an octave of the memorization of the wrong labels.

    It lasts from the record at which 10% of them are memorized to that at which 90% are. NaN in
    runs that do not memorize so many.
    """
    begin, end = (runs.array(f"memorized_{share}_epoch").astype(float) for share in (10, 90))
    epochs = runs.array("border_epoch", similarity, reading)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, first, last = np.log2(epochs), np.log2(begin)[:, None, None], np.log2(end)[:, None, None]
        counted = (u >= first - MAX_DISTANCE) & (u <= last + MAX_DISTANCE)
    found = _size_at_strongest(runs, similarity, reading, kind, counted)
    return np.where(np.isfinite(begin) & np.isfinite(end), found, np.nan)

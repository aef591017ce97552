"""Tests of paired differences between few seeds: exact sign flips, t interval, Holm."""

import numpy as np
from scipy import special

from repdyn_keras.errors import InputError

# Up to this many pairs every assignment of signs is computed, beyond it random ones.
MAX_EXACT_PAIRS = 20
RANDOM_FLIPS, FLIPS_SEED = 99_999, 1
CHUNK = 10_000
# Sums that differ by rounding only are equal; relative to the sum of absolute differences.
ROUNDING = 1e-12


def sign_flip_p(differences: np.ndarray) -> float:
    """P value of the mean of paired differences: small = unlikely if both signs are as likely.

    Two-sided. Every difference keeps or changes its sign: the p value is the share of the 2^n
    assignments whose mean is at least as far from 0 as the observed one. It is exact for up to 20
    pairs. Beyond, it is (1 + c) / (m + 1), where c of m = 99 999 random assignments, which are
    the same at every call, are at least as far.

    Args:
        differences: (n,) left minus right of every pair.

    Returns:
        p, at least `smallest_p(n)`.

    Raises:
        InputError: there is no difference, or one is not finite.
    """
    values = _checked(differences)
    size = np.abs(values).sum()
    threshold = abs(values.sum()) - ROUNDING * size
    if len(values) > MAX_EXACT_PAIRS:
        return float((1 + _random_extremes(values, threshold)) / (RANDOM_FLIPS + 1))
    # By symmetry, half of the assignments are enough: the first difference keeps its sign.
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= threshold))


def _random_extremes(values: np.ndarray, threshold: float) -> int:
    rng = np.random.default_rng(FLIPS_SEED)
    count = 0
    for start in range(0, RANDOM_FLIPS, CHUNK):
        rows = min(CHUNK, RANDOM_FLIPS - start)
        signs = 2.0 * rng.integers(0, 2, (rows, len(values))) - 1
        count += int(np.count_nonzero(np.abs(signs @ values) >= threshold))
    return count


def smallest_p(pairs: int) -> float:
    """The smallest p value that `sign_flip_p` can return for so many pairs; 1 without any."""
    if pairs > MAX_EXACT_PAIRS:
        return 1 / (RANDOM_FLIPS + 1)
    return min(1.0, 2 / 2**pairs)


def t_interval(differences: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Lower and upper bound of the mean of paired differences, from Student's t.

    Args:
        differences: (n,) left minus right of every pair.
        level: confidence of the interval, in 0..1.

    Returns:
        The bounds; NaN for a single pair.

    Raises:
        InputError: there is no difference, or one is not finite.
    """
    values = _checked(differences)
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = special.stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def holm(p: np.ndarray) -> np.ndarray:
    """P values corrected for their number by Holm's step-down method.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure (Scandinavian
    Journal of Statistics 6).

    Args:
        p: (m,) p values; NaN is not tested and does not count.

    Returns:
        (m,) corrected p values, at most 1, NaN where `p` is.
    """
    p = np.asarray(p, float)
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    multipliers = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(multipliers * p[order]))
    return corrected


def _checked(differences: np.ndarray) -> np.ndarray:
    values = np.asarray(differences, float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise InputError(
            "Expected at least one paired difference, all of them finite, in one dimension. "
            f"Received: an array of shape {values.shape}, {count} of its values not finite."
        )
    return values

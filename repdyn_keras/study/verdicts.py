"""The rules by which a row of the findings becomes a verdict, fixed before a result is seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repdyn_keras.study.paired_tests import holm, sign_flip_p, smallest_p, t_interval

ALPHA = 0.05
MIN_PAIRS = 8
# Ratio of the noise shares of two sides from which on a row by state is confounded.
MAX_NOISE_RATIO = 3.0

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
TOO_FEW_SEEDS = "undecided, too few seeds"
CONFOUNDED = "confounded by noise"
NOT_COMPARABLE, NOT_TESTABLE = "not comparable", "not testable here"
VERDICTS = (
    SUPPORTED,
    CONTRADICTED,
    UNDECIDED,
    TOO_FEW_SEEDS,
    CONFOUNDED,
    NOT_COMPARABLE,
    NOT_TESTABLE,
)


@dataclass
class Row:
    """The evidence on a claim, by one similarity.

    Attributes:
        left, right: (seed,) numbers of both sides on the aligned window, NaN where unknown.
        smallest_effect: smallest effect of interest.
        effect_recalibrated, effect_raw: the effect in these readings, NaN where it is not defined.
        noise_left, noise_right: mean noise shares of the two sides.
        by_state: whether the noise shares must be alike.
        is_primary: whether it must also hold with recalibrated BatchNormalization. By region
            agreement, that is not recorded.
        verdict, reason: given if the row cannot be tested, else set by `judge`.
        effect, lower, upper, p, p_holm: mean difference, its 95% interval, and p values.
    """

    left: np.ndarray
    right: np.ndarray
    smallest_effect: float
    effect_recalibrated: float = np.nan
    effect_raw: float = np.nan
    noise_left: float = np.nan
    noise_right: float = np.nan
    by_state: bool = False
    is_primary: bool = True
    verdict: str = ""
    reason: str = ""
    effect: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan

    @property
    def differences(self) -> np.ndarray:
        """(pair,) left minus right of the seeds for which both are known."""
        difference = self.left - self.right
        return difference[np.isfinite(difference)]

    @property
    def pairs(self) -> int:
        """Number of seeds for which both sides are known."""
        return len(self.differences)


def judge(rows: Sequence[Row]) -> None:
    """Sets effects, p values, verdicts and reasons of rows that are corrected together.

    Rows that have a verdict keep it and get no numbers. Those with fewer than eight pairs are not
    tested, and do not count in the correction.

    Args:
        rows: rows of one similarity.
    """
    for row in rows:
        if not row.verdict and row.pairs:
            row.effect = float(row.differences.mean())
            row.lower, row.upper = t_interval(row.differences)
            row.p = sign_flip_p(row.differences)
    tested = [row for row in rows if not row.verdict and row.pairs >= MIN_PAIRS]
    corrected = holm(np.array([row.p for row in tested]))
    best = holm(np.array([smallest_p(row.pairs) for row in tested]))
    for row, p_holm, best_p in zip(tested, corrected, best, strict=True):
        row.p_holm = float(p_holm)
        row.verdict, row.reason = _verdict(row, len(tested), float(best_p))
    for row in rows:
        if not row.verdict:
            row.verdict = TOO_FEW_SEEDS
            row.reason = f"{_seeds(row.pairs)} with both sides, at least {MIN_PAIRS} are needed."


def _verdict(row: Row, count: int, best_p: float) -> tuple[str, str]:
    """The verdict of a tested row, and its reason: the first condition that failed."""
    if best_p > ALPHA:
        return TOO_FEW_SEEDS, (
            f"With {_seeds(row.pairs)}, p is at least {smallest_p(row.pairs):.2g}; corrected for "
            f"{count} rows, even the clearest outcome has {best_p:.2g}."
        )
    if row.by_state and _noise_ratio(row) > MAX_NOISE_RATIO:
        return CONFOUNDED, (
            f"The noise shares of the sides are {row.noise_left:.2g} and {row.noise_right:.2g}: "
            f"they differ by more than a factor of {MAX_NOISE_RATIO:g}."
        )
    if row.p_holm > ALPHA:
        return UNDECIDED, f"Holm p is {row.p_holm:.2g}, above {ALPHA:g}."
    if abs(row.effect) <= row.smallest_effect:
        return UNDECIDED, (
            f"The effect, {row.effect:+.3g}, is not larger than the smallest effect of interest, "
            f"{row.smallest_effect:g}."
        )
    sign = np.sign(row.effect)
    recalibrated, raw = row.effect_recalibrated, row.effect_raw
    is_measured = bool(np.isfinite(recalibrated))
    if (is_measured or row.is_primary) and np.sign(recalibrated) != sign:
        value = f"{recalibrated:+.3g}" if is_measured else "not measured"
        return UNDECIDED, (
            f"With recalibrated BatchNormalization the effect is {value}, not of the same sign."
        )
    if np.sign(raw) != sign:
        value = f"{raw:+.3g}" if np.isfinite(raw) else "not defined"
        return UNDECIDED, f"On raw epochs the effect is {value}, not of the same sign."
    reason = "" if is_measured else "Not measured with recalibrated BatchNormalization."
    return (SUPPORTED if sign > 0 else CONTRADICTED), reason


def _noise_ratio(row):
    """The larger noise share over the smaller one; 1 where one is unknown or both are 0."""
    low, high = sorted((row.noise_left, row.noise_right))
    if not (np.isfinite(low) and np.isfinite(high)) or high <= 0:
        return 1.0
    return high / low if low > 0 else np.inf


def _seeds(count):
    return f"{count} seed" if count == 1 else f"{count} seeds"

"""The findings of a study: every claim, tested over its seeds, with an interval and a verdict."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from repdyn_keras.study.calibration import TOLERANCE
from repdyn_keras.study.claims import CLAIMS, Claim
from repdyn_keras.study.paired_runs import (
    READINGS,
    SIMILARITIES,
    NotComparable,
    NotTestable,
    PairedRuns,
)
from repdyn_keras.study.run_values import noise_share
from repdyn_keras.study.verdicts import (
    ALPHA,
    MIN_PAIRS,
    NOT_COMPARABLE,
    NOT_TESTABLE,
    Row,
    judge,
)
from repdyn_keras.text import format_epoch, format_names, quoted, visible

# The similarity of the primary rows; rows of the other one are secondary.
PRIMARY = "cka"
# Keys in which the cells of two sides must agree.
FAIR_KEYS = ("schedule", "epochs", "batch_size")
# Ratio of the epochs of perfect fit of two cells that are both within 25% of a common target.
MAX_SPEED_RATIO = (1 + TOLERANCE) / (1 - TOLERANCE)
NUMBERS = (
    "effect",
    "lower",
    "upper",
    "p",
    "p_holm",
    "smallest_effect",
    "effect_recalibrated",
    "effect_raw",
    "noise_left",
    "noise_right",
)


def findings(summary: xr.Dataset) -> xr.Dataset:
    """The claims of the paper, tested on a study: one row for each claim and similarity.

    The replicate is the seed: the two sides of a row are paired by it. Primary rows are on CKA;
    secondary ones on region agreement, which are corrected apart.

    Args:
        summary: the Dataset of a study's `summary.nc`.

    Returns:
        A Dataset with the dims row and seed. By row: `claim`, `source`, `similarity`, `primary`,
        `quantity`, `unit`, `left_side`, `right_side` (what they are), `left_cells`, `right_cells`,
        `effect` (mean of left minus right; positive is predicted), `lower` and `upper` (95%
        interval), `p` (exact sign flips), `p_holm`, `pairs`, `smallest_effect`,
        `effect_recalibrated`, `effect_raw` (the effect in these readings), `noise_left`,
        `noise_right` (mean noise shares), `verdict`, `reason`, `left_out` (seeds without both
        sides), `explanation`. By row and seed: `left`, `right`. Attributes: `title`, `missing`
        (JSON, runs left out), `not_comparable` (JSON), `calibration`, `alpha`, `min_pairs`.

    Raises:
        InputError: the summary lacks variables or runs, or its runs cannot be compared.
    """
    runs = PairedRuns(summary)
    rows = tested_rows(runs)
    claims = [(claim, similarity) for similarity in SIMILARITIES for claim in CLAIMS]
    by_row: dict[str, list] = {
        "claim": [claim.text for claim, _ in claims],
        "source": [claim.source for claim, _ in claims],
        "similarity": [similarity for _, similarity in claims],
        "primary": [similarity == PRIMARY for _, similarity in claims],
        "quantity": [claim.quantity for claim, _ in claims],
        "unit": [claim.unit for claim, _ in claims],
        "left_side": [claim.left for claim, _ in claims],
        "right_side": [claim.right for claim, _ in claims],
        "left_cells": [_cells(runs, claim, "left") for claim, _ in claims],
        "right_cells": [_cells(runs, claim, "right") for claim, _ in claims],
        "pairs": [row.pairs for row in rows],
        "verdict": [row.verdict for row in rows],
        "reason": [row.reason for row in rows],
        "left_out": [_left_out(runs, row) for row in rows],
        "explanation": [claim.explanation for claim, _ in claims],
    }
    by_row |= {name: [getattr(row, name) for row in rows] for name in NUMBERS}
    variables = {name: ("row", values) for name, values in by_row.items()}
    sides = {name: np.stack([getattr(row, name) for row in rows]) for name in ("left", "right")}
    suffix = {PRIMARY: "", "region_agreement": "-regions"}
    return xr.Dataset(
        variables | {name: (("row", "seed"), values) for name, values in sides.items()},
        coords={
            "row": [claim.name + suffix[similarity] for claim, similarity in claims],
            "seed": runs.seeds,
        },
        attrs={
            "title": str(summary.attrs.get("title", "")),
            "missing": json.dumps(runs.missing),
            "not_comparable": json.dumps(runs.not_comparable),
            "calibration": str(summary.attrs.get("calibration", "")),
            "alpha": ALPHA,
            "min_pairs": MIN_PAIRS,
        },
    )


def tested_rows(runs: PairedRuns, similarities: Sequence[str] = SIMILARITIES) -> list[Row]:
    """The rows of all claims, by one similarity after the other, each group corrected apart.

    Args:
        runs: of the study.
        similarities: by which the claims are tested.
    """
    found = []
    for similarity in similarities:
        group = [_row(runs, claim, similarity) for claim in CLAIMS]
        judge(group)
        found += group
    return found


def _row(runs: PairedRuns, claim: Claim, similarity: str) -> Row:
    """A row without test; with a verdict if the claim cannot be tested."""
    unknown = np.full(len(runs.seeds), np.nan)
    row = Row(unknown, unknown, claim.smallest_effect, by_state=claim.by_state)
    row.is_primary = similarity == PRIMARY
    if not runs.has(similarity, "aligned"):
        what = "CKA" if similarity == "cka" else "region agreement"
        row.verdict = NOT_TESTABLE
        row.reason = (
            f"No run has {what} on the aligned window, which needs a perfect fit and 20 records"
            + (", and recorded decision regions." if similarity != "cka" else ".")
        )
        return row
    try:
        row.left, row.right = claim.pairs(runs, similarity, "aligned")
        row.reason = _unfair(runs, claim)
        row.verdict = NOT_COMPARABLE if row.reason else ""
        paired = np.isfinite(row.left - row.right)
        for reading in READINGS[1:]:
            if runs.has(similarity, reading):
                # Of the same seeds, so that only the reading differs.
                difference = np.subtract(*claim.pairs(runs, similarity, reading))[paired]
                setattr(row, f"effect_{reading}", _mean(difference))
        sides = claim.sides(runs)
        noise = runs.values(noise_share, similarity, "aligned")
        row.noise_left, row.noise_right = (
            _mean(runs.mean_by_seed(cells, noise)[paired]) if cells else np.nan
            for cells in sides[:2]
        )
    except NotTestable as error:
        row.verdict, row.reason = NOT_TESTABLE, str(error)
    except NotComparable as error:
        row.verdict, row.reason = NOT_COMPARABLE, str(error)
    return row


def _mean(values):
    """The mean of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def _unfair(runs: PairedRuns, claim: Claim) -> str:
    """In what the sides' configurations differ that has to be the same; empty if in nothing."""
    sides = claim.sides(runs)
    pairs = list(zip(sides.left, sides.right, strict=True)) if sides.paired and sides.right else []
    if not sides.paired:
        pairs = [(left, right) for left in sides.left for right in sides.right]
    for cells in pairs:
        for key in FAIR_KEYS:
            left, right = (runs.configurations.get(cell, {}).get(key) for cell in cells)
            if left != right:
                return (
                    f"{key} is {quoted(left)} in {visible(cells[0])} and {quoted(right)} in "
                    f"{visible(cells[1])}."
                )
        if not runs.is_calibrated and (problem := _other_speed(runs, *cells)):
            return problem
    return ""


def _other_speed(runs: PairedRuns, cell: str, other: str) -> str:
    """How much faster one cell fits, if calibration would not allow it; empty if it would."""
    fits = runs.array("perfect_fit_epoch").astype(float)
    known = [runs.by_seed(each, fits) for each in (cell, other)]
    known = [each[np.isfinite(each)] for each in known]
    if not all(map(len, known)):
        return ""
    medians = [float(np.median(each)) for each in known]
    if max(medians) <= MAX_SPEED_RATIO * min(medians):
        return ""
    return (
        f"{visible(cell)} has its perfect fit at epoch {format_epoch(medians[0])} (median), "
        f"{visible(other)} at {format_epoch(medians[1])}: without calibration, "
        "such speeds cannot be compared."
    )


def _cells(runs: PairedRuns, claim: Claim, side: str) -> str:
    """The names of the cells of a side, separated by commas; empty if there are none."""
    try:
        return ", ".join(getattr(claim.sides(runs), side))
    except (NotTestable, NotComparable):
        return ""


def _left_out(runs: PairedRuns, row: Row) -> str:
    """The seeds without both sides, if the row was to be tested."""
    if row.verdict in (NOT_TESTABLE, NOT_COMPARABLE):
        return ""
    return format_names(runs.seeds[~np.isfinite(row.left - row.right)], 20)

"""Three rows of the findings, computed again by loops over plain numbers.

It shares no code with the package: values come from lists, p values from all assignments of signs,
and Holm's correction from its definition as a closed test.
"""

import itertools
import json
import math
import statistics
from pathlib import Path

import pytest
from helpers import from_file
from scipy import stats

from repdyn_keras.study.findings import findings

pytestmark = pytest.mark.without_keras

simulated = from_file(Path(__file__).parents[1] / "benchmarks" / "simulated_studies.py")
CELLS = {"left": ["vit sgd", "vit adam"], "right": ["resnet sgd", "resnet adam"]}
SEEDS = range(10)


@pytest.fixture(scope="module")
def summary():
    """A study with effects: restless ResNet under SGD, synchronized ViTs, borders at the fit."""
    found = simulated.simulated_summary(deviation=0.02, seed=4)
    chosen = found["cell"] == "resnet sgd"
    found["border_restlessness"] = found["border_restlessness"] + 0.06 * chosen
    is_vit = found["model"] == "vit"
    found["synchronization_mean"] = found["synchronization_mean"] + 0.08 * is_vit
    # Seed 3 has fits elsewhere, seed 5 a dead block, seed 8 one run less.
    found["border_u"] = found["border_u"] + 0.4 * (found["seed"] == 3)
    dead = (found["seed"] == 5) & chosen & (found["layer"] == "stage2_block1")
    found["distinguishability"] = found["distinguishability"].where(~dead)
    kept = ~((found["seed"] == 8) & (found["cell"] == "vit adam"))
    return found.isel(run=[i for i, is_kept in enumerate(kept.values) if is_kept])


class Runs:
    """The numbers of a summary as nested lists, found by cell and seed."""

    def __init__(self, summary):
        names = [str(name) for name in summary.data_vars]
        self.lists = {name: summary[name].values.tolist() for name in names}
        self.index = {
            (str(cell), int(seed)): place
            for place, (cell, seed) in enumerate(
                zip(summary["cell"].values, summary["seed"].values, strict=True)
            )
        }
        self.similarity = list(summary["similarity"].values).index("cka")
        self.readings = list(summary["reading"].values)
        self.dims = {name: summary[name].dims for name in names}

    def get(self, name, cell, seed, reading):
        value = self.lists[name][self.index[cell, seed]]
        for dim in self.dims[name][1:3]:
            if dim in ("similarity", "reading"):
                value = value[
                    self.similarity if dim == "similarity" else self.readings.index(reading)
                ]
        return value


def restlessness(runs, cell, seed, reading):
    """Mean over blocks of the fall at the strongest border; NaN with a dead block."""
    falls = []
    for layer, is_block in enumerate(runs.get("is_block", cell, seed, reading)):
        if is_block != 1:
            continue
        if math.isnan(runs.get("distinguishability", cell, seed, reading)[layer]):
            return math.nan
        strongest, fall = 0.0, 0.0
        kinds = runs.get("border_kind", cell, seed, reading)[layer]
        sizes = runs.get("border_restlessness", cell, seed, reading)[layer]
        zs = runs.get("border_z", cell, seed, reading)[layer]
        for kind, size, z in zip(kinds, sizes, zs, strict=True):
            if kind == 2 and z > strongest:
                strongest, fall = z, size
        falls.append(fall)
    return sum(falls) / len(falls)


def at_the_fit(runs, cell, seed, reading):
    """Share of blocks with a border within half an octave of the fit, minus that by chance."""
    hits, chances = [], []
    in_window = runs.get("n_records", cell, seed, "aligned")
    places = runs.get("n_records", cell, seed, reading) - 3
    q = min(1.0, ((in_window - 1) / 5 + 1) / places)
    for layer, is_block in enumerate(runs.get("is_block", cell, seed, reading)):
        if is_block != 1:
            continue
        kinds = runs.get("border_kind", cell, seed, reading)[layer]
        times = runs.get("border_u", cell, seed, reading)[layer]
        borders = [u for kind, u in zip(kinds, times, strict=True) if not math.isnan(kind)]
        hits.append(any(-0.5 <= u <= 0.5 for u in borders))
        chances.append(1 - (1 - q) ** len(borders))
    return sum(hits) / len(hits) - sum(chances) / len(chances)


def synchronized(runs, cell, seed, reading):
    return runs.get("synchronization_mean", cell, seed, reading)


def differences(runs, row, reading):
    """One difference for each seed that has all its runs and all their numbers."""
    found = []
    for seed in SEEDS:
        if row == "resnet-sgd-restlessness":
            sides = (["resnet sgd"], ["resnet adam"], restlessness)
        elif row == "vit-perfect-fit":
            sides = (CELLS["left"], [], at_the_fit)
        else:
            sides = (CELLS["left"], CELLS["right"], synchronized)
        left, right, value = sides
        if any((cell, seed) not in runs.index for cell in (*left, *right)):
            continue
        difference = sum(value(runs, cell, seed, reading) for cell in left) / len(left)
        if right:
            difference -= sum(value(runs, cell, seed, reading) for cell in right) / len(right)
        if not math.isnan(difference):
            found.append(difference)
    return found


def p_of(values):
    """Share of all assignments of signs whose mean is at least as far from 0."""
    observed = abs(sum(values))
    count = 0
    for signs in itertools.product((1, -1), repeat=len(values)):
        total = abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        count += total >= observed - 1e-12
    return count / 2 ** len(values)


def closed_test(p, index):
    """Largest Bonferroni p value of all sets of rows that hold a row: Holm's corrected p value."""
    others = [value for place, value in enumerate(p) if place != index]
    largest = 0.0
    for size in range(len(others) + 1):
        # Of the sets of a size, the one of the largest p values has the largest corrected one.
        for chosen in itertools.combinations(others, size):
            largest = max(largest, min(1.0, (size + 1) * min((p[index], *chosen))))
    return largest


ROWS = {
    "resnet-sgd-restlessness": (9, 0.02),
    "vit-perfect-fit": (9, 0.5),
    "vit-synchronization": (9, 0.05),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_that_of_plain_loops(summary, row):
    found = findings(summary)
    primary = found.isel(row=[i for i, is_it in enumerate(found["primary"].values) if is_it])
    one = primary.sel(row=row)
    runs = Runs(summary)
    values = differences(runs, row, "aligned")
    pairs, smallest = ROWS[row]
    assert len(values) == int(one["pairs"]) == pairs
    assert float(one["smallest_effect"]) == smallest
    effect = statistics.mean(values)
    assert float(one["effect"]) == pytest.approx(effect)
    half = stats.t.ppf(0.975, pairs - 1) * statistics.stdev(values) / math.sqrt(pairs)
    assert [float(one["lower"]), float(one["upper"])] == pytest.approx(
        [effect - half, effect + half]
    )
    for reading in ("recalibrated", "raw"):
        expected = statistics.mean(differences(runs, row, reading))
        assert float(one[f"effect_{reading}"]) == pytest.approx(expected)
    p = p_of(values)
    assert float(one["p"]) == pytest.approx(p)
    tested = [
        (str(name), float(value))
        for name, value, count in zip(
            primary["row"].values, primary["p"].values, primary["pairs"].values, strict=True
        )
        if count >= 8
    ]
    assert len(tested) == 11
    names = [name for name, _ in tested]
    corrected = closed_test([value for _, value in tested], names.index(row))
    assert float(one["p_holm"]) == pytest.approx(corrected)
    same_sign = all(
        effect * statistics.mean(differences(runs, row, reading)) > 0
        for reading in ("recalibrated", "raw")
    )
    is_clear = corrected <= 0.05 and abs(effect) > smallest and same_sign
    verdict = ("supported" if effect > 0 else "contradicted") if is_clear else "undecided"
    assert str(one["verdict"].values) == verdict
    assert verdict == ("undecided" if row == "vit-perfect-fit" else "supported")


def test_the_rows_of_the_study_differ_in_what_they_leave_out(summary):
    left_out = findings(summary)["left_out"].to_series()
    assert left_out["resnet-sgd-restlessness"] == "5"
    assert left_out["vit-perfect-fit"] == left_out["vit-synchronization"] == "8"
    assert json.loads(summary.attrs["cells"]).keys() == {*CELLS["left"], *CELLS["right"]}

"""Findings of a study: what is compared, the rules of the verdicts, and bad summaries."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from helpers import from_file
from scipy import stats

from repdyn_keras.errors import InputError
from repdyn_keras.measures.phases import MIN_CONTRAST, MIN_FALL
from repdyn_keras.study.claims import CLAIMS
from repdyn_keras.study.findings import findings
from repdyn_keras.study.paired_runs import PairedRuns
from repdyn_keras.study.verdicts import VERDICTS, Row, judge

pytestmark = pytest.mark.without_keras

simulated = from_file(Path(__file__).parents[1] / "benchmarks" / "simulated_studies.py")
MODELS, OPTIMIZERS = ("resnet", "vit"), ("sgd", "adam")
N_CLAIMS = 12


@pytest.fixture
def summary():
    return simulated.simulated_summary()


def with_attribute(summary, name, change):
    """The summary with a JSON attribute changed."""
    value = json.loads(summary.attrs[name])
    change(value)
    return summary.assign_attrs({name: json.dumps(value)})


def raised(summary, name, amount, cells, **selection):
    """The summary with `amount` added to a variable in these cells."""
    add = summary["cell"].isin(list(cells)) * amount
    for dim, value in selection.items():
        add = add * (summary[dim] == value)
    return summary.assign({name: summary[name] + add})


def with_random_borders(summary, seed=3):
    """The summary with borders of random number, kind, time and size, and some dead blocks."""
    rng = np.random.default_rng(seed)
    shape = summary["border_kind"].shape
    count = rng.integers(0, 5, shape[:-1])
    absent = np.arange(shape[-1]) >= count[..., None]
    u = rng.uniform(-3, 2, shape)
    new = {
        "border_kind": rng.integers(1, 3, shape).astype(float),
        "border_u": u,
        "border_epoch": 64 * 2**u,
        "border_z": rng.uniform(3, 9, shape),
        "border_contrast": rng.uniform(0, 0.4, shape),
        "border_restlessness": rng.uniform(0, 0.4, shape),
    }
    new = {name: (summary[name].dims, np.where(absent, np.nan, v)) for name, v in new.items()}
    change = summary["change"] + rng.normal(size=shape[:-1])
    return summary.assign(new | {"change": change})


# --- what is compared --------------------------------------------------------------------------


def by_hand(summary, model, optimizer, seed, name, similarity, reading):
    """What a claim measures in one run, in plain loops over its blocks."""
    chosen = (summary["cell"] == f"{model} {optimizer}") & (summary["seed"] == seed)
    run = summary.isel(run=int(np.flatnonzero(chosen)[0]))
    blocks = [str(layer) for layer in run["layer"].values if run["is_block"].sel(layer=layer) == 1]
    run = run.sel(similarity=similarity)
    n_aligned = float(run["n_records"].sel(reading="aligned"))
    n_records = float(run["n_records"].sel(reading=reading))
    run = run.sel(reading=reading)
    if name == "vit-synchronization":
        return float(run["synchronization_mean"])
    if name.startswith(("depth", "double")):
        order = [float(run["position"].sel(layer=block)) for block in blocks]
        change = [float(run["change"].sel(layer=block)) for block in blocks]
        return stats.spearmanr(order, change).statistic
    found = []
    for block in blocks:
        layer = run.sel(layer=block)
        borders = [
            {
                key: float(layer[f"border_{key}"][i])
                for key in ("kind", "u", "epoch", "z", "contrast", "restlessness")
            }
            for i in range(layer.sizes["border"])
            if np.isfinite(layer["border_kind"][i])
        ]
        if name in ("vit-state", "resnet-sgd-state", "vit-sgd-state"):
            found.append(float(layer["distinguishability"]))
        elif name == "vit-perfect-fit":
            found.append(float(any(abs(border["u"]) <= 0.5 for border in borders)))
        elif name == "chance":
            near = min(1, ((n_aligned - 1) / 5 + 1) / (n_records - 3))
            found.append(1 - (1 - near) ** len(borders))
        else:
            if name.startswith("memorization"):
                first = math.log2(float(run["memorized_10_epoch"])) - 0.5
                last = math.log2(float(run["memorized_90_epoch"])) + 0.5
                borders = [b for b in borders if first <= math.log2(b["epoch"]) <= last]
            kind, key = (1, "contrast") if "state" in name else (2, "restlessness")
            borders = sorted((b for b in borders if b["kind"] == kind), key=lambda b: b["z"])
            found.append(borders[-1][key] if borders else 0.0)
    return float(np.mean(found))


SIDES = {
    "resnet-sgd": (["resnet sgd"], ["resnet adam"]),
    "vit-sgd": (["vit sgd"], ["vit adam"]),
    "memorization-sgd": (["resnet sgd", "vit sgd"], ["resnet adam", "vit adam"]),
    "vit-perfect-fit": (["vit sgd", "vit adam"], "chance"),
    "vit": (["vit sgd", "vit adam"], ["resnet sgd", "resnet adam"]),
    "depth": (["resnet sgd", "resnet adam", "vit sgd", "vit adam"], "zero"),
    "double": (["vit adam"], ["resnet sgd", "resnet adam", "vit sgd"]),
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
@pytest.mark.parametrize(
    ("similarity", "reading"), [("cka", "aligned"), ("region_agreement", "raw")]
)
def test_both_sides_are_those_computed_in_plain_loops(claim, similarity, reading):
    summary = with_random_borders(simulated.simulated_summary(3))
    descends = summary["cell"] == "vit adam"
    summary = summary.assign(
        test_fall=summary["test_fall"] + 0.1 * descends,
        test_recovery=summary["test_recovery"] + 0.1 * descends,
    )
    # The runs are found by cell and seed, in any order.
    order = np.random.default_rng(0).permutation(summary.sizes["run"])
    summary = summary.isel(run=order)
    left, right = claim.pairs(PairedRuns(summary), similarity, reading)
    left_cells, right_cells = next(s for name, s in SIDES.items() if claim.name.startswith(name))
    for index, seed in enumerate((0, 1, 2)):

        def mean(cells, name, seed=seed):
            runs = [cell.split() for cell in cells]
            where = (seed, name, similarity, reading)
            return np.mean([by_hand(summary, *cell, *where) for cell in runs])

        assert left[index] == pytest.approx(mean(left_cells, claim.name))
        if right_cells == "zero":
            assert right[index] == 0
        elif right_cells == "chance":
            assert right[index] == pytest.approx(mean(left_cells, "chance"))
        else:
            assert right[index] == pytest.approx(mean(right_cells, claim.name))
    assert np.ptp(left) > 0, "the values differ between seeds"


def test_borders_at_random_records_give_the_share_expected_by_chance():
    """The formula of the chance, against borders that are placed at random."""
    summary = simulated.simulated_summary(10)
    rng = np.random.default_rng(1)
    # 31 records of the aligned window, 6 an octave; a border is at the first record of a phase.
    records = np.arange(-18, 13) / 6
    shape = summary["border_kind"].shape
    u = records[rng.integers(2, len(records) - 1, shape)]
    absent = np.arange(shape[-1]) >= rng.integers(0, 4, shape[:-1])[..., None]
    kind = np.where(absent, np.nan, 1.0)
    dims = summary["border_kind"].dims
    summary = summary.assign(border_u=(dims, np.where(absent, np.nan, u)), border_kind=(dims, kind))
    claim = next(claim for claim in CLAIMS if claim.name == "vit-perfect-fit")
    pairs = [
        claim.pairs(PairedRuns(summary), similarity, "aligned")
        for similarity in ("cka", "region_agreement")
    ]
    left, right = np.concatenate(pairs, axis=1)
    assert 0.2 < right.mean() < 0.5
    assert abs(left.mean() - right.mean()) < 0.1


def test_a_dead_block_and_a_run_without_perfect_fit_have_no_value(summary):
    chosen = (summary["cell"] == "vit sgd") & (summary["seed"] == 4)
    dead = summary.assign(
        distinguishability=summary["distinguishability"].where(
            ~(chosen & (summary["layer"] == "block02"))
        )
    )
    found = findings(dead)
    for name in ("vit-sgd-state", "vit-sgd-restlessness", "memorization-sgd-state"):
        assert int(found["pairs"].sel(row=name)) == 9, name
        assert str(found["left_out"].sel(row=name).values) == "4"
        assert np.isnan(found["left"].sel(row=name, seed=4))
    assert int(found["pairs"].sel(row="resnet-sgd-state")) == 10
    unfit = summary.assign(perfect_fit_epoch=summary["perfect_fit_epoch"].where(~chosen))
    assert int(findings(unfit)["pairs"].sel(row="vit-perfect-fit")) == 9
    silent = summary.assign(memorized_90_epoch=summary["memorized_90_epoch"].where(~chosen))
    assert int(findings(silent)["pairs"].sel(row="memorization-sgd-restlessness")) == 9


# --- the table ---------------------------------------------------------------------------------


def test_the_claims_are_complete_and_their_smallest_effects_are_fixed():
    assert len(CLAIMS) == N_CLAIMS == len({claim.name for claim in CLAIMS})
    for claim in CLAIMS:
        assert claim.text.endswith(".") and claim.source.startswith("arXiv 2405.17377v")
        assert len(claim.explanation) > 300 and "paper predicts" in claim.explanation
    smallest = {claim.unit: set() for claim in CLAIMS}
    for claim in CLAIMS:
        smallest[claim.unit].add(claim.smallest_effect)
    assert (MIN_CONTRAST, MIN_FALL) == (0.03, 0.02)
    assert smallest == {
        "similarity": {0.03, 0.02},
        "synchronization": {0.05},
        "share of blocks": {0.5},
        "rank correlation": {0.3},
    }
    assert all(c.smallest_effect == MIN_CONTRAST for c in CLAIMS if c.by_state)


def test_an_effect_is_found_with_its_sign_and_the_numbers_are_those_of_scipy(summary):
    rows = {"resnet-sgd-state": "supported", "vit-sgd-state": "contradicted"}
    changed = raised(summary, "distinguishability", 0.1, ["resnet sgd", "vit adam"])
    found = findings(changed)
    assert found.sizes == {"row": 2 * N_CLAIMS, "seed": 10}
    assert set(found["verdict"].values) <= set(VERDICTS)
    for name, verdict in rows.items():
        for suffix in ("", "-regions"):
            row = found.sel(row=name + suffix)
            assert str(row["verdict"].values) == verdict
            difference = (row["left"] - row["right"]).values
            assert float(row["effect"]) == pytest.approx(difference.mean())
            interval = stats.ttest_1samp(difference, 0).confidence_interval()
            assert [float(row[k]) for k in ("lower", "upper")] == pytest.approx(list(interval))
            assert float(row["p"]) == 2 / 1024
            assert int(row["pairs"]) == 10
    # Eleven rows are tested on each similarity; the twelfth needs double descent.
    assert float(found["p_holm"].sel(row="resnet-sgd-state")) == pytest.approx(11 * 2 / 1024)
    primary = found["primary"].values
    assert primary.sum() == N_CLAIMS
    assert (found["similarity"].values[primary] == "cka").all()
    others = found.drop_sel(row=[name + s for name in rows for s in ("", "-regions")])
    clear = others["row"].values[(others["verdict"] == "supported").values]
    assert set(clear) <= {"vit-perfect-fit", "vit-perfect-fit-regions"}


def test_region_rows_are_corrected_apart(summary):
    before = findings(summary)
    changed = raised(summary, "distinguishability", 0.1, ["vit sgd"], similarity="region_agreement")
    after = findings(changed)
    primary = before["primary"].values
    assert after.isel(row=primary).equals(before.isel(row=primary))
    assert not after.isel(row=~primary).equals(before.isel(row=~primary))


def test_the_noise_shares_and_the_other_readings_stand_beside_the_effect(summary):
    changed = raised(summary, "distinguishability", 0.1, ["vit sgd"])
    changed = raised(changed, "distinguishability", -0.04, ["vit sgd"], reading="raw")
    changed = raised(changed, "distinguishability", 0.02, ["vit sgd"], reading="recalibrated")
    changed = raised(changed, "noise_share", 0.1, ["vit adam"])
    row = findings(changed).sel(row="vit-sgd-state")
    values = [float(row[f"effect{name}"]) for name in ("", "_recalibrated", "_raw")]
    assert values == pytest.approx([0.1, 0.12, 0.06], abs=0.01)
    noise = [float(row[f"noise_{side}"]) for side in ("left", "right")]
    assert noise == pytest.approx([0.1, 0.2], abs=0.01)
    assert (str(row["left_cells"].values), str(row["right_cells"].values)) == (
        "vit sgd",
        "vit adam",
    )
    confounded = findings(raised(changed, "noise_share", 0.3, ["vit adam"]))
    assert str(confounded["verdict"].sel(row="vit-sgd-state").values) == "confounded by noise"
    assert "more than a factor of 3" in str(confounded["reason"].sel(row="vit-sgd-state").values)
    verdict = str(confounded["verdict"].sel(row="vit-sgd-restlessness").values)
    assert verdict != "confounded by noise", "scatter is what this row measures"


def test_findings_do_not_depend_on_the_order_of_runs_or_on_other_networks(summary, tmp_path):
    expected = findings(summary)
    shuffled = summary.isel(run=np.random.default_rng(0).permutation(summary.sizes["run"]))
    xr.testing.assert_allclose(findings(shuffled), expected, rtol=1e-12)
    other = summary.isel(run=np.flatnonzero(summary["cell"].values == "vit sgd"))
    other = other.assign_coords(
        run=[f"mlp-{seed}" for seed in range(10)],
        cell=("run", ["mlp sgd"] * 10),
        model=("run", ["mlp"] * 10),
    )
    both = xr.concat([other, summary], "run").assign_attrs(summary.attrs)
    mlp = {"mlp sgd": simulated.CONFIGURATION | {"model": "mlp", "optimizer": "sgd"}}
    both = with_attribute(both, "cells", lambda cells: cells.update(mlp))
    xr.testing.assert_allclose(findings(both), expected)
    file = tmp_path / "summary.nc"
    summary.to_netcdf(file, engine="h5netcdf")
    with xr.open_dataset(file, engine="h5netcdf") as opened:
        xr.testing.assert_identical(findings(opened.load()), expected)


# --- the rules of the verdicts ------------------------------------------------------------------


def row_of(effect=0.1, seeds=10, **more):
    """A row with one effect in all seeds but for small deviations."""
    values = effect + 0.001 * np.arange(seeds)
    defaults = {"effect_recalibrated": effect, "effect_raw": effect}
    return Row(values, np.zeros(seeds), smallest_effect=0.03, **defaults | more)


RULES = [
    (row_of(), "supported", "^$"),
    (row_of(-0.1), "contradicted", "^$"),
    (row_of(effect_recalibrated=np.nan), "undecided", "recalibrated .* is not measured"),
    (
        row_of(effect_recalibrated=np.nan, is_primary=False),
        "supported",
        "Not measured with recalibrated",
    ),
    (row_of(0.02), "undecided", "The effect, .0.0245, is not larger than the smallest"),
    (row_of(effect_recalibrated=-0.01), "undecided", "recalibrated BatchNormalization.*-0.01"),
    (row_of(-0.1, effect_recalibrated=0.01), "undecided", "recalibrated"),
    (row_of(effect_raw=-0.01), "undecided", "On raw epochs the effect is -0.01"),
    (row_of(effect_raw=np.nan), "undecided", "On raw epochs the effect is not defined"),
    (row_of(seeds=7), "undecided, too few seeds", "7 seeds with both sides, at least 8"),
    (row_of(by_state=True, noise_left=0.4, noise_right=0.1), "confounded by noise", "0.4 and 0.1"),
    (row_of(by_state=True, noise_left=0.1, noise_right=0.29), "supported", "^$"),
    (row_of(by_state=True, noise_left=0.0, noise_right=0.1), "confounded by noise", "0 and 0.1"),
    (row_of(noise_left=0.4, noise_right=0.1), "supported", "^$"),
    (row_of(verdict="not comparable", reason="other"), "not comparable", "other"),
]


@pytest.mark.parametrize(("row", "verdict", "reason"), RULES, ids=range(len(RULES)))
def test_a_verdict_follows_the_rules(row, verdict, reason):
    judge([row])
    assert row.verdict == verdict
    assert re.search(reason, row.reason)
    if verdict == "not comparable":
        assert np.isnan([row.effect, row.lower, row.p, row.p_holm]).all()


def test_a_p_value_above_alpha_is_undecided_and_only_tested_rows_are_corrected():
    mixed = Row(np.tile([0.5, -0.4], 5), np.zeros(10), 0.03, effect_recalibrated=1, effect_raw=1)
    rows = [row_of(), mixed, row_of(seeds=6), row_of(verdict="not testable here", reason="none")]
    judge(rows)
    assert rows[0].p_holm == pytest.approx(2 * 2 / 1024)
    assert (rows[1].verdict, rows[2].verdict) == ("undecided", "undecided, too few seeds")
    assert "Holm p is" in rows[1].reason
    assert rows[2].p == 2 / 64 and np.isnan(rows[2].p_holm)
    assert np.isnan(rows[3].p)


def test_rows_that_no_outcome_could_decide_have_too_few_seeds():
    """2/256 is 0.0078: seven rows of eight seeds cannot pass, six can."""
    for count, verdict in ((6, "supported"), (7, "undecided, too few seeds")):
        rows = [row_of(seeds=8) for _ in range(count)]
        judge(rows)
        assert {row.verdict for row in rows} == {verdict}
    assert "corrected for 7 rows" in rows[0].reason


# --- what cannot be tested or compared ----------------------------------------------------------


def test_calibration_and_unequal_training_make_rows_not_comparable(summary):
    listed = with_attribute(summary, "not_comparable", lambda names: names.append("vit adam"))
    listed = listed.isel(run=np.flatnonzero(listed["cell"].values != "vit adam"))
    found = findings(listed)
    unaffected = {"resnet-sgd-state", "resnet-sgd-restlessness"}
    for name in found["row"].values[:N_CLAIMS]:
        verdict = str(found["verdict"].sel(row=name).values)
        assert (verdict != "not comparable") == (name in unaffected), name
    named = with_attribute(listed, "cells", lambda cells: cells.pop("vit adam"))
    xr.testing.assert_identical(findings(named), found)
    for key, value in (("schedule", "cosine"), ("epochs", 99), ("batch_size", 7)):
        changed = with_attribute(
            summary, "cells", lambda cells, k=key, v=value: cells["vit adam"].update({k: v})
        )
        found = findings(changed)
        verdicts = found["verdict"].to_series()
        assert (verdicts[["vit-sgd-state", "vit-state"]] == "not comparable").all()
        assert verdicts["resnet-sgd-state"] != "not comparable"
        reason = str(found["reason"].sel(row="vit-sgd-state").values)
        original = simulated.CONFIGURATION[key]
        assert reason == f"{key} is {original!r} in vit sgd and {value!r} in vit adam."
        assert np.isnan(found["p"].sel(row="vit-sgd-state"))


def test_without_calibration_cells_of_other_speed_are_not_comparable(summary):
    for ratio, same in ((1.6, True), (1.7, False)):
        is_adam = summary["optimizer"] == "adam"
        fits = summary["perfect_fit_epoch"] * xr.where(is_adam, ratio, 1.0)
        faster = findings(summary.assign(perfect_fit_epoch=fits))["verdict"].to_series()
        assert (faster["resnet-sgd-state"] != "not comparable") == same
        assert faster["vit-state"] != "not comparable", "its cells are paired by optimizer"
        known = summary.assign(perfect_fit_epoch=fits).assign_attrs(calibration="cell\n")
        assert findings(known)["verdict"].to_series()["resnet-sgd-state"] != "not comparable"


def test_what_a_study_lacks_makes_rows_not_testable_here(summary):
    def verdict(dataset, row):
        found = findings(dataset).sel(row=row)
        return str(found["verdict"].values), str(found["reason"].values)

    only = summary.isel(run=np.flatnonzero(summary["model"].values == "resnet"))
    only = with_attribute(only, "cells", lambda c: [c.pop(n) for n in ("vit sgd", "vit adam")])
    said = ("not testable here", "The study has no cell with vit and sgd.")
    assert verdict(only, "vit-state") == verdict(only, "vit-sgd-state") == said
    assert verdict(only, "resnet-sgd-state")[0] == "undecided"
    clean = with_attribute(
        summary, "cells", lambda cells: [keys.update(label_noise=0) for keys in cells.values()]
    )
    assert "no wrong labels" in verdict(clean, "memorization-sgd-state")[1]
    assert verdict(clean, "memorization-sgd-state")[0] == "not testable here"
    twice = with_attribute(summary, "cells", lambda c: c.update({"wide": c["vit sgd"]}))
    assert "more than one cell with vit and sgd: vit sgd, wide" in verdict(twice, "vit-state")[1]
    no_regions = summary.assign(
        distinguishability=summary["distinguishability"].where(summary["similarity"] == "cka")
    )
    result = verdict(no_regions, "vit-state-regions")
    assert result[0] == "not testable here" and "decision regions" in result[1]
    assert verdict(no_regions, "vit-state")[0] == "undecided"
    result = verdict(summary, "double-descent-depth")
    assert result[0] == "not testable here" and "No cell shows epoch-wise double" in result[1]
    all_descend = summary.assign(
        test_fall=summary["test_fall"] + 0.1, test_recovery=summary["test_recovery"] + 0.1
    )
    assert "All cells show" in verdict(all_descend, "double-descent-depth")[1]
    half = all_descend.assign(
        test_recovery=all_descend["test_recovery"].where(all_descend["optimizer"] == "sgd", 0.04)
    )
    row = findings(half).sel(row="double-descent-depth")
    assert str(row["left_cells"].values) == "resnet sgd, vit sgd"
    assert str(row["right_cells"].values) == "resnet adam, vit adam"
    assert int(row["pairs"]) == 10


def test_missing_runs_are_left_out_and_listed(summary):
    present = ~((summary["cell"] == "vit sgd") & (summary["seed"] > 6)).values
    lost = {name: "damaged" for name in summary["run"].values[~present].tolist()}
    few = with_attribute(summary, "missing", lambda missing: missing.update(lost))
    found = findings(few.isel(run=np.flatnonzero(present)))
    assert json.loads(found.attrs["missing"]) == lost and len(lost) == 3
    row = found.sel(row="vit-sgd-state")
    assert str(row["verdict"].values) == "undecided, too few seeds"
    assert (int(row["pairs"]), str(row["left_out"].values)) == (7, "7, 8, 9")
    assert int(found["pairs"].sel(row="resnet-sgd-state")) == 10
    gone = summary.isel(run=np.flatnonzero(summary["cell"].values != "vit sgd"))
    row = findings(gone).sel(row="vit-sgd-state")
    assert (str(row["verdict"].values), int(row["pairs"])) == ("undecided, too few seeds", 0)


# --- bad summaries -------------------------------------------------------------------------------


def other_images(summary):
    names = summary["images_hash"].values.copy()
    names[5] = "other"
    return summary.assign(images_hash=("run", names))


def renamed_twice(summary):
    return summary.isel(run=[0, 0, 1]).assign_coords(run=["r0", "r1", "r2"])


def other_data(key, value):
    def change(summary):
        return with_attribute(summary, "cells", lambda c: c["vit adam"].update({key: value}))

    return change


BAD = {
    "no run": (lambda s: s.isel(run=[]), "at least one finished run .* Received: none"),
    "absent": (lambda s: s.drop_vars(["change", "cell"]), "absent .*: change, cell"),
    "dims": (lambda s: s.assign(change=s["change"][:, 0]), "other dims: change"),
    "images": (other_images, "same images in all runs of a seed. Received: .*'resnet-adam-s1'"),
    "dataset": (other_data("dataset", "x"), "one value of dataset .*'digits' in 'resnet sgd'"),
    "noise": (other_data("label_noise", 0.1), "one value of label_noise .* 0.1 in 'vit adam'"),
    "twice": (lambda s: s.isel(run=[0, *range(4), 1]), "Expected one run of each cell and seed"),
    "renamed": (renamed_twice, "Expected one run of each cell and seed. .*'r0' and 'r1'"),
    "json": (lambda s: s.assign_attrs(missing="{"), "JSON object in the attribute missing"),
    "list": (lambda s: s.assign_attrs(not_comparable="{}"), "JSON list in the attribute not_"),
    "no keys": (lambda s: s.drop_attrs(), "keys of every cell .* Received: None"),
    "one without keys": (
        lambda s: with_attribute(s, "cells", lambda cells: cells.pop("vit sgd")),
        "keys of every cell",
    ),
    "cells": (lambda s: s.assign_attrs(cells='{"a": 1}'), "keys of every cell"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_summary_is_one_clear_error(summary, name):
    change, message = BAD[name]
    changed = change(summary)
    with pytest.raises(InputError, match=message):
        findings(changed)

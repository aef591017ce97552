"""The summary of one run: its window, its readings, and what is undefined."""

import math

import numpy as np
import pytest
import xarray as xr

from repdyn_keras.dynamics.milestones import stays_from
from repdyn_keras.measures.phases import SIMILARITIES, phases_by_layer
from repdyn_keras.measures.trajectory import octaves
from repdyn_keras.study.run_summary import GRID, READINGS, summarize, window_records

pytestmark = [pytest.mark.long, pytest.mark.without_keras]
LAYERS = ["stem", "block01", "block02", "output"]
SUBSETS = ["train", "clean", "mislabeled_given", "mislabeled_true", "test"]


def recorded_epochs(last):
    """The default recorded epochs of a run of so many epochs."""
    steps = {round(2 ** (i / 6)) for i in range(200)}
    return np.array(sorted({0, last} | {e for e in steps if e < last}), float)


def similarities(epochs, seed=0):
    """(layer, epoch, epoch_other) of layers that turn at different epochs, with scatter."""
    rng = np.random.default_rng(seed)
    u = octaves(epochs)
    grams = []
    for turn in (2.0, 3.0, 4.0, 5.0):
        angle = 1.2 / (1 + np.exp(-3 * (u - turn)))
        trail = np.stack([np.cos(angle), np.sin(angle)], 1)
        path = np.concatenate([trail, 0.05 * rng.normal(size=(len(u), 30))], 1)
        path /= np.linalg.norm(path, axis=1, keepdims=True)
        grams.append(path @ path.T)
    return np.stack(grams)


def dynamics(epochs, fit, cka=None, **more):
    """Dynamics of a run without regions."""
    cka = similarities(epochs) if cka is None else cka
    dims = {name: ("layer", "epoch") for name in ("phase", "border_kind", "noise_share")}
    phases = phases_by_layer(cka, epochs.tolist())
    variables = {name: (("layer", "epoch")[: each.ndim], each) for name, each in phases.items()} | {
        "cka": (("layer", "epoch", "epoch_other"), cka)
    }
    assert set(dims) <= set(variables)
    rng = np.random.default_rng(3)
    return xr.Dataset(
        variables
        | {
            "is_block": ("layer", np.array([0, 1, 1, 0])),
            "probe_accuracy": (
                ("layer", "epoch", "subset"),
                rng.uniform(size=(4, len(epochs), len(SUBSETS))),
            ),
        },
        coords={"layer": LAYERS, "epoch": epochs, "epoch_other": epochs, "subset": SUBSETS},
        attrs={
            "perfect_fit_epoch": fit,
            "memorized_share": math.nan,
            "title": "run",
            "images_hash": "abc",
        }
        | more,
    )


def history(epochs, **columns):
    """Rows of `history.csv`; cells without a value are empty."""
    names = {"test_accuracy": "", "memorized": "", "train_accuracy": "", **columns}
    return [
        {"epoch": f"{epoch:g}"}
        | {n: v if isinstance(v, str) else repr(float(v[i])) for n, v in names.items()}
        for i, epoch in enumerate(epochs)
    ]


@pytest.mark.parametrize("last", [20, 102, 256])
def test_the_window_holds_the_records_from_an_eighth_to_four_times_the_perfect_fit(last):
    epochs = recorded_epochs(last)
    for fit in epochs[1:]:
        found = epochs[window_records(epochs, fit)]
        if last < 4 * fit * 2 ** (-1 / 6):
            assert len(found) == 0, "the run ends before its window does"
            continue
        inside = [e for e in epochs if fit / 8 <= e <= 4 * fit]
        rounded = [e for e in epochs if fit / 8 * 0.98 <= e <= 4 * fit * 1.02]
        assert set(inside) <= set(found) <= set(rounded)
        assert fit in found and found[0] > 0
    for fit in (math.nan, math.inf, 0, -1):
        assert len(window_records(epochs, fit)) == 0


@pytest.mark.parametrize("fit", [math.nan, 0.0, 6.0, 16.0])
def test_a_run_is_aligned_if_its_window_is_complete_and_has_twenty_records(fit):
    epochs = recorded_epochs(102)
    found = summarize(dynamics(epochs, fit), history(epochs))
    count = len(window_records(epochs, fit))
    assert found["n_records"].values.tolist() == [count, count, len(epochs)]
    is_aligned = count >= 20
    assert is_aligned == (fit == 16.0)
    for name in ("distinguishability", "change", "noise_share"):
        by_reading = found[name].sel(similarity="cka")
        assert np.isfinite(by_reading.sel(reading="raw")).all(), name
        assert np.isfinite(by_reading.sel(reading="aligned")).all() == is_aligned, name
        assert np.isnan(found[name].sel(similarity="region_agreement")).all()
    assert np.isfinite(found["progress"]).any() == is_aligned
    has_fit = math.isfinite(fit) and fit > 0
    borders = np.isfinite(found["border_epoch"].sel(similarity="cka", reading="raw").values)
    assert borders.any(), "there is a border to be placed"
    u = found["border_u"].sel(similarity="cka", reading="raw").values
    assert (np.isfinite(u) == (borders & has_fit)).all()
    if has_fit:
        pair = [
            found[name].sel(similarity="cka", reading="raw").values[borders]
            for name in ("border_epoch_before", "border_epoch")
        ]
        assert np.allclose(u[borders], (np.log2(pair[0] / fit) + np.log2(pair[1] / fit)) / 2)


def test_the_recalibrated_reading_is_a_copy_only_without_moving_statistics():
    """Else a claim would agree with itself, where the second recording was left out."""
    epochs = recorded_epochs(102)
    run = dynamics(epochs, 16.0)
    aligned, recalibrated, raw = READINGS

    def found(*arguments, **settings):
        return summarize(run, history(epochs), *arguments, **settings).sel(similarity="cka")

    names = ["distinguishability", "change", "border_epoch", "synchronization_mean"]
    plain = found()[names]
    assert plain.sel(reading=recalibrated, drop=True).equals(plain.sel(reading=aligned, drop=True))
    left_out = found(has_moving_statistics=True)[names]
    assert left_out.sel(reading=aligned).equals(plain.sel(reading=aligned))
    for name in names:
        assert np.isnan(left_out[name].sel(reading=recalibrated)).all(), name
    other = found(similarities(epochs, seed=9), has_moving_statistics=True)["change"]
    assert np.isfinite(other.sel(reading=recalibrated)).all()
    assert not np.isclose(
        other.sel(reading=recalibrated), other.sel(reading=aligned), atol=1e-6
    ).any()


def test_a_dead_layer_is_not_defined_and_the_others_are():
    epochs = recorded_epochs(102)
    cka = similarities(epochs)
    cka[1] = np.nan
    found = summarize(dynamics(epochs, 16.0, cka), history(epochs)).sel(similarity="cka")
    for name in ("distinguishability", "change", "noise_share", "border_epoch"):
        assert np.isnan(found[name].sel(layer="block01")).all(), name
    assert np.isfinite(found["change"].drop_sel(layer="block01")).all()
    assert np.isnan(found["synchronization_mean"]).all(), "one block has no pair"


def test_milestones_are_those_of_the_rows_and_nan_without_them():
    epochs = recorded_epochs(64)
    rng = np.random.default_rng(1)
    test = rng.uniform(0.2, 0.9, len(epochs))
    memorized = np.minimum(epochs / 8, 1) ** 2
    memorized[0] = 0.12  # an untrained network gives some wrong labels by chance
    memorized[-2] = 0.05  # a disturbance long after the perfect fit
    learning = range(epochs.tolist().index(8) + 1)
    rows = history(epochs, test_accuracy=test, memorized=memorized)
    found = summarize(dynamics(epochs, 8.0), rows)
    best = max(range(len(test)), key=lambda i: (test[i], -i))
    lowest = min(range(best, len(test)), key=lambda i: (test[i], i))
    expected = {
        "best_test_accuracy": test[best],
        "best_test_epoch": epochs[best],
        "final_test_accuracy": test[-1],
        "test_fall": test[best] - test[lowest],
        "test_recovery": max(test[lowest:]) - test[lowest],
        "memorized_10_epoch": next(
            epochs[i] for i in learning if min(memorized[i : learning.stop]) >= 0.1
        ),
        "memorized_90_epoch": next(
            epochs[i] for i in learning if min(memorized[i : learning.stop]) >= 0.9
        ),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value), name
    at_fit = int(np.argmin(np.abs(GRID)))
    assert float(found["test_accuracy"][at_fit]) == pytest.approx(test[epochs.tolist().index(8)])
    bare = summarize(dynamics(epochs, 8.0), history(epochs))
    for name in (*expected, "memorized", "test_accuracy", "final_train_accuracy"):
        assert np.isnan(bare[name]).all(), name
    assert list(SIMILARITIES) == bare["similarity"].values.tolist()


def test_a_share_that_falls_again_does_not_stay():
    epochs = np.array([0.0, 1, 2, 4])
    assert stays_from(epochs, np.array([0.2, 0.05, 0.3, 0.5]), 0.1) == 2
    assert stays_from(epochs, np.array([0.2, 0.1, 0.3, 0.5]), 0.1) == 0
    assert math.isnan(stays_from(epochs, np.array([0.2, 0.1, 0.3, 0.05]), 0.1))
    assert math.isnan(stays_from(epochs[:0], epochs[:0], 0.1))

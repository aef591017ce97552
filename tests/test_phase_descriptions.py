"""What happened in each phase: epochs, borders, changes of the network, names, and the tables."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from helpers import SUBSETS, assert_input_error

from repdyn_keras.cli.results import print_results
from repdyn_keras.dynamics.phase_descriptions import Border, Change, describe_phases, phase_name
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.without_keras

EPOCHS = (0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32)
# Phases of the records, and the kinds of the borders.
ONE = [1] * 11
FROZEN = [0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2]
THREE = [1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3]
LAYERS = {"stem": ONE, "one": ONE, "two": ONE, "three": THREE, "four": FROZEN, "output": THREE}
KINDS = {"three": {3: 1, 8: 2}, "four": {8: 2}, "output": {3: 1, 8: 2}}
TEST = [0.1, 0.6, 0.8, 0.85, 0.96, 0.9, 0.85, 0.75, 0.7, 0.71, 0.72]
TRAIN = [0.1, 0.4, 0.6, 0.7, 0.75, 0.8, 0.85, 0.95, 1, 1, 1]
MEMORIZED = [0.1, 0.05, 0.02, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99, 1.0, 1.0]
HISTORY = [{"epoch": float(e), "loss": 2 / e} for e in EPOCHS[1:]]


def dynamics(noise=True, labels=True, layers=LAYERS, kinds=KINDS, fit=16.0) -> xr.Dataset:
    """The variables that describe phases; the memorized share is known only with label noise."""
    names, shape = list(layers), (len(layers), len(EPOCHS))
    by_record = {name: np.full(shape, np.nan) for name in ("z", "p", "contrast", "restlessness")}
    kind = np.zeros(shape, int)
    for name, borders in kinds.items():
        for record, value in borders.items():
            at = names.index(name), record
            kind[at] = value
            for number, size in zip(by_record, (3 + at[0], 0.005, 0.2, 0.1), strict=True):
                by_record[number][at] = size
    accuracy = np.full((*shape, len(SUBSETS)), np.nan)
    if labels:
        accuracy[..., SUBSETS.index("test")] = TEST
        accuracy[..., SUBSETS.index("train")] = TRAIN
    if labels and noise:
        accuracy[..., SUBSETS.index("mislabeled_given")] = MEMORIZED
        accuracy[..., SUBSETS.index("mislabeled_true")] = 0.9 - 0.9 * np.array(MEMORIZED)
    both = ("layer", "epoch")
    variables = {
        "phase": (both, list(layers.values())),
        "border_kind": (both, kind),
        "border_z": (both, by_record["z"]),
        "border_p": (both, by_record["p"]),
        "contrast": (both, by_record["contrast"]),
        "restlessness": (both, by_record["restlessness"]),
        "progress": (both, np.where(np.arange(len(names))[:, None] < 2, np.nan, np.ones(shape))),
        "settling_epoch": ("layer", np.arange(len(names), dtype=float)),
        "phases_p": ("layer", np.where(kind.any(axis=1), 0.005, 0.5)),
    }
    coords = {"layer": names, "epoch": list(EPOCHS)}
    if labels:
        variables["probe_accuracy"] = ((*both, "subset"), accuracy)
        variables["accuracy_inference"] = ("epoch", accuracy[-1, :, 0])
        coords["subset"] = list(SUBSETS)
    memorized = 1.0 if noise and labels else np.nan
    attrs = {"perfect_fit_epoch": fit if labels else np.nan, "memorized_share": memorized}
    return xr.Dataset(variables, coords, attrs | {"title": "t", "synchronization_mean": 0.9})


def printed(dataset, tmp_path, capsys, monkeypatch, history=()) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    folder = RunFolder(tmp_path)
    known = list(history), ""
    print_results(SimpleNamespace(dynamics=dataset, known_history=lambda: known, folder=folder))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    return text


def changes(**given):
    return [Change(name, *values) for name, values in given.items()]


def test_phases_have_their_epochs_borders_and_changes():
    found = {(each.layer, each.number): each for each in describe_phases(dynamics(), HISTORY)}
    counts = {layer: max(number for name, number in found if name == layer) for layer in LAYERS}
    assert counts == {"stem": 1, "one": 1, "two": 1, "three": 3, "four": 2, "output": 3}
    spans = [(found["output", i].first, found["output", i].last) for i in (1, 2, 3)]
    assert spans == [(0, 2), (3, 11), (16, 32)]
    assert (found["four", 1].first, found["four", 1].last) == (1, 11), "epoch 0 is undefined"
    assert found["output", 1].border is None
    assert found["output", 2].border == Border("state", 8, 0.005, 0.2, 0.1)
    assert found["output", 3].border == Border("freeze", 8, 0.005, 0.2, 0.1)
    assert [found["output", i].name for i in (1, 2, 3)] == [
        "learning",
        "memorization",
        "after the fit",
    ]
    by_quantity = {change.quantity: change for change in found["output", 2].changes}
    assert list(by_quantity) == ["loss", "train", "memorized", "resisted", "test"]
    assert (by_quantity["loss"].first, by_quantity["loss"].last) == (2 / 3, 2 / 11)
    assert by_quantity["memorized"] == Change("memorized", 0.03, 0.9)
    assert by_quantity["test"] == Change("test", 0.85, 0.75, (4, 0.96))
    assert found["output", 1].changes[0] == Change("loss", 2.0, 1.0), "epoch 0 has no loss"
    assert all(change.quantity != "loss" for change in describe_phases(dynamics())[0].changes)


def test_names_follow_from_what_changes():
    for expected, is_after_fit, given in (
        ("learning", False, {"train": (0.1, 0.8), "memorized": (0.1, 0.1), "test": (0.1, 0.9)}),
        ("learning", False, {"train": (0.1, 0.8)}),
        ("memorization", False, {"train": (0.8, 1), "memorized": (0, 0.9), "test": (0.9, 0.7)}),
        ("learning and memorization", False, {"memorized": (0, 0.2), "test": (0.1, 0.3)}),
        ("fitting", False, {"train": (0.8, 0.95), "test": (0.7, 0.65)}),
        ("forgetting", True, {"train": (1, 1), "test": (0.7, 0.55)}),
        ("after the fit", True, {"train": (1, 1), "memorized": (0.97, 1), "test": (0.7, 0.74)}),
        ("stable", False, {"train": (0.5, 0.52), "test": (0.7, 0.68)}),
        ("unsteady", True, {"train": (1, 1), "test": (0.7, 0.68, (8, 0.5))}),
        ("learning", False, {"loss": (2, 1)}),
        ("stable", False, {"loss": (2, 1.9)}),
        ("forgetting", False, {"loss": (1, 2)}),
        ("stable", False, {"loss": (2, 1), "train": (0.5, 0.5)}),
        ("", True, {}),
    ):
        assert phase_name(changes(**given), is_after_fit) == expected, given


def test_phases_that_were_not_computed_are_rejected():
    words = "region_agreement.*without decision regions"
    assert_input_error("none", words, describe_phases, dynamics(), (), "region_agreement")
    assert_input_error(
        "unknown", "similarity.*nearest|one of", describe_phases, dynamics(), (), "x"
    )


def test_the_tables_say_what_happened(tmp_path, capsys, monkeypatch):
    text = printed(dynamics(), tmp_path, capsys, monkeypatch, HISTORY)
    rows = {cells[0]: cells for line in text.splitlines() if (cells := cells_of(line))}
    assert rows["stem"][3] == "one phase"
    assert rows["output"] == ["output", "1.00", "0.72", "0-2 | 3-11 (state) | 16-32 (freeze)", "5"]
    words = " ".join(text.split())
    assert (
        "epochs 3 to 11: memorization (loss 0.67 to 0.18, train 70% to 95%, memorized 3% to 90%, "
        "resisted 87% to 9%, test 85% to 75% (96% at epoch 4)) in three, output; begins with a "
        "change of state (z 6.0 to 8.0, p 0.005, contrast 0.20)" in words
    )
    assert "in three, four, output" not in words and "in three to output;" in words
    assert "in stem to two" in words
    assert words.count("by less than 0.1: stem, one.") == 1
    assert "K =" not in words and "dotted" not in words


def cells_of(line: str) -> list[str]:
    """The cells of a row of a table whose cells do not hold its separator."""
    return [cell.strip() for cell in line.strip().strip("│").split(" │ ")] if "│" in line else []


@pytest.mark.parametrize("labels", [True, False])
def test_without_label_noise_nothing_speaks_of_memorization(labels, tmp_path, capsys, monkeypatch):
    dataset = dynamics(noise=False, labels=labels)
    names = {phase.name for phase in describe_phases(dataset, HISTORY)}
    assert names == ({"learning", "fitting", "after the fit"} if labels else {"learning"})
    text = printed(dataset, tmp_path, capsys, monkeypatch, HISTORY).lower()
    for word in ("memor", "resist", "wrong", "given", "mislabel"):
        assert word not in text
    assert ("perfect fit" in text) == ("│ training" in text or "┃ training" in text) == labels

"""What a recorder tells about each new record."""

import os

import keras
import numpy as np
import pytest

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.recording.record_log import record_line


def train(folder, epochs, listener, *, log=False, verbose=0):
    """Trains a small model on random images, and records it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype("float32"), rng.integers(0, 4, 64)
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, "relu", name="first"), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder = RepresentationRecorder(
        folder, x, y, planes=0, batch_size=16, on_record=listener, log=log, layers=["first"]
    )
    model.fit(x, y, epochs=epochs, verbose=verbose, callbacks=[recorder])


def told(folder, epochs):
    """The calls during a training."""
    calls = []
    train(folder, epochs, lambda *given: calls.append(given))
    return calls


def test_a_summary_has_the_numbers_of_the_dataset(tmp_path):
    calls = told(tmp_path / "run", 3)
    run = open_run(tmp_path / "run")
    assert [epoch for epoch, _ in calls] == run.epochs == [0, 1, 2, 3]
    cka, output = run.dynamics["cka"], run.dynamics["probe_accuracy"].isel(layer=-1)
    for index, (_, summary) in enumerate(calls):
        assert summary["folder"] == str(tmp_path / "run") and os.path.isfile(summary["record"])
        found = {name: value for name, value in summary.items() if isinstance(value, float)}
        accuracy = float(output.sel(subset="train").isel(epoch=index))
        assert found["train_accuracy"] == pytest.approx(accuracy)
        for name, other in (("start", 0), ("previous", index - 1)):
            for layer in cka["layer"].values:
                key = f"similarity_to_{name}/{layer}"
                assert (key in found) == (index > 0)
                if index:
                    expected = float(cka.sel(layer=layer).isel(epoch=other, epoch_other=index))
                    assert found[key] == pytest.approx(expected, abs=1e-6)


def test_records_that_are_kept_are_not_told_again(tmp_path):
    assert len(told(tmp_path / "run", 2)) == 3
    assert [epoch for epoch, _ in told(tmp_path / "run", 3)] == [3]


def test_an_error_in_it_does_not_end_the_training(tmp_path, capsys):
    def fail(epoch, summary):
        raise ValueError("no dashboard")

    train(tmp_path / "run", 2, fail)
    assert open_run(tmp_path / "run").epochs == [0, 1, 2]
    assert capsys.readouterr().out.count("on_record failed at epoch 0") == 1


def test_the_log_has_a_line_for_each_record_between_the_bars_of_keras(tmp_path, capfd):
    calls = []
    train(tmp_path / "run", 2, lambda *given: calls.append(given), log=True, verbose=1)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if "recorded" in line and "epoch" in line]
    assert [line.split(" recorded")[0] for line in lines] == [
        f"repdyn: epoch {epoch}" for epoch in range(3)
    ]
    assert "train 0." in lines[2] and "changed most: " in lines[2] and "(CKA" in lines[2]
    assert "recorded" not in out, "the bar is on stdout"
    assert [epoch for epoch, _ in calls] == [0, 1, 2], "a listener is called as well"


def test_the_line_of_a_record_names_the_layer_that_changed_most():
    summary = {
        "train_accuracy": 0.5,
        "memorized": 0.25,
        "similarity_to_start/a": 0.1,
        "similarity_to_previous/a": 0.9,
        "similarity_to_previous/b\n": 0.4,
    }
    line = record_line(7, summary)
    assert line.startswith(
        "repdyn: epoch 7 recorded · train 0.50, memorized 0.25 · changed most: b"
    )
    assert "0.40" in line and "\n" not in line
    assert record_line(0, {}) == "repdyn: epoch 0 recorded"


def test_the_log_prints_also_without_fit_and_never_ends_a_training(tmp_path, capsys, monkeypatch):
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    layers = [keras.layers.Dense(5, name="first"), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    given = {"planes": 0, "batch_size": 16, "log": True, "layers": ["first"]}
    recorder = RepresentationRecorder(tmp_path / "run", x, **given)
    for epoch in (0, 1):
        recorder.record(model, epoch)
        assert f"epoch {epoch} recorded" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", open(os.devnull))  # not writable
        RepresentationRecorder(tmp_path / "closed", x, **given).record(model, 0)
    assert open_run(tmp_path / "closed").epochs == [0]

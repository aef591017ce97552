"""A run that was interrupted, or made longer, is to the last bit the one that never was."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import xarray
from helpers import (
    MODEL,
    SHORT,
    Calls,
    Killed,
    contents,
    differences,
    files_below,
    kill,
    resumed,
    run,
    whole_run,
)
from typer.testing import CliRunner

from repdyn_keras import Config, InputError
from repdyn_keras.cli import app
from repdyn_keras.config import resolve, to_toml
from repdyn_keras.experiment.checkpoint import load_checkpoint
from repdyn_keras.experiment.folders import begin_folder
from repdyn_keras.experiment.history import ACCURACIES
from repdyn_keras.experiment.training import RunRecorder
from repdyn_keras.experiment.versions import versions
from repdyn_keras.records import RunFolder
from repdyn_keras.records.netcdf import netcdf_bytes

pytestmark = pytest.mark.usefixtures("without_pictures")


def kept(folder: RunFolder) -> list[str]:
    """The names of the kept weights."""
    return files_below(folder.weights)


def epochs_of(rows: list[dict]) -> list[int]:
    return [int(row["epoch"]) for row in rows]


def raising(patch, cls, name: str, epoch: int | None = None, *, after: bool = False):
    """Lets a method raise, before or after it did its work, where it is called with this epoch."""
    original = getattr(cls, name)

    def method(self, *arguments):
        is_it = epoch is None or epoch in arguments
        if is_it and not after:
            raise Killed
        done = original(self, *arguments)
        if is_it:
            raise Killed
        return done

    patch.setattr(cls, name, method)


# Moments at which a run is ended, each by what ends it, and the state that it leaves: epoch of the
# checkpoint, recorded epochs, epochs of the history.
MOMENTS = {
    "between the first checkpoint and the first row of history": (
        lambda patch: raising(patch, RunRecorder, "append_history"),
        (0, [], []),
    ),
    "after epoch 2 and before its checkpoint": (
        lambda patch: Calls("epoch_ended", 2, kill),
        (1, [0, 1], [0, 1]),
    ),
    "between checkpoint and history of epoch 2, which is not recorded": (
        lambda patch: raising(patch, RunRecorder, "save", 2, after=True),
        (2, [0, 1], [0, 1]),
    ),
    "while epoch 3 is measured": (
        lambda patch: raising(patch, RunRecorder, "measure", 3),
        (3, [0, 1], [0, 1, 2]),
    ),
    "while the record of epoch 3 is written": (
        lambda patch: raising(patch, RunFolder, "write_record", 3),
        (3, [0, 1], [0, 1, 2, 3]),
    ),
    "after the record of epoch 3": (
        lambda patch: raising(patch, RunFolder, "write_record", 3, after=True),
        (3, [0, 1, 3], [0, 1, 2, 3]),
    ),
    "just before the last record": (
        lambda patch: Calls("recorded", 4, kill),
        (4, [0, 1, 3], [0, 1, 2, 3, 4]),
    ),
    "in the analysis": (
        lambda patch: patch.setattr("repdyn_keras.dynamics.analyze", lambda *args: kill()),
        (4, [0, 1, 3, 4], [0, 1, 2, 3, 4]),
    ),
}


def test_a_run_that_is_ended_again_and_again_equals_one_that_never_was(whole, tmp_path):
    """At every moment in turn: each time it goes on, and loses and doubles nothing."""
    folder = RunFolder(tmp_path / "run")
    recorded: dict[int, bytes] = {}
    for moment, (break_it, state) in MOMENTS.items():
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            watcher = break_it(patch)
            run(SHORT, out=folder.path, resume=folder.path.exists(), watcher=watcher)
        checkpoint = int(folder.checkpoint().attrs["epoch"])
        assert (checkpoint, folder.epochs(), epochs_of(folder.history())) == state, moment
        for epoch, held in recorded.items():
            assert folder.record_file(epoch).read_bytes() == held, "none is made anew"
        for epoch in folder.epochs():
            assert folder.record(epoch).identical(whole.record(epoch)), (moment, epoch)
            recorded[epoch] = folder.record_file(epoch).read_bytes()
        # What a killed process leaves of a checkpoint that it was writing.
        half = folder.checkpoint_file.with_name(".state.nc.4711.part")
        half.write_bytes(whole.checkpoint_file.read_bytes()[:-7])
    resumed(folder.path)
    assert differences(whole, folder) == []
    assert {e: folder.record_file(e).read_bytes() for e in recorded} == recorded
    assert kept(folder) == kept(whole)
    assert folder.leftovers() == []
    assert {name.partition("-")[2] or name for name in files_below(folder.aside)} == {"history.csv"}


def test_history_past_the_checkpoint_is_set_aside(tmp_path):
    """A residual network, whose checkpoints stand at recorded epochs alone, by its folder."""
    config = {
        **SHORT,
        "model": "resnet",
        "optimizer": "sgd",
        "schedule": "inverse-sqrt",
        "width": 4,
        "blocks": (1,),
        "planes": 1,
        "resolution": 4,
        "record_epochs": (2,),
        "epochs": 5,
        "checkpoint_seconds": 1e9,
    }
    one = run(config, out=tmp_path / "whole").folder
    with pytest.raises(Killed):
        run(config, out=tmp_path / "run", watcher=Calls("epoch_ended", 5, kill))
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoint().attrs["epoch"] == 2
    assert epochs_of(folder.history()) == [0, 1, 2, 3, 4]
    written = folder.history_file.read_bytes()
    heard = []
    watcher = Calls("resumed", 2, lambda: heard.append("resumed from 2"))
    assert run(folder.path, resume=True, watcher=watcher).epochs == [0, 2, 5]
    assert heard == ["resumed from 2"]
    assert files_below(folder.aside) == ["history.csv"]
    assert (folder.aside / "history.csv").read_bytes() == written
    assert differences(one, folder) == []


def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    file = RunFolder(tmp_path / "run").checkpoint_file
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    before = contents(tmp_path / "run")
    with pytest.raises(InputError, match="state.nc is damaged"):
        resumed(tmp_path / "run", epochs=5)
    changed = {"run.toml", "checksums.txt"}  # it is a run of 5 epochs from now on
    after = contents(tmp_path / "run")
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


# Longer runs.


def test_an_extended_run_equals_one_that_was_that_long_from_the_start(whole, tmp_path):
    """Epoch 2 is recorded because it is the last, and not in the longer run, which is ended too."""
    folder = whole_run(tmp_path / "run", epochs=2)
    assert folder.epochs() == [0, 1, 2]
    assert set(differences(whole, folder)) == {
        "recorded epochs",
        "dynamics.nc",
        "checkpoint",
        "history.csv",
    }
    record, weights = folder.record_file(2).read_bytes(), folder.weights_file(2).read_bytes()
    history = folder.history_file.read_bytes()
    assert all(folder.history()[2][column] for column in ACCURACIES)

    keras.utils.clear_session()
    command = ["run", str(folder.path), "--resume", "--epochs", "4", "--model", MODEL, "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        raising(patch, RunRecorder, "measure", 3)
        done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, Killed)
    assert folder.epochs() == [0, 1]
    assert contents(folder.aside) == {
        "epoch-000002.nc": record,
        "epoch-000002.weights.h5": weights,
        "history.csv": history,
    }
    assert not any(folder.history()[2][column] for column in ACCURACIES)
    assert folder.config() == whole.config()

    resumed(folder.path)  # its folder says how long it is now
    assert differences(whole, folder) == []
    assert kept(folder) == kept(whole)


def test_resuming_a_finished_run_changes_nothing_but_its_dynamics(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = contents(folder.path)
    folder.dynamics_file.unlink()
    resumed(folder.path)
    after = contents(folder.path)
    assert differences(whole, folder) == []
    analyzed = {"dynamics.nc", "checksums.txt"}
    assert set(after) == set(before)
    assert [name for name in after if after[name] != before[name] and name not in analyzed] == []


@pytest.fixture
def begun(tmp_path):
    """Makes the folder of a run that has not been trained yet."""

    def make(**changed) -> Path:
        config = resolve(Config(**{**SHORT, "model": "resnet", **changed}))
        begin_folder(tmp_path / "run", "run.toml", to_toml(config, versions()))
        return tmp_path / "run"

    return make


@pytest.mark.parametrize(
    ("stored", "given", "message"),
    [
        ({}, {"epochs": 3}, "is a run of 4 epochs, and 3 came"),
        ({}, {"seed": 5}, "begun with seed = 0, and 5 came"),
        ({}, {"learning_rate": 0.5, "epochs": 9}, "begun with learning_rate = .*, and 0.5 came"),
        ({}, {"record_epochs": (1, 2)}, r"begun with record_epochs = \(1, 3\), and \(1, 2\) came"),
        ({}, {"model": "vit"}, "begun with model = 'resnet', and 'vit' came"),
        ({"schedule": "cosine"}, {"epochs": 9}, "along a cosine that ends at epoch 4"),
        ({"model": MODEL}, {}, f"names code to run, model = '{MODEL}'"),
    ],
)
def test_another_run_than_the_one_in_the_folder_is_refused(begun, stored, given, message):
    path = begun(**stored)
    before = contents(path)
    with pytest.raises(InputError, match=message):
        run(given, out=path, resume=True)
    assert contents(path) == before


def test_the_command_refuses_in_one_message(begun):
    path = begun()
    command = ["run", str(path), "--resume", "--epochs", "3", "--quiet"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "4 epochs, and 3 came" in done.stderr


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("run", "run", "Two folders came"),
        (None, None, "Nothing to resume came"),
        ("empty", None, "has no run.toml"),
    ],
)
def test_what_is_no_folder_of_a_run_is_refused(begun, tmp_path, source, out, message):
    begun()
    (tmp_path / "empty").mkdir()
    source, out = (None if name is None else tmp_path / name for name in (source, out))
    with pytest.raises(InputError, match=message):
        run(source, out=out, resume=True)
    assert files_below(tmp_path / "empty") == []


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    """One whose arrays have other names."""
    folder = RunFolder(tmp_path)
    old = xarray.Dataset({"v00000": (("a",), np.zeros(3))}, attrs={"epoch": 1})
    folder.write(folder.checkpoint_file, netcdf_bytes(old))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="another version of repdyn-keras. Expected"):
        load_checkpoint(folder, model)

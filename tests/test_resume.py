"""Interrupted and extended runs are bit-identical to uninterrupted runs of the same length."""

import shutil

import keras
import numpy as np
import pytest
import xarray
from helpers import (
    MODEL,
    SHORT,
    Calls,
    Killed,
    assert_input_error,
    contents,
    differences,
    files_below,
    kill,
    network,
    repdyn,
    resumed,
    run,
    whole_run,
)

import repdyn_keras
from repdyn_keras import Config, InputError, open_run
from repdyn_keras.config import resolve, to_toml, versions
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.experiment import Watcher
from repdyn_keras.experiment.survival.history import HistoryFile
from repdyn_keras.experiment.survival.resume import resumed_config
from repdyn_keras.experiment.survival.saved_state import CheckpointWriter, load_checkpoint
from repdyn_keras.recording.fits.epoch_records import EpochRecords
from repdyn_keras.recording.values import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.netcdf import netcdf_bytes
from repdyn_keras.records.run_folder import create_folder
from repdyn_keras.records.tables import ACCURACIES

pytestmark = pytest.mark.usefixtures("without_pictures")


def raising(patch, cls, name: str, first=None, after: bool = False) -> None:
    """Makes a method raise, before or after its work, if its first argument is `first`."""
    original = getattr(cls, name)

    def method(self, *arguments):
        is_it = first is None or first == arguments[0]
        if is_it and not after:
            raise Killed
        done = original(self, *arguments)
        if is_it:
            raise Killed
        return done

    patch.setattr(cls, name, method)


# Moments at which a run is interrupted: the call that raises, and the state of the folder, which is
# the epoch of the checkpoint, the recorded epochs and the number of rows of the history.
START = [0, 0.25, 0.75, 1]
MOMENTS = {
    "before the first row of history": ((HistoryFile, "append"), 0, [], 0),
    "after the first early record": ((RunFolder, "write_record", 0.25, True), 0, [0, 0.25], 1),
    "measuring the second early record": ((EpochRecords, "_measure", 0.75), 0, [0, 0.25], 1),
    "before the checkpoint of epoch 2": ((Watcher, "epoch_ended", 2), 1, START, 2),
    "before the history of epoch 2": ((CheckpointWriter, "save", 2, True), 2, START, 2),
    "measuring epoch 3": ((EpochRecords, "_measure", 3), 3, START, 3),
    "writing epoch 3": ((RunFolder, "write_record", 3), 3, START, 4),
    "after the record of epoch 3": ((RunFolder, "write_record", 3, True), 3, [*START, 3], 4),
    "before the last record": ((Watcher, "recorded", 4), 4, [*START, 3], 5),
    "in the analysis": ((Watcher, "analysis_step", "similarities"), 4, [*START, 3, 4], 5),
}


@pytest.mark.parametrize(
    "moments",
    [
        ["after the first early record", "writing epoch 3"],
        pytest.param(list(MOMENTS), marks=pytest.mark.long),
    ],
)
def test_a_run_interrupted_at_many_moments_equals_an_uninterrupted_one(whole, tmp_path, moments):
    """At every moment in turn; each time the run continues without losing or repeating records."""
    folder = RunFolder(tmp_path / "run")
    recorded: dict[float, bytes] = {}
    for moment in moments:
        call, *state = MOMENTS[moment]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            raising(patch, *call)
            run(SHORT, out=folder.path, watcher=Watcher(), resume=folder.path.exists())
        checkpoint, history = int(folder.checkpoint().attrs["epoch"]), folder.history()
        assert [checkpoint, folder.epochs(), len(history)] == state, moment
        assert [int(row["epoch"]) for row in history] == list(range(len(history)))
        assert not folder.dynamics_file.exists()
        for epoch, held in recorded.items():
            assert folder.record_file(epoch).read_bytes() == held, "no record is written again"
        for epoch in folder.epochs():
            assert folder.record(epoch).identical(whole.record(epoch)), (moment, epoch)
            recorded[epoch] = folder.record_file(epoch).read_bytes()
        if recorded:
            so_far, epochs = compute_dynamics(folder), folder.epochs()
            complete = whole.dynamics().sel(epoch=epochs, epoch_other=epochs)
            for name in ("cka", "probe_accuracy"):
                xarray.testing.assert_identical(so_far[name], complete[name])
        # The partial checkpoint of a killed process.
        half = folder.checkpoint_file.with_name(".state.nc.4711.part")
        half.write_bytes(whole.checkpoint_file.read_bytes()[:-7])
    resumed(folder.path)
    assert differences(whole, folder) == []
    assert {e: folder.record_file(e).read_bytes() for e in recorded} == recorded
    assert files_below(folder.weights) == files_below(whole.weights)
    assert folder.partial_files() == []
    assert {name.partition("-")[2] or name for name in files_below(folder.set_aside_folder)} == {
        "history.csv"
    }


@pytest.mark.one_backend
@pytest.mark.long
def test_records_of_other_weights_in_the_first_epoch_are_set_aside_with_these(whole, tmp_path):
    """As on a GPU, where the repeated steps differ in the last bits."""
    folder = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        raising(patch, RunFolder, "write_record", 0.75, True)
        run(SHORT, out=folder.path, watcher=Watcher())
    assert folder.checkpoint().attrs["epoch"] == 0
    held = {}
    for epoch in (0.25, 0.75):
        other = folder.record(epoch).assign_attrs(weights_hash="another")
        folder.write_record(epoch, other)
        folder.write(folder.weights_file(epoch), b"other weights")
        for file in (folder.record_file(epoch), folder.weights_file(epoch)):
            held[file.name] = file.read_bytes()
    resumed(folder.path)
    assert differences(whole, folder) == []
    assert contents(folder.set_aside_folder) == held
    model = network((8, 8, 1), 4)
    for epoch in whole.epochs():
        model.load_weights(folder.weights_file(epoch))
        assert weights_hash(model) == folder.recorded_hash(epoch), epoch


@pytest.mark.long
@pytest.mark.one_backend
def test_history_after_the_checkpoint_is_set_aside(whole, tmp_path):
    """With checkpoints only at recorded epochs."""
    folder, heard = RunFolder(tmp_path / "run"), []
    with pytest.raises(Killed):
        config = {**SHORT, "checkpoint_seconds": 1e9}
        run(config, out=folder.path, watcher=Calls("epoch_ended", 3, kill))
    assert folder.checkpoint().attrs["epoch"] == 1
    assert [row["epoch"] for row in folder.history()] == ["0", "1", "2"]
    written = folder.history_file.read_bytes()
    watcher = Calls("resumed", 1, lambda: heard.append("resumed from 1"))
    run({"model": MODEL}, out=folder.path, resume=True, watcher=watcher)
    assert heard == ["resumed from 1"]
    assert contents(folder.set_aside_folder) == {"history.csv": written}
    assert differences(whole, folder) == []


@pytest.mark.long
@pytest.mark.one_backend
def test_resuming_a_finished_run_changes_nothing_but_its_dynamics(whole, tmp_path):
    """A run with a damaged checkpoint is rejected."""
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "run"))
    before, analyzed = contents(folder.path), {"dynamics.nc": b"", "checksums.txt": b""}
    folder.dynamics_file.unlink()
    resumed(folder.path)
    assert differences(whole, folder) == []
    assert {**contents(folder.path), **analyzed} == {**before, **analyzed}
    held = bytearray(folder.checkpoint_file.read_bytes())
    held[len(held) // 2] ^= 1
    folder.checkpoint_file.write_bytes(held)
    before = contents(folder.records)
    with pytest.raises(InputError, match="state.nc is damaged"):
        resumed(folder.path, epochs=5)
    assert contents(folder.records) == before


@pytest.mark.long
def test_an_extended_run_equals_one_of_the_same_length(whole, tmp_path):
    """Epoch 2 is only recorded as the last epoch, not in the extended run."""
    folder = whole_run(tmp_path / "run", epochs=2)
    assert folder.epochs() == [*START, 2]
    differing = {"recorded epochs", "dynamics.nc", "checkpoint", "history.csv"}
    assert set(differences(whole, folder)) == differing
    record, weights = folder.record_file(2).read_bytes(), folder.weights_file(2).read_bytes()
    history = folder.history_file.read_bytes()
    assert all(folder.history()[2][column] for column in ACCURACIES)

    keras.utils.clear_session()
    with pytest.MonkeyPatch.context() as patch:
        raising(patch, EpochRecords, "_measure", 3)
        words = ("--resume", "--epochs", 4, "--model", MODEL, "--quiet")
        assert isinstance(repdyn("run", folder.path, *words).exception, Killed)
    assert folder.epochs() == START
    assert contents(folder.set_aside_folder) == {
        "epoch-000002.nc": record,
        "epoch-000002.weights.h5": weights,
        "history.csv": history,
    }
    assert not any(folder.history()[2][column] for column in ACCURACIES)
    assert folder.config() == whole.config()

    resumed(folder.path)  # the configuration in the folder has the new length
    assert differences(whole, folder) == []
    assert files_below(folder.weights) == files_below(whole.weights)


def test_saved_weights_of_early_records_are_recorded_alike(whole, tmp_path):
    assert whole.epochs() == [0, 0.25, 0.75, 1, 3, 4]
    keras.utils.clear_session()
    again = repdyn_keras.record(
        whole.weights, {"model": MODEL}, like=whole.path, out=tmp_path / "again", watcher=Watcher()
    ).folder
    assert again.epochs() == whole.epochs()
    for epoch in whole.epochs():
        one, other = again.record(epoch), whole.record(epoch)
        assert one.attrs["weights_hash"] == other.attrs["weights_hash"]
        np.testing.assert_allclose(one["fingerprint"], other["fingerprint"], atol=1e-6)


def test_a_run_of_a_version_without_early_records_goes_on_without_them(whole, tmp_path):
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "old"))
    lines = folder.config_file.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("early_records")]
    assert len(kept) == len(lines) - 1
    folder.write(folder.config_file, "".join(kept).encode())
    for epoch in (0.25, 0.75):
        folder.remove_record(epoch)
    old = folder.dynamics().sel(epoch=[0, 1, 3, 4], epoch_other=[0, 1, 3, 4])
    numbers = {name: old[name].astype(int) for name in ("epoch", "epoch_other")}
    folder.write_dynamics(old.assign_coords(numbers))
    assert open_run(folder.path).dynamics["epoch"].dtype == float
    assert folder.config()["early_records"] == 0
    same = resolve(Config(**{**SHORT, "epochs": 5}))
    assert same.early_records == 2 and resumed_config(folder, same).early_records == 0
    given = {"early_records": 6}
    message = "Expected early_records = 0, as in .*Received: 6"
    assert_input_error(given, message, resumed_config, folder, {**given, "model": MODEL})
    resumed(folder.path, epochs=5)
    assert folder.epochs() == [0, 1, 3, 5]


# Keys of the stored configuration besides SHORT, the given configuration, and the message.
REJECTED = [
    ({}, {"epochs": 3}, "Expected at least 4 epochs, .*Received: 3"),
    ({}, {"seed": 5}, "Expected seed = 0, as in .*Received: 5"),
    ({}, {"learning_rate": 0.5, "epochs": 9}, "Expected learning_rate = .*Received: 0.5"),
    ({}, {"record_epochs": (1, 2)}, r"record_epochs = \(1, 3\), .*Received: \(1, 2\)"),
    ({}, {"model": "vit"}, "Expected model = 'resnet', .*Received: 'vit'"),
    ({"schedule": "cosine"}, {"epochs": 9}, "a cosine schedule that ends at epoch 4"),
    ({"model": MODEL}, {}, f"names code to run.*Received: model = '{MODEL}'"),
]


def test_a_different_configuration_than_that_of_the_folder_is_rejected(tmp_path):
    for number, (stored, given, message) in enumerate(REJECTED):
        path = tmp_path / f"run{number}"
        config = resolve(Config(**{**SHORT, "model": "resnet", **stored}))
        create_folder(path, "run.toml", to_toml(config, versions()))
        before = contents(path)
        assert_input_error(given, message, repdyn_keras.run, given, out=path, resume=True)
        assert contents(path) == before
    path, empty = tmp_path / "run0", tmp_path / "empty"
    empty.mkdir()
    for source, out, message in (
        (path, path, "Expected one folder.*two, .*run0 and .*run0"),
        (None, None, "Expected the folder of a run.*None, which is not a folder"),
        (empty, None, "Expected a folder of `repdyn run`.*has no run.toml"),
    ):
        assert_input_error(source, message, repdyn_keras.run, source, out=out, resume=True)
    assert list(empty.iterdir()) == []


def test_a_checkpoint_of_another_version_is_rejected(tmp_path):
    """Its arrays have other names."""
    folder = RunFolder(tmp_path)
    old = xarray.Dataset({"v00000": (("a",), np.zeros(3))}, attrs={"epoch": 1})
    folder.write(folder.checkpoint_file, netcdf_bytes(old))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(
        InputError, match="of this version of repdyn-keras.*state.nc, which another"
    ):
        load_checkpoint(folder, model)

"""The recorder in a training that Keras's BackupAndRestore resumes."""

import itertools
import re

import keras
import numpy as np
import pytest
from helpers import Killed, files_below, kill
from keras import layers
from keras.callbacks import BackupAndRestore, LambdaCallback

from repdyn_keras import InputError, RepresentationRecorder
from repdyn_keras.records import RunFolder

EPOCHS = 3
RECORDER, BACKUP, KILLER = "recorder", "backup", "killer"


def model() -> keras.Model:
    """A new model with fixed initial weights, as in a script that is started again."""
    images = keras.Input((4,))
    x = images
    for number in range(2):
        kernel = keras.initializers.GlorotUniform(seed=number)
        x = layers.Dense(6, "tanh", kernel_initializer=kernel, name=f"dense{number}")(x)
    kernel = keras.initializers.GlorotUniform(seed=9)
    made = keras.Model(images, layers.Dense(3, kernel_initializer=kernel, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return made


def train(
    folder, backup, order, *, end=None, epochs=EPOCHS, every=1, seed=None, save_freq="epoch"
) -> RunFolder:
    """One `fit` of 4 steps per epoch, which an exception ends in the epoch `end`.

    `seed` is the seed of the order of the images; without a seed they are not shuffled.
    """
    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    recorder = RepresentationRecorder(
        folder, x, layers="dense.*", epochs=every, planes=0, batch_size=24
    )
    made = {
        RECORDER: recorder,
        BACKUP: BackupAndRestore(backup, save_freq),
        KILLER: LambdaCallback(on_epoch_end=lambda epoch, logs: epoch + 1 == end and kill()),
    }
    keras.utils.set_random_seed(seed or 0)
    how = {"epochs": epochs, "batch_size": 12, "shuffle": seed is not None, "verbose": 0}
    try:
        model().fit(x, x[:, :3].argmax(axis=1), callbacks=[made[name] for name in order], **how)
        assert end is None
    except Killed:
        assert end is not None
    return recorder.folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    base = tmp_path_factory.mktemp("whole")
    return train(base / "run", base / "backup", (RECORDER,))


def records_of(folder: RunFolder) -> dict[int, bytes]:
    return {epoch: folder.record_file(epoch).read_bytes() for epoch in folder.epochs()}


# The epoch in which the training ends, and the order of the callbacks.
MOMENTS = [
    (2, (RECORDER, KILLER, BACKUP)),
    (EPOCHS, (BACKUP, KILLER, RECORDER)),
]
MORE = [
    (2, (KILLER, RECORDER, BACKUP)),
    (2, (RECORDER, BACKUP, KILLER)),
    (2, (KILLER, BACKUP, RECORDER)),
    (2, (BACKUP, KILLER, RECORDER)),
    (2, (BACKUP, RECORDER, KILLER)),
    (1, (RECORDER, KILLER, BACKUP)),
    (EPOCHS, (RECORDER, BACKUP, KILLER)),
]


@pytest.mark.parametrize("moments", [MOMENTS, pytest.param(MORE, marks=pytest.mark.long)])
def test_no_record_is_lost_or_written_twice(whole, tmp_path, moments):
    for number, (epoch, order) in enumerate(moments):
        place = tmp_path / f"run{number}", tmp_path / f"backup{number}"
        folder = train(*place, order, end=epoch)
        # An epoch is recorded before other callbacks act on its end.
        assert folder.epochs() == list(range(epoch + 1)), (epoch, order)
        before = records_of(folder)
        train(*place, order)
        assert folder.epochs() == whole.epochs() == list(range(EPOCHS + 1)), (epoch, order)
        for each in whole.epochs():
            assert folder.record(each).identical(whole.record(each)), (epoch, order, each)
        kept = {e: folder.record_file(e).read_bytes() for e in before}
        assert kept == before, f"no record is written again: {epoch}, {order}"
        assert not folder.set_aside_folder.exists()


def test_a_resumed_training_records_only_scheduled_epochs(tmp_path):
    """The epoch at which it resumes is not recorded as an initial state."""
    place, order = (tmp_path / "run", tmp_path / "backup"), (RECORDER, BACKUP, KILLER)
    folder = train(*place, order, end=2, epochs=5, every=4)
    assert folder.epochs() == [0]
    train(*place, order, epochs=5, every=4)
    assert folder.epochs() == [0, 4, 5]


def test_a_record_with_other_weights_than_the_resumed_training_is_set_aside(tmp_path, capsys):
    """Another order of the images gives other weights at epoch 2.

    A training that starts again without being restored is rejected.
    """
    order = (RECORDER, KILLER, BACKUP)
    folder = train(tmp_path / "run", tmp_path / "backup", order, end=2, seed=1)
    before = records_of(folder)
    assert list(before) == [0, 1, 2]
    with pytest.raises(InputError, match="belongs to another training: its weights at epoch 1"):
        train(tmp_path / "run", tmp_path / "other", (RECORDER, BACKUP), seed=2)
    assert records_of(folder) == before

    train(tmp_path / "run", tmp_path / "backup", order, seed=2)
    after = records_of(folder)
    assert list(after) == [0, 1, 2, 3]
    assert [after[epoch] == before[epoch] for epoch in (0, 1, 2)] == [True, True, False]
    assert files_below(folder.set_aside_folder) == ["epoch-000002.nc"]
    assert (folder.set_aside_folder / "epoch-000002.nc").read_bytes() == before[2]
    message = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert (
        "epoch 2 was recorded with other weights before the training continued from epoch 1"
        in message
    )
    names = folder.checksums.read()[0]
    assert [name for name in names if folder.checksums.problem_of(name)] == []


ORDERS = list(itertools.permutations((RECORDER, BACKUP, KILLER)))


@pytest.mark.parametrize("orders", [ORDERS[:1], pytest.param(ORDERS[1:], marks=pytest.mark.long)])
def test_a_backup_in_the_middle_of_an_epoch_is_never_recorded_as_its_end(tmp_path, orders, capsys):
    """Every third step is saved, the sixth in the middle of the second epoch."""
    for number, order in enumerate(orders):
        place = tmp_path / f"run{number}", tmp_path / f"backup{number}"
        folder = train(*place, order, end=2, save_freq=3)
        before = records_of(folder)
        assert list(before) == [0, 1, 2]
        capsys.readouterr()
        train(*place, order, save_freq=3)
        after = records_of(folder)
        assert list(after) == [0, 1, 2, 3], order
        assert [after[epoch] == before[epoch] for epoch in (0, 1, 2)] == [True, True, False]
        printed = capsys.readouterr().out
        assert "other weights than those recorded at epoch 1, as from a backup" in printed
        assert files_below(folder.set_aside_folder) == ["epoch-000002.nc"], order


@pytest.mark.parametrize(("save_freq", "expected"), [("epoch", [2, 3]), (3, [2, 3])])
def test_a_recorder_added_to_a_resumed_training_records_ends_of_epochs(
    tmp_path, whole, capsys, save_freq, expected
):
    """By epoch the training resumes at 2, which is recorded; by step in the middle of epoch 2."""
    order = (RECORDER, BACKUP)
    train(tmp_path / "none", tmp_path / "backup", (BACKUP, KILLER), end=2, save_freq=save_freq)
    folder = train(tmp_path / "run", tmp_path / "backup", order, save_freq=save_freq)
    assert folder.epochs() == expected
    is_mid_epoch = "epoch 1 is not recorded: the steps of the optimizer" in capsys.readouterr().out
    assert is_mid_epoch == (save_freq == 3)
    is_same = folder.recorded_hash(2) == whole.recorded_hash(2)
    assert is_same == (save_freq == "epoch")


def test_a_missing_record_is_made_up_for_only_from_the_end_of_its_epoch(tmp_path, whole):
    for save_freq, expected in (("epoch", [0, 1, 2, 3]), (3, [0, 2, 3])):
        place = tmp_path / f"run {save_freq}", tmp_path / f"backup {save_freq}"
        folder = train(*place, (RECORDER, BACKUP, KILLER), end=2, save_freq=save_freq)
        resumes_at = 2 if save_freq == "epoch" else 1
        folder.remove_record(resumes_at)
        train(*place, (RECORDER, BACKUP), save_freq=save_freq)
        assert folder.epochs() == expected
        if save_freq == "epoch":
            assert folder.record(2).identical(whole.record(2))

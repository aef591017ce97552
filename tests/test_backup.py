"""The recorder in a training of one's own that Keras's BackupAndRestore brings back."""

import re

import keras
import numpy as np
import pytest
from helpers import Killed, files_below
from keras import layers
from keras.callbacks import BackupAndRestore

from repdyn_keras import InputError, RepresentationRecorder
from repdyn_keras.records import RunFolder

EPOCHS = 3
RECORDER, BACKUP, KILLER = "recorder", "backup", "killer"
ORDERS = [
    (KILLER, RECORDER, BACKUP),
    (RECORDER, KILLER, BACKUP),
    (RECORDER, BACKUP, KILLER),
    (KILLER, BACKUP, RECORDER),
    (BACKUP, KILLER, RECORDER),
    (BACKUP, RECORDER, KILLER),
]


class Killer(keras.callbacks.Callback):
    """Ends a training by an exception in an epoch, counted from 1."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise Killed


def model() -> keras.Model:
    """A new model, always of the same weights, as a script makes it that is started again."""
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


def train(folder, backup, order, *, kill=None, epochs=EPOCHS, every=1, seed=None) -> RunFolder:
    """One `fit`; `seed` is of the order of the images, which is theirs without one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 4)).astype("float32")
    y = x[:, :3].argmax(axis=1)
    recorder = RepresentationRecorder(
        folder, x, layers="dense.*", epochs=every, planes=0, batch_size=24
    )
    made = {
        RECORDER: lambda: recorder,
        BACKUP: lambda: BackupAndRestore(backup),
        KILLER: lambda: Killer(0 if kill is None else kill),
    }
    keras.utils.set_random_seed(seed or 0)
    shuffle = seed is not None
    try:
        model().fit(
            x,
            y,
            epochs=epochs,
            batch_size=12,
            shuffle=shuffle,
            verbose=0,
            callbacks=[made[name]() for name in order],
        )
        assert kill is None
    except Killed:
        assert kill is not None
    return recorder.folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    base = tmp_path_factory.mktemp("whole")
    return train(base / "run", base / "backup", (RECORDER,))


def records_of(folder: RunFolder) -> dict[int, bytes]:
    return {epoch: folder.record_file(epoch).read_bytes() for epoch in folder.epochs()}


MOMENTS = [(2, order) for order in ORDERS] + [
    (1, (RECORDER, KILLER, BACKUP)),
    (EPOCHS, (RECORDER, BACKUP, KILLER)),
    (EPOCHS, (BACKUP, KILLER, RECORDER)),
]


@pytest.mark.parametrize(("epoch", "order"), MOMENTS)
def test_no_record_is_lost_and_none_is_doubled(whole, tmp_path, epoch, order):
    folder = train(tmp_path / "run", tmp_path / "backup", order, kill=epoch)
    is_recorded = order.index(RECORDER) < order.index(KILLER)
    assert folder.epochs() == list(range(epoch + is_recorded))
    before = records_of(folder)
    train(tmp_path / "run", tmp_path / "backup", order)
    assert folder.epochs() == whole.epochs() == list(range(EPOCHS + 1))
    for each in whole.epochs():
        assert folder.record(each).identical(whole.record(each)), each
    assert {e: folder.record_file(e).read_bytes() for e in before} == before, "none is made anew"
    assert not folder.aside.exists()


def test_epochs_out_of_the_schedule_stay_out_of_it(tmp_path):
    """Where a training goes on is no start of one."""
    order = (RECORDER, BACKUP, KILLER)
    folder = train(tmp_path / "run", tmp_path / "backup", order, kill=2, epochs=5, every=4)
    assert folder.epochs() == [0]
    train(tmp_path / "run", tmp_path / "backup", order, epochs=5, every=4)
    assert folder.epochs() == [0, 4, 5]


def test_a_record_that_the_training_does_not_come_back_to_is_set_aside(tmp_path, capsys):
    """The images come in another order than before, so the weights of epoch 2 are others."""
    order = (RECORDER, KILLER, BACKUP)
    folder = train(tmp_path / "run", tmp_path / "backup", order, kill=2, seed=1)
    before = records_of(folder)
    assert list(before) == [0, 1, 2]
    train(tmp_path / "run", tmp_path / "backup", order, seed=2)
    assert folder.epochs() == [0, 1, 2, 3]
    assert [folder.record_file(e).read_bytes() for e in (0, 1)] == [before[0], before[1]]
    assert files_below(folder.aside) == ["epoch-000002.nc"]
    assert (folder.aside / "epoch-000002.nc").read_bytes() == before[2]
    assert folder.record_file(2).read_bytes() != before[2]
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "epoch 2 was recorded before the training went back to epoch 1" in said
    names = folder.checksums.read()[0]
    assert [name for name in names if folder.checksums.problem_of(name)] == []


def test_another_training_in_the_same_folder_is_still_refused(tmp_path):
    """One that was not brought back, but began anew."""
    folder = train(tmp_path / "run", tmp_path / "backup", (RECORDER, KILLER, BACKUP), kill=2)
    before = records_of(folder)
    with pytest.raises(InputError, match="records another training: its weights at epoch 1"):
        train(tmp_path / "run", tmp_path / "other", (RECORDER, BACKUP), seed=2)
    assert records_of(folder) == before

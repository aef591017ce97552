"""The recorder in trainings as people write them: other callbacks, loops, interrupts, errors."""

import contextlib
import copy
import itertools
import pickle
import random
import threading
import time
import weakref
from functools import partial

import keras
import numpy as np
import pytest
from helpers import Killed, assert_input_error, files_below, kill
from keras import layers
from keras.callbacks import (
    BackupAndRestore,
    Callback,
    CallbackList,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    SwapEMAWeights,
)

from repdyn_keras import RepresentationRecorder
from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.recording.fits import epoch_records
from repdyn_keras.recording.fits.fit_lock import INTERVAL
from repdyn_keras.recording.fits.training_epochs import is_end_of_epoch
from repdyn_keras.recording.values import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import HELD_LOCKS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 4)).astype("float32")
Y = X[:, :3].argmax(axis=1)
STEPS = 4


@pytest.fixture
def unmeasured(monkeypatch):
    """Records hold one constant fingerprint: these tests are about the weights and the files."""

    def measure(recorded, stopwatch, values):
        layers = len(recorded.names)
        return {
            "fingerprint": (("layer", "pair"), np.ones((layers, 3), np.float32)),
            "norm": (("layer", "square"), np.ones((layers, 3))),
            "finite": (("layer",), np.ones(layers, np.uint8)),
            "dead": (("layer",), np.zeros(layers, np.uint8)),
        }

    monkeypatch.setattr(epoch_records, "measure", measure)


def network(seed=0, build=keras.Model, use_ema=False, **how) -> keras.Model:
    """A new model with fixed initial weights, as in a script or a cell that is run again."""
    images = keras.Input((4,))
    x = images
    for number in range(2):
        kernel = keras.initializers.GlorotUniform(seed=10 * seed + number)
        x = layers.Dense(6, "tanh", kernel_initializer=kernel, name=f"dense{number}")(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Dropout(0.2, seed=3)(x)
    kernel = keras.initializers.GlorotUniform(seed=10 * seed + 9)
    made = build(images, layers.Dense(3, kernel_initializer=kernel, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=use_ema, ema_momentum=0.5)
    made.compile(optimizer, loss, **how)
    return made


def new_recorder(folder, epochs=(2,), **more) -> RepresentationRecorder:
    options = {"layers": "dense.*", "planes": 0, "batch_size": 24, **more}
    return RepresentationRecorder(folder, X, epochs=epochs, **options)


def fit(model, callbacks=(), **how):
    # Keras on jax cannot train averaged weights again, which share buffers with their averages.
    for variable in getattr(model.optimizer, "_model_variables_moving_average", ()):
        variable.assign(keras.ops.convert_to_numpy(variable.value).copy())
    how = {"batch_size": 12, "shuffle": False, "verbose": 0, **how}
    model.fit(X, Y, callbacks=list(callbacks), **how)
    return model


class Captured(Callback):
    """The hash of the weights at the end of every epoch; first in the list of callbacks."""

    def __init__(self):
        super().__init__()
        self.hashes = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.hashes.setdefault(epoch, weights_hash(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.hashes[epoch + 1] = weights_hash(self.model)


class Loading(Callback):
    """Sets other weights at the end of every epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([0.9 * weight for weight in self.model.get_weights()])


class StopAt(Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            self.model.stop_training = True


def killing_at(epoch):
    """A callback that raises at the end of an epoch."""
    return LambdaCallback(on_epoch_end=lambda e, logs: e + 1 == epoch and kill())


class CustomStep(keras.Model):
    """A functional model with a `train_step` of its own, which steps twice."""

    def train_step(self, *arguments):
        first = super().train_step(*arguments)
        # On jax, a step receives the state of the model and returns the new one.
        arguments = [first[1], *arguments[1:]] if keras.backend.backend() == "jax" else arguments
        return super().train_step(*arguments)


def provisional(folder: RunFolder) -> list[int]:
    return [epoch for epoch in folder.epochs() if folder.recorded_attribute(epoch, "provisional")]


def assert_records(folder: RunFolder, expected: list[int], hashes: dict, case="") -> None:
    """Checks the recorded epochs, and that each record has the weights of its epoch's end."""
    assert folder.epochs() == expected, case
    for epoch in expected:
        assert folder.recorded_hash(epoch) == hashes[epoch], (case, epoch)
        assert folder.record(epoch).attrs["epoch"] == epoch


def wait_for(condition) -> bool:
    """Whether a condition becomes true, which a thread checks every `INTERVAL` seconds."""
    end = time.monotonic() + 50 * INTERVAL
    while not condition() and time.monotonic() < end:
        time.sleep(INTERVAL / 4)
    return condition()


def is_locked(folder: RunFolder) -> bool:
    return folder.path.resolve() in HELD_LOCKS


def is_unlocked(folder: RunFolder) -> bool:
    return not is_locked(folder)


def note_lock(folder: RunFolder, locked: list[bool], *arguments) -> None:
    locked.append(is_locked(folder))


# --- with other callbacks, in every order -------------------------------------------------------

# The callbacks of each situation, and how the model is compiled.
PARTNERS = {
    "early stopping": (
        lambda: EarlyStopping("loss", mode="max", patience=2, restore_best_weights=True),
        {},
    ),
    "swapped averages": (lambda: SwapEMAWeights(swap_on_epoch=True), {"use_ema": True}),
    "swapped in evaluate": (SwapEMAWeights, {"use_ema": True}),
    "averages": (Callback, {"use_ema": True}),
    "other weights": (Loading, {}),
    "learning rates": (lambda: LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch)), {}),
    "eager": (Callback, {"run_eagerly": True}),
    "custom step": (Callback, {"build": CustomStep}),
}
if keras.backend.backend() != "torch":  # Keras does not offer it there
    PARTNERS["several steps"] = (Callback, {"steps_per_execution": 3})
SAMPLE = "early stopping"
REST = [name for name in PARTNERS if name != SAMPLE]


def trained_twice(folder, partner, is_before, compiled, end):
    """Two calls of `fit`, the first of which is stopped early; the same without a recorder."""
    hashes, trained = {}, []
    for is_recorded in (True, False):
        model, captured = network(**compiled), Captured()
        for first in (0, end):
            other, recorder = partner(), new_recorder(folder)
            callbacks = [other, recorder] if is_before else [recorder, other]
            if not is_recorded:
                callbacks.remove(recorder)
            callbacks = [captured, *callbacks, StopAt(end)]
            fit(model, callbacks, initial_epoch=first, epochs=5, validation_data=(X, Y))
        if is_recorded:
            hashes = captured.hashes
        trained.append([keras.ops.convert_to_numpy(v).copy() for v in model.variables])
    return hashes, trained


@pytest.mark.parametrize(
    "name", [SAMPLE, *(pytest.param(name, marks=pytest.mark.long) for name in REST)]
)
def test_records_are_of_the_weights_at_the_end_of_their_epoch(tmp_path, unmeasured, name):
    """In every order of callbacks, stopped early and continued; the training is unchanged."""
    partner, compiled = PARTNERS[name]
    for is_before in (True, False):
        place = tmp_path / str(is_before)
        hashes, (recorded, alone) = trained_twice(place, partner, is_before, compiled, end=3)
        last = max(hashes)
        assert last == 5
        assert_records(RunFolder(place), [0, 2, last], hashes, (name, is_before))
        assert provisional(RunFolder(place)) == [last]
        for one, other in zip(recorded, alone, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_records_of_kept_weights_equal_those_of_the_same_weights(tmp_path):
    """The last epoch is measured when other weights are in the model."""
    model, captured = network(), Captured()
    weights = {}
    keep = LambdaCallback(on_epoch_end=lambda e, logs: weights.update({e + 1: model.get_weights()}))
    recorder = new_recorder(tmp_path / "run")
    fit(model, [captured, keep, Loading(), recorder, StopAt(3)], epochs=9)
    assert_records(recorder.folder, [0, 2, 3], captured.hashes)
    for epoch in (2, 3):
        model.set_weights(weights[epoch])
        new_recorder(tmp_path / f"after {epoch}").record(model, epoch)
        found = RunFolder(tmp_path / f"after {epoch}").record(epoch)
        for name, array in recorder.folder.record(epoch).data_vars.items():
            np.testing.assert_array_equal(array, found[name], err_msg=name)


# The recorder first or last, and the others in every order.
ORDERS = [
    order
    for order in itertools.permutations(("recorder", "backup", "partner", "killer"))
    if "recorder" in (order[0], order[-1])
]
KILLED = ("early stopping", "swapped averages", "averages", "other weights")


@pytest.mark.long
@pytest.mark.parametrize("save_freq", ["epoch", 3])
@pytest.mark.parametrize("name", KILLED)
def test_a_killed_training_that_a_backup_restores_is_never_refused(
    tmp_path, unmeasured, name, save_freq
):
    """A third of the orders for each partner: three partners together have all."""
    partner, compiled = PARTNERS[name]
    for order in ORDERS[KILLED.index(name) % 3 :: 3]:
        place = tmp_path / "-".join(order)
        hashes = {}
        for end in (2, None):
            captured = Captured()
            made = {
                "recorder": new_recorder(place / "run", epochs=1),
                "backup": BackupAndRestore(place / "backup", save_freq),
                "partner": partner(),
                "killer": killing_at(end),
            }
            with contextlib.suppress(Killed):
                fit(network(**compiled), [captured, *(made[each] for each in order)], epochs=3)
            # Records up to the epoch of the backup are kept.
            restored = min(captured.hashes)
            hashes |= {e: h for e, h in captured.hashes.items() if e > restored or e not in hashes}
        assert_records(RunFolder(place / "run"), sorted(hashes), hashes, (name, order))


def test_checkpoints_and_validation_leave_the_records_unchanged(tmp_path, unmeasured):
    """`ModelCheckpoint` before and after the recorder, and a list that is used twice."""
    model, captured = network(), Captured()
    one, other = (ModelCheckpoint(tmp_path / f"{n}.weights.h5", "loss") for n in "ab")
    recorder = new_recorder(tmp_path / "run")
    callbacks = CallbackList(
        [captured, one, recorder, other], add_history=True, model=model, epochs=3, steps=STEPS
    )
    model.fit(X, Y, batch_size=12, shuffle=False, verbose=0, epochs=3, callbacks=callbacks)
    assert_records(recorder.folder, [0, 2, 3], captured.hashes)
    callbacks.set_params({"epochs": 4, "steps": STEPS})
    model.fit(X, Y, batch_size=12, shuffle=False, initial_epoch=3, epochs=4, callbacks=callbacks)
    assert_records(recorder.folder, [0, 2, 4], captured.hashes)
    names = [type(callback).__name__ for callback in callbacks.callbacks]
    assert names.count("EpochEnd") == 1 and names[0] == "EpochEnd"


class Wrapping(Callback):
    """Passes the hooks on to another callback."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def set_model(self, model):
        super().set_model(model)
        self.inner.set_model(model)

    def set_params(self, params):
        self.inner.set_params(params)

    def on_train_begin(self, logs=None):
        self.inner.on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.inner.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.inner.on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        self.inner.on_train_end(logs)


def test_a_recorder_inside_another_callback_or_called_by_hand_records_ends_of_epochs(
    tmp_path, unmeasured
):
    recorder, captured, locks = new_recorder(tmp_path / "run"), Captured(), []
    folder = recorder.folder
    wait = LambdaCallback(on_epoch_begin=lambda e, logs: time.sleep(2 * INTERVAL))
    look = LambdaCallback(on_epoch_end=lambda e, logs: locks.append(is_locked(folder)))
    model = fit(network(), [captured, Loading(), Wrapping(recorder), wait, look], epochs=3)
    assert_records(recorder.folder, [0, 2, 3], captured.hashes)
    assert locks == [True] * 3 and not is_locked(folder)

    recorder, hashes = new_recorder(tmp_path / "hand"), {0: weights_hash(model)}
    recorder.set_model(model)
    recorder.set_params({"epochs": 3})
    recorder.on_train_begin()
    for epoch in range(3):
        recorder.on_epoch_begin(epoch)
        model.train_on_batch(X, Y)
        hashes[epoch + 1] = weights_hash(model)
        recorder.on_epoch_end(epoch)
    recorder.on_train_end()
    assert_records(recorder.folder, [0, 2, 3], hashes)


# --- the count of epochs -------------------------------------------------------------------------


LOOPS = list(itertools.product((True, False), (True, False), (False, True)))


@pytest.mark.parametrize("loops", [LOOPS[2:3], pytest.param(LOOPS, marks=pytest.mark.long)])
def test_a_loop_of_fits_is_recorded_like_one_fit(tmp_path, unmeasured, loops):
    """With one recorder or a new one each time, with or without `initial_epoch`, with averages."""
    for number, (is_same, is_numbered, use_ema) in enumerate(loops):
        place, model, hashes = tmp_path / str(number), network(use_ema=use_ema), {}
        recorder = new_recorder(place, epochs=3)
        for epoch in range(7):
            captured = Captured()
            recorder = recorder if is_same else new_recorder(place, epochs=3)
            first = epoch if is_numbered else 0
            fit(model, [captured, recorder], initial_epoch=first, epochs=first + 1)
            hashes.setdefault(0, captured.hashes[first])
            hashes[epoch + 1] = captured.hashes[first + 1]
            last = [] if (epoch + 1) % 3 == 0 else [epoch + 1]
            assert provisional(RunFolder(place)) == last
        assert_records(RunFolder(place), [0, 3, 6, 7], hashes, (is_same, is_numbered, use_ema))
        names = RunFolder(place).checksums.read()[0]
        assert [n for n in names if RunFolder(place).checksums.problem_of(n)] == []


def test_a_training_that_is_started_over_is_recorded_once_and_another_is_rejected(
    tmp_path, unmeasured
):
    recorder = new_recorder(tmp_path, epochs=1)
    model = fit(network(), [recorder], epochs=2)
    files = {e: recorder.folder.record_file(e).read_bytes() for e in range(3)}
    # In a new model, like a cell that is run again with the same seeds: the same training.
    again = new_recorder(tmp_path, epochs=1)
    fit(network(), [again], epochs=3)
    assert again.folder.epochs() == [0, 1, 2, 3]
    assert {e: again.folder.record_file(e).read_bytes() for e in range(3)} == files
    # With other initial weights, at once, in one process or another.
    other = new_recorder(tmp_path, epochs=1)
    message = assert_input_error("new", "another training", fit, network(seed=1), [other], epochs=3)
    assert "new folder" in message and "overwrite=True" in message
    # With other weights later: at that epoch, and nothing more is recorded.
    other = new_recorder(tmp_path, epochs=1)
    assert_input_error(
        "later", "another training: its weights at epoch 1", fit, network(), [other], epochs=4,
        shuffle=True,
    )  # fmt: skip
    # The same model: its next fit counts on, also from weights that were changed in between.
    model.set_weights([0.5 * weight for weight in model.get_weights()])
    recorder = new_recorder(tmp_path / "next", epochs=1)
    fit(model, [recorder], epochs=2)
    assert recorder.folder.epochs() == [0, 1, 2]
    model.set_weights([0.5 * weight for weight in model.get_weights()])
    fit(model, [recorder], epochs=2)
    assert recorder.folder.epochs() == [0, 1, 2, 3, 4]
    assert {e: again.folder.record_file(e).read_bytes() for e in range(3)} == files


def test_another_training_never_mixes_with_the_records(tmp_path, unmeasured, capsys):
    """With `on_error="warn"`, the training goes on without being recorded."""
    recorder = new_recorder(tmp_path, epochs=2)
    fit(network(), [recorder], epochs=4)
    before = {e: recorder.folder.record_file(e).read_bytes() for e in (0, 2, 4)}
    for seed in (0, 1):
        other = new_recorder(tmp_path, epochs=2, on_error="warn")
        keras.utils.set_random_seed(seed)
        fit(network(seed), [other], epochs=6, shuffle=True)
        assert "another training" in capsys.readouterr().out
        assert other.folder.epochs() == [0, 2, 4]
        assert {e: recorder.folder.record_file(e).read_bytes() for e in before} == before
        assert not is_locked(other.folder)
    # The same recorder, when its model is reset and then trained otherwise.
    recorder.model.set_weights(network().get_weights())
    fit(recorder.model, [recorder], epochs=6, shuffle=True)
    assert "its weights at epoch 2 differ" in capsys.readouterr().out
    assert {e: recorder.folder.record_file(e).read_bytes() for e in (0, 2, 4)} == before
    assert recorder.folder.epochs() == [0, 2, 4]


def test_a_training_continues_in_another_process(tmp_path, unmeasured):
    """A new model with the weights of the last record counts on; also with `initial_epoch`."""
    model, captured = network(), Captured()
    fit(model, [captured, new_recorder(tmp_path / "run", epochs=4)], epochs=3)
    hashes = dict(captured.hashes)
    for first in (0, 4):
        after = network()
        after.set_weights(model.get_weights())
        captured = Captured()
        fit(after, [captured, new_recorder(tmp_path / "run", epochs=4)],
            initial_epoch=first, epochs=first + 1)  # fmt: skip
        hashes[len(hashes)] = captured.hashes[first + 1]
        model = after
    assert_records(RunFolder(tmp_path / "run"), [0, 4, 5], hashes)


def test_fits_that_train_nothing_or_begin_late(tmp_path, unmeasured):
    recorder = new_recorder(tmp_path / "none")
    fit(network(), [recorder], epochs=0)
    assert not recorder.folder.path.exists()
    model, recorder = network(), new_recorder(tmp_path / "late", epochs=[0])
    fit(model, [recorder], initial_epoch=3, epochs=4)
    assert recorder.folder.epochs() == [3, 4] and provisional(recorder.folder) == [4]
    # A fit keeps beginning at the epoch that BackupAndRestore once restored.
    model._initial_epoch = 3
    fit(model, [recorder], epochs=5)
    assert recorder.folder.epochs() == [3, 6]


def test_the_recorder_counts_on_although_a_model_begins_at_its_restored_epoch(tmp_path, unmeasured):
    recorder, captured = new_recorder(tmp_path, epochs=2), Captured()
    model = fit(network(), [captured, recorder], epochs=4)
    hashes = dict(captured.hashes)
    model._initial_epoch = 2
    fit(model, [after := Captured(), recorder], epochs=4)
    hashes |= {5: after.hashes[3], 6: after.hashes[4]}
    assert_records(recorder.folder, [0, 2, 4, 6], hashes)


def test_steps_of_the_optimizer_show_the_ends_of_epochs():
    assert is_end_of_epoch(3, 12, [(0, 0)], 4) and is_end_of_epoch(3, 12, [], 4)
    assert is_end_of_epoch(3, 112, [(1, 104)], 4)
    assert not is_end_of_epoch(3, 13, [(0, 0)], 4)
    assert not is_end_of_epoch(3, 16, [(0, 0)], 4), "the end of another epoch"
    assert is_end_of_epoch(6, 48, [(0, 0), (2, 16)], 4), "a step of two"
    assert not is_end_of_epoch(6, 24, [(0, 0), (2, 16)], 4)
    assert is_end_of_epoch(6, 48, [(0, 0), (2, 16)], None)
    assert not is_end_of_epoch(6, 48, [(0, 0)], None), "nothing is known"


def test_overwriting_moves_the_earlier_recording_away(tmp_path, unmeasured):
    fit(network(), [new_recorder(tmp_path, epochs=1)], epochs=3)
    (tmp_path / "dynamics.nc").write_bytes(b"old")
    before = {e: RunFolder(tmp_path).record_file(e).read_bytes() for e in range(4)}
    recorder = new_recorder(tmp_path, epochs=1, overwrite=True, layers="dense0")
    model = network(seed=1)
    assert_input_error("no such layer", "match", new_recorder(
        tmp_path, overwrite=True, layers="none").record, model, 0)  # fmt: skip
    assert recorder.folder.epochs() == [0, 1, 2, 3], "nothing is moved before it can be replaced"
    fit(model, [recorder], epochs=2)
    aside = recorder.folder.set_aside_folder
    assert recorder.folder.epochs() == [0, 1, 2]
    moved = ["constants.nc", "dynamics.nc", *(f"epoch-00000{e}.nc" for e in range(4))]
    assert sorted(files_below(aside)) == moved
    assert {e: (aside / f"epoch-00000{e}.nc").read_bytes() for e in before} == before
    # Only once: the next fit counts on, and one that is resumed overwrites nothing.
    fit(model, [recorder], epochs=1)
    fit(model, [new_recorder(tmp_path, epochs=1, overwrite=True, layers="dense0")],
        initial_epoch=3, epochs=4)  # fmt: skip
    assert recorder.folder.epochs() == [0, 1, 2, 3, 4] and sorted(files_below(aside)) == moved
    new_recorder(tmp_path, overwrite=True).record(network(seed=2), 7)
    assert recorder.folder.epochs() == [7]
    assert len(files_below(aside)) == len(moved) + 6


@pytest.mark.long
def test_overwriting_spares_a_training_that_a_backup_resumes(tmp_path, unmeasured):
    for end in (2, None):
        recorder = new_recorder(tmp_path / "run", epochs=1, overwrite=True)
        callbacks = [recorder, BackupAndRestore(tmp_path / "b", 3), killing_at(end)]
        with contextlib.suppress(Killed):
            fit(network(), callbacks, epochs=3)
    assert RunFolder(tmp_path / "run").epochs() == [0, 1, 2, 3]


# --- the lock ------------------------------------------------------------------------------------


def failing(*ways):
    """A callback that raises in the second epoch."""
    return LambdaCallback(on_epoch_begin=lambda e, logs: e == 1 and ways[0]())


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_fit_releases_the_lock_and_every_object(tmp_path, unmeasured):
    """Although the traceback is kept, as in a notebook."""
    for way in (interrupt, kill):
        folder = RunFolder(tmp_path / way.__name__)
        recorder, kept, locked = new_recorder(folder.path), [], []
        look = LambdaCallback(on_epoch_begin=partial(note_lock, folder, locked))
        try:
            fit(network(), [recorder, look, failing(way)], epochs=3)
        except (KeyboardInterrupt, Killed) as error:
            kept.append(error)
        assert locked == [True, True] and kept
        assert wait_for(partial(is_unlocked, folder)) and wait_for(lambda: not watches())
        # The same recorder goes on.
        fit(recorder.model, [recorder], epochs=2)
        assert folder.epochs() == [0, 2, 3]
        assert not is_locked(folder) and not (folder.path / ".owner").exists()


def watches() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "repdyn-fit-lock"]


def test_the_thread_of_the_lock_ends_with_the_fit_and_keeps_no_frame(tmp_path, unmeasured):
    class Data:
        pass

    found = []

    def train(name="main"):
        data = Data()
        found.append(weakref.ref(data))
        fit(network(), [new_recorder(tmp_path / name)], epochs=1)
        return data

    train()
    assert wait_for(lambda: not watches())
    assert found[0]() is None
    # In a thread that is not the main one, beside a fit of the main thread.
    thread = threading.Thread(target=train, args=["thread"])
    thread.start()
    train("beside")
    thread.join()
    assert all(RunFolder(tmp_path / name).epochs() == [0, 1] for name in ("thread", "beside"))
    assert wait_for(lambda: not watches()) and not HELD_LOCKS


def test_two_recorders_never_write_into_one_folder_at_a_time(tmp_path, unmeasured):
    """In one list, in a `fit` inside another, or in two threads; one after the other they may."""
    recorder = new_recorder(tmp_path)
    assert_input_error(
        "list", "Another fit of this process", fit, network(), [recorder, new_recorder(tmp_path)]
    )
    inside = LambdaCallback(
        on_epoch_end=lambda e, logs: fit(network(), [new_recorder(tmp_path)], epochs=1)
    )
    recorder = new_recorder(tmp_path)
    assert_input_error(
        "inside", "Another fit of this process", fit, network(), [recorder, inside], epochs=1
    )
    assert recorder.folder.epochs() == [0, 1] and wait_for(partial(is_unlocked, recorder.folder))
    fit(network(), [new_recorder(tmp_path)], epochs=2)
    assert recorder.folder.epochs() == [0, 2]


def test_an_error_of_the_data_or_the_recorder_releases_the_lock(tmp_path, unmeasured, monkeypatch):
    class Broken(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if folder.epochs():
                raise OSError("no such file")
            return X, Y

    recorder = new_recorder(tmp_path / "data")
    folder = recorder.folder
    with pytest.raises(Exception, match="no such file"):
        network().fit(Broken(), epochs=2, verbose=0, callbacks=[recorder])
    assert folder.epochs() == [0]
    assert wait_for(lambda: not is_locked(folder))

    recorder = new_recorder(tmp_path / "record")
    monkeypatch.setattr(epoch_records, "measure", lambda *arguments: interrupt())
    with pytest.raises(KeyboardInterrupt):
        fit(network(), [recorder], epochs=2)
    assert not is_locked(recorder.folder), "at once"
    assert recorder.folder.epochs() == [] and recorder.folder.partial_files() == []


def test_an_interrupt_in_the_middle_of_a_write_loses_no_record(tmp_path, unmeasured, monkeypatch):
    recorder = new_recorder(tmp_path, epochs=1)
    model = network()
    with monkeypatch.context() as patch:
        patch.setattr(
            "repdyn_keras.records.atomic.sync",
            lambda path: interrupt() if "000002" in path.name else None,
        )
        with pytest.raises(KeyboardInterrupt):
            fit(model, [recorder], epochs=3)
    assert recorder.folder.epochs() == [0, 1] and recorder.folder.partial_files() == []
    assert not is_locked(recorder.folder)
    names = recorder.folder.checksums.read()[0]
    assert [n for n in names if recorder.folder.checksums.problem_of(n)] == []
    fit(network(), [new_recorder(tmp_path, epochs=1)], epochs=3)
    assert recorder.folder.epochs() == [0, 1, 2, 3]


def test_a_custom_loop_holds_the_lock_for_many_records(tmp_path):
    recorder, model = new_recorder(tmp_path), network()
    with recorder.locked():
        for epoch in range(3):
            recorder.record(model, epoch)
            assert is_locked(recorder.folder)
            model.train_on_batch(X, Y)
    assert not is_locked(recorder.folder) and recorder.folder.epochs() == [0, 1, 2]


# --- errors --------------------------------------------------------------------------------------


def failing_at(monkeypatch, epochs, error):
    """Makes the records of some epochs fail."""
    original = epoch_records.EpochRecords._measure

    def measure(self, epoch, *arguments):
        if epoch in epochs:
            raise error
        return original(self, epoch, *arguments)

    monkeypatch.setattr(epoch_records.EpochRecords, "_measure", measure)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of memory"), StorageError("Cannot write. Expected space. Received: none.")],
)
def test_an_error_after_the_first_record_does_not_end_the_training(
    tmp_path, unmeasured, monkeypatch, capsys, error
):
    failing_at(monkeypatch, (1, 3, 5), error)
    recorder, captured = new_recorder(tmp_path / "run", epochs=1), Captured()
    model = fit(network(), [captured, recorder], epochs=5)
    alone = fit(network(), epochs=5)
    assert weights_hash(model) == weights_hash(alone)
    assert_records(recorder.folder, [0, 2, 4], captured.hashes)
    printed = capsys.readouterr().out
    assert printed.count(f"epoch 1 is not recorded, and the training goes on. {error!s}") == 1 or (
        f"epoch 1 is not recorded, and the training goes on. RuntimeError: {error}" in printed
    )
    assert printed.count("the training goes on") == 1
    assert "not recorded: epochs 1, 3, 5." in printed

    with pytest.raises(type(error)):
        fit(network(), [new_recorder(tmp_path / "raise", epochs=1, on_error="raise")], epochs=5)
    assert RunFolder(tmp_path / "raise").epochs() == [0]


def test_the_first_record_raises_unless_errors_are_warnings(
    tmp_path, unmeasured, monkeypatch, capsys
):
    failing_at(monkeypatch, (0, 1), RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(network(), [new_recorder(tmp_path / "first", epochs=1)], epochs=2)
    recorder = new_recorder(tmp_path / "warn", epochs=1, on_error="warn")
    fit(network(), [recorder], epochs=3)
    assert recorder.folder.epochs() == [2, 3]
    assert "epoch 0 is not recorded" in capsys.readouterr().out
    recorder.record(recorder.model, 1)
    assert recorder.folder.epochs() == [2, 3]
    with pytest.raises(RuntimeError, match="out of memory"):
        new_recorder(tmp_path / "record").record(network(), 1)
    unbuilt = new_recorder(tmp_path / "unbuilt", layers="none", on_error="warn")
    fit(network(), [unbuilt], epochs=1)
    assert "matches" in capsys.readouterr().out and not unbuilt.folder.path.exists()
    assert_input_error(
        "on_error", "Unknown on_error. Expected one of: raise, warn. Received: 'ignore'",
        new_recorder, tmp_path, on_error="ignore",
    )  # fmt: skip


def test_the_last_epoch_is_tried_again_at_the_end(tmp_path, unmeasured, monkeypatch, capsys):
    errors = [RuntimeError("busy")]
    original = epoch_records.EpochRecords._measure

    def measure(self, epoch, *arguments):
        if epoch == 2 and errors:
            raise errors.pop()
        return original(self, epoch, *arguments)

    monkeypatch.setattr(epoch_records.EpochRecords, "_measure", measure)
    recorder, captured = new_recorder(tmp_path), Captured()
    fit(network(), [captured, recorder, Loading()], epochs=2)
    assert_records(recorder.folder, [0, 2], captured.hashes)
    assert "epoch 2 is not recorded" in capsys.readouterr().out


# --- copies --------------------------------------------------------------------------------------


def test_copies_share_the_images_and_record_into_folders_of_their_own(tmp_path, unmeasured, capsys):
    """As KerasTuner copies callbacks, once or more for each trial; some copies are never used."""
    original = new_recorder(tmp_path / "runs" / "mine", epochs=1)
    copies = [copy.deepcopy([original, EarlyStopping("loss")])[0] for _ in range(3)]
    assert all(each.settings is original.settings for each in copies)
    assert not (tmp_path / "runs").exists()
    model = network(seed=1)
    fit(model, [copies[1]], epochs=1)
    fit(model, [copies[1]], epochs=1)
    copies[2].record(network(seed=2), 0)
    nested = copy.deepcopy(copies[1])
    fit(network(seed=3), [nested], epochs=2)
    fit(network(), [original], epochs=3)
    found = {f.name: RunFolder(f).epochs() for f in (tmp_path / "runs").iterdir()}
    assert found == {"mine": [0, 1, 2, 3], "mine-2": [0, 1, 2], "mine-3": [0], "mine-4": [0, 1, 2]}
    assert copies[1].folder.path.name == "mine-2" and nested.folder.path.name == "mine-4"
    assert capsys.readouterr().out.count("this copy of the recorder records into") == 3


def test_a_pickled_recorder_keeps_its_folder(tmp_path, unmeasured):
    recorder = new_recorder(tmp_path, epochs=1, overwrite=True)
    model = fit(network(), [recorder], epochs=1)
    loaded = pickle.loads(pickle.dumps(recorder))  # noqa: S301
    fit(model, [loaded], epochs=1)
    assert loaded.folder.epochs() == [0, 1, 2] and loaded.folder.path == recorder.folder.path
    assert not recorder.folder.set_aside_folder.exists()


# --- loops and models of one's own ---------------------------------------------------------------


def test_a_custom_training_loop_is_recorded(tmp_path):
    """Keras's `train_on_batch`, a gradient tape, or a loop of torch."""
    model, recorder, hashes = network(), new_recorder(tmp_path), {}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    backend = keras.backend.backend()

    def step():
        if backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                value = loss(Y, model(X, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        elif backend == "torch":
            model.zero_grad()
            loss(Y, model(X, training=True)).backward()
            gradients = [variable.value.grad for variable in model.trainable_variables]
            model.optimizer.apply(gradients, model.trainable_variables)
        else:
            model.train_on_batch(X, Y)

    for epoch in range(3):
        hashes[epoch] = weights_hash(model)
        recorder.record(model, epoch)
        assert weights_hash(model) == hashes[epoch]
        step()
    assert_records(recorder.folder, [0, 1, 2], hashes)
    assert len(set(hashes.values())) == 3


def test_a_thread_that_draws_during_a_record_draws_what_it_would_without(tmp_path):
    """As one that loads augmented data. The first record finds what the passes draw from."""
    model, recorder = network(), new_recorder(tmp_path / "run")
    recorder.record(model, 0)
    measure, drawn = recorder.measurement.fingerprint_pass, []

    def draw():
        drawn.append((np.random.normal(), random.random()))

    def measure_while_loading(*inputs):
        loader = threading.Thread(target=draw)
        loader.start()
        loader.join()
        return measure(*inputs)

    recorder.measurement.fingerprint_pass = measure_while_loading
    fit(model, epochs=1)
    np.random.seed(3)
    random.seed(3)
    recorder.record(model, 1)
    assert drawn
    draw()
    expected, of_python = np.random.RandomState(3), random.Random(3)
    assert drawn == [(expected.normal(), of_python.random()) for _ in drawn]


def test_a_path_that_cannot_be_a_folder_is_rejected_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/run", "link", "loop", "a" * 300):
        model = network()
        before = weights_hash(model)
        recorder = new_recorder(tmp_path / name)
        with pytest.raises(InputError, match=r"Cannot create the folder .* Choose another path"):
            fit(model, [recorder], epochs=1)
        assert weights_hash(model) == before, name


def test_weights_that_do_not_change_between_two_records_are_reported_once(tmp_path, capsys):
    recorder, model = new_recorder(tmp_path), network()
    for epoch in (0, 1, 2):
        recorder.record(model, epoch)
    printed = capsys.readouterr().out
    assert printed.count("the weights of epoch 1 are those of epoch 0") == 1
    assert "epoch 2" not in printed


def test_the_recorder_offers_its_images_and_its_measurement(tmp_path):
    recorder = new_recorder(tmp_path, labels=Y)
    assert recorder.measurement is None and recorder.evaluation is recorder.settings.evaluation
    model = network()
    recorder.record(model, 0)
    assert recorder.measurement is recorder.build(model) and recorder.measurement.n_classes == 3

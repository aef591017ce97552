"""Early records: states within the first two epochs, and epochs that are not whole."""

import copy
import threading

import keras
import numpy as np
import pytest
from helpers import (
    contents,
    repdyn,
    write_run,
)
from keras import layers

import repdyn_keras
from repdyn_keras import InputError, RepresentationRecorder, open_run, plot_regions
from repdyn_keras.recording.fits.early_steps import EarlySteps, early_steps
from repdyn_keras.recording.values import weights_hash
from repdyn_keras.records.epoch_files import RECORD_NAME, epoch_name, recorded_epoch
from repdyn_keras.text import format_epochs

N, BATCH, STEPS = 40, 4, 10
# The steps of three early records, and their epochs.
GRID = {1: 0.1, 3: 0.3, 7: 0.7}
EARLY = list(GRID.values())


# --- the grid ---------------------------------------------------------------------------------


@pytest.mark.without_keras
@pytest.mark.parametrize("steps", [2, 3, 11, 45, 390, 5004])
@pytest.mark.parametrize("count", [1, 6, 30])
def test_the_grid_has_distinct_steps_at_about_one_ratio_and_never_the_end_of_an_epoch(count, steps):
    grid = early_steps(count, steps)
    number = np.array(list(grid))
    possible = [step for step in range(1, 2 * steps) if step % steps]
    assert len(grid) == min(count, len(possible)) and set(number) <= set(possible)
    assert number[0] == 1 and (np.diff(number) > 0).all()
    np.testing.assert_allclose(list(grid.values()), number / steps, atol=5e-7)
    assert all(0 < epoch < 2 and epoch % 1 for epoch in grid.values())
    ideal = (2 * steps) ** (np.arange(count) / count)
    # The nearest step, or a neighbour of the end of an epoch.
    apart = np.flatnonzero(np.diff(ideal) > 2)
    if count == 6 < len(possible):
        assert np.abs(number - ideal)[apart].max(initial=0) <= 1


@pytest.mark.without_keras
def test_the_grid_has_only_steps_after_which_the_weights_change_and_callbacks_are_called():
    assert list(early_steps(6, 100, execution=16))[0] == 16
    assert all(step % 100 % 16 == 0 for step in early_steps(30, 100, execution=16))
    assert all(step % 8 == 0 for step in early_steps(30, 100, update=8))
    assert early_steps(6, 22, execution=50) == early_steps(0, 22) == early_steps(6, 1) == {}


# --- names and texts ----------------------------------------------------------------------------


@pytest.mark.without_keras
def test_epochs_in_names_of_files_are_read_back_and_short_ones_are_found_again():
    epochs = [0.0, 2e-6, 0.002564, 0.03125, 0.5, 1.0, 1.954545, 1.997436, 12.0, 1_000_000.0]
    for epoch in epochs:
        match = RECORD_NAME.fullmatch(f"{epoch_name(epoch)}.nc")
        assert match is not None and float(match[1]) == epoch
    assert epoch_name(12) == "epoch-000012" and epoch_name(0.03125) == "epoch-000000.03125"
    for name in (
        "epoch-000000.50.nc",
        "epoch-000000..nc",
        "epoch-0.5.nc",
        "epoch-000000.1234567.nc",
    ):
        assert RECORD_NAME.fullmatch(name) is None, name
    shown = ["0", "0.000002", "0.003", "0.03", "0.5", "1", "1.95", "1.997", "12", "1000000"]
    assert format_epochs(epochs) == shown
    assert [recorded_epoch(float(text), epochs) for text in shown] == epochs
    # As shown, or more exact; never one that is shown with other decimals.
    grid = [0.0, 0.090909, 0.272727, 0.454545, 1.0, 2.0]
    for given, meant in ((0.45, 0.454545), (0.4545, 0.454545), (1 / 11, 0.090909), (2, 2.0)):
        assert recorded_epoch(given, grid) == meant
    for given in (0.5, 0.3, 0.1, 0.4, 1e-7, 1.9999999, 3, np.nan, np.inf):
        with pytest.raises(InputError, match=r"recorded epochs: 0, 0\.090909, .*, 2\. Received"):
            recorded_epoch(given, grid)
    with pytest.raises(InputError, match="recorded epochs of there: 0.121, 0.124. Received: epoch"):
        recorded_epoch(0.12, [0.121, 0.124], "there")
    many = (np.arange(1, 2000) / 1000).tolist()
    assert len(set(format_epochs(many))) == len(many)


# --- in a fit -----------------------------------------------------------------------------------


def network():
    """A network whose training depends on every kind of state."""
    keras.utils.set_random_seed(3)
    images = keras.Input((6,))
    x = layers.Dense(8, activation="relu", name="one")(images)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    model = keras.Model(images, layers.Dense(3, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)).astype("float32"), np.arange(N) % 3


def recorder_in(folder, data, early=3, **options):
    options = {"planes": 0, "batch_size": 20, "layers": ["one"], "epochs": [2], **options}
    return RepresentationRecorder(folder, *data, early_records=early, **options)


def fit(model, data, *callbacks, **options):
    keras.utils.set_random_seed(5)
    options = {"epochs": 3, "batch_size": BATCH, "verbose": 0, **options}
    return model.fit(*data, callbacks=list(callbacks), **options)


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable.value).copy() for variable in variables]


class Steps(keras.callbacks.Callback):
    """Notes the weights after each step, and whether Keras called in the thread of the training."""

    def __init__(self):
        super().__init__()
        self.hashes, self.passed = {}, 0

    def on_train_batch_end(self, batch, logs=None):
        self.passed += 1
        self.hashes[self.passed] = weights_hash(self.model)


class Threads(keras.callbacks.Callback):
    """Notes after which steps Keras called in another thread."""

    async_safe = True

    def __init__(self):
        super().__init__()
        self.elsewhere = []

    def on_train_batch_end(self, batch, logs=None):
        self.elsewhere.append(threading.current_thread() is not threading.main_thread())


@pytest.fixture(scope="module")
def alone(data):
    """The weights after each step of a training without a recorder, and its history."""
    model, steps = network(), Steps()
    history = fit(model, data, steps).history
    return model, steps.hashes, history


@pytest.mark.parametrize("verbose", [0, 1])
def test_early_records_are_of_their_steps_and_leave_the_training_bit_identical(
    alone, data, tmp_path, verbose
):
    unrecorded, hashes, history = alone
    model, recorder, threads = network(), recorder_in(tmp_path, data), Threads()
    recorder_of_more = recorder_in(tmp_path / "more", data, early=4)
    found = fit(model, data, recorder, recorder_of_more, threads, verbose=verbose).history
    assert recorder.folder.epochs() == [0, *EARLY, 2, 3]
    for step, epoch in GRID.items():
        record = recorder.folder.record(epoch)
        assert record.attrs["weights_hash"] == hashes[step] and record.attrs["epoch"] == epoch
        assert record.attrs["iterations"] == step
    assert found == history
    for one, other in zip(state_of(model), state_of(unrecorded), strict=True):
        np.testing.assert_array_equal(one, other)
    assert recorder_of_more.folder.epochs() == [0, *early_steps(4, STEPS).values(), 2, 3]
    last = max(*GRID, *early_steps(4, STEPS))
    assert not any(threads.elsewhere[:last])
    if keras.backend.backend() == "jax":
        assert all(threads.elsewhere[last:]), "Keras pays for the hook while it is needed"
    assert not any(isinstance(each, EarlySteps) for each in recorder._callback_list.callbacks)
    dynamics = open_run(tmp_path).dynamics
    assert dynamics["epoch"].dtype == dynamics["epoch_other"].dtype == float
    assert dynamics["epoch"].values.tolist() == [0, *EARLY, 2, 3]


def test_two_recorders_in_one_fit_make_all_of_their_early_records(data, tmp_path, capsys):
    first, second = recorder_in(tmp_path / "a", data), recorder_in(tmp_path / "b", data, early=5)
    threads = Threads()
    fit(network(), data, first, second, threads)
    steps = early_steps(5, STEPS)
    assert max(steps) > max(GRID), "one waits after the other has left"
    assert first.folder.epochs() == [0, *EARLY, 2, 3]
    assert second.folder.epochs() == sorted([0, *steps.values(), 2, 3])
    assert "no early records" not in capsys.readouterr().out
    assert not any(threads.elsewhere[: max(steps)])
    if keras.backend.backend() == "jax":
        assert all(threads.elsewhere[max(steps) :]), "restored when the last one leaves"


def test_several_fits_count_on_and_a_repeated_training_keeps_its_early_records(data, tmp_path):
    model, recorder = network(), recorder_in(tmp_path, data, early=8, epochs="log")
    grid = early_steps(8, STEPS)
    before = [epoch for epoch in grid.values() if epoch < 1]
    after = [epoch for epoch in grid.values() if epoch > 1]
    assert before and after
    fit(model, data, recorder, epochs=1)
    assert recorder.folder.epochs() == [0, *before, 1]
    fit(model, data, recorder, epochs=1)
    assert recorder.folder.epochs() == [0, *before, 1, *after, 2]
    fit(model, data, recorder, epochs=1)
    assert recorder.folder.epochs() == [0, *before, 1, *after, 2, 3]
    held = contents(recorder.folder.records)
    again = recorder_in(tmp_path, data, early=8, epochs="log")
    fit(network(), data, again, epochs=1)
    assert contents(recorder.folder.records) == held
    with pytest.raises(InputError, match=r"another training: its weights at epoch 0\.1 differ"):
        fit(network(), (data[0][::-1], data[1]), recorder_in(tmp_path, data, early=8))


def test_a_fit_that_begins_later_has_no_early_records(data, tmp_path):
    recorder = recorder_in(tmp_path / "a", data)
    fit(network(), data, recorder, initial_epoch=2, epochs=4)
    assert recorder.folder.epochs() == [2, 4]
    recorder = recorder_in(tmp_path / "b", data, early=8)
    fit(network(), data, recorder, initial_epoch=1, epochs=2)
    assert [epoch for epoch in recorder.folder.epochs() if epoch % 1] == [
        epoch for epoch in early_steps(8, STEPS).values() if epoch > 1
    ]


def test_accumulated_gradients_give_no_warning_of_weights_that_were_not_assigned(
    data, tmp_path, capsys
):
    one = layers.Dense(8, activation="relu", name="one")
    model = keras.Sequential([keras.Input((6,)), one, layers.Dense(3)])
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    recorder = recorder_in(tmp_path, data, early=30, epochs=1)
    fit(model, data, recorder, epochs=1)
    weights = [recorder.folder.recorded_hash(epoch) for epoch in (0.9, 1)]
    assert weights[0] == weights[1], "the tenth step changes nothing"
    assert "trained outside" not in capsys.readouterr().out
    recorder.record(model, 1.5)
    recorder.record(model, 2)
    assert "the weights of epoch 2 are those of epoch 1." in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["execution", "accumulation"])
def test_steps_that_callbacks_do_not_see_or_that_change_nothing_are_left_out(data, tmp_path, kind):
    if kind == "execution" and keras.backend.backend() == "torch":
        pytest.skip("Keras has no steps_per_execution on torch")
    model = network()
    options = {"steps_per_execution": 2} if kind == "execution" else {}
    more = {"gradient_accumulation_steps": 2} if kind == "accumulation" else {}
    model.compile(keras.optimizers.SGD(0.1, **more), model.loss, **options)
    recorder = recorder_in(tmp_path, data, early=30)
    fit(model, data, recorder, epochs=2)
    assert recorder.folder.epochs() == [0, 0.2, 0.4, 0.6, 0.8, 1.2, 1.4, 1.6, 1.8, 2]


def test_what_prevents_early_records_is_said_once(data, tmp_path, capsys):
    few = recorder_in(tmp_path / "few", data, early=30)
    fit(network(), data, few, epochs=2)
    assert capsys.readouterr().out.count("18 early records instead of 30") == 1
    assert len(few.folder.epochs()) == 18 + 2
    unknown = recorder_in(tmp_path / "unknown", data)
    batches = ((data[0][i : i + BATCH], data[1][i : i + BATCH]) for i in range(0, N, BATCH))
    network().fit(batches, epochs=1, verbose=0, callbacks=[unknown])
    said = capsys.readouterr().out
    assert said.count("there are no early records: they need the number of steps") == 1
    assert unknown.folder.epochs() == [0, 1]
    elsewhere = EarlySteps(keras.callbacks.CallbackList(), {1: 0.1}, 10, pytest.fail, print)
    elsewhere.begin_epoch(0)
    thread = threading.Thread(target=lambda: [elsewhere.on_train_batch_end(0) for _ in range(3)])
    thread.start()
    thread.join()
    assert capsys.readouterr().out.count("in another thread") == 1
    for wrong in (-1, 2.5, True, None):
        with pytest.raises(InputError, match="of at least 0 for early_records. Received"):
            recorder_in(tmp_path / "wrong", data, early=wrong)
    copied = copy.deepcopy(unknown)
    fit(network(), data, copied, epochs=1)
    assert copied.folder.epochs() == [0, *EARLY, 1]


def test_states_inside_of_an_epoch_are_recorded_without_fit(data, tmp_path):
    recorder, model, heard = recorder_in(tmp_path, data), network(), []
    recorder._records.on_record = lambda epoch, summary: heard.append(epoch)
    for epoch in (0, 1 / 3, 1):
        recorder.record(model, epoch)
    assert recorder.folder.epochs() == [0, 0.333333, 1] == heard
    for wrong in (-0.5, np.nan, np.inf):
        with pytest.raises(InputError, match="Expected an epoch of at least 0. Received"):
            recorder.record(model, wrong)


# --- options, texts and pictures ----------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with simulated records, early ones among them."""
    epochs = (0, 0.002558, 0.03125, 0.045455, 0.6, 1, 2, 4, 8, 16, 32)
    return write_run(tmp_path_factory.mktemp("written") / "run", epochs=epochs)


@pytest.mark.without_keras
@pytest.mark.long
def test_options_take_the_epochs_as_they_are_shown(written, tmp_path):
    words = ("figures", written.path, "--out", tmp_path / "out")
    assert repdyn(*words, "--epoch", "0.03", "--epoch", "2").exit_code == 0
    printed = repdyn(*words, "--epoch", "0.04")
    assert printed.exit_code == 2
    assert "0, 0.002558, 0.03125, 0.045455, 0.6, 1, 2" in " ".join(printed.output.split())
    for wrong in ("-1", "nan", "1e3", "x", "0.0000001"):
        assert "Expected a recorded epoch" in repdyn(*words, f"--epoch={wrong}").output, wrong
    found = repdyn_keras.compare(*[open_run(written.path)] * 2, epochs=[(0.03, 0.003)])
    assert [found[name].item() for name in ("epoch_a", "epoch_b")] == [0.03125, 0.002558]
    assert found["recorded_a"].dtype == float
    ax = plot_regions(open_run(written.path).dynamics, "output", epoch=0.05)
    assert ax.get_title(loc="left").endswith("at epoch 0.05")
    assert repdyn("analyze", written.path).exit_code == 0

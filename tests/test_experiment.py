"""A configured training: the order of its images, its randomness, its files and its repetition.

`tiny_run` is one real run of `repdyn run` that the tests of several files read and none changes.
"""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
import tomli_w
from helpers import BACKEND, LAYERS, TINY

import repdyn_keras
from repdyn_keras import Config, open_run, run
from repdyn_keras.config import load_config, resolve
from repdyn_keras.datasets import Data, load
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import InputError
from repdyn_keras.experiment import Watcher
from repdyn_keras.experiment.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.training import Training
from repdyn_keras.models import build_model
from repdyn_keras.recording.identity import arrays_hash, weights_hash
from repdyn_keras.recording.inputs import Labelled
from repdyn_keras.recording.recorder import PROBES
from repdyn_keras.records import RunFolder

ACCURACIES = {
    "train_accuracy": "train",
    "clean_accuracy": "clean",
    "memorized": "mislabeled_given",
    "resisted": "mislabeled_true",
    "test_accuracy": "test",
}


@pytest.fixture(scope="session")
def data() -> Data:
    return load(resolve(Config(**TINY)))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def final_hash(folder: RunFolder) -> str:
    return folder.recorded_hash(folder.epochs()[-1])


# The order of the images.


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epochs_order_is_a_permutation_and_its_batches_follow_it(data, epoch):
    batches = EpochBatches(data, 24, seed=5, augment=False)
    batches.set_epoch(epoch)
    assert sorted(batches.order) == list(range(128))
    assert batches.num_batches == 128 // 24
    x, y = zip(*(batches[index] for index in range(batches.num_batches)), strict=True)
    kept = batches.order[: 24 * (128 // 24)]
    np.testing.assert_array_equal(np.concatenate(x), data.x_train[kept])
    np.testing.assert_array_equal(np.concatenate(y), data.y_train[kept])


def test_the_order_is_a_function_of_seed_and_epoch_alone(data):
    def order(seed, epochs):
        batches = EpochBatches(data, 32, seed, augment=False)
        for epoch in epochs:
            batches.set_epoch(epoch)
            batches[0]
        return batches.order.tolist()

    np.random.seed(1)
    expected = order(5, [3])
    np.random.seed(2)
    assert order(5, [0, 1, 2, 3]) == expected
    assert order(5, [9, 3]) == expected
    assert order(6, [3]) != expected
    assert order(5, [4]) != expected


def test_each_epoch_leaves_out_other_images_and_only_the_ragged_rest(data):
    batches = EpochBatches(data, 50, seed=0, augment=False)
    left_out = set()
    for epoch in range(3):
        batches.set_epoch(epoch)
        seen = np.concatenate([batches[i][0] for i in range(batches.num_batches)])
        assert len(seen) == 100
        left_out.add(frozenset(batches.order[100:].tolist()))
    assert len(left_out) == 3


def test_a_batch_larger_than_the_training_set_is_all_of_it(data):
    batches = EpochBatches(data, 1000, seed=0, augment=False)
    assert batches.num_batches == 1
    assert sorted(batches[0][1]) == sorted(data.y_train)


def test_without_augmentation_images_come_as_they_are(data):
    batches = EpochBatches(data, 32, seed=0, augment=False)
    np.testing.assert_array_equal(batches[1][0], data.x_train[batches.order[32:64]])
    assert resolve(Config()).augment is False


def crops_and_mirrors(image: np.ndarray) -> list[np.ndarray]:
    """Every window of an 8 x 8 image padded by one pixel of zeros, and its mirror."""
    padded = np.zeros((10, 10, image.shape[-1]), image.dtype)
    padded[1:9, 1:9] = image
    windows = [padded[top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    return [*windows, *(window[:, ::-1] for window in windows)]


def test_an_augmented_image_is_a_crop_of_its_padded_self_or_the_mirror_of_one(data):
    batches = EpochBatches(data, 128, seed=0, augment=True)
    images, labels = batches[0]
    assert images.shape == (128, 8, 8, 1)
    assert images.dtype == data.x_train.dtype
    np.testing.assert_array_equal(labels, data.y_train[batches.order])
    found = set()
    for image, source in zip(images, data.x_train[batches.order], strict=True):
        matches = [i for i, c in enumerate(crops_and_mirrors(source)) if np.array_equal(c, image)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) >= 16, "nearly all of 9 crops x 2 mirrors come up among 128 images"


def test_augmentation_is_a_function_of_seed_epoch_and_batch(data):
    def drawn(seed, epoch, index):
        batches = EpochBatches(data, 32, seed, augment=True)
        batches.set_epoch(epoch)
        batches[0]
        images = batches[index][0]
        chosen = batches.order[index * 32 : (index + 1) * 32]
        return [
            next(
                i
                for i, crop in enumerate(crops_and_mirrors(data.x_train[source]))
                if np.array_equal(crop, image)
            )
            for image, source in zip(images, chosen, strict=True)
        ]

    expected = drawn(1, 2, 3)
    assert drawn(1, 2, 3) == expected
    assert drawn(1, 2, 0) != expected
    assert drawn(1, 1, 3) != expected
    assert drawn(2, 2, 3) != expected


# Randomness of the training.


def network() -> keras.Model:
    """A network with dropout and BatchNormalization."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Dropout(0.2, seed=77)(keras.layers.Flatten()(images))
    kernel = keras.initializers.GlorotUniform(seed=1)
    x = keras.layers.Dense(6, activation="relu", kernel_initializer=kernel)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5, seed=78)(x)
    kernel = keras.initializers.GlorotUniform(seed=2)
    return keras.Model(images, keras.layers.Dense(4, kernel_initializer=kernel)(x))


class Snapshot(keras.callbacks.Callback):
    """Keeps the weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = {}

    def on_epoch_end(self, epoch, logs=None):
        self.weights[epoch + 1] = [np.array(w) for w in self.model.get_weights()]


def fitted(data, *, first=0, start=None, seed=3) -> dict[int, list[np.ndarray]]:
    """Weights after the epochs from `first` to 2, from `start` or the initial weights."""
    keras.utils.set_random_seed(100 + first)
    batches = EpochBatches(data, 32, seed=3, augment=True)
    model, snapshot = network(), Snapshot()
    if start is not None:
        model.set_weights(start)
    model.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(
        batches,
        initial_epoch=first,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[EpochSeeds(batches, seed), snapshot],
    )
    return snapshot.weights


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_from_the_middle_ends_where_training_from_the_start_does(data):
    whole = fitted(data)
    assert not equal(whole[1], whole[2])
    assert equal(fitted(data, first=1, start=whole[1])[2], whole[2])
    other_dropout = fitted(data, first=1, start=whole[1], seed=4)
    assert not equal(other_dropout[2], whole[2])


def test_seed_states_are_a_function_of_seed_and_epoch(data):
    def states(seed, epochs):
        model = network()
        callback = EpochSeeds(EpochBatches(data, 32, seed, augment=False), seed)
        callback.set_model(model)
        for epoch in epochs:
            callback.on_epoch_begin(epoch)
        generators = [
            keras.ops.convert_to_numpy(v.value).tolist()
            for v in model.non_trainable_variables
            if v.name == "seed_generator_state"
        ]
        assert len(generators) == 2
        return generators

    expected = states(3, [4])
    assert expected[0] != expected[1]
    assert states(3, [0, 1, 4]) == expected
    assert states(3, [5]) != expected
    assert states(4, [4]) != expected


def test_each_epoch_of_fit_trains_on_that_epochs_batches_in_order(data):
    """Against plain gradient descent in NumPy: Keras peeks at batches before an epoch begins."""
    rate = 0.01
    batches = EpochBatches(data, 32, seed=1, augment=False)
    images = keras.Input((8, 8, 1))
    logit = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(images, logit(keras.layers.Flatten()(images)))
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[EpochSeeds(batches, 1)])

    weights = np.zeros((64, 1))
    for epoch in range(3):
        order = np.random.default_rng([1, epoch]).permutation(128)
        for index in range(4):
            chosen = order[32 * index : 32 * (index + 1)]
            x = data.x_train[chosen].reshape(32, 64).astype(float)
            error = x @ weights - data.y_train[chosen, None]
            weights = weights - rate * 2 * x.T @ error / 32
    np.testing.assert_allclose(model.get_weights()[0], weights, atol=1e-5)


# The files of a run.


def test_the_tiny_run_succeeds(tiny_run):
    assert tiny_run.exit_code == 0, tiny_run.stderr


def test_history_has_one_row_an_epoch_from_0_on(tiny_run):
    history = rows(tiny_run.folder.history_file)
    assert list(history[0]) == ["epoch", "loss", "accuracy", "learning_rate", *ACCURACIES]
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3"]
    assert history[0]["loss"] == history[0]["accuracy"] == history[0]["learning_rate"] == ""
    for row in history[1:]:
        assert float(row["loss"]) > 0
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["learning_rate"]) == pytest.approx(0.05)


def test_history_holds_the_outputs_accuracies_of_the_dynamics(tiny_run):
    recorded = open_run(tiny_run.folder.path).dynamics["probe_accuracy"].sel(layer="output")
    history = rows(tiny_run.folder.history_file)
    for column, subset in ACCURACIES.items():
        values = [float(row[column]) for row in history]
        np.testing.assert_allclose(values, recorded.sel(subset=subset), atol=1e-6)


def test_accuracies_are_those_of_the_kept_weights(tiny_run, data):
    config = resolve(Config(**load_config(tiny_run.folder.config_file)))
    model = build_model(config, (8, 8, 1), 4)
    model.load_weights(tiny_run.folder.weights / "epoch-000003.weights.h5")
    given = model.predict_on_batch(data.x_train[:]).argmax(axis=1)
    tested = model.predict_on_batch(data.x_test[:]).argmax(axis=1)
    wrong = data.y_train != data.true_train
    last = rows(tiny_run.folder.history_file)[-1]
    expected = {
        "train_accuracy": np.mean(given == data.y_train),
        "clean_accuracy": np.mean((given == data.y_train)[~wrong]),
        "memorized": np.mean((given == data.y_train)[wrong]),
        "resisted": np.mean((given == data.true_train)[wrong]),
        "test_accuracy": np.mean(tested == data.y_test),
    }
    found = {name: float(last[name]) for name in expected}
    assert found == pytest.approx(expected, abs=1e-6)
    dynamics = open_run(tiny_run.folder.path).dynamics
    assert dynamics.attrs["memorized_share"] == pytest.approx(found["memorized"], abs=1e-6)


def test_timing_says_for_each_record_what_took_how_long(tiny_run):
    timing = rows(tiny_run.folder.timing_file)
    assert list(timing[0]) == ["epoch", "purpose", "seconds"]
    recording = ["batch statistics", "fingerprints", "accuracies", "probes", "regions", "writing"]
    for epoch in range(4):
        purposes = [row["purpose"] for row in timing if row["epoch"] == str(epoch)]
        assert sorted(purposes) == sorted(recording + (["training"] if epoch else []))
    assert all(float(row["seconds"]) >= 0 for row in timing)


def test_kept_weights_are_the_states_that_were_recorded(tiny_run):
    folder = tiny_run.folder
    config = resolve(Config(**load_config(folder.config_file)))
    model = build_model(config, (8, 8, 1), 4)
    assert weights_hash(model) == folder.recorded_hash(0), "epoch 0 is the initialization"
    names = [f"epoch-{epoch:06d}.weights.h5" for epoch in range(4)]
    assert sorted(path.name for path in folder.weights.iterdir()) == names
    for epoch, name in enumerate(names):
        model.load_weights(folder.weights / name)
        assert weights_hash(model) == folder.recorded_hash(epoch)
    assert len({folder.recorded_hash(epoch) for epoch in range(4)}) == 4


def test_sample_ids_point_at_the_training_images(tiny_run, data):
    constants = tiny_run.folder.constants()
    ids = constants["sample"].values
    assert len(np.unique(ids)) == len(ids) == 64
    assert constants.attrs["images_hash"] == arrays_hash([data.x_train[ids]])
    np.testing.assert_array_equal(constants["label_given"], data.y_train[ids])
    np.testing.assert_array_equal(constants["label_true"], data.true_train[ids])


def test_corners_of_planes_are_evaluation_images_of_three_true_classes(tiny_run, data):
    constants = tiny_run.folder.constants()
    corners = constants["plane_sample"].values
    assert corners.shape == (3, 3)
    assert set(corners.ravel()) <= set(constants["sample"].values)
    assert all(len(set(labels)) == 3 for labels in data.true_train[corners])
    np.testing.assert_array_equal(constants["plane_label"], data.true_train[corners])
    np.testing.assert_array_equal(constants["plane_image"], data.x_train[corners])
    assert (data.y_train[corners] != data.true_train[corners]).any(), "noise must be able to differ"


def test_dynamics_hold_the_layers_and_epochs_of_the_run(tiny_run):
    dynamics = open_run(tiny_run.folder.path).dynamics
    assert dynamics["layer"].values.tolist() == LAYERS
    assert dynamics["epoch"].values.tolist() == [0, 1, 2, 3]
    assert dynamics["regions"].shape == (5, 4, 3, 5, 5)
    assert dynamics.attrs["title"] == "synthetic, resnet, sgd, seed 0"


# Repeating, and what must not matter.


def test_the_same_configuration_gives_bit_identical_records(tiny_run, repeated):
    assert repeated.folder.epochs() == [0, 1, 2, 3]
    for epoch in range(4):
        assert repeated.folder.record(epoch).identical(tiny_run.folder.record(epoch))
    assert repeated.folder.constants().identical(tiny_run.folder.constants())


def test_when_to_record_does_not_change_the_training(tiny_run, tmp_path, undrawn):
    values = {**load_config(tiny_run.folder.config_file), "record_epochs": (0, 2), "planes": 0}
    other = run(values, out=tmp_path / "other")
    assert other.epochs == [0, 2, 3], "the last epoch is always recorded"
    assert other.folder.recorded_hash(2) == tiny_run.folder.recorded_hash(2)
    assert final_hash(other.folder) == final_hash(tiny_run.folder)
    history = rows(other.folder.history_file)
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3"]
    assert all(history[1][column] == "" for column in ACCURACIES)
    assert all(history[e][column] != "" for column in ACCURACIES for e in (0, 2, 3))
    columns = ("loss", "accuracy", "learning_rate")
    for row, first in zip(history, rows(tiny_run.folder.history_file), strict=True):
        assert [row[c] for c in columns] == [first[c] for c in columns]
    assert "regions" not in other.dynamics


def test_another_seed_gives_other_weights_noise_and_evaluation_images(tmp_path):
    def begun(seed):
        config = resolve(Config(**{**TINY, "seed": seed, "backend": BACKEND}))
        return Training(config, RunFolder(tmp_path / "unused"), Watcher())

    one, other = begun(0), begun(1)
    assert weights_hash(one.model) != weights_hash(other.model)
    assert not np.array_equal(one.recorder.evaluation.ids, other.recorder.evaluation.ids)
    noise = [training.data.y_train != training.data.true_train for training in (one, other)]
    assert not np.array_equal(*noise)
    assert not (tmp_path / "unused").exists()


class Killed(Watcher):
    """Ends the run by an exception once an epoch of training is over."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def epoch_ended(self, epoch, logs):
        if epoch == self.epoch:
            raise RuntimeError("killed")


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_leaves_records_that_can_be_analyzed(tiny_run, tmp_path, epoch):
    values = load_config(tiny_run.folder.config_file)
    with pytest.raises(RuntimeError, match="killed"):
        run(values, out=tmp_path / "killed", watcher=Killed(epoch))
    folder = RunFolder(tmp_path / "killed")
    assert folder.epochs() == list(range(epoch))
    for each in folder.epochs():
        assert folder.record(each).identical(tiny_run.folder.record(each))
    assert not folder.dynamics_file.exists()
    assert folder.leftovers() == []
    assert [row["epoch"] for row in rows(folder.history_file)] == [str(e) for e in range(epoch)]
    dynamics = analyze(folder)
    assert dynamics["epoch"].values.tolist() == list(range(epoch))
    whole = open_run(tiny_run.folder.path).dynamics
    np.testing.assert_array_equal(
        dynamics["regions"], whole["regions"].sel(epoch=list(range(epoch)))
    )


# What the recorder is given.


def test_a_recorder_is_given_a_part_in_the_order_that_the_whole_would_have(tmp_path):
    options = {"probe_images": 20, "n_eval": 16, "cka_batch": 8, "planes": 0}
    config = resolve(Config(**{**TINY, **options, "backend": BACKEND}))
    training = Training(config, RunFolder(tmp_path / "run"), Watcher())
    data, recorder = training.data, training.recorder
    whole = Labelled(data.x_train[:], data.y_train, data.true_train)
    expected = whole.probe_sample(20, config.data_seed * 100 + PROBES)
    for name in ("x", "y", "true"):
        np.testing.assert_array_equal(getattr(recorder.probed, name), getattr(expected, name))
    assert len(recorder.test.x) == 20
    shares = np.bincount(data.y_test) / len(data.y_test)
    assert np.abs(np.bincount(recorder.test.y) - 20 * shares).max() <= 1
    rows = {
        (image.tobytes(), label) for image, label in zip(data.x_test[:], data.y_test, strict=True)
    }
    assert {(x.tobytes(), y) for x, y in zip(recorder.test.x, recorder.test.y, strict=True)} < rows


# The Python form of the command.


@pytest.mark.parametrize("form", ["config", "dict", "path", "text"])
def test_run_takes_a_config_a_dict_or_a_file(tiny_run, tmp_path, form):
    path = tmp_path / "two.toml"
    path.write_text(tomli_w.dumps({**TINY, "epochs": 2, "backend": BACKEND}), encoding="utf-8")
    values = load_config(path)
    given = {"config": Config(**values), "dict": values, "path": path, "text": str(path)}[form]
    before = dict(values)
    plan = run(given, out=tmp_path / "new", dry_run=True)
    assert plan.epochs == [0, 1, 2]
    assert plan.layers == LAYERS
    assert plan.images == (128, 64, 32)
    assert values == before
    assert not (tmp_path / "new").exists()


def test_run_is_the_packages_own_name():
    assert repdyn_keras.run is run


@pytest.mark.parametrize("other", [b for b in ("jax", "tensorflow", "torch") if b != BACKEND])
def test_another_backend_than_the_running_one_is_refused(tmp_path, other):
    with pytest.raises(InputError) as caught:
        run({**TINY, "backend": other}, out=tmp_path / "new")
    assert other in str(caught.value)
    assert BACKEND in str(caught.value)
    assert f"KERAS_BACKEND={other}" in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert keras.backend.backend() == BACKEND


def test_an_existing_folder_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="exists"):
        run({**TINY, "backend": BACKEND}, out=tmp_path / "taken")
    assert list((tmp_path / "taken").iterdir()) == []

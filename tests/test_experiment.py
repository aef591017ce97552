"""Configured trainings: order of the images, randomness, files and reproducibility."""

import csv

import keras
import numpy as np
import pytest
import tomli_w
from helpers import BACKEND, LAYERS, TINY, network

from repdyn_keras import Config, open_run, run, seeds
from repdyn_keras.config import load_config, resolve
from repdyn_keras.datasets import Data, load
from repdyn_keras.experiment import Watcher
from repdyn_keras.experiment.configured_recorder import recorded_settings
from repdyn_keras.experiment.survival.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.training import Training
from repdyn_keras.measures.planes import draw_planes
from repdyn_keras.models import build_model
from repdyn_keras.recording.inputs import LabelledImages, arrays_hash
from repdyn_keras.recording.settings import LayerSelection
from repdyn_keras.recording.values import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.tables import ACCURACIES

same = np.testing.assert_array_equal


@pytest.fixture(scope="module")
def data() -> Data:
    return load(resolve(Config(**TINY)))


# The order of the images.


def test_the_batches_of_an_epoch_depend_only_on_seed_and_epoch(data):
    """The images after the last whole batch are left out; they differ between epochs."""

    def order(seed, *epochs, size=50):
        batches = EpochBatches(data, size, seed, augment=False)
        for epoch in epochs:
            batches.set_epoch(epoch)
            x, y = zip(*(batches[i] for i in range(batches.num_batches)), strict=True)
            assert sorted(batches.order) == list(range(128))
            kept = batches.order[: 128 // min(size, 128) * size]
            same(np.concatenate(x), data.x_train[kept])
            same(np.concatenate(y), data.y_train[kept])
        return batches.order.tolist()

    np.random.seed(1)
    expected = order(5, 3)
    np.random.seed(2)
    assert order(5, 0, 1, 2, 3) == order(5, 9, 3) == order(5, 3, size=24) == expected
    assert len({frozenset(order(5, epoch)[100:]) for epoch in range(3)}) == 3
    assert expected not in (order(6, 3), order(5, 4))
    assert order(5, 3, size=1000) == expected, "a batch may be larger than the training set"


def test_an_augmented_image_is_a_crop_of_the_padded_image_or_its_mirror_image(data):
    """The crop depends only on seed, epoch and batch."""

    def crop(image, source) -> int:
        """The window of the image padded by one pixel, and whether it is mirrored."""
        padded = np.pad(source, ((1, 1), (1, 1), (0, 0)))
        crops = [padded[y : y + 8, x : x + 8][:, ::m] for m in (1, -1) for y, x in at]
        (found,) = (i for i, each in enumerate(crops) if np.array_equal(each, image))
        return found

    def drawn(seed, epoch, index, size=64):
        batches = EpochBatches(data, size, seed, augment=True)
        batches.set_epoch(epoch)
        images, labels = batches[index]
        assert images.dtype == data.x_train.dtype
        chosen = batches.order[index * size : (index + 1) * size]
        same(labels, data.y_train[chosen])
        return list(map(crop, images, data.x_train[chosen]))

    at = [(y, x) for y in range(3) for x in range(3)]
    assert len(set(drawn(0, 0, 0, size=128))) >= 16, "of 9 crops x 2 mirrors in 128 images"
    expected = drawn(1, 2, 1)
    assert drawn(1, 2, 1) == expected
    assert expected not in (drawn(1, 2, 0), drawn(1, 1, 1), drawn(2, 2, 1))
    assert resolve(Config()).augment is False


# Randomness of the training.


def test_seed_states_are_a_function_of_seed_and_epoch(data):
    def states(seed, *epochs):
        model = network((8, 8, 1), 4)
        callback = EpochSeeds(EpochBatches(data, 32, seed, augment=False), seed)
        callback.set_model(model)
        for epoch in epochs:
            callback.on_epoch_begin(epoch)
        generators = (v for v in model.non_trainable_variables if v.name == "seed_generator_state")
        one, other = (keras.ops.convert_to_numpy(v.value).tolist() for v in generators)
        assert one != other
        return one, other

    assert states(3, 0, 1, 4) == states(3, 4)
    assert states(3, 4) not in (states(3, 5), states(4, 4))


def test_each_epoch_of_fit_trains_on_its_batches_in_order(data):
    """Compared with gradient descent in NumPy, since Keras reads batches before an epoch begins."""
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


def test_history_holds_the_losses_and_the_outputs_accuracies_of_the_dynamics(tiny_run):
    assert tiny_run.exit_code == 0, tiny_run.stderr
    history = tiny_run.folder.history()
    assert list(history[0]) == ["epoch", "loss", "accuracy", "learning_rate", *ACCURACIES]
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3"]
    assert history[0]["loss"] == history[0]["accuracy"] == history[0]["learning_rate"] == ""
    for row in history[1:]:
        assert float(row["loss"]) > 0
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["learning_rate"]) == pytest.approx(0.05)
    dynamics = open_run(tiny_run.folder.path).dynamics
    for column, subset in ACCURACIES.items():
        recorded = dynamics["probe_accuracy"].sel(layer="output", subset=subset)
        values = [float(row[column]) for row in history]
        np.testing.assert_allclose(values, recorded, atol=1e-6, err_msg=column)


def test_timing_lists_the_seconds_of_each_record_by_purpose(tiny_run):
    lines = tiny_run.folder.timing_file.read_text("utf-8").splitlines()
    assert lines[0] == "epoch,purpose,seconds"
    timing = list(csv.DictReader(lines))
    by_epoch = [{r["purpose"] for r in timing if r["epoch"] == str(e)} for e in range(4)]
    assert "training" not in by_epoch[0]
    assert {"fingerprints", "probes", "regions", "writing"} <= by_epoch[0]
    assert [purposes - {"training"} for purposes in by_epoch] == [by_epoch[0]] * 4
    assert all("training" in purposes for purposes in by_epoch[1:])
    assert len(timing) == sum(map(len, by_epoch)), "each once"
    assert all(float(row["seconds"]) >= 0 for row in timing)


def test_kept_weights_are_the_states_that_were_recorded(tiny_run, data):
    folder = tiny_run.folder
    model = build_model(resolve(Config(**load_config(folder.config_file))), (8, 8, 1), 4)
    assert weights_hash(model) == folder.recorded_hash(0), "epoch 0 is the initialization"
    names = [f"epoch-{epoch:06d}.weights.h5" for epoch in range(4)]
    assert sorted(path.name for path in folder.weights.iterdir()) == names
    for epoch, name in enumerate(names):
        model.load_weights(folder.weights / name)
        assert weights_hash(model) == folder.recorded_hash(epoch)
    assert len({folder.recorded_hash(epoch) for epoch in range(4)}) == 4

    given = model.predict_on_batch(data.x_train[:]).argmax(axis=1)
    tested = model.predict_on_batch(data.x_test[:]).argmax(axis=1)
    wrong = data.y_train != data.true_train
    expected = {
        "train_accuracy": np.mean(given == data.y_train),
        "clean_accuracy": np.mean((given == data.y_train)[~wrong]),
        "memorized": np.mean((given == data.y_train)[wrong]),
        "resisted": np.mean((given == data.true_train)[wrong]),
        "test_accuracy": np.mean(tested == data.y_test),
    }
    last = folder.history()[-1]
    assert {name: float(last[name]) for name in expected} == pytest.approx(expected, abs=1e-6)
    share = open_run(folder.path).dynamics.attrs["memorized_share"]
    assert share == pytest.approx(expected["memorized"], abs=1e-6)


def test_ids_of_samples_and_corners_refer_to_the_training_images(tiny_run, data):
    constants = tiny_run.folder.constants()
    ids, corners = constants["sample"].values, constants["plane_sample"].values
    assert len(np.unique(ids)) == len(ids) == 64
    assert constants.attrs["images_hash"] == arrays_hash([data.x_train[ids]])
    same(constants["label_given"], data.y_train[ids])
    same(constants["label_true"], data.true_train[ids])

    assert corners.shape == (3, 3)
    assert set(corners.ravel()) <= set(ids)
    assert all(len(set(labels)) == 3 for labels in data.true_train[corners])
    same(constants["plane_label"], data.true_train[corners])
    same(constants["plane_image"], data.x_train[corners])
    assert (data.y_train[corners] != data.true_train[corners]).any(), "some labels are noisy"

    dynamics = open_run(tiny_run.folder.path).dynamics
    assert dynamics["layer"].values.tolist() == LAYERS
    assert dynamics["epoch"].values.tolist() == [0, 1, 2, 3]
    assert dynamics["regions"].shape == (5, 4, 3, 5, 5)
    assert dynamics.attrs["title"] == "synthetic, resnet, sgd, seed 0"


# Reproducibility.


def test_the_same_configuration_gives_bit_identical_records(tiny_run, repeated):
    assert repeated.folder.epochs() == [0, 1, 2, 3]
    for epoch in range(4):
        assert repeated.folder.record(epoch).identical(tiny_run.folder.record(epoch))
    assert repeated.folder.constants().identical(tiny_run.folder.constants())


def test_the_schedule_of_records_does_not_change_the_training(tiny_run, tmp_path, undrawn):
    values = {**load_config(tiny_run.folder.config_file), "record_epochs": (0, 2), "planes": 0}
    other = run(values, out=tmp_path / "other")
    assert other.epochs == [0, 2, 3], "the last epoch is always recorded"
    for epoch in (2, 3):
        assert other.folder.recorded_hash(epoch) == tiny_run.folder.recorded_hash(epoch)
    history = other.folder.history()
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3"]
    assert all(history[1][column] == "" for column in ACCURACIES)
    assert all(history[e][column] != "" for column in ACCURACIES for e in (0, 2, 3))


def test_probe_images_are_the_first_of_the_order_of_all_images(tmp_path):
    options = {"probe_images": 20, "n_eval": 16, "cka_batch": 8, "planes": 0}
    config = resolve(Config(**{**TINY, **options, "backend": BACKEND}))
    training = Training(config, RunFolder(tmp_path / "run"), Watcher())
    data, probed = training.data, training.recorder.settings.probes
    whole = LabelledImages.from_pair((data.x_train[:], data.y_train), "train", data.true_train)
    expected = whole.probe_sample(20, seeds.derived(config.data_seed, seeds.PROBE_IMAGES))
    for name in ("x", "y", "true"):
        same(getattr(probed.fitted, name), getattr(expected, name))
    assert len(probed.held_out.x) == 20
    shares = np.bincount(data.y_test) / len(data.y_test)
    assert np.abs(np.bincount(probed.held_out.y) - 20 * shares).max() <= 1
    known = {(x.tobytes(), y) for x, y in zip(data.x_test[:], data.y_test, strict=True)}
    assert {
        (x.tobytes(), y) for x, y in zip(probed.held_out.x, probed.held_out.y, strict=True)
    } < known


@pytest.mark.parametrize("seed", [0, 3])
def test_recorded_images_and_planes_do_not_depend_on_label_noise(seed):
    """Only the given labels and the network may differ, as `data_seed` is the same."""
    images = {"data_seed": seed, "n_train": 112, "n_eval": 64, "cka_batch": 16, "probe_images": 24}
    found = []
    for noise, training_seed in ((0.0, 5), (0.2, 6), (0.9, 7)):
        values = {**TINY, **images, "label_noise": noise, "seed": training_seed}
        config = resolve(Config(**values, backend=BACKEND))
        loaded = load(config)
        found.append(recorded_settings(config, loaded, LayerSelection(LAYERS[:-1])))
        true = found[-1].evaluation.true
        same(true, loaded.true_train[found[-1].evaluation.ids])
        counts = np.stack([np.bincount(part, minlength=4) for part in true.reshape(-1, 16)])
        assert counts.max() - counts.min() <= 2, "every batch has about the same shares"
    clean, *noisy = found
    corners = [
        draw_planes(each.evaluation.x, each.evaluation.true, 8, 0.1, each.planes.seed)[0]
        for each in found
    ]
    for other, drawn in zip(noisy, corners[1:], strict=True):
        assert (other.evaluation.given != clean.evaluation.given).any()
        for name in ("ids", "x", "true"):
            same(getattr(other.evaluation, name), getattr(clean.evaluation, name))
        assert other.evaluation.hash == clean.evaluation.hash and other.planes == clean.planes
        for name in ("x", "true"):
            same(getattr(other.probes.fitted, name), getattr(clean.probes.fitted, name))
        same(other.probes.held_out.x, clean.probes.held_out.x)
        same(drawn, corners[0])


# The Python function.


def test_run_takes_a_config_a_dict_or_a_file(tmp_path):
    path, new = tmp_path / "two.toml", tmp_path / "new"
    path.write_text(tomli_w.dumps({**TINY, "epochs": 2, "backend": BACKEND}), encoding="utf-8")
    values = load_config(path)
    before = dict(values)
    for given in (Config(**values), values, path, str(path)):
        plan = run(given, out=new, dry_run=True)
        assert plan.epochs == [0, 1, 2], given
        assert plan.layers == LAYERS
        assert plan.images == (128, 64, 32)
    assert values == before
    assert not new.exists()

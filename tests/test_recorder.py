"""The callback: it records the right numbers, once each, and never changes the training."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

from repdyn_keras import InputError, RepresentationRecorder, cka, open_run
from repdyn_keras.measures.cka import fingerprint
from repdyn_keras.recording import passes
from repdyn_keras.recording.identity import weights_hash

N = 160
SETTINGS = {"planes": 3, "resolution": 6, "batch_size": 32}


@pytest.fixture(scope="module")
def data():
    raw = load_digits()
    return (raw.images[:N, ..., None] / 8 - 1).astype("float32"), raw.target[:N].astype("int64")


def small_model(seed=0, dropout=0.3, name="small"):
    def conv(x, name):
        init = keras.initializers.HeNormal(seed=seed + len(name))
        return layers.Conv2D(6, 3, padding="same", kernel_initializer=init, name=name)(x)

    images = keras.Input((8, 8, 1), name="images")
    x = conv(images, "stem")
    for block in ("block1", "block02", "block003"):
        y = layers.BatchNormalization(momentum=0.8, name=f"{block}_norm")(x)
        y = conv(layers.ReLU(name=f"{block}_relu")(y), f"{block}_conv")
        x = layers.Add(name=block)([x, y])
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    head = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(images, layers.Dense(10, kernel_initializer=head, name="head")(x), name=name)


def compiled(model):
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fitted(data, callbacks, epochs=3, **options):
    keras.utils.set_random_seed(7)
    model = compiled(small_model())
    model.fit(*data, epochs=epochs, batch_size=32, verbose=0, callbacks=callbacks, **options)
    return model


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A recorded training, its recorder and its model."""
    x, y = data
    true = y.copy()
    given = np.where(np.arange(N) % 5 == 0, (y + 3) % 10, y)
    recorder = RepresentationRecorder(
        tmp_path_factory.mktemp("run"),
        x[:128],
        given[:128],
        train=(x, given),
        true_labels=true,
        test=(x[::2], true[::2]),
        images_true_labels=true[:128],
        **SETTINGS,
    )
    return fitted((x, given), [recorder]), recorder, given


def test_recording_leaves_the_training_bit_identical(data, tmp_path):
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, batch_norm="recalibrate", **SETTINGS)
    recorded = fitted(data, [recorder])
    alone = fitted(data, [])
    assert recorder.folder.epochs() == [0, 1, 2, 3]
    for one, other in zip(recorded.variables, alone.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one.value), keras.ops.convert_to_numpy(other.value)
        )
    for one, other in zip(recorded.optimizer.variables, alone.optimizer.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one.value), keras.ops.convert_to_numpy(other.value)
        )


def test_training_differs_without_dropout_so_that_the_comparison_above_can_fail(data):
    with_dropout = fitted(data, [])
    keras.utils.set_random_seed(8)
    model = compiled(small_model())
    model.fit(*data, epochs=3, batch_size=32, verbose=0)
    assert weights_hash(model) != weights_hash(with_dropout)


def test_recording_leaves_global_random_state_alone(data, tmp_path):
    import random

    x, y = data
    model = compiled(small_model())
    recorder = RepresentationRecorder(tmp_path, x, y, **SETTINGS)
    before = random.getstate(), np.random.get_state()[1].copy()
    recorder.record(model, 0)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_fingerprints_are_those_of_the_activations(trained):
    model, recorder, _ = trained
    record = recorder.folder.record(3)
    x = recorder.evaluation.x
    for name in ("block1", "block003"):
        activations = keras.Model(model.inputs, model.get_layer(name).output).predict_on_batch(x)
        expected = fingerprint(activations, batch_size=32)
        found = record["fingerprint"].sel(layer=name).values
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_similarity_between_epochs_is_minibatch_cka(trained):
    model, recorder, _ = trained
    x = recorder.evaluation.x
    other = compiled(small_model(seed=5))
    tap = [
        keras.Model(m.inputs, m.get_layer("block02").output).predict_on_batch(x)
        for m in (model, other)
    ]
    prints = [fingerprint(t, batch_size=32) for t in tap]
    cosine = prints[0] @ prints[1] / np.linalg.norm(prints[0]) / np.linalg.norm(prints[1])
    assert cosine == pytest.approx(cka(*tap, batch_size=32), abs=1e-6)
    dynamics = open_run(recorder.folder.path).dynamics
    np.testing.assert_allclose(
        dynamics["cka"].sel(epoch=3, epoch_other=3, layer="block02").item(), 1, atol=1e-6
    )


def test_regions_equal_a_plain_loop_over_grid_points(trained):
    model, recorder, _ = trained
    record = recorder.folder.record(3)
    measurement = recorder.measurement
    names = record["layer"].values.tolist()
    offset, probes = 0, {}
    for name, width in zip(names[:-1], measurement.widths, strict=True):
        kernel = record["probe_weights"].values[offset : offset + 10 * width].reshape(width, 10)
        offset += 10 * width
        probes[name] = kernel, record["probe_weights"].values[offset : offset + 10]
        offset += 10
    taps = keras.Model(model.inputs, [model.get_layer(n).output for n in names[:-1]])
    ties = 0
    for number, plane in enumerate(measurement.planes):
        grid = plane.grid(6)
        for row in range(6):
            for column in range(6):
                a, b = grid[row, column]
                point = plane.origin + a * plane.axes[0] + b * plane.axes[1]
                image = point.reshape(1, 8, 8, 1).astype("float32")
                logits = [model.predict_on_batch(image)[0]]
                hidden = taps.predict_on_batch(image)
                for name, activation in zip(names[:-1], hidden, strict=True):
                    kernel, bias = probes[name]
                    logits.insert(-1, activation[0].mean(axis=(0, 1)) @ kernel + bias)
                for name, values in zip(names, logits, strict=True):
                    second, first = np.sort(values)[-2:]
                    if first - second < 1e-3:
                        ties += 1
                        continue
                    found = record["regions"].sel(layer=name).values[number, row, column]
                    assert found == values.argmax(), (name, number, row, column)
    assert ties < 0.05 * 3 * 36 * len(names)


def test_corners_of_planes_are_their_images(trained):
    _, recorder, _ = trained
    constants = recorder.folder.constants()
    images = recorder.evaluation.x
    order = {int(s): i for i, s in enumerate(recorder.evaluation.ids)}
    for plane, samples in enumerate(constants["plane_sample"].values):
        for corner, sample in enumerate(samples):
            stored = constants["plane_image"].values[plane, corner]
            np.testing.assert_array_equal(stored, images[order[int(sample)]])
    assert all(len(set(row)) == 3 for row in constants["plane_label"].values.tolist())


def test_accuracies_are_those_of_the_model_in_inference_mode(trained, data):
    model, recorder, given = trained
    x, true = data
    record = recorder.folder.record(3)
    right = model.predict_on_batch(x).argmax(axis=1)
    wrong = given != true
    expected = {
        "train": np.mean(right == given),
        "clean": np.mean(right[~wrong] == given[~wrong]),
        "mislabeled_given": np.mean(right[wrong] == given[wrong]),
        "mislabeled_true": np.mean(right[wrong] == true[wrong]),
        "test": np.mean(right[::2] == true[::2]),
    }
    subsets = recorder.folder.constants()["subset"].values.tolist()
    found = dict(zip(subsets, record["probe_accuracy"].values[-1].tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert record["accuracy_inference"].item() == pytest.approx(expected["train"])


def test_batch_statistics_pass_uses_the_moments_of_each_batch(data, tmp_path):
    """Against the first normalization's moments, which no layer with dropout precedes."""
    x, y = data
    model = compiled(small_model(dropout=0.0))
    recorder = RepresentationRecorder(tmp_path, x, y, **SETTINGS)
    recorder.record(model, 0)
    before = weights_hash(model)
    accuracy, moments = recorder.measurement.batch_statistics()
    stem = keras.Model(model.inputs, model.get_layer("stem").output)
    activations = stem.predict_on_batch(recorder.probed.x)
    np.testing.assert_allclose(moments[0][0], activations.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(moments[0][1], activations.var(axis=(0, 1, 2)), rtol=1e-4)
    assert 0 <= accuracy <= 1
    assert weights_hash(model) == before


def test_recalibration_changes_what_is_recorded_and_not_the_model(data, tmp_path):
    x, y = data
    model = compiled(small_model())
    hashes = []
    for mode in ("moving", "recalibrate"):
        recorder = RepresentationRecorder(tmp_path / mode, x, y, batch_norm=mode, **SETTINGS)
        recorder.record(model, 0)
        hashes.append(weights_hash(model))
    moving, recalibrated = (
        open_run(tmp_path / mode).folder.record(0)["fingerprint"].sel(layer="block003").values
        for mode in ("moving", "recalibrate")
    )
    assert hashes[0] == hashes[1]
    assert not np.allclose(moving, recalibrated, rtol=0.05)


def test_each_pass_is_traced_once_however_many_epochs(data, tmp_path, monkeypatch):
    calls = {}
    classes = (
        passes.FingerprintPass,
        passes.FeaturePass,
        passes.RegionPass,
        passes.BatchStatisticsPass,
    )
    built = []
    for cls in classes:

        def counted(self, inputs, original=cls.call, name=cls.__name__):
            calls[name] = calls.get(name, 0) + 1
            return original(self, inputs)

        def noted(self, *args, original=cls.__init__, name=cls.__name__, **kwargs):
            built.append(name)
            original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "call", counted)
        monkeypatch.setattr(cls, "__init__", noted)
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x[:150], y[:150], test=(x[:77], y[:77]), **SETTINGS)
    fitted(data, [recorder], epochs=5)
    assert recorder.folder.epochs() == [0, 1, 2, 3, 4, 5]
    assert sorted(built) == sorted(cls.__name__ for cls in classes)
    if keras.backend.backend() != "torch":
        assert calls == {cls.__name__: 1 for cls in classes}


def test_no_array_grows_with_the_number_of_recorded_epochs(data, tmp_path):
    def arrays(thing, seen):
        if id(thing) in seen or isinstance(thing, keras.layers.Layer | str | type):
            return 0
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            return thing.nbytes
        if isinstance(thing, dict):
            return sum(arrays(v, seen) for v in thing.values())
        if isinstance(thing, list | tuple | set | frozenset):
            return sum(arrays(v, seen) for v in thing)
        return arrays(vars(thing), seen) if hasattr(thing, "__dict__") else 0

    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, epochs=1, **SETTINGS)
    model = compiled(small_model())
    sizes = []
    for epoch in range(6):
        recorder.record(model, epoch)
        sizes.append(arrays(recorder, set()))
    assert sizes[0] > x.nbytes
    assert len(set(sizes)) == 1


def test_the_start_schedule_and_last_state_are_recorded(data, tmp_path):
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, epochs=[2], **SETTINGS)
    fitted(data, [recorder], epochs=5, initial_epoch=1)
    assert recorder.folder.epochs() == [1, 2, 5]


def test_a_training_that_is_stopped_early_is_recorded_at_its_end(data, tmp_path):
    class StopAfterTwo(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, epochs=[0], **SETTINGS)
    model = fitted(data, [recorder, StopAfterTwo()], epochs=9)
    assert recorder.folder.epochs() == [0, 2]
    assert recorder.folder.recorded_hash(2) == weights_hash(model)


def test_same_weights_at_the_same_epoch_are_kept_and_others_refused(data, tmp_path):
    x, y = data
    model = compiled(small_model())
    RepresentationRecorder(tmp_path, x, y, **SETTINGS).record(model, 0)
    file = open_run(tmp_path).folder.record_file(0)
    before = file.read_bytes()
    again = RepresentationRecorder(tmp_path, x, y, **SETTINGS)
    again.record(model, 0)
    assert file.read_bytes() == before
    model.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(InputError, match="another training"):
        again.record(model, 0)
    assert file.read_bytes() == before


def test_another_recording_in_the_same_folder_is_refused(data, tmp_path):
    x, y = data
    model = compiled(small_model())
    RepresentationRecorder(tmp_path, x, y, **SETTINGS).record(model, 0)
    other = RepresentationRecorder(tmp_path, x + 1, y, **SETTINGS)
    with pytest.raises(InputError, match="another recording: .*images_hash"):
        other.record(model, 1)
    assert open_run(tmp_path).epochs == [0]


def test_evaluation_images_are_shuffled_once_and_known_by_id(trained, data):
    _, recorder, given = trained
    evaluation = recorder.evaluation
    np.testing.assert_array_equal(evaluation.x, data[0][evaluation.ids])
    np.testing.assert_array_equal(evaluation.given, given[evaluation.ids])
    assert sorted(evaluation.ids) == list(range(128))
    assert (evaluation.ids != np.arange(128)).any()


def test_without_labels_only_fingerprints_are_recorded(data, tmp_path, capsys):
    recorder = RepresentationRecorder(tmp_path, data[0], **SETTINGS)
    recorder.record(compiled(small_model()), 0)
    record = recorder.folder.record(0)
    assert "fingerprint" in record and "probe_accuracy" not in record and "regions" not in record
    assert "fingerprints only" in capsys.readouterr().out
    assert set(open_run(tmp_path).dynamics.data_vars) >= {"cka", "phase", "synchronization"}


def test_without_labels_of_the_images_there_are_probes_and_no_planes(data, tmp_path, capsys):
    recorder = RepresentationRecorder(tmp_path, data[0], train=data, **SETTINGS)
    recorder.record(compiled(small_model()), 0)
    record = recorder.folder.record(0)
    assert "probe_accuracy" in record and "regions" not in record
    assert "no labels of the images came" in capsys.readouterr().out
    assert "regions" not in open_run(tmp_path).dynamics


def test_planes_need_probes(data, tmp_path):
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, images_true_labels=y, **SETTINGS)
    recorder.record(compiled(small_model()), 0)
    assert "regions" not in open_run(tmp_path).dynamics


def test_dead_and_not_finite_layers_are_named_and_nan(data, tmp_path, capsys):
    x, y = data
    model = compiled(small_model())
    recorder = RepresentationRecorder(tmp_path, x, y, layers=["block1", "block003"], **SETTINGS)
    recorder.record(model, 0)
    good = [weight.copy() for weight in model.get_weights()]
    for epoch, value in ((1, 0.0), (2, np.nan)):
        model.set_weights([np.full_like(weight, value) for weight in good])
        recorder.record(model, epoch)
    model.set_weights(good)
    recorder.record(model, 3)
    said = capsys.readouterr().out
    assert "layer 'block1' is constant over the 160 images at epoch 1" in said
    assert "layer 'block1' puts out NaN or infinite values at epoch 2" in said
    found = open_run(tmp_path).dynamics
    for name in ("block1", "block003", "output"):
        matrix = found["cka"].sel(layer=name).values
        assert np.isnan(matrix[1:3]).all() and np.isnan(matrix[:, 1:3]).all()
        np.testing.assert_allclose(matrix[np.ix_([0, 3], [0, 3])], 1, atol=1e-6)
    assert (found["regions"].sel(epoch=2).values == 255).all()
    assert np.isnan(found["probe_accuracy"].sel(epoch=2).values).all()


def test_lagging_batch_normalization_is_warned_about(data, tmp_path, capsys):
    x, y = data
    model = compiled(small_model())
    model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 5.0)
    RepresentationRecorder(tmp_path, x, y, **SETTINGS).record(model, 15)
    assert "BatchNormalization lags" in capsys.readouterr().out


@pytest.mark.parametrize("pooling", ["flatten", 3])
def test_other_poolings_widen_the_probes(data, tmp_path, pooling):
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, layers="block1", pooling=pooling, **SETTINGS)
    recorder.record(compiled(small_model()), 0)
    assert recorder.measurement.widths == [6 * (64 if pooling == "flatten" else 9)]
    accuracy = recorder.folder.record(0)["probe_accuracy"].values[0, 0]
    assert accuracy > 0.9


def test_a_sequential_model_is_recorded_by_its_layers_with_weights(data, tmp_path, capsys):
    x, y = data
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(name="flat"),
            layers.Dense(12, activation="relu", name="first"),
            layers.Dense(11, activation="relu", name="second"),
            layers.Dense(10, name="last"),
        ]
    )
    recorder = RepresentationRecorder(tmp_path, x, one_hot(y), **SETTINGS)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=1, verbose=0, callbacks=[recorder])
    assert open_run(tmp_path).dynamics["layer"].values.tolist() == ["first", "second", "output"]
    assert "2 layers with weights: first, second" in capsys.readouterr().out


def one_hot(y):
    return np.eye(10)[y]


def nested_model():
    inner = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(name="deep")], name="inner")
    images = keras.Input((8, 8, 1))
    x = layers.Dense(8, name="outer")(inner(images))
    return keras.Model(images, layers.Dense(10, name="head")(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(10)

    def call(self, x):
        return self.dense(layers.Flatten()(x))


def hidden_output_model():
    images = keras.Input((8, 8, 1))
    x = layers.Dense(8, name="output")(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(10, name="head")(x))


def two_outputs_model():
    images = keras.Input((8, 8, 1))
    x = layers.Flatten()(images)
    return keras.Model(images, [layers.Dense(10)(x), layers.Dense(3)(x)])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (small_model, {"layers": ["blok1"]}, "Unknown layer 'blok1'. Nearest: block1"),
        (small_model, {"layers": "stage.*"}, "matches 'stage.*'. Nearest: "),
        (small_model, {"layers": "block("}, "not a regular expression"),
        (small_model, {"layers": []}, "at least one name"),
        (small_model, {"layers": ["head"]}, "is the model's own output"),
        (nested_model, {"layers": ["deep"]}, "'deep' lies inside .* whole name: inner/deep"),
        (nested_model, {"layers": "deep"}, "'deep' lies inside .* whole name: inner/deep"),
        (Subclassed, {}, "is subclassed"),
        (lambda: keras.Sequential([layers.Flatten(), layers.Dense(10)]), {}, "is not built"),
        (hidden_output_model, {}, "A layer of .* is called 'output'"),
        (two_outputs_model, {}, "has 2 outputs: .*Expected the name"),
    ],
)
def test_a_model_that_cannot_be_recorded_is_refused(data, tmp_path, make, options, message):
    x, y = data
    recorder = RepresentationRecorder(tmp_path / "run", x, y, **SETTINGS, **options)
    with pytest.raises(InputError, match=message):
        recorder.record(make(), 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((40, 9, 9, 1), "float32") + np.arange(40)[:, None, None, None]},
         "images have shape 9 x 9 x 1 each; the model 'small' takes 8 x 8 x 1"),
        ({"labels": np.arange(40) % 12}, "reach 11; the model puts out 10 classes"),
        ({"labels": np.arange(39) % 10}, "of shape \\(39,\\) for 40 images"),
        ({"labels": np.arange(40) % 10 - 1}, "other than whole numbers from 0"),
        ({"labels": np.full((40, 10), 0.1)}, "not one-hot"),
        ({"labels": np.arange(40) % 2}, "3 distinct classes; the evaluation images hold 2"),
        ({"images": np.full((40, 8, 8, 1), np.nan)}, "NaN or infinite"),
        ({"batch_size": 3}, "batches of 3 samples came.*at least 4"),
        ({"planes": -1}, "planes=-1 came"),
        ({"resolution": 1}, "resolution=1 came"),
        ({"margin": -0.5}, "margin=-0.5 came"),
        ({"pooling": "max"}, "Unknown pooling 'max'"),
        ({"batch_norm": "batch"}, "Unknown batch_norm 'batch'"),
        ({"epochs": "every"}, "Unknown epochs 'every'"),
        ({"epochs": [1, -2]}, "Expected 'log'"),
        ({"epochs": 0}, "Expected 'log'"),
        ({"train": np.zeros(3)}, "train is a ndarray. Expected a pair"),
        ({"test": (np.zeros((5, 9, 9, 1)), np.zeros(5))}, "test images have shape"),
        ({"sample_ids": np.zeros(40)}, "one id of its own"),
    ],
)  # fmt: skip
def test_data_and_settings_that_do_not_fit_are_refused(tmp_path, change, message):
    rng = np.random.default_rng(0)
    arguments = {
        "images": rng.normal(size=(40, 8, 8, 1)).astype("float32"),
        "labels": np.arange(40) % 10,
        **SETTINGS,
        **change,
    }
    with pytest.raises(InputError, match=message):
        RepresentationRecorder(tmp_path / "run", **arguments).record(small_model(), 0)
    assert not (tmp_path / "run").exists()


def test_another_model_than_the_first_is_refused(data, tmp_path):
    recorder = RepresentationRecorder(tmp_path, *data, **SETTINGS)
    recorder.record(small_model(), 0)
    with pytest.raises(InputError, match="one recorder a model"):
        recorder.record(small_model(name="other"), 1)


def test_images_left_out_are_told(data, tmp_path, capsys):
    x, y = data
    RepresentationRecorder(tmp_path, x[:70], y[:70], **SETTINGS).record(small_model(), 0)
    assert "6 evaluation images are left out: 64 are whole batches" in capsys.readouterr().out

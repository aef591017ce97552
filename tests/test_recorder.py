"""The callback: it records correct values once, and does not change the training."""

import contextlib
import io
import random
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import xarray as xr
from helpers import assert_fingerprint, assert_input_error, fingerprint_float64
from keras import layers
from sklearn.datasets import load_digits

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.measures.planes import plane_through
from repdyn_keras.measures.probe import solve_probe
from repdyn_keras.recording.constants import check_constants
from repdyn_keras.recording.inputs import indices_among
from repdyn_keras.recording.state import record_warnings
from repdyn_keras.recording.values import weights_hash

N, BATCH, LAST = 150, 32, 40
SETTINGS = {"planes": 3, "resolution": 20, "batch_size": BATCH}
SETTINGS |= {"drawn_planes": 2, "drawn_resolution": 60}
NORMALIZED = ["block1", "block02"]
HIDDEN = [*NORMALIZED, "block003"]


@pytest.fixture(scope="module")
def data():
    raw = load_digits()
    return (raw.images[:N, ..., None] / 8 - 1).astype("float32"), raw.target[:N].astype("int64")


class CountedLayer(layers.Layer):
    """Passes its input through, and counts its calls."""

    calls = 0

    def call(self, x):
        CountedLayer.calls += 1
        return x


def small_model(seed=0, dropout=0.3, name="small"):
    """Three recorded blocks that end in additions, two of them with BatchNormalization."""

    def init(name):
        return keras.initializers.HeNormal(seed=seed + len(name))

    images = keras.Input((8, 8, 1), name="images")
    x = layers.Conv2D(6, 3, padding="same", kernel_initializer=init("stem"), name="stem")(
        CountedLayer(name="traced")(images)
    )
    for block in NORMALIZED:
        y = layers.BatchNormalization(momentum=0.8, name=f"{block}_norm")(x)
        y = layers.ReLU(name=f"{block}_relu")(y)
        y = layers.Dense(6, kernel_initializer=init(block), name=f"{block}_dense")(y)
        x = layers.Add(name=block)([x, y])
    x = layers.Add(name="block003")([x, layers.ReLU()(x)])
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    head = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(images, layers.Dense(10, kernel_initializer=head, name="head")(x), name=name)


def fitted(x, y, callbacks, seed=7, epochs=LAST):
    keras.utils.set_random_seed(seed)
    model = small_model()
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, y, epochs=epochs, batch_size=BATCH, verbose=0, callbacks=callbacks)
    return model


def numbers_of(variables):
    return [keras.ops.convert_to_numpy(variable.value).copy() for variable in variables]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A recorded training with label noise, dropout and recalibrated BatchNormalization."""
    x, true = data
    given = np.where(np.arange(N) % 5 == 0, (true + 3) % 10, true)
    recorder = RepresentationRecorder(
        tmp_path_factory.mktemp("trained"),
        x[:140],
        given[:140],
        train=(x, given),
        true_labels=true,
        test=(x[::2], true[::2]),
        images_true_labels=true[:140],
        probe_images=135,
        epochs=[0, 5],
        batch_norm="recalibrate",
        **SETTINGS,
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        model = fitted(x, given, [recorder])
    return SimpleNamespace(
        model=model,
        recorder=recorder,
        given=given,
        printed=printed.getvalue(),
        epochs=recorder.folder.epochs(),
        record=recorder.folder.record(LAST),
        constants=recorder.folder.constants(),
    )


def in_training(model, x, tensors):
    """Values of tensors for a batch in training mode; changes the moving statistics."""
    found = keras.Model(model.inputs[0], tensors)(x, training=True)
    return [keras.ops.convert_to_numpy(t).astype(np.float64) for t in keras.tree.flatten(found)]


def moments(model, x):
    """The mean and variance of each BatchNormalization's input, over whole batches of images."""
    clone = small_model(dropout=0.0)
    clone.set_weights(model.get_weights())
    inputs = [clone.get_layer(f"{block}_norm").input for block in NORMALIZED]
    size = min(BATCH, len(x))
    starts = range(0, len(x) - size + 1, size)
    batches = [in_training(clone, x[start : start + size], inputs) for start in starts]
    return [np.concatenate(parts).reshape(-1, 6) for parts in zip(*batches, strict=True)]


@pytest.fixture(scope="module")
def recalibrated(trained):
    """The trained model with moments recomputed on the probe images."""
    model = small_model(dropout=0.0)
    model.set_weights(trained.model.get_weights())
    for block, seen in zip(
        NORMALIZED, moments(model, trained.recorder.settings.probes.fitted.x), strict=True
    ):
        norm = model.get_layer(f"{block}_norm")
        norm.moving_mean.assign(seen.mean(axis=0).astype("float32"))
        norm.moving_variance.assign(seen.var(axis=0).astype("float32"))
    hidden = [model.get_layer(name).output for name in HIDDEN]
    return keras.Model(model.inputs, [*hidden, *model.outputs])


def probes_of(record, widths, classes=10):
    """The stored probes as float64 pairs (kernel, bias)."""
    flat, found = record["probe_weights"].values.astype(np.float64), []
    for width in widths:
        kernel, bias, flat = np.split(flat, [classes * width, classes * (width + 1)])
        found.append((kernel.reshape(width, classes), bias))
    assert len(flat) == 0
    return found


# --- the training -----------------------------------------------------------------------------


def test_recording_leaves_the_training_bit_identical(trained, data):
    alone = fitted(data[0], trained.given, [])
    assert trained.epochs == [0, 5, LAST]
    for part in ("variables", "optimizer.variables"):
        one, other = (
            numbers_of(m.optimizer.variables if "." in part else m.variables)
            for m in (trained.model, alone)
        )
        assert len(one) == len(other) > 0
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=part)
    assert trained.recorder.folder.recorded_hash(LAST) == weights_hash(alone)


@pytest.mark.long
def test_a_different_seed_changes_the_training(trained, data):
    other = fitted(data[0], trained.given, [], seed=8)
    assert weights_hash(other) != weights_hash(trained.model)


# --- records ----------------------------------------------------------------------------------


def test_fingerprints_and_norms_equal_those_of_the_activations(trained, recalibrated):
    x = trained.recorder.settings.evaluation.x
    names = [*HIDDEN, "output"]
    assert trained.record["layer"].values.tolist() == names
    for name, activations in zip(names, recalibrated.predict(x, verbose=0), strict=True):
        here = trained.record.sel(layer=name)
        expected, norms = fingerprint_float64(activations, BATCH)
        # The moments are rounded to float32 at different places.
        error = np.linalg.norm(here["fingerprint"].values - expected)
        assert error <= 1e-4 * np.linalg.norm(expected), name
        np.testing.assert_allclose(here["norm"].values, norms, rtol=1e-4, err_msg=name)
    assert trained.record["finite"].values.tolist() == [1] * 4
    assert trained.record["dead"].values.tolist() == [0] * 4


def test_probes_are_optimal_and_have_the_accuracies_of_each_subset(trained, recalibrated, data):
    record, probed = trained.record, trained.recorder.settings.probes.fitted
    right, wrong = probed.y == probed.true, probed.y != probed.true
    assert 0 < wrong.sum() < right.sum() and len(probed.y) == 135
    assert trained.constants["probe_width"].values.tolist() == [6, 6, 6]
    *hidden, output = recalibrated.predict(probed.x, verbose=0)
    *hidden_test, output_test = recalibrated.predict(data[0][::2], verbose=0)
    logits, held_out = [], []
    for index, (kernel, bias) in enumerate(probes_of(record, [6, 6, 6])):
        features = hidden[index].mean(axis=(1, 2), dtype=np.float64)
        logits.append(features @ kernel + bias)
        held_out.append(hidden_test[index].mean(axis=(1, 2), dtype=np.float64) @ kernel + bias)
        scale = np.sqrt(np.sum(np.var(features, axis=0)))
        chance = np.log(np.exp(logits[-1]).sum(axis=1)) - logits[-1][np.arange(135), probed.y]
        objective = chance.mean() + 1e-3 / 2 * np.sum((kernel * scale) ** 2)
        here = record.isel(layer=index)
        assert here["probe_objective"].item() == pytest.approx(objective, rel=1e-4)
        gap = here["probe_gradient_norm"].item() ** 2 / 2e-3 / here["probe_objective"].item()
        assert here["probe_gap"].item() == pytest.approx(gap) and gap <= 1e-6
    subsets = trained.constants["subset"].values.tolist()
    assert subsets == ["train", "clean", "mislabeled_given", "mislabeled_true", "test"]
    for index, (fit, test) in enumerate(
        zip([*logits, output], [*held_out, output_test], strict=True)
    ):
        guess, test_guess = fit.argmax(axis=1), test.argmax(axis=1)
        expected = [
            np.mean(guess == probed.y),
            np.mean(guess[right] == probed.y[right]),
            np.mean(guess[wrong] == probed.y[wrong]),
            np.mean(guess[wrong] == probed.true[wrong]),
            np.mean(test_guess == data[1][::2]),
        ]
        np.testing.assert_allclose(record["probe_accuracy"].values[index], expected, atol=1e-12)
    assert record["accuracy_inference"].item() == record["probe_accuracy"].values[-1, 0]
    for name in ("probe_objective", "probe_gradient_norm", "probe_gap"):
        assert np.isnan(record[name].values[-1]), "the output has no probe"


def test_regions_equal_a_plain_loop_over_grid_points(trained, recalibrated):
    """Points are computed from the stored three images and their positions on the grid."""
    constants, found = trained.constants, trained.record["regions"].values
    assert found.shape == (4, 3, 20, 20)
    points = np.zeros((3, 20, 20, 8, 8, 1))
    for plane, row, column in np.ndindex(3, 20, 20):
        places = constants["plane_position"].values[plane]
        # Barycentric coordinates of this row and column with respect to the three images.
        shares = np.linalg.solve(np.vstack([places.T, np.ones(3)]), [row, column, 1])
        images = constants["plane_image"].values[plane].astype(np.float64)
        points[plane, row, column] = np.tensordot(shares, images, 1)
    *hidden, output = recalibrated.predict(points.reshape(-1, 8, 8, 1), verbose=0)
    logits = [
        x.mean(axis=(1, 2)) @ kernel + bias
        for x, (kernel, bias) in zip(hidden, probes_of(trained.record, [6, 6, 6]), strict=True)
    ]
    for maps, values in zip(found, [*logits, output], strict=True):
        second, first = np.sort(values, axis=1)[:, -2:].T
        clear = first - second > 1e-3
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(maps.ravel()[clear], values.argmax(axis=1)[clear])
    assert len(np.unique(found)) > 3


def test_drawn_grids_show_the_same_regions_at_more_points(trained):
    """Each point of the coarse grid is one of the fine grid, which has three times its points."""
    record = trained.record
    assert record["regions_drawn"].dims == ("layer", "plane_drawn", "row_drawn", "column_drawn")
    assert record["regions_drawn"].shape == (4, 2, 60, 60)
    same = record["regions_drawn"].values[..., 1::3, 1::3] == record["regions"].values[:, :2]
    assert same.mean() > 0.999, "coordinates are rounded at other places"
    assert trained.constants.attrs["drawn_planes"] == 2
    assert trained.constants.attrs["drawn_resolution"] == 60


def test_the_floor_is_the_agreement_with_probes_of_repeated_images(trained, recalibrated):
    """The bootstrap sample is drawn here, and its probes are solved from the start."""
    probed = trained.recorder.settings.probes.fitted
    rows = np.random.default_rng(31).integers(0, len(probed.y), len(probed.y))
    constants, found = trained.constants, trained.record["region_agreement_floor"].values
    assert np.isnan(found[-1]), "the output has no probe"
    order = {int(s): i for i, s in enumerate(constants["sample"].values)}
    evaluation = trained.recorder.settings.evaluation.x
    hidden = recalibrated.predict(probed.x, verbose=0)[:-1]
    same = np.zeros((3, 3))
    for plane in range(3):
        corners = [order[int(s)] for s in constants["plane_sample"].values[plane]]
        through = plane_through(evaluation[corners], 0.1)
        points = (through.origin + through.grid(20).reshape(-1, 2) @ through.axes).astype("float32")
        at_points = recalibrated.predict(points.reshape(-1, 8, 8, 1), verbose=0)[:-1]
        for layer, (x, point) in enumerate(zip(hidden, at_points, strict=True)):
            probe = solve_probe(x.mean(axis=(1, 2))[rows], probed.y[rows], 10)
            classes = probe.logits(point.mean(axis=(1, 2))).argmax(axis=1)
            recorded = trained.record["regions"].values[layer, plane].ravel()
            same[layer, plane] = np.mean(classes == recorded)
    np.testing.assert_allclose(found[:-1], same.mean(axis=1), atol=0.01)
    assert (found[:-1] < 0.99).all()


def test_planes_go_through_three_images_of_three_classes(trained):
    """The grid is their bounding box, widened by the margin on each side."""
    constants, evaluation = trained.constants, trained.recorder.settings.evaluation
    order = {int(s): i for i, s in enumerate(evaluation.ids)}
    for plane in range(3):
        here = constants.isel(plane=plane)
        corners = [order[int(sample)] for sample in here["plane_sample"].values]
        np.testing.assert_array_equal(here["plane_image"], evaluation.x[corners])
        np.testing.assert_array_equal(here["plane_label"], evaluation.true[corners])
        assert len(set(here["plane_label"].values.tolist())) == 3
        assert here["plane_image"].dims == ("corner", "height", "width", "channel")
        places = here["plane_position"].values
        np.testing.assert_allclose(places.min(axis=0), 20 * 0.1 / 1.2 - 0.5)
        np.testing.assert_allclose(places.max(axis=0), 20 * 1.1 / 1.2 - 0.5)


def test_images_are_shuffled_once_cut_to_whole_batches_and_have_ids(trained, data):
    recorder, evaluation = trained.recorder, trained.recorder.settings.evaluation
    np.testing.assert_array_equal(evaluation.x, data[0][evaluation.ids])
    np.testing.assert_array_equal(evaluation.given, trained.given[evaluation.ids])
    np.testing.assert_array_equal(evaluation.true, data[1][evaluation.ids])
    assert len(set(evaluation.ids)) == 128 and (np.diff(evaluation.ids) < 0).any()
    constants = trained.constants
    np.testing.assert_array_equal(constants["sample"], evaluation.ids)
    np.testing.assert_array_equal(constants["label_given"], evaluation.given)
    np.testing.assert_array_equal(constants["label_true"], evaluation.true)
    assert (constants.attrs["batch"], constants.attrs["n_classes"]) == (BATCH, 10)
    assert constants["epsilon"].values.tolist() == [2.0**-23] * 4
    labels = {
        image.tobytes(): pair for image, *pair in zip(data[0], trained.given, data[1], strict=True)
    }
    probed = recorder.settings.probes.fitted
    for image, *pair in zip(probed.x, probed.y, probed.true, strict=True):
        assert labels[image.tobytes()] == pair
    assert "12 evaluation images are left out: 128 are whole batches of 32" in trained.printed
    assert "recording 3 additions: block1, block02, block003; and output." in trained.printed


def test_images_are_found_among_others_only_if_all_pixels_are_equal(data):
    x = data[0][:20]
    given, others = x[[3, 5, 0, 3]].copy(), x[4:].copy()
    given[0, 0, 0] += 1
    assert indices_among(given, x).tolist() == [-1, 5, 0, 3]
    assert indices_among(given, others).tolist() == [-1, 1, -1, -1]
    assert indices_among(given.astype("float16"), x).tolist() == [-1] * 4
    assert indices_among(given[:, 1:], x).tolist() == [-1] * 4


@pytest.fixture(scope="module")
def single(trained, data, tmp_path_factory):
    """One record of the trained weights, without dropout and with moving statistics.

    The probes use a 2 x 2 grid, and other images, which are fewer than a batch.
    """
    x, y = data
    model = small_model(dropout=0.0)
    model.set_weights(trained.model.get_weights())
    recorder = RepresentationRecorder(
        tmp_path_factory.mktemp("single"),
        x[:64],
        layers=["pooled", "block02"],
        train=(x[80:100], y[80:100]),
        pooling=2,
        batch_size=BATCH,
    )
    before = random.getstate(), np.random.get_state()[1].copy(), weights_hash(model)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        recorder.record(model, 0)
    after = random.getstate(), np.random.get_state()[1].copy(), weights_hash(model)
    return SimpleNamespace(
        model=model, recorder=recorder, before=before, after=after, printed=printed.getvalue()
    )


def test_records_with_moving_statistics_equal_the_model_in_inference_mode(single):
    model, recorder = single.model, single.recorder
    record, probed = recorder.folder.record(0), recorder.settings.probes.fitted
    assert record["layer"].values.tolist() == ["block02", "pooled", "output"]
    taps = keras.Model(
        model.inputs, [model.get_layer("block02").output, model.get_layer("pooled").output]
    )
    for name, activations in zip(
        ("block02", "pooled"), taps.predict(recorder.settings.evaluation.x, verbose=0), strict=True
    ):
        found = record["fingerprint"].sel(layer=name).values
        assert_fingerprint(found, activations, BATCH, name)
    images, vectors = taps.predict(probed.x, verbose=0)
    quarters = images.reshape(20, 2, 4, 2, 4, 6).mean(axis=(2, 4)).reshape(20, 24)
    probes = probes_of(record, [24, 6])
    for index, x in enumerate((quarters, vectors)):
        guess = (x @ probes[index][0] + probes[index][1]).argmax(axis=1)
        accuracy = record["probe_accuracy"].values[index]
        assert accuracy[0] == pytest.approx(np.mean(guess == probed.y))
        assert np.isnan(accuracy[1:]).all(), "no true labels, no test images"
    assert "regions" not in record


def test_training_accuracy_and_moments_equal_those_of_batches(single):
    model, recorder = single.model, single.recorder
    x, y = recorder.settings.probes.fitted.x, recorder.settings.probes.fitted.y
    clone = small_model(dropout=0.0)
    clone.set_weights(model.get_weights())
    output = in_training(clone, x, clone.outputs)[0]
    record = recorder.folder.record(0)
    assert record["accuracy_training"].item() == np.mean(output.argmax(axis=1) == y)


def test_recording_does_not_change_weights_and_global_random_state(single):
    assert single.before[0] == single.after[0]
    np.testing.assert_array_equal(single.before[1], single.after[1])
    assert single.before[2] == single.after[2]


# --- warnings ---------------------------------------------------------------------------------


def test_dead_and_non_finite_layers_are_reported_and_nan(trained, capsys):
    """Afterwards, the original state is recorded as before."""
    model, recorder = trained.model, trained.recorder
    good = model.get_weights()
    try:
        for epoch, value in ((50, 0.0), (51, np.nan)):
            model.set_weights([np.full_like(weight, value) for weight in good])
            recorder.record(model, epoch)
    finally:
        model.set_weights(good)
    # Dropout in a record does not depend on earlier draws of the training.
    seeds = [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    for seed in seeds:
        seed.assign(keras.ops.add(seed.value, 3))
    recorder.record(model, 52)
    printed = capsys.readouterr().out
    for name in HIDDEN:
        assert f"layer {name!r} is constant over the 128 images at epoch 50" in printed
        assert f"layer {name!r} has NaN or infinite activations at epoch 51" in printed
    assert "lags" not in printed
    dead, bad, again = (recorder.folder.record(epoch) for epoch in (50, 51, 52))
    assert dead["dead"].values.tolist() == [1] * 4 and dead["finite"].values.tolist() == [1] * 4
    assert bad["dead"].values.tolist() == [0] * 4 and bad["finite"].values.tolist() == [0] * 4
    assert (bad["regions"].values == 255).all()
    for name in ("probe_accuracy", "probe_objective", "probe_weights"):
        assert np.isnan(bad[name].values).all(), name
        assert bad[name].shape == dead[name].shape, name
    xr.testing.assert_identical(again.drop_attrs(), trained.record.drop_attrs())
    found = open_run(recorder.folder.path).dynamics
    for name in HIDDEN:
        matrix = found["cka"].sel(layer=name, epoch=[50, 51]).values
        assert np.isnan(matrix).all()
        pair = found["cka"].sel(layer=name, epoch=LAST, epoch_other=52).item()
        assert pair == pytest.approx(1, abs=1e-6)


def test_lagging_batch_normalization_is_reported_once(single, capsys):
    model, recorder = single.model, single.recorder
    good = model.get_weights()
    try:
        for block in NORMALIZED:
            norm = model.get_layer(f"{block}_norm")
            norm.moving_mean.assign(norm.moving_mean + 5.0)
        recorder.record(model, 30)
        recorder.record(model, 31)
    finally:
        model.set_weights(good)
    printed = single.printed + capsys.readouterr().out
    assert printed.count("BatchNormalization lags") == 1


def test_an_accuracy_gap_above_a_tenth_is_reported_with_moving_statistics():
    def keys(training, inference, is_moving=True):
        record = xr.Dataset(
            {
                "norm": (("layer", "square"), np.ones((1, 3))),
                "finite": (("layer",), [1]),
                "dead": (("layer",), [0]),
                "accuracy_training": ((), training),
                "accuracy_inference": ((), inference),
            },
            coords={"layer": ["a"]},
        )
        return [key for key, _ in record_warnings(record, 3, 64, is_moving)]

    assert keys(0.7, 0.5) == keys(0.5, 0.7) == ["gap"]
    assert keys(0.5, 0.45) == keys(0.7, 0.5, is_moving=False) == []


# --- cost of recording ------------------------------------------------------------------------


def arrays(value, seen):
    """Bytes of all NumPy arrays that a recorder holds, except those of models."""
    if id(value) in seen or isinstance(value, keras.layers.Layer | str | type):
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(arrays(v, seen) for v in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return sum(arrays(v, seen) for v in value)
    return arrays(vars(value), seen) if hasattr(value, "__dict__") else 0


def test_further_epochs_cause_no_traces_and_hold_no_more_arrays(single):
    sizes, calls = [], []
    for epoch in range(40, 43):
        before = CountedLayer.calls
        single.recorder.record(single.model, epoch)
        sizes.append(arrays(single.recorder, set()))
        calls.append(CountedLayer.calls - before)
    assert sizes[0] > single.recorder.settings.evaluation.x.nbytes and len(set(sizes)) == 1
    if keras.backend.backend() != "torch":
        assert calls == [0, 0, 0]


# --- one folder, one training -----------------------------------------------------------------


def test_existing_records_are_kept_and_other_trainings_rejected(trained, data):
    model, recorder = trained.model, trained.recorder
    file = recorder.folder.record_file(LAST)
    before = file.read_bytes()
    recorder.record(model, LAST)
    good = model.get_weights()
    model.set_weights([weight + 0.5 for weight in good])
    assert_input_error("weights", "another training", recorder.record, model, LAST)
    model.set_weights(good)
    assert_input_error("model", "one recorder per model", recorder.record, small_model(), 1)
    for images in (data[0] + 1, data[0]):
        other = RepresentationRecorder(recorder.folder.path, images, data[1], **SETTINGS)
        message = assert_input_error("images", "another recording", other.record, model, 1)
    assert "images_hash" in message and "batch_norm" in message
    assert file.read_bytes() == before
    assert 1 not in recorder.folder.epochs()


def test_images_that_were_drawn_by_given_label_are_explained(trained, tmp_path):
    stored = trained.recorder.folder.constants()
    stored["label_given"] = stored["label_true"].roll(image=1)
    del stored.attrs["schema_version"]
    now = stored.assign(sample=stored["sample"].roll(image=1))
    words = r"different sample, perhaps of an earlier version .* by given label .* by true label"
    assert_input_error("images", words, check_constants, stored, now, tmp_path)


# --- small networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    """A Sequential model that compiles quickly."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(name="flat"),
            layers.Dense(6, activation="relu", name="first"),
            layers.Dense(5, activation="relu", name="second"),
            layers.Dense(10, name="last"),
        ],
        name="plain",
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class StopAfterTwo(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


def test_the_start_the_schedule_and_the_last_state_are_recorded(plain, data, tmp_path, capsys):
    """Without labels, only fingerprints are recorded."""
    for name, epochs, callbacks, options, expected in [
        ("schedule", [2], [], {"epochs": 5, "initial_epoch": 1}, [1, 2, 5]),
        ("stopped", [0], [StopAfterTwo()], {"epochs": 9}, [0, 2]),
    ]:
        recorder = RepresentationRecorder(tmp_path / name, data[0], epochs=epochs, batch_size=75)
        plain.fit(*data, verbose=0, callbacks=[recorder, *callbacks], batch_size=75, **options)
        assert recorder.folder.epochs() == expected, name
        assert recorder.folder.recorded_hash(expected[-1]) == weights_hash(plain), name
    record = recorder.folder.record(2)
    assert {"fingerprint", "norm"} <= set(record.data_vars)
    assert not {"probe_accuracy", "accuracy_training", "regions"} & set(record.data_vars)
    printed = capsys.readouterr().out
    assert "2 layers with weights: first, second; and output." in printed
    assert "no labels given: only fingerprints" in printed
    assert {"cka", "phase", "synchronization"} <= set(open_run(tmp_path / "stopped").dynamics)


def test_labels_may_be_one_hot_and_planes_need_labels_of_the_images(plain, data, tmp_path, capsys):
    x, y = data
    rows = np.eye(10)[y]
    recorder = RepresentationRecorder(tmp_path / "one", x, train=(x, rows), batch_size=75)
    recorder.record(plain, 0)
    record = recorder.folder.record(0)
    guess = plain.predict(x, verbose=0).argmax(axis=1)
    assert record["accuracy_inference"].item() == pytest.approx(np.mean(guess == y))
    assert "regions" not in record and "accuracy_training" not in record
    assert "no labels of the evaluation images given" in capsys.readouterr().out
    unfitted = RepresentationRecorder(tmp_path / "two", x, images_true_labels=y, batch_size=75)
    unfitted.build(plain)
    assert not unfitted.settings.has_planes and not unfitted.build(plain).planes
    both = RepresentationRecorder(tmp_path / "three", x, rows, batch_size=75, planes=1)
    both.record(plain, 0)
    assert "no train=(x, y) given: probes are fitted on the evaluation" in capsys.readouterr().out
    assert both.folder.constants().sizes["plane"] == 1


def test_true_labels_of_the_images_draw_the_same_images_whatever_the_noise(data, tmp_path):
    x, true = data
    noisy = np.where(np.arange(N) % 3 == 0, (true + 1) % 10, true)
    known = {"images_true_labels": true, "probe_images": N // 2, **SETTINGS}
    clean, wrong = (
        RepresentationRecorder(tmp_path / "run", x, each, **known).settings
        for each in (true, noisy)
    )
    np.testing.assert_array_equal(wrong.evaluation.ids, clean.evaluation.ids)
    fitted = wrong.probes.fitted
    np.testing.assert_array_equal(fitted.ids, clean.probes.fitted.ids)
    np.testing.assert_array_equal(fitted.true, true[fitted.ids])
    np.testing.assert_array_equal(fitted.y, noisy[fitted.ids])
    given = RepresentationRecorder(tmp_path / "given", x, noisy, probe_images=N // 2, **SETTINGS)
    assert not np.array_equal(given.settings.probes.fitted.ids, fitted.ids)


@pytest.mark.long
@pytest.mark.parametrize("pooling", ["flatten", 3])
def test_other_poolings_widen_the_probes(data, tmp_path, pooling):
    x, y = data
    recorder = RepresentationRecorder(tmp_path, x, y, layers="block1", pooling=pooling, **SETTINGS)
    model = small_model()
    recorder.record(model, 0)
    assert recorder.build(model).widths == [6 * (64 if pooling == "flatten" else 9)]
    assert recorder.folder.record(0)["probe_accuracy"].values[0, 0] > 0.9


# --- bad input ----------------------------------------------------------------------------------


def dense(units, **more):
    """Weights are zeros, since jax would compile each random draw."""
    return layers.Dense(units, kernel_initializer="zeros", **more)


def nested_model():
    inner = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(name="deep")], name="inner")
    images = keras.Input((8, 8, 1))
    x = dense(8, name="outer")(inner(images))
    return keras.Model(images, dense(10, name="head")(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = dense(10)

    def call(self, x):
        return self.dense(layers.Flatten()(x))


class OverriddenCall(keras.Model):
    """A functional model whose `call` differs from its graph."""

    def call(self, x):
        return super().call(x * 0)


def hidden_output_model():
    images = keras.Input((8, 8, 1))
    x = dense(8, name="output")(layers.Flatten()(images))
    return keras.Model(images, dense(10, name="head")(x))


def flattening_model(build=keras.Model, outputs=1):
    images = keras.Input((8, 8, 1))
    x = layers.Flatten(name="flat")(images)
    found = [dense(10)(x) for _ in range(outputs)]
    return build(images, found if outputs > 1 else found[0])


def two_inputs_model():
    images = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    return keras.Model(images, dense(10)(layers.Flatten()(layers.Add()(images))))


def test_a_model_or_layer_that_cannot_be_recorded_is_rejected(data, plain, tmp_path):
    cases = [
        (plain, {"layers": ["frist"]}, "Unknown layer.* nearest: first. Received: 'frist'"),
        (plain, {"layers": "stage.*"}, "that matches .*, nearest: .*Received: 'stage.*'"),
        (plain, {"layers": "block("}, r"Expected a regular expression.*'block\(' \("),
        (plain, {"layers": []}, r"at least one name.*layers=\[\]"),
        (plain, {"layers": ["last"]}, "Expected hidden layers.*Received: 'last', the output"),
        (nested_model(), {"layers": ["deep"]}, "full name .*: inner/deep. Received: 'deep'"),
        (nested_model(), {"layers": "deep"}, "full name .*: inner/deep. Received: 'deep'"),
        (flattening_model(), {}, "hidden layer with weights.*without one.*from: flat"),
        (
            flattening_model(OverriddenCall),
            {},
            "hidden layer with weights.*without one.*from: flat",
        ),
        (Subclassed(), {}, r"Expected a built model.*\(Subclassed\), which was never called"),
        (keras.Sequential([layers.Flatten(), layers.Dense(10)]), {}, "Expected a built model"),
        (hidden_output_model(), {}, "names other than 'output'.*'head'.*: a layer of"),
        (flattening_model(outputs=2), {}, "the name of the output .* has 2 outputs: "),
        (two_inputs_model(), {}, "images as 2 arrays, the inputs of the model .*Received: 1"),
        (layers.Dense(3), {}, "Expected a keras.Model.*Received: .* Dense"),
    ]
    for model, options, message in cases:
        recorder = RepresentationRecorder(tmp_path / "run", *data, **SETTINGS, **options)
        assert_input_error(message, message, recorder.record, model, 0)
        assert not (tmp_path / "run").exists()


def test_data_and_settings_that_do_not_fit_are_rejected(plain, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype("float32")
    y = np.arange(40)
    cases = [
        ({"images": np.stack([np.full((9, 9, 1), i) for i in y])},
         "of shape 8 x 8 x 1, .*the model 'plain'. Received: images of shape 9 x 9 x 1"),
        ({"labels": y % 12}, "labels from 0 to 9: .* 10 classes. Received: labels up to 11"),
        ({"labels": y % 11}, "labels from 0 to 9: .* 10 classes. Received: labels up to 10"),
        ({"labels": np.arange(39) % 10}, r"for 40 images.*of shape \(39,\)"),
        ({"labels": y % 10 - 1}, "as whole numbers from 0"),
        ({"labels": np.full((40, 10), 0.1)}, r"Expected one-hot.*shape \(40, 10\)"),
        ({"images": np.full((40, 8, 8, 1), np.nan)}, "NaN or infinite"),
        ({"images": np.array(["a"] * 40)}, "Expected images as numbers"),
        ({"images": x[:0]}, r"Expected images as numbers.*shape \(0, 8, 8, 1\)"),
        ({"batch_size": 3}, "at least 4.*n = 40, batch_size = 3"),
        ({"planes": -1}, "at least 0 for planes. Received: planes=-1"),
        ({"planes": True}, "Received: planes=True"),
        ({"resolution": 1}, "at least 2 for resolution. Received: resolution=1"),
        ({"probe_images": 0}, "at least 1 for probe_images. Received: probe_images=0"),
        ({"margin": -0.5}, "Received: margin=-0.5"),
        ({"margin": np.inf}, "Received: margin=inf"),
        ({"pooling": "max"}, "Unknown pooling.*Received: 'max'"),
        ({"pooling": 0}, "Unknown pooling.*Received: '0'"),
        ({"batch_norm": "batch"}, "Unknown batch_norm.*Received: 'batch'"),
        ({"epochs": "every"}, "Unknown epochs.*Received: 'every'"),
        ({"epochs": [1, -2]}, "Expected 'log'"),
        ({"epochs": 0}, "Expected 'log'"),
        ({"train": np.zeros(3)}, "Expected train as a pair.*Received: .* ndarray"),
        ({"test": (np.zeros((5, 9, 9, 1)), np.zeros(5))}, "Received: test images of shape 9"),
        ({"sample_ids": np.zeros(40)}, r"sample_ids of shape \(40,\), all .*Received: 1 different"),
    ]  # fmt: skip

    def recorded_plain(given):
        RepresentationRecorder(tmp_path / "run", **given).record(plain, 0)

    for change, message in cases:
        given = {"images": x, "labels": y % 10, **SETTINGS, **change}
        assert_input_error(change, message, recorded_plain, given)
        assert not (tmp_path / "run").exists()

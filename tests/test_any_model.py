"""Recording of arbitrary Keras models."""

from collections import OrderedDict

import keras
import numpy as np
import pytest
from helpers import assert_fingerprint, assert_input_error, fingerprint_float64
from keras import layers

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.recording.network.head import find_head
from repdyn_keras.recording.network.layer_choice import choose_layers, recordable
from repdyn_keras.recording.network.model_inputs import is_continuous, own_inputs
from repdyn_keras.recording.network.taps import TappedCall
from repdyn_keras.recording.network.tracing import traced
from repdyn_keras.recording.state import Stopwatch, measure
from repdyn_keras.recording.values import ModelValues

BACKEND = keras.backend.backend()
SETTINGS = {"planes": 2, "resolution": 4, "batch_size": 8}


def pictures(n=16, shape=(32, 32, 3), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, *shape)).astype("float32"), np.arange(n) % classes


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight.value).copy() for weight in model.weights]


def same_arrays(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def recorded(folder, model, x, y=None, **options):
    """Records the current state of the model as epoch 0; returns recorder and record."""
    recorder = RepresentationRecorder(folder, x, y, **{**SETTINGS, **options})
    recorder.record(model, 0)
    return recorder, recorder.folder.record(0)


def built(folder, model, x, y=None, **options):
    """A recorder that is built for the model and has recorded nothing."""
    recorder = RepresentationRecorder(folder, x, y, **{**SETTINGS, **options})
    recorder.build(model)
    return recorder


def operation(model, name):
    """A layer or operation of a functional model."""
    return next(each for each in model.operations if each.name == name)


def outputs_of(model, names):
    """The output tensors of layers of a functional model, by name."""
    return {name: operation(model, name).output for name in names}


def is_sum_of_two(op):
    return len(op._inbound_nodes[0].input_tensors) == 2


def head_of(model, output=None):
    """The recorded output of a functional model."""
    return find_head(traced(model, own_inputs(model)), output)


def layers_of(model, output=None):
    """The names of the layers of a functional model that can be recorded."""
    trace = traced(model, own_inputs(model))
    return list(recordable(trace, find_head(trace, output)))


def check_against_features(recorder, record, tensors, *, deep=False):
    """Checks stored fingerprints against the model's tensors, computed in float64."""
    x, batch = recorder.settings.evaluation.x, recorder.settings.evaluation.batch
    together = keras.Model(recorder.measurement.model.inputs, list(tensors.values()))
    found = together.predict(x, verbose=0) if deep else together(x, training=False)
    for name, features in zip(tensors, keras.tree.flatten(found), strict=True):
        stored = record["fingerprint"].sel(layer=name).values
        features = keras.ops.convert_to_numpy(features)
        (about_the_same if deep else assert_fingerprint)(stored, features, batch, name)


def about_the_same(stored, features, batch, name):
    """Checks approximate equality, since rounding errors grow from layer to layer."""
    wanted = fingerprint_float64(features, batch)[0]
    cosine = stored @ wanted / np.linalg.norm(stored) / np.linalg.norm(wanted)
    assert cosine == pytest.approx(1, abs=1e-4), name
    assert np.linalg.norm(stored) == pytest.approx(np.linalg.norm(wanted), rel=0.02), name


APPLICATIONS = {
    "ResNet50V2": ("conv2_block1_out", "conv5_block3_out"),
    "MobileNetV3Small": ("expanded_conv_2_add", "expanded_conv_10_add"),
    "EfficientNetV2B0": ("block2b_add", "block6h_add"),
    "ConvNeXtTiny": ("add", "add_17"),
}


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "torch", reason="takes minutes where networks are compiled")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_applications(name, tmp_path):
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), classes=4)
    x, y = pictures(8)
    before = weights_of(model)
    recorder, record = recorded(tmp_path, model, 127 * (x + 1), y)
    chosen = record["layer"].values.tolist()
    first, last = APPLICATIONS[name]
    assert {first, last} <= set(chosen)
    tensors = {layer: operation(model, layer).output for layer in (first, last)}
    check_against_features(recorder, record, tensors, deep=True)
    assert int(record["finite"].sum()) == len(chosen)
    assert record["probe_accuracy"].sel(layer=last).values[0] == 1
    assert record["regions"].shape == (len(chosen), 2, 4, 4)
    assert same_arrays(before, weights_of(model))


# --- outputs ----------------------------------------------------------------------------------


def two_headed():
    images = keras.Input((8, 8, 1))
    z = layers.Dense(16, activation="relu", name="trunk")(layers.Flatten()(images))
    digit = layers.Dense(4, name="digit")(z)
    return keras.Model(images, {"b": digit, "a": layers.Dense(1, "sigmoid", name="parity")(z)})


def test_one_of_two_outputs_is_recorded_by_its_name(tmp_path, capsys):
    model = two_headed()
    x, y = pictures(32, (8, 8, 1))
    options = {"layers": ["trunk", "parity"], "output": "digit", "test": (x[:9], y[:9])}
    recorder, record = recorded(tmp_path, model, x, y, planes=0, **options)
    assert record["layer"].values.tolist() == ["trunk", "parity", "output"]
    assert "digit" not in layers_of(model, "digit")
    digit, trunk = (model.get_layer(name).output for name in ("digit", "trunk"))
    check_against_features(recorder, record, {"trunk": trunk, "output": digit})
    logits = keras.Model(model.inputs[0], digit).predict(x, verbose=0)
    assert record["accuracy_inference"].item() == np.mean(logits.argmax(axis=1) == y)
    held_out = np.mean(logits[:9].argmax(axis=1) == y[:9])
    assert record["probe_accuracy"].sel(layer="output").values[-1] == pytest.approx(held_out)
    assert "and output (digit)." in capsys.readouterr().out
    for options, message in [
        ({}, "the name of the output .* has 2 outputs: parity, digit"),
        ({"output": "digits"}, "Unknown output. .*digit.* Received: 'digits'"),
        ({"output": "digit", "layers": ["digit"]}, "Received: 'digit', the output of the model"),
    ]:
        assert_input_error(options, message, built, tmp_path / "no", model, x, y, **options)
    assert not (tmp_path / "no").exists()


def headed(*behind, ordered=None):
    """A model with 8 inputs, one hidden layer, and these layers at its end."""
    images = keras.Input((8,))
    init = keras.initializers.GlorotUniform(seed=1)
    z = layers.Dense(4, kernel_initializer=init, name="hidden")(images)
    if ordered:
        return keras.Model(images, OrderedDict((key, last(z)) for key, last in ordered.items()))
    for layer in behind:
        z = layer(z)
    return keras.Model(images, z)


def unit(activation=None):
    init = keras.initializers.GlorotUniform(seed=4)
    return layers.Dense(1, activation=activation, kernel_initializer=init, name="unit")


def test_find_head_by_key_with_classes_and_activation():
    model = two_headed()
    one, other = head_of(model, "a"), head_of(model, "parity")
    assert (one.name, one.path, one.index, one.count) == ("parity", ("a",), 0, 2)
    assert (other.name, other.path, other.tensor.shape) == ("parity", ("a",), (None, 1))
    ordered = headed(ordered={"c": layers.Dense(3), "a": layers.Dense(2)})
    assert {key: head_of(ordered, key).classes for key in ("c", "a")} == {"c": 3, "a": 2}
    sigmoid, linear = layers.Activation("sigmoid"), layers.Activation("linear")
    for behind, activation, threshold in [
        ([unit("sigmoid")], "sigmoid", 0.5),
        ([unit()], "linear", 0),
        ([unit(), sigmoid, linear], "sigmoid", 0.5),
        ([unit("hard_sigmoid")], "hard_sigmoid", 0.5),
        ([unit("sigmoid"), layers.Reshape((1,))], "sigmoid", 0.5),
    ]:
        head = head_of(headed(*behind))
        found = (
            head.activation,
            head.threshold,
            head.classes,
            head.is_single,
            head.has_known_activation,
        )
        assert found == (activation, threshold, 2, True, True)
        scores = keras.ops.convert_to_numpy(head.scores(np.array([[0.75], [-1.0]], "float32")))
        np.testing.assert_allclose(scores, [[0, 0.75 - threshold], [0, -1 - threshold]])
    softmax = head_of(headed(layers.Dense(5, activation="softmax")))
    assert (softmax.classes, softmax.is_single, softmax.activation) == (5, False, "softmax")
    assert not head_of(headed(unit("relu"))).has_known_activation
    nested = head_of(headed(keras.Sequential([keras.Input((4,)), layers.Dense(2, "tanh")])))
    assert (nested.classes, nested.activation, nested.is_single) == (2, "tanh", False)


def test_a_single_unit_is_recorded_as_two_classes(tmp_path, capsys):
    model = headed(unit("sigmoid"))
    x, y = pictures(32, (8,), classes=2)
    recorder, record = recorded(tmp_path, model, x, y, planes=0, layers=["hidden"])
    guess = model.predict(x, verbose=0)[:, 0] > 0.5
    assert 0 < guess.mean() < 1
    assert record["accuracy_inference"].item() == np.mean(guess == y)
    assert recorder.folder.constants().attrs["n_classes"] == 2
    assert "class 1 above 0.5" in capsys.readouterr().out


def test_labels_that_do_not_fit_the_output_are_rejected(tmp_path):
    x, y = pictures(32, (8,), classes=2)
    model = headed(unit("relu"))
    message = "probability or a logit. Received: 'unit' .* 'relu'.*the labels"
    assert_input_error(message, message, built, tmp_path, model, x, y)
    assert built(tmp_path, model, x).build(model).names == ["hidden", "output"]


# --- embeddings -------------------------------------------------------------------------------


class LookupLayer(layers.Layer):
    """A custom layer that contains an Embedding."""

    def __init__(self, **options):
        super().__init__(**options)
        self.words = layers.Embedding(50, 4, embeddings_initializer="zeros")

    def call(self, x):
        return self.words(x)


def takes_numbers(model):
    trace = traced(model, own_inputs(model))
    return is_continuous(trace, trace.inputs)


def test_models_with_embeddings_have_no_continuous_input():
    def embedding(width=4):
        return layers.Embedding(50, width, embeddings_initializer="zeros")

    def dense(units=4):
        return layers.Dense(units, kernel_initializer="zeros")

    def model(made, dtype="float32"):
        words = keras.Input((6,), dtype=dtype)
        return keras.Model(words, dense(2)(layers.Flatten()(made(words))))

    nested = keras.Sequential([keras.Input((6,)), embedding(), layers.Flatten()])
    for case, made, expected in [
        ("direct", embedding(), False),
        ("layer", LookupLayer(), False),
        ("nested", nested, False),
        ("reshaped", lambda z: embedding()(layers.Reshape((6,))(z)), False),
        ("beside", lambda z: embedding()(dense(6)(z)), True),
        ("nested numbers", keras.Sequential([keras.Input((6,)), dense()]), True),
        ("dense", dense(), True),
    ]:
        assert takes_numbers(model(made)) == expected, case
    whole = keras.Input((6,), dtype="int32")
    assert not takes_numbers(keras.Model(whole, layers.Rescaling(0.5)(whole)))


def text_classifier(dtype="int32", attends=False):
    words = keras.Input((None,), dtype=dtype)
    z = layers.Embedding(50, 8, name="words")(words)
    if attends:
        attended = layers.MultiHeadAttention(2, 4, name="attention")(z, z)
        z = layers.Add(name="block")([z, attended])
    z = layers.GlobalAveragePooling1D(name="mean")(z)
    return keras.Model(words, layers.Dense(2)(z))


TEXTS, KINDS = np.random.default_rng(0).integers(0, 50, (32, 12)), np.arange(32) % 2


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_text_classifier_is_recorded_without_planes(tmp_path, dtype):
    keras.utils.set_random_seed(4)
    model = text_classifier(dtype, attends=True)
    names = ["words", "attention", "block", "mean"]
    recorder, record = recorded(tmp_path, model, TEXTS, KINDS, layers=names)
    assert "regions" not in record
    assert record["probe_accuracy"].sel(layer="block").notnull().any()
    check_against_features(recorder, record, outputs_of(model, names))
    assert "regions" not in open_run(tmp_path).dynamics


def test_a_text_classifier_reports_missing_planes_once_and_cannot_be_flattened(tmp_path, capsys):
    model = text_classifier()
    recorder = built(tmp_path / "mean", model, TEXTS, KINDS, layers=["words"])
    for _ in range(2):
        recorder.record(model, 0)
    assert capsys.readouterr().out.count("no decision regions are recorded") == 1
    assert recorder.build(model).planes == []
    assert "plane" not in recorder.folder.constants().dims
    message = "train images of size 12, as images, for pooling='flatten'. Received: 9"
    options = {"layers": ["words"], "pooling": "flatten"}
    assert built(tmp_path / "all", model, TEXTS, KINDS, **options).build(model).widths == [96]
    options["train"] = TEXTS[:, :9], KINDS
    assert_input_error("flatten", message, built, tmp_path, model, TEXTS, KINDS, **options)


@pytest.mark.long
def test_models_for_images_of_any_size_have_regions(tmp_path):
    images = keras.Input((None, None, 3))
    z = layers.Conv2D(4, 3, name="early")(images)
    z = layers.GlobalAveragePooling2D(name="pooled")(z)
    x, y = pictures(16, (9, 7, 3))
    _, record = recorded(tmp_path, keras.Model(images, layers.Dense(4)(z)), x, y)
    assert record["regions"].shape == (2, 2, 4, 4)


# --- the choice of layers -----------------------------------------------------------------------


def test_additions_are_recorded_however_they_are_written(tmp_path):
    images = keras.Input((8,))
    z = layers.Dense(6, name="first")(images)
    for index in range(3):
        z = z + layers.Dense(6, name=f"step{index}")(z)
        z = keras.ops.add(z, 0.5)
    model = keras.Model(images, layers.Dense(4)(z))
    recorder, record = recorded(tmp_path, model, pictures(32, (8,))[0])
    names = record["layer"].values.tolist()
    assert len(names) == 4
    # Additions of a constant have only one tensor.
    assert len(layers_of(model)) == 7
    sums = [op for op in model.operations if type(op).__name__ == "Add" and is_sum_of_two(op)]
    check_against_features(
        recorder, record, {name: op.output for name, op in zip(names, sums, strict=False)}
    )


def test_convolutions_of_small_images_are_recorded_as_they_are(tmp_path):
    """For images of at most 2 x 2; convolutions with dilation or groups are not rewritten."""
    images = keras.Input((2, 2, 4))
    z = layers.Conv2D(4, 3, padding="same", activation="tanh", name="same")(images)
    z = layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="dilated")(z)
    z = layers.Conv2D(4, 3, padding="same", groups=2, name="groups")(z)
    z = layers.Conv2D(4, 3, strides=2, padding="same", name="strides")(z)
    model = keras.Model(images, layers.Flatten()(z))
    recorder, record = recorded(tmp_path, model, pictures(16, (2, 2, 4))[0])
    names = ["same", "dilated", "groups", "strides"]
    assert record["layer"].values.tolist() == [*names, "output"]
    check_against_features(recorder, record, outputs_of(model, names))


def backbone():
    init = iter(keras.initializers.GlorotUniform(seed=100 + i) for i in range(9))
    images = keras.Input((8, 8, 1), name="pictures")
    z = layers.Flatten()(images)
    z = layers.Dense(6, kernel_initializer=next(init), name="first")(z)
    for index in range(3):
        y = layers.BatchNormalization(name=f"norm{index}")(z)
        y = layers.Dense(6, activation="relu", kernel_initializer=next(init))(y)
        z = layers.Add(name=f"block{index}")([z, y])
    return keras.Model(images, layers.ReLU(name="last")(z), name="backbone")


def fine_tuned(trainable, **call):
    body = backbone()
    body.trainable = trainable
    images = keras.Input((8, 8, 1))
    z = body(images, **call)
    init = keras.initializers.GlorotUniform(seed=9)
    z = layers.Dense(8, activation="relu", kernel_initializer=init, name="neck")(z)
    return keras.Model(images, layers.Dense(4, kernel_initializer=init, name="head")(z)), body


def test_layers_inside_a_nested_model_are_recorded_by_their_full_names(tmp_path):
    model, body = fine_tuned(False, training=False)
    recorder, record = recorded(tmp_path, model, pictures(32, (8, 8, 1))[0])
    names = [f"block{i}" for i in range(3)]
    assert record["layer"].values.tolist() == [*(f"backbone/{name}" for name in names), "output"]
    inner = keras.Model(body.inputs[0], [body.get_layer(name).output for name in names])
    for name, features in zip(names, inner(recorder.settings.evaluation.x), strict=True):
        stored = record["fingerprint"].sel(layer=f"backbone/{name}").values
        assert_fingerprint(stored, keras.ops.convert_to_numpy(features), 8, name)
    # The model is unchanged: a layer with a second node would be rejected.
    assert body.get_layer("block1").output is not None
    assert model.get_layer("backbone").output.shape == (None, 6)


def test_layers_of_models_nested_twice_and_of_nested_sequentials():
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, name="deep"), layers.ReLU(name="relu")], name="inner"
    )
    middle_in = keras.Input((8,))
    middle = keras.Model(middle_in, layers.Dense(5, name="after")(inner(middle_in)), name="middle")
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="first"), middle])
    model.add(layers.Dense(4, name="head"))
    inside = ["inner/deep", "inner/relu", "inner", "after"]
    names = ["first", *(f"middle/{name}" for name in inside), "middle"]
    assert layers_of(model) == names
    trace = traced(model, own_inputs(model))
    chosen, how = choose_layers(trace, ".*(deep|first)", find_head(trace))
    assert list(chosen) == ["first", "middle/inner/deep"]
    assert how == "2 layers that match '.*(deep|first)': first, middle/inner/deep; and output"
    x = pictures(32, (8,))[0]
    taps = [(tap.call.operation, tap.call.number, tap.path) for tap in chosen.values()]
    found, _ = TappedCall(model, taps)(x)
    first = model.layers[0](x)
    for one, other in zip(found, (first, inner.layers[0](first)), strict=True):
        pair = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6)


class OverriddenCall(keras.Model):
    """A functional model whose `call` differs from its graph."""

    def call(self, x):
        return super().call(x * 0)


def test_the_last_layer_of_a_nested_model_is_recorded_unless_it_is_the_output():
    images = keras.Input((8, 8, 1))
    names = layers_of(keras.Model(images, backbone()(layers.Identity()(images))))
    assert "backbone/block2" in names
    assert not {"backbone/last", "backbone"} & set(names)
    images = keras.Input((8, 8, 1))
    z = backbone()(images)
    model = keras.Model(images, {"x": layers.Dense(4, name="head")(z), "y": z})
    assert {"backbone/last", "backbone"} <= set(layers_of(model, "x"))
    assert "backbone/last" not in layers_of(model, "y")
    # A nested model that overrides `call` shows what it calls.
    images, outer = keras.Input((8,)), keras.Input((8,))
    hidden = OverriddenCall(
        images, layers.Dense(4)(layers.Dense(5, name="deep")(images)), name="own"
    )
    z = layers.Dense(6, name="outside")(hidden(outer))
    assert layers_of(keras.Model(outer, layers.Dense(4)(z))) == [
        "own/deep",
        "own/dense",
        "own",
        "outside",
    ]


# --- batch statistics and fine-tuning -----------------------------------------------------------


class FrozenNorm(layers.Layer):
    """A layer whose BatchNormalization is trainable but always runs in inference mode."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.BatchNormalization(name="still")

    def call(self, x):
        return self.norm(x, training=False)


def means_of(norms):
    return [keras.ops.convert_to_numpy(norm.moving_mean.value).copy() for norm in norms]


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("call", [{}, pytest.param({"training": False}, marks=pytest.mark.long)])
def test_batch_statistics_include_the_norms_that_a_training_step_updates(tmp_path, call, trained):
    """Compared with a step in training mode; in the long ring, with a real training step."""
    x, y = pictures(32, (8, 8, 1))
    for trainable in (True, False):
        body, _ = fine_tuned(trainable, **call)
        z = layers.BatchNormalization(momentum=1.0)(FrozenNorm()(body.outputs[0]))
        still = keras.Model(body.inputs[0], layers.Dense(4)(z))
        for model in (body, still):
            before = weights_of(model)
            recorder = built(tmp_path / "run", model, x, y, planes=0)
            if trained:
                variables = measure(recorder.build(model), Stopwatch(), ModelValues.live(model))
            assert same_arrays(before, weights_of(model))
            norms = [n for n in model._flatten_layers() if isinstance(n, layers.BatchNormalization)]
            means = means_of(norms)
            if trained:
                model.compile("sgd", crossentropy())
                model.fit(x, y, epochs=1, batch_size=8, verbose=0)
            else:
                model(x[:8], training=True)
            pairs = zip(norms, means, means_of(norms), strict=True)
            moved = [norm.name for norm, old, new in pairs if not np.array_equal(old, new)]
            assert sorted(norm.name for norm in recorder.build(model).norms) == sorted(moved)
            assert bool(moved) == trainable
            if trained:
                assert ("accuracy_training" in variables) == bool(moved)


# --- forms of data ------------------------------------------------------------------------------


def as_tf_data(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=1).batch(8)


def as_loader(x, y):
    import torch

    torch.manual_seed(1)
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(pairs, batch_size=8, shuffle=True)


class BatchDataset(keras.utils.PyDataset):
    """Batches of eight in a fixed order."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 8

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return self.x[part], keras.tree.map_structure(lambda y: y[part], self.y)


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "steps"),
    [
        pytest.param(as_tf_data, 1, marks=pytest.mark.needs("tensorflow")),
        pytest.param(as_loader, 1, marks=pytest.mark.needs("torch")),
        (BatchDataset, 1),
        (None, 3),
    ],
)
def test_recording_does_not_change_the_training_for_any_form_of_data(tmp_path, form, steps):
    """With a frozen backbone, and with several steps in one call."""
    if steps > 1 and BACKEND == "torch":
        pytest.skip("Keras runs one step at a time on torch")
    x, y = pictures(48, (8, 8, 1))
    results, names = [], ["backbone/block1", "backbone", "neck"]
    for callbacks in ([], [RepresentationRecorder(tmp_path, x, y, layers=names, **SETTINGS)]):
        keras.utils.set_random_seed(6)
        model, _ = fine_tuned(False, training=False)
        model.compile("adam", crossentropy(), steps_per_execution=steps)
        given = {"x": form(x, y)} if form else {"x": x, "y": y, "batch_size": 8}
        model.fit(**given, epochs=3, verbose=0, callbacks=callbacks)
        results.append(weights_of(model))
    assert same_arrays(*results)
    run = open_run(tmp_path)
    assert run.epochs == [0, 1, 2, 3]
    cka = run.dynamics["cka"]
    assert cka.sel(layer="backbone/block1").values == pytest.approx(1, abs=1e-6)
    assert cka.sel(layer="neck", epoch=0, epoch_other=3).item() < 0.9999


@pytest.mark.long
def test_one_of_two_outputs_is_recorded_while_both_are_trained(tmp_path):
    x, y = pictures(32, (8, 8, 1))
    parts, weights = BatchDataset(x, {"b": y, "a": y % 2}), []
    recorder = RepresentationRecorder(tmp_path, x, y, output="digit", **SETTINGS | {"planes": 0})
    for callbacks in ([], [recorder]):
        keras.utils.set_random_seed(2)
        model = two_headed()
        model.compile("adam", {"b": crossentropy(), "a": "binary_crossentropy"})
        model.fit(parts, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(weights_of(model))
    assert same_arrays(*weights)
    run = open_run(tmp_path)
    assert run.epochs == [0, 1, 2] and "trunk" in run.dynamics["layer"]
    digit = keras.Model(model.inputs[0], model.get_layer("digit").output)
    correct = digit.predict(x, verbose=0).argmax(axis=1) == y
    assert run.folder.record(2)["accuracy_inference"].item() == np.mean(correct)


class RowsOfEight(layers.Layer):
    """A layer that accepts batches of 8 images only, such as a stateful recurrent layer."""

    def call(self, x):
        return keras.ops.reshape(x, (8, 3, x.shape[-1] // 3))


def test_batch_statistics_of_a_fixed_batch_size_are_those_of_its_batches(tmp_path, capsys):
    x, y = pictures(36, (6,))
    records = []
    for size in (8, None):
        keras.utils.set_random_seed(4)
        images = keras.Input((6,), batch_size=size)
        z = layers.Dense(6, name="hidden")(images)
        z = (layers.Reshape((3, 2)) if size is None else RowsOfEight())(z)
        z = layers.BatchNormalization(name="norm")(z)
        model = keras.Model(images, layers.Dense(4)(layers.Flatten()(z)))
        model.compile("adam", crossentropy())
        options = {"batch_size": 8, "batch_norm": "recalibrate", "planes": 0}
        records.append(recorded(tmp_path / str(size), model, x[:32], y[:32], **options)[1])
        if size:
            few = {"train": (x[:5], y[:5]), "planes": 0}
            message = "at least 8 probe images .*Received: 5 probe images.*batch_norm='moving'"
            assert_input_error(
                "few", message, recorded, tmp_path / "a", model, x, y, **options | few
            )
            _, record = recorded(tmp_path / "few", model, x, y, **few)
            assert "accuracy_training" not in record and np.isfinite(record["accuracy_inference"])
            assert capsys.readouterr().out.count("5 probe images are less than a batch of 8") == 1
    fixed, free = records
    for name in ("accuracy_training", "accuracy_inference", "fingerprint"):
        np.testing.assert_allclose(fixed[name], free[name], atol=1e-5)


@pytest.mark.parametrize("kind", ["called once", "called twice", "at each step"])
def test_recalibrated_statistics_are_those_that_training_converges_to(kind, tmp_path):
    x, y = pictures(16, (4, 6))
    images = keras.Input((4, 6))
    norm = layers.BatchNormalization(momentum=0.5, name="norm")
    z = (layers.TimeDistributed(norm) if kind == "at each step" else norm)(images)
    if kind == "called twice":
        z = norm(layers.Dense(6, activation="relu", name="between")(z))
    z = layers.Dense(5, name="hidden")(z)
    model = keras.Model(images, layers.Dense(4)(layers.Flatten()(z)))
    model.compile("sgd", crossentropy())
    options = {"batch_size": 16, "planes": 0, "layers": ["hidden"]}
    _, at_once = recorded(tmp_path / "a", model, x, y, batch_norm="recalibrate", **options)
    for _ in range(30):
        model(x, training=True)
    _, converged = recorded(tmp_path / "b", model, x, y, **options)
    for name in ("fingerprint", "accuracy_inference"):
        np.testing.assert_allclose(at_once[name], converged[name], rtol=1e-3, atol=1e-5)


# --- keras-hub ----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.one_backend
@pytest.mark.needs("hub")
def test_a_keras_hub_task_is_recorded_with_its_preprocessor(tmp_path, capsys):
    import keras_hub as hub

    keras.utils.set_random_seed(1)
    small = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    converter = hub.layers.ResNetImageConverter(image_size=(16, 16), scale=1 / 50, offset=-2.0)
    preprocessor = hub.models.ResNetImageClassifierPreprocessor(converter)
    task = hub.models.ResNetImageClassifier(small, preprocessor=preprocessor, num_classes=4)
    x, y = pictures(48, (24, 24, 3))
    raw = (x * 40 + 120).clip(0, 255).astype("uint8")
    task.compile("adam", crossentropy(), metrics=["accuracy"])
    task.fit(raw, y, epochs=2, verbose=0)
    recorder, record = recorded(tmp_path / "raw", task, raw, y)
    assert f"preprocessed by {preprocessor.name}" in capsys.readouterr().out
    assert record["accuracy_inference"] == pytest.approx(task.evaluate(raw, y, verbose=0)[1])
    assert record.attrs["images_hash"] == recorder.settings.evaluation.hash
    task.preprocessor = converter.__call__
    recorder.record(task, 3)
    assert "preprocessed by method" in capsys.readouterr().out
    np.testing.assert_array_equal(recorder.folder.record(3)["fingerprint"], record["fingerprint"])
    task.preprocessor = None
    by_hand, same = recorded(tmp_path / "by hand", task, np.asarray(converter(raw)), y)
    np.testing.assert_array_equal(record["fingerprint"], same["fingerprint"])
    assert by_hand.settings.evaluation.hash != recorder.settings.evaluation.hash

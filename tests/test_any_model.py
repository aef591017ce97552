"""Models of other people: whatever Keras can train is recorded."""

from collections import OrderedDict

import keras
import numpy as np
import pytest
from keras import layers

from repdyn_keras import InputError, RepresentationRecorder, open_run
from repdyn_keras.measures.cka import fingerprint
from repdyn_keras.recording import recordable_layers
from repdyn_keras.recording.heads import find_head
from repdyn_keras.recording.passes import updated_norms

BACKEND = keras.backend.backend()
SETTINGS = {"planes": 2, "resolution": 4, "batch_size": 8}


def pictures(n=16, shape=(32, 32, 3), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, *shape)).astype("float32"), np.arange(n) % classes


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight.value).copy() for weight in model.weights]


def same_arrays(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def recorded(folder, model, x, y, **options):
    """The constants and the record of the model as it is, as epoch 0."""
    recorder = RepresentationRecorder(folder, x, y, **{**SETTINGS, **options})
    recorder.record(model, 0)
    return recorder, recorder.folder.record(0)


def check_against_features(recorder, record, tensors, tolerance=1e-4):
    """The stored fingerprints are those of the tensors, computed apart in float64."""
    model = recorder.measurement.model
    x = recorder.evaluation.x
    together = keras.Model(model.inputs[0], list(tensors.values()))
    for name, features in zip(
        tensors, keras.tree.flatten(together.predict(x, verbose=0)), strict=True
    ):
        wanted = fingerprint(np.asarray(features, np.float64), batch_size=recorder.evaluation.batch)
        found = record["fingerprint"].sel(layer=name).values
        cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert cosine == pytest.approx(1, abs=tolerance), name
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=0.02), name


APPLICATIONS = {
    "ResNet50V2": ("conv2_block1_out", "conv5_block3_out"),
    "MobileNetV3Small": ("expanded_conv_2_add", "expanded_conv_10_add"),
    "EfficientNetV2B0": ("block2b_add", "block6h_add"),
    "ConvNeXtTiny": ("add", "add_17"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_applications(name, tmp_path):
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), classes=4)
    x, y = pictures(8)
    before = weights_of(model)
    # Where models are compiled, which takes minutes, all passes are for one of them.
    whole = BACKEND == "torch" or name == "MobileNetV3Small"
    recorder, record = recorded(tmp_path, model, 127 * (x + 1), y if whole else None)
    chosen = record["layer"].values.tolist()
    first, last = APPLICATIONS[name]
    assert {first, last} <= set(chosen)
    tensors = {layer: recordable_layers(model)[layer] for layer in (first, last)}
    check_against_features(recorder, record, tensors)
    assert int(record["finite"].sum()) == len(chosen)
    if whole:
        assert record["probe_accuracy"].sel(layer=last).values[0] == 1
        assert record["regions"].shape == (len(chosen), 2, 4, 4)
    assert same_arrays(before, weights_of(model))


# --- outputs ----------------------------------------------------------------------------------


def two_headed(names=("digit", "parity"), as_dict=False):
    init = iter(keras.initializers.GlorotUniform(seed=i) for i in range(9))
    images = keras.Input((8, 8, 1))
    z = layers.Flatten(name="flat")(images)
    z = layers.Dense(16, activation="relu", kernel_initializer=next(init), name="trunk")(z)
    z = layers.Dropout(0.3, seed=3)(z)
    digit = layers.Dense(4, kernel_initializer=next(init), name=names[0])(z)
    parity = layers.Dense(1, activation="sigmoid", kernel_initializer=next(init), name=names[1])(z)
    outputs = {"b": digit, "a": parity} if as_dict else [digit, parity]
    return keras.Model(images, outputs)


@pytest.mark.parametrize("as_dict", [False, True])
def test_one_of_two_outputs_is_recorded_by_its_name(tmp_path, as_dict, capsys):
    model = two_headed(as_dict=as_dict)
    x, y = pictures(32, (8, 8, 1))
    options = {"layers": ["trunk", "parity"], "output": "digit", "test": (x[:9], y[:9])}
    recorder, record = recorded(tmp_path / "digit", model, x, y, **options)
    assert record["layer"].values.tolist() == ["trunk", "parity", "output"]
    tensors = recordable_layers(model, recorder.measurement.head)
    assert "digit" not in tensors
    digit = model.get_layer("digit").output
    check_against_features(recorder, record, {"trunk": tensors["trunk"], "output": digit})
    logits = keras.Model(model.inputs[0], digit).predict(x, verbose=0)
    assert record["accuracy_inference"].item() == np.mean(logits.argmax(axis=1) == y)
    assert "and output (digit)." in capsys.readouterr().out


def test_a_key_of_a_dict_of_outputs_names_it_too(tmp_path):
    x, y = pictures(32, (8, 8, 1))
    by_key, _ = recorded(tmp_path / "a", two_headed(as_dict=True), x, y % 2, output="a", planes=0)
    by_name, _ = recorded(tmp_path / "b", two_headed(), x, y % 2, output="parity", planes=0)
    # The order of the weights, and so their hash, is another.
    assert by_key.folder.record(0).drop_attrs().identical(by_name.folder.record(0).drop_attrs())


def test_an_ordered_dict_of_outputs_is_known_by_its_keys():
    images = keras.Input((8,))
    outputs = OrderedDict(c=layers.Dense(3)(images), a=layers.Dense(2)(images))
    model = keras.Model(images, outputs)
    assert {key: find_head(model, key).classes for key in outputs} == {"c": 3, "a": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has 2 outputs: digit, parity. Expected the name"),
        ({"output": "digits"}, "Unknown output 'digits'. .*digit"),
        ({"output": "digit", "layers": ["digit"]}, "is the model's own output"),
    ],
)
def test_an_output_that_is_not_there_is_refused(tmp_path, options, message):
    x, y = pictures(32, (8, 8, 1))
    with pytest.raises(InputError, match=message):
        recorded(tmp_path / "run", two_headed(), x, y, **options)
    assert not (tmp_path / "run").exists()


def test_a_model_with_two_outputs_is_recorded_while_it_trains(tmp_path):
    x, y = pictures(32, (8, 8, 1))
    results = []
    for callbacks in ([], [RepresentationRecorder(tmp_path, x, y, output="digit", **SETTINGS)]):
        keras.utils.set_random_seed(5)
        model = two_headed()
        losses = {
            "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "parity": "binary_crossentropy",
        }
        model.compile("adam", losses)
        targets = {"digit": y, "parity": (y % 2)[:, None]}
        model.fit(x, targets, epochs=2, batch_size=8, verbose=0, callbacks=callbacks)
        results.append(weights_of(model))
    assert same_arrays(*results)
    assert open_run(tmp_path).epochs == [0, 1, 2]


@pytest.mark.parametrize("activation", ["sigmoid", "linear", "named layer"])
def test_a_single_unit_tells_two_classes_apart(tmp_path, activation, capsys):
    images = keras.Input((8, 8, 1))
    z = layers.Dense(8, name="hidden")(layers.Flatten()(images))
    if activation == "named layer":
        z = layers.Dense(1)(z)
        z = layers.Activation("sigmoid")(z)
        model = keras.Model(images, layers.Activation("linear", dtype="float32")(z))
    else:
        model = keras.Model(images, layers.Dense(1, activation=activation)(z))
    x, y = pictures(32, (8, 8, 1), classes=2)
    threshold = 0 if activation == "linear" else 0.5
    recorder, record = recorded(tmp_path, model, x, y, planes=0, layers=["hidden"])
    guess = model.predict(x, verbose=0)[:, 0] > threshold
    assert 0 < guess.mean() < 1
    assert record["accuracy_inference"].item() == np.mean(guess == y)
    assert recorder.folder.constants().attrs["n_classes"] == 2
    assert f"class 1 above {threshold:g}" in capsys.readouterr().out


@pytest.mark.parametrize("behind", ["Reshape", "hard_sigmoid"])
def test_a_probability_is_known_behind_what_does_not_change_it(tmp_path, behind, capsys):
    images = keras.Input((8,))
    kind = "hard_sigmoid" if behind == "hard_sigmoid" else "sigmoid"
    z = layers.Dense(1, activation=kind)(layers.Dense(4, name="hidden")(images))
    model = keras.Model(images, layers.Reshape((1,))(z) if behind == "Reshape" else z)
    x, y = pictures(32, (8,), classes=2)
    _, record = recorded(tmp_path, model, x, y, planes=0, layers=["hidden"])
    guess = model.predict(x, verbose=0)[:, 0] > 0.5
    assert record["accuracy_inference"].item() == np.mean(guess == y)
    assert "class 1 above 0.5" in capsys.readouterr().out


def test_a_single_unit_of_which_nothing_can_be_told_is_refused(tmp_path):
    images = keras.Input((8,))
    z = layers.Dense(4, name="hidden")(images)
    model = keras.Model(images, layers.Dense(1, activation="relu", name="unit")(z))
    x, y = pictures(32, (8,), classes=2)
    with pytest.raises(InputError, match="'unit' is one unit behind 'relu'.*cannot be told"):
        recorded(tmp_path / "run", model, x, y)
    _, record = recorded(tmp_path / "none", model, x, None)
    assert record["layer"].values.tolist() == ["hidden", "output"]


def test_labels_for_an_output_that_is_no_row_of_classes_are_refused(tmp_path):
    images = keras.Input((8, 8, 1))
    maps = layers.Conv2D(3, 3, padding="same", name="maps")(images)
    model = keras.Model(images, layers.Conv2D(4, 1, name="pixels")(maps))
    x, y = pictures(32, (8, 8, 1))
    with pytest.raises(InputError, match="'pixels' of the model has shape 8 x 8 x 4.*no labels"):
        recorded(tmp_path / "labels", model, x, y)
    recorder, record = recorded(tmp_path / "none", model, x, None)
    assert "probe_accuracy" not in record
    check_against_features(recorder, record, {"output": model.outputs[0]})


# --- precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_recorded_in_float32(tmp_path, policy):
    x, y = pictures(64, (8, 8, 1))
    x = x + 3
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(2)
        images = keras.Input((8, 8, 1))
        z = layers.Conv2D(8, 3, name="early")(images)
        z = layers.BatchNormalization()(z)
        z = layers.Dense(16, activation="relu", name="late")(layers.Flatten()(z))
        model = keras.Model(images, layers.Dense(4, activation="softmax", dtype="float32")(z))
        model.compile("sgd", "sparse_categorical_crossentropy")
        recorder = RepresentationRecorder(tmp_path, x, y, layers=["early", "late"], **SETTINGS)
        model.fit(x, y, epochs=1, verbose=0, callbacks=[recorder])
        record = recorder.folder.record(1)
        assert record["fingerprint"].dtype == np.float32
        assert int(record["finite"].sum()) == 3
        tensors = recordable_layers(model)
        chosen = {"early": tensors["early"], "late": tensors["late"]}
        check_against_features(recorder, record, chosen, tolerance=1e-5)
        low = 2.0**-7 if "bfloat16" in policy else 2.0**-10
        assert recorder.folder.constants()["epsilon"].values.tolist() == [low, low, 2.0**-23]
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_text_classifier_has_no_planes_and_says_so_once(tmp_path, dtype, capsys):
    keras.utils.set_random_seed(4)
    words = keras.Input((None,), dtype=dtype)
    z = layers.Embedding(50, 8, name="words")(words)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(z, z)
    z = layers.Add(name="block")([z, attended])
    z = layers.GlobalAveragePooling1D(name="mean")(z)
    model = keras.Model(words, layers.Dense(2)(z))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 50, (32, 12)), np.arange(32) % 2
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names = ["words", "attention", "block", "mean"]
    recorder = RepresentationRecorder(tmp_path, x, y, layers=names, **SETTINGS)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
    record = recorder.folder.record(2)
    assert capsys.readouterr().out.count("no planes and no decision regions") == 1
    assert "regions" not in record
    assert record["probe_accuracy"].sel(layer="block").notnull().any()
    tensors = recordable_layers(model)
    check_against_features(recorder, record, {name: tensors[name] for name in names})
    assert "regions" not in open_run(tmp_path).dynamics


@pytest.mark.parametrize("way", ["nested", "layer", "reshaped"])
def test_words_are_known_wherever_they_are_looked_up(tmp_path, way, capsys):
    words = keras.Input((6,))
    embedding = layers.Embedding(50, 4, name="words")
    if way == "nested":
        z = keras.Sequential([keras.Input((6,)), embedding, layers.Flatten()])(words)
    elif way == "layer":
        z = layers.Flatten()(Looked()(words))
    else:
        z = layers.Flatten()(embedding(layers.Reshape((6,))(words)))
    model = keras.Model(words, layers.Dense(2)(layers.Dense(3, name="late")(z)))
    x, y = np.random.default_rng(0).integers(0, 50, (32, 6)), np.arange(32) % 2
    _, record = recorded(tmp_path, model, x, y, layers=["late"])
    assert "regions" not in record
    assert "no planes and no decision regions" in capsys.readouterr().out


class Looked(layers.Layer):
    """A layer of one's own that looks words up."""

    def __init__(self, **options):
        super().__init__(**options)
        self.words = layers.Embedding(50, 4)

    def call(self, x):
        return self.words(x)


def test_images_of_any_size_have_regions(tmp_path):
    images = keras.Input((None, None, 3))
    z = layers.Conv2D(4, 3, name="early")(images)
    z = layers.GlobalAveragePooling2D(name="pooled")(z)
    x, y = pictures(16, (9, 7, 3))
    model = keras.Model(images, layers.Dense(4)(z))
    _, record = recorded(tmp_path, model, x, y)
    assert record["regions"].shape == (2, 2, 4, 4)


def test_a_layer_of_no_fixed_size_cannot_be_flattened(tmp_path):
    words = keras.Input((None,), dtype="int32")
    z = layers.Embedding(50, 8, name="words")(words)
    model = keras.Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(z)))
    x, y = np.zeros((16, 5), int) + np.arange(16)[:, None], np.arange(16) % 2
    with pytest.raises(InputError, match="'words' puts out any x 8, of no fixed size"):
        recorded(tmp_path, model, x, y, layers=["words"], pooling="flatten")


def test_additions_are_recorded_however_they_are_written(tmp_path):
    images = keras.Input((8,))
    z = layers.Dense(6, name="first")(images)
    for index in range(3):
        z = z + layers.Dense(6, name=f"step{index}")(z)
        z = keras.ops.add(z, 0.5)
    model = keras.Model(images, layers.Dense(4)(z))
    x, y = pictures(32, (8,))
    recorder, record = recorded(tmp_path, model, x, y)
    names = record["layer"].values.tolist()
    assert len(names) == 4
    tensors = recordable_layers(model)
    # Additions of a constant are none of two tensors.
    assert len(tensors) == 7
    check_against_features(recorder, record, {name: tensors[name] for name in names[:-1]})


# --- nested models and fine-tuning --------------------------------------------------------------


def backbone(seed=1, dropout=0.0):
    init = iter(keras.initializers.GlorotUniform(seed=seed * 100 + i) for i in range(9))
    images = keras.Input((8, 8, 1), name="pictures")
    z = layers.Flatten()(images)
    z = layers.Dense(6, kernel_initializer=next(init), name="first")(z)
    for index in range(3):
        y = layers.BatchNormalization(name=f"norm{index}")(z)
        y = layers.Dense(6, activation="relu", kernel_initializer=next(init))(y)
        y = layers.Dropout(dropout, seed=7)(y)
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


def test_layers_inside_a_nested_model_are_recorded_by_their_whole_names(tmp_path):
    model, body = fine_tuned(False, training=False)
    x, y = pictures(32, (8, 8, 1))
    recorder, record = recorded(tmp_path, model, x, y)
    names = [f"backbone/block{i}" for i in range(3)]
    assert record["layer"].values.tolist() == [*names, "output"]
    for name in names:
        inner = keras.Model(body.inputs[0], body.get_layer(name.partition("/")[2]).output)
        wanted = fingerprint(
            inner.predict(recorder.evaluation.x, verbose=0).astype(float), batch_size=8
        )
        assert record["fingerprint"].sel(layer=name).values == pytest.approx(wanted, rel=1e-3)
    # Nothing was left behind in the model: a layer with a second node would refuse this.
    assert body.get_layer("block1").output is not None
    assert model.get_layer("backbone").output.shape == (None, 6)


def test_layers_of_models_nested_twice_and_of_nested_sequentials(tmp_path):
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, name="deep"), layers.ReLU(name="relu")], name="inner"
    )
    middle_in = keras.Input((8,))
    middle = keras.Model(middle_in, layers.Dense(5, name="after")(inner(middle_in)), name="middle")
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="first"), middle])
    model.add(layers.Dense(4, name="head"))
    assert list(recordable_layers(model)) == [
        "first",
        "middle/inner/deep",
        "middle/inner/relu",
        "middle/inner",
        "middle/after",
        "middle",
    ]
    x, y = pictures(32, (8,))
    recorder, record = recorded(tmp_path, model, x, y, layers=".*(deep|first)")
    assert record["layer"].values.tolist() == ["first", "middle/inner/deep", "output"]
    deep = inner.layers[0](model.layers[0](recorder.evaluation.x))
    wanted = fingerprint(keras.ops.convert_to_numpy(deep).astype(float), batch_size=8)
    found = record["fingerprint"].sel(layer="middle/inner/deep").values
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_a_model_that_ends_in_a_nested_one_does_not_record_its_output_twice():
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, backbone()(layers.Identity(name="same")(images)))
    names = list(recordable_layers(model))
    assert "backbone/block2" in names
    assert "backbone/last" not in names
    assert "backbone" not in names


class Still(layers.Layer):
    """A layer whose own BatchNormalization never learns moments, although it is trainable."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.BatchNormalization(name="still")

    def call(self, x):
        return self.norm(x, training=False)


def test_the_end_of_a_nested_model_is_recorded_where_another_output_is(tmp_path):
    body = backbone()
    images = keras.Input((8, 8, 1))
    z = body(images)
    model = keras.Model(images, {"x": layers.Dense(4, name="head")(z), "y": z})
    tensors = recordable_layers(model, find_head(model, "x"))
    assert {"backbone/last", "backbone"} <= set(tensors)
    assert "backbone/last" not in recordable_layers(model, find_head(model, "y"))


class OwnCall(keras.Model):
    """A functional model that computes something else than its graph."""

    def call(self, x):
        return super().call(x * 0)


@pytest.mark.parametrize("nested", [True, False])
def test_a_call_of_its_own_hides_a_models_graph(tmp_path, nested):
    images = keras.Input((8,))
    model = OwnCall(images, layers.Dense(4, name="inner")(layers.Dense(5, name="deep")(images)))
    if nested:
        outer = keras.Input((8,))
        z = layers.Dense(6, name="outside")(model(outer))
        assert list(recordable_layers(keras.Model(outer, layers.Dense(4)(z)))) == [
            model.name,
            "outside",
        ]
        return
    x, y = pictures(16, (8,))
    with pytest.raises(InputError, match="has a call\\(\\) of its own \\(OwnCall\\)"):
        recorded(tmp_path, model, x, y)


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("call", [{}, {"training": False}])
@pytest.mark.parametrize("trainable", [True, False])
def test_batch_statistics_are_of_the_norms_that_a_training_step_updates(
    tmp_path, trainable, call, still
):
    model, _ = fine_tuned(trainable, **call)
    if still:
        body = model
        model = keras.Model(body.inputs[0], layers.Dense(4)(Still()(body.outputs[0])))
    x, y = pictures(32, (8, 8, 1))
    before = weights_of(model)
    found = updated_norms(model, (8, 8, 1))
    assert same_arrays(before, weights_of(model))
    _, record = recorded(tmp_path, model, x, y, layers=["neck"] if not still else None)
    assert same_arrays(before, weights_of(model))
    norms = [n for n in model._flatten_layers() if isinstance(n, layers.BatchNormalization)]
    means = weights_of_norms(norms)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    pairs = zip(norms, means, weights_of_norms(norms), strict=True)
    moved = [norm.name for norm, old, new in pairs if not np.array_equal(old, new)]
    assert sorted(norm.name for norm in found) == sorted(moved)
    assert ("accuracy_training" in record) == bool(moved)


def weights_of_norms(norms):
    return [keras.ops.convert_to_numpy(norm.moving_mean.value).copy() for norm in norms]


def test_a_frozen_backbone_is_recorded_while_its_head_is_trained(tmp_path):
    x, y = pictures(32, (8, 8, 1))
    results = []
    names = ["backbone/block1", "backbone", "neck"]
    for callbacks in ([], [RepresentationRecorder(tmp_path, x, y, layers=names, **SETTINGS)]):
        keras.utils.set_random_seed(5)
        model, _ = fine_tuned(False, training=False)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, epochs=3, batch_size=8, verbose=0, callbacks=callbacks)
        results.append(weights_of(model))
    assert same_arrays(*results)
    cka = open_run(tmp_path).dynamics["cka"]
    assert cka.sel(layer="backbone/block1").values == pytest.approx(1, abs=1e-6)
    assert cka.sel(layer="neck", epoch=0, epoch_other=3).item() < 0.9999


def test_dropout_in_training_mode_draws_the_same_in_every_record(tmp_path):
    body = backbone(dropout=0.5)
    model = keras.Model(body.inputs, layers.Dense(4, name="head")(body.outputs[0]))
    x, y = pictures(64, (8, 8, 1))
    _, first = recorded(tmp_path / "a", model, x, y)
    model(x, training=True)
    _, second = recorded(tmp_path / "b", model, x, y)
    # The norms have moved by now: compare what dropout decides beside them.
    assert first["accuracy_training"].item() == second["accuracy_training"].item()


# --- how the data comes -------------------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    @property
    def num_batches(self):
        return len(self.x) // 8

    def __getitem__(self, index):
        part = slice(index * 8, index * 8 + 8)
        return self.x[part], self.y[part]


def as_tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=1).batch(8)


def as_loader(x, y):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(pairs, batch_size=8, shuffle=True)


FORMS = {
    "numpy": lambda x, y: {"x": x, "y": y, "batch_size": 8},
    "tf.data": lambda x, y: {"x": as_tf_data(x, y)},
    "PyDataset": lambda x, y: {"x": Batches(x, y)},
    "DataLoader": lambda x, y: {"x": as_loader(x, y)},
    "steps_per_execution": lambda x, y: {"x": x, "y": y, "batch_size": 8},
}


@pytest.mark.parametrize("form", FORMS)
def test_recording_leaves_the_training_alone_however_the_data_comes(tmp_path, form):
    if form == "steps_per_execution" and BACKEND == "torch":
        pytest.skip("Keras runs one step at a time on torch")
    x, y = pictures(48, (8, 8, 1))
    results = []
    for callbacks in ([], [RepresentationRecorder(tmp_path, x, y, **SETTINGS)]):
        keras.utils.set_random_seed(6)
        body = backbone(dropout=0.3)
        model = keras.Model(body.inputs, layers.Dense(4, name="head")(body.outputs[0]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, steps_per_execution=3 if form == "steps_per_execution" else 1)
        model.fit(**FORMS[form](x, y), epochs=3, verbose=0, callbacks=callbacks)
        results.append(weights_of(model))
    assert same_arrays(*results)
    assert open_run(tmp_path).epochs == [0, 1, 2, 3]


# --- keras-hub ----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_backbones_of_keras_hub_are_recorded_by_their_names(tmp_path):
    hub = pytest.importorskip("keras_hub")
    small = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        use_pre_activation=True,
        image_shape=(16, 16, 3),
    )
    classifier = hub.models.ImageClassifier(backbone=small, num_classes=4)
    x, y = pictures(16, (16, 16, 3))
    _, record = recorded(tmp_path / "resnet", classifier, x, y)
    blocks = [f"{small.name}/stack{i}_block0_out" for i in range(3)]
    assert record["layer"].values.tolist() == [*blocks, "output"]
    assert int(record["finite"].sum()) == 4
    tiny = hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=(4, 4),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
    )
    _, record = recorded(
        tmp_path / "vit", hub.models.ViTImageClassifier(backbone=tiny, num_classes=4), x, y
    )
    # Its blocks lie inside one composite layer, where nobody can reach them.
    parts = [f"{tiny.name}/vit_patching_and_embedding", f"{tiny.name}/vit_encoder"]
    assert record["layer"].values.tolist() == [*parts, "output"]

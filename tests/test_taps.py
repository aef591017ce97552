"""Every kind of network is recorded: against activations computed by hand, in any training."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from helpers import BACKEND, assert_fingerprint, assert_input_error
from keras import layers, ops

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.recording.values import ModelValues

N, CLASSES = 32, 4
SETTINGS = {"planes": 0, "resolution": 4, "batch_size": 8}


# --- networks, and their activations by hand ----------------------------------------------------


class Block(layers.Layer):
    """A transformer block that calls the layers that it holds."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.norm = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, 4)
        self.wide, self.narrow = layers.Dense(2 * width, "gelu"), layers.Dense(width)

    def call(self, x):
        z = self.norm(x)
        x = x + self.attention(z, z)
        return x + self.narrow(self.wide(x))


class Transformer(keras.Model):
    """A subclassed model of subclassed blocks."""

    def __init__(self):
        super().__init__()
        self.embed = layers.Dense(8)
        self.blocks = [Block(8) for _ in range(3)]
        self.head = layers.Dense(CLASSES)

    def call(self, x, training=None):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(ops.mean(x, axis=1))

    def by_hand(self, x):
        x = first = self.embed(x)
        found = {"dense": first}
        for index, block in enumerate(self.blocks):
            name = f"block_{index}" if index else "block"
            z = block.norm(x)
            x = x + block.attention(z, z)
            found[f"{name}/dense"] = block.wide(x)
            x = found[name] = x + block.narrow(block.wide(x))
        return {name: z for name, z in found.items() if "block_1" not in name}


def transformer():
    model = Transformer()
    x = numbers(5, 6)
    model(x[:1])
    names = [
        "dense",
        *(f"{block}{inner}" for block in ("block", "block_2") for inner in ("/dense", "")),
    ]
    return model, x, model.by_hand, {"layers": names, "planes": 2}


def siamese():
    """Two inputs in a dict, through one encoder that is called twice."""
    encoder = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, "relu", name="code")], name="tower"
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    joined = layers.Concatenate(name="joined")([encoder(left), encoder(right)])
    z = layers.Dense(7, "tanh", name="mixed")(joined)
    model = keras.Model({"left": left, "right": right}, layers.Dense(CLASSES)(z))
    x = {"left": numbers(6), "right": numbers(6, seed=1)}

    def by_hand(x):
        one, other = encoder(x["left"]), encoder(x["right"])
        z = model.get_layer("mixed")(ops.concatenate([one, other], 1))
        return {"tower/code": one, "tower@2/code": other, "mixed": z}

    return model, x, by_hand, {"plane_input": "right", "planes": 2}


def graph(model, names):
    """The activations of a functional model by Keras's own graph."""
    return lambda x: dict(
        zip(
            names,
            keras.Model(model.inputs, [model.get_layer(n).output for n in names])(x),
            strict=True,
        )
    )


def two_outputs():
    images = keras.Input((6,))
    z = layers.Dense(8, "relu", name="trunk")(images)
    outputs = {"a": layers.Dense(CLASSES, name="kind")(z), "b": layers.Dense(2, name="size")(z)}
    model = keras.Model(images, outputs)
    return (
        model,
        numbers(6),
        graph(model, ["trunk", "size"]),
        {"output": "a", "layers": ["trunk", "size"]},
    )


def u_net():
    images = keras.Input((8, 8, 1))
    down = layers.Conv2D(4, 3, padding="same", activation="relu", name="down")(images)
    deep = layers.Conv2D(6, 3, padding="same", activation="relu", name="deep")(
        layers.MaxPooling2D()(down)
    )
    up = layers.Conv2DTranspose(4, 2, strides=2, name="up")(deep)
    z = layers.Concatenate(name="skip")([down, up])
    model = keras.Model(images, layers.Conv2D(CLASSES, 1, name="pixels")(z))
    return model, numbers(8, 8, 1), graph(model, ["down", "deep", "up"]), {"labels": None}


def recurrent():
    steps = keras.Input((5, 3))
    z, h, c = layers.LSTM(6, return_sequences=True, return_state=True, name="long")(steps)
    z = layers.GRU(6, return_sequences=True, name="gated")(z)
    z = layers.Bidirectional(layers.LSTM(4), name="both")(z)
    z = layers.Concatenate(name="state")([z, h, c])
    model = keras.Model(steps, layers.Dense(CLASSES)(z))

    def by_hand(x):
        long = keras.Model(model.inputs, model.get_layer("long").output)(x)
        return {
            "long[0]": long[0],
            "long[2]": long[2],
            **graph(model, ["gated", "both", "state"])(x),
        }

    names = ["long[0]", "long[2]", "gated", "both", "state"]
    return model, numbers(5, 3), by_hand, {"layers": names}


def convolutions(rank):
    images = keras.Input((*[4] * rank, 2))
    conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    z = conv(4, 3, padding="same", name="early")(images)
    z = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(z))
    z = conv(6, 2, name="late")(z)
    model = keras.Model(images, layers.Dense(CLASSES)(layers.Flatten()(z)))
    return model, numbers(*[4] * rank, 2), graph(model, ["early", "norm", "late"]), {}


def with_lambda():
    images = keras.Input((6,))
    z = layers.Dense(5, name="first")(images)
    z = layers.Lambda(lambda z: ops.sin(z) * 2, output_shape=(5,), name="wave")(z)
    z = layers.Dense(5, name="second")(z)
    model = keras.Model(images, layers.Dense(CLASSES)(z))
    return model, numbers(6), graph(model, ["first", "wave", "second"]), {"layers": ".*"}


def nested_three_deep():
    class Owner(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            inner = [keras.Input((5,)), layers.Dense(5, "relu", name="deepest")]
            self.inner = keras.Sequential(inner, name="inner")

        def call(self, x):
            return self.inner(x) * 2

    owner = Owner(name="owner")
    middle_in = keras.Input((6,))
    middle = keras.Model(middle_in, owner(layers.Dense(5, name="before")(middle_in)), name="middle")
    model = keras.Sequential([keras.Input((6,)), middle, layers.Dense(CLASSES)])

    def by_hand(x):
        before = middle.get_layer("before")(x)
        deepest = owner.inner.layers[0](before)
        return {
            "middle/before": before,
            "middle/owner/inner/deepest": deepest,
            "middle/owner": deepest * 2,
            "middle": deepest * 2,
        }

    names = ["middle/before", "middle/owner/inner/deepest", "middle/owner", "middle"]
    return model, numbers(6), by_hand, {"layers": names}


def shared_twice():
    images = keras.Input((6,))
    shared = layers.Dense(6, "tanh", name="shared")
    once = shared(images)
    model = keras.Model(images, layers.Dense(CLASSES)(shared(once)))

    def by_hand(x):
        return {"shared": shared(x), "shared@2": shared(shared(x))}

    return model, numbers(6), by_hand, {}


def vision_transformer():
    import keras_hub as hub

    sizes = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
    body = hub.models.ViTBackbone(image_shape=(8, 8, 3), patch_size=4, **sizes)
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, layers.Dense(CLASSES)(body(images)[:, 0]))
    patches, encoder = body.layers[1:3]

    def by_hand(x):
        z, found = patches(x), {}
        for block in encoder.encoder_layers:
            z = found[f"{body.name}/{encoder.name}/{block.name}"] = block(z)
        return found

    return model, numbers(8, 8, 3), by_hand, {}


def bert():
    """Three inputs, one of which is the mask of the padding."""
    import keras_hub as hub

    sizes = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
    body = hub.models.BertBackbone(vocabulary_size=50, max_sequence_length=10, **sizes)
    model = keras.Model(body.inputs, layers.Dense(CLASSES)(body.output["pooled_output"]))
    rng = np.random.default_rng(0)
    mask = (np.arange(10) < rng.integers(4, 11, (N, 1))).astype("int32")
    words = rng.integers(1, 50, (N, 10), "int32") * mask
    x = {"token_ids": words, "segment_ids": 0 * words, "padding_mask": mask}
    return model, x, graph(model, [f"transformer_layer_{index}" for index in range(3)]), {}


def efficient_net():
    from keras.src.applications.efficientnet import DEFAULT_BLOCKS_ARGS, EfficientNet

    sizes = {"width_coefficient": 0.25, "depth_coefficient": 0.25, "default_size": 32}
    sizes["blocks_args"] = [dict(block) for block in DEFAULT_BLOCKS_ARGS[1:4]]
    options = {"weights": None, "input_shape": (32, 32, 3), "classes": CLASSES}
    model = EfficientNet(**sizes, classifier_activation=None, name="efficient", **options)
    names = ["block1a_project_bn", "block3a_se_excite"]
    # The model begins with a layer for pixels from 0 to 255.
    x = 127 * np.tanh(numbers(32, 32, 3)) + 128
    return model, x, graph(model, names), {"layers": names, "probes": False}


def dense_net():
    from keras.src.applications.densenet import DenseNet

    options = {"weights": None, "input_shape": (32, 32, 3), "classes": CLASSES}
    model = DenseNet([1, 1, 2, 1], classifier_activation=None, name="dense", **options)
    names = ["conv2_block1_concat", "conv4_block2_concat"]
    return model, numbers(32, 32, 3), graph(model, names), {"layers": names, "probes": False}


NETWORKS = {
    "subclassed transformer": transformer,
    "siamese with inputs in a dict": siamese,
    "two outputs": two_outputs,
    "U-Net": u_net,
    "LSTM and GRU": recurrent,
    "Conv1D": lambda: convolutions(1),
    "Conv3D": lambda: convolutions(3),
    "DenseNet": dense_net,
    "EfficientNet": efficient_net,
    "ViT of keras-hub": vision_transformer,
    "BERT of keras-hub": bert,
    "Lambda": with_lambda,
    "nested three deep": nested_three_deep,
    "shared twice": shared_twice,
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype("float32")


def losses(model, options):
    """The loss of a network, and the labels for it."""
    y = np.arange(N) % CLASSES
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if options.get("output"):
        return {"a": loss, "b": "mse"}, {"a": y, "b": numbers(2)}
    if options.get("labels", True) is None:
        return "mse", numbers(8, 8, CLASSES)
    return loss, y


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.needs("hub") if "hub" in name else ())
        for name in NETWORKS
    ],
)
def test_a_network_is_recorded_in_a_training_that_it_does_not_change(name, tmp_path):
    weights = []
    for records in (False, True):
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        model, x, by_hand, options = NETWORKS[name]()
        loss, y = losses(model, options)
        labels = options.get(
            "labels", np.arange(N) % CLASSES if options.get("probes", True) else None
        )
        more = {key: value for key, value in options.items() if key not in ("labels", "probes")}
        recorder = RepresentationRecorder(tmp_path / "run", x, labels, **{**SETTINGS, **more})
        model.compile("adam", loss)
        callbacks = [recorder] if records else []
        model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=callbacks)
        weights.append([ops.convert_to_numpy(weight.value) for weight in model.weights])
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))
    run = open_run(tmp_path / "run")
    assert run.epochs == [0, 1, 2]
    record = run.folder.record(2)
    assert ("regions" in record) == ("planes" in options)
    found = by_hand(recorder.evaluation.x)
    for layer, features in found.items():
        stored = record["fingerprint"].sel(layer=layer).values
        assert_fingerprint(stored, ops.convert_to_numpy(features), 8, layer)


@pytest.mark.long
def test_a_model_that_was_never_called_is_built_as_by_fit_itself(tmp_path):
    x, y, found = numbers(5, 6), np.arange(N) % CLASSES, []
    for records in (False, True):
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        model = keras.Sequential([Transformer(), layers.Dropout(0.5), layers.Dense(CLASSES)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        recorder = RepresentationRecorder(tmp_path / "run", x, y, **SETTINGS)
        callbacks = [recorder] if records else []
        model.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=callbacks)
        found.append([ops.convert_to_numpy(weight.value) for weight in model.weights])
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))
    assert open_run(tmp_path / "run").epochs == [0, 1]


def masked_by_keras():
    words = keras.Input((6,), dtype="int32")
    z = layers.Embedding(9, 4, mask_zero=True, name="words")(words)
    return keras.Model(words, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(z)))


def masked_by_an_input():
    words, mask = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6,), name="mask")
    z = layers.Embedding(9, 4, name="words")(words)
    z = ops.sum(z * mask[..., None], axis=1)
    return keras.Model({"ids": words, "mask": mask}, layers.Dense(CLASSES)(z))


@pytest.mark.parametrize("build", [masked_by_keras, masked_by_an_input])
def test_probes_average_over_what_is_not_padding(build, tmp_path):
    rng = np.random.default_rng(0)
    mask = np.arange(6) < rng.integers(1, 7, (N, 1))
    words = rng.integers(1, 9, (N, 6), "int32") * mask
    x = words if build is masked_by_keras else {"ids": words, "mask": mask.astype("float32")}
    model = build()
    recorder = RepresentationRecorder(
        tmp_path, x, np.arange(N) % CLASSES, layers=["words"], **SETTINGS
    )
    recorded = recorder.build(model)
    found = recorded.features(ModelValues.live(model), x)[0]
    table = ops.convert_to_numpy(model.get_layer("words").embeddings)
    by_hand = (table[words] * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)


# --- what else the recorder leaves as it is -----------------------------------------------------


class Counting(keras.Model):
    """A subclassed model that counts how often Python calls it."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = layers.Dense(5, name="hidden"), layers.Dense(CLASSES, name="head")
        self.skipped = layers.Dense(5, name="skipped")
        self.count = 0

    def call(self, x, training=None):
        self.count += 1
        x = self.hidden(x)
        return self.head(self.skipped(x) if training else x)


def counting():
    model = Counting()
    model(numbers(6)[:1])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_model_is_traced_for_the_first_record_only(tmp_path):
    model = counting()
    recorder = RepresentationRecorder(
        tmp_path / "run", numbers(6), np.arange(N) % CLASSES, **SETTINGS
    )
    counts = []
    for epoch in range(3):
        model.count = 0
        recorder.record(model, epoch)
        counts.append(model.count)
    assert 0 < counts[0]
    if BACKEND == "torch":
        # Which computes without a trace.
        assert counts[1] == counts[2]
    else:
        assert counts[1:] == [0, 0]


@pytest.mark.long
def test_a_recorded_model_is_saved_cloned_and_called_as_before(tmp_path):
    model, x, _, options = siamese()
    before = vars(model.get_layer("tower").layers[0]).keys()
    names = [weight.path for weight in model.weights]
    answers = ops.convert_to_numpy(model(x))
    recorder = RepresentationRecorder(
        tmp_path / "run", x, np.arange(N) % CLASSES, **{**SETTINGS, **options}
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder.record(model, 0)
    assert vars(model.get_layer("tower").layers[0]).keys() == before
    assert [weight.path for weight in model.weights] == names
    model.save(tmp_path / "model.keras")
    for copy in (
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.clone_model(model),
    ):
        copy.set_weights(model.get_weights())
        assert np.array_equal(ops.convert_to_numpy(copy(x)), answers)


@pytest.mark.long
def test_names_do_not_depend_on_what_else_the_process_has_built(tmp_path):
    found = []
    for _ in range(2):
        layers.Dense(3), layers.Conv1D(3, 3)
        model, x, _, options = transformer()
        options["layers"] = None
        recorder = RepresentationRecorder(tmp_path / str(len(found)), x, **{**SETTINGS, **options})
        found.append(recorder.build(model).names)
    assert found[0] == found[1] == ["block", "block_1", "block_2", "output"]
    last = f"{model.blocks[1].name}/{model.blocks[1].wide.name}"
    recorder = RepresentationRecorder(tmp_path / "keras", x, **SETTINGS, layers=[last])
    assert recorder.build(model).names == ["block_1/dense", "output"]


def test_names_that_may_mean_two_layers_are_rejected(tmp_path):
    stack = [layers.Dense(4, name=f"dense_{index}") for index in (1, 2, 3)]
    model = keras.Sequential([keras.Input((6,)), *stack, layers.Dense(CLASSES, name="head")])

    def names(chosen):
        recorder = RepresentationRecorder(tmp_path / "no", numbers(6), layers=chosen, batch_size=8)
        return recorder.build(model).names[:-1]

    assert names(None) == ["dense", "dense_1", "dense_2"]
    assert names(["dense_3"]) == ["dense_2"]
    message = "name of one layer. Received: 'dense_2', which Keras calls 'dense_3', while 'dense_1'"
    assert_input_error(message, message, names, ["dense_2"])
    assert_input_error("numbers", "layers as names.*Received: layers=.3", names, [3])


class Both(NamedTuple):
    z: object
    a: object


class Pair(layers.Layer):
    """Returns a named tuple, whose fields are not in the order of their names."""

    def __init__(self, **options):
        super().__init__(**options)
        self.one, self.other = layers.Dense(5), layers.Dense(7)

    def call(self, x):
        return Both(z=self.one(x), a=self.other(x))


class Paired(keras.Model):
    def __init__(self):
        super().__init__()
        self.pair, self.head = Pair(name="pair"), layers.Dense(CLASSES)

    def call(self, x):
        return self.head(ops.concatenate(list(self.pair(x)), axis=-1))


def test_a_part_of_a_named_tuple_is_the_one_of_its_place(tmp_path):
    model, x = Paired(), numbers(6)
    model(x[:1])
    options = {"layers": ["pair[0]"], "batch_size": 8}
    recorder = RepresentationRecorder(tmp_path / "run", x, **options)
    recorder.record(model, 0)
    features = ops.convert_to_numpy(model.pair.one(recorder.evaluation.x))
    stored = recorder.folder.record(0)["fingerprint"].sel(layer="pair[0]").values
    assert_fingerprint(stored, features, 8, "pair[0]")


# --- the default choice ---------------------------------------------------------------------------


class Scaled(layers.Layer):
    """A layer with a weight of its own around another one."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(3, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.scale = self.add_weight(shape=(3,), name="scale")

    def call(self, x):
        return self.inner(x) * self.scale


@pytest.mark.parametrize(
    ("stack", "names"),
    [
        ([layers.LSTM, layers.LSTM, layers.Dense], ["lstm", "lstm_1", "dense"]),
        ([layers.GRU] * 3 + [layers.Dense], ["gru", "gru_1", "gru_2", "dense"]),
        ([lambda *_, **more: layers.Bidirectional(layers.LSTM(3, **more))], ["bidirectional"]),
        ([lambda *_, **more: layers.TimeDistributed(layers.Dense(3))], ["time_distributed"]),
        ([lambda *_, **more: Scaled()], ["scaled/inner", "scaled"]),
        ([lambda *_, **more: Block(3)] * 3 + [layers.Dense], ["block", "block_1", "block_2"]),
    ],
)
def test_layers_are_chosen_alike_on_all_backends(stack, names, tmp_path):
    z = steps = keras.Input((5, 3))
    for make in stack:
        layer = make(3) if make is layers.Dense else make(3, return_sequences=True)
        z = layer(z)
    model = keras.Model(steps, layers.Dense(CLASSES, name="head")(layers.Flatten()(z)))
    recorder = RepresentationRecorder(tmp_path / "no", numbers(5, 3), batch_size=8)
    assert recorder.build(model).names == [*names, "output"]


# --- what cannot be recorded --------------------------------------------------------------------


class Around(layers.Layer):
    """Calls a layer in another way than as it is."""

    def __init__(self, way, **options):
        super().__init__(**options)
        self.way, self.inner = way, layers.Dense(6, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        if self.way == "loop":
            return ops.scan(lambda carried, _: (self.inner(carried), None), x, xs=None, length=2)[0]
        if self.way == "branch":
            return ops.cond(ops.sum(x) > 0, lambda: self.inner(x), lambda: x)
        if self.way == "map":
            return ops.vectorized_map(lambda row: self.inner(row[None])[0], x)
        return ops.convert_to_numpy(self.inner(x))


def around(way):
    z = images = keras.Input((6,))
    z = Around(way, name="outer")(layers.Dense(6, name="first")(z))
    return keras.Model(images, layers.Dense(CLASSES, name="head")(z))


@pytest.mark.parametrize("way", ["loop", "branch", "map"])
def test_layers_out_of_reach_are_named_and_those_around_them_recorded(way, tmp_path):
    model, x = around(way), numbers(6)

    def built(*names):
        return RepresentationRecorder(tmp_path / "no", x, layers=names, batch_size=8).build(model)

    assert built("first", "outer").names == ["first", "outer", "output"]
    if BACKEND != "torch" and not (BACKEND == "tensorflow" and way == "map"):
        # torch runs loops and branches eagerly, and tensorflow traces a map for a single image.
        message = "'outer/inner': it is called inside .* of 'outer', .* Record 'outer'"
        assert_input_error(way, message, built, "outer/inner")


def test_layers_of_a_rematerialized_part_are_recorded(tmp_path):
    if BACKEND == "tensorflow":
        pytest.skip("RematScope of Keras does not work on tensorflow")
    images = keras.Input((6,))
    with keras.RematScope(mode="full"):
        z = layers.Dense(6, "tanh", name="again")(images)
    model = keras.Model(images, layers.Dense(CLASSES)(z))
    recorder = RepresentationRecorder(tmp_path / "run", numbers(6), batch_size=8)
    recorder.record(model, 0)
    features = ops.convert_to_numpy(model.get_layer("again")(recorder.evaluation.x))
    stored = recorder.folder.record(0)["fingerprint"].sel(layer="again").values
    assert_fingerprint(stored, features, 8, "again")


class Nothing(Counting):
    """A model that returns nothing."""

    def call(self, x, training=None):
        self.head(self.hidden(x))


class ThroughNumPy(Counting):
    """A model with a layer that returns a NumPy array."""

    def __init__(self):
        super().__init__()
        self.hidden = Around("NumPy", name="outer")


def test_models_and_inputs_that_cannot_be_recorded_are_rejected(tmp_path):
    x, pair = numbers(6), {"left": numbers(6), "right": numbers(6)}
    unbuilt, two = Counting(), siamese()[0]
    half_built = Counting()
    half_built.built = True
    nothing = Nothing()
    nothing(x[:1])
    cases = {
        "a built model. Received: .* never called on data": (unbuilt, x, {}),
        "which calls 'hidden' .Dense. before that layer is built": (half_built, x, {}),
        "images of shape 4, for which the call of .* fails: .*'hidden'": (counting(), x[:, :4], {}),
        "for which the call of .* fails": (counting(), pair, {}),
        "calls in inference.*'skipped', which .* does not call": (
            counting(),
            x,
            {"layers": ["skipped"]},
        ),
        "returns tensors. Received: 'nothing.*none": (nothing, x, {}),
        "Unknown input in images.*right. Received: 'rihgt'": (two, {"left": x, "rihgt": x}, {}),
        "inputs left, right .* none for right": (two, {"left": x}, {}),
        "as 2 arrays.*Received: 1": (two, x, {}),
        "of one length.*8, 32 entries": (two, {"left": x[:8], "right": x}, {}),
        "images as dense arrays.*different shapes. Pad them": (
            two,
            {"left": x, "right": [[1], [1, 2]]},
            {},
        ),
        "Unknown plane_input.*right": (
            two,
            pair,
            {"labels": np.arange(N) % CLASSES, "plane_input": "rigth"},
        ),
    }
    for message, (model, images, options) in cases.items():

        def built(model=model, images=images, options=options):
            recorder = RepresentationRecorder(tmp_path / "no", images, batch_size=8, **options)
            return recorder.build(model)

        assert_input_error(message, message, built)
    assert not (tmp_path / "no").exists()
    model = ThroughNumPy()
    model(x[:1])
    message = "call of 'outer' .Around. fails"
    if BACKEND == "torch":
        # Which computes with NumPy arrays, too.
        message = "Received: 'outer', which returns none, but other values, such as NumPy arrays"

    def named():
        options = {"layers": ["outer"], "batch_size": 8}
        return RepresentationRecorder(tmp_path / "no", x, **options).build(model)

    assert_input_error(message, message, named)

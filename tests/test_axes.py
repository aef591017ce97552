"""The channel axis of every kind of layer, and the features that follow from it."""

import keras
import numpy as np
import pytest
from helpers import assert_input_error
from keras import layers, ops

from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording.network.axes import ChannelAxis, axis_notices, channel_axes
from repdyn_keras.recording.network.head import find_head
from repdyn_keras.recording.network.layer_choice import recordable
from repdyn_keras.recording.network.model_inputs import own_inputs
from repdyn_keras.recording.network.tracing import traced

FIRST = {"data_format": "channels_first"}
LAST = {"data_format": "channels_last"}


@pytest.fixture(autouse=True)
def zeros(monkeypatch):
    """Initializes weights with zeros: on jax, each draw is compiled for its shape."""

    def draw(self, shape, dtype=None, **options):
        return ops.zeros(shape, dtype)

    kinds = keras.initializers
    for kind in (kinds.GlorotUniform, kinds.Orthogonal, kinds.RandomUniform):
        monkeypatch.setattr(kind, "__call__", draw)


def axes_of(shape, *behind, given=None, dtype="float32"):
    """The axis of each layer of a chain behind an input of this shape, and whether it is known.

    The last layer is the output and has none.
    """
    images = keras.Input(shape, dtype=dtype)
    z = images
    for layer in behind:
        z = layer(z)
    model = keras.Model(images, layers.Dense(2, name="head")(layers.Flatten()(z)))
    trace = traced(model, own_inputs(model))
    taps = recordable(trace, find_head(trace)).items()
    tensors = {name: tap.tensor for name, tap in taps if not tap.call.name.startswith("flatten")}
    found = channel_axes(trace, tensors, given)
    return [(axis.axis, not axis.doubt) for axis in found.values()]


class Convolved(layers.Layer):
    """A layer of the user with a convolution inside."""

    def __init__(self, data_format, tokens=False):
        super().__init__()
        self.conv = layers.Conv2D(6, 1, data_format=data_format)
        self.tokens = tokens

    def call(self, x):
        x = self.conv(x)
        return ops.reshape(x, (-1, int(np.prod(x.shape[1:-1])), x.shape[-1])) if self.tokens else x


class Shifted(layers.Layer):
    """A layer of the user without layers inside that keeps the shape."""

    def call(self, x):
        return x + 1


class Widened(layers.Layer):
    """A layer of the user without layers inside that changes the last axis."""

    def call(self, x):
        return ops.concatenate([x, x, x], axis=-1)


def conv(data_format=FIRST, name="Conv2D", **options):
    size = {} if name.startswith("Depthwise") else {"filters": 6}
    return getattr(layers, name)(kernel_size=1, **size, **data_format, **options)


def nested(*behind, shape=(3, 8, 8)):
    return keras.Sequential([keras.Input(shape), *behind])


def residual(data_format):
    def call(z):
        z = conv(data_format)(z)
        return ops.relu(layers.Add()([z, conv(data_format)(z)]) * 2.0)

    return call


def test_layers_with_a_data_format_tell_their_channel_axis():
    kinds = [
        ((3, 8, 8), "Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D"),
        ((3, 8), "Conv1D Conv1DTranspose DepthwiseConv1D SeparableConv1D"),
        ((3, 4, 8, 8), "Conv3D Conv3DTranspose"),
    ]
    for shape, names in kinds:
        for name in names.split():
            assert axes_of(shape, conv(FIRST, name)) == [(1, True)], name
            assert axes_of(shape, conv(LAST, name)) == [(len(shape), True)], name
    for rank, shape in ((1, (3, 8)), (2, (3, 8, 8)), (3, (3, 4, 8, 8))):
        for kind in ("Max", "Average"):
            pool = getattr(layers, f"{kind}Pooling{rank}D")
            assert axes_of(shape, pool(1, **FIRST)) == [(1, True)]
            assert axes_of(shape, pool(1, **LAST)) == [(len(shape), True)]
    steps = layers.ConvLSTM2D(4, 1, return_sequences=True, **FIRST)
    assert axes_of((5, 3, 8, 8), steps) == [(2, True)]
    assert axes_of((5, 3, 8, 8), layers.ConvLSTM2D(4, 1, **FIRST)) == [(1, True)]
    assert axes_of((3, 8, 8), layers.GlobalAveragePooling2D(keepdims=True, **FIRST))[0] == (1, True)


def test_the_global_format_counts_only_through_the_layers():
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        assert axes_of((3, 8, 8), layers.Conv2D(4, 1), layers.ReLU()) == [(1, True)] * 2
        assert axes_of((3, 8, 8), conv(LAST), layers.ReLU()) == [(3, True)] * 2
        assert axes_of((8, 4), layers.LSTM(3, return_sequences=True)) == [(2, True)]
        assert axes_of((8, 8, 3), layers.Dense(5)) == [(3, True)]
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("data_format", [FIRST, LAST])
def test_layers_that_keep_the_axes_have_those_of_their_input(data_format):
    axis = 1 if data_format is FIRST else 3
    keeping = [
        layers.Activation("tanh"), layers.BatchNormalization(axis=axis), layers.Dropout(0.5),
        layers.GroupNormalization(2, axis=axis), layers.LayerNormalization(axis=axis),
        layers.Identity(), layers.ReLU(), layers.SpatialDropout2D(0.1, **data_format),
        layers.ZeroPadding2D(1, **data_format), layers.UpSampling2D(2, **data_format),
        layers.Cropping2D(1, **data_format), layers.Rescaling(0.5),
        layers.MaxPooling2D(2, **data_format), layers.Softmax(axis=axis), ops.relu, ops.abs,
        # By mistake along another axis: the convolution tells.
        layers.BatchNormalization(), layers.ZeroPadding2D(1),
        residual(data_format), nested_conv := nested(conv(data_format), layers.ReLU()),
        layers.SpectralNormalization(conv(data_format)), Convolved(**data_format), Shifted(),
        layers.Lambda(lambda x: x * 2.0),
    ]  # fmt: skip
    for layer in keeping:
        shape = nested_conv.input_shape[1:] if layer is nested_conv else (6, 6, 6)
        found = axes_of(shape, layer) if layer is nested_conv else axes_of(
            shape, conv(data_format), layer
        )  # fmt: skip
        assert set(found) == {(axis, True)}, layer
    gate = layers.Reshape((6, 1, 1) if axis == 1 else (1, 1, 6), name="gate")
    pool = layers.GlobalAveragePooling2D(**data_format)
    for merge in (
        lambda z: layers.Concatenate(axis=axis)([z, layers.ReLU()(z)]),
        lambda z: layers.Multiply()([z, gate(pool(z))]),
    ):
        assert axes_of((6, 6, 6), conv(data_format), merge)[-1] == (axis, True)


def test_the_axis_is_told_by_what_comes_after_or_by_a_normalization():
    assert axes_of((3, 8, 8), layers.Rescaling(2.0), conv(FIRST)) == [(1, True)] * 2
    assert axes_of((3, 8, 8), layers.BatchNormalization(axis=1)) == [(1, True)]
    generator = [layers.Dense(48), layers.Reshape((3, 4, 4)), layers.ReLU()]
    assert axes_of((5,), *generator, conv(FIRST, "Conv2DTranspose"))[1:] == [(1, True)] * 3
    assert axes_of((5,), *generator, conv(LAST, "Conv2DTranspose"))[1:] == [(3, True)] * 3
    # The convolution tells, not the default axis of the normalization.
    assert axes_of((3, 8, 8), layers.BatchNormalization(), conv(FIRST)) == [(1, True)] * 2
    inside = nested(layers.Rescaling(2.0), conv(FIRST))
    assert set(axes_of((3, 8, 8), layers.Identity(), inside)) == {(1, True)}


def test_axes_move_with_permutations_and_reshapes():
    for move, axis in [
        (layers.Permute((2, 3, 1)), 3),
        (lambda z: ops.transpose(z, (0, 2, 1, 3)), 2),
        (lambda z: ops.swapaxes(z, 1, -1), 3),
        (lambda z: ops.moveaxis(z, 1, 2), 2),
        (layers.Reshape((6, 64)), 1),
    ]:
        moved = axes_of((3, 8, 8), conv(FIRST), move, layers.ReLU())
        assert moved[-1] == (axis, True) and moved[0] == (1, True)
    tokens = axes_of((8, 8, 3), conv(LAST), layers.Reshape((-1, 6)), layers.Dropout(0.1))
    assert tokens == [(3, True), (2, True), (2, True)]


def test_features_are_last_in_sequences_and_dense_layers():
    for layer in (
        layers.Dense(4), layers.GRU(4, return_sequences=True), layers.LayerNormalization(),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.EinsumDense("abc,cd->abd", (7, 4)),
        lambda z: layers.MultiHeadAttention(2, 4)(z, z), lambda z: layers.Attention()([z, z]),
        layers.TimeDistributed(layers.Dense(4)),
    ):  # fmt: skip
        assert axes_of((7, 5), layer)[-1] == (2, True), layer
    assert axes_of((7,), layers.Embedding(9, 4), dtype="int32") == [(2, True)]
    assert axes_of((7,), layers.RepeatVector(4)) == [(2, True)]
    assert axes_of((5, 3, 8, 8), layers.TimeDistributed(conv(FIRST))) == [(2, True)]
    inner = layers.TimeDistributed(nested(conv(FIRST), layers.ReLU()))
    assert axes_of((5, 3, 8, 8), inner) == [(2, True)]
    assert axes_of((7, 5), layers.Flatten(), layers.Dense(3)) == [(1, True)]


def test_what_cannot_be_told_is_assumed_and_announced():
    for shape, behind, axis in [
        ((8, 8, 3), [layers.Identity()], 3),
        ((48,), [layers.Reshape((4, 4, 3))], 3),
        ((3, 8, 8), [conv(FIRST), layers.Reshape((64, 6))], 2),
        ((3, 8, 8), [conv(FIRST), layers.Lambda(lambda z: ops.transpose(z, (0, 2, 3, 1)))], 3),
        ((3, 8, 8), [conv(FIRST), lambda z: ops.mean(z, axis=2), layers.Identity()], 2),
        ((8, 8, 3), [Convolved("channels_last", tokens=True)], 2),
        ((8, 8, 3), [Widened()], 3),
    ]:
        assert axes_of(shape, *behind)[-1] == (axis, False), behind
    # A layer behind it inherits the doubt, and what is told later ends it.
    assert axes_of((48,), layers.Reshape((4, 4, 3)), layers.ReLU()) == [(3, False)] * 2
    doubtful = {"a": ChannelAxis(3, "Reshape"), "b": ChannelAxis(1), "c": ChannelAxis(3, "Lambda")}
    (text,) = axis_notices(doubtful, None)
    assert "channel axis of a (Reshape), c (Lambda): axis 3" in text and "set channel_axis" in text
    assert list(axis_notices({"b": ChannelAxis(1)}, None)) == []
    (text,) = axis_notices({"b": ChannelAxis(1)}, 1)
    assert "channel_axis=1 is not used" in text


def test_a_given_axis_replaces_an_assumed_one():
    reshaped = [layers.Reshape((3, 4, 4)), layers.ReLU(), layers.Conv2D(4, 1, **LAST)]
    assert axes_of((48,), *reshaped[:2], given=1) == [(1, True)] * 2
    assert axes_of((48,), *reshaped[:2], given=-3) == [(1, True)] * 2
    assert axes_of((8, 8, 3), conv(LAST), given=1) == [(3, True)], "a known axis is kept"
    named = layers.Reshape((3, 4, 4), name="named")
    assert axes_of((48,), named, layers.ReLU(), given={"named": 1}) == [(1, True)] * 2
    known = conv(LAST, name="Conv2D")
    assert axes_of((8, 8, 3), known, given={"conv2d": 1}) == [(1, True)], "by name, it is not"
    for given, message in [
        (0, "from 1 to 3, or from -3 to -1: .* axis 0 is the batch. Received: 0"),
        (4, "Received: 4"),
        ({"nmaed": 1}, "Unknown layer in channel_axis. Expected .*named. Received: 'nmaed'"),
        ({"named": -4}, "channel_axis of 'named'.*Received: -4"),
    ]:
        assert_input_error(given, message, axes_of, (48,), named, given=given)
    for given in (1.0, True, "1", {"named": None}, [1]):
        message = "Expected channel_axis as a whole number"
        options = {"channel_axis": given, "batch_size": 4}
        assert_input_error(
            given, message, RepresentationRecorder, "none", np.zeros((4, 3)), **options
        )


@pytest.mark.needs("torch")
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="wraps modules of torch")
def test_modules_of_torch_have_their_channels_first(tmp_path, capsys):
    import torch

    images = keras.Input((3, 8, 8))
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU())
    z = layers.TorchModuleWrapper(module, name="wrapped", output_shape=(None, 6, 6, 6))(images)
    model = keras.Model(images, layers.Dense(2)(layers.Flatten()(layers.ReLU(name="after")(z))))
    x, y = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype("float32"), np.arange(8) % 2
    options = {"layers": ["wrapped", "after"], "batch_size": 4, "planes": 0}
    recorder = RepresentationRecorder(tmp_path, x, y, **options)
    recorder.record(model, 0)
    axes = recorder.measurement.channel_axes
    assert axes == {name: ChannelAxis(1, "TorchModuleWrapper") for name in options["layers"]}
    assert "wrapped (TorchModuleWrapper), after (TorchModuleWrapper): axis 1" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("pooling", ["mean", "flatten", 2])
def test_probe_features_do_not_depend_on_the_layout(tmp_path, pooling):
    """With reshapes: TensorFlow runs no convolution of channels_first on a CPU."""
    x = np.random.default_rng(0).normal(size=(8, 48)).astype("float32")
    y = np.arange(8) % 2
    features = []
    for order, axis in (((1, 2, 3), 3), ((3, 1, 2), 1)):
        inputs = keras.Input((48,))
        z = layers.Permute(order, name="image")(layers.Reshape((4, 4, 3))(inputs))
        init = keras.initializers.Constant(0.1)
        model = keras.Model(inputs, layers.Dense(2, kernel_initializer=init)(layers.Flatten()(z)))
        recorder = RepresentationRecorder(
            tmp_path / str(axis), x, y, layers=["image"], planes=0, batch_size=4, pooling=pooling,
            channel_axis=axis,
        )  # fmt: skip
        recorder.record(model, 0)
        record = recorder.folder.record(0)
        widths = recorder.folder.constants()["probe_width"].values.tolist()
        assert widths == [{"mean": 3, "flatten": 48, 2: 12}[pooling]]
        assert recorder.folder.constants().attrs["channel_axis"] == str(axis)
        features.append(record["probe_objective"].values[0])
    assert features[0] == pytest.approx(features[1], rel=1e-5)

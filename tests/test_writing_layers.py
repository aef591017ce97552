"""Recording a model whose layers draw or write in every call changes nothing.

The layers are generated: each writes in one of the ways that Keras allows, in inference as well.
"""

import contextlib
import importlib.util
import io
import itertools
import random

import keras
import numpy as np
import pytest
from keras import layers, ops

from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording.state import Stopwatch, measure
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.records import RunFolder

BACKEND = keras.backend.backend()
WIDTH, BATCH, N = 6, 8, 32
SHARED = {}


class Drawing(layers.Layer):
    """Adds or multiplies random values in every call."""

    def __init__(self, draw, generators=1, multiplies=False, **arguments):
        super().__init__(**arguments)
        self.draw = draw
        self.multiplies = multiplies
        self.generators = [keras.random.SeedGenerator(3 + i) for i in range(generators)]

    def call(self, x):
        for generator in self.generators:
            noise = ops.cast(self.draw(ops.shape(x), generator), x.dtype)
            x = x * (1 + noise) if self.multiplies else x + noise
        return x


def normal(shape, seed):
    return 0.3 * keras.random.normal(shape, seed=seed)


DRAWS = {
    "normal": normal,
    "uniform": lambda shape, seed: keras.random.uniform(shape, seed=seed) - 0.5,
    "integers": lambda shape, seed: (
        0.1 * ops.cast(keras.random.randint(shape, 0, 5, seed=seed), "float32")
    ),
    "truncated": lambda shape, seed: keras.random.truncated_normal(shape, stddev=0.2, seed=seed),
    "gamma": lambda shape, seed: 0.1 * keras.random.gamma(shape, 2.0, seed=seed),
    "bernoulli": lambda shape, seed: keras.random.dropout(ops.ones(shape), 0.3, seed=seed) - 1,
    "shuffled": lambda shape, seed: (
        0.1
        * keras.random.shuffle(
            ops.ones((BATCH, 1)) * ops.arange(WIDTH, dtype="float32"), axis=1, seed=seed
        )[:1]
    ),
}


class Writing(layers.Layer):
    """Assigns weights in every call, and computes with them."""

    def __init__(self, way, trainable_state=False, dtype_of_state="float32", **arguments):
        super().__init__(**arguments)
        self.way = way
        self.trainable_state = trainable_state
        self.dtype_of_state = dtype_of_state

    def build(self, shape):
        size = () if self.way in ("count", "twice") else (shape[-1],)
        self.state = self.add_weight(
            shape=size,
            initializer="ones",
            trainable=self.trainable_state,
            dtype=self.dtype_of_state,
            name="state",
        )

    def call(self, x):
        before = ops.cast(self.state, x.dtype)
        if self.way == "count":
            self.state.assign_add(ops.ones((), self.dtype_of_state))
        elif self.way == "twice":
            self.state.assign(self.state * 2)
            self.state.assign_sub(ops.ones((), self.dtype_of_state))
        elif self.way == "mean":
            self.state.assign(0.9 * self.state + 0.1 * ops.mean(x, axis=0))
        elif self.way == "overwrite":
            self.state.assign(ops.cast(ops.max(x, axis=0), self.dtype_of_state))
        after = ops.cast(self.state, x.dtype)
        return x + 0.1 * before + 0.01 * after


class Losing(layers.Layer):
    """Adds a loss and updates a metric in every call."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, x):
        self.add_loss(0.01 * ops.mean(ops.square(x)))
        if BACKEND != "jax":  # where Keras's own training fails
            self.seen.update_state(ops.mean(x))
        return x


class AlwaysTraining(layers.Layer):
    """Calls a layer in training mode, in inference too, as Monte Carlo dropout does."""

    def __init__(self, inner, **arguments):
        super().__init__(**arguments)
        self.inner = inner

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x, training=True)


class Codebook(layers.Layer):
    """The codebook of a vector quantizer, updated by moving averages in every call."""

    def build(self, shape):
        init = keras.initializers.RandomNormal(seed=4)
        self.codes = self.add_weight(shape=(5, shape[-1]), initializer=init, trainable=False)

    def call(self, x):
        distance = ops.sum(ops.square(x[:, None] - self.codes[None]), axis=-1)
        chosen = ops.one_hot(ops.argmin(distance, axis=1), 5)
        sums = ops.matmul(ops.transpose(chosen), x)
        self.codes.assign(0.9 * self.codes + 0.1 * sums)
        return x + 0.1 * ops.matmul(chosen, self.codes)


class NoisyCell(layers.SimpleRNNCell):
    """A recurrent cell whose inputs are noisy."""

    def __init__(self, units, **arguments):
        super().__init__(units, **arguments)
        self.noise = keras.random.SeedGenerator(8)

    def call(self, inputs, states, training=None):
        return super().call(inputs + 0.1, states, training=training)


class Unseeded(layers.Layer):
    """Draws from the global generator of Keras, or of Python and NumPy."""

    def __init__(self, source, **arguments):
        super().__init__(**arguments)
        self.source = source

    def call(self, x):
        if self.source == "keras":
            return x + 0.1 * keras.random.normal(ops.shape(x))
        value = np.random.normal() if self.source == "numpy" else random.random()
        return x + 0.1 * value


class Recurrent(layers.Layer):
    """A stateful recurrent layer over a row of numbers."""

    def __init__(self, inner, **arguments):
        super().__init__(**arguments)
        self.inner = inner

    def build(self, shape):
        self.inner.build((BATCH, shape[-1], 1))

    def call(self, x):
        return self.inner(x[:, :, None])


def shared_drawing():
    """A layer that shares its generator with others of its kind in the same model."""
    layer = Drawing(normal)
    layer.generators = [SHARED.setdefault("generator", keras.random.SeedGenerator(21))]
    return layer


def nested(inner):
    images = keras.Input((WIDTH,))
    return keras.Sequential([images, inner, layers.Dense(WIDTH, kernel_initializer=ortho())])


def ortho():
    return keras.initializers.Orthogonal(seed=2)


def torch_module(kind):
    """A wrapped torch module with buffers."""
    import torch

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(WIDTH, WIDTH)
            torch.nn.init.eye_(self.linear.weight)
            torch.nn.init.zeros_(self.linear.bias)
            self.register_buffer("calls", torch.ones(()))

        def forward(self, x):
            if kind == "rebound":
                self.calls = self.calls + 1
            else:
                self.calls += 1
            return self.linear(x) + 0.01 * self.calls

    class Noisy(torch.nn.Module):
        def forward(self, x):
            return x + 0.1 * torch.randn_like(x)

    modules = {
        "norm": lambda: torch.nn.BatchNorm1d(WIDTH),
        "dropout": lambda: torch.nn.Dropout(0.3),
        "noise": Noisy,
    }
    module = modules.get(kind, Counting)()
    return layers.TorchModuleWrapper(module, output_shape=(None, WIDTH))


def jax_layer(with_seed):
    import jax

    def init(rng, shape):
        return {"scale": jax.numpy.ones(())}, {"calls": jax.numpy.zeros(())}

    def call(params, state, rng, inputs):
        noise = 0 if rng is None else jax.random.normal(rng, inputs.shape)
        result = inputs * params["scale"] + 0.1 * noise + 0.01 * state["calls"]
        return result, {"calls": state["calls"] + 1}

    def call_without(params, state, inputs):
        return call(params, state, None, inputs)

    def init_only(rng, inputs):
        return init(rng, inputs)

    return layers.JaxLayer(call_fn=call if with_seed else call_without, init_fn=init_only, seed=5)


class RawVariable(layers.Layer):
    """Assigns variables of tensorflow that Keras does not know."""

    def build(self, shape):
        import tensorflow as tf

        class Counter(tf.Module):
            def __init__(self):
                super().__init__()
                self.calls = tf.Variable(1.0, trainable=False)

        self.raw = [tf.Variable(1.0, trainable=False)]
        self.counter = Counter()
        self.generator = tf.random.Generator.from_seed(4)

    def call(self, x):
        self.raw[0].assign_add(1.0)
        self.counter.calls.assign_add(1.0)
        return x + 0.01 * self.raw[0] + 0.1 * self.generator.normal((WIDTH,)) * self.counter.calls

    def raw_variables(self):
        return [self.raw[0], self.counter.calls, self.generator.state]


class TensorFlowDrawing(layers.Layer):
    """Draws with tf.random."""

    def call(self, x):
        import tensorflow as tf

        return x + 0.1 * tf.random.normal((WIDTH,))


WAYS = ("count", "twice", "mean", "overwrite")
MAKERS = {
    **{f"draws {k}": lambda d=d: Drawing(d) for k, d in DRAWS.items()},
    **{
        f"multiplies by {k}": lambda d=d: Drawing(d, multiplies=True)
        for k, d in list(DRAWS.items())[:4]
    },
    "draws from two generators": lambda: Drawing(normal, 2),
    "shares its generator": shared_drawing,
    **{
        f"assigns {way}{' to a trained weight' if trained else ''}": lambda w=way, t=trained: (
            Writing(w, t)
        )
        for way, trained in itertools.product(
            ("count", "twice", "mean", "overwrite"), (False, True)
        )
    },
    "counts in int32": lambda: Writing("count", dtype_of_state="int32"),
    "overwrites in float16": lambda: Writing("overwrite", dtype_of_state="float16"),
    "adds a loss": Losing,
    "activity regularizer": lambda: layers.ActivityRegularization(l2=0.01),
    "codebook": Codebook,
    **{
        f"training-mode {type_name}": lambda make=make: AlwaysTraining(make())
        for type_name, make in {
            "Dropout": lambda: layers.Dropout(0.3, seed=1),
            "GaussianNoise": lambda: layers.GaussianNoise(0.3, seed=1),
            "GaussianDropout": lambda: layers.GaussianDropout(0.3, seed=1),
            "AlphaDropout": lambda: layers.AlphaDropout(0.3, seed=1),
            "BatchNormalization": layers.BatchNormalization,
            "BatchNormalization, momentum 0": lambda: layers.BatchNormalization(momentum=0.0),
            "SpectralNormalization": lambda: layers.SpectralNormalization(
                layers.Dense(WIDTH, kernel_initializer=ortho())
            ),
        }.items()
    },
    "nested drawing": lambda: nested(Drawing(normal)),
    "nested counting": lambda: nested(Writing("count")),
    "nested dropout": lambda: nested(AlwaysTraining(layers.Dropout(0.3, seed=1))),
    "stateful LSTM": lambda: Recurrent(
        layers.LSTM(WIDTH, stateful=True, kernel_initializer=ortho(), seed=1)
    ),
    "stateful GRU": lambda: Recurrent(
        layers.GRU(WIDTH, stateful=True, kernel_initializer=ortho(), seed=1)
    ),
    "recurrent dropout": lambda: AlwaysTraining(
        Recurrent(layers.GRU(WIDTH, recurrent_dropout=0.2, kernel_initializer=ortho(), seed=1))
    ),
    "numpy": lambda: Unseeded("numpy"),
    "python": lambda: Unseeded("python"),
    "ordinary dropout": lambda: layers.Dropout(0.3, seed=1),
    "ordinary normalization": layers.BatchNormalization,
}
if BACKEND != "jax":  # where Keras allows it
    MAKERS["global generator"] = lambda: Unseeded("keras")
if BACKEND != "torch" and importlib.util.find_spec("tensorflow"):  # JaxLayer needs both
    MAKERS |= {
        "JaxLayer": lambda: jax_layer(False),
        "JaxLayer with a seed": lambda: jax_layer(True),
    }
if BACKEND == "tensorflow":
    MAKERS["raw variables"] = RawVariable
    MAKERS["tf.random"] = TensorFlowDrawing
if BACKEND == "torch":
    MAKERS |= {
        f"torch {kind}": lambda kind=kind: torch_module(kind)
        for kind in ("norm", "dropout", "noise", "counter", "rebound")
    }
    # Keras's own training fails: the states are changed in place before the gradients are computed.
    for broken in ("stateful LSTM", "stateful GRU"):
        del MAKERS[broken]


def drawn_models(seed: int) -> list[list[str]]:
    """Models of one to four layers that together have every layer."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(MAKERS)).tolist()
    models = []
    while names:
        count = int(rng.integers(1, 5))
        models.append(names[:count])
        names = names[count:]
    return models


MODELS = drawn_models(0)


def build(names: list[str], run_eagerly=False) -> keras.Model:
    SHARED.clear()
    keras.utils.set_random_seed(1)
    images = keras.Input((WIDTH,), batch_size=BATCH)
    x = layers.Dense(WIDTH, "tanh", kernel_initializer=ortho(), name="first")(images)
    for index, name in enumerate(names):
        x = MAKERS[name]()(x)
        x = layers.Dense(WIDTH, "tanh", kernel_initializer=ortho(), name=f"after{index}")(x)
    model = keras.Model(images, layers.Dense(3, kernel_initializer=ortho(), name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=run_eagerly)
    return model


def images_and_labels():
    rng = np.random.default_rng(3)
    return rng.normal(size=(N, WIDTH)).astype("float32"), np.arange(N) % 3


def recorder_of(folder, **settings):
    x, y = images_and_labels()
    settings = {"planes": 1, "resolution": 4, "batch_size": BATCH} | settings
    with contextlib.redirect_stdout(io.StringIO()):
        return RepresentationRecorder(
            folder, x, y, layers=r"first|after\d", batch_norm="recalibrate", **settings
        )


def everything(model) -> list[np.ndarray]:
    """All state of a model, its optimizer and its torch modules."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    values = [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]
    for layer in model._flatten_layers():
        if isinstance(layer, RawVariable):
            values += [np.array(variable.numpy()) for variable in layer.raw_variables()]
    if BACKEND == "torch":
        for layer in model._flatten_layers():
            values += [buffer.detach().cpu().numpy().copy() for buffer in layer.buffers()]
    return values


def assert_same(before, after, names):
    """Bit-identical arrays."""
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), names


def fit(names, folder=None, **how):
    """A model after a training, which is recorded if a folder is given."""
    model = build(names, **how)
    x, y = images_and_labels()
    callbacks = [] if folder is None else [recorder_of(folder, epochs=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(x, y, epochs=2, batch_size=BATCH, verbose=0, callbacks=callbacks)
    return model


def check(names, folder, **how):
    plain, recorded = fit(names, **how), fit(names, folder / "run", **how)
    assert_same(everything(plain), everything(recorded), names)
    before = everything(recorded)
    again = recorder_of(folder / "again")
    with contextlib.redirect_stdout(io.StringIO()):
        again.record(recorded, 2)
    records = [RunFolder(folder / name).record(2) for name in ("run", "again")]
    assert_same(before, everything(recorded), names)
    # The seeds of tensorflow's own random operations cannot be set.
    assert "tf.random" in names or records[0].equals(records[1]), names
    assert records[0]["finite"].all()


@pytest.mark.parametrize("names", MODELS[1:2], ids=" + ".join)
def test_recording_changes_no_variable_and_equal_weights_give_equal_records(names, tmp_path):
    check(names, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("names", [*MODELS[:1], *MODELS[2:]], ids=" + ".join)
def test_recording_changes_no_variable_whatever_layers_write(names, tmp_path):
    check(names, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("names", MODELS[2:3], ids=" + ".join)
def test_recording_a_model_that_runs_eagerly_changes_nothing(names, tmp_path):
    names = [*names, "tf.random"] if BACKEND == "tensorflow" else names
    check(names, tmp_path, run_eagerly=True)


@pytest.mark.parametrize("names", MODELS[2:5], ids=" + ".join)
def test_the_given_values_are_measured_whatever_the_model_holds(names, tmp_path):
    model, recorder = fit(names), recorder_of(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        recorded = recorder.build(model)
        expected = measure(recorded, Stopwatch(), ModelValues.live(model))
        values = ModelValues.copied(model)
        model.set_weights([weight * 0 + 1 for weight in model.get_weights()])
        changed = [np.array(w) for w in model.get_weights()]
        measured = measure(recorded, Stopwatch(), values)
    assert_same(changed, model.get_weights(), names)
    for name, (dims, array) in expected.items():
        assert measured[name][0] == dims
        np.testing.assert_array_equal(measured[name][1], array, err_msg=name)


def test_the_family_has_at_least_forty_layers():
    assert len(MAKERS) >= 40

"""Whether an output holds class scores, over losses, heads and labels, and what is recorded."""

import functools

import keras
import numpy as np
import pytest
from helpers import assert_input_error
from keras import layers, losses, ops

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.cli.results import print_results
from repdyn_keras.errors import InputError
from repdyn_keras.figures import draw_all
from repdyn_keras.recording.network.class_scores import resolved_head
from repdyn_keras.recording.network.head import find_head
from repdyn_keras.recording.network.model_inputs import own_inputs
from repdyn_keras.recording.network.tracing import traced

N = 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6)).astype("float32")
SCORES, SAID, NONE, REFUSED = "scores", "scores, announced", "none", "refused"


@pytest.fixture(autouse=True)
def zeros(monkeypatch):
    """Initializes weights with zeros: on jax, each draw is compiled for its shape."""

    def draw(self, shape, dtype=None, **options):
        return ops.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", draw)


def own(y, z):
    """A loss that Keras does not know."""
    return ops.mean(ops.square(z))


class OwnLoss(losses.MeanSquaredError):
    """A loss that is derived from one of Keras and computes something else."""

    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_pred), axis=-1)


class Subclassed(losses.SparseCategoricalCrossentropy):
    """A loss of Keras under another name."""


def model_of(units, activation=None, *behind):
    images = keras.Input((6,))
    z = layers.Dense(units, activation=activation, name="out")(
        layers.Dense(5, name="hidden")(images)
    )
    for layer in behind:
        z = layer(z)
    return keras.Model(images, z)


def recorder_of(folder, classes, **options):
    y = np.arange(N) % classes
    options = {"planes": 0, "batch_size": 12, **options}
    return RepresentationRecorder(folder, X, y, **options)


def resolved(folder, model, classes, **options):
    settings = recorder_of(folder, classes, **options).settings
    head = find_head(traced(model, own_inputs(model)), options.get("output"))
    return resolved_head(model, head, settings)


def mixed(units):
    """A head of a mixed-precision model, which ends in float32."""
    return model_of(units, None, layers.Activation("softmax", dtype="float32"))


UNIT_LENGTH = layers.UnitNormalization
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"
LOGITS = losses.BinaryCrossentropy(from_logits=True)
ACCURACY = {"metrics": ["accuracy"]}
UNCOMPILED = object()
# (units, activation, layers behind), loss, other arguments of `compile`, classes of the labels, and
# what the output is taken for.
CASES = [
    # Losses of classes.
    ((10,), SPARSE, {}, 10, SCORES),
    ((10, "softmax"), CATEGORICAL, {}, 10, SCORES),
    ((10,), losses.SparseCategoricalCrossentropy(from_logits=True), {}, 2, SCORES),
    ((10,), losses.CategoricalFocalCrossentropy(), {}, 1, SCORES),
    ((10,), Subclassed(from_logits=True), {}, 10, SCORES),
    ((10,), losses.categorical_hinge, {}, 10, SCORES),
    ((10,), [SPARSE], {}, 10, SCORES),
    ((10,), {"out": SPARSE}, {}, 10, SCORES),
    ((10, None, UNIT_LENGTH), SPARSE, {}, 10, SCORES),
    ((10,), SPARSE, {}, 12, REFUSED),
    ((4,), SPARSE, {}, 10, NONE),
    # Losses of units, which may be pixels.
    ((1, "sigmoid"), "binary_crossentropy", {}, 2, SCORES),
    ((1,), LOGITS, {}, 2, SCORES),
    ((1,), "hinge", {}, 2, SCORES),
    ((1, "relu"), LOGITS, {}, 2, SCORES),
    ((1,), LOGITS, {}, 3, REFUSED),
    ((1,), LOGITS, {}, 10, NONE),
    ((10, "sigmoid"), "bce", {}, 10, SCORES),
    ((10, "sigmoid"), losses.BinaryFocalCrossentropy(), {}, 9, SAID),
    ((64, "sigmoid"), "binary_crossentropy", {}, 10, NONE),
    ((4, "sigmoid"), "binary_crossentropy", {}, 10, NONE),
    ((10, "softmax"), "kl_divergence", {}, 10, SCORES),
    ((50, "softmax"), "kld", {}, 10, NONE),
    # Losses of numbers.
    ((10, "softmax"), "mse", {}, 10, SAID),
    ((10, "softmax"), losses.MeanSquaredError(), {}, 9, SAID),
    ((64, "sigmoid"), "mse", {}, 10, NONE),
    ((2,), "mse", {}, 2, NONE),
    ((10,), losses.Huber(), {}, 10, NONE),
    ((10,), "mse", ACCURACY, 10, SAID),
    ((64,), "mse", ACCURACY, 10, NONE),
    ((1,), "mae", {}, 10, NONE),
    ((1,), "mse", {}, 2, NONE),
    ((1, "sigmoid"), "mse", {}, 2, SAID),
    ((1,), "poisson", {}, 10, NONE),
    ((10,), "log_cosh", {}, 10, NONE),
    ((10, None, UNIT_LENGTH), "cosine_similarity", {}, 10, NONE),
    ((16,), losses.CosineSimilarity(), {}, 10, NONE),
    # Losses of the user's own, and no loss for the output.
    ((10,), own, {}, 10, SAID),
    ((16,), own, {}, 10, NONE),
    ((16,), own, ACCURACY, 10, SAID),
    ((2,), own, {}, 10, NONE),
    ((10,), OwnLoss(), {}, 10, SAID),
    ((64,), OwnLoss(), {}, 10, NONE),
    ((16, None, UNIT_LENGTH), own, {}, 16, NONE),
    ((16, None, lambda: ops.normalize), own, {}, 16, NONE),
    ((1,), own, {}, 10, NONE),
    ((1, "relu"), own, {}, 2, NONE),
    ((64,), None, {}, 10, NONE),
    ((10,), None, {}, 10, SAID),
    ((10,), functools.partial(losses.categorical_crossentropy, from_logits=True), {}, 10, SCORES),
    # Models that are not compiled.
    ((10,), UNCOMPILED, {}, 10, SCORES),
    ((10, "softmax"), UNCOMPILED, {}, 10, SCORES),
    ((10,), UNCOMPILED, {}, 9, SAID),
    ((64,), UNCOMPILED, {}, 10, NONE),
    ((1,), UNCOMPILED, {}, 2, SCORES),
    ((16, None, UNIT_LENGTH), UNCOMPILED, {}, 16, NONE),
    ((16, None, UNIT_LENGTH), UNCOMPILED, {}, 20, NONE),
    ((10,), UNCOMPILED, {}, 11, REFUSED),
    ((1,), UNCOMPILED, {}, 4, REFUSED),
    ((1,), UNCOMPILED, {}, 10, NONE),
    ((2,), UNCOMPILED, {}, 10, NONE),
    ((1, "relu"), UNCOMPILED, {}, 2, REFUSED),
]


def test_an_output_holds_class_scores_by_its_loss_its_head_and_the_labels(tmp_path):
    for (units, *rest), loss, options, classes, expected in CASES:
        activation, *behind = rest or [None]
        case = (units, *rest, loss, options, classes)
        model = model_of(units, activation, *(layer() for layer in behind))
        if loss is not UNCOMPILED:
            model.compile("sgd", loss, **options)
        if expected == REFUSED:
            message = "(labels from 0 to|probability or a logit).*Received: .*Leave out the labels"
            assert_input_error(case, message, resolved, tmp_path, model, classes)
            continue
        head = resolved(tmp_path, model, classes)
        assert head.has_scores == (expected in (SCORES, SAID)), case
        assert bool(head.notice) == (expected != SCORES), case
        assert head.classes == (max(units, 2) if head.has_scores else classes), case
        words = "is taken for class scores" if head.has_scores else "no accuracy and no regions"
        assert expected == SCORES or words in head.notice, case


def test_advice_to_compile_in_another_way_is_given_where_it_helps_and_only_there(tmp_path):
    for (units, *rest), loss, options, classes, expected in CASES:
        if expected != NONE:
            continue
        activation, *behind = rest or [None]
        case = (units, *rest, loss, options, classes)
        model = model_of(units, activation, *(layer() for layer in behind))
        if loss is UNCOMPILED:
            advice, helpful = "compile the model with its loss", {"loss": SPARSE}
        else:
            model.compile("sgd", loss, **options)
            advice, helpful = "metrics=['accuracy']", {"loss": loss, **ACCURACY}
        is_advised = advice in resolved(tmp_path, model, classes).notice
        model.compile("sgd", **helpful)
        try:
            helps = resolved(tmp_path, model, classes).has_scores
        except InputError:
            helps = False
        assert helps == is_advised, case


def test_the_loss_gives_the_threshold_of_a_single_unit(tmp_path):
    for activation, loss, threshold in [
        ("sigmoid", "binary_crossentropy", 0.5),
        ("sigmoid", "mse", 0.5),
        (None, LOGITS, 0),
        (None, "binary_crossentropy", 0.5),
        ("relu", "binary_crossentropy", 0.5),
        ("relu", LOGITS, 0),
        (None, "hinge", 0),
        ("tanh", "squared_hinge", 0),
        (None, UNCOMPILED, 0),
    ]:
        model = model_of(1, activation)
        if loss is not UNCOMPILED:
            model.compile("sgd", loss)
        assert resolved(tmp_path, model, 2).threshold == threshold, (activation, loss)
    model = model_of(1)
    model.compile("sgd", "mse", **ACCURACY)
    assert resolved(tmp_path, model, 2).threshold == 0.5


def test_the_loss_of_each_output_is_its_own(tmp_path):
    def model(outputs=dict):
        images = keras.Input((6,))
        z = layers.Dense(5, name="hidden")(images)
        parts = {"a": layers.Dense(4, name="kind")(z), "b": layers.Dense(4, name="code")(z)}
        return keras.Model(images, parts if outputs is dict else list(parts.values()))

    for outputs, loss in [
        (dict, {"a": SPARSE, "b": "mse"}),
        (list, {"kind": SPARSE, "code": "mse"}),
        (list, [SPARSE, "mse"]),
        (dict, [SPARSE, "mse"]),
        (dict, {"a": SPARSE, "b": ["mse", "mae"]}),
    ]:
        both = model(outputs)
        both.compile("sgd", loss)
        for name, has_scores in (("kind", True), ("code", False)):
            head = resolved(tmp_path, both, 4, output=name)
            assert head.has_scores == has_scores, (outputs, loss, name)
    one = model()
    one.compile("sgd", {"a": SPARSE})
    head = resolved(tmp_path, one, 3, output="code")
    assert not head.has_scores and "no loss for this output" in head.notice
    one.compile("sgd", {"a": "mse", "b": "mse"}, metrics={"a": ["accuracy"]})
    found = [resolved(tmp_path, one, 4, output=name).has_scores for name in ("kind", "code")]
    assert found == [True, False]


def test_class_names_count_and_mixed_precision_changes_nothing(tmp_path):
    names = {"class_names": list("abcdefghij")}
    model = model_of(10)
    model.compile("sgd", own)
    assert not resolved(tmp_path, model, 4).has_scores
    assert resolved(tmp_path, model, 4, **names).has_scores
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert resolved(tmp_path, mixed(4), 4).has_scores
        embedding = model_of(64)
        embedding.compile("sgd", "mse")
        assert not resolved(tmp_path, embedding, 4).has_scores
    finally:
        keras.config.set_dtype_policy(before)


def test_an_output_of_another_shape_holds_no_class_scores(tmp_path):
    model = model_of(8, None, layers.Reshape((2, 4)))
    model.compile("sgd", SPARSE)
    head = resolved(tmp_path, model, 4)
    assert not head.has_scores and "its shape is 2 x 4" in head.notice and head.classes == 4


# --- records ------------------------------------------------------------------------------------


def regression(folder):
    """The recorder of a trained regression with BatchNormalization and planes, and its output."""
    images = keras.Input((6,))
    init = keras.initializers.RandomNormal(seed=1)
    z = layers.Dense(5, activation="tanh", kernel_initializer=init, name="hidden")(images)
    z = layers.BatchNormalization(name="norm")(z)
    model = keras.Model(images, layers.Dense(2, kernel_initializer=init, name="targets")(z))
    model.compile("sgd", "mse")
    y = np.arange(N) % 3
    recorder = RepresentationRecorder(
        folder, X, y, test=(X[:9], y[:9]), planes=2, resolution=4, batch_size=12
    )
    model.fit(X, X[:, :2], epochs=2, verbose=0, callbacks=[recorder])
    return recorder


@pytest.mark.long
def test_probes_are_recorded_without_an_accuracy_of_the_output(capsys, tmp_path):
    recorder = regression(tmp_path / "run")
    constants, record = recorder.folder.constants(), recorder.folder.record(2)
    assert (constants.attrs["n_classes"], constants.attrs["output_classes"]) == (3, 0)
    assert recorder.measurement.n_classes == 3
    accuracy = record["probe_accuracy"].values
    assert np.isfinite(accuracy[:2, [0, -1]]).all() and np.isnan(accuracy[2]).all()
    assert record["accuracy_inference"].isnull() and record["accuracy_training"].isnull()
    assert (record["regions"].sel(layer="output") == 255).all()
    assert record["regions"].sel(layer="hidden").max() < 3
    run = open_run(tmp_path / "run")
    assert np.isnan(run.dynamics.attrs["perfect_fit_epoch"])
    assert np.isnan(run.dynamics.attrs["memorized_share"])
    assert run.dynamics["region_agreement"].sel(layer="output").isnull().all()
    assert run.dynamics["cka"].sel(layer="output").notnull().all()
    assert run.dynamics["region_agreement"].sel(layer="norm").notnull().all()
    printed = capsys.readouterr().out
    notice = "repdyn: output 'targets' holds no class scores (loss mse): no accuracy and no regions"
    assert printed.count(notice) == 1
    print_results(run)
    printed = capsys.readouterr().out
    assert "not reached" not in printed and "The output holds no class scores" in printed
    assert len(draw_all(run.dynamics, tmp_path / "figures")) == 10


@pytest.mark.parametrize(("classes", "notice"), [(2, "two images of one class"), (1, "of it.")])
def test_few_classes_are_recorded_with_planes(tmp_path, capsys, classes, notice):
    model = model_of(4)
    model.compile("sgd", SPARSE)
    test = (X, np.arange(N) % 4)
    recorder = recorder_of(tmp_path, classes, planes=2, resolution=3, test=test)
    recorder.record(model, 0)
    printed, record = capsys.readouterr().out, recorder.folder.record(0)
    assert notice in printed and record["regions"].max() < 4
    assert ("all of one class: their accuracy is 1" in printed) == (classes == 1)
    if classes == 1:
        assert record["probe_accuracy"].values[0, [0, -1]].tolist() == [1, 0.25]

"""Histories of images in a recording, the lists of images, and exported variables."""

import io
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
from helpers import assert_rejected, repdyn, words_in

from repdyn_keras import InputError, RepresentationRecorder, open_run
from repdyn_keras.dynamics import analyze
from repdyn_keras.figures import image_history, suspects
from repdyn_keras.recording.network.head import Head
from repdyn_keras.recording.thumbnails import thumbnail_shape, thumbnails

N, CLASSES = 48, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6, 6, 1)).astype("float32")
Y = np.arange(N) % CLASSES
IDS = [f"img-{number:02d}.png" for number in range(N)]


def classifier(units: int, activation: str | None) -> keras.Model:
    inputs = keras.Input((6, 6, 1))
    z = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    z = keras.layers.Flatten()(z)
    z = keras.layers.Dense(5, activation="relu", name="second")(z)
    return keras.Model(inputs, keras.layers.Dense(units, activation=activation, name="scores")(z))


HEADS = {
    "logits": (CLASSES, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "softmax": (CLASSES, "softmax", keras.losses.SparseCategoricalCrossentropy()),
    "one logit": (1, None, keras.losses.BinaryCrossentropy(from_logits=True)),
    "one probability": (1, "sigmoid", keras.losses.BinaryCrossentropy()),
}


def recorded(folder, kind="logits", **options):
    """An untrained model of one of HEADS, recorded at epochs 0 and 1 with the same weights."""
    keras.utils.set_random_seed(1)
    units, activation, loss = HEADS[kind]
    model = classifier(units, activation)
    model.compile("sgd", loss)
    labels = Y if units > 1 else Y % 2
    options = {"train": (X, labels), "train_ids": IDS, "planes": 0, "batch_size": 16} | options
    recorder = RepresentationRecorder(folder, X[:16], labels[:16], **options)
    for epoch in (0, 1):
        recorder.record(model, epoch)
    return model, labels, open_run(folder)


@pytest.mark.parametrize("kind", HEADS)
def test_margins_classes_and_probes_are_those_of_the_model(kind, tmp_path, capsys):
    model, labels, run = recorded(tmp_path / "run", kind)
    dynamics = run.dynamics
    order = [IDS.index(name) for name in dynamics["image_id"].values]
    assert sorted(order) == list(range(N))
    assert dynamics["label_given"].values.tolist() == labels[order].tolist()
    outputs = keras.ops.convert_to_numpy(model(X[order])).astype(np.float64)
    if kind == "softmax":
        outputs = np.log(outputs)
    if kind == "one probability":
        outputs = np.log(outputs / (1 - outputs))
    if kind.startswith("one"):
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    given = outputs[np.arange(N), labels[order]]
    others = np.where(np.arange(outputs.shape[1]) == labels[order][:, None], -np.inf, outputs)
    margin = dynamics["image_margin"].sel(epoch=0).values
    assert margin == pytest.approx(given - others.max(1), abs=2e-5)
    share = dynamics["image_probability"].sel(epoch=0).values
    assert share == pytest.approx(np.exp(given) / np.exp(outputs).sum(1), abs=1e-5)
    classes = dynamics["image_class"].sel(epoch=0).values
    assert classes.tolist() == outputs.argmax(1).tolist()
    # The probe that the run returns gives the classes that it recorded.
    features = keras.Model(model.input, model.get_layer("second").output)(X[order])
    kernel, bias = run.probe("second", 0)
    by_probe = (keras.ops.convert_to_numpy(features) @ kernel + bias).argmax(1)
    stored = dynamics["image_probe_class"].sel(layer="second", epoch=0).values
    assert (by_probe == stored).mean() > 0.95
    fingerprints = run.fingerprints("second").values.astype(np.float64)
    assert fingerprints[0] @ fingerprints[1] == pytest.approx((fingerprints[0] ** 2).sum())


@pytest.mark.parametrize("logit", [0, 10, -10, 25, -25])
def test_a_sigmoid_is_as_sure_of_one_class_as_of_the_other(logit):
    head = Head("", (), 0, 1, keras.KerasTensor((None, 1)), "sigmoid", 2, 0.5, has_scores=True)
    unit = np.float32(1 / (1 + np.exp(-np.float64(logit))))
    scores = keras.ops.convert_to_numpy(head.scores(np.array([[unit]])))
    bounded = np.clip(logit, -16.64, 16.64)
    assert head.logits(scores)[0, 1] == pytest.approx(bounded, abs=0.01)
    many = replace(head, tensor=keras.KerasTensor((None, 3)), classes=3)
    several = many.logits(np.array([[unit, 0.5, 1 - unit]]))[0]
    assert several == pytest.approx([bounded, 0, -bounded], abs=0.01)


@pytest.mark.parametrize("shape", [(5, 100, 60, 3), (3, 8, 8, 1), (2, 40, 20, 4)])
def test_thumbnails_are_means_of_blocks(shape):
    images = np.random.default_rng(0).normal(size=shape)
    found = thumbnails(images)
    side = max(shape[1:3])
    assert max(found.shape[1:3]) == min(side, 32) and found.shape[3] == (3 if shape[3] > 2 else 1)
    assert (found.min(), found.max()) == (0, 255)
    # (1, 32, 64, 1) in blocks of 16 pixels, reduced to half of its size.
    steps = np.repeat(np.repeat(np.arange(8.0).reshape(1, 2, 4, 1), 16, 1), 16, 2)
    assert thumbnails(steps)[0, ::8, ::8, 0].tolist() == [[0, 36, 73, 109], [146, 182, 219, 255]]
    for other in (images[:, :, :, 0], images.transpose(0, 3, 1, 2)[..., :50], {"a": images}):
        assert thumbnails(other) is None
    assert thumbnail_shape((10**6, 64, 64, 3)) is None
    assert np.prod(thumbnail_shape((10**5, 32, 32, 3))) <= 32 * 2**20


def test_ids_are_numbers_paths_or_texts(tmp_path):
    given = {"train": (X, Y), "planes": 0, "batch_size": 16}
    paths = [Path("a") / name for name in IDS]
    recorder = RepresentationRecorder(tmp_path / "run", X[:16], Y[:16], train_ids=paths, **given)
    ids = recorder.settings.probes.fitted.ids.tolist()
    assert sorted(ids) == [str(path) for path in paths]
    for wrong in (
        [None, *IDS[1:]],
        ["a\0b", *IDS[1:]],
        ["\ud800", *IDS[1:]],
        [1.5] * N,
        [2**70] * N,
    ):
        with pytest.raises(InputError, match="train_ids of shape"):
            RepresentationRecorder(tmp_path / "x", X[:16], Y[:16], train_ids=wrong, **given)
    with pytest.raises(InputError, match="train_ids with train"):
        RepresentationRecorder(tmp_path / "x", X[:16], Y[:16], train_ids=IDS)


def test_an_output_without_class_scores_has_suspicion_alone(tmp_path, capsys):
    keras.utils.set_random_seed(1)
    model = classifier(7, None)
    model.compile("sgd", "mse")
    recorder = RepresentationRecorder(tmp_path / "run", X[:48], Y, planes=0, batch_size=16)
    recorder.record(model, 0)
    analyze(open_run(tmp_path / "run").folder)
    dynamics = open_run(tmp_path / "run").dynamics
    assert dynamics["image_margin"].isnull().all() and dynamics["suspicion"].notnull().all()
    listed = repdyn("images", tmp_path / "run")
    assert listed.exit_code == 0 and "never" not in listed.stdout
    assert_rejected(repdyn("images", tmp_path / "run", "--late"), ["holds class scores"])
    first = str(dynamics["image_id"].values[0])
    for figure in (suspects(dynamics), image_history(dynamics, first)):
        words = words_in(figure)
        assert "nan" not in words and "learned" not in words.replace("it was learned", "")


def test_images_without_ids_are_numbered_and_without_labels_have_no_history(tmp_path, capsys):
    _, _, run = recorded(tmp_path / "numbered", train_ids=None)
    assert sorted(run.dynamics["image_id"].values) == list(range(N))
    with pytest.raises(InputError, match="all of them different"):
        RepresentationRecorder(tmp_path / "x", X, Y, train=(X, Y), train_ids=[1] * N)
    model = classifier(3, None)
    recorder = RepresentationRecorder(tmp_path / "bare", X[:16], batch_size=16)
    recorder.record(model, 0)
    analyze(open_run(tmp_path / "bare").folder)
    result = repdyn("images", tmp_path / "bare")
    assert_rejected(result, ["Expected a run whose records hold a history of each image"])
    assert_rejected(repdyn("figures", tmp_path / "bare", "--image", 3), ["labels were recorded"])
    with pytest.raises(InputError, match="recorded without labels"):
        open_run(tmp_path / "bare").probe("second", 0)


def test_one_class_has_no_margin_and_no_suspicion(tmp_path, capsys):
    keras.utils.set_random_seed(1)
    model = classifier(1, None)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.zeros(N, int)
    recorder = RepresentationRecorder(tmp_path / "run", X, labels, planes=0, batch_size=16)
    recorder.record(model, 0)
    analyze(open_run(tmp_path / "run").folder)
    images = open_run(tmp_path / "run").images()
    assert len(images) == N and not (images["suspicion"] > 0).any()
    assert repdyn("images", tmp_path / "run").exit_code == 0


def test_lists_of_images_have_their_order(tiny_run):
    run = open_run(tiny_run.folder.path)
    table = run.images()
    assert len(table) == 128 and table["suspicion"].is_monotonic_decreasing
    suspects = run.images("suspects")
    assert (suspects["suspicion"] > 0).all() and len(suspects) == (table["suspicion"] > 0).sum()
    late = run.images("late")["learned_epoch"].fillna(np.inf)
    assert late.is_monotonic_decreasing and len(late) == len(table)
    forgotten = run.images("forgotten")["forgetting_events"]
    assert forgotten.is_monotonic_decreasing and (forgotten > 0).all()
    with pytest.raises(InputError, match="order"):
        run.images("wrong")


def test_the_command_images_lists_them(tiny_run):
    folder = tiny_run.folder.path
    text = repdyn("images", folder, "--limit", 3)
    assert text.exit_code == 0 and "3 of 128 images" in text.stdout
    table = pandas.read_csv(io.StringIO(repdyn("images", folder, "--format", "csv").stdout))
    expected = open_run(folder).images().reset_index()
    assert table["image_id"].tolist() == expected["image_id"].tolist()
    assert table["suspicion"].to_numpy() == pytest.approx(expected["suspicion"], rel=1e-5)
    late = repdyn("images", folder, "--late", "--format", "csv", "--limit", 2).stdout
    assert len(pandas.read_csv(io.StringIO(late))) == 2
    assert_rejected(repdyn("images", folder, "--late", "--suspects"), ["at most one of --suspects"])
    assert_rejected(repdyn("images", folder, "--format", "xml"), ["Unknown format"])
    assert_rejected(repdyn("figures", folder, "--image", "x"), ["Unknown image"])
    assert_rejected(repdyn("figures", folder, "--image", 3, "--epoch", 0), ["at most one of"])


def test_an_exported_variable_is_that_of_the_run(tiny_run):
    folder = tiny_run.folder.path
    dynamics = open_run(folder).dynamics
    given = ("export", folder, "--variable", "cka", "--layer", "output")
    table = pandas.read_csv(io.StringIO(repdyn(*given).stdout))
    expected = dynamics["cka"].sel(layer=["output"])
    assert list(table.columns) == ["layer", "epoch", "epoch_other", "cka"]
    assert table["cka"].to_numpy() == pytest.approx(expected.values.ravel(), nan_ok=True)
    exported = json.loads(repdyn(*given, "--format", "json").stdout)
    values = np.array(exported["data"], float)
    np.testing.assert_allclose(values, expected.values)
    assert exported["attrs"]["units"] == "1" and exported["dims"] == list(expected.dims)
    assert "forgetting_events" in repdyn("export", folder).stdout
    assert_rejected(repdyn("export", folder, "--variable", "ckaa"), ["nearest: cka"])
    assert_rejected(repdyn("export", folder, "--variable", "image_id", "--layer", "a"), ["dims"])


def test_every_variable_has_a_long_name_and_a_unit(tiny_run):
    dynamics = open_run(tiny_run.folder.path).dynamics
    for name, variable in dynamics.variables.items():
        assert variable.attrs.get("long_name") and variable.attrs.get("units"), name

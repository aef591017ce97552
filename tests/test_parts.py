"""Batches that are processed in parts."""

import keras
import numpy as np
import pytest
from helpers import assert_fingerprint
from keras import layers

from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording import backend_code as compilation
from repdyn_keras.recording.state import Stopwatch, measure
from repdyn_keras.recording.values import ModelValues

IS_JAX = keras.backend.backend() == "jax"


@pytest.fixture
def split_batches(monkeypatch):
    """Splits batches of the tests' images into parts, also on a GPU."""
    monkeypatch.setattr(compilation, "PART_SIZE", 130)
    monkeypatch.setattr(compilation, "is_jax_on_a_cpu", lambda: IS_JAX)


@pytest.fixture
def part_counts(monkeypatch):
    """Number of parts of each batch."""
    seen, made = [], compilation.parts

    def counted(*arguments):
        seen.append(len(made(*arguments)))
        return made(*arguments)

    monkeypatch.setattr("repdyn_keras.recording.network.passes.parts", counted)
    return seen


def test_parts_are_equal_and_as_few_as_possible(split_batches, monkeypatch):
    for size, count in [(1, 1), (2, 1), (3, 2), (5, 3), (8, 4), (30, 8), (300, 8)]:
        found = compilation.parts((size, 8, 8, 1))
        if not IS_JAX:
            assert found == [slice(None)], "other backends process whole batches"
            continue
        lengths = [part.stop - part.start for part in found]
        assert len(found) == count, size
        assert max(lengths) - min(lengths) <= 1
        assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])]
        assert found[-1].stop == size
    monkeypatch.undo()
    assert len(compilation.parts((256, 8, 8, 1))) == 1, "small images"
    monkeypatch.setattr(compilation, "is_jax_on_a_cpu", lambda: False)
    assert compilation.parts((5, 1000, 1000, 3)) == [slice(None)]


def test_fingerprints_in_parts_equal_those_in_float64(tmp_path, split_batches, part_counts):
    images = keras.Input((8, 8, 1))
    z = layers.Dense(6, name="first")(layers.Flatten()(images))
    model = keras.Model(images, layers.Dense(4, name="head")(z))
    x = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype("float32")
    recorder = RepresentationRecorder(tmp_path, x, layers=["first"], batch_size=5)
    recorder.record(model, 0)
    assert set(part_counts) == {3 if IS_JAX else 1}
    kernel, bias = model.get_layer("first").get_weights()
    exact = recorder.settings.evaluation.x.reshape(20, 64) @ kernel.astype(np.float64) + bias
    assert_fingerprint(recorder.folder.record(0)["fingerprint"].values[0], exact, 5)


def measured(folder):
    """The record of a small network with BatchNormalization and dropout."""
    keras.utils.set_random_seed(1)
    images = keras.Input((8, 8, 1))
    z = layers.ReLU()(layers.Conv2D(6, 3, name="conv")(images))
    z = layers.BatchNormalization(name="norm")(z)
    z = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(z))
    model = keras.Model(images, layers.Dense(4, name="head")(z))
    rng = np.random.default_rng(0)
    y = np.arange(60) % 4
    x = rng.normal(size=(60, 8, 8, 1)).astype("float32") + y[:, None, None, None] / 2
    recorder = RepresentationRecorder(
        folder,
        x,
        y,
        layers=["conv", "norm"],
        planes=2,
        resolution=7,
        drawn_planes=0,
        batch_size=30,
    )
    recorder.build(model)
    return measure(recorder.build(model), Stopwatch(), ModelValues.live(model))


@pytest.mark.long
def test_a_record_is_the_same_in_parts_and_whole(tmp_path, request, part_counts):
    whole = measured(tmp_path / "whole")
    request.getfixturevalue("split_batches")
    part_counts.clear()
    parts = measured(tmp_path / "parts")
    # 30 images, and the 98 points of the planes, at a time.
    assert set(part_counts) == {8 if IS_JAX else 1}
    assert len(part_counts) >= 2
    assert parts.keys() == whole.keys()
    for name in ("fingerprint", "norm", "probe_objective"):
        np.testing.assert_allclose(parts[name][1], whole[name][1], rtol=1e-3, atol=1e-5)
    for name in ("finite", "dead", "regions"):
        assert (np.asarray(parts[name][1]) == np.asarray(whole[name][1])).mean() > 0.99
    assert len(np.unique(whole["regions"][1])) == 4

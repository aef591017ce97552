"""Batches that go through the layers a part at a time."""

import keras
import numpy as np
import pytest
from keras import layers

from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording import backend

IS_JAX = keras.backend.backend() == "jax"


@pytest.fixture
def cut(monkeypatch):
    """Batches of the tests' images are cut into parts, on whatever jax computes."""
    monkeypatch.setattr(backend, "PART_NUMBERS", 130)
    monkeypatch.setattr(backend, "is_jax_on_a_cpu", lambda: IS_JAX)


@pytest.mark.skipif(not IS_JAX, reason="the other backends take a batch whole")
@pytest.mark.parametrize("size, count", [(1, 1), (5, 3), (8, 4), (30, 8), (300, 8)])
def test_parts_are_even_and_no_more_than_needed(cut, size, count):
    found = backend.parts((size, 8, 8, 1))
    lengths = [part.stop - part.start for part in found]
    assert len(found) == count
    assert max(lengths) - min(lengths) <= 1
    assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])]
    assert found[-1].stop == size


def test_a_batch_is_whole_where_nothing_is_gained(monkeypatch):
    monkeypatch.setattr(backend, "is_jax_on_a_cpu", lambda: False)
    x = np.arange(5)
    assert [x[part].tolist() for part in backend.parts((5, 1000, 1000, 3))] == [x.tolist()]


@pytest.mark.skipif(not IS_JAX, reason="the other backends take a batch whole")
def test_small_images_are_not_cut():
    assert len(backend.parts((256, 8, 8, 1))) == 1


def measured(folder):
    """What a record holds of a small network with BatchNormalization and dropout."""
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
        folder, x, y, layers=["conv", "norm"], planes=2, resolution=7, batch_size=30
    )
    recorder.build(model)
    return recorder.measurement.measure()


def test_a_record_is_the_same_in_parts_and_whole(tmp_path, monkeypatch, request):
    whole = measured(tmp_path / "whole")
    request.getfixturevalue("cut")
    calls = []
    made = backend.parts

    def seen(shape):
        calls.append(len(made(shape)))
        return made(shape)

    monkeypatch.setattr("repdyn_keras.recording.passes.parts", seen)
    parts = measured(tmp_path / "parts")
    # Fingerprints, features and regions: 30 images, and the 98 points of the planes, at a time.
    assert {8 if IS_JAX else 1} == set(calls)
    assert len(calls) >= 3
    assert parts.keys() == whole.keys()
    for name in ("fingerprint", "norm", "probe_objective"):
        np.testing.assert_allclose(parts[name][1], whole[name][1], rtol=1e-3, atol=1e-5)
    for name in ("finite", "dead", "regions"):
        assert (np.asarray(parts[name][1]) == np.asarray(whole[name][1])).mean() > 0.99
    assert len(np.unique(whole["regions"][1])) == 4

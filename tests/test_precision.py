"""What half precision and TF32 may do to a record: nothing."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

from repdyn_keras import RepresentationRecorder
from repdyn_keras.measures import device
from repdyn_keras.measures.cka import fingerprint
from repdyn_keras.recording import passes
from repdyn_keras.recording.backend import undisturbed

BACKEND = keras.backend.backend()
NAMES = ["early", "late"]


def network():
    keras.utils.set_random_seed(2)
    images = keras.Input((8, 8, 1))
    z = layers.Conv2D(8, 3, activation="relu", name="early")(images)
    z = layers.BatchNormalization()(z)
    z = layers.Dense(16, activation="relu", name="late")(layers.Flatten()(z))
    return keras.Model(images, layers.Dense(4)(z))


def recorder_into(folder):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (64, 8, 8, 1)).astype("float32"), np.arange(64) % 4
    return RepresentationRecorder(folder, x, y, layers=NAMES, planes=2, resolution=4, batch_size=16)


# --- half precision ---------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_half_precision_activations_are_recorded_to_float32_accuracy(tmp_path, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = network()
        recorder = recorder_into(tmp_path)
        recorder.record(model, 0)
        tensors = [model.get_layer(name).output for name in NAMES] + model.outputs
        found = keras.Model(model.inputs[0], tensors)(recorder.evaluation.x, training=False)
        half = policy.removeprefix("mixed_")
        assert {keras.backend.standardize_dtype(x.dtype) for x in found} == {half}
        activations = [np.asarray(ops.convert_to_numpy(ops.cast(x, "float32"))) for x in found]
    finally:
        keras.config.set_dtype_policy(before)
    record = recorder.folder.record(0)
    assert record["fingerprint"].dtype == np.float32
    for stored, x in zip(record["fingerprint"].values, activations, strict=True):
        expected = fingerprint(x.astype(np.float64), batch_size=16)
        assert np.linalg.norm(stored - expected) <= 1e-5 * np.linalg.norm(expected) > 0
    assert record["probe_weights"].dtype == np.float32
    assert (record["probe_gap"].values[:-1] <= 1e-6).all()
    assert record["regions"].shape == (3, 2, 4, 4) and record["regions"].values.max() < 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_in_half_precision_would_be_seen(dtype):
    """The accuracy that is asked for above is one that they miss."""
    x = ops.cast(np.random.default_rng(1).normal(size=(16, 500)).astype("float32"), dtype)
    flat = np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), np.float64)
    gram = ops.convert_to_numpy(ops.cast(ops.matmul(x, ops.transpose(x)), "float32"))
    wrong = np.linalg.norm(gram - flat @ flat.T) / np.linalg.norm(flat @ flat.T)
    found = ops.convert_to_numpy(device.fingerprint(x, 16)[0])
    expected = fingerprint(flat, batch_size=16)
    right = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert right < 1e-5 < 1e-4 < wrong


# --- TF32 -------------------------------------------------------------------------------------


def switches():
    """The backend's settings of the precision of float32 products and convolutions."""
    if BACKEND == "jax":
        import jax

        return {"precision": jax.config.jax_default_matmul_precision}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return {"tf32": tf.config.experimental.tensor_float_32_execution_enabled()}
    import torch

    return {
        "products": torch.backends.cuda.matmul.allow_tf32,
        "convolutions": torch.backends.cudnn.allow_tf32,
    }


def switch(values):
    """Sets what `switches` tells."""
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", values["precision"])
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(values["tf32"])
    else:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = values["products"]
        torch.backends.cudnn.allow_tf32 = values["convolutions"]


FAST = {
    "jax": {"precision": "bfloat16"},
    "tensorflow": {"tf32": True},
    "torch": {"products": True, "convolutions": True},
}[BACKEND]
EXACT = {
    "jax": {"precision": "highest"},
    "tensorflow": {"tf32": False},
    "torch": {"products": False, "convolutions": False},
}[BACKEND]


@pytest.fixture
def fast():
    """Low precision, as a user may have chosen it for the training."""
    before = switches()
    switch(FAST)
    yield
    switch(before)


def test_every_pass_runs_in_full_precision_and_the_users_choice_returns(
    tmp_path, monkeypatch, fast
):
    seen = {}
    kinds = (
        passes.FingerprintPass,
        passes.FeaturePass,
        passes.RegionPass,
        passes.BatchStatisticsPass,
    )
    for kind in kinds:

        def noted(self, inputs, original=kind.call, name=kind.__name__):
            seen[name] = switches()
            return original(self, inputs)

        monkeypatch.setattr(kind, "call", noted)
    recorder_into(tmp_path).record(network(), 0)
    assert seen == {kind.__name__: EXACT for kind in kinds}
    assert switches() == FAST


def test_fingerprints_are_those_of_float64_whatever_computes_them(tmp_path, fast):
    """On a GPU, TF32 would be off by some 3e-4, and so would half the products of a CPU."""
    keras.utils.set_random_seed(4)
    images = keras.Input((8, 8, 1))
    z = layers.Dense(300, activation="relu", name="early")(layers.Flatten()(images))
    z = layers.Dense(200, activation="relu", name="late")(z)
    model = keras.Model(images, layers.Dense(4)(z))
    recorder = recorder_into(tmp_path)
    recorder.record(model, 0)
    x = recorder.evaluation.x.reshape(-1, 64).astype(np.float64)
    for name, stored in zip(NAMES, recorder.folder.record(0)["fingerprint"].values, strict=False):
        kernel, bias = (w.astype(np.float64) for w in model.get_layer(name).get_weights())
        x = np.maximum(x @ kernel + bias, 0)
        expected = fingerprint(x, batch_size=16)
        assert np.linalg.norm(stored - expected) <= 1e-5 * np.linalg.norm(expected) > 0


def test_the_users_choice_returns_after_an_error(fast):
    with pytest.raises(KeyError), undisturbed():
        assert switches() == EXACT
        raise KeyError
    assert switches() == FAST


@pytest.mark.skipif(BACKEND != "jax", reason="reads what jax compiles")
def test_the_compiled_gram_and_convolutions_are_of_the_highest_precision(tmp_path, fast):
    import jax

    recorder = recorder_into(tmp_path)
    recorder.build(network())
    images = recorder.evaluation.x[:16]

    def products():
        compiled = jax.jit(lambda x: recorder.measurement.fingerprint_pass(x)).lower(images)
        lines = compiled.as_text().splitlines()
        return [line for line in lines if "dot_general" in line or "convolution(" in line]

    with undisturbed():
        exact = products()
    assert len(exact) > 3 and all(line.count("HIGHEST") == 2 for line in exact)
    assert not any("HIGHEST" in line for line in products())


NEWER_SETTINGS = """
import sys
from operator import attrgetter
import torch
from repdyn_keras.recording.backend import undisturbed

names = ["cuda.matmul", "cudnn.conv", "cudnn.rnn"]

def settings():
    return [attrgetter(name)(torch.backends).fp32_precision for name in names]

chosen = attrgetter(sys.argv[1])(torch.backends) if sys.argv[1] else torch.backends
for value in ("tf32", "ieee"):
    chosen.fp32_precision = value
    before = settings()
    with undisturbed():
        assert "tf32" not in settings()
    assert settings() == before
"""


@pytest.mark.skipif(BACKEND != "torch", reason="is about settings of torch")
@pytest.mark.parametrize("place", ["", "cuda.matmul", "cudnn.conv"])
def test_the_newer_settings_of_torch_are_respected(place):
    """In a process of its own: torch never forgets that they were used."""
    import torch

    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has only the older settings")
    result = subprocess.run(
        [sys.executable, "-c", NEWER_SETTINGS, place], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr

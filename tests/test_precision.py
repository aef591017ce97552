"""Records do not depend on half precision and TF32."""

import subprocess
import sys
from contextlib import contextmanager

import keras
import numpy as np
import pytest
from helpers import assert_fingerprint
from keras import layers, ops

from repdyn_keras import RepresentationRecorder
from repdyn_keras.measures import device
from repdyn_keras.recording.backend_code import full_precision

BACKEND = keras.backend.backend()
NAMES = ["early", "late"]


class SettingsProbe(layers.Layer):
    """Passes its input through, and stores the backend's settings when it is called."""

    seen: list = []

    def call(self, x):
        SettingsProbe.seen.append(precision_settings())
        return x


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


@contextmanager
def default_policy(policy):
    """Sets a dtype policy inside the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy(before)


def check_half_precision(recorder, model, policy):
    """Checks stored fingerprints against activations in half precision."""
    half = policy.removeprefix("mixed_")
    tensors = [model.get_layer(name).output for name in NAMES] + model.outputs
    found = keras.Model(model.inputs[0], tensors)(recorder.settings.evaluation.x, training=False)
    record = recorder.folder.record(0)
    assert record["fingerprint"].dtype == np.float32
    for stored, x in zip(record["fingerprint"].values, found, strict=True):
        assert keras.backend.standardize_dtype(x.dtype) == half
        assert_fingerprint(stored, ops.convert_to_numpy(ops.cast(x, "float32")), 16)
    assert record["finite"].values.tolist() == [1] * 3
    low = 2.0**-7 if half == "bfloat16" else 2.0**-10
    assert recorder.folder.constants()["epsilon"].values.tolist() == [low] * 3


@pytest.mark.long
def test_half_precision_activations_are_recorded_to_float32_accuracy(tmp_path):
    with default_policy("mixed_bfloat16"):
        images = keras.Input((50,))
        z = layers.Dense(40, activation="relu", name="early")(images)
        z = layers.Dense(16, name="late")(z)
        model = keras.Model(images, layers.Dense(4)(z))
        x = np.random.default_rng(0).uniform(2, 4, (32, 50)).astype("float32")
        recorder = RepresentationRecorder(tmp_path, x, layers=NAMES, batch_size=16)
        recorder.record(model, 0)
        check_half_precision(recorder, model, "mixed_bfloat16")


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_probes_and_regions_of_half_precision_are_in_float32(tmp_path, policy):
    with default_policy(policy):
        model = network()
        recorder = recorder_into(tmp_path)
        recorder.record(model, 0)
        check_half_precision(recorder, model, policy)
    record = recorder.folder.record(0)
    assert record["probe_weights"].dtype == np.float32
    assert (record["probe_gap"].values[:-1] <= 1e-6).all()
    assert record["regions"].shape == (3, 2, 4, 4) and record["regions"].values.max() < 4


# --- TF32 -------------------------------------------------------------------------------------


def precision_settings():
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


def set_precision(values):
    """Sets what `precision_settings` tells."""
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
def low_precision():
    """Low precision, as a user may choose it for the training."""
    before = precision_settings()
    set_precision(FAST)
    yield
    set_precision(before)


def test_records_equal_those_in_float64_for_any_precision_setting(tmp_path, low_precision):
    """Recording uses full precision and restores the setting of the user.

    TF32 on a GPU, or low-precision products on a CPU, would cause errors of about 3e-4.
    """
    keras.utils.set_random_seed(4)
    images = keras.Input((8, 8, 1))
    z = layers.Flatten()(SettingsProbe()(images))
    z = layers.Dense(300, activation="relu", name="early")(z)
    z = layers.BatchNormalization(epsilon=0.25)(z)
    z = layers.Dense(200, activation="relu", name="late")(z)
    model = keras.Model(images, layers.Dense(4)(z))
    recorder = recorder_into(tmp_path)
    recorder.build(model)
    SettingsProbe.seen.clear()
    recorder.record(model, 0)
    # At least once each for evaluation images, batch statistics and regions.
    assert len(SettingsProbe.seen) >= 3 and all(seen == EXACT for seen in SettingsProbe.seen)
    assert precision_settings() == FAST
    x = recorder.settings.evaluation.x.reshape(-1, 64).astype(np.float64)
    for name, stored in zip(NAMES, recorder.folder.record(0)["fingerprint"].values, strict=False):
        kernel, bias = (w.astype(np.float64) for w in model.get_layer(name).get_weights())
        x = np.maximum(x @ kernel + bias, 0)
        assert_fingerprint(stored, x, 16, name)
        x = x / np.sqrt(1.25)


def test_the_precision_setting_is_restored_after_an_error(low_precision):
    with pytest.raises(KeyError), full_precision():
        assert precision_settings() == EXACT
        raise KeyError
    assert precision_settings() == FAST


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "jax", reason="reads what jax compiles")
def test_compiled_gram_matrices_and_convolutions_have_the_highest_precision(low_precision):
    import jax

    model = network()
    tensors = [model.get_layer(name).output for name in NAMES]
    taps = keras.Model(model.inputs[0], tensors)
    images = np.zeros((16, 8, 8, 1), np.float32)

    def products():
        compiled = jax.jit(lambda x: device.fingerprints(taps(x), 16)).lower(images)
        lines = compiled.as_text().splitlines()
        return [line for line in lines if "dot_general" in line or "convolution(" in line]

    with full_precision():
        exact = products()
    assert len(exact) > 3 and all(line.count("HIGHEST") == 2 for line in exact)
    assert not any("HIGHEST" in line for line in products())


NEWER_SETTINGS = """
import os
from operator import attrgetter
import torch
from repdyn_keras.recording.backend_code import full_precision

names = ["cuda.matmul", "cudnn.conv", "cudnn.rnn"]

def settings():
    return [attrgetter(name)(torch.backends).fp32_precision for name in names]

def check(place):
    chosen = attrgetter(place)(torch.backends) if place else torch.backends
    for value in ("tf32", "ieee"):
        chosen.fp32_precision = value
        before = settings()
        with full_precision():
            assert "tf32" not in settings()
        assert settings() == before

for place in ("", "cuda.matmul", "cudnn.conv"):
    if os.fork() == 0:
        check(place)
        os._exit(0)
    assert os.wait()[1] == 0, place
"""


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "torch", reason="is about settings of torch")
def test_the_newer_settings_of_torch_are_respected():
    """In processes of their own, since using the newer settings of torch cannot be undone."""
    import torch

    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has only the older settings")
    result = subprocess.run(
        [sys.executable, "-c", NEWER_SETTINGS], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr

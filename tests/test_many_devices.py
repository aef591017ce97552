"""Recording of models that are distributed over several devices."""

import os
import subprocess
import sys

import numpy as np
import pytest

from repdyn_keras import open_run
from repdyn_keras.measures.cka import cosines

pytestmark = [pytest.mark.without_keras, pytest.mark.long]

DEVICES = 4
KINDS = ("data", "model")

# Only the size of the training batches is a multiple of the number of devices.
SCRIPT = """
import sys
from pathlib import Path
import keras
import numpy as np
from keras import distribution, layers
from sklearn.datasets import load_digits
from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording import backend_code as compilation
from repdyn_keras.recording.network import recorded_model

recorded_model.MAX_POINTS = 50
compilation.PART_SIZE = 700  # of 30 images 1920
folder, kinds = Path(sys.argv[1]), sys.argv[2:]
raw = load_digits()
x, y = (raw.images[:128, ..., None] / 8 - 1).astype("float32"), raw.target[:128]

def network():
    keras.utils.set_random_seed(3)
    images = keras.Input((8, 8, 1))
    z = layers.Conv2D(8, 3, padding="same", name="stem")(images)
    z = layers.ReLU()(layers.BatchNormalization(momentum=0.8, name="norm")(z))
    z = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="conv")(z))
    z = layers.Dropout(0.3)(layers.Dense(16, activation="relu", name="wide")(z))
    model = keras.Model(images, layers.Dense(10, name="head")(z))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model

def recorder(name):
    return RepresentationRecorder(
        folder / name, x, y, test=(x[:77], y[:77]), batch_size=30, planes=3, resolution=7,
        batch_norm="recalibrate",
    )

def fitted(callbacks):
    model = network()
    model.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=callbacks)
    values = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    values += [keras.ops.convert_to_numpy(v.value) for v in model.optimizer.variables]
    return model, values

def spread(kind):
    if kind == "data":
        return distribution.DataParallel(auto_shard_dataset=False)
    mesh = distribution.DeviceMesh((2, 2), ("batch", "model"), distribution.list_devices())
    layout = distribution.LayoutMap(mesh)
    layout["wide.*kernel"] = (None, "model")
    layout["conv.*kernel"] = (None, None, None, "model")
    return distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )

def devices(model):
    return len(model.get_layer("wide").kernel.value.sharding.device_set)

for kind in kinds:
    with spread(kind).scope():
        model, values = fitted([recorder(kind)])
        np.savez(folder / f"{kind}_recorded.npz", devices(model), *values)
        np.savez(folder / f"{kind}_undisturbed.npz", devices(model), *fitted([])[1])
        weights = model.get_weights()
    alone = network()
    alone.set_weights(weights)
    assert devices(alone) == 1
    recorder(f"{kind}_alone").record(alone, 2)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Trainings recorded on several devices, with their last states also recorded on one."""
    folder = tmp_path_factory.mktemp("devices")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags.strip(),
    }
    command = [sys.executable, "-c", SCRIPT, str(folder), *KINDS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder


def arrays(path):
    """The number of devices of a kernel, and all values of the last state of a training."""
    with np.load(path) as stored:
        count, *values = (stored[name] for name in stored.files)
    return int(count), values


@pytest.mark.parametrize("kind", KINDS)
def test_records_on_several_devices_equal_those_on_one(folder, kind):
    spread, alone = (open_run(folder / name).folder.record(2) for name in (kind, f"{kind}_alone"))
    prints = [record["fingerprint"].values for record in (spread, alone)]
    for one, other in zip(*prints, strict=True):
        assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other) > 0
        assert cosines(np.stack([one, other]))[0, 1] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(*map(cosines, prints), atol=1e-6)
    np.testing.assert_allclose(spread["probe_objective"], alone["probe_objective"], rtol=1e-5)
    for name in ("probe_accuracy", "accuracy_training"):
        np.testing.assert_allclose(spread[name], alone[name], atol=0.02)
    assert spread["regions"].shape == (5, 3, 7, 7)
    assert (spread["regions"].values == alone["regions"].values).mean() > 0.99
    assert len(np.unique(alone["regions"])) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_recording_leaves_a_training_on_several_devices_bit_identical(folder, kind):
    count, recorded = arrays(folder / f"{kind}_recorded.npz")
    count_undisturbed, undisturbed = arrays(folder / f"{kind}_undisturbed.npz")
    assert count == count_undisturbed == DEVICES
    for one, other in zip(recorded, undisturbed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert open_run(folder / kind).epochs == [0, 1, 2]

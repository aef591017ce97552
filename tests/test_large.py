"""Memory for recording many images and classes."""

import json
import os
import subprocess
import sys

import pytest

from repdyn_keras import open_run

pytestmark = [pytest.mark.without_keras, pytest.mark.long]

MIB = 1 << 20
IMAGES = 8192 * 64 * 64 * 3 * 4
PROBED = 1000
PROBED_IMAGES = PROBED * 64 * 64 * 3 * 4
WEIGHTS = 1025 * 1000

SCRIPT = """
import gc
import json
import resource
import sys
import keras
import numpy as np
from keras import layers
from repdyn_keras import RepresentationRecorder

def peak():
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

keras.utils.set_random_seed(0)
images = keras.Input((64, 64, 3))
z = layers.Conv2D(8, 8, strides=8, activation="relu", name="stem")(images)
z = layers.Conv2D(1024, 2, strides=2, activation="relu", name="wide")(z)
z = layers.GlobalAveragePooling2D(name="pooled")(z)
model = keras.Model(images, layers.Dense(1000, name="head")(z))

rng = np.random.default_rng(0)
y = np.arange(8192) % 1000
x = rng.random((8192, 64, 64, 3), dtype=np.float32)
x *= 2
x -= 1
x[:, 0, :, 0] = (y % 250 / 125 - 1)[:, None]
model.predict_on_batch(x[:256])
found = {"images": x.nbytes, "before": peak()}
settings = {"layers": ["pooled"], "planes": 4, "resolution": 8}
for name, labels in (("prints", None), ("all", y)):
    recorder = RepresentationRecorder(
        f"{sys.argv[1]}/{name}", x, labels, probe_images=int(sys.argv[2]), **settings
    )
    recorder.build(model)
    found[name] = {"built": peak()}
    recorder.record(model, 0)
    found[name] |= {"peak": peak(), "seconds": recorder.timings}
    del recorder
    gc.collect()
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("large")


@pytest.fixture(scope="module")
def measured(folder):
    """Bytes and seconds of recording 8192 images of 64 x 64 x 3 in a separate process."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(PROBED)],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("FOUND")[2])


def test_memory_of_a_large_recording(folder, measured):
    """The bounds exclude another copy of the images.

    L-BFGS keeps 20 pairs of a step and a change of the gradient, in total 45 vectors; the bound is
    60 float64 numbers per weight.
    """
    assert measured["images"] == IMAGES
    built, solved = IMAGES + PROBED_IMAGES, IMAGES + PROBED_IMAGES + 60 * 8 * WEIGHTS
    assert measured["prints"]["peak"] - measured["before"] < IMAGES + 320 * MIB
    assert measured["all"]["built"] - measured["before"] < built + 320 * MIB
    assert measured["all"]["peak"] - measured["before"] < solved + 320 * MIB
    record = open_run(folder / "all").folder.record(0)
    assert record["regions"].dtype == "uint16"
    assert record["regions"].values.max() < 1000
    assert record["probe_gap"].values[0] <= 1e-6
    assert record["fingerprint"].shape == (2, 32 * 256 * 255 // 2)

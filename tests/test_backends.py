"""The same weights give the same records on every backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from repdyn_keras import compare, open_run

BACKENDS = ("jax", "tensorflow", "torch")

SCRIPT = """
import sys
import keras, numpy as np
from repdyn_keras import RepresentationRecorder
from repdyn_keras.models.resnet import resnet
from repdyn_keras.models.vit import vit
from sklearn.datasets import load_digits

kind, folder, weights = sys.argv[1:]
raw = load_digits()
x, y = (raw.images[:512, ..., None] / 8 - 1).astype("float32"), raw.target[:512]
if kind == "resnet":
    model = resnet((8, 8, 1), 10, width=8, blocks=(1, 1))
else:
    model = vit((8, 8, 1), 10, patch=2, width=16, depth=2, heads=2)
stored = np.load(weights)
assert len(stored.files) == len(model.weights)
model.set_weights([stored[name] for name in stored.files])
layers = r"stem|stage\\d_block\\d|pooled|patch_embedding|block\\d\\d|class_token"
recorder = RepresentationRecorder(folder, x, y, layers=layers, planes=4, resolution=12)
recorder.record(model, 0)
"""


@pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax", reason="compares all backends: once is enough"
)
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_backends_agree_on_fingerprints_probes_and_regions(tmp_path, kind):
    missing = [name for name in BACKENDS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    weights = tmp_path / "weights.npz"
    save_random_weights(kind, weights)
    records = {}
    for backend in BACKENDS:
        folder = tmp_path / backend
        environment = os.environ | {"KERAS_BACKEND": backend}
        command = [sys.executable, "-c", SCRIPT, kind, str(folder), str(weights)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        records[backend] = open_run(folder).folder.record(0)
    reference = records["jax"]
    for backend in BACKENDS[1:]:
        for layer in reference["layer"].values:
            one = reference["fingerprint"].sel(layer=layer).values.astype(float)
            other = records[backend]["fingerprint"].sel(layer=layer).values.astype(float)
            assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one), (backend, layer)
        found = records[backend]
        np.testing.assert_allclose(
            found["probe_objective"].values, reference["probe_objective"].values, rtol=1e-4
        )
        same = (found["regions"] == reference["regions"]).mean(["plane", "row", "column"])
        assert (same.values >= 0.99).all(), (backend, same.values)
        between = compare(open_run(tmp_path / "jax"), open_run(tmp_path / backend))
        cka = between["cka_layers"].values[0]
        np.testing.assert_allclose(np.diagonal(cka), 1, atol=1e-6)
        assert cka[0, -1] < 0.9, "layers differ, backends do not"


def save_random_weights(kind, path):
    """Weights of a trained network's size, drawn without any backend's random numbers."""
    from repdyn_keras.models.resnet import resnet
    from repdyn_keras.models.vit import vit

    if kind == "resnet":
        model = resnet((8, 8, 1), 10, width=8, blocks=(1, 1))
    else:
        model = vit((8, 8, 1), 10, patch=2, width=16, depth=2, heads=2)
    rng = np.random.default_rng(3)
    arrays = {
        f"weight{index:03d}": np.abs(rng.normal(size=w.shape)) + 0.5
        if "variance" in w.path
        else rng.normal(size=w.shape) / np.sqrt(max(1, np.prod(w.shape[:-1])))
        for index, w in enumerate(model.weights)
    }
    np.savez(path, **{name: value.astype("float32") for name, value in arrays.items()})

"""The same weights give the same records on every backend."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repdyn_keras import compare, open_run

OTHERS = ("tensorflow", "torch")
LAYERS = r"stem|stage\d_block\d|pooled|patch_embedding|block\d\d|class_token"


def networks():
    from repdyn_keras.models.resnet import resnet
    from repdyn_keras.models.vit import vit

    yield "resnet", resnet((8, 8, 1), 10, width=8, blocks=(1, 1))
    yield "vit", vit((8, 8, 1), 10, patch=2, width=16, depth=2, heads=2)


def drawn(weight, rng) -> np.ndarray:
    """A random weight with the scale of a trained one, independent of the backend."""
    if "variance" in weight.path:
        return np.abs(rng.normal(size=weight.shape)) + 0.5
    return rng.normal(size=weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))


def record_all(folder: Path) -> None:
    """Records both networks on the backend of this process."""
    from sklearn.datasets import load_digits

    from repdyn_keras import RepresentationRecorder

    raw = load_digits()
    x, y = (raw.images[:512, ..., None] / 8 - 1).astype("float32"), raw.target[:512]
    for kind, model in networks():
        rng = np.random.default_rng(3)
        model.set_weights([drawn(weight, rng).astype("float32") for weight in model.weights])
        more = {"layers": LAYERS, "planes": 4, "resolution": 12}
        RepresentationRecorder(folder / kind, x, y, **more).record(model, 0)


@pytest.mark.long
@pytest.mark.needs(*OTHERS)
@pytest.mark.skipif(
    os.environ["KERAS_BACKEND"] != "jax", reason="compares all backends: once is enough"
)
def test_backends_agree_on_fingerprints_probes_and_regions(tmp_path):
    record_all(tmp_path / "jax")
    for backend in OTHERS:
        environment = os.environ | {"KERAS_BACKEND": backend}
        command = [sys.executable, __file__, str(tmp_path / backend)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for kind, _ in networks():
            one, other = (open_run(tmp_path / name / kind) for name in ("jax", backend))
            reference, found = one.folder.record(0), other.folder.record(0)
            prints = reference["fingerprint"].values.astype(float)
            error = np.linalg.norm(found["fingerprint"].values - prints, axis=1)
            assert (error <= 1e-4 * np.linalg.norm(prints, axis=1)).all(), (backend, kind)
            objectives = [record["probe_objective"].values for record in (found, reference)]
            np.testing.assert_allclose(*objectives, rtol=1e-4)
            same = (found["regions"] == reference["regions"]).mean(["plane", "row", "column"])
            assert (same.values >= 0.99).all(), (backend, kind, same.values)
            cka = compare(one, other)["cka_layers"].values[0]
            np.testing.assert_allclose(np.diagonal(cka), 1, atol=1e-6)
            assert cka[0, -1] < 0.9, "layers differ more than backends"


if __name__ == "__main__":
    record_all(Path(sys.argv[1]))

"""The distributed package: README examples, selection of the backend, wheel and types."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import repdyn_keras
from repdyn_keras.errors import EXTRAS

pytestmark = pytest.mark.one_backend

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ONLY_JAX = """
import sys
from importlib import machinery

find = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = staticmethod(
    lambda name, *more: None if name in ("tensorflow", "torch") else find(name, *more)
)
"""

TYPED = """
import numpy as np
import numpy.typing as npt
import xarray

import repdyn_keras
from repdyn_keras import (
    Config, InputError, RepresentationRecorder, cka, cka_matrix, compare, compare_runs, mutual_knn,
    open_run, plot_curves, plot_progress, plot_regions, plot_similarity, procrustes, pwcca, record,
    rsa, run, svcca,
)
from matplotlib.axes import Axes

x: npt.NDArray[np.float64] = np.zeros((32, 4))
version: str = repdyn_keras.__version__
similarity: float = cka(x, x, batch_size=16)
similarity = procrustes(x, x) + svcca(x, x, variance=0.9) + pwcca(x, x)
similarity += rsa(x, x, comparison="pearson") + mutual_knn(x, x, k=5)
matrix: npt.NDArray[np.float64] = cka_matrix([x, x], estimator="biased")
recorder = RepresentationRecorder("folder", x, planes=0, layers=["a"], epochs="log")
try:
    finished = run(Config(epochs=2), out="runs/a")
    epochs: list[float] = finished.epochs
except InputError as error:
    print(error)
else:
    dynamics: xarray.Dataset = finished.dynamics
    loss: float = finished.history[-1]["loss"]
    seconds: float = run({"epochs": 2}, dry_run=True).seconds
    axes: Axes = plot_similarity(dynamics, "output", measure="cka", ax=None)
    for axes in (plot_regions(dynamics, epoch=2), plot_progress(dynamics), plot_curves(dynamics)):
        print(axes.get_xlabel())
    comparison: xarray.Dataset = compare(open_run("runs/a"), record("weights", like="runs/a"))
    matrix_of_runs: xarray.Dataset = compare_runs([open_run("runs/a"), finished], regions=True)
"""
MISTYPED = {
    'RepresentationRecorder("folder", [], plains=0)': "plains",
    'run(outt="x")': "outt",
    'loss: str = open_run("x").history[0]["loss"]': '"float"',
}


def python(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Runs code in a process with only jax and without a configuration file of Keras."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KERAS")}
    return subprocess.run(
        [sys.executable, "-c", ONLY_JAX + code],
        cwd=folder,
        env=environment | {"HOME": str(folder), "PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_examples_of_the_callback_run_if_only_jax_is_installed(tmp_path):
    pages = (README, (ROOT / "docs" / "callback.md").read_text("utf-8"))
    blocks = [
        block
        for page in pages
        for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]
    scripts = {block for block in blocks if ">>>" not in block}
    examples = [block for block in blocks if ">>>" in block]
    assert len(scripts) == len(examples) == 1, "both pages have the same script"
    for script in scripts:
        done = python(script, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "late    " in done.stdout and "output  " in done.stdout
    check = f"import doctest, sys; test = doctest.DocTestParser().get_doctest({examples!r}[0]"
    check += ", {}, 'callback', None, 0); sys.exit(doctest.DocTestRunner().run(test).failed)"
    done = python(check, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_only_installed_backend_is_selected_and_reported_once(tmp_path):
    ask = "import repdyn_keras, keras; print(keras.backend.backend())\n"
    done = python(ask + "for _ in 'ab': repdyn_keras.RepresentationRecorder", tmp_path)
    assert done.stdout == "jax\n", done.stderr
    assert done.stderr.count("Keras runs on jax, the only backend installed") == 1
    written = json.loads((tmp_path / ".keras" / "keras.json").read_text())
    assert written["backend"] == "tensorflow", "Keras writes its default"


@pytest.mark.parametrize(
    ("before", "configured", "taken"),
    [
        ("", None, "jax"),
        ("", "tensorflow", "jax"),
        ("", "jax", None),
        ("", "[]", "jax"),
        ("os.environ['KERAS_BACKEND'] = 'torch'", None, None),
        ("sys.modules['keras'] = sys", None, None),
        ("sys.modules['torch'] = sys", None, None),
    ],
)
def test_a_configured_backend_is_not_replaced(tmp_path, before, configured, taken):
    if configured is not None:
        (tmp_path / ".keras").mkdir()
        (tmp_path / ".keras" / "keras.json").write_text(json.dumps({"backend": configured}))
    code = f"import os\n{before}\nimport repdyn_keras; print(repdyn_keras._selected_backend)"
    done = python(code, tmp_path)
    assert done.stdout == f"{taken}\n", done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KERAS_BACKEND": "torch"}, ["'torch', the backend named by KERAS_BACKEND", "[torch]"]),
        ({"KERAS_BACKEND": "tensorfow"}, ["KERAS_BACKEND='tensorfow'", "jax, tensorflow"]),
        ({}, ["the backend named by Keras's default", "[tensorflow]", "KERAS_BACKEND=jax"]),
    ],
)
def test_a_backend_that_is_not_installed_gives_one_message(tmp_path, variables, words):
    code = "import repdyn_keras, os; os.environ.pop('KERAS_BACKEND')\n" if not variables else ""
    done = python(f"{code}from repdyn_keras import RepresentationRecorder", tmp_path, **variables)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("repdyn_keras.errors.InputError: ")
    assert all(word in last for word in words), last


def test_extras_and_version_are_consistent():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project and "version" in project["dynamic"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    assert f"version: {repdyn_keras.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An environment with the built wheel, at a path with unusual characters.

    Dependencies are those of this environment: CI installs them with the README's commands.
    """
    folder = tmp_path_factory.mktemp("Kopie für Zoë & Co")
    # With PYTHONPATH, pip would find the metadata of the checkout and install nothing.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    quietly = {"check": True, "capture_output": True, "env": environment}
    build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, **quietly)
    (wheel,) = (folder / "dist").glob("*.whl")
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    venv = [sys.executable, "-m", "venv", "--without-pip", folder / "env"]
    subprocess.run(venv, check=True)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, wheel], **quietly)
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", find], text=True, **quietly).stdout.strip()
    Path(own, "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


@pytest.mark.long
def test_the_wheel_runs_outside_the_checkout_without_a_home(installed):
    hidden = ("PYTHONPATH", "KERAS_BACKEND", "MPLBACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment["HOME"] = "/dev/null"  # a folder that is not writable
    binaries = installed / "env" / "bin"
    for command in (
        [binaries / "python", "-c", "import repdyn_keras; print(repdyn_keras.__version__)"],
        [binaries / "repdyn", "run", "--epochs", "2", "--set", "planes=3"],
    ):
        done = subprocess.run(
            command, cwd=installed, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (installed / "runs" / "digits-resnet-sgd-s0" / "dynamics.nc").is_file()


@pytest.mark.long
def test_every_public_name_has_a_type(installed):
    script = installed / "script.py"
    strict = [sys.executable, "-m", "mypy", "--strict", "--python-executable"]
    command = [*strict, installed / "env" / "bin" / "python", script.name]

    def checked(code: str) -> subprocess.CompletedProcess:
        script.write_text(code, encoding="utf-8")
        return subprocess.run(command, cwd=installed, capture_output=True, text=True)

    done = checked(TYPED)
    assert done.returncode == 0, done.stdout
    assert set(repdyn_keras.__all__) <= set(re.findall(r"\w+", TYPED))
    for line, word in MISTYPED.items():
        done = checked(f"from repdyn_keras import RepresentationRecorder, open_run, run\n{line}\n")
        assert done.returncode == 1 and word in done.stdout, done.stdout

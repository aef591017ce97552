"""Settings and fixtures of all tests, the two rings, and the runs that many tests read."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Reference values are computed in float32, not in TF32, even on a GPU.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")

# Waiting OpenMP threads sleep. By default they spin and slow down other workers and processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# With a size limit, jax would lock the cache, which several processes use at the same time.
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

# The package that each extra installs.
EXTRAS = {
    "browser": "playwright",
    "dashboards": "wandb",
    "hub": "keras_hub",
    "notebook": "nbclient",
    "ray": "ray",
    "tensorflow": "tensorflow",
    "tfds": "tensorflow_datasets",
    "torch": "torch",
}


# Files that take longest, most of them for few tests, come first. xdist would start files with few
# tests last, so that one worker would still run one of these when all others are done.
SLOW_FILES = """
test_any_model test_everyday_training test_writing_layers test_study test_study_presets test_ray
test_large test_faults test_backends test_many_devices test_apps test_package test_flips
test_bad_records test_report_browser
""".split()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in SLOW_FILES)


def pytest_addoption(parser):
    parser.addoption(
        "--require-extras",
        action="store_true",
        help="fail tests whose extras are not installed, instead of skipping them",
    )


def pytest_configure(config):
    """Fails if the backend is not installed; caches what jax compiles."""
    backend = os.environ["KERAS_BACKEND"]
    if importlib.util.find_spec(backend) is None:
        extra = f": pip install -e '.[{backend}]'" if backend in EXTRAS else ""
        pytest.exit(f"KERAS_BACKEND={backend} names a package that is not installed{extra}", 2)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="repdyn-tests-jax-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_runtest_setup(item):
    """Skips a test marked `needs(extra, ...)` if an extra is not installed."""
    wanted = {extra for mark in item.iter_markers("needs") for extra in mark.args}
    missing = sorted(e for e in wanted if importlib.util.find_spec(EXTRAS[e]) is None)
    if not missing:
        return
    reason = f"needs pip install -e '.[{','.join(missing)}]'"
    if item.config.getoption("--require-extras"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Disables figures and the page, which take most of the time of a tiny run."""
    patch.setattr("repdyn_keras.figures.draw_all", lambda *args, **more: [])
    patch.setattr("repdyn_keras.report.write_report", lambda run: run.folder.report_file)


@pytest.fixture
def undrawn(monkeypatch):
    """Disables figures in a test."""
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def without_pictures():
    """Disables figures in a module, including its fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, without_pictures):
    """The uninterrupted short run of `helpers.SHORT`."""
    from helpers import whole_run

    return whole_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A real run of `repdyn run`. Tests do not change it."""
    from helpers import finished_run

    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def repeated(tmp_path_factory):
    """The tiny run repeated from its `run.toml`."""
    from helpers import repeated_run

    return repeated_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, which contains only `tiny.toml`."""
    import tomli_w
    from helpers import TINY

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(TINY), encoding="utf-8")
    return tmp_path


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A copy of the tiny run that a test may damage."""
    from repdyn_keras.records import RunFolder

    return RunFolder(shutil.copytree(tiny_run.folder.path, tmp_path / "copy"))


@pytest.fixture(scope="module")
def coarse_figures():
    """Figures with few pixels; those of pyplot are closed."""
    from matplotlib import pyplot

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repdyn_keras.figures.parts.style.DPI", 40)
        patch.setattr("repdyn_keras.figures.parts.style.GIF_DPI", 40)
        yield
    pyplot.close("all")

"""Settings that all tests share. Programs that the tests start inherit them."""

import os
import shutil
import tempfile

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# OpenMP threads that wait sleep. By default they spin, and take the cores from the other workers
# and the programs that they started; results are the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# With a limit to its size jax locks the cache, which several processes use at once.
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")


def pytest_configure(config):
    """What jax compiles in one test is loaded in others, during this session of tests only."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="repdyn-tests-jax-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Runs draw no pictures, which take most of a tiny run's time."""
    patch.setattr("repdyn_keras.figures.draw_all", lambda *args, **more: [])


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures in a test."""
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def without_pictures():
    """No pictures in a module, runs of its own fixtures included."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, without_pictures):
    """The short run of `interrupted`, which nothing interrupted."""
    from interrupted import whole_run

    return whole_run(tmp_path_factory.mktemp("whole") / "run")

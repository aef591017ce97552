"""Settings that all tests share. Programs that the tests start inherit them."""

import os
import shutil
import tempfile

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

"""The backend that Keras runs on, chosen before Keras is imported."""

import os
import sys

from repdyn_keras.errors import EXTRAS, InputError, not_installed


def use_backend(backend: str) -> None:
    """Makes Keras run on `backend`; raises InputError where that is not possible any more."""
    if "keras" in sys.modules:
        running = sys.modules["keras"].backend.backend()
        if running != backend:
            raise InputError(
                f"backend = {backend!r} came, but Keras already runs on {running!r} in this "
                f"process. Expected {running!r}, or KERAS_BACKEND={backend} set before the start."
            )
        return
    if not is_installed(backend):
        raise not_installed(backend, EXTRAS, f"backend = {backend!r}")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    from importlib.util import find_spec

    return find_spec(package) is not None

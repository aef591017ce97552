"""The backend that Keras runs on, chosen before Keras is imported."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from repdyn_keras.errors import EXTRAS, InputError, not_installed

BACKENDS = ("jax", "tensorflow", "torch")
VARIABLE = "KERAS_BACKEND"


def use_backend(backend: str) -> None:
    """Makes Keras run on `backend`; raises InputError where that is not possible any more."""
    if "keras" in sys.modules:
        running = sys.modules["keras"].backend.backend()
        if running != backend:
            raise InputError(
                f"backend = {backend!r} came, but Keras already runs on {running!r} in this "
                f"process. Expected {running!r}, or {VARIABLE}={backend} set before the start."
            )
        return
    if not is_installed(backend):
        raise not_installed(backend, EXTRAS, f"backend = {backend!r}")
    os.environ[VARIABLE] = backend
    if backend == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was put in place by hand, as tests do
        return False


def settle_on_the_only_backend() -> str | None:
    """Sets KERAS_BACKEND where nothing names a backend and one alone is installed.

    Keras takes TensorFlow where nothing names one, installed or not.

    Returns:
        That backend; None where Keras is imported already, or something names a backend, or
        several are installed.
    """
    if "keras" in sys.modules or os.environ.get(VARIABLE) or is_installed(configured() or ""):
        return None
    installed = [backend for backend in BACKENDS if is_installed(backend)]
    if len(installed) != 1:
        return None
    os.environ[VARIABLE] = installed[0]
    return installed[0]


def configured() -> str | None:
    """The backend that Keras's configuration file names.

    Keras writes the file by itself, with TensorFlow in it.
    """
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    try:
        found = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    backend = found.get("backend") if isinstance(found, dict) else None
    return backend if backend in BACKENDS else None


def require_backend() -> None:
    """Raises InputError, before Keras is imported, where its backend is not installed."""
    if "keras" in sys.modules:
        return
    backend = os.environ.get(VARIABLE) or configured() or "tensorflow"
    if backend not in BACKENDS:
        raise InputError(
            f"{VARIABLE} is {backend!r}. Expected one of {', '.join(BACKENDS)}, set before the "
            "start."
        )
    if not is_installed(backend):
        named = "Keras's configuration file" if configured() else "Keras's default"
        named = VARIABLE if os.environ.get(VARIABLE) else named
        others = [name for name in BACKENDS if is_installed(name)]
        hint = f" Or set {VARIABLE}={others[0]} before the start." if others else ""
        error = not_installed(backend, EXTRAS, f"{backend!r}, the backend by {named},")
        raise InputError(f"{error}{hint}")

"""Selection of the Keras backend, before Keras is imported."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from repdyn_keras.errors import EXTRAS, InputError, install_command, not_installed

BACKENDS = ("jax", "tensorflow", "torch")
VARIABLE = "KERAS_BACKEND"
# Keras's own default, which it uses even if it is not installed.
KERAS_DEFAULT = "tensorflow"


def use_backend(backend: str) -> None:
    """Selects the backend that Keras will use.

    Raises:
        InputError: the backend is not installed, or Keras already runs on another one.
    """
    if "keras" in sys.modules:
        active = sys.modules["keras"].backend.backend()
        if active != backend:
            raise InputError(
                f"Keras already runs on {active!r} in this process. Expected backend = "
                f"{active!r}. Received: backend = {backend!r}. To use it, set "
                f"{VARIABLE}={backend} before the start."
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
    except ValueError:  # the module in `sys.modules` has no spec
        return False


def select_only_backend() -> str | None:
    """Sets KERAS_BACKEND to the only installed backend, unless a choice has been made.

    Keras itself would use TensorFlow, installed or not.

    Returns:
        The backend; None if Keras is already imported, if the environment or Keras's configuration
        file names a backend, or if several are installed.
    """
    if "keras" in sys.modules or os.environ.get(VARIABLE):
        return None
    if is_installed(configured_backend() or ""):
        return None
    installed = [backend for backend in BACKENDS if is_installed(backend)]
    if len(installed) != 1:
        return None
    os.environ[VARIABLE] = installed[0]
    return installed[0]


def configured_backend() -> str | None:
    """The backend named in Keras's configuration file; None if it names none.

    Keras creates this file with its own default.
    """
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    try:
        settings = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    backend = settings.get("backend") if isinstance(settings, dict) else None
    return backend if backend in BACKENDS else None


def require_backend() -> None:
    """Raises InputError if Keras is about to be imported with a backend that is not installed."""
    if "keras" in sys.modules:
        return
    configured = configured_backend()
    backend = os.environ.get(VARIABLE) or configured or KERAS_DEFAULT
    if backend not in BACKENDS:
        raise InputError(
            f"Unknown backend. Expected {VARIABLE} to be one of {', '.join(BACKENDS)}. Received: "
            f"{VARIABLE}={backend!r}. Set it before the start."
        )
    if not is_installed(backend):
        source = "Keras's configuration file" if configured else "Keras's default"
        source = VARIABLE if os.environ.get(VARIABLE) else source
        others = [name for name in BACKENDS if is_installed(name)]
        hint = f" Or set {VARIABLE}={others[0]} before the start." if others else ""
        raise InputError(
            f"Expected the package {backend!r}, the backend named by {source}. Received: it is not "
            f"installed. Install it: {install_command(backend, EXTRAS)}.{hint}"
        )

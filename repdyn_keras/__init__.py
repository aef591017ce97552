"""How the representation in every layer of a network evolves while it trains.

Names are imported when they are first used, so that importing the package needs no backend. Where
nothing names a backend for Keras and one alone is installed, importing the package sets
KERAS_BACKEND to it.
"""

import sys
from importlib import import_module

from repdyn_keras.backends import require_backend, settle_on_the_only_backend

_HOMES = {
    "Config": "repdyn_keras.config",
    "InputError": "repdyn_keras.errors",
    "RepresentationRecorder": "repdyn_keras.recording",
    "cka": "repdyn_keras.measures.cka",
    "cka_matrix": "repdyn_keras.measures.cka",
    "compare": "repdyn_keras.dynamics",
    "open_run": "repdyn_keras.dynamics",
    "record": "repdyn_keras.experiment",
    "run": "repdyn_keras.experiment",
}
# Those that import Keras when they are looked up.
_NEED_KERAS = ("RepresentationRecorder",)

__all__ = sorted(_HOMES)
__version__ = "0.1.0"

_settled = settle_on_the_only_backend()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEED_KERAS:
        require_backend()
        _say_backend()
    return getattr(import_module(_HOMES[name]), name)


def _say_backend() -> None:
    """Says once which backend importing the package settled on."""
    global _settled
    if _settled is not None:
        text = f"repdyn: Keras runs on {_settled}, the only backend installed (KERAS_BACKEND)."
        print(text, file=sys.stderr)
        _settled = None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

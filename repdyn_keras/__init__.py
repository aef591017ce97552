"""How the representation in every layer of a network evolves while it trains.

Names are imported when they are first used, so that importing the package needs no backend.
"""

from importlib import import_module

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

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Records and analyzes how the representation in every layer of a network changes during training.

Public names are imported on first use, so that importing the package needs no backend. If no Keras
backend is configured and only one is installed, importing the package sets KERAS_BACKEND to it.
"""

import sys
from importlib import import_module
from typing import Any

from repdyn_keras.backends import require_backend, select_only_backend

_MODULES = {
    "Config": "repdyn_keras.config",
    "InputError": "repdyn_keras.errors",
    "RepresentationRecorder": "repdyn_keras.recording",
    "cka": "repdyn_keras.measures.cka",
    "cka_matrix": "repdyn_keras.measures.cka",
    "compare": "repdyn_keras.dynamics",
    "compare_runs": "repdyn_keras.dynamics",
    "mutual_knn": "repdyn_keras.measures.mutual_knn",
    "open_run": "repdyn_keras.dynamics",
    "plot_curves": "repdyn_keras.figures",
    "plot_progress": "repdyn_keras.figures",
    "plot_regions": "repdyn_keras.figures",
    "plot_similarity": "repdyn_keras.figures",
    "procrustes": "repdyn_keras.measures.procrustes",
    "pwcca": "repdyn_keras.measures.pwcca",
    "record": "repdyn_keras.experiment",
    "rsa": "repdyn_keras.measures.rsa",
    "run": "repdyn_keras.experiment",
    "svcca": "repdyn_keras.measures.svcca",
}
# Names whose modules import Keras.
_NEED_KERAS = ("RepresentationRecorder",)

__all__ = sorted(_MODULES)
__version__ = "0.1.0"

_selected_backend = select_only_backend()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEED_KERAS:
        require_backend()
        _print_selected_backend()
    return getattr(import_module(_MODULES[name]), name)


def _print_selected_backend() -> None:
    """Prints once which backend the import of the package selected."""
    global _selected_backend
    if _selected_backend is not None:
        print(
            f"repdyn: Keras runs on {_selected_backend}, the only backend installed "
            "(KERAS_BACKEND).",
            file=sys.stderr,
        )
        _selected_backend = None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Measures, one a module, and the mathematics that they share.

NumPy throughout; `device` holds what runs through `keras.ops`.
"""

from functools import cache
from importlib import import_module

from repdyn_keras.measures.contract import Measure, check_names

# The modules that define a `MEASURE`, in the order in which they run: each may use what those
# before it computed.
MODULES = (
    "cka",
    "probe",
    "accuracies",
    "regions",
    "phases",
    "synchronization",
)

__all__ = ["MODULES", "Measure", "register", "registered"]


@cache
def _registry() -> dict[str, Measure]:
    measures: dict[str, Measure] = {}
    for module in MODULES:
        measure = import_module(f"{__name__}.{module}").MEASURE
        check_names(measure, measures)
        measures[measure.name] = measure
    return measures


def register(measure: Measure) -> None:
    """Adds a measure, which runs after those that are registered.

    Raises:
        InputError: its name or one of its variables is taken.
    """
    check_names(measure, _registry())
    _registry()[measure.name] = measure


def registered() -> list[Measure]:
    """All measures, in the order in which they run."""
    return list(_registry().values())

"""Analysis of the records: the dynamics of one run, and the comparison of two."""

from repdyn_keras.dynamics.analysis import analyze, compute_dynamics
from repdyn_keras.dynamics.comparison import check_same_images, compare
from repdyn_keras.dynamics.phase_descriptions import PhaseDescription, describe_phases
from repdyn_keras.dynamics.recorded_run import Run, open_run

__all__ = [
    "PhaseDescription",
    "Run",
    "analyze",
    "check_same_images",
    "compare",
    "compute_dynamics",
    "describe_phases",
    "open_run",
]

"""Analysis of the records: the dynamics of one run, and the comparison of several."""

from repdyn_keras.dynamics.analysis import analyze, compute_dynamics
from repdyn_keras.dynamics.comparison import check_same_images, compare
from repdyn_keras.dynamics.phase_descriptions import PhaseDescription, describe_phases
from repdyn_keras.dynamics.recorded_run import Run, open_run
from repdyn_keras.dynamics.run_matrix import compare_runs

__all__ = [
    "PhaseDescription",
    "Run",
    "analyze",
    "check_same_images",
    "compare",
    "compare_runs",
    "compute_dynamics",
    "describe_phases",
    "open_run",
]

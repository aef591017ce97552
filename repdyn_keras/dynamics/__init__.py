"""What the records say: similarities, phases, synchronization and milestones."""

from repdyn_keras.dynamics.analysis import analyze, compute_dynamics
from repdyn_keras.dynamics.comparison import check_same_images, compare
from repdyn_keras.dynamics.run import Run, open_run

__all__ = ["Run", "analyze", "check_same_images", "compare", "compute_dynamics", "open_run"]

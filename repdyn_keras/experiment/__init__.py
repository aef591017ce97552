"""Configured runs: training, recording, resuming and repair. Importing it loads no backend."""

from repdyn_keras.experiment.record import record
from repdyn_keras.experiment.run import run
from repdyn_keras.experiment.survival.repair import repair
from repdyn_keras.experiment.watcher import Watcher

__all__ = ["Watcher", "record", "repair", "run"]

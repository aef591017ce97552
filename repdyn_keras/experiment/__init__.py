"""Configured runs: training, recording, resuming and repair. Importing it loads no backend."""

from repdyn_keras.experiment.record import record, record_saved_weights
from repdyn_keras.experiment.run import run, train
from repdyn_keras.experiment.survival.repair import repair
from repdyn_keras.experiment.watcher import Watcher

__all__ = ["Watcher", "record", "record_saved_weights", "repair", "run", "train"]

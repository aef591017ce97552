"""Checkpoints of other trainings: the epochs in their names, and the weights in their files."""

from repdyn_keras.recording.checkpoints.weight_files import epochs_of, find_weight_files

__all__ = ["epochs_of", "find_weight_files"]

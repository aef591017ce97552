"""Data sets: a fixed split, label noise and standardized pixels."""

from repdyn_keras.datasets.images import Images
from repdyn_keras.datasets.load import Data, load
from repdyn_keras.datasets.tfds import keep_tensorflow_off_gpus

__all__ = ["Data", "Images", "keep_tensorflow_off_gpus", "load"]

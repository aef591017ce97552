"""Where images and labels come from: a fixed split, label noise and standardized pixels."""

from repdyn_keras.datasets.devices import keep_tensorflow_off_gpus
from repdyn_keras.datasets.images import Images
from repdyn_keras.datasets.load import Data, load

__all__ = ["Data", "Images", "keep_tensorflow_off_gpus", "load"]

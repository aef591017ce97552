"""Where images and labels come from: a fixed split, label noise and standardized pixels."""

from repdyn_keras.datasets.load import Data, load

__all__ = ["Data", "load"]

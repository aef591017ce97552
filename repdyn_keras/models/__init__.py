"""Networks by name, and the optimizers that train them."""

from repdyn_keras.models.build import build_model, build_optimizer, recorded_layers
from repdyn_keras.models.own import loaded

__all__ = ["build_model", "build_optimizer", "loaded", "recorded_layers"]

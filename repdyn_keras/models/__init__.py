"""Networks by name, and the optimizers that train them."""

from repdyn_keras.models.build import build_model, build_optimizer, recorded_layers

__all__ = ["build_model", "build_optimizer", "recorded_layers"]

"""The networks and optimizers of a configuration."""

from repdyn_keras.models.build import block_layers, build_model, build_optimizer, recorded_layers
from repdyn_keras.models.user_models import load_model

__all__ = ["block_layers", "build_model", "build_optimizer", "load_model", "recorded_layers"]

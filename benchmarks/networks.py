"""Networks and images for the benchmarks."""

import numpy as np


def resnet18(width: int, side: int = 32, channels: int = 3):
    """A ResNet-18 of the package and the names of its recorded layers."""
    import re

    from repdyn_keras.config import NETWORKS
    from repdyn_keras.models.resnet import resnet

    model = resnet((side, side, channels), 10, width=width)
    layers = NETWORKS["resnet"].layers
    names = [layer.name for layer in model.layers if re.fullmatch(layers, layer.name)]
    return model, names


def images(count: int, side: int = 32, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random images (count, side, side, channels) and labels of ten classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, side, side, channels), np.float32)
    return x, np.arange(count) % 10


def recorded_model(model, names: list[str], x: np.ndarray, y: np.ndarray, **settings):
    """A model with the recorder's passes, without a folder."""
    from repdyn_keras import RepresentationRecorder

    return RepresentationRecorder("unused", x, y, layers=names, **settings).build(model)


def fingerprints(recorded) -> np.ndarray:
    """(layer, pair) fingerprints of a recorded model as it is now."""
    from repdyn_keras.recording.state import ModelState, Stopwatch
    from repdyn_keras.recording.values import ModelValues

    return ModelState(recorded, Stopwatch(), ModelValues.live(recorded.model)).fingerprints

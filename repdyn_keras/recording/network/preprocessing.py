"""The preprocessing that a KerasHub task applies to its images in `fit`."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from repdyn_keras.recording.inputs import count, taken
from repdyn_keras.recording.settings import Settings


def preprocessed(model: keras.Model, settings: Settings) -> Settings:
    """Settings with the images that the network of a KerasHub task receives.

    Such a task applies its `preprocessor` to the images in `fit`. For other models, the settings
    are returned unchanged.
    """
    if not has_preprocessor(model):
        return settings
    size = settings.evaluation.batch

    def prepared(x: Any) -> Any:
        starts = range(0, count(x), size)
        parts = [model.preprocess_samples(taken(x, slice(i, i + size))) for i in starts]
        numpy = keras.tree.map_structure(keras.ops.convert_to_numpy, parts)
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *numpy)

    fitted, held_out = (
        images and replace(images, x=prepared(images.x))
        for images in (settings.probes.fitted, settings.probes.held_out)
    )
    return replace(
        settings,
        evaluation=settings.evaluation.prepared(prepared),
        corners=settings.corners and settings.corners.prepared(prepared),
        probes=replace(settings.probes, fitted=fitted, held_out=held_out),
    )


def has_preprocessor(model: keras.Model) -> bool:
    """Whether a model is a KerasHub task that preprocesses its images in `fit`."""
    return hasattr(model, "preprocess_samples") and getattr(model, "preprocessor", None) is not None

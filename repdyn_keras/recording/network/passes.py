"""Passes through the network on its device: functions of images that write nothing.

`backend_code.compiled` compiles them, with one trace per run, as functions of the values of the
model's variables. They create no variables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from repdyn_keras.measures import device
from repdyn_keras.measures.map_agreement import undefined_class
from repdyn_keras.recording.backend_code import parts
from repdyn_keras.recording.network.layers import Head
from repdyn_keras.recording.settings import ProbeSettings
from repdyn_keras.recording.values import FrozenScope


@dataclass(frozen=True)
class LayerOutputs:
    """The recorded layers of a model, and the features that probes use.

    Attributes:
        model: keras.Model from images to the list of the tensors of all layers, the output last.
        head: the output.
        probes: the settings of the probes, which define the pooling.
        channel_axes: the axis of the channels of each hidden layer.
        fixed_batch: number of images in a call, if the model accepts no other; else None.
    """

    model: keras.Model
    head: Head
    probes: ProbeSettings
    channel_axes: list[int]
    fixed_batch: int | None = None

    def activations(self, images) -> list:
        """The tensors of the layers for images, in inference mode."""
        return self.model(ops.cast(images, self.model.inputs[0].dtype), training=False)

    def pooled(self, hidden: list) -> list:
        """(batch, d) float32 features of the activations of each hidden layer."""
        pairs = zip(hidden, self.channel_axes, strict=True)
        return [device.pooled(tensor, self.probes.pooling, axis) for tensor, axis in pairs]

    def features(self, activations: list) -> list:
        """Each hidden layer's pooled features, and the output's scores (batch, classes)."""
        *hidden, output = activations
        return [*self.pooled(hidden), self.head.scores(output)]

    def joined(self, function: Callable, images) -> list:
        """The tensors that a function computes from images, one part of the batch at a time."""
        results = [function(images[part]) for part in parts(images.shape, self.fixed_batch)]
        if len(results) == 1:
            return results[0]
        return [ops.concatenate(tensors) for tensors in zip(*results, strict=True)]

    def widths(self) -> list[int]:
        """Number of pooled features of each hidden layer."""
        return [int(x.shape[-1]) for x in self.pooled(self.model.outputs[:-1])]


@dataclass(frozen=True)
class FeaturePass:
    """Maps images (b, ...) to pooled features of the hidden layers and scores (b, classes).

    Attributes:
        layer_outputs: the layers.
    """

    layer_outputs: LayerOutputs

    def __call__(self, images):
        return self.layer_outputs.joined(self.features, images)

    def features(self, images) -> list:
        """The features of one part of the images."""
        return self.layer_outputs.features(self.layer_outputs.activations(images))


@dataclass(frozen=True)
class FingerprintPass:
    """Maps images (b, ...) to fingerprints and norms of the layers, see `device.fingerprints`.

    Attributes:
        layer_outputs: the layers.
        batch: number of images b.
        with_features: whether to return the result of `FeaturePass` for these images as well.
    """

    layer_outputs: LayerOutputs
    batch: int
    with_features: bool

    def __call__(self, images):
        activations = self.layer_outputs.joined(self.layer_outputs.activations, images)
        vectors, norms = device.fingerprints(activations, self.batch)
        features = self.layer_outputs.features(activations) if self.with_features else []
        return vectors, norms, features


@dataclass(frozen=True)
class RegionPass:
    """Maps points on planes to class indices, in one pass through images, layers and probes.

    Inputs: plane numbers (b,), coordinates (b, 2), origins (planes, d) and axes (planes, 2, d) of
    the planes, and sets of probes, each a list of (kernel, bias) with one probe for each hidden
    layer. Output: (b, sets * hidden + 1) class indices, those of the output last. No grid of images
    exists as a whole.

    Attributes:
        layer_outputs: the layers.
        image_shape: the shape of one image.
        dtype: dtype of the class indices.
    """

    layer_outputs: LayerOutputs
    image_shape: tuple[int, ...]
    dtype: np.dtype

    def __call__(self, plane, coordinates, origins, axes, probes):
        points = device.plane_points(
            ops.take(origins, plane, axis=0), ops.take(axes, plane, axis=0), coordinates
        )
        images = ops.reshape(points, (-1, *self.image_shape))
        dtype = "uint8" if self.dtype == np.uint8 else "int32"
        classes = self.layer_outputs.joined(lambda part: self.classes(part, probes), images)
        return ops.cast(ops.stack(classes, axis=1), dtype)

    def classes(self, images, probes: list) -> list:
        """Class indices (b,) by each probe, and by the output, for one part of the images."""
        *hidden, output = self.layer_outputs.activations(images)
        undefined = undefined_class(self.dtype)
        features = self.layer_outputs.pooled(hidden)
        classes = [
            device.class_index(ops.matmul(x, kernel) + bias, undefined)
            for of_layers in probes
            for x, (kernel, bias) in zip(features, of_layers, strict=True)
        ]
        scores = self.layer_outputs.head.scores(output)
        return [*classes, device.class_index(scores, undefined)]


@dataclass(frozen=True)
class BatchStatisticsPass:
    """Maps images (b, ...) to scores in training mode and moments of BatchNormalization layers.

    The model is called as in training, with batch statistics and dropout. The call starts with
    moving statistics of 0, so that their updated values are (1 - momentum) times the moments of the
    batch. A layer that is called k times updates them k times: the values are then (1 - momentum^k)
    times those to which the moving statistics converge if this batch is repeated.

    Attributes:
        model: the trained model.
        norms: the BatchNormalization layers that training updates, see `updated_norms`.
        head: the output that gives the scores.
    """

    model: keras.Model
    norms: list
    head: Head

    def __call__(self, images):
        moving = [v for norm in self.norms for v in (norm.moving_mean, norm.moving_variance)]
        zeros = [ops.zeros(variable.shape, variable.dtype) for variable in moving]
        with FrozenScope(moving, zeros) as scope:
            output = self.model(ops.cast(images, self.model.inputs[0].dtype), training=True)
        moments = [
            tuple(
                scope.get_current_value(variable) / (1 - norm.momentum ** scope.writes(variable))
                for variable in (norm.moving_mean, norm.moving_variance)
            )
            for norm in self.norms
        ]
        return self.head.scores(keras.tree.flatten(output)[self.head.index]), moments


def updated_norms(model: keras.Model, image_shape: tuple[int, ...]) -> list:
    """The BatchNormalization layers whose moving statistics a training step changes.

    Frozen layers and layers that are always called in inference mode are not included. The layers
    are found by tracing one call, which computes and changes nothing.

    Args:
        model: a built model.
        image_shape: the shape of one image.
    """
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and layer.momentum < 1
    ]
    if not norms:
        return []
    trace = TracedCall(model, norms)
    images = (model.inputs[0].shape[0] or 2, *image_shape)
    trace(keras.KerasTensor(images, dtype=model.inputs[0].dtype))
    return trace.updated


class TracedCall(keras.Operation):
    """Finds the BatchNormalization layers that a call in training mode updates.

    Attributes:
        updated: these layers, once the operation was called.
    """

    def __init__(self, model: keras.Model, norms: list):
        super().__init__(name="traced_call")
        self.model = model
        self.norms = norms
        self.updated: list = []

    def call(self, images):
        with FrozenScope([], []) as scope:
            output = self.model(images, training=True)
        self.updated = [
            norm for norm in self.norms if scope.get_current_value(norm.moving_mean) is not None
        ]
        return output

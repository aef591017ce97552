"""Passes through the network on its device: functions of images that write nothing.

`backend_code.compiled` compiles them, with one trace per run, as functions of the values of the
model's variables. They create no variables.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from repdyn_keras.measures import device
from repdyn_keras.measures.map_agreement import undefined_class
from repdyn_keras.recording.backend_code import parts
from repdyn_keras.recording.inputs import taken
from repdyn_keras.recording.network.head import Head
from repdyn_keras.recording.network.masks import MaskSource
from repdyn_keras.recording.network.plane_input import PlaneInput
from repdyn_keras.recording.network.taps import TappedCall
from repdyn_keras.recording.settings import ProbeSettings
from repdyn_keras.recording.values import FrozenScope


class Activations(NamedTuple):
    """What the recorded layers return for a batch of images.

    Attributes:
        hidden: (batch, ...) tensors of the hidden layers.
        masks: for each of them, (batch, ...) booleans that are False at padded positions, or None.
        output: the recorded output of the model.
    """

    hidden: list
    masks: list
    output: Any


@dataclass(frozen=True)
class LayerOutputs:
    """The recorded layers of a model, and the features that probes use.

    Attributes:
        call: the call of the model that returns what the hidden layers return, too.
        head: the output.
        probes: the settings of the probes, which define the pooling.
        channel_axes: the axis of the channels of each hidden layer.
        masks: where the mask of each hidden layer comes from, see `masks.MaskSource`.
        fixed_batch: number of images in a call, if the model accepts no other; else None.
    """

    call: TappedCall
    head: Head
    probes: ProbeSettings
    channel_axes: list[int]
    masks: list[MaskSource]
    fixed_batch: int | None = None

    def activations(self, images) -> Activations:
        """What the layers return for images, in inference mode."""
        hidden, outputs = self.call(images)
        pairs = zip(hidden, self.masks, strict=True)
        masks = [source.mask(tensor, images) for tensor, source in pairs]
        return Activations(hidden, masks, self.head.taken(outputs))

    def features(self, activations: Activations) -> list:
        """Each hidden layer's pooled features, and the output's scores (batch, classes)."""
        return [*self.pooled(activations), self.head.scores(activations.output)]

    def pooled(self, activations: Activations) -> list:
        """(batch, d) float32 features of the activations of each hidden layer."""
        hidden, masks, _ = activations
        each = zip(hidden, self.channel_axes, masks, strict=True)
        return [device.pooled(x, self.probes.pooling, axis, mask) for x, axis, mask in each]

    def joined(self, function: Callable, images) -> Any:
        """The tensors that a function computes from images, one part of the batch at a time."""
        shapes = [array.shape for array in keras.tree.flatten(images)]
        largest = max(shapes, key=math.prod)
        results = [function(taken(images, part)) for part in parts(largest, self.fixed_batch)]
        if len(results) == 1:
            return results[0]
        return keras.tree.map_structure(
            lambda *tensors: None if tensors[0] is None else ops.concatenate(tensors), *results
        )


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
        tensors = [*activations.hidden, activations.output]
        vectors, norms = device.fingerprints(tensors, self.batch)
        features = self.layer_outputs.features(activations) if self.with_features else []
        return vectors, norms, features


@dataclass(frozen=True)
class RegionPass:
    """Maps points on planes to class indices, in one pass through images, layers and probes.

    Inputs: plane numbers (b,), coordinates (b, 2), origins (planes, d) and axes (planes, 2, d) of
    the planes, arrays (planes, ...) of the other inputs at the first corner of each plane, and sets
    of probes, each a list of (kernel, bias) with one probe for each hidden layer. Output:
    (b, sets * hidden + 1) class indices, those of the output last. No grid of images exists as a
    whole.

    Attributes:
        layer_outputs: the layers.
        place: the input of the model in which the planes are.
        dtype: dtype of the class indices.
    """

    layer_outputs: LayerOutputs
    place: PlaneInput
    dtype: np.dtype

    def __call__(self, plane, coordinates, origins, axes, others, probes):
        points = device.plane_points(
            ops.take(origins, plane, axis=0), ops.take(axes, plane, axis=0), coordinates
        )
        points = ops.reshape(points, (-1, *self.place.shape))
        held = [ops.take(array, plane, axis=0) for array in others]
        images = self.place.images(points, held)
        dtype = "uint8" if self.dtype == np.uint8 else "int32"
        classes = self.layer_outputs.joined(lambda part: self.classes(part, probes), images)
        return ops.cast(ops.stack(classes, axis=1), dtype)

    def classes(self, images, probes: list) -> list:
        """Class indices (b,) by each probe, and by the output, for one part of the images."""
        activations = self.layer_outputs.activations(images)
        undefined = undefined_class(self.dtype)
        features = self.layer_outputs.pooled(activations)
        classes = [
            device.class_index(ops.matmul(x, kernel) + bias, undefined)
            for of_layers in probes
            for x, (kernel, bias) in zip(features, of_layers, strict=True)
        ]
        scores = self.layer_outputs.head.scores(activations.output)
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
            output = self.model(images, training=True)
        moments = [
            tuple(
                scope.get_current_value(variable) / (1 - norm.momentum ** scope.writes(variable))
                for variable in (norm.moving_mean, norm.moving_variance)
            )
            for norm in self.norms
        ]
        return self.head.scores(self.head.taken(output)), moments


def updated_norms(model: keras.Model, inputs) -> list:
    """The BatchNormalization layers whose moving statistics a training step changes.

    Frozen layers and layers that are always called in inference mode are not included. The layers
    are found by tracing one call, which computes and changes nothing.

    Args:
        model: a built model.
        inputs: a structure of `keras.KerasTensor`, as the model takes it.
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
    trace(inputs)
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

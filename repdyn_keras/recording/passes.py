"""Passes through the network on its device. Each is a Keras model that is built once.

`backend_code.compiled` compiles them, with one trace per run. They share the variables of the model
and create no randomly initialized ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from repdyn_keras.measures import device
from repdyn_keras.measures.planes import Plane
from repdyn_keras.measures.regions import undefined_class
from repdyn_keras.recording.backend_code import parts
from repdyn_keras.recording.layers import Head
from repdyn_keras.recording.settings import ProbeSettings


@dataclass(frozen=True)
class LayerOutputs:
    """The recorded layers of a model, and the features that probes use.

    Attributes:
        model: keras.Model from images to the list of the tensors of all layers, the output last.
        head: the output.
        probes: the settings of the probes, which define the pooling.
        channel_axes: the axis of the channels of each hidden layer.
    """

    model: keras.Model
    head: Head
    probes: ProbeSettings
    channel_axes: list[int]

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

    def widths(self) -> list[int]:
        """Number of pooled features of each hidden layer."""
        return [int(x.shape[-1]) for x in self.pooled(self.model.outputs[:-1])]


class Pass(keras.Model):
    """A pass through the layers of a model, in float32 regardless of the global dtype policy.

    Args:
        layer_outputs: the layers.
        name: name of the pass.
    """

    def __init__(self, layer_outputs: LayerOutputs, name: str):
        super().__init__(name=name, dtype="float32")
        self.layer_outputs = layer_outputs
        # Keras only finds the variables of models that are attributes.
        self.layer_model = layer_outputs.model
        self.built = True

    def joined(self, function: Callable, images) -> list:
        """The tensors that a function computes from images, one part of the batch at a time."""
        results = [function(images[part]) for part in parts(images.shape)]
        if len(results) == 1:
            return results[0]
        return [ops.concatenate(tensors) for tensors in zip(*results, strict=True)]


class FeaturePass(Pass):
    """Maps images (b, ...) to pooled features of the hidden layers and scores (b, classes).

    Args:
        layer_outputs: the layers.
    """

    def __init__(self, layer_outputs: LayerOutputs):
        super().__init__(layer_outputs, "feature_pass")

    def call(self, images):
        return self.joined(self.features, images)

    def features(self, images) -> list:
        """The features of one part of the images."""
        return self.layer_outputs.features(self.layer_outputs.activations(images))


class FingerprintPass(Pass):
    """Maps images (b, ...) to fingerprints and norms of the layers, see `device.fingerprints`.

    Args:
        layer_outputs: the layers.
        batch: number of images b.
        with_features: whether to return the result of `FeaturePass` for these images as well.
    """

    def __init__(self, layer_outputs: LayerOutputs, batch: int, with_features: bool):
        super().__init__(layer_outputs, "fingerprint_pass")
        self.batch = batch
        self.with_features = with_features

    def call(self, images):
        activations = self.joined(self.layer_outputs.activations, images)
        vectors, norms = device.fingerprints(activations, self.batch)
        features = self.layer_outputs.features(activations) if self.with_features else []
        return vectors, norms, features


class RegionPass(Pass):
    """Maps points on planes to class indices, in one pass through images, layers and probes.

    Input: plane numbers (b,) and coordinates (b, 2). Output: (b, layers) class indices. The pass
    holds the planes and the probes, but no grid of images.

    Args:
        layer_outputs: the layers.
        image_shape: the shape of one image.
        planes: the planes.
        dtype: dtype of the class indices.
    """

    def __init__(
        self,
        layer_outputs: LayerOutputs,
        image_shape: tuple[int, ...],
        planes: list[Plane],
        dtype: np.dtype,
    ):
        super().__init__(layer_outputs, "region_pass")
        self.region_dtype = dtype
        self.image_shape = tuple(image_shape)

        def constant(shape, name):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        d = int(np.prod(self.image_shape))
        classes, widths = layer_outputs.head.classes, layer_outputs.widths()
        self.origins = constant((len(planes), d), "origins")
        self.axes = constant((len(planes), 2, d), "axes")
        self.kernels = [constant((w, classes), f"kernel_{i}") for i, w in enumerate(widths)]
        self.biases = [constant((classes,), f"bias_{i}") for i in range(len(widths))]
        self.origins.assign(np.stack([plane.origin for plane in planes]).astype("float32"))
        self.axes.assign(np.stack([plane.axes for plane in planes]).astype("float32"))

    def set_probes(self, probes: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Sets the kernel and the bias of each hidden layer's probe."""
        for (kernel, bias), weight, shift in zip(probes, self.kernels, self.biases, strict=True):
            weight.assign(kernel)
            shift.assign(bias)

    def call(self, inputs):
        plane, coordinates = inputs
        points = device.plane_points(
            ops.take(self.origins, plane, axis=0), ops.take(self.axes, plane, axis=0), coordinates
        )
        images = ops.reshape(points, (-1, *self.image_shape))
        dtype = "uint8" if self.region_dtype == np.uint8 else "int32"
        return ops.cast(ops.stack(self.joined(self.classes, images), axis=1), dtype)

    def classes(self, images) -> list:
        """Class indices (b,) of each layer for one part of the images."""
        *hidden, output = self.layer_outputs.activations(images)
        undefined = undefined_class(self.region_dtype)
        classes = [
            device.class_index(ops.matmul(x, kernel) + bias, undefined)
            for x, kernel, bias in zip(
                self.layer_outputs.pooled(hidden), self.kernels, self.biases, strict=True
            )
        ]
        scores = self.layer_outputs.head.scores(output)
        return [*classes, device.class_index(scores, undefined)]


class BatchStatisticsPass(keras.Model):
    """Maps images (b, ...) to scores in training mode and moments of BatchNormalization layers.

    The model is called as in training, with batch statistics and dropout, but its variables are not
    updated. The call starts with moving statistics of 0, so that their updated values are
    (1 - momentum) times the moments of the batch. Dropout draws the same values in every call.

    Args:
        model: the trained model.
        norms: the BatchNormalization layers that training updates, see `updated_norms`.
        head: the output that gives the scores.
    """

    def __init__(self, model: keras.Model, norms: list, head: Head):
        super().__init__(name="batch_statistics_pass", dtype="float32")
        self.trained = model
        self.norms = norms
        self.head = head
        self.built = True

    def call(self, images):
        factors = {}
        for norm in self.norms:
            factors[id(norm.moving_mean)] = factors[id(norm.moving_variance)] = 1 - norm.momentum
        non_trainable = self.trained.non_trainable_variables
        output, updated = self.trained.stateless_call(
            [v.value for v in self.trained.trainable_variables],
            [self.initial_value(index, v, factors) for index, v in enumerate(non_trainable)],
            ops.cast(images, self.trained.inputs[0].dtype),
            training=True,
        )
        batch = {
            id(v): new / factors[id(v)]
            for v, new in zip(non_trainable, updated, strict=True)
            if id(v) in factors
        }
        moments = [(batch[id(n.moving_mean)], batch[id(n.moving_variance)]) for n in self.norms]
        return self.head.scores(keras.tree.flatten(output)[self.head.index]), moments

    def initial_value(self, index: int, variable, factors: dict):
        """The value of a non-trainable variable at the start of the call."""
        if is_seed_state(variable):
            return ops.convert_to_tensor(np.array([0, index]), dtype=variable.dtype)
        return ops.zeros_like(variable.value) if id(variable) in factors else variable.value


def is_seed_state(variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`."""
    return variable.name == "seed_generator_state"


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
    trace(keras.KerasTensor((2, *image_shape), dtype=model.inputs[0].dtype))
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
        with keras.StatelessScope() as scope:
            output = self.model(images, training=True)
        self.updated = [
            norm for norm in self.norms if scope.get_current_value(norm.moving_mean) is not None
        ]
        return output

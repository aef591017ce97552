"""What runs on the device: whole passes through the model, each one Keras model built once.

`backend.compiled` compiles them, one trace a run, and leaves the training as it was. They share
the model's variables and create none that draws from a random initializer.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from repdyn_keras.measures import device
from repdyn_keras.measures.regions import undefined_class
from repdyn_keras.recording.backend import parts
from repdyn_keras.recording.heads import Head


class Pass(keras.Model):
    """A pass through the layers of a model, in float32 whatever the global dtype policy.

    Args:
        layers: keras.Model from the images to the list of the layers' tensors.
    """

    def __init__(self, layers: keras.Model, name: str):
        super().__init__(name=name, dtype="float32")
        self.recorded = layers
        self.built = True

    def activations(self, images) -> list:
        """The layers' tensors, in inference mode."""
        return self.recorded(ops.cast(images, self.recorded.inputs[0].dtype), training=False)

    def joined(self, function: Callable, images) -> list:
        """The tensors that a function makes of images, of one part of them after another."""
        found = [function(images[part]) for part in parts(images.shape)]
        if len(found) == 1:
            return found[0]
        return [ops.concatenate(tensors) for tensors in zip(*found, strict=True)]


class FeaturePass(Pass):
    """Images (b, ...) to each hidden layer's pooled features and the output's scores (b, classes).

    Args:
        layers: keras.Model from the images to the list of the layers' tensors.
        pooling: features of a probe.
        head: the output, the last of the tensors.
    """

    def __init__(self, layers: keras.Model, pooling: str | int, head: Head):
        super().__init__(layers, "feature_pass")
        self.pooling = pooling
        self.head = head

    def call(self, images):
        return self.joined(lambda part: self.features(self.activations(part)), images)

    def features(self, activations: list) -> list:
        """Those of the layers' tensors of some images."""
        *hidden, output = activations
        return [*(device.pooled(x, self.pooling) for x in hidden), self.head.scores(output)]


class ComparedPass(FeaturePass):
    """Images (b, ...) to each layer's fingerprint and norms, see `device.fingerprints`.

    Args:
        layers: keras.Model from the images to the list of the layers' tensors.
        pooling: features of a probe.
        head: the output, the last of the tensors.
        batch: number of images b.
        with_features: whether what `FeaturePass` gives of the same images is returned, too.
    """

    def __init__(self, layers, pooling, head: Head, batch: int, with_features: bool):
        super().__init__(layers, pooling, head)
        self.batch = batch
        self.with_features = with_features

    def call(self, images):
        activations = self.joined(self.activations, images)
        found = device.fingerprints(activations, self.batch)
        return *found, self.features(activations) if self.with_features else []


class RegionPass(Pass):
    """Points of planes to class indices: plane to grid to layers to probes, in one pass.

    Input: plane numbers (b,) and coordinates (b, 2). Output: (b, layers) of the region dtype.
    Only the corners' planes and the probes are held, never a grid of images.

    Args:
        layers: keras.Model from the images to the list of the layers' tensors.
        image_shape: the shape of one image.
        pooling: features of a probe.
        widths: number of features of each hidden layer's probe.
        head: the output, the last of the tensors.
        planes: the planes, `measures.planes.Plane`.
        dtype: dtype of the class indices.
    """

    def __init__(self, layers, image_shape, pooling, widths, head, planes, dtype):
        super().__init__(layers, "region_pass")
        self.pooling = pooling
        self.head = head
        self.region_dtype = dtype
        self.image_shape = tuple(image_shape)

        def constant(shape, name):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        d = int(np.prod(self.image_shape))
        self.origins = constant((len(planes), d), "origins")
        self.axes = constant((len(planes), 2, d), "axes")
        self.kernels = [
            constant((width, head.classes), f"kernel_{i}") for i, width in enumerate(widths)
        ]
        self.biases = [constant((head.classes,), f"bias_{i}") for i in range(len(widths))]
        self.origins.assign(np.stack([plane.origin for plane in planes]).astype("float32"))
        self.axes.assign(np.stack([plane.axes for plane in planes]).astype("float32"))

    def set_probes(self, probes: list) -> None:
        """Puts each hidden layer's probe, (kernel, bias), in place."""
        for (kernel, bias), weight, shift in zip(probes, self.kernels, self.biases, strict=True):
            weight.assign(kernel)
            shift.assign(bias)

    def call(self, inputs):
        plane, coordinates = inputs
        points = device.plane_points(
            ops.take(self.origins, plane, axis=0), ops.take(self.axes, plane, axis=0), coordinates
        )
        images = ops.reshape(points, (-1, *self.image_shape))
        narrow = "uint8" if self.region_dtype == np.uint8 else "int32"
        return ops.cast(ops.stack(self.joined(self.classes, images), axis=1), narrow)

    def classes(self, images) -> list:
        """Class indices (b,) of each layer for one part of the images."""
        *hidden, output = self.activations(images)
        undefined = undefined_class(self.region_dtype)
        classes = [
            device.class_index(ops.matmul(device.pooled(x, self.pooling), kernel) + bias, undefined)
            for x, kernel, bias in zip(hidden, self.kernels, self.biases, strict=True)
        ]
        return [*classes, device.class_index(self.head.scores(output), undefined)]


class BatchStatisticsPass(keras.Model):
    """Images (b, ...) to the scores in training mode and every BatchNormalization's moments.

    The model is called as the training calls it, batch statistics and dropout included; what it
    would write to its variables is returned instead. Moving statistics enter as 0, so that each
    update is (1 - momentum) times the batch's own moment. Dropout draws the same in every call,
    whatever the training has drawn.

    Args:
        model: the model that is trained.
        norms: its BatchNormalization layers that its training updates, see `updated_norms`.
        head: the output whose scores are returned.
    """

    def __init__(self, model: keras.Model, norms: list, head: Head):
        super().__init__(name="batch_statistics_pass", dtype="float32")
        self.trained = model
        self.norms = norms
        self.head = head
        self.built = True

    def call(self, images):
        shares = {}
        for norm in self.norms:
            shares[id(norm.moving_mean)] = shares[id(norm.moving_variance)] = 1 - norm.momentum
        free = self.trained.non_trainable_variables
        output, updated = self.trained.stateless_call(
            [v.value for v in self.trained.trainable_variables],
            [self.given(place, v, shares) for place, v in enumerate(free)],
            ops.cast(images, self.trained.inputs[0].dtype),
            training=True,
        )
        batch = {
            id(v): new / shares[id(v)]
            for v, new in zip(free, updated, strict=True)
            if id(v) in shares
        }
        moments = [(batch[id(n.moving_mean)], batch[id(n.moving_variance)]) for n in self.norms]
        return self.head.scores(keras.tree.flatten(output)[self.head.index]), moments

    def given(self, place: int, variable, shares: dict):
        """What a variable that is not trained holds when the call begins."""
        if is_seed_state(variable):
            return ops.convert_to_tensor(np.array([0, place]), dtype=variable.dtype)
        return ops.zeros_like(variable.value) if id(variable) in shares else variable.value


def is_seed_state(variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`."""
    return variable.name == "seed_generator_state"


def updated_norms(model: keras.Model, image_shape: tuple[int, ...]) -> list:
    """The BatchNormalization layers whose moving statistics a step of training changes.

    Those that are frozen, or that a layer always calls in inference mode, are not among them.
    Found by tracing one call; nothing is computed and nothing changes.

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
    """Notes which BatchNormalization layers are updated by a call in training mode.

    Attributes:
        updated: those layers, after a symbolic call.
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

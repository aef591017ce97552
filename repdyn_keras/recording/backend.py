"""What recording must know and ask of each backend, and puts back afterwards."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import keras

from repdyn_keras.measures import device

# Numbers of the images that go through the layers at a time in jax on a CPU, and the most parts
# that a batch is cut into: each is compiled anew.
PART_NUMBERS = 100_000
MOST_PARTS = 8
# Sides of images that a 3 x 3 kernel reaches from every point of them.
SMALL = 2


def parts(shape: tuple[int, ...]) -> list[slice]:
    """Even parts of a batch of images that had better go through a network one after another.

    What XLA makes of a ResNet or a Vision Transformer for a CPU takes a tenth less time when what
    the layers put out stays in the caches; torch and tensorflow gain nothing by it there.

    Args:
        shape: shape of the batch.
    """
    if not is_jax_on_a_cpu():
        return [slice(None)]
    size = shape[0]
    count = min(math.ceil(math.prod(shape) / PART_NUMBERS), MOST_PARTS, size)
    edges = [size * part // count for part in range(count + 1)]
    return [slice(*ends) for ends in zip(edges[:-1], edges[1:], strict=True)]


def is_jax_on_a_cpu() -> bool:
    """Whether XLA compiles for a CPU what Keras computes."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def compiled(model: keras.Model) -> Callable:
    """A pass as one compiled function of a batch.

    On jax it is a stateless call, without what `predict_on_batch` does around each batch: that
    takes as long as a small batch itself. The function returns before its result is there, so
    that the next batch can be prepared meanwhile.

    Args:
        model: a built model.

    Returns:
        A function of what the model is called with, which returns what the model returns.
    """
    if keras.backend.backend() != "jax":
        return model.predict_on_batch
    import jax

    @jax.jit
    def stateless(trainable, non_trainable, batch):
        with small_convolutions_as_products(model):
            outputs, _ = model.stateless_call(trainable, non_trainable, batch)
        return outputs

    def call(batch):
        trainable = [variable.value for variable in model.trainable_variables]
        non_trainable = [variable.value for variable in model.non_trainable_variables]
        return stateless(trainable, non_trainable, batch)

    return call


@contextmanager
def small_convolutions_as_products(model: keras.Model) -> Iterator[None]:
    """Convolutions of images of at most 2 x 2 are matrix products in what is traced in the block.

    XLA's own take six times as long on a CPU; a small ResNet's later stages are made of them.
    """
    layers = [
        layer
        for layer in (model._flatten_layers() if is_jax_on_a_cpu() else [])
        if type(layer) is keras.layers.Conv2D
        and layer.groups == 1
        and max(layer.dilation_rate) == 1
    ]
    try:
        for layer in layers:
            # Keras tracks what is set in the ordinary way.
            object.__setattr__(layer, "convolution_op", partial(convolved, layer))
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "convolution_op")


def convolved(layer: keras.layers.Conv2D, images, kernel):
    """What a layer's `convolution_op` returns."""
    is_small = layer.data_format == "channels_last" and all(
        side is not None and side <= SMALL for side in images.shape[1:3]
    )
    if is_small and layer.padding in ("same", "valid"):
        return device.small_convolution(images, kernel, layer.strides, layer.padding)
    return type(layer).convolution_op(layer, images, kernel)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Full float32 precision and no trace left in global random state, inside the block.

    On NVIDIA GPUs a float32 product may otherwise run as TF32, whose error near 3e-4 would pass
    for a change of the representation.
    """
    with {"jax": in_jax, "tensorflow": in_tensorflow, "torch": in_torch}[keras.backend.backend()]():
        yield


@contextmanager
def in_jax() -> Iterator[None]:
    """Matrix products at the highest precision."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def in_tensorflow() -> Iterator[None]:
    """No TF32."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def in_torch() -> Iterator[None]:
    """No TF32, no gradients, and the global generators as they were: dropout draws from them."""
    import torch

    precision = older_settings if answers_older_settings() else newer_settings
    with precision(), torch.random.fork_rng(), torch.no_grad():
        # Dropout in training mode draws from here: the same in every record.
        torch.manual_seed(0)
        yield


def answers_older_settings() -> bool:
    """Whether torch still tells its older settings of precision, and they are all there is.

    Once those that torch 2.9 brought were used it may refuse to.
    """
    import torch

    try:
        torch.get_float32_matmul_precision()
        _ = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return False
    return getattr(torch.backends, "fp32_precision", "none") == "none"


@contextmanager
def older_settings() -> Iterator[None]:
    """No TF32, by the settings that every torch has."""
    import torch

    products = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    if products != "highest":
        torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if products != "highest":
            torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def newer_settings() -> Iterator[None]:
    """No TF32, by the settings that torch 2.9 brought."""
    from torch.backends import cuda, cudnn, mkldnn

    places = [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value

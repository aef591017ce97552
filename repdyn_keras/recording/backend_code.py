"""Code that differs between the backends: compiled passes, and full float32 precision."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from repdyn_keras.measures import device

# Entries of the images that go through the layers at a time in jax on a CPU, and the most parts of
# a batch: each part is compiled.
PART_SIZE = 100_000
MAX_PARTS = 8
# Sides of images that a 3 x 3 kernel covers from each of their points.
MAX_SMALL_SIDE = 2


def parts(shape: tuple[int, ...]) -> list[slice]:
    """Equal parts of a batch of images that go through a network one after another.

    XLA's code for a ResNet or a Vision Transformer takes a tenth less time on a CPU where the
    layers' outputs stay in the caches. torch and tensorflow do not gain from it.

    Args:
        shape: shape of the batch.
    """
    if not is_jax_on_a_cpu():
        return [slice(None)]
    size = shape[0]
    count = min(math.ceil(math.prod(shape) / PART_SIZE), MAX_PARTS, size)
    edges = [size * part // count for part in range(count + 1)]
    return [slice(*ends) for ends in zip(edges[:-1], edges[1:], strict=True)]


def is_jax_on_a_cpu() -> bool:
    """Whether Keras runs on jax, and jax on a CPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def compiled(model: keras.Model) -> Callable:
    """A pass as one compiled function of a batch.

    On jax it is a stateless call, without the overhead of `predict_on_batch`, which takes as long
    as a small batch. The function returns before its result is computed, so that the next batch can
    be prepared meanwhile.

    Args:
        model: a built model.

    Returns:
        A function with the input and the output of the model.
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
    """Traces convolutions of images of at most 2 x 2 as matrix products inside the block.

    XLA's own convolutions take six times as long on a CPU, and the later stages of a small ResNet
    consist of them.
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
            # Keras tracks attributes that are set in the ordinary way.
            object.__setattr__(layer, "convolution_op", partial(convolution, layer))
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "convolution_op")


def convolution(layer: keras.layers.Conv2D, images, kernel):
    """Replaces a layer's `convolution_op`."""
    is_small = layer.data_format == "channels_last" and all(
        side is not None and side <= MAX_SMALL_SIDE for side in images.shape[1:3]
    )
    if is_small and layer.padding in ("same", "valid"):
        return device.small_convolution(images, kernel, layer.strides, layer.padding)
    return type(layer).convolution_op(layer, images, kernel)


@contextmanager
def full_precision() -> Iterator[None]:
    """Computes float32 products in full inside the block, and leaves global random state alone.

    On NVIDIA GPUs a float32 product may otherwise run as TF32. Its error of about 3e-4 would look
    like a change of the representation.
    """
    scopes = {"jax": jax_scope, "tensorflow": tensorflow_scope, "torch": torch_scope}
    with scopes[keras.backend.backend()]():
        yield


@contextmanager
def jax_scope() -> Iterator[None]:
    """Matrix products in the highest precision."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def tensorflow_scope() -> Iterator[None]:
    """No TF32."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def torch_scope() -> Iterator[None]:
    """No TF32, no gradients; restores the global generators, which dropout draws from."""
    import torch

    precision = legacy_settings if has_legacy_settings() else backend_settings
    with precision(), torch.random.fork_rng(), torch.no_grad():
        # Dropout in training mode draws the same in every record.
        torch.manual_seed(0)
        yield


def has_legacy_settings() -> bool:
    """Whether torch's legacy precision settings can be read and are the only ones in use.

    Reading them may fail once the settings of torch 2.9 were used.
    """
    import torch

    try:
        torch.get_float32_matmul_precision()
        _ = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return False
    return getattr(torch.backends, "fp32_precision", "none") == "none"


@contextmanager
def legacy_settings() -> Iterator[None]:
    """No TF32, by the settings of every version of torch."""
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
def backend_settings() -> Iterator[None]:
    """No TF32, by the settings of torch 2.9 and later."""
    import torch

    backends: Any = torch.backends  # torch creates attributes of it at run time
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    places = [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value

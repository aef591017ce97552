"""Backend-specific code: compiled passes, and full float32 precision."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import keras

# Keras has no public access to its global random generator.
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR as GLOBAL_GENERATOR

from repdyn_keras.measures import device
from repdyn_keras.recording.attributes import replaced
from repdyn_keras.recording.generators import GlobalGenerators
from repdyn_keras.recording.values import FrozenScope, state_variables

# Number of pixel values per part of a batch in jax on a CPU, and maximum number of parts, each of
# which is compiled. Parts that would be larger than the maximum size do not stay in the caches.
PART_SIZE, MAX_PART_SIZE = 100_000, 400_000
MAX_PARTS = 8
# Maximum side of images that a 3 x 3 kernel covers completely from each of their points.
MAX_SMALL_SIDE = 2


def parts(shape: tuple[int, ...], fixed: int | None = None) -> list[slice]:
    """Equal parts of a batch of images that go through a network one after another.

    On a CPU, XLA takes a tenth less time for a ResNet or a Vision Transformer if the outputs of the
    layers stay in the caches. torch and tensorflow do not benefit and process whole batches.

    Args:
        shape: shape of the batch.
        fixed: size of the parts; None to choose it.
    """
    size = shape[0]
    if fixed is None and not is_jax_on_a_cpu():
        return [slice(None)]
    if fixed is None:
        values = math.prod(shape)
        count = min(math.ceil(values / PART_SIZE), MAX_PARTS, size)
        if values > count * MAX_PART_SIZE:
            count = 1
    else:
        count = size // fixed
    edges = [size * part // count for part in range(count + 1)]
    return [slice(*ends) for ends in zip(edges[:-1], edges[1:], strict=True)]


def is_jax_on_a_cpu() -> bool:
    """Whether Keras runs on jax on a CPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def compiled(function: Callable, model: keras.Model) -> Callable:
    """Compiles a pass into a function of the values of a model's variables.

    The pass runs as the model was compiled: eagerly with `run_eagerly`, and with XLA only if the
    model uses it. The function returns before its result is computed, so that the next batch can be
    prepared in the meantime. It writes no variable.

    Args:
        function: the pass, a function of arrays.
        model: the model that the pass calls.

    Returns:
        A function of `ModelValues.tensors` and the arrays of the pass.
    """
    variables = state_variables(model)

    def stateless(values, *inputs):
        with FrozenScope(variables, values):
            return function(*inputs)

    makers = {"jax": jax_function, "tensorflow": tensorflow_function, "torch": torch_function}
    return makers[keras.backend.backend()](stateless, model)


def jax_function(stateless: Callable, model: keras.Model) -> Callable:
    """A compiled pass on jax."""
    import jax

    if model.run_eagerly or not model.jit_compile:
        return with_tensors(stateless)

    @jax.jit
    def call(values, *inputs):
        with small_convolutions_as_products(model):
            return stateless(values, *inputs)

    return call


def tensorflow_function(stateless: Callable, model: keras.Model) -> Callable:
    """A compiled pass on tensorflow."""
    import tensorflow as tf

    variables = tensorflow_variables(model)
    call = stateless
    if not model.run_eagerly:
        call = tf.function(stateless, jit_compile=model.jit_compile, autograph=False)
    call = with_tensors(call)
    if not variables:
        return call

    def restoring(values, *inputs):
        # Keras's scopes do not apply to variables of tensorflow.
        before = [variable.numpy() for variable in variables]
        try:
            return call(values, *inputs)
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    return restoring


def tensorflow_variables(model: keras.Model) -> list:
    """Variables of tensorflow that the layers of a model hold and Keras does not know."""
    import tensorflow as tf

    found = []
    for layer in model._flatten_layers():
        for attribute in vars(layer).values():
            for value in attribute if isinstance(attribute, list | tuple) else [attribute]:
                if isinstance(value, tf.Variable):
                    found.append(value)
                elif isinstance(value, tf.random.Generator):
                    found.append(value.state)
                elif isinstance(value, tf.Module) and not isinstance(value, keras.layers.Layer):
                    found += value.variables
    return found


def torch_function(stateless: Callable, model: keras.Model) -> Callable:
    """A pass on torch, which runs eagerly."""
    import torch

    variables = state_variables(model)
    wrapped = {
        id(parameter)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.TorchModuleWrapper)
        for parameter in layer.module.parameters()
    }
    has_state = wrapped or any(module._buffers for module in torch_modules(model))
    stateless = with_tensors(stateless)

    def call(values, *inputs):
        with torch.no_grad():
            if not has_state:
                return stateless(values, *inputs)
            parameters = [
                (variable.value, value)
                for variable, value in zip(variables, values, strict=True)
                if id(variable.value) in wrapped
            ]
            with torch_modules_restored(model, parameters):
                return stateless(values, *inputs)

    return call


@contextmanager
def torch_modules_restored(model, parameters: list[tuple]) -> Iterator[None]:
    """Gives values to the parameters of wrapped torch modules inside the block.

    Keras's scopes do not apply to torch modules. Afterwards, their parameters, buffers and modes
    are what they were.

    Args:
        model: the model.
        parameters: parameters and their values.
    """
    modules = torch_modules(model)
    modes = [module.training for module in modules]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
    ]
    stored = [parameter.data for parameter, _ in parameters]
    try:
        for parameter, value in parameters:
            parameter.data = value.data
        yield
    finally:
        for (parameter, _), data in zip(parameters, stored, strict=True):
            parameter.data = data
        for module, name, buffer, value in buffers:
            if buffer is not None:
                buffer.copy_(value)
            module._buffers[name] = buffer
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def torch_modules(model: keras.Model) -> list:
    """All torch modules of a model; its layers are modules themselves."""
    modules = (module for layer in model._flatten_layers() for module in layer.modules())
    return list({id(module): module for module in modules}.values())


def with_tensors(function: Callable) -> Callable:
    """A function whose NumPy arguments are converted to tensors of the backend."""

    def call(values, *inputs):
        return function(values, *keras.tree.map_structure(keras.ops.convert_to_tensor, inputs))

    return call


def small_convolutions_as_products(model: keras.Model) -> AbstractContextManager:
    """Traces convolutions of images of at most 2 x 2 as matrix products inside the block.

    On a CPU, XLA's convolutions take six times as long. The later stages of a small ResNet consist
    of such convolutions.
    """
    layers = [
        layer
        for layer in (model._flatten_layers() if is_jax_on_a_cpu() else [])
        if type(layer) is keras.layers.Conv2D
        and layer.groups == 1
        and max(layer.dilation_rate) == 1
    ]
    functions = ((layer, "convolution_op", partial(convolution, layer)) for layer in layers)
    return replaced(functions)


def convolution(layer: keras.layers.Conv2D, images, kernel):
    """Replacement for `convolution_op` of a layer."""
    is_small = layer.data_format == "channels_last" and all(
        side is not None and side <= MAX_SMALL_SIDE for side in images.shape[1:3]
    )
    if is_small and layer.padding in ("same", "valid"):
        return device.small_convolution(images, kernel, layer.strides, layer.padding)
    return type(layer).convolution_op(layer, images, kernel)


@contextmanager
def unchanged(model: keras.Model, generators: GlobalGenerators) -> Iterator[None]:
    """Restores what no scope of Keras covers: global random states and wrapped torch modules.

    Args:
        model: a model that is called inside the block.
        generators: the global generators that the block draws from.
    """
    keras_generator = global_state.get_global_attribute(GLOBAL_GENERATOR)
    is_torch = keras.backend.backend() == "torch"
    try:
        with generators.restored(), torch_unchanged(model) if is_torch else nullcontext():
            yield
    finally:
        # A generator that was created inside the block has another seed than it would have later.
        global_state.set_global_attribute(GLOBAL_GENERATOR, keras_generator)


@contextmanager
def torch_unchanged(model: keras.Model) -> Iterator[None]:
    """Restores the wrapped modules of a model on torch, and computes no gradients."""
    import torch

    with torch.no_grad(), torch_modules_restored(model, []):
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Computes float32 products in full precision.

    NVIDIA GPUs may otherwise use TF32, whose error of about 3e-4 would look like a change of the
    representation.
    """
    scopes = {"jax": jax_scope, "tensorflow": tensorflow_scope, "torch": torch_scope}
    with scopes[keras.backend.backend()]():
        yield


@contextmanager
def jax_scope() -> Iterator[None]:
    """Highest precision of matrix products, for jax."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def tensorflow_scope() -> Iterator[None]:
    """No TF32, for tensorflow."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def torch_scope() -> Iterator[None]:
    """No TF32, for torch."""
    precision = legacy_settings if has_legacy_settings() else backend_settings
    with precision():
        yield


def has_legacy_settings() -> bool:
    """Whether the precision settings of torch before 2.9 can be read and are the only ones in use.

    Reading them may fail after the settings of torch 2.9 were used.
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
    """No TF32, with the settings that every version of torch has."""
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
    """No TF32, with the settings of torch 2.9 and later."""
    import torch

    backends: Any = torch.backends  # torch creates its attributes at run time
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    settings = [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def trace_of(tensor):
    """What a tensor without values belongs to: a trace of jax, a graph of tensorflow, or a map of
    torch; None for a tensor with values.
    """
    finders = {"jax": jax_trace, "tensorflow": tensorflow_trace, "torch": torch_trace}
    return finders[keras.backend.backend()](tensor)


def jax_trace(tensor):
    """The trace of a tracer of jax."""
    return getattr(tensor, "_trace", None)


def tensorflow_trace(tensor):
    """The graph of a symbolic tensor of tensorflow."""
    import tensorflow as tf

    return None if tf.is_tensor(tensor) and hasattr(tensor, "numpy") else tensor.graph


def torch_trace(tensor):
    """The level of a tensor inside a transformation of torch, such as vmap."""
    import torch

    functorch = torch._C._functorch
    return (
        functorch.maybe_get_level(tensor) if functorch.is_functorch_wrapped_tensor(tensor) else None
    )

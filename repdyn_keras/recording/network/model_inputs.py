"""What a model takes: whether it can be called, on which structure, and whether on numbers."""

from collections.abc import Iterable
from typing import Any

import keras

# Keras has no public access to the way in which `fit` builds models.
from keras.src.backend import compute_output_spec

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.network.call_trace import Call, CallTrace
from repdyn_keras.recording.network.taps import graph_of
from repdyn_keras.text import format_error, format_names, format_shape

# Images in a traced call: a number that no other axis is likely to have.
BATCH = 13
# Layers and operations that keep the values of their input.
VALUE_PRESERVING = ("Identity", "Reshape", "Flatten", "Cast", "Dropout", "Masking")


def check_model(model: keras.Model) -> None:
    """Raises InputError unless a model is a built Keras model."""
    if not isinstance(model, keras.Model):
        raise InputError(
            f"Expected a keras.Model. Received: an object of type {type(model).__name__}."
        )
    is_sequential = isinstance(model, keras.Sequential)
    if not model.built or (is_sequential and graph_of(model) is None):
        raise InputError(
            f"Expected a built model. Received: {model.name!r} ({type(model).__name__}), which was "
            "never called on data. Call it once on a batch, or begin a Sequential with "
            "keras.Input(shape)."
        )


def build_in_fit(model: keras.Model, images: Any) -> None:
    """Builds a model that `fit` would build in its first step, as it does on tensorflow.

    On jax and torch, `fit` builds it in this way before its first epoch.

    Raises:
        InputError: the model does not take the images.
    """
    if model.built:
        return
    try:
        inputs = keras.tree.map_structure(
            lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype), inputs_for(model, images)
        )
        compute_output_spec(model, inputs, training=False)
    except Exception as error:
        shapes = [format_shape(x.shape[1:]) for x in keras.tree.flatten(images)]
        raise InputError(
            f"Expected images that the model {model.name!r} ({type(model).__name__}) takes, which "
            f"is not built yet. Received: images of shape {format_names(shapes)}, for which its "
            f"call fails: {format_error(error)}"
        ) from error


def own_inputs(model: keras.Model) -> Any:
    """The inputs that a built model was made for, as a structure of `keras.KerasTensor`.

    Raises:
        InputError: a subclassed model does not tell what it was built for.
    """
    graph = graph_of(model)
    if graph is not None:
        return keras.tree.map_structure(
            lambda given: keras.KerasTensor(with_batch(given.shape), given.dtype),
            graph._inputs_struct,
        )
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if shape is None:
        raise InputError(
            f"Expected a model that tells the shape of its input. Received: {model.name!r} "
            f"({type(model).__name__}), which was built without one. Call it on a batch of data."
        )
    return keras.tree.map_shape_structure(
        lambda each: keras.KerasTensor(with_batch(each), "float32"), shape
    )


def with_batch(shape: Iterable) -> tuple:
    """A shape with a number of images."""
    batch, *rest = shape
    return (BATCH if batch is None else batch, *rest)


def is_continuous(trace: CallTrace, tensor) -> bool:
    """Whether points between two values of an input are valid, unlike integers such as word ids."""
    return "float" in tensor.dtype and not feeds_embedding(tensor, trace)


def feeds_embedding(tensor, trace: CallTrace) -> bool:
    """Whether an `Embedding` receives a tensor, directly or through layers that keep its values.

    A layer that takes a tensor (batch, n) and holds an `Embedding` is taken to give it to that one,
    unless the trace shows what that one receives.
    """
    for call in trace.calls:
        if not any(given is tensor for given in call.inputs):
            continue
        if isinstance(call.operation, keras.layers.Embedding):
            return True
        if call.is_layer and len(tensor.shape) == 2 and hides_embedding(call, trace):
            return True
        if type(call.operation).__name__ in VALUE_PRESERVING:
            others = [x for x in call.outputs.values() if x is not tensor]
            if any(feeds_embedding(x, trace) for x in others):
                return True
    return False


def hides_embedding(call: Call, trace: CallTrace) -> bool:
    """Whether a layer holds an `Embedding` without showing what that receives."""
    inside = call.operation._flatten_layers(include_self=False)
    if not any(isinstance(layer, keras.layers.Embedding) for layer in inside):
        return False
    calls = [
        each
        for each in trace.calls
        if isinstance(each.operation, keras.layers.Embedding) and call in each.ancestors
    ]
    known = {id(x) for x in keras.tree.flatten(trace.inputs)}
    known |= {id(x) for each in trace.calls for x in each.outputs.values()}
    return not calls or any(id(x) not in known for each in calls for x in each.inputs)


def check_images(model: keras.Model, images: Any, name: str) -> None:
    """Raises InputError unless images have the structure and shapes that a functional model takes.

    What other models take shows when they are called.
    """
    graph = graph_of(model)
    if graph is None:
        return
    expected = keras.tree.flatten(graph._inputs_struct)
    if isinstance(images, dict):
        struct = graph._inputs_struct
        keys = list(struct) if isinstance(struct, dict) else [each.name for each in expected]
        for key in images:
            if key not in keys:
                hint = f"These are the inputs of the model {model.name!r}."
                raise unknown(f"input in {name}", key, keys, hint)
        absent = [key for key in keys if key not in images]
        if absent:
            raise InputError(
                f"Expected {name} with the inputs {format_names(keys)} of the model "
                f"{model.name!r}. Received: none for {format_names(absent)}."
            )
    given = keras.tree.flatten(images)
    if len(given) != len(expected):
        raise InputError(
            f"Expected {name} as {len(expected)} arrays, the inputs of the model {model.name!r}: "
            f"{format_names([each.name for each in expected])}. Received: {len(given)}."
        )
    for array, each in paired(images, graph):
        check_shape(model, array, each, name)


def paired(images: Any, graph) -> list[tuple[Any, keras.KerasTensor]]:
    """Each array of images, and the input of a functional model that it is for."""
    expected = keras.tree.flatten(graph._inputs_struct)
    if not isinstance(images, dict):
        return list(zip(keras.tree.flatten(images), expected, strict=True))
    struct = graph._inputs_struct
    by_key = struct if isinstance(struct, dict) else {each.name: each for each in expected}
    return [(array, by_key[key]) for key, array in images.items()]


def check_shape(model: keras.Model, array, expected, name: str) -> None:
    """Raises InputError unless an array fits an input of a model."""
    shape = tuple(expected.shape[1:])
    fits = array.ndim == len(shape) + 1 and all(
        side in (None, size) for side, size in zip(shape, array.shape[1:], strict=True)
    )
    if not fits:
        several = "" if len(model.inputs) == 1 else f" {expected.name!r}"
        raise InputError(
            f"Expected {name} of shape {format_shape(shape)}, the input{several} of the model "
            f"{model.name!r}. Received: {name} of shape {format_shape(array.shape[1:])}."
        )


def input_names(trace: CallTrace) -> list[str]:
    """A name for each input of a model: its key, that of a functional model, or its number."""
    graph = graph_of(trace.model)
    leaves = keras.tree.flatten_with_path(trace.inputs)
    if graph is not None and len(graph.inputs) == len(leaves):
        made = [x.name for x in keras.tree.flatten(graph._inputs_struct)]
    else:
        made = [str(index) for index in range(len(leaves))]
    keyed = [path[-1] if path and isinstance(path[-1], str) else "" for path, _ in leaves]
    return [key or name for key, name in zip(keyed, made, strict=True)]


def fixed_batch(model: keras.Model, batch: int) -> int | None:
    """The number of images that a model accepts in a call, or None if it accepts any.

    Raises:
        InputError: the recorder's batches are not a multiple of it.
    """
    fixed = own_batch(model)
    if fixed is not None and batch % fixed:
        raise InputError(
            f"Expected batch_size as a multiple of {fixed}, the fixed batch size of the model "
            f"{model.name!r}. Received: batches of {batch} evaluation images."
        )
    return fixed


def own_batch(model: keras.Model) -> int | None:
    """The number of images in the inputs of a functional model; None for any."""
    graph = graph_of(model)
    return None if graph is None else next((x.shape[0] for x in graph.inputs if x.shape[0]), None)


def inputs_for(model: keras.Model, images: Any) -> Any:
    """A structure of `keras.KerasTensor` for a traced call on images.

    Args:
        model: a built model.
        images: arrays in the structure that it takes, see `check_images`.
    """
    graph, batch = graph_of(model), own_batch(model) or BATCH
    pairs = [] if graph is None else paired(images, graph)
    dtypes = {id(array): each.dtype for array, each in pairs}

    def tensor(array):
        dtype = dtypes.get(id(array), keras.backend.standardize_dtype(array.dtype))
        return keras.KerasTensor((batch, *array.shape[1:]), dtype)

    return keras.tree.map_structure(tensor, images)

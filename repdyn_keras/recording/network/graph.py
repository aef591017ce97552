"""The tensors inside a model: which can be recorded, and how to compute them.

Keras has no public API that gives the output tensor of a layer in a specific model, so this module
reads the nodes of the functional graph.
"""

from collections.abc import Iterable, Iterator

import keras

from repdyn_keras.errors import InputError

SEPARATOR = "/"
# Layers and operations that keep the values of their input.
VALUE_PRESERVING = ("Identity", "Reshape", "Flatten", "Cast", "Dropout", "Masking")


def recordable(model: keras.Model, end=None) -> Iterator[tuple[str, object, object]]:
    """Name, layer and tensor of everything in a built model that can be recorded, in order.

    These are the layers with one float output tensor (batch, ...), and additions of two tensors
    written as `x + y`. A layer inside a nested functional or Sequential model is called
    `nested/layer` and precedes the nested model. Its tensor is part of the nested model;
    `connected_to_input` connects it to the outer one.

    Args:
        model: a built functional or Sequential model.
        end: the output tensor, which is recorded under its own name. If a nested model computes
            it, the last layer of the nested model is left out.
    """
    for layer in graph_of(model).operations:
        if isinstance(layer, keras.layers.InputLayer) or not (
            isinstance(layer, keras.layers.Layer) or is_addition(layer, model)
        ):
            continue
        tensor = output_of(layer, model)
        if is_nested(layer) and input_of(layer, model) is not None:
            inner_end = layer.outputs[0] if tensor is not None and tensor is end else None
            for name, inner, inside in recordable(layer, inner_end):
                if inside is not inner_end:
                    yield f"{layer.name}{SEPARATOR}{name}", inner, inside
        if tensor is not None and "float" in tensor.dtype and len(tensor.shape) >= 2:
            yield layer.name, layer, tensor


def connected_to_input(model: keras.Model, names: Iterable[str]) -> dict:
    """The tensors of recordable layers by name, connected to the input of the model.

    For layers inside a nested model, the part of the nested model that computes them is called
    again on the same input, with the same variables. The model itself is not changed.
    """
    outer = {name: tensor for name, _, tensor in recordable(model) if SEPARATOR not in name}
    names_by_model: dict[str, list[str]] = {}
    for name in names:
        nested, separator, inner_name = name.partition(SEPARATOR)
        if separator:
            names_by_model.setdefault(nested, []).append(inner_name)
    inner: dict = {}
    for nested_name, inner_names in names_by_model.items():
        nested = model.get_layer(nested_name)
        parts = connected_to_input(nested, inner_names)
        part = keras.Model(nested.inputs[0], list(parts.values()), name=f"{nested_name}_recorded")
        tensors = part(input_of(nested, model), training=False)
        inner |= {
            f"{nested_name}{SEPARATOR}{inner_name}": t
            for inner_name, t in zip(parts, tensors, strict=True)
        }
    return {name: inner[name] if SEPARATOR in name else outer[name] for name in names}


def graph_of(model: keras.Model):
    """The functional graph of a functional or built Sequential model; None for other models."""
    graph = getattr(model, "_functional", model)
    return graph if hasattr(graph, "_nodes_by_depth") else None


def is_addition(operation, model: keras.Model) -> bool:
    """Whether an operation is an `Add` layer, or `x + y` of two tensors of the same shape."""
    if isinstance(operation, keras.layers.Layer) or type(operation).__name__ != "Add":
        return isinstance(operation, keras.layers.Add)
    node = node_of(operation, model)
    return node is not None and len({tuple(t.shape) for t in node.input_tensors}) == 1 < len(
        node.input_tensors
    )


def is_nested(layer) -> bool:
    """Whether a layer is a model with one input whose inner tensors are accessible."""
    return (
        isinstance(layer, keras.Model)
        and graph_of(layer) is not None
        and is_plain(layer)
        and len(layer.inputs) == 1
    )


def is_plain(model: keras.Model) -> bool:
    """Whether a model computes its graph, that is, its `call` is the one of Keras."""
    return type(model).call.__module__.partition(".")[0] == "keras"


def node_of(layer, model: keras.Model):
    """The node of a layer inside `model`; None if the layer is called more than once."""
    nodes = [
        node
        for depth in graph_of(model)._nodes_by_depth.values()
        for node in depth
        if node.operation is layer
    ]
    return nodes[0] if len(nodes) == 1 else None


def output_of(layer, model: keras.Model):
    """The output tensor of a layer inside `model`; None unless it has exactly one."""
    node = node_of(layer, model)
    return node.outputs[0] if node is not None and len(node.outputs) == 1 else None


def input_of(layer, model: keras.Model):
    """The input tensor of a layer inside `model`; None unless it has exactly one."""
    node = node_of(layer, model)
    return node.input_tensors[0] if node is not None and len(node.input_tensors) == 1 else None


def check_model(model: keras.Model) -> None:
    """Raises InputError unless a model is built, has one input and accessible inner tensors."""
    if not isinstance(model, keras.Model):
        raise InputError(
            "Expected a keras.Model, functional or Sequential. Received: an object of type "
            f"{type(model).__name__}."
        )
    if not isinstance(model, keras.Sequential) and graph_of(model) is None:
        raise InputError(
            "Expected a functional or Sequential model. Received: the subclassed model "
            f"{model.name!r} ({type(model).__name__}), whose inner tensors are not accessible. "
            "Build it with keras.Model(inputs, outputs)."
        )
    if not is_plain(model):
        raise InputError(
            "Expected a model that computes the graph of its layers. Received: the model "
            f"{model.name!r} ({type(model).__name__}), which overrides call(). Record the model "
            "inside it, or build it with keras.Model(inputs, outputs)."
        )
    if graph_of(model) is None:
        raise InputError(
            f"Expected a built model. Received: {model.name!r}, whose input shape is not known. "
            "Begin it with keras.Input(shape), or call model.build((None, ...)) first."
        )
    if len(model.inputs) != 1:
        raise InputError(
            f"Expected a model with one input. Received: {model.name!r} with "
            f"{len(model.inputs)} inputs. Join the inputs, or record the part of the model that "
            "follows one of them as a separate model."
        )


def has_continuous_input(model: keras.Model) -> bool:
    """Whether points between two inputs are valid inputs, unlike integers such as word indices."""
    return "float" in model.inputs[0].dtype and not feeds_embedding(model.inputs[0], model)


def feeds_embedding(tensor, model: keras.Model) -> bool:
    """Whether an `Embedding` receives a tensor, directly or through layers that keep its values."""
    for depth in graph_of(model)._nodes_by_depth.values():
        for node in depth:
            if not any(used is tensor for used in node.input_tensors):
                continue
            operation = node.operation
            if isinstance(operation, keras.layers.Embedding):
                return True
            if is_nested(operation):
                is_fed = feeds_embedding(operation.inputs[0], operation)
            elif isinstance(operation, keras.layers.Layer) and len(tensor.shape) == 2:
                inside = operation._flatten_layers(include_self=False)
                is_fed = any(isinstance(layer, keras.layers.Embedding) for layer in inside)
            else:
                is_fed = False
            if not is_fed and type(operation).__name__ in VALUE_PRESERVING:
                is_fed = any(feeds_embedding(output, model) for output in node.outputs)
            if is_fed:
                return True
    return False

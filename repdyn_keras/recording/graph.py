"""The tensors inside a model: which can be recorded, and how they are reached.

Keras gives no public way from a layer to the tensor that it puts out inside one model among
several, hence the functional graph's own nodes.
"""

from collections.abc import Iterable, Iterator

import keras

from repdyn_keras.errors import InputError

INSIDE = "/"
# Layers and operations that leave an input's entries what they are.
UNCHANGING = ("Identity", "Reshape", "Flatten", "Cast", "Dropout", "Masking")


def recordable(model: keras.Model, end=None) -> Iterator[tuple[str, object, object]]:
    """Name, layer and tensor of everything in a built model that can be recorded, in its order.

    Those are the layers that put out one float tensor (batch, ...), and additions of two tensors
    written `x + y`. A layer inside a nested functional or Sequential model is called
    `nested/layer`, and stands before the nested model itself; its tensor is that of the nested
    model alone until `reached` connects it.

    Args:
        model: a built functional or Sequential model.
        end: a tensor of the model whose like inside a nested model is left out: the output, which
            is recorded under a name of its own.
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
                    yield f"{layer.name}{INSIDE}{name}", inner, inside
        if tensor is not None and "float" in tensor.dtype and len(tensor.shape) >= 2:
            yield layer.name, layer, tensor


def reached(model: keras.Model, names: Iterable[str]) -> dict:
    """The tensors of recordable layers by name, all of them connected to the model's input.

    Layers inside a nested model are reached by calling the part of it that leads to them once
    more on what it was called on, with the same variables. The model computes what it did.
    """
    own = {name: tensor for name, _, tensor in recordable(model) if INSIDE not in name}
    inside: dict[str, list[str]] = {}
    for name in names:
        nested, separator, rest = name.partition(INSIDE)
        if separator:
            inside.setdefault(nested, []).append(rest)
    found = {}
    for nested_name, rests in inside.items():
        nested = model.get_layer(nested_name)
        parts = reached(nested, rests)
        part = keras.Model(nested.inputs[0], list(parts.values()), name=f"{nested_name}_recorded")
        tensors = part(input_of(nested, model), training=False)
        found |= {f"{nested_name}{INSIDE}{rest}": t for rest, t in zip(parts, tensors, strict=True)}
    return {name: found[name] if INSIDE in name else own[name] for name in names}


def graph_of(model: keras.Model):
    """The functional graph of a functional or built Sequential model, else None."""
    graph = getattr(model, "_functional", model)
    return graph if hasattr(graph, "_nodes_by_depth") else None


def is_addition(operation, model: keras.Model) -> bool:
    """Whether this is an `Add` layer, or `x + y` of two tensors of one shape."""
    if isinstance(operation, keras.layers.Layer) or type(operation).__name__ != "Add":
        return isinstance(operation, keras.layers.Add)
    node = node_of(operation, model)
    return node is not None and len({tuple(t.shape) for t in node.input_tensors}) == 1 < len(
        node.input_tensors
    )


def is_nested(layer) -> bool:
    """Whether a layer is a model whose inner tensors can be reached: one input, and a graph."""
    return (
        isinstance(layer, keras.Model)
        and graph_of(layer) is not None
        and is_plain(layer)
        and len(layer.inputs) == 1
    )


def is_plain(model: keras.Model) -> bool:
    """Whether a model computes its graph: that its call() is Keras's."""
    return type(model).call.__module__.partition(".")[0] == "keras"


def node_of(layer, model: keras.Model):
    """The one node of a layer inside `model`; None where it is called more than once."""
    own = [
        node
        for depth in graph_of(model)._nodes_by_depth.values()
        for node in depth
        if node.operation is layer
    ]
    return own[0] if len(own) == 1 else None


def output_of(layer, model: keras.Model):
    """The tensor that a layer puts out inside `model`, where it is one, else None."""
    node = node_of(layer, model)
    return node.outputs[0] if node is not None and len(node.outputs) == 1 else None


def input_of(layer, model: keras.Model):
    """The tensor that a layer is called on inside `model`, where it is one, else None."""
    node = node_of(layer, model)
    return node.input_tensors[0] if node is not None and len(node.input_tensors) == 1 else None


def check_model(model: keras.Model) -> None:
    """Raises InputError unless the layers of this model can be reached."""
    if not isinstance(model, keras.Model):
        raise InputError(
            f"A {type(model).__name__} came. Expected a keras.Model, functional or Sequential."
        )
    if not isinstance(model, keras.Sequential) and graph_of(model) is None:
        raise InputError(
            f"The model {model.name!r} is subclassed ({type(model).__name__}): the tensors inside "
            "its call() cannot be reached. Expected a functional or Sequential model: build it "
            "with keras.Model(inputs, outputs)."
        )
    if not is_plain(model):
        raise InputError(
            f"The model {model.name!r} has a call() of its own ({type(model).__name__}), which may "
            "compute something else than its layers' graph. Expected one without: record the model "
            "inside, or build it with keras.Model(inputs, outputs)."
        )
    if graph_of(model) is None:
        raise InputError(
            f"The model {model.name!r} is not built. Expected one with a known input shape: begin "
            "it with keras.Input(shape), or call model.build((None, ...)) first."
        )
    if len(model.inputs) != 1:
        raise InputError(
            f"The model {model.name!r} has {len(model.inputs)} inputs. Expected one: join the "
            "others to it, or record the part behind one of them as a model of its own."
        )


def takes_numbers(model: keras.Model) -> bool:
    """Whether points between two inputs are inputs: false for whole numbers, such as words'."""
    return "float" in model.inputs[0].dtype and not looked_up(model.inputs[0], model)


def looked_up(tensor, model: keras.Model) -> bool:
    """Whether an `Embedding` looks up the entries of an input, directly or behind no change."""
    for depth in graph_of(model)._nodes_by_depth.values():
        for node in depth:
            if not any(each is tensor for each in node.input_tensors):
                continue
            user = node.operation
            if isinstance(user, keras.layers.Embedding):
                return True
            if is_nested(user):
                found = looked_up(user.inputs[0], user)
            elif isinstance(user, keras.layers.Layer) and len(tensor.shape) == 2:
                inside = user._flatten_layers(include_self=False)
                found = any(isinstance(layer, keras.layers.Embedding) for layer in inside)
            else:
                found = False
            if not found and type(user).__name__ in UNCHANGING:
                found = any(looked_up(output, model) for output in node.outputs)
            if found:
                return True
    return False

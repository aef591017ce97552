"""The layers of a model that can be recorded, and the choice among them."""

import re
from collections.abc import Iterable

import keras

from repdyn_keras.errors import InputError, nearest, unknown

OUTPUT = "output"
FEWEST_ADDS = 3


def recordable_layers(model: keras.Model) -> dict:
    """Name and output tensor of every hidden layer that can be recorded, in the model's order.

    Those are the layers of a functional or Sequential model that put out one float tensor, except
    the one whose tensor is the model's output.

    Raises:
        InputError: the model is not built, subclassed, has several inputs or outputs, or calls a
            hidden layer `output`, the name that its own output is recorded under.
    """
    check_model(model)
    tensors = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        tensor = output_of(layer, model)
        if tensor is None or tensor is model.outputs[0]:
            continue
        if layer.name == OUTPUT:
            raise InputError(
                f"A hidden layer of {model.name!r} is called {OUTPUT!r}, the name under which the "
                "network's own output is recorded. Expected another name: rename that layer."
            )
        tensors[layer.name] = tensor
    return tensors


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
    if graph_of(model) is None:
        raise InputError(
            f"The model {model.name!r} is not built. Expected one with a known input shape: begin "
            "it with keras.Input(shape), or call model.build((None, ...)) first."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"The model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs. Expected one of each."
        )


def graph_of(model: keras.Model):
    """The functional graph of a functional or built Sequential model, else None."""
    graph = getattr(model, "_functional", model)
    return graph if hasattr(graph, "_nodes_by_depth") else None


def output_of(layer, model: keras.Model):
    """The float tensor that a layer puts out inside `model`, where it is one, else None."""
    own = [
        node.outputs
        for depth in graph_of(model)._nodes_by_depth.values()
        for node in depth
        if node.operation is layer
    ]
    if len(own) != 1 or len(own[0]) != 1:
        return None
    tensor = own[0][0]
    return tensor if "float" in tensor.dtype and len(tensor.shape) >= 2 else None


def choose_layers(model: keras.Model, layers: str | Iterable[str] | None) -> tuple[dict, str]:
    """The tensors to record by layer name, and how they were chosen, in words.

    Args:
        model: a built functional or Sequential model.
        layers: names; a regular expression that whole names match; or None for the outputs of
            `Add` layers or, where there are fewer than 3, of all layers with weights.

    Raises:
        InputError: an unknown name, an expression that matches nothing, a layer inside a nested
            model, or a model that `recordable_layers` refuses.
    """
    tensors = recordable_layers(model)
    if layers is None:
        adds = [
            layer.name
            for layer in model.layers
            if isinstance(layer, keras.layers.Add) and layer.name in tensors
        ]
        weighted = [layer.name for layer in model.layers if layer.weights and layer.name in tensors]
        names = adds if len(adds) >= FEWEST_ADDS else weighted
        how = "outputs of Add layers" if names is adds else "layers with weights"
        if not names:
            raise InputError(
                f"The model {model.name!r} has no hidden layer with weights. Expected at least "
                f"one; layers= takes names among: {', '.join(tensors) or 'none'}."
            )
    elif isinstance(layers, str):
        try:
            names = [name for name in tensors if re.fullmatch(layers, name)]
        except re.error as error:
            raise InputError(
                f"layers={layers!r} is not a regular expression: {error}. Expected one, or a "
                "list of names."
            ) from None
        if not names:
            raise no_match(model, layers, tensors)
        how = f"layers that match {layers!r}"
    else:
        names = list(dict.fromkeys(layers))
        how = "layers by name"
        if not names:
            raise InputError("layers=[] came. Expected at least one name, or None for a choice.")
        for name in names:
            if name not in tensors:
                raise missing_layer(model, name, tensors)
    chosen = {name: tensors[name] for name in tensors if name in names}
    return chosen, f"{len(chosen)} {how}: {', '.join(chosen)}; and {OUTPUT}"


def no_match(model: keras.Model, pattern: str, tensors: dict) -> InputError:
    """The error for an expression that no whole name matches."""
    for nested, name in nested_names(model):
        if re.fullmatch(pattern, name):
            return inside(nested, name)
    near = nearest(pattern, tensors)
    return InputError(
        f"No recordable layer of {model.name!r} matches {pattern!r}. Nearest: {', '.join(near)}."
    )


def missing_layer(model: keras.Model, name: str, tensors: dict) -> InputError:
    """The error for a name that cannot be recorded: says why."""
    for nested, inner in nested_names(model):
        if inner == name:
            return inside(nested, name)
    for layer in model.layers:
        if layer.name != name:
            continue
        if layer.name == OUTPUT or output_of(layer, model) is model.outputs[0]:
            return InputError(
                f"Layer {name!r} is the model's own output, which is always recorded, as "
                f"{OUTPUT!r}. Expected hidden layers: {', '.join(nearest(name, tensors))}."
            )
        return InputError(
            f"Layer {name!r} does not put out one float tensor per image (or is called more than "
            f"once). Expected one that does: {', '.join(nearest(name, tensors))}."
        )
    return unknown("layer", name, tensors)


def inside(nested: keras.Model, name: str) -> InputError:
    """The error for a layer that sits inside a nested model."""
    return InputError(
        f"Layer {name!r} sits inside the nested model {nested.name!r}, where its tensor cannot be "
        f"reached. Expected a layer of the outer model: record {nested.name!r} itself, or connect "
        "the inner model's layers with keras.Model(inner.inputs, ...) instead of calling it."
    )


def nested_names(model: keras.Model) -> list[tuple[keras.Model, str]]:
    """Every layer inside a nested model, with that model."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += [(layer, inner.name) for inner in layer.layers]
            found += nested_names(layer)
    return found

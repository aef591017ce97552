"""The layers of a model that can be recorded, and the choice among them."""

import re
from collections.abc import Iterable

import keras

from repdyn_keras.errors import InputError, nearest, unknown
from repdyn_keras.recording.graph import (
    INSIDE,
    check_model,
    is_nested,
    output_of,
    reached,
    recordable,
)
from repdyn_keras.recording.heads import Head, find_head

OUTPUT = "output"
FEWEST_ADDS = 3


def recordable_layers(model: keras.Model, head: Head | None = None) -> dict:
    """Name and output tensor of every hidden layer that can be recorded, in the model's order.

    Those are the layers that put out one float tensor, except the one whose tensor is the
    recorded output. Layers inside a nested functional or Sequential model are called
    `nested/layer`.

    Args:
        model: a built functional or Sequential model.
        head: its recorded output; None for a model with a single one.

    Raises:
        InputError: the model is not built, subclassed, has several inputs, or several outputs
            and no `head`, or calls a hidden layer `output`, the name that its own output is
            recorded under.
    """
    check_model(model)
    head = head or find_head(model)
    tensors = {}
    for name, _, tensor in recordable(model, head.tensor):
        if tensor is head.tensor:
            continue
        if name == OUTPUT:
            raise InputError(
                f"A layer of {model.name!r} is called {OUTPUT!r}, the name under which the model's "
                f"own output, here {head.name!r}, is recorded. Expected another name: rename it."
            )
        tensors[name] = tensor
    return tensors


def choose_layers(
    model: keras.Model, layers: str | Iterable[str] | None, head: Head | None = None
) -> tuple[dict, str]:
    """The tensors to record by layer name, and how they were chosen, in words.

    Args:
        model: a built functional or Sequential model.
        layers: names; a regular expression that whole names match; or None for the outputs of
            additions, `Add` layers or `x + y`, and where there are fewer than 3, of all layers
            with weights.
        head: the recorded output; None for a model with a single one.

    Raises:
        InputError: an unknown name, an expression that matches nothing, or a model that
            `recordable_layers` refuses.
    """
    check_model(model)
    head = head or find_head(model)
    tensors = recordable_layers(model, head)
    if layers is None:
        found = [
            (name, layer) for name, layer, _ in recordable(model, head.tensor) if name in tensors
        ]
        # What is no layer is an addition that was written x + y.
        adds = [
            name
            for name, layer in found
            if isinstance(layer, keras.layers.Add) or not isinstance(layer, keras.layers.Layer)
        ]
        # A nested model ends in a layer of its own, which would be recorded twice.
        weighted = [
            name for name, layer in found if getattr(layer, "weights", ()) and not is_nested(layer)
        ]
        names = adds if len(adds) >= FEWEST_ADDS else weighted
        how = "additions" if names is adds else "layers with weights"
        if not names:
            raise InputError(
                f"The model {model.name!r} has no hidden layer with weights. Expected at least "
                "one that is called once; layers= takes names among: "
                f"{', '.join(tensors) or 'none'}."
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
                raise missing_layer(model, name, tensors, head)
    chosen = reached(model, [name for name in tensors if name in names])
    output = OUTPUT if len(model.outputs) == 1 else f"{OUTPUT} ({head.name})"
    return chosen, f"{len(chosen)} {how}: {', '.join(chosen)}; and {output}"


def no_match(model: keras.Model, pattern: str, tensors: dict) -> InputError:
    """The error for an expression that no whole name matches."""
    inside = [name for name in tensors if re.fullmatch(pattern, name.rpartition(INSIDE)[2])]
    if inside:
        return inside_nested(model, pattern, inside)
    near = nearest(pattern, tensors)
    return InputError(
        f"No recordable layer of {model.name!r} matches {pattern!r}. Nearest: {', '.join(near)}."
    )


def missing_layer(model: keras.Model, name: str, tensors: dict, head: Head) -> InputError:
    """The error for a name that cannot be recorded: says why."""
    inside = [full for full in tensors if full.rpartition(INSIDE)[2] == name]
    if inside:
        return inside_nested(model, name, inside)
    for layer in model.layers:
        if layer.name != name:
            continue
        if layer.name == OUTPUT or output_of(layer, model) is head.tensor:
            return InputError(
                f"Layer {name!r} is the model's own output, which is always recorded, as "
                f"{OUTPUT!r}. Expected hidden layers: {', '.join(nearest(name, tensors))}."
            )
        return InputError(
            f"Layer {name!r} does not put out one float tensor per image (or is called more than "
            f"once). Expected one that does: {', '.join(nearest(name, tensors))}."
        )
    return unknown("layer", name, tensors)


def inside_nested(model: keras.Model, name: str, full: list[str]) -> InputError:
    """The error for the bare name of layers inside a nested model."""
    shown = ", ".join(full[:3]) + (f" and {len(full) - 3} more" if len(full) > 3 else "")
    return InputError(
        f"{name!r} lies inside a nested model of {model.name!r}. Expected its whole name: {shown}."
    )

"""The recorded output of a model, its recordable layers, and the selection of layers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from repdyn_keras.errors import InputError, nearest, unknown
from repdyn_keras.recording.network.graph import (
    SEPARATOR,
    VALUE_PRESERVING,
    check_model,
    connected_to_input,
    graph_of,
    input_of,
    is_nested,
    output_of,
    recordable,
)
from repdyn_keras.text import format_names

SIGMOIDS = ("sigmoid", "hard_sigmoid", "hardsigmoid")
ACTIVATIONS = (*SIGMOIDS, "softmax", "linear", "tanh")


@dataclass(frozen=True)
class Head:
    """One output of a model.

    Attributes:
        name: name of the layer that computes it.
        index: its index among the outputs of the model.
        tensor: its tensor.
        activation: name of its activation, such as "softmax", or "linear" for logits; otherwise
            the name of the operation that computes it.
        classes: number of classes: of the output, 2 for a single unit; or, if it holds no class
            scores, of the labels, 0 without labels.
        threshold: the value above which a single unit predicts class 1.
        has_scores: whether the output holds one score per class.
        notice: what `class_scores.resolved_head` announces about this choice; empty for nothing.
    """

    name: str
    index: int
    tensor: keras.KerasTensor
    activation: str
    classes: int
    threshold: float
    has_scores: bool
    notice: str = ""

    @property
    def is_single(self) -> bool:
        """Whether the output is a single unit for two classes."""
        return self.has_scores and self.classes == 2 and self.tensor.shape[-1] == 1

    @property
    def has_known_activation(self) -> bool:
        """Whether the activation shows if the output is a probability or a logit."""
        return self.activation in ACTIVATIONS

    def scores(self, output):
        """(batch, classes) float32 scores of an output; the predicted class has the largest.

        All are NaN if the output holds no class scores, so that accuracies and regions are
        undefined.
        """
        if not self.has_scores:
            return ops.full((ops.shape(output)[0], self.classes), np.nan, dtype="float32")
        output = ops.cast(output, "float32")
        if not self.is_single:
            return output
        return ops.concatenate([ops.zeros_like(output), output - self.threshold], axis=-1)


def find_head(model: keras.Model, output: str | None = None) -> Head:
    """Finds the output of a model that is recorded, with classes by its shape alone.

    Args:
        model: a built functional or Sequential model.
        output: name of the output's layer, or its key where the outputs are a dict; None if
            there is only one.

    Raises:
        InputError: there are several outputs and none was named, or the name is unknown.
    """
    names = list(graph_of(model).output_names)
    if output is None and len(names) > 1:
        raise InputError(
            "Expected output=..., the name of the output to record. Received: no name, and the "
            f"model {model.name!r} has {len(names)} outputs: {', '.join(names)}."
        )
    structure = graph_of(model)._outputs_struct
    keys = structure if isinstance(structure, dict) else {}
    if output is None:
        index = 0
    elif output in keys:
        index = next(i for i, tensor in enumerate(model.outputs) if tensor is keys[output])
    elif output in names:
        index = names.index(output)
    else:
        hint = f"These are the outputs of the model {model.name!r}."
        raise unknown("output", output, [*names, *keys], hint)
    tensor = model.outputs[index]
    units = tensor.shape[-1]
    classes = 0 if len(tensor.shape) != 2 or units is None else 2 if units == 1 else int(units)
    activation = activation_of(tensor, model)
    threshold = 0.5 if activation in SIGMOIDS else 0.0
    return Head(names[index], index, tensor, activation, classes, threshold, classes > 0)


def activation_of(tensor, model: keras.Model) -> str:
    """The name of the activation that computes a tensor, ignoring layers that keep its values."""
    while True:
        operation = tensor._keras_history.operation
        if isinstance(operation, keras.Model) and graph_of(operation) is not None:
            model, tensor = operation, operation.outputs[tensor._keras_history.tensor_index]
            continue
        kind = type(operation).__name__
        activation = getattr(operation, "activation", None)
        name = getattr(activation, "__name__", None) or kind
        keeps_values = kind in VALUE_PRESERVING or (kind == "Activation" and name == "linear")
        before = input_of(operation, model) if keeps_values else None
        if before is None:
            # An operation of keras.ops is named after its activation.
            return name.lower() if name.lower() in ACTIVATIONS else name
        tensor = before


OUTPUT = "output"
MIN_ADDITIONS = 3


def recordable_layers(model: keras.Model, head: Head | None = None) -> dict:
    """Name and output tensor of every recordable hidden layer, in the order of the model.

    These are the layers with one float output tensor, except for the layer that computes the
    recorded output. Layers inside a nested functional or Sequential model are called
    `nested/layer`.

    Args:
        model: a built functional or Sequential model.
        head: its recorded output; None for a model with a single output.

    Raises:
        InputError: the model is not built, is subclassed, has several inputs, has several outputs
            and `head` is None, or has a hidden layer named `output`, which is the name of the
            recorded output.
    """
    check_model(model)
    head = head or find_head(model)
    tensors = {}
    for name, _, tensor in recordable(model, head.tensor):
        if tensor is head.tensor:
            continue
        if name == OUTPUT:
            raise InputError(
                f"Expected hidden layers with names other than {OUTPUT!r}, the name of the "
                f"recorded output {head.name!r}. Received: a layer of {model.name!r} with that "
                "name. Rename it."
            )
        tensors[name] = tensor
    return tensors


def choose_layers(
    model: keras.Model, layers: str | Iterable[str] | None, head: Head | None = None
) -> tuple[dict, str]:
    """Chooses the layers to record; returns tensors by layer name, and a description.

    Args:
        model: a built functional or Sequential model.
        layers: names; a regular expression that matches full names; or None for the outputs of
            additions (`Add` layers or `x + y`), or of all layers with weights if there are fewer
            than 3 additions.
        head: the recorded output; None for a model with a single output.

    Raises:
        InputError: a name is unknown, the expression matches nothing, or `recordable_layers`
            rejects the model.
    """
    check_model(model)
    head = head or find_head(model)
    tensors = recordable_layers(model, head)
    if layers is None:
        candidates = [
            (name, layer) for name, layer, _ in recordable(model, head.tensor) if name in tensors
        ]
        # An operation that is not a layer is an addition written as x + y.
        additions = [
            name
            for name, layer in candidates
            if isinstance(layer, keras.layers.Add) or not isinstance(layer, keras.layers.Layer)
        ]
        # The last layer of a nested model has the same output as the nested model.
        weighted = [
            name
            for name, layer in candidates
            if getattr(layer, "weights", ()) and not is_nested(layer)
        ]
        names = additions if len(additions) >= MIN_ADDITIONS else weighted
        if names is additions:
            description = "additions"
        else:
            description = "layer with weights" if len(names) == 1 else "layers with weights"
        if not names:
            remedy = (
                f"Name layers to record with layers=..., from: {', '.join(tensors)}."
                if tensors
                else "Record a part that is called more than once as a separate model."
            )
            raise InputError(
                "Expected a hidden layer with weights that is called once. Received: the model "
                f"{model.name!r} without one. {remedy}"
            )
    elif isinstance(layers, str):
        try:
            names = [name for name in tensors if re.fullmatch(layers, name)]
        except re.error as error:
            raise InputError(
                "Expected a regular expression or a list of names. Received: "
                f"layers={layers!r} ({error})."
            ) from None
        if not names:
            raise no_match(model, layers, tensors)
        description = f"layers that match {layers!r}"
    else:
        names = list(dict.fromkeys(layers))
        description = "layers by name"
        if not names:
            raise InputError(
                "Expected at least one name, or None for the default choice. Received: layers=[]."
            )
        for name in names:
            if name not in tensors:
                raise missing_layer(model, name, tensors, head)
    chosen = connected_to_input(model, [name for name in tensors if name in names])
    output = OUTPUT if len(model.outputs) == 1 else f"{OUTPUT} ({head.name})"
    return chosen, f"{len(chosen)} {description}: {', '.join(chosen)}; and {output}"


def no_match(model: keras.Model, pattern: str, tensors: dict) -> InputError:
    """The error for an expression that matches no full name."""
    inside = [name for name in tensors if re.fullmatch(pattern, name.rpartition(SEPARATOR)[2])]
    if inside:
        return inside_nested(model, pattern, inside)
    near = nearest(pattern, tensors)
    return InputError(
        f"Expected an expression that matches a recordable layer of {model.name!r}, nearest: "
        f"{', '.join(near)}. Received: {pattern!r}."
    )


def missing_layer(model: keras.Model, name: str, tensors: dict, head: Head) -> InputError:
    """The error for a layer that cannot be recorded, with the reason."""
    inside = [full for full in tensors if full.rpartition(SEPARATOR)[2] == name]
    if inside:
        return inside_nested(model, name, inside)
    for layer in model.layers:
        if layer.name != name:
            continue
        if layer.name == OUTPUT or output_of(layer, model) is head.tensor:
            return InputError(
                f"Expected hidden layers, such as {', '.join(nearest(name, tensors))}. Received: "
                f"{name!r}, the output of the model, which is always recorded, as {OUTPUT!r}."
            )
        return InputError(
            "Expected layers with one float output tensor that are called once, such as "
            f"{', '.join(nearest(name, tensors))}. Received: {name!r}, which is not one."
        )
    return unknown("layer", name, tensors)


def inside_nested(model: keras.Model, name: str, full: list[str]) -> InputError:
    """The error for a name without the prefix of the nested model."""
    return InputError(
        f"Expected the full name of a layer inside a nested model of {model.name!r}: "
        f"{format_names(full, limit=3)}. Received: {name!r}."
    )

"""The recorded output of a model, and the classes that it stands for."""

from dataclasses import dataclass

import keras
from keras import ops

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.graph import VALUE_PRESERVING, graph_of, input_of

SIGMOIDS = ("sigmoid", "hard_sigmoid", "hardsigmoid")
ACTIVATIONS = (*SIGMOIDS, "softmax", "linear", "tanh")


@dataclass(frozen=True)
class Head:
    """One output of a model.

    Attributes:
        name: the name of its layer.
        index: its place among the outputs of the model.
        tensor: its tensor.
        activation: name of its activation, such as "softmax"; "linear" for logits; else the name
            of the operation that computes it.
        classes: number of classes, 2 for a single unit; 0 where the output is not (n, classes).
    """

    name: str
    index: int
    tensor: keras.KerasTensor
    activation: str
    classes: int

    @property
    def is_single(self) -> bool:
        """Whether it is one unit for two classes."""
        return self.classes == 2 and self.tensor.shape[-1] == 1

    @property
    def has_known_activation(self) -> bool:
        """Whether the activation tells probabilities from logits."""
        return self.activation in ACTIVATIONS

    @property
    def threshold(self) -> float:
        """The value above which a single unit stands for class 1."""
        return 0.5 if self.activation in SIGMOIDS else 0.0

    def scores(self, output):
        """(batch, classes) float32 scores of an output; the largest is at the predicted class."""
        output = ops.cast(output, "float32")
        if not self.is_single:
            return output
        return ops.concatenate([ops.zeros_like(output), output - self.threshold], axis=-1)


def find_head(model: keras.Model, output: str | None = None) -> Head:
    """The output of a model that is recorded.

    Args:
        model: a built functional or Sequential model.
        output: name of the output's layer, or its key where the outputs are a dict; None where
            there is only one.

    Raises:
        InputError: there are several and none was named, or there is none of that name.
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
    return Head(names[index], index, tensor, activation_of(tensor, model), classes)


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

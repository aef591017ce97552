"""The output of a model that is recorded, and how classes are read from it."""

from dataclasses import dataclass

import keras
from keras import ops

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.graph import UNCHANGING, graph_of, input_of

SIGMOIDS = ("sigmoid", "hard_sigmoid", "hardsigmoid")
ACTIVATIONS = (*SIGMOIDS, "softmax", "linear", "tanh")


@dataclass(frozen=True)
class Head:
    """One output of a model.

    Attributes:
        name: the name of the layer that puts it out.
        index: its place among the model's outputs.
        tensor: its tensor.
        activation: name of its activation, such as "softmax"; "linear" for logits; the name of an
            operation of which this cannot be told.
        classes: number of classes, 2 for a single unit; 0 where the output is not (n, classes).
    """

    name: str
    index: int
    tensor: object
    activation: str
    classes: int

    @property
    def is_single(self) -> bool:
        """Whether one unit tells two classes apart."""
        return self.classes == 2 and self.tensor.shape[-1] == 1

    @property
    def is_told(self) -> bool:
        """Whether its activation is one of which probabilities and logits can be told."""
        return self.activation in ACTIVATIONS

    @property
    def threshold(self) -> float:
        """What a single unit must exceed for class 1."""
        return 0.5 if self.activation in SIGMOIDS else 0.0

    def scores(self, output):
        """(batch, classes) float32 scores of an output, the largest at the class it stands for."""
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
            f"The model {model.name!r} has {len(names)} outputs: {', '.join(names)}. Expected the "
            "name of the one to record: output=..."
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
        raise unknown("output", output, [*names, *keys], f"Outputs of the model {model.name!r}.")
    tensor = model.outputs[index]
    units = tensor.shape[-1]
    classes = 0 if len(tensor.shape) != 2 or units is None else 2 if units == 1 else int(units)
    return Head(names[index], index, tensor, activation_of(tensor, model), classes)


def activation_of(tensor, model: keras.Model) -> str:
    """The name of the activation that makes a tensor, seen through layers that change nothing."""
    while True:
        operation = tensor._keras_history.operation
        if isinstance(operation, keras.Model) and graph_of(operation) is not None:
            model, tensor = operation, operation.outputs[tensor._keras_history.tensor_index]
            continue
        kind = type(operation).__name__
        activation = getattr(operation, "activation", None)
        name = getattr(activation, "__name__", None) or kind
        passes = kind in UNCHANGING or (kind == "Activation" and name == "linear")
        before = input_of(operation, model) if passes else None
        if before is None:
            # An operation of keras.ops has its activation for a name.
            return name.lower() if name.lower() in ACTIVATIONS else name
        tensor = before

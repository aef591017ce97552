"""The recorded output of a model: which one it is, and what computes it."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.network.call_trace import CallTrace, part, suffix
from repdyn_keras.recording.network.model_inputs import VALUE_PRESERVING
from repdyn_keras.recording.network.taps import graph_of

SIGMOIDS = ("sigmoid", "hard_sigmoid", "hardsigmoid")
ACTIVATIONS = (*SIGMOIDS, "softmax", "linear", "tanh")
# The activation of an output that the model computes itself, without a layer.
UNKNOWN_ACTIVATION = "unknown"
OUTPUT = "output"
# The smallest normal number of float32.
TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Head:
    """One output of a model.

    Attributes:
        name: name of the layer that computes it, or its key.
        path: its place in the structure that the model returns.
        index, count: its number among the outputs of the model, and how many there are.
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
    path: tuple
    index: int
    count: int
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

    def taken(self, outputs):
        """The recorded one of all that the model returns."""
        return part(outputs, self.path)

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

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """(n, classes) float32 logits of scores (n, classes), up to a constant of each row.

        Logits stay as they are. Probabilities of a softmax become their logarithms, those of
        sigmoids log(p / (1 - p)). A float32 probability cannot come closer to 1 than 6e-8, so that
        the logit of a sigmoid lies within 16.6 on both sides, and a difference of logits of a
        softmax within 87.
        """
        scores = np.asarray(scores, np.float32)
        if self.is_single:
            unit = scores[:, 1] + np.float32(self.threshold)
            # The loss says that a unit of unknown activation is a probability.
            is_probability = self.activation in SIGMOIDS or self.threshold != 0
            unit = _logit(unit) if is_probability else unit
            return np.stack([np.zeros_like(unit), unit], axis=1)
        if self.activation == "softmax":
            return np.log(np.maximum(scores, TINY))
        return _logit(scores) if self.activation in SIGMOIDS else scores


def _logit(probabilities: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), bounded alike on both sides by the resolution of float32 below 1."""
    least = np.finfo(np.float32).epsneg
    inside = np.clip(probabilities, least, 1 - least)
    return np.log(inside) - np.log1p(-inside)


def find_head(trace: CallTrace, output: str | None = None) -> Head:
    """Finds the output of a model that is recorded, with classes by its shape alone.

    Args:
        trace: a traced call of the model.
        output: name of the output's layer, or its key where the outputs are a dict; None if
            there is only one.

    Raises:
        InputError: the model returns no tensor; there are several outputs and none was named; or
            the name is unknown.
    """
    names, keys = output_names(trace), output_keys(trace)
    if not names:
        raise InputError(
            f"Expected a model that returns tensors. Received: {trace.model.name!r} "
            f"({type(trace.model).__name__}), which returned none for these inputs."
        )
    if output is None and len(names) > 1:
        raise InputError(
            "Expected output=..., the name of the output to record. Received: no name, and the "
            f"model {trace.model.name!r} has {len(names)} outputs: {', '.join(names)}."
        )
    if output is None:
        index = 0
    elif output in keys:
        index = keys.index(output)
    elif output in names:
        index = names.index(output)
    else:
        hint = f"These are the outputs of the model {trace.model.name!r}."
        known = dict.fromkeys([*names, *(key for key in keys if key is not None)])
        raise unknown("output", output, known, hint)
    path, tensor = list(trace.outputs.items())[index]
    units = tensor.shape[-1] if tensor.shape else None
    classes = 0 if len(tensor.shape) != 2 or units is None else 2 if units == 1 else int(units)
    activation = activation_of(tensor, trace)
    threshold = 0.5 if activation in SIGMOIDS else 0.0
    return Head(
        names[index], path, index, len(names), tensor, activation, classes, threshold, classes > 0
    )


def output_names(trace: CallTrace) -> list[str]:
    """A name for each output of a model: its layer's, its key, or the end of its path."""
    graph = graph_of(trace.model)
    if graph is not None and len(graph.output_names) == len(trace.outputs):
        return list(graph.output_names)
    if list(trace.outputs) == [()]:
        call = trace.producer(trace.outputs[()])
        return [OUTPUT if call is None else call.name]
    return [
        str(path[0]) if len(path) == 1 and isinstance(path[0], str) else OUTPUT + suffix(path)
        for path in trace.outputs
    ]


def output_keys(trace: CallTrace) -> list[str | None]:
    """The key of each output in a dict; None for others."""
    return [path[-1] if path and isinstance(path[-1], str) else None for path in trace.outputs]


def activation_of(tensor, trace: CallTrace) -> str:
    """The name of the activation that computes a tensor, ignoring layers that keep its values."""
    while True:
        call = trace.producer(tensor)
        if call is None:
            return UNKNOWN_ACTIVATION
        kind = type(call.operation).__name__
        activation = getattr(call.operation, "activation", None)
        name = getattr(activation, "__name__", None) or kind
        keeps_values = kind in VALUE_PRESERVING or (kind == "Activation" and name == "linear")
        if not keeps_values or len(call.inputs) != 1:
            # An operation of keras.ops is named after its activation.
            return name.lower() if name.lower() in ACTIVATIONS else name
        tensor = call.inputs[0]

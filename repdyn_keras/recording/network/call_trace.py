"""One traced call of a model: what it calls, in which order, on which tensors."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass
class Call:
    """One call of a layer or an operation.

    Attributes:
        operation: the layer or operation.
        number: which call of this operation it is in the call of the model, from 0.
        parent: the call inside which it is; None for the model itself.
        inputs: its input tensors.
        outputs: its output tensors by their paths, () for a single one, (0,) or ("key",) in a
            structure.
        obstacle: why its outputs cannot be recorded; empty if they can.
        name: its name, unique in the model: names of layers joined by `/`.
        keras_name: the same with the names that Keras gave in this process.
    """

    operation: Any
    number: int
    parent: "Call | None"
    inputs: list[Any]
    outputs: dict[tuple, Any] = field(default_factory=dict)
    obstacle: str = ""
    name: str = ""
    keras_name: str = ""

    @property
    def is_layer(self) -> bool:
        """Whether the operation is a layer, and not an operation between layers."""
        return isinstance(self.operation, keras.layers.Layer)

    @property
    def ancestors(self) -> Iterator["Call"]:
        """The calls inside which it is, the nearest first."""
        call = self.parent
        while call is not None:
            yield call
            call = call.parent

    @property
    def reachable(self) -> "Call | None":
        """The nearest call around it whose outputs can be recorded; None if there is none."""
        return next((call for call in self.ancestors if not call.obstacle), None)


@dataclass(frozen=True)
class CallTrace:
    """One traced call of a model in inference.

    Tensors are `keras.KerasTensor`; one that several calls take or return is the same object. Their
    first axis is None where it counts the images.

    Attributes:
        model: the model.
        inputs: the structure of its inputs.
        calls: the calls of layers and operations, in the order in which they end.
        outputs: the outputs of the model by their paths.
        masks: the shape of the mask that Keras attached to a tensor, by the id of the tensor.
    """

    model: keras.Model
    inputs: Any
    calls: list[Call]
    outputs: dict[tuple, Any]
    masks: dict[int, tuple]

    def producer(self, tensor) -> Call | None:
        """The innermost call that computes a tensor; None if no call does."""
        for call in self.calls:
            if any(output is tensor for output in call.outputs.values()):
                if not any(given is tensor for given in call.inputs):
                    return call
        return None


def part(structure: Any, path: tuple) -> Any:
    """The part of a structure at a path."""
    for key in path:
        structure = structure[key]
    return structure


def suffix(path: tuple) -> str:
    """The end of the name of one output: "[0]" or "[key]"."""
    return "".join(f"[{key}]" for key in path)

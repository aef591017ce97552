"""Taps: what layers return while a model is called, whatever kind of model it is."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.recording.attributes import replaced
from repdyn_keras.recording.network.call_trace import part


def operations_in(model: keras.Model) -> list:
    """All layers inside a model, and the operations of its functional parts that are no layers."""
    found: dict[int, Any] = {}
    for layer in model._flatten_layers():
        for operation in (layer, *getattr(graph_of(layer), "operations", ())):
            if not isinstance(operation, keras.layers.InputLayer):
                found.setdefault(id(operation), operation)
    found.pop(id(model), None)
    return list(found.values())


def graph_of(layer):
    """The functional graph of a functional or built Sequential model; None for other layers."""
    graph = getattr(layer, "_functional", None) or layer
    return graph if hasattr(graph, "_nodes_by_depth") else None


def tapped(operations: Iterable, around: Callable) -> AbstractContextManager:
    """Calls `around` in place of the `call` of layers and operations inside the block.

    Args:
        operations: layers and operations.
        around: called with the operation, its own `call`, and the arguments; returns the result.
    """
    named = ((operation, call_name(operation)) for operation in operations)
    return replaced((op, name, wrapper(op, getattr(op, name), around)) for op, name in named)


def without_rematerialization(model: keras.Model) -> AbstractContextManager:
    """Calls layers of a `keras.RematScope` as all others inside the block.

    Without gradients, nothing is computed a second time, and the values are the same.
    """

    def own_call(call, *args, **kwargs):
        return call

    return replaced(
        (layer, "rematerialized_call", own_call)
        for layer in model._flatten_layers()
        if getattr(layer, "_remat_mode", None) is not None
    )


def call_name(operation) -> str:
    """The name of the method that computes an operation."""
    is_quantized = getattr(operation, "quantization_mode", None) is not None
    return "quantized_call" if is_quantized else "call"


def wrapper(operation, call: Callable, around: Callable) -> Callable:
    """A function in place of the `call` of an operation."""

    @functools.wraps(call)
    def tapped_call(*args, **kwargs):
        return around(operation, call, args, kwargs)

    return tapped_call


class TappedCall:
    """A call of a model that returns what some of the layers inside it return, too.

    Args:
        model: a built model.
        taps: an operation, the number of its call, and the place in what that call returns, for
            each tensor.

    Attributes:
        model: the model.

    Raises:
        InputError: when it is called, if the model does not call one of the operations.
    """

    def __init__(self, model: keras.Model, taps: list[tuple[Any, int, tuple]]):
        self.model = model
        self._taps = taps
        self._operations = list({id(operation): operation for operation, _, _ in taps}.values())

    def __call__(self, images) -> tuple[list, Any]:
        """The tapped tensors, and the outputs of the model in inference."""
        counts: Counter[int] = Counter()
        found: dict[tuple[int, int], Any] = {}

        def around(operation, call, args, kwargs):
            number = counts[id(operation)]
            counts[id(operation)] += 1
            result = call(*args, **kwargs)
            found[id(operation), number] = result
            return result

        with without_rematerialization(self.model), tapped(self._operations, around):
            outputs = self.model(images, training=False)
        for operation, number, _ in self._taps:
            if (id(operation), number) not in found:
                raise InputError(
                    "Expected layers that the model calls for all images. Received: "
                    f"{operation.name!r}, which it did not call for some, as in a branch that "
                    "depends on values. Record a layer around it."
                )
        return [part(found[id(op), number], path) for op, number, path in self._taps], outputs

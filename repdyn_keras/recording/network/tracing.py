"""Traces one call of a model, of any kind, to find the layers that it calls.

A trace computes nothing. It finds layers also where they are called inside layers that call
others, such as the blocks of a subclassed model.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask

from repdyn_keras.errors import InputError
from repdyn_keras.recording.attributes import replaced
from repdyn_keras.recording.backend_code import trace_of
from repdyn_keras.recording.network.call_names import SEPARATOR, Siblings
from repdyn_keras.recording.network.call_trace import Call, CallTrace, suffix
from repdyn_keras.recording.network.taps import (
    graph_of,
    operations_in,
    tapped,
    without_rematerialization,
)
from repdyn_keras.recording.values import FrozenScope
from repdyn_keras.text import format_error, format_names, format_shape

# Layers that call the layers inside them once for each step of a sequence.
STEPWISE = (keras.layers.RNN, keras.layers.TimeDistributed)
# What an error says, in the text that Keras writes around it.
KERAS_REASON = re.compile(r"\x1b\[1m(.+?)\x1b\[0m", re.S)
INSIDE_STEPS = "it is called once for each step of {parent!r}"
INSIDE_TRACE = (
    "it is called inside a loop, a branch, a vectorized map or a rematerialization of {parent!r}"
)


def traced(model: keras.Model, inputs) -> CallTrace:
    """Traces one call of a built model; changes nothing.

    Args:
        model: a built model.
        inputs: a structure of `keras.KerasTensor`, as the model takes it, with one number of images
            in the first axis of all.

    Raises:
        InputError: the model does not accept these inputs.
    """
    tracer = Tracer(model)
    try:
        with guarded(model) as unbuilt:
            tracer(inputs)
    except Unbuilt as error:
        raise InputError(
            f"Expected a model whose layers have their weights. Received: {model.name!r} "
            f"({type(model).__name__}), which calls {unbuilt[0].name!r} "
            f"({type(unbuilt[0]).__name__}) before that layer is built. Call the model once on a "
            "batch of data."
        ) from error
    except Exception as error:
        failed, reason = tracer.failure or (model, error)
        raise InputError(
            f"Expected images that the model {model.name!r} ({type(model).__name__}) takes, and "
            "layers that compute with keras.ops. Received: images of shape "
            f"{described(inputs)}, for which the call of {failed.name!r} "
            f"({type(failed).__name__}) fails: {reason_of(reason)}"
        ) from error
    return tracer.result(inputs)


def reason_of(error: Exception) -> str:
    """What an error says, without what Keras writes around it."""
    inside = KERAS_REASON.findall(str(error))
    return format_error(type(error)(inside[-1]) if inside else error)


class Unbuilt(Exception):
    """A layer without weights is called."""


@contextmanager
def guarded(model: keras.Model) -> Iterator[list]:
    """Raises Unbuilt where a layer would be built inside the block.

    Yields:
        A list that then holds the layer. It would get variables that belong to the trace.
    """
    found: list = []

    def refusal(layer):
        def build(*args, **kwargs):
            found.append(layer)
            raise Unbuilt

        return build

    layers = [layer for layer in model._flatten_layers() if not layer.built]
    with replaced((layer, "build", refusal(layer)) for layer in layers):
        yield found


def described(inputs) -> str:
    """The structure of inputs, and the shape of each, for a message."""
    flat = keras.tree.flatten_with_path(inputs)
    return format_names(f"{suffix(path)} {format_shape(x.shape[1:])}".strip() for path, x in flat)


class Run:
    """What one execution of a traced call has found.

    Attributes:
        calls: the calls in the order in which they end; their tensors are numbers of `tensors`.
        begun: the calls in the order in which they begin.
        tensors: shape and dtype of every tensor.
        outputs: the numbers of the model's outputs by their paths.
        masks: the shape of the mask of a tensor, by its number.
        failure: the innermost operation whose call failed, and its error; None if none did.
    """

    def __init__(self, root):
        self.failure: tuple[Any, Exception] | None = None
        self.calls: list[Call] = []
        self.begun: list[Call] = []
        self.tensors: list[tuple[tuple, str]] = []
        self.outputs: dict[tuple, int] = {}
        self.masks: dict[int, tuple] = {}
        self._root = root
        self._stack: list[Call] = []
        self._counts: Counter[int] = Counter()
        self._numbers: dict[int, int] = {}
        # Keeps the tensors, so that no other gets the same id.
        self._kept: list = []

    def around(self, operation, call, args, kwargs):
        """Calls an operation and notes the call."""
        parent = self._stack[-1] if self._stack else None
        given = [self.number(x) for _, x in leaves((args, kwargs))]
        noted = Call(operation, self._counts[id(operation)], parent, given)
        self._counts[id(operation)] += 1
        if parent is not None:
            is_stepwise = isinstance(parent.operation, STEPWISE)
            noted.obstacle = INSIDE_STEPS if is_stepwise else parent.obstacle
        self.begun.append(noted)
        self._stack.append(noted)
        try:
            result = call(*args, **kwargs)
        except Exception as error:
            self.failure = self.failure or (operation, error)
            raise
        finally:
            self._stack.pop()
        for path, x in leaves(result):
            noted.outputs[path] = self.number(x)
            if not noted.obstacle and self.is_out_of_reach(x):
                noted.obstacle = INSIDE_TRACE
        self.calls.append(noted)
        return result

    def is_out_of_reach(self, tensor) -> bool:
        """Whether a tensor belongs to a trace inside that of the model's call."""
        trace = trace_of(tensor)
        return trace is not None and trace is not self._root

    def number(self, tensor) -> int:
        """The number of a tensor."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self._kept.append(tensor)
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            self.tensors.append((shape_of(tensor), dtype))
        return self._numbers[id(tensor)]

    def identified(self, convert: Callable) -> Callable:
        """The function by which a functional model converts its inputs, as one that is noted.

        torch copies tensors without memory in it.
        """

        def converted(tensors):
            results = convert(tensors)
            for given, result in zip(tensors, results, strict=True):
                kept = keras.ops.is_tensor(given) and given.dtype == result.dtype
                if kept and given.shape == result.shape:
                    self._numbers[id(result)] = self.number(given)
                    self._kept.append(result)
            return results

        return converted

    def end(self, inputs, output) -> None:
        """Notes the inputs and outputs of the model."""
        self.inputs = keras.tree.map_structure(self.number, inputs)
        self.outputs = {path: self.number(x) for path, x in leaves(output)}
        for tensor in self._kept:
            mask = get_keras_mask(tensor)
            if mask is not None:
                self.masks[self.number(tensor)] = shape_of(mask)
        self._kept.clear()


class Tracer(keras.Operation):
    """Calls a model on tensors without values.

    Args:
        model: a built model.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="trace")
        self._model = model
        self._runs: list[Run] = []

    def call(self, inputs):
        # Keras may call this twice, where an axis of the inputs has no size, or again after an
        # attempt on tensors without memory.
        first = keras.tree.flatten(inputs)[0]
        if getattr(first, "is_meta", False) and has_other_precision(self._model):
            # torch does not follow mixed precision on tensors without memory; Keras tries others.
            raise NotImplementedError
        run = Run(trace_of(first))
        self._runs.append(run)
        with (
            FrozenScope([], []),
            without_rematerialization(self._model),
            replaced((*each, run.identified(getattr(*each))) for each in conversions(self._model)),
            tapped(operations_in(self._model), run.around),
        ):
            try:
                output = self._model(inputs, training=False)
            except Exception as error:
                run.failure = run.failure or (self._model, error)
                raise
        run.end(inputs, output)
        return output

    @property
    def failure(self) -> tuple[Any, Exception] | None:
        """The innermost operation whose call failed, and its error; None if none did."""
        return self._runs[-1].failure if self._runs else None

    def result(self, inputs) -> CallTrace:
        """What the last executions have found."""
        batch = keras.tree.flatten(inputs)[0].shape[0]
        run = self._runs[-1]
        shapes = [shape for shape, _ in run.tensors]
        if len(self._runs) > 1 and len(self._runs[-2].tensors) == len(shapes):
            others = [shape for shape, _ in self._runs[-2].tensors]
            shapes = [common(*pair) for pair in zip(shapes, others, strict=True)]
        tensors = [
            # With a name, so that the counters of Keras do not change.
            keras.KerasTensor(without_batch(shape, batch), dtype=dtype, name=f"traced_{number}")
            for number, (shape, (_, dtype)) in enumerate(zip(shapes, run.tensors, strict=True))
        ]
        for call in run.calls:
            call.inputs = [tensors[number] for number in call.inputs]
            call.outputs = {path: tensors[number] for path, number in call.outputs.items()}
        name_calls(self._model, run.begun)
        return CallTrace(
            self._model,
            keras.tree.map_structure(lambda number: tensors[number], run.inputs),
            run.calls,
            {path: tensors[number] for path, number in run.outputs.items()},
            {id(tensors[n]): without_batch(shape, batch) for n, shape in run.masks.items()},
        )


def has_other_precision(model: keras.Model) -> bool:
    """Whether a layer computes in another precision than float32."""
    return any(layer.compute_dtype != "float32" for layer in model._flatten_layers())


def conversions(model: keras.Model) -> Iterator[tuple[Any, str]]:
    """The functions by which the functional parts of a model convert their inputs."""
    graphs = [graph_of(layer) for layer in model._flatten_layers()]
    for graph in {id(graph): graph for graph in graphs if graph is not None}.values():
        # Keras has no public access to it.
        yield graph, "_convert_inputs_to_tensors"


def leaves(structure) -> list[tuple[tuple, Any]]:
    """Path and tensor of every tensor in a structure."""
    if isinstance(structure, dict):
        keys = structure if isinstance(structure, OrderedDict) else sorted(structure, key=str)
        items: list = [(key, structure[key]) for key in keys]
    elif isinstance(structure, list | tuple):
        # On torch, Keras sorts the fields of a named tuple.
        items = list(enumerate(structure))
    else:
        return [((), structure)] if keras.ops.is_tensor(structure) else []
    return [((key, *path), x) for key, part in items for path, x in leaves(part)]


def shape_of(tensor) -> tuple:
    """The shape of a tensor of any backend, None for axes without a size."""
    return tuple(d if isinstance(d, int) else None for d in tensor.shape)


def common(one: tuple, other: tuple) -> tuple:
    """A shape with None where two shapes differ."""
    if len(one) != len(other):
        return one
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def without_batch(shape: tuple, batch: int | None) -> tuple:
    """A shape with None in place of the number of images."""
    return (None, *shape[1:]) if shape and shape[0] == batch else shape


def name_calls(model: keras.Model, calls: list[Call]) -> None:
    """Names calls, given in the order in which they begin."""
    by_parent: dict[int, list[Call]] = {}
    for call in calls:
        by_parent.setdefault(id(call.parent), []).append(call)
    for call in calls:
        siblings = by_parent.pop(id(call.parent), None)
        if siblings is None:
            continue
        names = Siblings([sibling.operation for sibling in siblings])
        for sibling, name, keras_name in zip(siblings, names.names, names.keras_names, strict=True):
            parent = sibling.parent
            sibling.name = name if parent is None else f"{parent.name}{SEPARATOR}{name}"
            sibling.keras_name = (
                keras_name if parent is None else f"{parent.keras_name}{SEPARATOR}{keras_name}"
            )
    for call in calls:
        if call.obstacle:
            outer = model.name if call.reachable is None else call.reachable.name
            call.obstacle = call.obstacle.format(parent=outer)

"""The layers of a model that can be recorded, and the choice among them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import keras
import numpy as np

from repdyn_keras.errors import InputError, nearest, unknown
from repdyn_keras.recording.network.call_names import SEPARATOR
from repdyn_keras.recording.network.call_trace import Call, CallTrace, suffix
from repdyn_keras.recording.network.head import OUTPUT, Head
from repdyn_keras.text import format_names, quoted

T = TypeVar("T")
# Fewer sums, or blocks of one kind, are no repeated part of a network.
MIN_BLOCKS = 3
# Layers that are recorded where none are named.
MAX_CHOSEN = 40


@dataclass(frozen=True)
class Tap:
    """One tensor inside a model that can be recorded.

    Attributes:
        name: name of its layer, and its place in what the layer returns.
        call: the call that returns it.
        path: its place in what the call returns.
        tensor: its shape and dtype.
    """

    name: str
    call: Call
    path: tuple
    tensor: keras.KerasTensor

    @property
    def keras_name(self) -> str:
        """The same name with the names that Keras gave in this process."""
        return self.call.keras_name + suffix(self.path)


def recordable(trace: CallTrace, head: Head) -> dict[str, Tap]:
    """Every hidden tensor that can be recorded, by name, in the order of computation.

    These are the float tensors (batch, ...) that layers return, and the sums of two tensors written
    as `x + y` in a functional model; not the recorded output itself.

    Raises:
        InputError: a hidden layer is named `output`, which is the name of the recorded output.
    """
    found = {}
    for tap in every_tap(trace):
        if tap.call.obstacle or not is_recordable(tap, head):
            continue
        if tap.name == OUTPUT:
            raise InputError(
                f"Expected hidden layers with names other than {OUTPUT!r}, the name of the "
                f"recorded output {head.name!r}. Received: a layer of {trace.model.name!r} with "
                "that name. Rename it."
            )
        found[tap.name] = tap
    return found


def every_tap(trace: CallTrace) -> Iterator[Tap]:
    """Every tensor that a layer or a sum returns, whether or not it can be recorded."""
    for call in trace.calls:
        if call.is_layer or is_sum(call):
            for path, tensor in call.outputs.items():
                yield Tap(call.name + suffix(path), call, path, tensor)


def is_recordable(tap: Tap, head: Head) -> bool:
    """Whether a tensor holds hidden activations of each image."""
    shape = tap.tensor.shape
    has_features = len(shape) >= 2 and shape[0] is None and "float" in tap.tensor.dtype
    return has_features and tap.tensor is not head.tensor


def is_sum(call: Call) -> bool:
    """Whether a call adds two or more tensors of one shape, as an `Add` layer or as `x + y`."""
    if type(call.operation).__name__ != "Add":
        return False
    return len(call.inputs) > 1 and len({tuple(each.shape) for each in call.inputs}) == 1


def choose_layers(
    trace: CallTrace, layers: str | Iterable[str] | None, head: Head
) -> tuple[dict[str, Tap], str]:
    """Chooses the layers to record.

    Args:
        trace: a traced call of the model.
        layers: names; a regular expression that matches full names; or None for the residual sums,
            the blocks, or the layers with weights, see `default_choice`.
        head: the recorded output.

    Returns:
        The chosen tensors by name, and a description.

    Raises:
        InputError: a name is unknown, the expression matches nothing, or `recordable` rejects the
            model.
    """
    taps = recordable(trace, head)
    if layers is None:
        names, description = default_choice(trace, taps)
    elif isinstance(layers, str):
        names = matching(trace, layers, taps)
        verb = "matches" if len(names) == 1 else "match"
        description = f"{counted(names, 'layer')} that {verb} {layers!r}"
    else:
        names = named(trace, layers, taps, head)
        description = f"{counted(names, 'layer')} by name"
    chosen = {name: tap for name, tap in taps.items() if name in names}
    output = OUTPUT if len(trace.outputs) == 1 else f"{OUTPUT} ({head.name})"
    return chosen, f"{description}: {', '.join(chosen)}; and {output}"


def counted(names: list[str], one: str, others: str | None = None) -> str:
    """A number of names, as "3 layers"."""
    return f"{len(names)} {one if len(names) == 1 else others or one + 's'}"


def default_choice(trace: CallTrace, taps: dict[str, Tap]) -> tuple[list[str], str]:
    """The layers that are recorded where none are named, and a description.

    These are the sums of residual branches, if there are 3 or more; else the outputs of blocks,
    which are layers that contain others with weights, 3 or more of one class side by side; else all
    layers with weights. Layers of Keras, such as an LSTM or an attention, count as a whole. Of more
    than 40, 40 are evenly spread, with the first and the last.
    """
    candidates = [tap for tap in taps.values() if tap.path in ((), (0,))]
    blocks = block_calls(trace)
    found = {
        "addition": [tap.name for tap in candidates if is_sum(tap.call)],
        "block": [tap.name for tap in candidates if id(tap.call) in blocks],
    }
    for kind, names in found.items():
        if len(names) >= MIN_BLOCKS:
            return spread(names, kind)
    weighted = [
        tap
        for tap in candidates
        if has_weights(tap.call) and not any(map(is_whole, tap.call.ancestors))
    ]
    around = {id(call) for tap in weighted for call in tap.call.ancestors}
    names = [tap.name for tap in weighted if id(tap.call) not in around or has_own(tap.call)]
    if not names:
        raise nothing_to_choose(trace, taps)
    return spread(names, "layer with weights", "layers with weights")


def spread(names: list[str], one: str, others: str | None = None) -> tuple[list[str], str]:
    """At most 40 of names, evenly spread, and a description."""
    description = counted(names, one, others)
    if len(names) <= MAX_CHOSEN:
        return names, description
    places = np.linspace(0, len(names) - 1, MAX_CHOSEN).round().astype(int)
    return [names[place] for place in places], f"{MAX_CHOSEN} of {description}, evenly spread"


def block_calls(trace: CallTrace) -> set[int]:
    """The ids of the calls of blocks.

    These are 3 or more calls side by side, inside one call, of layers of one class that have
    weights and call other layers.
    """
    parts = {id(call.parent) for call in trace.calls if call.parent is not None}
    blocks = [
        call
        for call in trace.calls
        if id(call) in parts and has_weights(call) and not is_whole(call)
    ]
    counts = Counter((id(call.parent), type(call.operation)) for call in blocks)
    return {
        id(call) for call in blocks if counts[id(call.parent), type(call.operation)] >= MIN_BLOCKS
    }


def has_weights(call: Call) -> bool:
    """Whether a call is that of a layer with weights."""
    return call.is_layer and bool(call.operation.weights)


def is_whole(call: Call) -> bool:
    """Whether a call is that of a layer of Keras, whose inner layers are an internal matter."""
    is_of_keras = type(call.operation).__module__.partition(".")[0] == "keras"
    return is_of_keras and not isinstance(call.operation, keras.Model)


def has_own(call: Call) -> bool:
    """Whether a layer has weights beside those of the layers inside it."""
    inside = call.operation._flatten_layers(include_self=False)
    known = {id(weight) for layer in inside for weight in layer.weights}
    return any(id(weight) not in known for weight in call.operation.weights)


def nothing_to_choose(trace: CallTrace, taps: dict[str, Tap]) -> InputError:
    """The error for a model without hidden layers that have weights."""
    remedy = (
        f"Name layers to record with layers=..., from: {format_names(list(taps))}."
        if taps
        else "Give its parts names of their own: layers that the model holds and calls."
    )
    return InputError(
        "Expected a hidden layer with weights. Received: the model "
        f"{trace.model.name!r} without one. {remedy}"
    )


def matching(trace: CallTrace, pattern: str, taps: dict[str, Tap]) -> list[str]:
    """The names that a regular expression matches."""
    try:
        names = [name for name in taps if re.fullmatch(pattern, name)]
    except re.error as error:
        raise InputError(
            "Expected a regular expression or a list of names. Received: "
            f"layers={pattern!r} ({error})."
        ) from None
    if names:
        return names
    inside = [name for name in taps if re.fullmatch(pattern, name.rpartition(SEPARATOR)[2])]
    if inside:
        raise inside_another(trace, pattern, inside)
    raise InputError(
        f"Expected an expression that matches a recordable layer of {trace.model.name!r}, nearest: "
        f"{', '.join(nearest(pattern, taps))}. Received: {pattern!r}."
    )


def named(trace: CallTrace, names: Iterable[str], taps: dict[str, Tap], head: Head) -> list[str]:
    """The names of layers, which may be those that Keras gave in this process."""
    names = list(names) if isinstance(names, Iterable) else [names]
    if not all(isinstance(name, str) for name in names):
        raise InputError(
            "Expected layers as names, a regular expression, or None for the default choice. "
            f"Received: layers={quoted(names)}."
        )
    names = list(dict.fromkeys(names))
    if not names:
        raise InputError(
            "Expected at least one name, or None for the default choice. Received: layers=[]."
        )
    found = by_tap(taps, {name: name for name in names})
    for name in found:
        if name not in taps:
            raise missing_layer(trace, name, taps, head)
    return list(found)


def by_tap(taps: dict[str, Tap], values: Mapping[str, T]) -> dict[str, T]:
    """Values by the names of layers, where they are given by those of Keras in this process."""
    by_keras = {tap.keras_name: name for name, tap in taps.items()}
    for name in values:
        if name in taps and by_keras.get(name, name) != name:
            raise InputError(
                f"Expected the name of one layer. Received: {name!r}, which Keras calls "
                f"{taps[name].keras_name!r}, while {by_keras[name]!r} is called {name!r} by Keras. "
                "Give the layers names of their own, or use a regular expression, which matches "
                "the names of `repdyn layers`."
            )
    return {by_keras.get(name, name): value for name, value in values.items()}


def missing_layer(trace: CallTrace, name: str, taps: dict[str, Tap], head: Head) -> InputError:
    """The error for a layer that cannot be recorded, with the reason."""
    inside = [full for full in taps if full.rpartition(SEPARATOR)[2] == name]
    if inside:
        return inside_another(trace, name, inside)
    parts = [full for full, tap in taps.items() if tap.path and tap.call.name == name]
    if parts:
        return InputError(
            f"Expected one of the tensors that {name!r} returns: {format_names(parts)}. Received: "
            f"{name!r}."
        )
    near = ", ".join(nearest(name, taps))
    for tap in every_tap(trace):
        if name not in (tap.name, tap.keras_name):
            continue
        if tap.tensor is head.tensor:
            return InputError(
                f"Expected hidden layers, such as {near}. Received: {name!r}, the output of the "
                f"model, which is always recorded, as {OUTPUT!r}."
            )
        if tap.call.obstacle:
            around = tap.call.reachable
            instead = "a layer outside of it" if around is None else f"{around.name!r}"
            return InputError(
                f"Expected layers within reach, such as {near}. Received: {name!r}: "
                f"{tap.call.obstacle}, so that its values exist only there. Record {instead}."
            )
        shape = "x".join(map(str, tap.tensor.shape))
        return InputError(
            f"Expected layers that return float tensors (batch, ...), such as {near}. Received: "
            f"{name!r}, which returns {tap.tensor.dtype} of shape {shape}."
        )
    if any(name in (call.name, call.keras_name) for call in trace.calls if not call.outputs):
        return InputError(
            f"Expected layers that return tensors, such as {near}. Received: {name!r}, which "
            "returns none, but other values, such as NumPy arrays. Compute with keras.ops in it."
        )
    called = {id(call.operation) for call in trace.calls}
    last = name.rpartition(SEPARATOR)[2]
    held = [layer for layer in trace.model._flatten_layers() if layer.name == last]
    if any(id(layer) not in called for layer in held):
        return InputError(
            f"Expected layers that the model calls in inference, such as {near}. Received: "
            f"{name!r}, which {trace.model.name!r} holds and does not call, as layers that are "
            "used in training only."
        )
    return unknown("layer", name, taps)


def inside_another(trace: CallTrace, name: str, full: list[str]) -> InputError:
    """The error for a name without the names of the layers around it."""
    return InputError(
        f"Expected the full name of a layer inside another one of {trace.model.name!r}: "
        f"{format_names(full, limit=3)}. Received: {name!r}."
    )


def renamed(taps: dict[str, Tap]) -> str:
    """A message about layers with other names than Keras gave them; empty for none."""
    others = [f"{name} ({tap.keras_name})" for name, tap in taps.items() if name != tap.keras_name]
    if not others:
        return ""
    return (
        "the names of layers without names of their own are numbered within the model, so that "
        f"they are the same in every process; Keras calls them here: {format_names(others)}."
    )

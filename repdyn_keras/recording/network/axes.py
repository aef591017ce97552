"""The channel axis of each layer's activations.

A probe averages over the positions of an activation and keeps its channels, so that it has to know
which axis holds the channels. A layer's own `data_format` tells, not the global setting of Keras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.network.call_trace import Call, CallTrace
from repdyn_keras.text import format_names, format_shape


def kinds(names: str) -> tuple[type, ...]:
    """Classes of `keras.layers` by their names."""
    return tuple(getattr(layers, name) for name in names.split())


# Layers whose output has the axes of their input.
LAYOUT_KEEPING = kinds(
    "Activation ActivityRegularization Add AlphaDropout Average Concatenate Cropping1D "
    "Cropping2D Cropping3D Dropout ELU GaussianDropout GaussianNoise Identity LeakyReLU "
    "Masking Maximum Minimum Multiply PReLU ReLU Rescaling Softmax Subtract UpSampling1D "
    "UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D"
)
# Layers that keep the axes too, and normalize along the axis of the channels.
NORMALIZING = kinds(
    "BatchNormalization GroupNormalization LayerNormalization Normalization RMSNormalization "
    "UnitNormalization"
)
# Layers whose features are the last axis.
FEATURES_LAST = kinds(
    "AdditiveAttention Attention Dense EinsumDense Embedding GroupQueryAttention "
    "MultiHeadAttention RNN RepeatVector"
)
CONV_LSTMS = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
# Layers that run the code of another library.
FOREIGN = (layers.JaxLayer, layers.TFSMLayer, layers.TorchModuleWrapper)
# Modules of torch that expect the channels as the first axis of an image.
TORCH_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "MaxPool", "AvgPool")
# Operations whose output of the same rank may have its axes in another order or meaning.
LAYOUT_CHANGING = ("Dot", "Einsum", "Matmul", "Reshape", "Rot90", "Tensordot")


@dataclass(frozen=True)
class ChannelAxis:
    """The axis of the channels in activations (batch, ...).

    Attributes:
        axis: its index, at least 1.
        doubt: the kind of layer that does not tell the axis, if it is assumed; else empty.
        is_given: whether the user named the axis.
    """

    axis: int
    doubt: str = ""
    is_given: bool = False


@dataclass(frozen=True)
class Step:
    """One call of a layer or an operation.

    Attributes:
        operation: the layer or operation.
        inputs, outputs: its tensors.
        inner: the call for one step of a sequence inside it; None for others.
    """

    operation: Any
    inputs: list
    outputs: list
    inner: Call | None = None


def channel_axes(
    trace: CallTrace, tensors: Mapping[str, Any], given: int | Mapping[str, int] | None = None
) -> dict[str, ChannelAxis]:
    """The channel axis of tensors inside a model.

    A layer with a `data_format` has its channels there. `Dense`, recurrent, attention and embedding
    layers have them last. Activations, normalizations, merging layers, dropout and elementwise
    operations have those of their inputs, `Permute` moves them, and `Reshape` keeps them if it
    keeps the last axis. What these do not tell is told by the layer that receives the tensor, or by
    the axis of a normalization. Otherwise the axis is assumed, and `doubt` is not empty.

    Args:
        trace: a traced call of the model.
        tensors: outputs of its layers by name.
        given: the axis of all tensors that do not tell theirs, or axes by name, which are taken as
            they are.

    Raises:
        InputError: a name in `given` is unknown, or an axis is out of range.
    """
    by_name = given if isinstance(given, Mapping) else {}
    known: dict[int, ChannelAxis] = {}
    for name, axis in by_name.items():
        if name not in tensors:
            raise unknown("layer in channel_axis", name, tensors, "Name recorded hidden layers.")
        known[id(tensors[name])] = given_axis(axis, tensors[name], name)
    steps = [step_of(call, trace) for call in trace.calls]
    # A normalization may have been given another axis than that of the channels by mistake.
    for with_hints in (False, True):
        propagate(known, steps, with_hints)
    if isinstance(given, int):
        for name, tensor in tensors.items():
            if id(tensor) not in known and len(tensor.shape) > 2:
                known[id(tensor)] = given_axis(given, tensor, name)
    for tensor in keras.tree.flatten(trace.inputs):
        known.setdefault(id(tensor), ChannelAxis(len(tensor.shape) - 1, "Input"))
    for step in steps:
        for tensor in step.outputs:
            if id(tensor) not in known:
                known[id(tensor)] = assumed_axis(step, known, tensor)
    return {name: known[id(tensor)] for name, tensor in tensors.items()}


def propagate(known: dict[int, ChannelAxis], steps: list[Step], with_hints: bool) -> None:
    """Adds all axes that follow from the layers and from the known axes.

    Args:
        known: the axis of tensors by id.
        steps: the calls of the model.
        with_hints: whether to use `hinted_axis` where nothing else tells.
    """
    count = -1
    # The axis of one tensor may tell those of tensors before and after it.
    while len(known) > count:
        count = len(known)
        for step in steps:
            for tensor in step.outputs:
                add(known, tensor, known_axis(step, known, tensor, with_hints))
        for step in reversed(steps):
            for tensor in step.inputs:
                add(known, tensor, required_axis(step, known, tensor, with_hints))


def add(known: dict[int, ChannelAxis], tensor, axis: int | None) -> None:
    """Adds the axis of a tensor if it is not known yet."""
    if axis is not None and id(tensor) not in known:
        known[id(tensor)] = ChannelAxis(axis)


def step_of(call: Call, trace: CallTrace) -> Step:
    """A call as a step."""
    inner = None
    if isinstance(call.operation, layers.TimeDistributed):
        inner = next((each for each in trace.calls if each.parent is call), None)
    return Step(call.operation, call.inputs, list(call.outputs.values()), inner)


def known_axis(step: Step, known: dict[int, ChannelAxis], tensor, with_hints: bool) -> int | None:
    """The channel axis of an output as the step tells it; None if it does not."""
    operation, rank = step.operation, len(tensor.shape)
    if rank <= 2:
        return rank - 1
    if step.inner is not None:
        inside = [x for x in step.inner.outputs.values() if len(x.shape) == rank - 1]
        axis = axis_in(known, inside[0]) if inside else None
        return None if axis is None else axis + 1
    axis = own_axis(operation, rank)
    if axis is not None:
        return axis
    order = permutation(operation, rank)
    if order is not None:
        before = axis_in(known, step.inputs[0])
        return None if before is None else order.index(before)
    if isinstance(operation, layers.Reshape) or type(operation).__name__ == "Reshape":
        return reshaped_axis(step.inputs[0], tensor, axis_in(known, step.inputs[0]))
    if keeps_layout(operation, step.inputs, tensor):
        axes = {axis_in(known, source) for source in sources(step.inputs, tensor)} - {None}
        if len(axes) == 1:
            return axes.pop()
        return hinted_axis(operation, rank) if with_hints and not axes else None
    if type(operation).__name__ == "Matmul":
        return rank - 1
    return axis_of_parts(operation, step.inputs, tensor, known)


def required_axis(
    step: Step, known: dict[int, ChannelAxis], tensor, with_hints: bool
) -> int | None:
    """The channel axis of an input as the step requires it; None if it does not."""
    operation, rank = step.operation, len(tensor.shape)
    if rank <= 2:
        return rank - 1
    if isinstance(operation, layers.Embedding | layers.RepeatVector):
        return None
    axis = own_axis(operation, rank)
    if axis is not None:
        return axis
    if not step.outputs:
        return None
    output = step.outputs[0]
    order = permutation(operation, rank)
    if order is not None:
        after = axis_in(known, output)
        return None if after is None else order[after]
    if not keeps_layout(operation, step.inputs, output) or len(output.shape) != rank:
        return None
    axis = axis_in(known, output)
    return hinted_axis(operation, rank) if with_hints and axis is None else axis


def own_axis(operation, rank: int) -> int | None:
    """The channel axis of a tensor of this rank by the kind or the `data_format` of a layer."""
    if isinstance(operation, layers.TimeDistributed):
        axis = own_axis(operation.layer, rank - 1)
        return None if axis is None else axis + 1
    if isinstance(operation, layers.Bidirectional):
        return own_axis(operation.forward_layer, rank)
    if isinstance(operation, layers.SpectralNormalization):
        return own_axis(operation.layer, rank)
    if isinstance(operation, LAYOUT_KEEPING):
        return None
    axis = format_axis(operation, rank)
    return rank - 1 if axis is None and isinstance(operation, FEATURES_LAST) else axis


def format_axis(operation, rank: int) -> int | None:
    """The channel axis of a tensor of this rank by a `data_format`; None if there is none."""
    # Flatten has the global format, whatever it flattens.
    is_flatten = isinstance(operation, layers.Flatten)
    data_format = None if is_flatten else getattr(operation, "data_format", None)
    if data_format == "channels_first":
        # The states of a ConvLSTM at all steps are (batch, steps, channels, ...).
        sides = operation.cell.kernel_size if isinstance(operation, CONV_LSTMS) else None
        return 1 if sides is None else rank - 1 - len(sides)
    return rank - 1 if data_format == "channels_last" else None


def keeps_layout(operation, inputs: list, tensor) -> bool:
    """Whether an output has the axes of the inputs of its rank."""
    if not sources(inputs, tensor):
        return False
    if isinstance(operation, (*LAYOUT_KEEPING, *NORMALIZING)):
        return True
    if isinstance(operation, layers.TimeDistributed | layers.SpectralNormalization):
        return isinstance(operation.layer, (*LAYOUT_KEEPING, *NORMALIZING))
    is_layer = isinstance(operation, layers.Layer)
    return not is_layer and type(operation).__name__ not in LAYOUT_CHANGING


def sources(inputs: list, tensor) -> list:
    """The inputs that have the rank of an output; those of its shape if there are any."""
    same_rank = [source for source in inputs if len(source.shape) == len(tensor.shape)]
    return [source for source in same_rank if source.shape == tensor.shape] or same_rank


def hinted_axis(operation, rank: int) -> int | None:
    """The channel axis by the settings of a layer that keeps the axes, whatever they are.

    That is the single axis along which it normalizes, or its `data_format`.
    """
    if not isinstance(operation, NORMALIZING):
        return format_axis(operation, rank)
    axis = getattr(operation, "axis", None)
    if isinstance(axis, list | tuple) and len(axis) == 1:
        axis = axis[0]
    return axis % rank or None if isinstance(axis, int) else None


def permutation(operation, rank: int) -> list[int] | None:
    """For each axis of the output, the axis of the input; None if axes are not moved."""
    axes = np.arange(rank)
    if isinstance(operation, layers.Permute):
        return [0, *operation.dims]
    if isinstance(operation, layers.Layer):
        return None
    name = type(operation).__name__
    if name == "Transpose":
        moved = axes[::-1] if operation.axes is None else axes[list(operation.axes)]
    elif name == "Swapaxes":
        moved = axes.copy()
        moved[[operation.axis1, operation.axis2]] = axes[[operation.axis2, operation.axis1]]
    elif name == "Moveaxis":
        shaped = np.empty(tuple(range(2, rank + 2)), np.uint8)
        moved = np.array(np.moveaxis(shaped, operation.source, operation.destination).shape) - 2
    else:
        return None
    return [int(axis) for axis in moved]


def reshaped_axis(before, after, axis: int | None) -> int | None:
    """The channel axis after a Reshape that only joins or splits positions."""
    if axis == len(before.shape) - 1 and before.shape[-1] == after.shape[-1] is not None:
        # A vector is not split into positions and channels: its features become positions.
        return len(after.shape) - 1 if len(before.shape) > 2 else None
    if axis == 1 and len(before.shape) > 2 and before.shape[1] == after.shape[1] is not None:
        return 1
    return None


def axis_of_parts(operation, inputs: list, tensor, known: dict[int, ChannelAxis]) -> int | None:
    """The channel axis of a layer that is no layer of Keras, if it keeps the rank of its input.

    The layers inside it tell. Without any, it has the axis of its input, if that keeps its size.
    """
    same_rank = sources(inputs, tensor)
    is_layer = isinstance(operation, layers.Layer) and not isinstance(operation, FOREIGN)
    if not same_rank or not is_layer:
        return None
    rank = len(tensor.shape)
    axes = inner_axes(operation, rank)
    if len(axes) == 1:
        return axes.pop()
    axis = axis_in(known, same_rank[0])
    if axes or axis is None or same_rank[0].shape[axis] != tensor.shape[axis]:
        return None
    return axis


def inner_axes(operation, rank: int) -> set[int]:
    """The channel axes of the layers inside a layer: by `data_format`, else by their kinds."""
    if not isinstance(operation, layers.Layer):
        return set()
    parts = operation._flatten_layers(include_self=False)
    for told in (format_axis, own_axis):
        axes = {axis for part in parts if (axis := told(part, rank)) is not None}
        if axes:
            return axes
    return set()


def assumed_axis(step: Step, axes: dict[int, ChannelAxis], tensor) -> ChannelAxis:
    """The channel axis of an output that nothing tells."""
    operation, rank = step.operation, len(tensor.shape)
    same_rank = [axes[id(source)] for source in sources(step.inputs, tensor) if id(source) in axes]
    if keeps_layout(operation, step.inputs, tensor):
        doubtful = next((axis for axis in same_rank if axis.doubt), None)
        if doubtful is not None:
            return doubtful
    kind = type(operation).__name__
    if isinstance(operation, layers.TorchModuleWrapper):
        names = [type(module).__name__ for module in operation.module.modules()]
        is_first = any(name.startswith(TORCH_CHANNELS_FIRST) for name in names)
        return ChannelAxis(1 if is_first else rank - 1, kind)
    inside = inner_axes(operation, rank)
    if len(inside) == 1:
        return ChannelAxis(inside.pop(), kind)
    return ChannelAxis(rank - 1, kind)


def axis_in(known: dict[int, ChannelAxis], tensor) -> int | None:
    """The axis of a tensor; None if it is not known."""
    return known[id(tensor)].axis if id(tensor) in known else None


def given_axis(axis: int, tensor, name: str) -> ChannelAxis:
    """An axis that the user names; raises InputError if it is out of range."""
    rank = len(tensor.shape)
    if not 1 <= (axis + rank if axis < 0 else axis) < rank:
        raise InputError(
            f"Expected a channel_axis of {name!r} from 1 to {rank - 1}, or from {1 - rank} to -1: "
            f"its activations are {format_shape(tensor.shape)}, and axis 0 is the batch. "
            f"Received: {axis}."
        )
    return ChannelAxis(axis % rank, is_given=True)


def axis_notices(
    axes: Mapping[str, ChannelAxis], given: int | Mapping[str, int] | None
) -> Iterator[str]:
    """Messages about layers whose channel axis is assumed, and about an unused axis.

    Args:
        axes: the channel axis of each layer.
        given: the `channel_axis` of the recorder.
    """
    doubtful = {name: axis for name, axis in axes.items() if axis.doubt}
    for index in sorted({axis.axis for axis in doubtful.values()}):
        named = [f"{n} ({a.doubt})" for n, a in doubtful.items() if a.axis == index]
        yield (
            f"the model does not tell the channel axis of {format_names(named)}: axis {index} is "
            "taken for the channels, and probes average over the other axes. If another axis holds "
            "the channels, set channel_axis."
        )
    if isinstance(given, int) and not any(axis.is_given for axis in axes.values()):
        yield f"channel_axis={given} is not used: every recorded layer tells its channel axis."

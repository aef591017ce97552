"""Masks: which positions of a layer's activations are padding, and do not count in an average."""

from dataclasses import dataclass
from typing import Any

import keras

# Keras has no public access to the mask of a tensor.
from keras.src.backend.common.masking import get_keras_mask

from repdyn_keras.errors import InputError
from repdyn_keras.recording.network.call_trace import CallTrace, part
from repdyn_keras.recording.network.layer_choice import Tap
from repdyn_keras.recording.network.model_inputs import input_names
from repdyn_keras.text import format_shape


@dataclass(frozen=True)
class MaskSource:
    """Where the mask of a layer comes from.

    Attributes:
        is_own: whether the layer's tensor carries a mask of Keras.
        path: the place of the input of the model that is the mask, if there is one.
    """

    is_own: bool = False
    path: tuple | None = None

    def mask(self, tensor, images) -> Any:
        """(batch, ...) booleans, True at the positions that count; None where all count."""
        if self.is_own:
            return get_keras_mask(tensor)
        if self.path is None:
            return None
        return keras.ops.cast(part(images, self.path), "bool")


def mask_sources(trace: CallTrace, taps: dict[str, Tap]) -> list[MaskSource]:
    """The source of the mask of each layer.

    A mask of Keras, such as that of `Embedding(mask_zero=True)`, goes through the layers that
    support it. Where a sequence (batch, steps, features) has none, an input of the model (batch,
    steps) whose name says that it is a mask, such as `padding_mask`, is the mask.

    Raises:
        InputError: a mask of Keras does not have the shape of the positions.
    """
    named = zip(input_names(trace), keras.tree.flatten_with_path(trace.inputs), strict=True)
    inputs = [
        (tuple(path), x) for name, (path, x) in named if "mask" in name.lower() and x.ndim == 2
    ]
    found = []
    for name, tap in taps.items():
        shape = tuple(tap.tensor.shape)
        own = trace.masks.get(id(tap.tensor))
        if own is not None:
            if len(own) >= len(shape) or own[1:] != shape[1 : len(own)]:
                raise InputError(
                    f"Expected the mask of layer {name!r} in the shape of its positions, "
                    f"{format_shape(shape[1:-1])}. Received: a mask of shape "
                    f"{format_shape(own[1:])}. Mend the compute_mask of the layer."
                )
            found.append(MaskSource(is_own=True))
            continue
        fitting = [path for path, x in inputs if len(shape) == 3 and x.shape[1] == shape[1]]
        found.append(MaskSource(path=fitting[0] if len(fitting) == 1 else None))
    return found

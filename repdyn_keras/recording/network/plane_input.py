"""The input of a model in which the planes of decision regions are."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.network.call_trace import CallTrace
from repdyn_keras.recording.network.model_inputs import input_names, is_continuous

# Values of an input that a plane needs.
MIN_VALUES = 2


@dataclass(frozen=True)
class PlaneInput:
    """One of the inputs of a model; the others are held while the planes are classified.

    Attributes:
        name: its name, for messages; empty where the model has one input.
        index: its number among all.
        shape: its shape for one image.
        structure: the structure of all inputs.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    structure: Any

    def points(self, images) -> np.ndarray:
        """The array of this input in a structure of all."""
        return keras.tree.flatten(images)[self.index]

    def others(self, corners) -> list[np.ndarray]:
        """The arrays (plane, ...) of the other inputs at the first corner of each plane.

        Args:
            corners: a structure of arrays (plane, corner, ...) of all inputs.
        """
        arrays = keras.tree.flatten(corners)
        return [x[:, 0] for index, x in enumerate(arrays) if index != self.index]

    def images(self, points, others: list) -> Any:
        """All inputs in their structure."""
        arrays = [*others[: self.index], points, *others[self.index :]]
        return keras.tree.pack_sequence_as(self.structure, arrays)


def plane_input(trace: CallTrace, given: str | int | None) -> tuple[PlaneInput | None, str]:
    """The input in which planes are, and a message where there is none.

    Args:
        trace: a traced call of the model.
        given: its name, key or number; None for the only input between whose values there are
            others, unlike integers such as word indices.

    Raises:
        InputError: no input has this name, or points between its values are no valid inputs.
    """
    tensors, names = keras.tree.flatten(trace.inputs), input_names(trace)
    valid = [
        index
        for index, tensor in enumerate(tensors)
        if is_continuous(trace, tensor)
        and "mask" not in names[index].lower()
        and math.prod(tensor.shape[1:]) >= MIN_VALUES
    ]
    if given is not None:
        index = number_of(given, names)
        if index not in valid:
            raise InputError(
                "Expected plane_input as an input of two or more real numbers. Received: "
                f"{given!r}, which holds one number, whole numbers or a mask, so that there is no "
                "plane of valid inputs. Use planes=0, or another input."
            )
    elif len(valid) == 1:
        index = valid[0]
    elif not valid:
        return None, (
            "the model takes whole numbers, such as word indices, so that points between two "
            "inputs are not valid inputs: no decision regions are recorded."
        )
    else:
        listed = ", ".join(repr(names[index]) for index in valid)
        return None, (
            f"the model has several inputs of real numbers ({listed}): no decision regions are "
            "recorded. plane_input=... names the one in which the planes are; the others are held."
        )
    name = names[index] if len(tensors) > 1 else ""
    shape = tuple(tensors[index].shape[1:])
    return PlaneInput(name, index, shape, trace.inputs), ""


def number_of(given: str | int, names: list[str]) -> int:
    """The number of an input by its name or number; raises InputError if there is none."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names):
        return given
    if given in names:
        return names.index(str(given))
    raise unknown("plane_input", given, names, "Or its number, from 0.")

"""The values of a model's variables at one time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.recording.inputs import arrays_hash


@dataclass(frozen=True)
class ModelValues:
    """The values of all variables of a model at one time.

    Attributes:
        model: the model.
        variables: its variables, including the states of random generators.
        values: their values, in the same order: tensors of the backend, or NumPy arrays.
    """

    model: keras.Model
    variables: list[keras.Variable]
    values: list[Any]

    @classmethod
    def live(cls, model: keras.Model) -> "ModelValues":
        """The current values, which are valid until the model is trained or changed.

        Raises:
            InputError: the model has no values at this time.
        """
        variables = list(model.variables)
        require_values(model, variables)
        return cls(model, variables, [variable.value for variable in variables])

    @classmethod
    def copied(cls, model: keras.Model) -> "ModelValues":
        """Copies of the current values; raises InputError as `live` does."""
        live = cls.live(model)
        copies = [np.array(keras.ops.convert_to_numpy(value)) for value in live.values]
        return cls(model, live.variables, copies)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all weights of the model, in order, without the random states."""
        by_variable = {id(v): value for v, value in zip(self.variables, self.values, strict=True)}
        return arrays_hash(
            keras.ops.convert_to_numpy(by_variable[id(weight)]) for weight in self.model.weights
        )


def require_values(model: keras.Model, variables: list[keras.Variable]) -> None:
    """Raises InputError if the values of a model on jax are not attached to it."""
    if keras.backend.backend() != "jax":
        return
    for variable in variables:
        if variable._value is None or getattr(variable._value, "is_deleted", bool)():
            raise InputError(
                f"Expected a model whose variables have values. Received: {model.name!r}, whose "
                f"{variable.path!r} has none. On jax, fit keeps them outside of the model during "
                "an epoch, and an interrupted predict or fit may leave them there. In a callback, "
                "use self.model, which attaches them; after an interrupt, load the last weights."
            )

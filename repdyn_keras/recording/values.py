"""The values of a model's variables at one time, and the scope in which passes read them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    def tensors(self) -> list:
        """Tensors of the values of `state_variables(model)`, on the device."""
        return [
            keras.ops.convert_to_tensor(value, dtype=variable.dtype)
            for variable, value in zip(self.variables, self.values, strict=True)
            if not is_seed_state(variable)
        ]

    def with_values(self, changes: dict[int, Any]) -> "ModelValues":
        """These values with changes, given by the id of each variable."""
        values = [
            changes.get(id(variable), value)
            for variable, value in zip(self.variables, self.values, strict=True)
        ]
        return replace(self, values=values)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all weights of the model, in order, without the random states."""
        by_variable = {id(v): value for v, value in zip(self.variables, self.values, strict=True)}
        return arrays_hash(
            keras.ops.convert_to_numpy(by_variable[id(weight)]) for weight in self.model.weights
        )


def weights_hash(model: keras.Model) -> str:
    """`ModelValues.hash` of the current values of a model."""
    return ModelValues.live(model).hash


def require_values(model: keras.Model, variables: list[keras.Variable]) -> None:
    """Raises InputError if the values of a model on jax are not attached to it."""
    if keras.backend.backend() != "jax":
        return
    for variable in variables:
        if has_value(variable):
            continue
        raise InputError(
            f"Expected a model whose variables have values. Received: {model.name!r}, whose "
            f"variable {variable.path!r} has none. On jax, fit keeps the values outside of the "
            "model during an epoch, and an interrupted predict or evaluate leaves them there. In "
            "a callback, use self.model, which attaches them; after an interrupt, load saved "
            "weights."
        )


def has_value(variable: keras.Variable) -> bool:
    """Whether a variable on jax has a value that was not deleted."""
    try:
        return not variable.value.is_deleted()
    except (TypeError, AttributeError):  # a variable without a value has no initializer either
        return False


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of a model, without the states of random generators."""
    return [variable for variable in model.variables if not is_seed_state(variable)]


def is_seed_state(variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`."""
    return variable.name == "seed_generator_state"


class FrozenScope(keras.StatelessScope):
    """A scope in which variables have given values and nothing is written to any variable.

    Every random generator starts with a fixed seed, so that the same values give the same result.
    Variables without a given value have that of an outer scope, or their current one.

    Args:
        variables: variables.
        values: their values.
    """

    def __init__(self, variables: Iterable[keras.Variable], values: Iterable):
        # Losses are collected here, not in the layers that add them.
        super().__init__(collect_losses=True)
        self._writes: Counter[int] = Counter()
        for variable, value in zip(variables, values, strict=True):
            self.add_update((variable, value))
        self._writes.clear()
        self._outer: keras.StatelessScope | None = None
        self._generators = 0

    def __enter__(self):
        scope = super().__enter__()
        self._outer = self.original_scope
        return scope

    def add_update(self, update):
        """Sets the value of a variable in this scope."""
        super().add_update(update)
        self._writes[id(update[0])] += 1

    def writes(self, variable: keras.Variable) -> int:
        """Number of times that the calls in this scope wrote a variable."""
        return self._writes[id(variable)]

    def get_current_value(self, variable):
        """The value of a variable in this scope."""
        value = super().get_current_value(variable)
        if value is None and self._outer is not None:
            value = self._outer.get_current_value(variable)
        if value is None and is_seed_state(variable):
            self._generators += 1
            value = keras.ops.convert_to_tensor(
                np.array([self._generators, 0]), dtype=variable.dtype
            )
            self.add_update((variable, value))
        return value

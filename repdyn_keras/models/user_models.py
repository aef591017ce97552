"""User-defined networks: built by a Python function, or loaded from a saved model."""

import importlib
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from repdyn_keras.config import usable_path
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.seeds import legacy
from repdyn_keras.text import format_error, quoted


def build_by_function(
    model: str, image_shape: tuple[int, ...], n_classes: int, seed: int
) -> keras.Model:
    """Builds a network by a user's function.

    The function is called with those of the arguments `image_shape`, `n_classes` and `seed` that
    it accepts by name. The global generators of Python and NumPy, from which Keras draws seeds of
    layers that have none, are seeded for the call and restored afterwards.

    Args:
        model: "module:function"; the module is in the current folder, or installed.
        image_shape: (height, width, channels).
        n_classes: number of classes.
        seed: the run's seed.

    Raises:
        InputError: there is no such module or function, or it does not return a model.
    """
    function = import_function(model)
    available = {"image_shape": image_shape, "n_classes": n_classes, "seed": seed}
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise InputError(
            "Expected a Python function that returns a keras.Model. Received: "
            f"{model}, a {type(function).__name__}."
        ) from None
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    unavailable = [name for name in required if name not in available]
    if unavailable:
        raise InputError(
            f"Expected a function whose arguments are among {', '.join(available)}. Received: "
            f"{model}, which also requires {', '.join(unavailable)}."
        )
    names = set(available) if any_name else {p.name for p in parameters} & set(available)
    with seeded_globals(seed), user_code(f"The function {model}"):
        network = function(**{k: v for k, v in available.items() if k in names})
    if not isinstance(network, keras.Model):
        raise InputError(
            f"Expected a keras.Model from the function {model}. Received: a "
            f"{type(network).__name__}."
        )
    return network


def import_function(name: str) -> Callable[..., Any]:
    """Imports "module:function" from the current folder or an installed module."""
    module_name, _, function_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with user_code(f"The module of model = {quoted(name)}", ModuleNotFoundError):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"Expected the packages that the module of model = {name!r} imports. Received: "
                f"{error.name!r} is not installed."
            ) from None
        raise InputError(
            f"No module {module_name!r}. Expected {module_name}.py in the current folder, or an "
            f"installed module. Received: model = {name!r}."
        ) from None
    function = getattr(module, function_name, None)
    if function is None or not callable(function):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise unknown(f"function of {module_name}", function_name, names or ["none"])
    return function


@contextmanager
def user_code(description: str, *reraised: type[Exception]) -> Iterator[None]:
    """Turns exceptions of a user's code, including SystemExit, into InputError.

    Args:
        description: description of the code, for the message.
        reraised: exceptions that are raised unchanged.
    """
    kept: tuple[type[Exception], ...] = (InputError, *reraised)
    try:
        yield
    except kept:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if len(frames) > 1 else None
        place = f" at {last.filename}, line {last.lineno}" if last else ""
        raise InputError(
            f"{description} failed. Expected code that returns a keras.Model. Received: "
            f"{type(error).__name__}{place}: {str(error) or 'no message'}."
        ) from error


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seeds Python's and NumPy's global generators inside the block and restores them."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(legacy(seed))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def build_from_file(
    model: str, image_shape: tuple[int, ...], n_classes: int, seed: int
) -> keras.Model:
    """Loads the network of a `.keras` file, which defines input shape, classes and weights."""
    return load_model(model)


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file in safe mode, in which code in the file is not run.

    Raises:
        InputError: there is no such file, it is damaged, or it needs custom code.
    """
    path = usable_path(path)
    expected = "a whole model saved by model.save('NAME.keras')"
    if not path.is_file():
        raise InputError(f"No file {path}. Expected {expected}. Received: {quoted(str(path))}.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # damaged archives raise whatever their reader raises
        raise InputError(
            f"Cannot load {path}. Expected {expected}, without custom code. Received: "
            f"{format_error(error)}. For a model with custom code, use --model "
            "module:function."
        ) from None

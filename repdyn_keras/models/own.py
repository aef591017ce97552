"""Networks of the user's own: a function in a module of theirs, or a saved model."""

import importlib
import inspect
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from repdyn_keras.config import usable_path
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted


def built_by(name: str, image_shape: tuple[int, ...], n_classes: int, seed: int) -> keras.Model:
    """The network that a user's function builds.

    The function is called with the arguments among `image_shape`, `n_classes` and `seed` that it
    takes by name. Python's and NumPy's global generators, from which Keras draws the seeds of
    layers that were given none, are seeded for the call and put back.

    Args:
        name: "module:function"; the module is found as in a script of the current folder.
        image_shape: (height, width, channels).
        n_classes: number of classes.
        seed: the run's seed.

    Raises:
        InputError: there is no such module or function, or it returns no model that is built.
    """
    function = imported(name)
    given = {"image_shape": image_shape, "n_classes": n_classes, "seed": seed}
    try:
        takes = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise InputError(
            f"{name} is no function of Python. Expected one that returns a keras.Model."
        ) from None
    any_name = any(p.kind is p.VAR_KEYWORD for p in takes)
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in takes if p.default is p.empty and p.kind not in rest]
    strange = [name for name in needed if name not in given]
    if strange:
        raise InputError(
            f"The function {name} needs the arguments {', '.join(strange)}. Expected one that "
            f"takes any of {', '.join(given)} by name."
        )
    names = set(given) if any_name else {p.name for p in takes} & set(given)
    with seeded_globals(seed), own_code(f"The function {name}"):
        model = function(**{k: v for k, v in given.items() if k in names})
    if not isinstance(model, keras.Model):
        raise InputError(
            f"The function {name} returned a {type(model).__name__}. Expected a keras.Model."
        )
    return model


def imported(name: str):
    """The function that "module:function" names, in a module of the current folder or installed."""
    module_name, _, function_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with own_code(f"The module of model = {quoted(name)}", ModuleNotFoundError):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"The module {module_name} of model = {name!r} needs {error.name!r}, which is not "
                "installed."
            ) from None
        raise InputError(
            f"No module {module_name!r} for model = {name!r}. Expected {module_name}.py in the "
            "current folder, or an installed module."
        ) from None
    function = getattr(module, function_name, None)
    if function is None or not callable(function):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise unknown(f"function of {module_name}", function_name, names or ["none"])
    return function


@contextmanager
def own_code(what: str, *but: type[Exception]) -> Iterator[None]:
    """Turns an error of the user's own code, or its wish to end the program, into InputError.

    Args:
        what: the code, in words.
        but: errors that are left to the caller.
    """
    try:
        yield
    except (InputError, *but):
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        here = frames[-1] if len(frames) > 1 else None
        place = f" at {here.filename}, line {here.lineno}" if here else ""
        raise InputError(
            f"{what} raised {type(error).__name__}{place}: {str(error) or 'no message'}. Expected "
            "code that returns a keras.Model."
        ) from error


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Python's and NumPy's global generators seeded inside the block, and put back."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def loaded(path: str | Path) -> keras.Model:
    """The network of a `.keras` file, in safe mode: its code is not run.

    Raises:
        InputError: no such file, it is damaged, or it needs code that is not Keras's.
    """
    path = usable_path(path)
    if not path.is_file():
        raise InputError(f"No file {path}. Expected a model saved by model.save('NAME.keras').")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # damaged archives raise whatever their reader raises
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise InputError(
            f"Cannot load {path} ({type(error).__name__}: {reason}). Expected a whole model saved "
            "by model.save('NAME.keras'), without custom code; for one with code of its own give "
            "--model module:function."
        ) from None

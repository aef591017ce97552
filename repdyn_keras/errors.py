"""Exceptions that end a command with one message.

A message has the form "[Problem.] Expected Y. Received: X. [Remedy.]"; `tests/test_messages.py`
checks it.
"""

import difflib
from collections.abc import Iterable

from repdyn_keras.text import quoted

# The extra that installs each optional package.
EXTRAS = {
    "tensorflow": "tensorflow",
    "torch": "torch",
    "tensorflow_datasets": "tfds",
    "ray": "ray",
}
# Number of valid names listed if none resembles the unknown one.
MAX_LISTED = 8


class InputError(ValueError):
    """Input that cannot be used.

    The message says what was expected, what was received, and how to fix it. The command line
    prints it and exits with code 2.
    """


class StorageError(Exception):
    """A file that cannot be written: the disk is full, or the location is not writable."""


class Diverged(ArithmeticError):
    """The loss or the weights of a training became non-finite.

    Args:
        message: what happened, and what to do.
        cause: the part that says what happened.
    """

    def __init__(self, message: str, cause: str = ""):
        super().__init__(message)
        self.cause = cause or message


class Interrupted(KeyboardInterrupt):
    """A signal ended a run.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> list[str]:
    """The valid names most similar to `name`; the first eight if none is similar."""
    # The comparison takes time proportional to the product of the lengths.
    name = str(name)[:100]
    valid = list(valid)
    by_lower_case: dict[str, str] = {}
    for candidate in valid:
        by_lower_case.setdefault(candidate.lower(), candidate)
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=limit, cutoff=0.5)
    containing = [key for key in by_lower_case if name and name.lower() in key]
    matches = list(dict.fromkeys([*close, *containing]))[:limit]
    return [by_lower_case[key] for key in matches] if matches else valid[:MAX_LISTED]


def unknown(kind: str, name: object, valid: Iterable[str], hint: str = "") -> InputError:
    """The error for an unknown name, with the nearest valid ones."""
    valid = list(valid)
    near = nearest(str(name), valid)
    if len(near) == len(valid):
        expected = f"one of: {', '.join(near)}"
    else:
        expected = f"one of {len(valid)} names, nearest: {', '.join(near)}"
    text = f"Unknown {kind}. Expected {expected}. Received: {quoted(str(name))}. {hint}"
    return InputError(text.rstrip())


def not_installed(module: str, extras: dict[str, str], purpose: str) -> InputError:
    """The error for a package that is not installed, with the command that installs it.

    Args:
        module: the package.
        extras: extras by package; other packages are installed by their own name.
        purpose: what needs the package.
    """
    return InputError(
        f"Expected the package {module!r}, which {purpose} needs. Received: it is not installed. "
        f"Install it: {install_command(module, extras)}"
    )


def install_command(module: str, extras: dict[str, str]) -> str:
    """The command that installs a package."""
    if module in extras:
        return f"pip install 'repdyn-keras[{extras[module]}]'"
    return f"pip install {module}"

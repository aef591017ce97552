"""Exceptions that end a command with one message.

A message has the form "[Problem.] Expected Y. Received: X. [Remedy.]"; `tests/test_messages.py`
holds it.
"""

import difflib
from collections.abc import Iterable

from repdyn_keras.text import quoted

# The extras that install what the core does not, by package.
EXTRAS = {
    "tensorflow": "tensorflow",
    "torch": "torch",
    "tensorflow_datasets": "tfds",
}
# Valid names in a message where none resembles the unknown one.
MAX_LISTED = 8


class InputError(ValueError):
    """Input that cannot be used: what was expected, what was received, and how to mend it.

    The command line prints it as one message and exits with code 2.
    """


class StorageError(Exception):
    """A file that cannot be written: the disk is full, or the location is not writable."""


class Diverged(ArithmeticError):
    """A training whose loss or weights became non-finite."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal ended.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> list[str]:
    """The valid names most similar to `name`; all of them (up to eight) where none is similar."""
    # A longer name resembles none, and the comparison takes the product of the lengths.
    name = str(name)[:100]
    valid = list(valid)
    by_fold: dict[str, str] = {}
    for candidate in valid:
        by_fold.setdefault(candidate.lower(), candidate)
    close = difflib.get_close_matches(name.lower(), by_fold, n=limit, cutoff=0.5)
    inside = [key for key in by_fold if name and name.lower() in key]
    found = list(dict.fromkeys([*close, *inside]))[:limit]
    return [by_fold[key] for key in found] if found else valid[:MAX_LISTED]


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
    """The error for a package that is not installed: names the extra that installs it.

    Args:
        module: the package.
        extras: extras by package; a package that is not among them comes with the core.
        purpose: what needs it.
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

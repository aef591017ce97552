"""What the user is told when something cannot be used as it was given."""

import difflib
import unicodedata
from collections.abc import Iterable

# Control characters, invisible and turning marks, lone surrogates, unassigned ones; line breaks.
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# Letters of a value that a message shows.
MOST_OF_A_VALUE = 80
# The extras that bring what the core does not, by package.
EXTRAS = {
    "tensorflow": "tensorflow",
    "torch": "torch",
    "tensorflow_datasets": "tfds",
}


class InputError(ValueError):
    """Input that cannot be used: says what was expected, what came, and how to mend it.

    The command line prints it as one message and exits with code 2.
    """


class StorageError(InputError):
    """A file that cannot be written: the disk is full, or the place is not to be written to."""


class Diverged(ArithmeticError):
    """A training whose loss or weights are no finite numbers any more."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal ended.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def nearest(name: str, valid: Iterable[str], most: int = 3) -> list[str]:
    """The valid names that look most like `name`; all of them (up to eight) where none does."""
    # Nothing is near to a longer name, and looking takes its length times theirs.
    name = str(name)[:100]
    valid = list(valid)
    by_fold = {}
    for candidate in valid:
        by_fold.setdefault(candidate.lower(), candidate)
    close = difflib.get_close_matches(name.lower(), by_fold, n=most, cutoff=0.5)
    inside = [key for key in by_fold if name and name.lower() in key]
    found = list(dict.fromkeys([*close, *inside]))[:most]
    return [by_fold[key] for key in found] if found else valid[:8]


def unknown(kind: str, name: object, valid: Iterable[str], hint: str = "") -> InputError:
    """The error for a name that does not exist, with the nearest that do."""
    valid = list(valid)
    near = nearest(str(name), valid)
    label = "Valid" if len(near) == len(valid) else "Nearest"
    more = "" if len(near) == len(valid) else f" ({len(valid)} in all)"
    text = f"Unknown {kind} {quoted(str(name))}. {label}: {', '.join(near)}{more}."
    return InputError(f"{text} {hint}".rstrip())


def not_installed(module: str, extras: dict[str, str], purpose: str) -> InputError:
    """The error for a package that is not installed: names the extra that brings it.

    Args:
        module: the package.
        extras: extras by package; a package that is not among them comes with the core.
        purpose: what needs it.
    """
    return InputError(
        f"{purpose} needs the package {module!r}, which is not installed. "
        f"Install it: {install_command(module, extras)}"
    )


def install_command(module: str, extras: dict[str, str]) -> str:
    """The command that installs a package."""
    if module in extras:
        return f"pip install 'repdyn-keras[{extras[module]}]'"
    return f"pip install {module}"


def quoted(value: object) -> str:
    """A value as Python writes it, in a message: without its middle where it is long."""
    try:
        return visible(repr(value), MOST_OF_A_VALUE)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    except RecursionError:
        return f"a {type(value).__name__} of many in each other"


def visible(text: object, most: int | None = None) -> str:
    """Somebody else's words on one line, without anything in them that a terminal acts on.

    Control characters, line breaks and marks that turn or hide letters become `\\x1b`, `\\n` or
    `\\u202e`. `[red]` and `$x$` stay: what prints them must take them for letters.

    Args:
        text: a name, a title or a message.
        most: letters that are shown of it, at least 3; a longer one loses its middle.
    """
    text = str(text)
    if most is not None and len(text) > 2 * most:
        text = text[:most] + text[-most:]
    shown = "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in HIDDEN else char
        for char in text
    )
    if most is None or len(shown) <= most:
        return shown
    tail = most // 2
    return f"{shown[: most - tail - 1]}…{shown[-tail:]}"

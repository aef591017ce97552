"""Limits of the system: possible paths, and the memory of the machine."""

import errno
import os
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_bytes, quoted

# Errors for impossible paths.
INVALID_PATH_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP)


def usable_path(text: str | Path) -> Path:
    """A path with `~` expanded, which need not exist.

    Raises:
        InputError: the path is impossible on this system.
    """

    def rejection(expected: str, reason: str | None = None) -> InputError:
        detail = f", {reason}" if reason else ""
        return InputError(f"Expected a path {expected}. Received: {quoted(str(text))}{detail}.")

    if "\0" in str(text):
        raise rejection("without NUL characters")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise rejection(
            "that begins with / or in the current folder", "whose home folder is unknown"
        ) from None
    try:
        os.stat(path)
    except UnicodeEncodeError:
        raise rejection("of Unicode text") from None
    except OSError as error:
        if error.errno in INVALID_PATH_ERRORS:
            raise rejection("that a file can have", error.strerror) from None
    return path


def require_memory(size: int, description: str, keys: str) -> None:
    """Raises InputError if something needs more memory than the machine has.

    Operating systems grant more memory than they have, and kill a process that uses it.

    Args:
        size: lower bound of the required memory in bytes.
        description: what requires it.
        keys: the configuration keys that reduce it.
    """
    available = total_memory()
    if available and size > available:
        raise InputError(
            f"Not enough memory. Expected a smaller {keys}: this machine has "
            f"{format_bytes(available)} of memory. Received: {description}, which takes "
            f"{format_bytes(size)}."
        )


def total_memory() -> int:
    """Memory of the machine in bytes; 0 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0

"""What the system allows: paths that files can have, and the memory of the machine."""

import errno
import os
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_bytes, quoted

# Errors for paths that no file can have.
IMPOSSIBLE = (errno.ENAMETOOLONG, errno.ELOOP)


def usable_path(text: str | Path) -> Path:
    """A path with `~` expanded; it may or may not exist.

    Raises:
        InputError: no file can have this path.
    """

    def refused(expected: str, reason: str | None = None) -> InputError:
        detail = f", {reason}" if reason else ""
        return InputError(f"Expected a path {expected}. Received: {quoted(str(text))}{detail}.")

    if "\0" in str(text):
        raise refused("without NUL characters")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise refused(
            "that begins with / or in the current folder", "whose home folder is unknown"
        ) from None
    try:
        os.stat(path)
    except UnicodeEncodeError:
        raise refused("of Unicode text") from None
    except OSError as error:
        if error.errno in IMPOSSIBLE:
            raise refused("that a file can have", error.strerror) from None
    return path


def require_memory(size: int, what: str, smaller: str) -> None:
    """Raises InputError where something takes more memory than the machine has.

    Systems grant more memory than they have, and kill a process that uses it.

    Args:
        size: bytes that it takes at least.
        what: what takes them.
        smaller: the keys that reduce them.
    """
    available = memory()
    if available and size > available:
        raise InputError(
            f"Not enough memory. Expected a smaller {smaller}: this machine has "
            f"{format_bytes(available)} of memory. Received: {what}, which takes "
            f"{format_bytes(size)}."
        )


def memory() -> int:
    """Bytes of the machine's memory; 0 where the system does not report them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0

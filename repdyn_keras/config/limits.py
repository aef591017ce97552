"""What this machine can hold of what a configuration asks for."""

import os

from repdyn_keras.errors import InputError


def require_memory(size: int, what: str, smaller: str) -> None:
    """Raises InputError where something takes more memory than the machine has.

    Systems promise more memory than they have, and end a process that takes them at their word.

    Args:
        size: its bytes, at least.
        what: what it is, in words.
        smaller: the keys that make it smaller, in words.
    """
    there = memory()
    if there and size > there:
        raise InputError(
            f"{what} would take {gigabytes(size)} of memory, and this machine has "
            f"{gigabytes(there)}. Expected a smaller {smaller}."
        )


def memory() -> int:
    """Bytes of the machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def gigabytes(size: int) -> str:
    """A number of bytes in words; of very many their magnitude alone, as no float holds them."""
    return f"{size / 1e9:,.0f} GB" if size < 1e18 else "more than a billion GB"

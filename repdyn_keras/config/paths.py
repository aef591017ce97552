"""Paths as users write them."""

import errno
import os
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted

# What the system says of paths that no file can have, whatever lies there.
IMPOSSIBLE = (errno.ENAMETOOLONG, errno.ELOOP)


def usable_path(text: str | Path) -> Path:
    """A path with `~` written out, of something that is there or not.

    Raises:
        InputError: no file can have this path.
    """
    if "\0" in str(text):
        raise InputError(f"The path {quoted(str(text))} came. Expected one without NUL characters.")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InputError(
            f"The path {quoted(str(text))} came, and the home folder it begins with is not known. "
            "Expected a path from / or from the current folder."
        ) from None
    try:
        os.stat(path)
    except UnicodeEncodeError:
        raise InputError(f"The path {quoted(str(text))} came. Expected Unicode text.") from None
    except OSError as error:
        if error.errno in IMPOSSIBLE:
            raise InputError(
                f"The path {quoted(str(text))} came: {error.strerror}. Expected one that a file "
                "can have."
            ) from None
    return path

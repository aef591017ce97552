"""Checks of HDF5 files from untrusted sources, before anything in them is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.errors import InputError

if TYPE_CHECKING:
    import h5py
    from h5py import h5d, h5g, h5t

# Bytes in memory for each byte of the file, about the ratio of deflate for a constant array.
MAX_EXPANSION = 1000
# Bytes in memory that a file of any size may take.
ALWAYS_ALLOWED = 64 * 2**20
# Strings of variable length are measured in blocks.
STRINGS_PER_BLOCK = MAX_EXPANSION
# Keras stores bfloat16 and narrower floats as opaque values, of at most this many bytes.
MAX_OPAQUE_BYTES = 2


def require_self_contained(file: h5py.File, path: str | Path) -> None:
    """Raises InputError unless an HDF5 file holds plain arrays, and of a reasonable size.

    Links are not followed and arrays are not read. Call it before h5netcdf, xarray or Keras open
    the file: they follow links when they list a group.

    Args:
        file: the open file.
        path: its path, for the error message.

    Raises:
        InputError: the file has a link to another file or another name; the values of a variable
            are stored in other files, or are neither numbers nor strings; or all variables
            together take more than 64 MB of memory and 1000 times the size of the file.
    """
    size = file.id.get_filesize()
    allowed = MAX_EXPANSION * size + ALWAYS_ALLOWED
    total = 0
    for name, variable in variables_of(file, path):
        require_plain(variable, name, path)
        total += bytes_in_memory(variable, allowed - total)
        if total > allowed:
            raise rejection(
                path,
                f"variables up to {name!r} that take {total:,} bytes of memory or more, in a file "
                f"of {size:,} bytes",
            )


def variables_of(file: h5py.File, path: str | Path) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Name and identifier of every variable; raises InputError at the first link."""
    from h5py import h5d, h5g, h5l, h5o

    seen = {address_of(file.id)}
    groups = [("", file.id)]
    while groups:
        parent, group = groups.pop()
        for link in group:
            name = f"{parent}/{link.decode(errors='backslashreplace')}"
            kind = group.links.get_info(link).type
            if kind != h5l.TYPE_HARD:
                target = "name" if kind == h5l.TYPE_SOFT else "file"
                raise rejection(path, f"a link {name!r} to another {target}")
            item = h5o.open(group, link)
            if isinstance(item, h5d.DatasetID):
                yield name, item
            elif isinstance(item, h5g.GroupID):
                if address_of(item) in seen:
                    raise rejection(path, f"a group {name!r} that has two names")
                seen.add(address_of(item))
                groups.append((name, item))


def address_of(group: h5g.GroupID) -> tuple[int, int]:
    """The identity of a group, which does not depend on its name."""
    from h5py import h5o

    info = h5o.get_info(group)
    return info.fileno, info.addr


def require_plain(variable: h5d.DatasetID, name: str, path: str | Path) -> None:
    """Raises InputError unless a variable is an array of numbers or strings in the file itself."""
    from h5py import h5d, h5t

    creation = variable.get_create_plist()
    if creation.get_external_count():
        other = creation.get_external(0)[0].decode(errors="backslashreplace")
        raise rejection(path, f"a variable {name!r} stored in {other!r}")
    if creation.get_layout() == h5d.VIRTUAL:
        raise rejection(path, f"a variable {name!r} stored in other files (a virtual dataset)")
    kind = variable.get_type()
    is_plain = kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.STRING)
    is_narrow_float = kind.get_class() == h5t.OPAQUE and kind.get_size() <= MAX_OPAQUE_BYTES
    if not is_plain and not is_narrow_float:
        raise rejection(path, f"a variable {name!r} of type {variable.dtype}")
    if is_variable_length(kind) and len(variable.shape or ()) > 1:
        raise rejection(path, f"a variable {name!r} that is a table of strings")


def bytes_in_memory(variable: h5d.DatasetID, limit: int) -> int:
    """Bytes that a variable takes in memory; strings are measured until `limit` is exceeded."""
    import h5py

    kind, shape = variable.get_type(), variable.shape
    if shape is None:
        return 0
    # Python integers: those of HDF5 would overflow.
    total = math.prod(shape) * kind.get_size()
    if not is_variable_length(kind):
        return total
    # A file may store one long string and refer to it many times.
    strings = h5py.Dataset(variable)
    if not shape:
        return total + len(strings[()])
    for start in range(0, shape[0], STRINGS_PER_BLOCK):
        if total > limit:
            break
        total += sum(map(len, strings[start : start + STRINGS_PER_BLOCK]))
    return total


def is_variable_length(kind: h5t.TypeID) -> bool:
    """Whether an HDF5 type is that of strings of variable length."""
    from h5py import h5t

    return kind.get_class() == h5t.STRING and kind.is_variable_str()


def rejection(path: str | Path, reason: str) -> InputError:
    """The error for a file that is not read."""
    return InputError(
        f"{path} is not read. Expected arrays of numbers and strings stored in the file itself, as "
        f"repdyn and Keras write them. Received: {reason}. Ask its author for such a file."
    )

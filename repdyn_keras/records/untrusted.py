"""HDF5 files of strangers: nothing is read through them but what they hold themselves."""

import math
from collections.abc import Iterator
from pathlib import Path

from repdyn_keras.errors import InputError

# Deflate shrinks a constant array about this much, and nothing more.
MOST_EXPANSION = 1000
ALWAYS_ALLOWED = 64 * 2**20
# Strings of any length are counted in parts, each of which fits into the memory that is allowed.
STRINGS_AT_ONCE = MOST_EXPANSION
# bfloat16 and narrower floats of weights are opaque to HDF5; nothing else fits into two bytes.
WIDEST_OPAQUE = 2


def refuse_outside(file, path: str | Path) -> None:
    """Raises InputError unless an HDF5 file holds plain arrays of its own, and little enough.

    Links are looked at and never followed, variables are opened and their numbers never read. Call
    it before h5netcdf, xarray or Keras open the file: these follow links as they list a group.

    Args:
        file: an open `h5py.File`.
        path: what it is called in the error.

    Raises:
        InputError: the file links to another file or to another name, a variable's numbers lie in
            other files, a variable is of objects, or all of them together take more than
            1000 times the file's size and 64 MB more.
    """
    size = file.id.get_filesize()
    allowed = MOST_EXPANSION * size + ALWAYS_ALLOWED
    taken = 0
    for name, variable in own_variables(file, path):
        check_variable(variable, name, path)
        taken += bytes_in_memory(variable, allowed - taken)
        if taken > allowed:
            raise refused(
                path,
                f"up to {name!r} its variables take {taken:,} bytes of memory or more, and the "
                f"file has {size:,}",
            )


def own_variables(file, path: str | Path) -> Iterator[tuple]:
    """Name and `h5py.h5d.DatasetID` of every variable; raises InputError at the first link."""
    import h5py

    seen = {address(file.id)}
    groups = [("", file.id)]
    while groups:
        above, group = groups.pop()
        for link in group:
            name = f"{above}/{link.decode(errors='backslashreplace')}"
            kind = group.links.get_info(link).type
            if kind != h5py.h5l.TYPE_HARD:
                what = "name" if kind == h5py.h5l.TYPE_SOFT else "file"
                raise refused(path, f"{name!r} is a link to another {what}")
            found = h5py.h5o.open(group, link)
            if isinstance(found, h5py.h5d.DatasetID):
                yield name, found
            elif isinstance(found, h5py.h5g.GroupID):
                if address(found) in seen:
                    raise refused(path, f"the group {name!r} has another name too")
                seen.add(address(found))
                groups.append((name, found))


def address(group) -> tuple[int, int]:
    """What tells a group from others, whatever it is called."""
    import h5py

    info = h5py.h5o.get_info(group)
    return info.fileno, info.addr


def check_variable(variable, name: str, path: str | Path) -> None:
    """Raises InputError unless a variable is an array of numbers or strings in the file itself."""
    from h5py import h5d, h5t

    stored = variable.get_create_plist()
    if stored.get_external_count():
        elsewhere = stored.get_external(0)[0].decode(errors="backslashreplace")
        raise refused(path, f"the numbers of {name!r} lie in {elsewhere!r}")
    if stored.get_layout() == h5d.VIRTUAL:
        raise refused(path, f"the numbers of {name!r} lie in other files (a virtual dataset)")
    kind = variable.get_type()
    is_plain = kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.STRING)
    if not is_plain and not (kind.get_class() == h5t.OPAQUE and kind.get_size() <= WIDEST_OPAQUE):
        raise refused(path, f"{name!r} holds {variable.dtype}, no numbers and no strings")
    if has_strings_of_any_length(kind) and len(variable.shape or ()) > 1:
        raise refused(path, f"{name!r} holds a table of strings, and no list")


def bytes_in_memory(variable, most: int) -> int:
    """Bytes that a variable takes once it is read; strings are counted up to `most` bytes."""
    import h5py

    kind, shape = variable.get_type(), variable.shape
    if shape is None:
        return 0
    # Of Python's numbers: HDF5's own would overflow.
    taken = math.prod(shape) * kind.get_size()
    if not has_strings_of_any_length(kind):
        return taken
    # A file may hold one long string and name it many times over.
    strings = h5py.Dataset(variable)
    if not shape:
        return taken + len(strings[()])
    for start in range(0, shape[0], STRINGS_AT_ONCE):
        if taken > most:
            break
        taken += sum(map(len, strings[start : start + STRINGS_AT_ONCE]))
    return taken


def has_strings_of_any_length(kind) -> bool:
    """Whether an HDF5 type is that of strings that are stored apart."""
    from h5py import h5t

    return kind.get_class() == h5t.STRING and kind.is_variable_str()


def refused(path: str | Path, reason: str) -> InputError:
    """The error for a file that is not read."""
    return InputError(
        f"{path} is not read: {reason}. Expected arrays of numbers and strings that the file "
        "holds itself, such as repdyn and Keras write: ask whoever it is from for such a file."
    )

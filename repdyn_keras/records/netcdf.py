"""Writes NetCDF4 files, and reads them after checks, since they may be untrusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import file_state, write_bytes

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import xarray
    from h5py import h5d, h5g, h5t

# Version of the file format that is written, and the versions that are read.
SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)


def write_netcdf(dataset: xarray.Dataset, path: Path, *, compress: bool = False) -> None:
    """Writes a Dataset atomically, with the format version as an attribute.

    Args:
        dataset: the Dataset.
        path: the file.
        compress: whether to compress arrays of numbers.
    """
    write_bytes(Path(path), netcdf_bytes(dataset, compress=compress))


def netcdf_bytes(dataset: xarray.Dataset, *, compress: bool = False) -> bytes:
    """The content of a NetCDF4 file for a Dataset, with the format version as an attribute.

    The file is created in memory, since HDF5 does not report clearly that a disk is full.

    Args:
        dataset: the Dataset.
        compress: whether to compress arrays of numbers.
    """
    dataset = dataset.assign_attrs(schema_version=SCHEMA_VERSION)
    # With a fill value, xarray would read integers as floats.
    encoding: dict = {name: {"_FillValue": None} for name in dataset.variables}
    for name, variable in dataset.variables.items():
        # Tables of strings of variable length are not read, see `require_plain`.
        if variable.dtype.kind in "OU" and variable.ndim > 1:
            encoding[name]["dtype"] = "S1"
        elif compress and variable.ndim and variable.dtype.kind not in "OU":
            encoding[name] |= {"zlib": True, "shuffle": True}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def read_netcdf(path: Path) -> xarray.Dataset:
    """Reads a file into memory.

    Raises:
        InputError: the file is missing or damaged, has another format version, or is not
            self-contained.
    """
    import xarray

    with checked(Path(path)):
        with xarray.open_dataset(path, engine="h5netcdf") as dataset:
            require_version(scalar(dataset.attrs.get("schema_version")), path)
            return dataset.load()


def read_arrays(
    path: Path, names: Iterable[str], part: slice | tuple[slice, ...] | None = None
) -> dict[str, np.ndarray]:
    """Reads variables as plain arrays.

    The file is read as HDF5, which is many times faster than xarray. An analysis reads thousands of
    parts.

    Args:
        path: the file.
        names: names of variables; the result leaves out those that the file does not have.
        part: slices along the first dimensions; None reads whole variables.

    Raises:
        InputError: as for `read_netcdf`.
    """
    import h5py

    with checked(Path(path)):
        with h5py.File(path, "r") as file:
            require_version(scalar(file.attrs.get("schema_version")), path)
            index = () if part is None else part
            return {name: file[name][index] for name in names if name in file}


def read_attribute(path: Path, name: str, *, is_optional: bool = False) -> Any:
    """Reads one attribute of a file; raises InputError as `read_netcdf` does.

    Args:
        path: the file.
        name: the attribute.
        is_optional: whether to return None if there is no such attribute.
    """
    import h5py

    with checked(Path(path)):
        with h5py.File(path, "r") as file:
            require_version(scalar(file.attrs.get("schema_version")), path)
            if is_optional and name not in file.attrs:
                return None
            return scalar(file.attrs[name])


def scalar(value: Any) -> Any:
    """An HDF5 attribute as a Python scalar if it is an array of one element."""
    return value.item() if getattr(value, "size", 0) == 1 else value


def require_version(version: object, path: Path) -> None:
    """Raises InputError unless a file has a format version that this package reads."""
    if version not in READABLE_VERSIONS:
        expected = " or ".join(map(str, READABLE_VERSIONS))
        raise InputError(
            f"{path} has another format version. Expected {expected}. Received: {version!r}. "
            "Read it with the version of repdyn-keras that wrote it."
        )


@contextmanager
def checked(path: Path) -> Iterator[None]:
    """Checks that a file is self-contained; turns any error in the block into InputError."""
    if not path.is_file():
        raise InputError(f"No file {path}. Expected one written by repdyn. Received: no such file.")
    try:
        check_once(path, file_state(path))
        yield
    except InputError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, MemoryError and more
        raise InputError(
            f"{path} cannot be read. Expected a complete NetCDF file. Received: a damaged or "
            f"incomplete one ({type(error).__name__}: {error}). Move it away; the other records "
            "remain usable."
        ) from None


@lru_cache(maxsize=1 << 14)
def check_once(path: Path, state: tuple[int, int, int]) -> None:
    """Checks that a file is self-contained; repeats the check only if the file has changed."""
    import h5py

    with h5py.File(path, "r") as file:
        require_self_contained(file, path)


# Maximum bytes in memory per byte of the file, about the ratio of deflate for a constant array.
MAX_EXPANSION = 1000
# Bytes in memory that are allowed regardless of the size of the file.
ALWAYS_ALLOWED = 64 * 2**20
# Number of variable-length strings that are read at a time to measure them.
STRINGS_PER_BLOCK = MAX_EXPANSION
# Keras stores bfloat16 and narrower floats as opaque values with at most this many bytes.
MAX_OPAQUE_BYTES = 2


def require_self_contained(file: h5py.File, path: str | Path) -> None:
    """Raises InputError unless an HDF5 file consists of plain arrays of reasonable size.

    It neither follows links nor reads arrays. Call it before h5netcdf, xarray or Keras open the
    file, since they follow links when they list a group.

    Args:
        file: the open file.
        path: its path, for the error message.

    Raises:
        InputError: the file has a soft or external link; the values of a variable are stored in
            other files, or are neither numbers nor strings; or all variables together take more
            memory than 64 MiB plus 1000 times the size of the file.
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
    """Name and identifier of every variable; raises InputError if there is a link."""
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
    """Bytes that a variable takes in memory; stops counting strings once `limit` is exceeded."""
    import h5py

    kind, shape = variable.get_type(), variable.shape
    if shape is None:
        return 0
    # Python integers do not overflow.
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
    """Whether an HDF5 type is a variable-length string."""
    from h5py import h5t

    return kind.get_class() == h5t.STRING and kind.is_variable_str()


def rejection(path: str | Path, reason: str) -> InputError:
    """The error for a file that is rejected before it is read."""
    return InputError(
        f"{path} is not read. Expected arrays of numbers and strings stored in the file itself, as "
        f"repdyn and Keras write them. Received: {reason}. Ask the author of the file for such a "
        "file."
    )

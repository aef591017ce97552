"""Labelled arrays as NetCDF4 files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import file_state, write_bytes
from repdyn_keras.records.untrusted import require_self_contained

if TYPE_CHECKING:
    import numpy as np
    import xarray

# Version of the format of every file.
SCHEMA_VERSION = 1


def write_netcdf(dataset: xarray.Dataset, path: Path) -> None:
    """Writes a Dataset atomically, with the version of the format as an attribute."""
    write_bytes(Path(path), netcdf_bytes(dataset))


def netcdf_bytes(dataset: xarray.Dataset) -> bytes:
    """A Dataset as the content of a NetCDF4 file, with the version of the format as an attribute.

    It is made in memory, since HDF5 does not report clearly that a disk is full.
    """
    dataset = dataset.assign_attrs(schema_version=SCHEMA_VERSION)
    # With a fill value xarray would read integers back as floats.
    encoding = {name: {"_FillValue": None} for name in dataset.variables}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def read_netcdf(path: Path) -> xarray.Dataset:
    """Reads a file into memory.

    Raises:
        InputError: the file is missing, damaged, of another format version, or refers to others.
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

    The file is read as HDF5, many times faster than by xarray. An analysis reads thousands of
    parts.

    Args:
        path: the file.
        names: variables; those that the file does not have are left out of the result.
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


def read_attribute(path: Path, name: str) -> Any:
    """Reads one attribute of a file; raises InputError as `read_netcdf` does."""
    import h5py

    with checked(Path(path)):
        with h5py.File(path, "r") as file:
            require_version(scalar(file.attrs.get("schema_version")), path)
            return scalar(file.attrs[name])


def scalar(value: Any) -> Any:
    """An HDF5 attribute as a Python scalar if it is an array of one element."""
    return value.item() if getattr(value, "size", 0) == 1 else value


def require_version(version: object, path: Path) -> None:
    """Raises InputError unless the version of a file's format is the one of this package."""
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has another format version. Expected {SCHEMA_VERSION}. Received: {version!r}. "
            "Read it with the version of repdyn-keras that wrote it."
        )


@contextmanager
def checked(path: Path) -> Iterator[None]:
    """Checks that a file is self-contained; any failure in the block becomes an InputError."""
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
    """Checks that a file is self-contained, once for each of its states."""
    import h5py

    with h5py.File(path, "r") as file:
        require_self_contained(file, path)

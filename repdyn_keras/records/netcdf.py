"""Labelled arrays as NetCDF4 files."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import write_bytes
from repdyn_keras.records.schema import SCHEMA_VERSION, check_schema
from repdyn_keras.records.untrusted import refuse_outside


def write_netcdf(dataset, path: Path) -> None:
    """Writes an `xarray.Dataset` whole, with the format's version as an attribute."""
    write_bytes(Path(path), netcdf_bytes(dataset))


def netcdf_bytes(dataset) -> bytes:
    """An `xarray.Dataset` as the bytes of a file, with the format's version as an attribute.

    Made in memory: HDF5 does not say plainly when the disk under its own file is full.
    """
    dataset = dataset.assign_attrs(schema_version=SCHEMA_VERSION)
    # With a fill value xarray would read integers back as floats.
    encoding = {name: {"_FillValue": None} for name in dataset.variables}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def read_netcdf(path: Path):
    """The file's `xarray.Dataset`, in memory.

    Raises:
        InputError: the file is missing, unreadable, half-written, or of another format version.
    """
    import xarray

    with own_arrays(Path(path)):
        with xarray.open_dataset(path, engine="h5netcdf") as dataset:
            check_schema(dataset.attrs.get("schema_version"), path)
            return dataset.load()


def read_arrays(
    path: Path, names: Iterable[str], part: slice | tuple[slice, ...] | None = None
) -> dict:
    """Some variables of a file as plain arrays, without their labels.

    Read as HDF5, which NetCDF4 is: many times faster than a labelled read, which counts where
    thousands of parts are read.

    Args:
        path: the file.
        names: variables; those that the file lacks are left out.
        part: entries along the first dimensions; None reads all.

    Raises:
        InputError: as for `read_netcdf`.
    """
    import h5py

    with own_arrays(Path(path)):
        with h5py.File(path, "r") as file:
            check_schema(plain(file.attrs.get("schema_version")), path)
            index = () if part is None else part
            return {name: file[name][index] for name in names if name in file}


def read_attribute(path: Path, name: str):
    """One attribute of a file; raises InputError as `read_netcdf` does."""
    import h5py

    with own_arrays(Path(path)):
        with h5py.File(path, "r") as file:
            check_schema(plain(file.attrs.get("schema_version")), path)
            return plain(file.attrs[name])


def plain(value):
    """An attribute as HDF5 gives it, out of an array of one."""
    return value.item() if getattr(value, "size", 0) == 1 else value


@contextmanager
def own_arrays(path: Path) -> Iterator[None]:
    """`readable`, of a file that holds what it holds itself: a stranger's may lead elsewhere."""
    with readable(path):
        state = path.stat()
        look_into(path, (state.st_mtime_ns, state.st_size, state.st_ino))
        yield


@lru_cache(maxsize=1 << 14)
def look_into(path: Path, state: tuple) -> None:
    """Looks for links and bombs in a file, once in each state of it."""
    import h5py

    with h5py.File(path, "r") as file:
        refuse_outside(file, path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns any failure to read a file inside the block into an InputError that names it."""
    if not path.is_file():
        raise InputError(f"No file {path}. Expected one written by repdyn.")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, MemoryError and more
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is damaged or only half "
            "written. Set it aside; the other records stay usable."
        ) from None

"""The run folder: the paths of its files, reading and writing them, and new folders."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repdyn_keras.config import DATASETS, NETWORKS, Config, load_config
from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import atomic
from repdyn_keras.records.atomic import PARTIAL, storage_errors
from repdyn_keras.records.checksums import Checksums
from repdyn_keras.records.epoch_files import (
    RECORD_NAME,
    WEIGHTS_SUFFIX,
    epoch_name,
    with_float_epochs,
)
from repdyn_keras.records.netcdf import netcdf_bytes, read_arrays, read_attribute, read_netcdf
from repdyn_keras.records.tables import TableFile

if TYPE_CHECKING:
    import xarray

# Maximum number of characters of a data set or a model in the name of a folder.
MAX_NAME_PART = 80


class RunFolder:
    """The files of one run.

    Files and folders are created on first write, and read on use.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_file = self.path / "run.toml"
        self.replay_file = self.path / "record.toml"
        self.history_file = self.path / "history.csv"
        self.timing_file = self.path / "timing.csv"
        self.records = self.path / "records"
        self.constants_file = self.records / "constants.nc"
        self.checkpoint_file = self.path / "checkpoint" / "state.nc"
        self.weights = self.path / "weights"
        self.dynamics_file = self.path / "dynamics.nc"
        self.figures = self.path / "figures"
        self.report_file = self.path / "report.html"
        self.set_aside_folder = self.path / "set_aside"
        self.checksums = Checksums(self.path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def record_file(self, epoch: float) -> Path:
        """The path of an epoch's record."""
        return self.records / f"{epoch_name(epoch)}.nc"

    def weights_file(self, epoch: float) -> Path:
        """The path of an epoch's saved weights."""
        return self.weights / f"{epoch_name(epoch)}{WEIGHTS_SUFFIX}"

    def epochs(self) -> list[float]:
        """The recorded epochs, ascending; those of early records are not whole."""
        if not self.records.is_dir():
            return []
        matches = (RECORD_NAME.fullmatch(file.name) for file in self.records.iterdir())
        return sorted(float(match[1]) for match in matches if match)

    def require_records(self) -> RunFolder:
        """Returns this folder; raises InputError unless it holds records."""
        if not self.path.is_dir():
            raise InputError(
                f"No folder {self.path}. Expected a run folder, such as `repdyn run` creates under "
                "runs/. Received: a path that is not a folder."
            )
        if not self.holds_records():
            received = "a folder without them."
            if self.dynamics_file.is_file():
                received = "results alone. A study keeps the records with --keep records."
            raise InputError(
                f"{self.path} holds no records. Expected a run folder with records/constants.nc "
                f"and at least one records/epoch-*.nc. Received: {received}"
            )
        return self

    def holds_records(self) -> bool:
        """Whether there are records: the runs of a study keep only their results by default."""
        return self.constants_file.is_file() and bool(self.epochs())

    def require_results(self) -> RunFolder:
        """Returns this folder; raises InputError unless it holds records or `dynamics.nc`."""
        return self if self.dynamics_file.is_file() else self.require_records()

    def is_replay(self) -> bool:
        """Whether `repdyn record` created the folder."""
        return self.replay_file.is_file()

    def settings_file(self) -> Path | None:
        """`run.toml` or, of a replay, `record.toml`; None if a callback recorded the run."""
        files = (self.config_file, self.replay_file)
        return next((file for file in files if file.is_file()), None)

    def size(self) -> int:
        """Size of all files in bytes; 0 if the folder does not exist."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    # Writing.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the folder inside a block; raises the errors of `lock`."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def lock(self) -> None:
        """Acquires the lock, and removes the partial files of a killed writer.

        Raises:
            InputError: another process holds the lock.
            StorageError: the folder is not writable.
        """
        atomic.acquire_lock(self.path)
        try:
            for file in self.partial_files():
                file.unlink(missing_ok=True)
            self.checksums.confirm_last()
        except BaseException:
            self.unlock()
            raise

    def unlock(self) -> None:
        """Releases the lock."""
        atomic.release_lock(self.path)

    def partial_files(self) -> list[Path]:
        """Temporary files of interrupted writes."""
        suffixes = (PARTIAL, WEIGHTS_SUFFIX)
        return sorted(p for s in suffixes for p in self.path.rglob(f".*{s}") if p.is_file())

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file of this folder atomically, with its checksum.

        Raises:
            StorageError: the file cannot be written. It is unchanged.
        """
        with self._announcing(path) as announce:
            atomic.write_bytes(path, data, before_replace=announce)

    @contextmanager
    def writing(self, path: Path, suffix: str) -> Iterator[Path]:
        """Like `write`, for functions that take a path; yields a temporary one with this suffix."""
        with self._announcing(path) as announce:
            with atomic.replacing(path, suffix, before_replace=announce) as temporary:
                yield temporary

    @contextmanager
    def _announcing(self, path: Path) -> Iterator[Callable[[Path], None]]:
        """Yields a function that announces a file; corrects the checksums after an error."""
        self.create_parent(path)
        try:
            yield partial(self.checksums.announce_file, path)
        except BaseException:
            # If the disk is full, the next writer corrects them.
            with suppress(OSError, StorageError):
                self.checksums.confirm_last()
            raise

    def create_parent(self, path: Path) -> None:
        """Creates the folder of a file; raises StorageError if a link leads out of this folder."""
        parent = path.parent.resolve()
        if not parent.is_relative_to(self.path.resolve()):
            raise StorageError(
                f"Cannot write to {path.parent}. Expected a folder inside {self.path}. Received: a "
                f"symbolic link to {parent}, which is not followed. Remove it."
            )
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)

    def set_aside(self, path: Path) -> Path:
        """Moves a file to `set_aside/` under an unused name; returns the new path."""
        target, number = self.set_aside_folder / path.name, 1
        self.create_parent(target)
        while target.exists():
            number += 1
            target = self.set_aside_folder / f"{number}-{path.name}"
        # In this order, the next writer moves the file if this process is killed in between.
        self.checksums.announce_removal(path)
        with storage_errors(target):
            os.replace(path, target)
        return target

    def set_aside_recording(self) -> bool:
        """Moves the constants, all records and `dynamics.nc` to `set_aside/`.

        Returns:
            Whether there were any.
        """
        # The constants last, so that a recording that is partly moved is never continued.
        records = [self.record_file(epoch) for epoch in self.epochs()]
        files = [self.dynamics_file, *records, self.constants_file]
        moved = [self.set_aside(file) for file in files if file.is_file()]
        return bool(moved)

    def remove_record(self, epoch: float) -> None:
        """Deletes one epoch's record."""
        path = self.record_file(epoch)
        self.checksums.announce_removal(path)
        with storage_errors(path):
            path.unlink()
            atomic.sync(path.parent)

    def table(self, path: Path, columns: tuple[str, ...]) -> TableFile:
        """A CSV file of this folder that supports appending rows."""
        return TableFile(path, columns, self.checksums)

    def write_constants(self, dataset: xarray.Dataset) -> None:
        """Writes `records/constants.nc`."""
        self.write(self.constants_file, netcdf_bytes(dataset))

    def write_record(self, epoch: float, dataset: xarray.Dataset) -> None:
        """Writes one epoch's record."""
        self.write(self.record_file(epoch), netcdf_bytes(dataset))

    def write_dynamics(self, dataset: xarray.Dataset) -> None:
        """Writes `dynamics.nc`."""
        self.write(self.dynamics_file, netcdf_bytes(dataset))

    # Reading. All methods raise InputError if a file is missing, damaged or unreadable.

    def constants(self) -> xarray.Dataset:
        """The constants of all epochs: evaluation images, planes, layers, classes."""
        return read_netcdf(self.checksums.check(self.constants_file))

    def record(self, epoch: float) -> xarray.Dataset:
        """One epoch's record."""
        return read_netcdf(self.checked_record(epoch))

    def checked_record(self, epoch: float) -> Path:
        """The path of an epoch's record; raises InputError if it is damaged."""
        return self.checksums.check(self.record_file(epoch))

    def series(self, epochs: list[float], names: Iterable[str]) -> dict[str, np.ndarray]:
        """Variables of several records, stacked along a first dimension of epochs.

        Variables that some records lack are left out.
        """
        names = list(names)
        rows = [read_arrays(self.checked_record(epoch), names) for epoch in epochs]
        common = [name for name in names if all(name in row for row in rows)]
        return {name: np.stack([row[name] for row in rows]) for name in common}

    def fingerprints(
        self, epochs: list[float], layers: slice, pairs: slice = slice(None)
    ) -> np.ndarray:
        """(epoch, layer, pair) fingerprints, or slices of them, of selected layers."""
        stacked = np.zeros(0)
        for index, epoch in enumerate(epochs):
            fingerprint = self._fingerprint(epoch, (layers, pairs))
            if index == 0:
                stacked = np.zeros((len(epochs), *fingerprint.shape), fingerprint.dtype)
            if fingerprint.shape != stacked.shape[1:]:
                raise InputError(
                    f"{self.record_file(epoch)} belongs to another recording. Expected "
                    f"fingerprints of shape {stacked.shape[1:]}. Received: {fingerprint.shape}. "
                    "Move it away."
                )
            stacked[index] = fingerprint
        return stacked

    def fingerprint_length(self, epoch: float) -> int:
        """The number of pairs in each layer's fingerprint."""
        return self._fingerprint(epoch, slice(0, 1)).shape[1]

    def _fingerprint(self, epoch: float, part: slice | tuple[slice, ...]) -> np.ndarray:
        return self.part(epoch, "fingerprint", part)

    def part(self, epoch: float, name: str, part: slice | tuple[slice, ...]) -> np.ndarray:
        """A part of a variable of an epoch's record, by slices along its first dimensions."""
        return read_arrays(self.checked_record(epoch), [name], part)[name]

    def recorded_layers(self, epoch: float) -> list[str]:
        """The names of the layers in an epoch's record."""
        names = read_arrays(self.checked_record(epoch), ["layer"])["layer"]
        return [n.decode() if isinstance(n, bytes) else str(n) for n in names.tolist()]

    def recorded_hash(self, epoch: float) -> str:
        """The hash of the weights in an epoch's record."""
        return read_attribute(self.checked_record(epoch), "weights_hash")

    def recorded_attribute(self, epoch: float, name: str) -> Any:
        """An attribute of an epoch's record; None if it has none of this name."""
        return read_attribute(self.checked_record(epoch), name, is_optional=True)

    def recorded_images_hash(self, epoch: float) -> str:
        """The hash of the evaluation images in an epoch's record."""
        return read_attribute(self.checked_record(epoch), "images_hash")

    def dynamics(self) -> xarray.Dataset:
        """The content of `dynamics.nc`, with epochs as float64."""
        return with_float_epochs(read_netcdf(self.checksums.check(self.dynamics_file)))

    def dynamics_are_current(self) -> bool:
        """Whether `dynamics.nc` exists and is no older than any record."""
        if not self.dynamics_file.is_file():
            return False
        files = [self.constants_file, *map(self.record_file, self.epochs())]
        newest = max(file.stat().st_mtime_ns for file in files)
        return self.dynamics_file.stat().st_mtime_ns >= newest

    def checkpoint(self) -> xarray.Dataset | None:
        """The last checkpoint; None if there is none."""
        if not self.checkpoint_file.is_file():
            return None
        return read_netcdf(self.checksums.check(self.checkpoint_file))

    def config(self) -> dict:
        """The keys of `run.toml`; empty if there is none, as in a folder that a callback wrote."""
        if not self.config_file.is_file():
            return {}
        # Versions that did not write the key recorded none.
        return {"early_records": 0, **load_config(self.checksums.check(self.config_file))}

    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`; empty if there is none."""
        if not self.history_file.is_file():
            return []
        with self.checksums.check(self.history_file).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


# New folders.


def choose_folder(name: str, out: str | Path | None) -> Path:
    """The folder of a new run: `out`, else runs/NAME, or runs/NAME-2 and so on if it exists.

    Raises:
        InputError: `out` exists.
    """
    if out is not None:
        path = Path(out).expanduser()
        if path.exists():
            raise InputError(
                f"{path} exists. Expected a new folder, so that nothing is overwritten. Received: "
                "an existing path. Choose another --out, or continue the existing run with "
                "--resume."
            )
        return path
    base = Path("runs") / name
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def create_numbered(path: Path) -> Path:
    """Creates `path` with -2, -3, ... in its name, the first that does not exist."""
    number = 1
    atomic.make_folder(path.parent)
    with storage_errors(path):
        while True:
            number += 1
            created = path.with_name(f"{path.name}-{number}")
            with suppress(FileExistsError):
                created.mkdir()
                return created


def run_name(config: Config) -> str:
    """The default folder name of a run: data set, model, optimizer and seed."""
    data, network = DATASETS.find(config.dataset), NETWORKS.find(config.model)
    dataset = file_name_part(data.short_name(config.dataset)) or data.name
    model = file_name_part(network.short_name(config.model)) or "model"
    return f"{dataset}-{model}-{config.optimizer}-s{config.seed}"


def file_name_part(text: str) -> str:
    """Text as part of a file name: letters, digits, `_`, `.` and `-`, of limited length."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:MAX_NAME_PART].strip("-.")


def create_folder(path: Path, file_name: str, text: str) -> RunFolder:
    """Atomically creates a run folder with its configuration file.

    Raises:
        InputError: the folder cannot be created, or another process just created it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            RunFolder(temporary).write(temporary / file_name, text.encode("utf-8"))
            os.rename(temporary, path)
            atomic.sync(path.parent)
    except OSError as error:
        raise InputError(
            f"Cannot create the folder {path}. Expected a new folder in a writable location. "
            f"Received: {error.strerror}. Choose one with --out DIR."
        ) from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
    return RunFolder(path)

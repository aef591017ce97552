"""A run's folder: what lies where, and what of it is there."""

import csv
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from repdyn_keras.config import load_config
from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records.atomic import HALF_WRITTEN, storage, whole_file, write_bytes
from repdyn_keras.records.checksums import Checksums
from repdyn_keras.records.lock import FolderLock
from repdyn_keras.records.netcdf import (
    netcdf_bytes,
    read_arrays,
    read_attribute,
    read_netcdf,
)
from repdyn_keras.records.tables import TableFile

RECORD_NAME = re.compile(r"epoch-(\d{6,})\.nc")
WEIGHTS_ENDING = ".weights.h5"


class RunFolder:
    """Paths and contents of one run's folder.

    Nothing is created or read before it is asked for.

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
        self.aside = self.path / "set_aside"
        self.checksums = Checksums(self.path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def record_file(self, epoch: int) -> Path:
        """The path of an epoch's record."""
        return self.records / f"epoch-{epoch:06d}.nc"

    def epochs(self) -> list[int]:
        """The recorded epochs, ascending."""
        if not self.records.is_dir():
            return []
        found = (RECORD_NAME.fullmatch(file.name) for file in self.records.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def require_records(self) -> "RunFolder":
        """This folder; raises InputError unless it holds records."""
        if not self.path.is_dir():
            raise InputError(
                f"No folder {self.path}. Expected a run folder, such as `repdyn run` makes "
                "under runs/."
            )
        if not self.constants_file.is_file() or not self.epochs():
            raise InputError(
                f"{self.path} holds no records. Expected a run folder with "
                "records/constants.nc and at least one records/epoch-*.nc."
            )
        return self

    # Writing.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the right to write to this folder; raises InputError where another has it."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def lock(self) -> None:
        """Takes the right to write, and clears away what a killed writer left half-written."""
        FolderLock(self.path).acquire()
        try:
            for leftover in self.leftovers():
                leftover.unlink(missing_ok=True)
            self.checksums.settle()
        except BaseException:
            self.unlock()
            raise

    def unlock(self) -> None:
        """Gives the right to write back."""
        FolderLock(self.path).release()

    def leftovers(self) -> list[Path]:
        """Files that were never finished."""
        endings = (HALF_WRITTEN, WEIGHTS_ENDING)
        return sorted(p for e in endings for p in self.path.rglob(f".*{e}") if p.is_file())

    def write(self, path: Path, data: bytes) -> None:
        """Writes one of the folder's files whole, with its checksum; see `whole_file`."""
        self.make_room_for(path)
        try:
            write_bytes(path, data, sealed=lambda part: self.checksums.announce_file(path, part))
        except BaseException:
            self.settle_if_possible()
            raise

    @contextmanager
    def writing(self, path: Path, ending: str) -> Iterator[Path]:
        """`write` for what wants a path: a temporary one, whose file then becomes `path`."""
        self.make_room_for(path)
        try:
            with whole_file(
                path, ending, sealed=lambda part: self.checksums.announce_file(path, part)
            ) as temporary:
                yield temporary
        except BaseException:
            self.settle_if_possible()
            raise

    def make_room_for(self, path: Path) -> None:
        """Makes the folder of one of this folder's files; a link must not lead out of it."""
        if not path.parent.resolve().is_relative_to(self.path.resolve()):
            raise StorageError(
                f"{path.parent} is a link that leads out of {self.path}. Expected a folder: "
                "nothing is written there."
            )
        with storage(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)

    def settle_if_possible(self) -> None:
        """After a write that failed: on a full disk the next writer does it."""
        try:
            self.checksums.settle()
        except (OSError, StorageError):
            pass

    def set_aside(self, path: Path) -> Path:
        """Moves a file to `set_aside/`, under a name that is free there; returns where it is."""
        self.make_room_for(self.aside / path.name)
        target, number = self.aside / path.name, 1
        while target.exists():
            number += 1
            target = self.aside / f"{number}-{path.name}"
        # In this order a kill between the two leaves a file that is moved the next time.
        self.checksums.forget(path)
        with storage(target):
            os.replace(path, target)
        return target

    def table(self, path: Path, columns: tuple[str, ...]) -> TableFile:
        """One of the folder's CSV files, to be appended to."""
        return TableFile(path, columns, self.checksums)

    # Reading.

    def constants(self):
        """What is the same at every epoch, as an `xarray.Dataset`."""
        return read_netcdf(self.checksums.check(self.constants_file))

    def write_constants(self, dataset) -> None:
        """Writes what is the same at every epoch."""
        self.write(self.constants_file, netcdf_bytes(dataset))

    def record(self, epoch: int):
        """One epoch's record as an `xarray.Dataset`."""
        return read_netcdf(self.sound_record(epoch))

    def sound_record(self, epoch: int) -> Path:
        """The path of an epoch's record; raises InputError where it is damaged."""
        return self.checksums.check(self.record_file(epoch))

    def series(self, epochs: list[int], names: Iterable[str]) -> dict[str, np.ndarray]:
        """Variables of several records, stacked along a first dimension of epochs.

        Variables that a record lacks are left out.
        """
        rows = [read_arrays(self.sound_record(epoch), names) for epoch in epochs]
        common = [name for name in names if all(name in row for row in rows)]
        return {name: np.stack([row[name] for row in rows]) for name in common}

    def fingerprints(
        self, epochs: list[int], layers: slice, pairs: slice = slice(None)
    ) -> np.ndarray:
        """(epoch, layer, pair) fingerprints of some layers, or of them some entries."""
        name, found = "fingerprint", None
        for place, epoch in enumerate(epochs):
            one = read_arrays(self.sound_record(epoch), [name], (layers, pairs))[name]
            if found is None:
                found = np.zeros((len(epochs), *one.shape), one.dtype)
            if one.shape != found.shape[1:]:
                raise InputError(
                    f"{self.record_file(epoch)} is of another recording: its fingerprints have "
                    f"the shape {one.shape}. Expected {found.shape[1:]}; set it aside."
                )
            found[place] = one
        return found

    def fingerprint_length(self, epoch: int) -> int:
        """The number of entries of each layer's fingerprint."""
        name = "fingerprint"
        first = read_arrays(self.sound_record(epoch), [name], slice(0, 1))[name]
        return first.shape[1]

    def recorded_layers(self, epoch: int) -> list[str]:
        """The names of the layers that an epoch's record holds."""
        names = read_arrays(self.sound_record(epoch), ["layer"])["layer"]
        return [n.decode() if isinstance(n, bytes) else str(n) for n in names.tolist()]

    def recorded_hash(self, epoch: int) -> str:
        """The hash of the weights that an epoch's record was made of."""
        return read_attribute(self.sound_record(epoch), "weights_hash")

    def recorded_images(self, epoch: int) -> str:
        """The hash of the images that an epoch's record is of."""
        return read_attribute(self.sound_record(epoch), "images_hash")

    def write_record(self, epoch: int, dataset) -> None:
        """Writes one epoch's record whole."""
        self.write(self.record_file(epoch), netcdf_bytes(dataset))

    def dynamics(self):
        """The `xarray.Dataset` of `dynamics.nc`."""
        return read_netcdf(self.checksums.check(self.dynamics_file))

    def write_dynamics(self, dataset) -> None:
        """Writes `dynamics.nc` whole."""
        self.write(self.dynamics_file, netcdf_bytes(dataset))

    def checkpoint(self):
        """The `xarray.Dataset` of the last checkpoint, or None where there is none yet."""
        if not self.checkpoint_file.is_file():
            return None
        return read_netcdf(self.checksums.check(self.checkpoint_file))

    def weights_file(self, epoch: int) -> Path:
        """The path of an epoch's kept weights."""
        return self.weights / f"epoch-{epoch:06d}{WEIGHTS_ENDING}"

    def config(self) -> dict:
        """The keys of `run.toml`; empty where the run came from a callback and has none."""
        if not self.config_file.is_file():
            return {}
        return load_config(self.checksums.check(self.config_file))

    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`; empty where there is none."""
        if not self.history_file.is_file():
            return []
        with self.checksums.check(self.history_file).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def is_replay(self) -> bool:
        """Whether the folder was made by `repdyn record`."""
        return self.replay_file.is_file()

    def dynamics_are_current(self) -> bool:
        """Whether `dynamics.nc` is there and no older than any record."""
        if not self.dynamics_file.is_file():
            return False
        files = [self.constants_file, *map(self.record_file, self.epochs())]
        newest = max(file.stat().st_mtime_ns for file in files)
        return self.dynamics_file.stat().st_mtime_ns >= newest

"""A run's folder: what lies where, and what of it is there."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from repdyn_keras.config import load_config
from repdyn_keras.errors import InputError
from repdyn_keras.records.netcdf import (
    read_arrays,
    read_attribute,
    read_netcdf,
    write_netcdf,
)

RECORD_NAME = re.compile(r"epoch-(\d{6,})\.nc")


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
        self.weights = self.path / "weights"
        self.dynamics_file = self.path / "dynamics.nc"
        self.figures = self.path / "figures"

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

    def constants(self):
        """What is the same at every epoch, as an `xarray.Dataset`."""
        return read_netcdf(self.constants_file)

    def write_constants(self, dataset) -> None:
        """Writes what is the same at every epoch."""
        self.records.mkdir(parents=True, exist_ok=True)
        write_netcdf(dataset, self.constants_file)

    def record(self, epoch: int):
        """One epoch's record as an `xarray.Dataset`."""
        return read_netcdf(self.record_file(epoch))

    def series(self, epochs: list[int], names: Iterable[str]) -> dict[str, np.ndarray]:
        """Variables of several records, stacked along a first dimension of epochs.

        Variables that a record lacks are left out.
        """
        rows = [read_arrays(self.record_file(epoch), names) for epoch in epochs]
        common = [name for name in names if all(name in row for row in rows)]
        return {name: np.stack([row[name] for row in rows]) for name in common}

    def fingerprints(self, epochs: list[int], layers: slice) -> np.ndarray:
        """(epoch, layer, pair) fingerprints of some layers."""
        name = "fingerprint"
        return np.stack([read_arrays(self.record_file(e), [name], layers)[name] for e in epochs])

    def recorded_layers(self, epoch: int) -> list[str]:
        """The names of the layers that an epoch's record holds."""
        names = read_arrays(self.record_file(epoch), ["layer"])["layer"]
        return [n.decode() if isinstance(n, bytes) else str(n) for n in names.tolist()]

    def recorded_hash(self, epoch: int) -> str:
        """The hash of the weights that an epoch's record was made of."""
        return read_attribute(self.record_file(epoch), "weights_hash")

    def recorded_images(self, epoch: int) -> str:
        """The hash of the images that an epoch's record is of."""
        return read_attribute(self.record_file(epoch), "images_hash")

    def write_record(self, epoch: int, dataset) -> None:
        """Writes one epoch's record whole."""
        self.records.mkdir(parents=True, exist_ok=True)
        write_netcdf(dataset, self.record_file(epoch))

    def config(self) -> dict:
        """The keys of `run.toml`; empty where the run came from a callback and has none."""
        return load_config(self.config_file) if self.config_file.is_file() else {}

    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`; empty where there is none."""
        if not self.history_file.is_file():
            return []
        with self.history_file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def dynamics_are_current(self) -> bool:
        """Whether `dynamics.nc` is there and no older than any record."""
        if not self.dynamics_file.is_file():
            return False
        files = [self.constants_file, *map(self.record_file, self.epochs())]
        newest = max(file.stat().st_mtime_ns for file in files)
        return self.dynamics_file.stat().st_mtime_ns >= newest

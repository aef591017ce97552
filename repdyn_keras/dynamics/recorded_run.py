"""A run folder, opened for reading."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.dynamics.analysis import compute_dynamics
from repdyn_keras.records import RunFolder

if TYPE_CHECKING:
    import xarray


class Run:
    """A run folder with its results; needs no backend.

    Args:
        folder: the folder, with at least two files in `records/`.

    Raises:
        InputError: there is no such folder, or it holds no records.

    Example:
        >>> open_run("runs/digits-resnet-sgd-s0").dynamics["cka"]  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path):
        self.folder = RunFolder(folder).require_records()

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}, {len(self.epochs)} recorded epochs)"

    @property
    def epochs(self) -> list[int]:
        """The recorded epochs."""
        return self.folder.epochs()

    @property
    def config(self) -> dict:
        """The keys of `run.toml`; empty for a run recorded by a callback alone."""
        return self.folder.config()

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, NaN where a row has no value.

        Empty for a run recorded by a callback alone.
        """
        return [
            {name: float(text) if text else float("nan") for name, text in row.items()}
            for row in self.folder.history()
        ]

    @cached_property
    def dynamics(self) -> "xarray.Dataset":
        """The `xarray.Dataset` of `dynamics.nc`, computed in memory where the file is outdated."""
        if self.folder.dynamics_are_current():
            stored = self.folder.dynamics()
            # An extended run removes records, and leaves this file unchanged.
            if stored.indexes["epoch"].tolist() == self.epochs:
                return stored
        return compute_dynamics(self.folder)


def open_run(folder: str | Path) -> Run:
    """Opens a run's folder for reading.

    Args:
        folder: the folder of a run, finished or not.

    Returns:
        The run; its `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: there is no such folder, or it holds no records.
    """
    return Run(folder)

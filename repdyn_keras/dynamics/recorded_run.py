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
        folder: the run folder, which must hold records.

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
        """The keys of `run.toml`; empty if only a callback recorded the run."""
        return self.folder.config()

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, with NaN for missing values.

        Empty if only a callback recorded the run.
        """
        return [
            {name: float(text) if text else float("nan") for name, text in row.items()}
            for row in self.folder.history()
        ]

    @cached_property
    def dynamics(self) -> "xarray.Dataset":
        """The `xarray.Dataset` of `dynamics.nc`; computed in memory if the file is outdated."""
        if self.folder.dynamics_are_current():
            stored = self.folder.dynamics()
            # Extending a run may remove a record without changing this file.
            if stored.indexes["epoch"].tolist() == self.epochs:
                return stored
        return compute_dynamics(self.folder)


def open_run(folder: str | Path) -> Run:
    """Opens a run folder for reading.

    Args:
        folder: the folder of a finished or unfinished run.

    Returns:
        The run; its `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: there is no such folder, or it holds no records.
    """
    return Run(folder)

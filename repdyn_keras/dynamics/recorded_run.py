"""A run folder, opened for reading."""

import csv
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.dynamics.analysis import compute_dynamics
from repdyn_keras.dynamics.phase_descriptions import PhaseDescription, describe_phases
from repdyn_keras.errors import InputError
from repdyn_keras.records import SCHEMA_VERSION, RunFolder
from repdyn_keras.text import format_error

if TYPE_CHECKING:
    import xarray


class Run:
    """A run folder with its results; needs no backend.

    Args:
        folder: the run folder, which must hold records or `dynamics.nc`.

    Raises:
        InputError: there is no such folder, or it holds neither.

    Example:
        >>> open_run("runs/digits-resnet-sgd-s0").dynamics["cka"]  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path):
        self.folder = RunFolder(folder).require_results()

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}, {len(self.epochs)} recorded epochs)"

    def _repr_html_(self) -> str:
        """What a notebook shows: what the run was, what happened, and its learning curves."""
        from repdyn_keras.dynamics.notebook_view import run_html

        return run_html(self)

    @property
    def epochs(self) -> list[int]:
        """The recorded epochs."""
        if not self.folder.holds_records():
            return self.dynamics.indexes["epoch"].tolist()
        return self.folder.epochs()

    @property
    def config(self) -> dict:
        """The keys of `run.toml`; empty if only a callback recorded the run."""
        return self.folder.config()

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, with NaN for missing values.

        Empty if only a callback recorded the run.

        Raises:
            InputError: the file is damaged, or holds something other than numbers.
        """
        try:
            return [
                {name: float(text) if text else float("nan") for name, text in row.items()}
                for row in self.folder.history()
            ]
        except (csv.Error, TypeError, ValueError) as error:
            raise InputError(
                f"Expected a table of numbers in {self.folder.history_file}. Received: "
                f"{format_error(error)}. Move it away."
            ) from None

    def known_history(self) -> tuple[list[dict[str, float]], str]:
        """The rows of `history`, and an empty text; no rows and the error if it is damaged."""
        try:
            return self.history, ""
        except InputError as error:
            return [], str(error)

    def phases(self, similarity: str = "cka") -> list[PhaseDescription]:
        """Every phase of every layer: its epochs, its border, and what the network did in it.

        Args:
            similarity: "cka" or "region_agreement".

        Raises:
            InputError: the similarity is unknown, or the run has no decision regions.
        """
        return describe_phases(self.dynamics, self.history, similarity)

    @cached_property
    def dynamics(self) -> "xarray.Dataset":
        """The `xarray.Dataset` of `dynamics.nc`; computed in memory if the file is outdated.

        It is outdated if a record is newer, or if an earlier version of this package wrote it.
        Without records, as in a study that kept only results, it is used as it is.
        """
        if not self.folder.holds_records():
            return self.folder.dynamics()
        if self.folder.dynamics_are_current():
            stored = self.folder.dynamics()
            is_current = stored.attrs["schema_version"] == SCHEMA_VERSION
            # Extending a run may remove a record without changing this file.
            if is_current and stored.indexes["epoch"].tolist() == self.epochs:
                return stored
        return compute_dynamics(self.folder)


def open_run(folder: str | Path) -> Run:
    """Opens a run folder for reading.

    Args:
        folder: the folder of a finished or unfinished run.

    Returns:
        The run; its `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: there is no such folder, or it holds neither records nor `dynamics.nc`.
    """
    return Run(folder)

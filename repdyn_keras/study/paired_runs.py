"""The runs of a study, by cell and seed, as findings read them from its summary."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, quoted, visible

# What findings read, with the dims of each variable.
BY_BLOCK = ("run", "similarity", "reading", "layer")
BY_BORDER = (*BY_BLOCK, "border")
VARIABLES: dict[str, tuple[str, ...]] = {
    "is_block": ("run", "layer"),
    "position": ("run", "layer"),
    "distinguishability": BY_BLOCK,
    "noise_share": BY_BLOCK,
    "change": BY_BLOCK,
    "border_epoch": BY_BORDER,
    "border_u": BY_BORDER,
    "border_kind": BY_BORDER,
    "border_z": BY_BORDER,
    "border_contrast": BY_BORDER,
    "border_restlessness": BY_BORDER,
    "synchronization_mean": ("run", "similarity", "reading"),
    "n_records": ("run", "reading"),
    "perfect_fit_epoch": ("run",),
    "memorized_10_epoch": ("run",),
    "memorized_90_epoch": ("run",),
    "test_fall": ("run",),
    "test_recovery": ("run",),
    "images_hash": ("run",),
}
COORDINATES = ("run", "cell", "seed", "model", "optimizer", "similarity", "reading")
SIMILARITIES = ("cka", "region_agreement")
READINGS = ("aligned", "recalibrated", "raw")
# Keys of which all runs of a study must have the same value.
COMMON_KEYS = ("dataset", "label_noise", "n_train")

# (run,) a number of every run, from the runs, a similarity and a reading.
RunValue = Callable[["PairedRuns", str, str], np.ndarray]


class NotTestable(Exception):
    """The study has not what a claim needs; the message says what."""


class NotComparable(Exception):
    """Cells of the study must not be compared; the message says why."""


class PairedRuns:
    """The runs of a study by cell and seed.

    Args:
        summary: of a study.

    Attributes:
        names: (run,) names of the runs.
        cells: (run,) names of the cells.
        seeds: (seed,) all seeds, ascending.
        configurations: the configuration of every cell, without seeds.
        is_calibrated: whether the learning rates were calibrated.
        not_comparable: cells that calibration found not comparable; they have no runs.
        missing: why each run that is left out is missing, by name.

    Raises:
        InputError: the summary lacks variables or runs, has two runs of one cell and seed, or its
            runs do not have the same data.
    """

    def __init__(self, summary: xr.Dataset):
        _check_variables(summary)
        self._summary = summary
        self._place = {
            name: {str(value): index for index, value in enumerate(summary[name].values)}
            for name in ("similarity", "reading")
        }
        self._arrays: dict[str, np.ndarray] = {}
        self._values: dict[tuple[RunValue, str, str], np.ndarray] = {}
        self.names = [str(name) for name in summary["run"].values]
        self.cells = [str(cell) for cell in summary["cell"].values]
        run_seeds = summary["seed"].values.astype(int)
        self.seeds = np.unique(run_seeds)
        self._run_seed = np.searchsorted(self.seeds, run_seeds)
        self.configurations: dict[str, Mapping[str, Any]] = _attribute(summary, "cells", {})
        self.is_calibrated = bool(str(summary.attrs.get("calibration", "")).strip())
        self.not_comparable: list[str] = _attribute(summary, "not_comparable", [])
        self.missing: dict[str, str] = _attribute(summary, "missing", {})
        configured = [self.configurations.get(cell) for cell in self.cells]
        if not all(isinstance(keys, dict) for keys in (*configured, *self.configurations.values())):
            raise InputError(
                "Expected the keys of every cell in the attribute cells of the summary. Received: "
                f"{quoted(summary.attrs.get('cells'))}."
            )
        self._networks = self._networks_of_cells()
        self._check_runs()
        self._rows = {cell: self._row(cell) for cell in dict.fromkeys(self.cells)}

    def array(self, name: str, similarity: str = "", reading: str = "") -> np.ndarray:
        """A variable as an array that starts with the dimension run.

        Args:
            name: of the variable, one of `VARIABLES`.
            similarity, reading: selected where the variable has these dims.
        """
        if name not in self._arrays:
            dims = VARIABLES[name]
            variable = self._summary[name].transpose(*dims)
            self._arrays[name] = variable.values
        values = self._arrays[name]
        for dim, label in (("similarity", similarity), ("reading", reading)):
            if dim in VARIABLES[name]:
                values = np.take(values, self._place[dim][label], axis=1)
        return values

    def has(self, similarity: str, reading: str) -> bool:
        """Whether any run was measured by this similarity in this reading."""
        if similarity not in self._place["similarity"] or reading not in self._place["reading"]:
            return False
        return bool(np.isfinite(self.array("distinguishability", similarity, reading)).any())

    def values(self, value: RunValue, similarity: str, reading: str) -> np.ndarray:
        """(run,) a number of every run, computed once; NaN where it is not defined."""
        key = (value, similarity, reading)
        if key not in self._values:
            self._values[key] = value(self, similarity, reading)
        return self._values[key]

    def set_values(self, value: RunValue, similarity: str, reading: str, found: np.ndarray) -> None:
        """Replaces what `values` returns, for simulations."""
        self._values[value, similarity, reading] = found

    def by_seed(self, cell: str, values: np.ndarray) -> np.ndarray:
        """(seed,) the value of the cell's run with each seed; NaN where there is none.

        Args:
            cell: name of the cell.
            values: (run,) of all runs.
        """
        found = np.full(len(self.seeds), np.nan)
        row = self._rows.get(cell)
        if row is not None:
            found[row >= 0] = values[row[row >= 0]]
        return found

    def mean_by_seed(self, cells: Sequence[str], values: np.ndarray) -> np.ndarray:
        """(seed,) the mean over cells; NaN where one of them has no value."""
        return np.mean([self.by_seed(cell, values) for cell in cells], axis=0)

    def cell(self, model: str, optimizer: str) -> str:
        """The cell of an architecture and an optimizer.

        Raises:
            NotTestable: there is no such cell, or more than one.
            NotComparable: calibration found the cell not comparable.
        """
        found = [cell for cell, pair in self._networks.items() if pair == (model, optimizer)]
        if not found:
            raise NotTestable(f"The study has no cell with {model} and {optimizer}.")
        if len(found) > 1:
            raise NotTestable(
                f"The study has more than one cell with {model} and {optimizer}: "
                f"{format_names(map(visible, found))}."
            )
        if found[0] in self.not_comparable:
            raise NotComparable(
                f"Calibration found no learning rate of {visible(found[0])} with which it fits "
                "the training images as fast as the others."
            )
        return found[0]

    def _networks_of_cells(self) -> dict[str, tuple[str, str]]:
        models = [str(model) for model in self._summary["model"].values]
        optimizers = [str(optimizer) for optimizer in self._summary["optimizer"].values]
        pairs = list(zip(models, optimizers, strict=True))
        found = {
            cell: (str(keys.get("model")), str(keys.get("optimizer")))
            for cell, keys in self.configurations.items()
        }
        # A cell without runs may be known by its name alone, such as "vit adam".
        for cell in self.not_comparable:
            words = cell.split()
            if cell not in found and len(words) >= 2:
                found[cell] = (words[0], words[1])
        return found | dict(zip(self.cells, pairs, strict=True))

    def _row(self, cell: str) -> np.ndarray:
        row = np.full(len(self.seeds), -1)
        for index, name in enumerate(self.cells):
            if name == cell:
                row[self._run_seed[index]] = index
        return row

    def _check_runs(self) -> None:
        seen: dict[tuple[str, int], int] = {}
        hashes = self.array("images_hash")
        first: dict[int, int] = {}
        for index, (name, cell) in enumerate(zip(self.names, self.cells, strict=True)):
            seed = int(self._run_seed[index])
            other = seen.setdefault((cell, seed), index)
            if other != index:
                raise InputError(
                    "Expected one run of each cell and seed. Received: two of "
                    f"{quoted(cell)} with seed {self.seeds[seed]}: {quoted(self.names[other])} and "
                    f"{quoted(name)}."
                )
            one = first.setdefault(seed, index)
            if hashes[one] != hashes[index]:
                raise InputError(
                    "Runs of different evaluation images cannot be paired. Expected the same "
                    "images in all runs of a seed. Received: different images in "
                    f"{quoted(self.names[one])} and {quoted(name)}."
                )
        present = list(dict.fromkeys(self.cells))
        for key in COMMON_KEYS:
            held = {cell: self.configurations.get(cell, {}).get(key) for cell in present}
            for cell, value in held.items():
                if value != held[present[0]]:
                    raise InputError(
                        f"Runs of different data cannot be compared. Expected one value of {key} "
                        f"in all cells. Received: {quoted(held[present[0]])} in "
                        f"{quoted(present[0])}, {quoted(value)} in {quoted(cell)}."
                    )


def _check_variables(summary: xr.Dataset) -> None:
    absent = [name for name in VARIABLES if name not in summary.data_vars]
    absent += [name for name in COORDINATES if name not in summary.coords]
    absent += [
        name
        for name, dims in VARIABLES.items()
        if name in summary.data_vars and set(summary[name].dims) != set(dims)
    ]
    if absent:
        raise InputError(
            "Expected the summary of a study, with all variables of this version. Received: a "
            f"Dataset in which these are absent or have other dims: {format_names(absent)}."
        )
    if summary.sizes["run"] == 0:
        raise InputError(
            "Expected at least one finished run in the summary. Received: none. Finish the study "
            "first."
        )


def _attribute(summary: xr.Dataset, name: str, empty: Any) -> Any:
    """A JSON attribute; `empty`, which gives its type, where it is absent."""
    text = summary.attrs.get(name)
    try:
        found = json.loads(text) if text else empty
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, type(empty)):
        kind = "object" if isinstance(empty, dict) else "list"
        raise InputError(
            f"Expected a JSON {kind} in the attribute {name} of the summary. "
            f"Received: {quoted(text)}."
        )
    return found

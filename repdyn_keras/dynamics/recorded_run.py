"""A run folder, opened for reading."""

import csv
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from repdyn_keras.dynamics.analysis import compute_dynamics, described
from repdyn_keras.dynamics.image_lists import image_list
from repdyn_keras.dynamics.phase_descriptions import PhaseDescription, describe_phases
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.records import SCHEMA_VERSION, RunFolder
from repdyn_keras.records.epoch_files import recorded_epoch
from repdyn_keras.text import format_error

if TYPE_CHECKING:
    import pandas
    import xarray


class FittedProbe(NamedTuple):
    """A linear probe.

    Attributes:
        kernel: (d, classes) float32.
        bias: (classes,) float32.
    """

    kernel: np.ndarray
    bias: np.ndarray


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
    def epochs(self) -> list[float]:
        """The recorded epochs; those of early records are not whole."""
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

    def images(self, order: str | None = None) -> "pandas.DataFrame":
        """The images on which the probes were fitted, with what their histories amount to.

        Args:
            order: "suspects", "late" or "forgotten", as the options of `repdyn images`; None for
                all images, the most suspicious labels first.

        Returns:
            `pandas.DataFrame`, indexed by `image_id`, with the columns `label_given`, `label_true`
            (if it is known), `label_before`, `suspicion`, `area_under_margin`, `learned_epoch`,
            `forgetting_events`, `prediction_depth` (at the last record) and the other variables of
            one value per image.

        Raises:
            InputError: the order is unknown, or the run has no histories of images.
        """
        return image_list(self.dynamics, order)

    def probe(self, layer: str, epoch: float) -> FittedProbe:
        """The linear probe of a hidden layer at a recorded epoch.

        It maps the layer's pooled features x (n, d) to logits x @ kernel + bias.

        Args:
            layer: name of a hidden layer.
            epoch: a recorded epoch.

        Returns:
            `kernel` (d, classes) and `bias` (classes,), float32; NaN where the layer's features
            were not finite.

        Raises:
            InputError: the layer or the epoch is unknown, or the run has no probes.
        """
        constants = self.folder.require_records().constants()
        recorded = recorded_epoch(epoch, self.epochs, self.folder.path)
        hidden = constants["layer"].values.tolist()[:-1]
        if "probe_width" not in constants:
            raise InputError(
                f"Expected a run with probes, which need labels. Received: {self.folder.path}, "
                "which was recorded without labels."
            )
        if layer not in hidden:
            raise unknown("hidden layer", layer, hidden)
        classes = int(constants.attrs["n_classes"])
        sizes = (constants["probe_width"].values + 1) * classes
        place = hidden.index(layer)
        start = int(sizes[:place].sum())
        part = slice(start, start + int(sizes[place]))
        weights = self.folder.part(recorded, "probe_weights", part).reshape(-1, classes)
        return FittedProbe(weights[:-1], weights[-1])

    def fingerprints(self, layer: str) -> "xarray.DataArray":
        """The fingerprints of a layer, whose cosines are its CKA between epochs.

        Args:
            layer: name of a layer, or "output".

        Returns:
            `xarray.DataArray` (epoch, pair), float32; the attribute `batch` is the number of images
            in a batch, of which `pair` are the pairs i < j, one batch after the other.

        Raises:
            InputError: the layer is unknown, or the run kept no records.
        """
        import xarray

        constants = self.folder.require_records().constants()
        layers = constants["layer"].values.tolist()
        if layer not in layers:
            raise unknown("layer", layer, layers)
        place = layers.index(layer)
        values = self.folder.fingerprints(self.epochs, slice(place, place + 1))[:, 0]
        return xarray.DataArray(
            values,
            dims=("epoch", "pair"),
            coords={"epoch": self.epochs},
            name="fingerprint",
            attrs={"batch": int(constants.attrs["batch"]), "layer": layer},
        )

    @cached_property
    def dynamics(self) -> "xarray.Dataset":
        """The `xarray.Dataset` of `dynamics.nc`; computed in memory if the file is outdated.

        It is outdated if a record is newer, or if an earlier version of this package wrote it.
        Without records, as in a study that kept only results, it is used as it is.
        """
        if not self.folder.holds_records():
            return described(self.folder.dynamics())
        if self.folder.dynamics_are_current():
            stored = self.folder.dynamics()
            is_current = stored.attrs["schema_version"] == SCHEMA_VERSION
            # Extending a run may remove a record without changing this file.
            if is_current and stored.indexes["epoch"].tolist() == self.epochs:
                return described(stored)
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

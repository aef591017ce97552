"""The records of a run, and all results that measures compute from them."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from repdyn_keras.config import NETWORKS
from repdyn_keras.errors import InputError
from repdyn_keras.measures import Dims, labelled, measure_names, on_request, registered, requested
from repdyn_keras.measures.cka_null import given_labels
from repdyn_keras.records import SCHEMA_VERSION, RunFolder
from repdyn_keras.records.netcdf import read_attribute
from repdyn_keras.text import format_names


class RecordSeries:
    """The records of a run folder; implements `measures.Series`.

    Args:
        folder: a folder with records.

    Attributes:
        variables: the variables computed so far, each (dims, array).

    Raises:
        InputError: a record is unreadable or belongs to another recording.
    """

    def __init__(self, folder: RunFolder):
        folder.require_records()
        self.folder = folder
        self.constants = folder.constants()
        self.layers: list[str] = self.constants["layer"].values.tolist()
        self.epochs = folder.epochs()
        self.variables: dict[str, tuple[Dims, np.ndarray]] = {}
        for epoch in self.epochs:
            check_record(folder, epoch, self.layers, self.constants.attrs["images_hash"])

    @property
    def blocks(self) -> np.ndarray:
        """(layer,) whether a layer is a block of the network."""
        if "is_block" in self.constants:
            return self.constants["is_block"].values.astype(bool)
        # Earlier versions did not record `is_block`.
        model = self.folder.config().get("model")
        pattern = NETWORKS.find(model).blocks if model else None
        return np.array(
            [
                name != self.layers[-1] and (pattern is None or bool(re.fullmatch(pattern, name)))
                for name in self.layers
            ]
        )

    def recorded(self, *names: str) -> dict[str, np.ndarray]:
        """Variables of the records, stacked along a first dimension `epoch`."""
        return self.folder.series(self.epochs, names)

    def each(self, name: str, part: tuple[slice, ...]) -> Iterator[np.ndarray]:
        """A part of a variable of the records, one record after another."""
        return (self.folder.part(epoch, name, part) for epoch in self.epochs)

    def fingerprints(self, layers: slice, pairs: slice) -> np.ndarray:
        """(epoch, layer, pair) part of the fingerprints."""
        return self.folder.fingerprints(self.epochs, layers, pairs)

    def features(self, layer: int) -> np.ndarray:
        """(epoch, n, d) features of the evaluation images in a layer."""
        widths = self.folder.series(self.epochs[:1], ["feature_width"])["feature_width"][0]
        start = int(widths[:layer].sum())
        part = slice(start, start + int(widths[layer]))
        found = np.stack(list(self.each("features", (part,))))
        if found.ndim != 3 or found.shape[1:] != (widths[layer], len(self.constants["sample"])):
            raise InputError(
                f"Expected {widths[layer]} features of {len(self.constants['sample'])} images in "
                f"the layer {self.layers[layer]!r}. Received: {self.folder.records}, with features "
                f"of shape {found.shape[1:]}. Move the records away."
            )
        return found.swapaxes(1, 2)

    @property
    def fingerprint_length(self) -> int:
        """Number of pairs in a fingerprint."""
        return self.folder.fingerprint_length(self.epochs[0])

    def computed(self, name: str) -> np.ndarray | None:
        """A variable that was computed from the records, or None."""
        return self.variables[name][1] if name in self.variables else None


def check_record(folder: RunFolder, epoch: float, layers: list[str], images: str) -> None:
    """Raises InputError unless a record has the layers and images of the folder's constants."""
    stored = folder.recorded_layers(epoch)
    if stored != layers:
        raise InputError(
            f"Expected records of the layers {format_names(layers, limit=20)}. Received: "
            f"{folder.record_file(epoch)}, which holds {format_names(stored, limit=20)}. It "
            "belongs to another recording: move it away."
        )
    if folder.recorded_images_hash(epoch) != images:
        raise InputError(
            f"Expected records of the images of {folder.constants_file}. Received: "
            f"{folder.record_file(epoch)}, which has other images. It belongs to another "
            "recording: move it away."
        )


# The attribute of constants and results that names the measures on request.
MEASURES = "measures"
# Attributes of the constants that are copied to the results.
DESCRIPTION = ("batch", "n_classes", "margin", "resolution", "pooling", "batch_norm", "images_hash")
# Attributes that only some recordings have.
OPTIONAL = ("output_classes", "channel_axis", "planes_chosen")
# Variables that are no measure's, with their long names and units.
MEANINGS = {
    "is_block": ("whether the layer is a block of the network", "1"),
    "plane_sample": ("ids of the three images of the plane", "1"),
    "plane_label": ("true classes of the three images", "class"),
    "plane_label_given": ("given labels of the three images", "class"),
    "plane_position": ("row and column of the three images on the grid", "grid point"),
    "plane_image": ("the three images as the network receives them", "1"),
    "layer": ("layer", "1"),
    "layer_other": ("other layer", "1"),
    "epoch": ("epochs trained", "epoch"),
    "epoch_other": ("epochs trained, of the other state", "epoch"),
    "statistic": ("mean and standard deviation of the null", "1"),
    "bound": ("bound of the interval", "1"),
    "subset": ("subset of images", "1"),
}
PLANES = ("plane_sample", "plane_label", "plane_position", "plane_image")


def analyze(
    folder: RunFolder,
    progress: Callable[[str], None] | None = None,
    measures: str | Iterable[str] | None = None,
):
    """Computes a run's dynamics and writes `dynamics.nc`; see `compute_dynamics`."""
    dynamics = compute_dynamics(folder, progress, measures)
    folder.write_dynamics(dynamics)
    return dynamics


def compute_dynamics(
    folder: RunFolder,
    progress: Callable[[str], None] | None = None,
    measures: str | Iterable[str] | None = None,
):
    """Computes all results of a run from its records, without a backend.

    Args:
        folder: a folder with records.
        progress: called with the title of each measure.
        measures: similarities to compute as well, such as "rsa", beside those that the recorder was
            asked for and those that `dynamics.nc` already holds.

    Returns:
        `xarray.Dataset` with `cka`, `region_agreement`, `region_kappa` (layer, epoch,
        epoch_other), `regions`, `fragments`, `probe_accuracy`, `phase`, `synchronization` and
        more; attributes `perfect_fit_epoch`, `memorized_share`, `synchronization_mean`.

    Raises:
        InputError: a record is unreadable or belongs to another recording; or a measure is unknown,
            or needs features that the records do not hold.
    """
    import xarray

    series = RecordSeries(folder)
    constants, layers, epochs = series.constants, series.layers, series.epochs
    sizes = {"layer": len(layers), "layer_other": len(layers)}
    sizes |= {"epoch": len(epochs), "epoch_other": len(epochs)}
    attributes: dict[str, Any] = {}
    names = sorted({*measure_names(measures), *kept_measures(folder, constants)})
    if names:
        attributes[MEASURES] = " ".join(names)
    chosen = requested(names)
    check_features(series, [measure.name for measure in chosen if measure.needs_features])
    for measure in chosen:
        if measure.over_epochs is None:
            continue
        if progress is not None:
            progress(measure.title)
        arrays = dict(measure.over_epochs(series))
        attributes |= {name: arrays.pop(name) for name in measure.attributes if name in arrays}
        series.variables |= labelled(measure, arrays, measure.computed, sizes)
    variables: dict[str, Any] = dict(series.variables)
    coordinates = {"layer": layers, "epoch": epochs, "epoch_other": epochs, "layer_other": layers}
    coordinates["bound"] = ["lower", "upper"]
    if names:
        coordinates["statistic"] = ["mean", "deviation"]
    variables["is_block"] = ("layer",), series.blocks.astype(np.uint8)
    if "probe_accuracy" in variables:
        coordinates["subset"] = constants["subset"].values.tolist()
    if "plane_sample" in constants:
        variables |= {name: constants[name].variable for name in PLANES}
        if "plane_label_given" in constants:
            variables["plane_label_given"] = constants["plane_label_given"].variable
        else:
            variables |= given_labels_of_corners(constants)
    if "class_name" in constants:
        attributes["class_names"] = constants["class_name"].values.tolist()
    attributes |= {name: constants.attrs[name] for name in DESCRIPTION}
    attributes |= {name: constants.attrs[name] for name in OPTIONAL if name in constants.attrs}
    dynamics = xarray.Dataset(
        variables,
        coords=coordinates,
        attrs={**attributes, "title": title(folder), "schema_version": SCHEMA_VERSION},
    )
    return described(dynamics)


def described(dynamics):
    """A run's Dataset with the long names and units of its variables.

    Earlier versions did not store them. Those that are stored are kept.
    """
    dynamics = dynamics.copy()
    meanings = MEANINGS | {k: v for measure in registered() for k, v in measure.meanings.items()}
    for name in set(meanings) & set(dynamics.variables):
        words = dict(zip(("long_name", "units"), meanings[name], strict=True))
        dynamics[name].attrs = words | dynamics[name].attrs
    return dynamics


def kept_measures(folder: RunFolder, constants) -> list[str]:
    """The measures on request that were recorded for, or that `dynamics.nc` holds already.

    A file that cannot be read holds none. Measures of later versions are left out.
    """
    names = str(constants.attrs.get(MEASURES, "")).split()
    if folder.dynamics_file.is_file():
        with suppress(InputError):
            path = folder.checksums.check(folder.dynamics_file)
            held = str(read_attribute(path, MEASURES, is_optional=True) or "").split()
            names += [name for name in held if name in on_request()]
    return names


def check_features(series: RecordSeries, names: list[str]) -> None:
    """Raises InputError if measures need features, and a record holds none."""
    if not names:
        return
    widths = series.recorded("feature_width").get("feature_width")
    if widths is None or widths.shape[1:] != (len(series.layers),):
        raise InputError(
            f"Expected records with features of every layer, for {format_names(names)}. Received: "
            f"{series.folder.records}, without them. Record the training anew with "
            f"measures=({names[0]!r},) or, in `repdyn run` and `repdyn record`, "
            f"--set measures={names[0]}."
        )


def given_labels_of_corners(constants) -> dict[str, Any]:
    """`plane_label_given` (plane, corner), the given labels of the planes' images, if known.

    Earlier versions did not record it; their corners are evaluation images.
    """
    samples, given = constants["sample"].values, given_labels(constants)
    if given is None:
        return {}
    order = np.argsort(samples)
    corners = order[np.searchsorted(samples, constants["plane_sample"].values, sorter=order)]
    return {"plane_label_given": (("plane", "corner"), given[corners])}


def title(folder: RunFolder) -> str:
    """Data set, network, optimizer and seed of a run, or the name of its folder."""
    config = folder.config()
    parts = [str(config[name]) for name in ("dataset", "model", "optimizer") if name in config]
    if "seed" in config:
        parts.append(f"seed {config['seed']}")
    return ", ".join(parts) or folder.path.resolve().name

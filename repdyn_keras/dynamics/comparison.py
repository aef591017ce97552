"""Comparison of two runs, by CKA and by decision regions: between layers, and between epochs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.recorded_run import Run
from repdyn_keras.dynamics.region_comparison import (
    NOT_ASKED,
    Planes,
    region_similarities,
    regions_at,
    regions_differ,
    regions_of,
)
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures.cka import cosines
from repdyn_keras.measures.cka_null import class_null, given_labels, null_deviation
from repdyn_keras.records import SCHEMA_VERSION, RunFolder
from repdyn_keras.records.epoch_files import recorded_epoch

if TYPE_CHECKING:
    import xarray

MEASURES = ("cka", "region_agreement", "region_kappa")
PLANES_REMEDY = (
    "Record both with the same data set, data_seed, planes, resolution and margin, or leave the "
    "regions out."
)


def compare(
    a: Run,
    b: Run,
    epochs: Iterable[tuple[float, float]] | None = None,
    layers: Iterable[tuple[str, str]] | None = None,
    regions: bool | None = None,
) -> "xarray.Dataset":
    """Compares two runs with the same evaluation images, by CKA and by regions; needs no backend.

    The runs may differ in architecture, optimizer, seed, label noise and backend. Decision regions
    are compared if both runs recorded them on the same planes. A run can be compared with itself,
    which compares its own epochs and layers.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), figure 5, which compares layers of two
    networks; here with the estimator of `cka`. Somepalli et al. 2022 (arXiv 2203.08124),
    reproducibility score, which is the agreement of the regions of `output`; here of every layer's
    probe too.

    Args:
        a, b: the runs.
        epochs: pairs of recorded epochs, of the first and of the second run, at which all layers
            are compared; None for the first epochs, the epochs of the perfect fit (if both runs
            have one), and the last epochs.
        layers: pairs of layer names, of the first and of the second run, whose epochs are
            compared; None for every name that both runs have. The output is always `output`.
        regions: whether to compare decision regions; None: if both runs have the same planes.

    Returns:
        `xarray.Dataset` with `cka_layers` (moment, layer_a, layer_b) and `cka_epochs` (match,
        recorded_a, recorded_b); NaN where a layer is dead or not finite. For each, the standard
        deviation for unrelated representations, `..._null`, and the similarity that is owed to
        class structure alone, `..._null_class`; the latter only if both runs have the same given
        labels. With the same dims `region_agreement_layers`, `region_agreement_epochs`,
        `region_kappa_layers` and `region_kappa_epochs`; NaN where a layer has undefined regions.
        For each, the 95% interval over the choice of planes, `..._interval` (..., bound); NaN if
        both runs recorded planes that were chosen.
        Attributes `title_a`, `title_b`, `perfect_fit_epoch_a`, `perfect_fit_epoch_b`,
        `images_hash`, and `regions_missing`, why regions were not compared, or an empty text.

    Raises:
        InputError: the runs recorded different images, an epoch or a layer is not recorded, or
            `regions` are required of runs without common planes.
    """
    import xarray

    constants = a.folder.require_records().constants(), b.folder.require_records().constants()
    check_same_images(*constants, str(a.folder.path), str(b.folder.path))
    names = [dataset["layer"].values.tolist() for dataset in constants]
    dynamics = [run.dynamics for run in (a, b)]
    moments = list(epochs) if epochs is not None else default_moments(dynamics)
    matches = list(layers) if layers is not None else [(n, n) for n in names[0] if n in names[1]]
    if not moments or not matches:
        raise InputError(
            "Expected at least one pair of epochs and one pair of layers, or None for the default. "
            f"Received: {len(moments)} pairs of epochs and {len(matches)} pairs of layers."
        )
    requested_epochs = zip((a, b), zip(*moments, strict=True), strict=True)
    moments = list(zip(*(recorded_epochs(*each) for each in requested_epochs), strict=True))
    for run, known, requested in zip((a, b), names, zip(*matches, strict=True), strict=True):
        for name in requested:
            if name not in known:
                raise unknown(f"layer of {run.folder.path}", name, known)
    planes = Planes.of(dynamics[0]), Planes.of(dynamics[1])
    missing = NOT_ASKED if regions is False else regions_differ(*planes)
    if missing and regions:
        raise InputError(
            f"Expected {a.folder.path} (A) and {b.folder.path} (B) to have the same planes, so "
            f"that regions can be compared. Received: {missing}. {PLANES_REMEDY}"
        )
    batch = int(constants[0].attrs["batch"])
    labels = common_labels(*constants)
    layers_found = [
        similarity(
            epoch_fingerprints(a.folder, one), epoch_fingerprints(b.folder, two), batch, labels
        )
        for one, two in moments
    ]
    epochs_found = [
        similarity(
            layer_fingerprints(a, names[0].index(one)),
            layer_fingerprints(b, names[1].index(two)),
            batch,
            labels,
        )
        for one, two in matches
    ]
    titles = [dataset.attrs["title"] for dataset in dynamics]
    if titles[0] == titles[1]:
        # They may differ in label noise or something else that is not in the title.
        folders = folder_names([a, b])
        titles = [f"{title} ({name})" for title, name in zip(titles, folders, strict=True)]
    bounds = {}
    if not missing:
        n_classes = int(dynamics[0].attrs["n_classes"])
        are_chosen = all(each is None or each.are_chosen for each in planes)
        bounds["bound"] = ["lower", "upper"]
        for found, (one, two) in zip(layers_found, moments, strict=True):
            maps = regions_at(dynamics[0], one), regions_at(dynamics[1], two)
            found |= region_similarities(*maps, n_classes, are_chosen)
        for found, (match_a, match_b) in zip(epochs_found, matches, strict=True):
            maps = regions_of(dynamics[0], match_a), regions_of(dynamics[1], match_b)
            found |= region_similarities(*maps, n_classes, are_chosen)
    return xarray.Dataset(
        {
            **stacked(layers_found, "layers", ("moment", "layer_a", "layer_b")),
            **stacked(epochs_found, "epochs", ("match", "recorded_a", "recorded_b")),
        },
        coords={
            "epoch_a": ("moment", [epoch for epoch, _ in moments]),
            "epoch_b": ("moment", [epoch for _, epoch in moments]),
            "layer_a": names[0],
            "layer_b": names[1],
            "match_a": ("match", [name for name, _ in matches]),
            "match_b": ("match", [name for _, name in matches]),
            "recorded_a": a.epochs,
            "recorded_b": b.epochs,
            **bounds,
        },
        attrs={
            "title_a": titles[0],
            "title_b": titles[1],
            "perfect_fit_epoch_a": dynamics[0].attrs["perfect_fit_epoch"],
            "perfect_fit_epoch_b": dynamics[1].attrs["perfect_fit_epoch"],
            "batch": batch,
            "images_hash": constants[0].attrs["images_hash"],
            "regions_missing": missing,
            "schema_version": SCHEMA_VERSION,
        },
    )


def similarity(
    one: np.ndarray, other: np.ndarray, batch: int, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """CKA between fingerprints (m, pairs) and (k, pairs), and its null values, by name."""
    found = {"cka": cosines(one, other), "cka_null": null_deviation(one, other, batch)}
    if labels is not None:
        found["cka_null_class"] = class_null(one, other, labels, batch)
    return found


def stacked(found: Sequence[dict[str, np.ndarray]], kind: str, dims: tuple[str, ...]) -> dict:
    """Variables (dims, array) from similarities by name, such as `cka_layers_null`."""
    variables = {}
    for name in found[0]:
        measure = next(measure for measure in MEASURES if name.startswith(measure))
        values = np.stack([results[name] for results in found])
        bound = ("bound",) if name.endswith("_interval") else ()
        variables[f"{measure}_{kind}{name.removeprefix(measure)}"] = (*dims, *bound), values
    return variables


def common_labels(*constants) -> np.ndarray | None:
    """The given labels in the constants of recordings; None if they differ or are missing."""
    first, *others = map(given_labels, constants)
    if first is None:
        return None
    same = (labels is not None and np.array_equal(first, labels) for labels in others)
    return first if all(same) else None


def check_same_images(a, b, name_a: str, name_b: str) -> None:
    """Raises InputError unless two recordings have the same images in the same order."""
    ids_a, ids_b = a["sample"].values, b["sample"].values
    if not np.array_equal(ids_a, ids_b):
        common = len(np.intersect1d(ids_a, ids_b))
        difference = (
            "the same images in a different order"
            if len(ids_a) == len(ids_b) == common
            else f"{len(ids_a)} and {len(ids_b)} images with {common} ids in common"
        )
    elif a.attrs["images_hash"] != b.attrs["images_hash"]:
        difference = "images with the same ids but different pixels"
    elif a.attrs["batch"] != b.attrs["batch"]:
        difference = f"batches of {a.attrs['batch']} and {b.attrs['batch']} images"
    else:
        return
    raise InputError(
        f"Expected {name_a} and {name_b} to have the same evaluation images in the same batches. "
        f"Received: {difference}. Record both with the same data set, data_seed, n_train, "
        "n_eval and cka_batch."
    )


def folder_names(runs: Sequence[Run]) -> list[str]:
    """Names of run folders, with as many outer folders as make different ones different."""
    parts = [run.folder.path.resolve().parts for run in runs]
    different = len(set(parts))
    depth = 1
    while len({own[-depth:] for own in parts}) < different:
        depth += 1
    return ["/".join(own[-depth:]) for own in parts]


def default_moments(dynamics: Sequence) -> list[tuple[float, float]]:
    """Pairs of the first epochs, the perfect fits (if both runs have one) and the last epochs."""
    recorded = [dataset["epoch"].values.tolist() for dataset in dynamics]
    fits = [dataset.attrs["perfect_fit_epoch"] for dataset in dynamics]
    moments = [(recorded[0][0], recorded[1][0])]
    if not np.isnan(fits).any():
        moments.append((float(fits[0]), float(fits[1])))
    moments.append((recorded[0][-1], recorded[1][-1]))
    return list(dict.fromkeys(moments))


def recorded_epochs(run: Run, epochs: Iterable[float]) -> list[float]:
    """The recorded epochs that are meant; raises InputError unless a run recorded all of them."""
    return [recorded_epoch(epoch, run.epochs, run.folder.path) for epoch in epochs]


def epoch_fingerprints(folder: RunFolder, epoch: float) -> np.ndarray:
    """(layer, pair) fingerprints at an epoch; NaN where a layer is dead or not finite."""
    prints = folder.fingerprints([epoch], slice(None))[0]
    state = folder.series([epoch], ["finite", "dead"])
    return np.where((state["finite"] > state["dead"])[0][:, None], prints, np.nan)


def layer_fingerprints(run: Run, index: int, epochs: Sequence | None = None) -> np.ndarray:
    """(epoch, pair) fingerprints of one layer; NaN where it is dead or not finite.

    Args:
        run: the run.
        index: of the layer.
        epochs: recorded epochs; None for all.
    """
    chosen = run.epochs if epochs is None else list(epochs)
    prints = run.folder.fingerprints(chosen, slice(index, index + 1))[:, 0]
    state = run.folder.series(chosen, ["finite", "dead"])
    usable = (state["finite"] > state["dead"])[:, index]
    return np.where(usable[:, None], prints, np.nan)

"""Comparison of two runs on the same images by CKA: layers with layers, epochs with epochs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.recorded_run import Run
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures.cka import cosines, null_deviation
from repdyn_keras.records import SCHEMA_VERSION, RunFolder

if TYPE_CHECKING:
    import xarray


def compare(
    a: Run,
    b: Run,
    epochs: Iterable[tuple[int, int]] | None = None,
    layers: Iterable[tuple[str, str]] | None = None,
) -> "xarray.Dataset":
    """CKA between two runs with the same evaluation images; needs no backend.

    The runs may differ in architecture, optimizer, seed and backend.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), figure 5: layers of two networks; with the
    estimator of `cka`.

    Args:
        a, b: the runs.
        epochs: recorded epochs of the first and the second run at which all layers are compared;
            None for the initializations, the epochs of perfect fit (where both runs have one), and
            the last epochs.
        layers: names in the first and the second run whose epochs are compared; None for every
            name that is in both.

    Returns:
        `xarray.Dataset` with `cka_layers` (moment, layer_a, layer_b), its deviation for unrelated
        representations `cka_layers_null`, and `cka_epochs` (match, recorded_a, recorded_b); NaN
        where a layer is dead. Attributes `title_a`, `title_b`, `perfect_fit_epoch_a`,
        `perfect_fit_epoch_b`, `images_hash`.

    Raises:
        InputError: the runs recorded other images, or an epoch or a layer is not recorded.
    """
    import xarray

    constants = a.folder.constants(), b.folder.constants()
    check_same_images(*constants, str(a.folder.path), str(b.folder.path))
    names = [found["layer"].values.tolist() for found in constants]
    dynamics = [run.dynamics for run in (a, b)]
    moments = list(epochs) if epochs is not None else default_moments(dynamics)
    matches = list(layers) if layers is not None else [(n, n) for n in names[0] if n in names[1]]
    if not moments or not matches:
        raise InputError(
            "Expected at least one pair of epochs and one pair of layers, or None for the default. "
            f"Received: {len(moments)} pairs of epochs and {len(matches)} pairs of layers."
        )
    for run, asked in zip((a, b), zip(*moments, strict=True), strict=True):
        check_epochs(run, asked)
    for run, known, asked in zip((a, b), names, zip(*matches, strict=True), strict=True):
        for name in asked:
            if name not in known:
                raise unknown(f"layer of {run.folder.path}", name, known)
    batch = int(constants[0].attrs["batch"])
    between, null = [], []
    for epoch_a, epoch_b in moments:
        one, other = epoch_fingerprints(a.folder, epoch_a), epoch_fingerprints(b.folder, epoch_b)
        between.append(cosines(one, other))
        null.append(null_deviation(one, other, batch))
    along = [
        cosines(
            layer_fingerprints(a, names[0].index(layer_a)),
            layer_fingerprints(b, names[1].index(layer_b)),
        )
        for layer_a, layer_b in matches
    ]
    return xarray.Dataset(
        {
            "cka_layers": (("moment", "layer_a", "layer_b"), np.stack(between)),
            "cka_layers_null": (("moment", "layer_a", "layer_b"), np.stack(null)),
            "cka_epochs": (("match", "recorded_a", "recorded_b"), np.stack(along)),
        },
        coords={
            "epoch_a": ("moment", [one for one, _ in moments]),
            "epoch_b": ("moment", [other for _, other in moments]),
            "layer_a": names[0],
            "layer_b": names[1],
            "match_a": ("match", [one for one, _ in matches]),
            "match_b": ("match", [other for _, other in matches]),
            "recorded_a": a.epochs,
            "recorded_b": b.epochs,
        },
        attrs={
            "title_a": dynamics[0].attrs["title"],
            "title_b": dynamics[1].attrs["title"],
            "perfect_fit_epoch_a": dynamics[0].attrs["perfect_fit_epoch"],
            "perfect_fit_epoch_b": dynamics[1].attrs["perfect_fit_epoch"],
            "batch": batch,
            "images_hash": constants[0].attrs["images_hash"],
            "schema_version": SCHEMA_VERSION,
        },
    )


def check_same_images(one, other, name: str, other_name: str) -> None:
    """Raises InputError unless two recordings have the same images in the same order."""
    ids, other_ids = one["sample"].values, other["sample"].values
    if not np.array_equal(ids, other_ids):
        common = len(np.intersect1d(ids, other_ids))
        what = (
            "the same images in another order"
            if len(ids) == len(other_ids) == common
            else f"{len(ids)} and {len(other_ids)} images, of which {common} have ids in common"
        )
    elif one.attrs["images_hash"] != other.attrs["images_hash"]:
        what = "images with the same ids and different pixels"
    elif one.attrs["batch"] != other.attrs["batch"]:
        what = f"batches of {one.attrs['batch']} and of {other.attrs['batch']} images"
    else:
        return
    raise InputError(
        f"Expected {name} and {other_name} to have the same evaluation images in the same batches. "
        f"Received: {what}. Record both with the same data set, data_seed, label_noise, n_eval and "
        "cka_batch."
    )


def default_moments(dynamics: Sequence) -> list[tuple[int, int]]:
    """The first epochs, those of perfect fit where both runs have one, and the last epochs."""
    recorded = [found["epoch"].values.tolist() for found in dynamics]
    fits = [found.attrs["perfect_fit_epoch"] for found in dynamics]
    moments = [(recorded[0][0], recorded[1][0])]
    if not np.isnan(fits).any():
        moments.append((int(fits[0]), int(fits[1])))
    moments.append((recorded[0][-1], recorded[1][-1]))
    return list(dict.fromkeys(moments))


def check_epochs(run: Run, epochs: Iterable[int]) -> None:
    """Raises InputError unless a run recorded all of these epochs."""
    for epoch in epochs:
        if epoch not in run.epochs:
            raise InputError(
                f"Expected a recorded epoch of {run.folder.path}: "
                f"{', '.join(map(str, run.epochs))}. Received: {epoch}."
            )


def epoch_fingerprints(folder: RunFolder, epoch: int) -> np.ndarray:
    """(layer, pair) fingerprints of all layers at an epoch; NaN where a layer is dead."""
    prints = folder.fingerprints([epoch], slice(None))[0]
    state = folder.series([epoch], ["finite", "dead"])
    return np.where((state["finite"] > state["dead"])[0][:, None], prints, np.nan)


def layer_fingerprints(run: Run, place: int) -> np.ndarray:
    """(epoch, pair) fingerprints of one layer at all epochs; NaN where it is dead."""
    prints = run.folder.fingerprints(run.epochs, slice(place, place + 1))[:, 0]
    state = run.folder.series(run.epochs, ["finite", "dead"])
    usable = (state["finite"] > state["dead"])[:, place]
    return np.where(usable[:, None], prints, np.nan)

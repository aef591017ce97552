"""Two runs on the same images, compared by CKA: their layers, and a layer's epochs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.run import Run
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
    """CKA between two runs that recorded the same images; needs no backend.

    The runs may differ in architecture, optimizer, seed and backend.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), figure 5: layers of two networks against
    each other; estimated as everywhere here, see `cka`.

    Args:
        a, b: the runs.
        epochs: recorded epochs of the first and the second run at which all layers are compared;
            None for the initializations, both epochs of perfect fit (where there are two), and
            the last ones.
        layers: names in the first and the second run whose epochs are compared; None for every
            name that both have.

    Returns:
        `xarray.Dataset` with `cka_layers` (moment, layer_a, layer_b), its deviation for unrelated
        representations `cka_layers_null`, and `cka_epochs` (match, recorded_a, recorded_b); NaN
        where a layer is dead. Attributes `title_a`, `title_b`, `perfect_fit_epoch_a`,
        `perfect_fit_epoch_b`, `images_hash`.

    Raises:
        InputError: the runs recorded other images, or an epoch or a layer is not recorded.
    """
    import xarray

    constants = [run.folder.constants() for run in (a, b)]
    check_same_images(*constants, str(a.folder.path), str(b.folder.path))
    names = [found["layer"].values.tolist() for found in constants]
    dynamics = [run.dynamics for run in (a, b)]
    moments = list(epochs) if epochs is not None else usual_moments(dynamics)
    matches = list(layers) if layers is not None else [(n, n) for n in names[0] if n in names[1]]
    if not moments or not matches:
        raise InputError(
            "No epochs or no layers to compare came. Expected at least one pair of each, or None "
            "for the usual ones."
        )
    for run, wanted in zip((a, b), zip(*moments, strict=True), strict=True):
        check_epochs(run, wanted)
    for run, known, wanted in zip((a, b), names, zip(*matches, strict=True), strict=True):
        for name in wanted:
            if name not in known:
                raise unknown(f"layer of {run.folder.path}", name, known)
    batch = int(constants[0].attrs["batch"])
    between, null = [], []
    for epoch_a, epoch_b in moments:
        prints = [one_epoch(a.folder, epoch_a), one_epoch(b.folder, epoch_b)]
        between.append(cosines(*prints))
        null.append(null_deviation(*prints, batch))
    along = [
        cosines(one_layer(a, names[0].index(one)), one_layer(b, names[1].index(other)))
        for one, other in matches
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
    """Raises InputError unless two recordings' constants are of the same images in one order."""
    ids, other_ids = one["sample"].values, other["sample"].values
    if not np.array_equal(ids, other_ids):
        common = len(np.intersect1d(ids, other_ids))
        what = (
            "the same images in another order"
            if len(ids) == len(other_ids) == common
            else f"{len(ids)} and {len(other_ids)} images, of which {common} have ids in common"
        )
    elif one.attrs["images_hash"] != other.attrs["images_hash"]:
        what = "images of the same ids and other pixels"
    elif one.attrs["batch"] != other.attrs["batch"]:
        what = f"batches of {one.attrs['batch']} and of {other.attrs['batch']} images"
    else:
        return
    raise InputError(
        f"{name} and {other_name} recorded {what}. Expected the same evaluation images in the "
        "same batches: record both with one data set, data_seed, label_noise, n_eval and "
        "cka_batch."
    )


def usual_moments(dynamics: Sequence) -> list[tuple[int, int]]:
    """The first epochs, those of perfect fit where both runs have one, and the last ones."""
    recorded = [found["epoch"].values.tolist() for found in dynamics]
    fits = [found.attrs["perfect_fit_epoch"] for found in dynamics]
    moments = [tuple(epochs[0] for epochs in recorded)]
    if not np.isnan(fits).any():
        moments.append(tuple(int(fit) for fit in fits))
    moments.append(tuple(epochs[-1] for epochs in recorded))
    return list(dict.fromkeys(moments))


def check_epochs(run: Run, wanted: Iterable[int]) -> None:
    """Raises InputError unless a run recorded all of these epochs."""
    for epoch in wanted:
        if epoch not in run.epochs:
            raise InputError(
                f"{run.folder.path} has no record of epoch {epoch}. Expected one of "
                f"{', '.join(map(str, run.epochs))}."
            )


def one_epoch(folder: RunFolder, epoch: int) -> np.ndarray:
    """(layer, pair) fingerprints of all layers at an epoch; NaN where a layer is dead."""
    prints = folder.fingerprints([epoch], slice(None))[0]
    state = folder.series([epoch], ["finite", "dead"])
    return np.where((state["finite"] > state["dead"])[0][:, None], prints, np.nan)


def one_layer(run: Run, place: int) -> np.ndarray:
    """(epoch, pair) fingerprints of one layer at all epochs; NaN where it is dead."""
    prints = run.folder.fingerprints(run.epochs, slice(place, place + 1))[:, 0]
    state = run.folder.series(run.epochs, ["finite", "dead"])
    usable = (state["finite"] > state["dead"])[:, place]
    return np.where(usable[:, None], prints, np.nan)

"""Comparison of several runs, every two of them, by CKA and by decision regions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.comparison import (
    PLANES_REMEDY,
    check_same_images,
    common_labels,
    folder_names,
    layer_fingerprints,
    similarity,
)
from repdyn_keras.dynamics.recorded_run import Run
from repdyn_keras.dynamics.region_comparison import (
    NOT_ASKED,
    Planes,
    region_similarities,
    regions_at,
    regions_differ,
)
from repdyn_keras.errors import InputError
from repdyn_keras.records import SCHEMA_VERSION

if TYPE_CHECKING:
    import xarray

# States of two runs that are compared.
MOMENTS = ("perfect fit", "last")


def compare_runs(runs: Sequence[Run], regions: bool | None = None) -> "xarray.Dataset":
    """Compares every two of several runs with the same evaluation images; needs no backend.

    A layer of one run is compared with that of the same name in another, each at its epoch of
    perfect fit, and each at its last epoch. `compare` compares two runs at all epochs. A run given
    twice is rejected, unlike by `compare`: its second row would repeat the first one.

    Source: as of `compare`.

    Args:
        runs: two or more runs, which may differ in whatever those of `compare` may.
        regions: whether to compare decision regions; None: of the runs with the same planes.

    Returns:
        `xarray.Dataset` over (moment, layer, run, run_other): `cka`, with `cka_null` and, if all
        runs have the same given labels, `cka_null_class`; `region_agreement` and `region_kappa`,
        each with its 95% interval over the choice of planes, `..._interval` (..., bound), which is
        NaN on planes that were chosen. Layers are those that two runs have. NaN where a run does
        not have the layer or the moment, where the layer is dead or not finite, and for regions
        where two runs have no common planes. Coordinates `title` (run) and `epoch` (moment, run).
        The attribute `regions_missing` says which runs have no common planes, and why, or is empty.

    Raises:
        InputError: there are fewer than two runs, one is repeated, they recorded different images,
            or `regions` are required of runs without common planes.

    Example:
        >>> compare_runs([open_run(f"runs/{name}") for name in "abc"])  # doctest: +SKIP
    """
    import xarray

    if len(runs) < 2:
        raise InputError(f"Expected at least two runs. Received: {len(runs)}.")
    names = folder_names(runs)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"Expected different runs. Received: {repeated[0]} more than once.")
    constants = [run.folder.require_records().constants() for run in runs]
    for name, other in zip(names[1:], constants[1:], strict=True):
        check_same_images(constants[0], other, names[0], name)
    layers = [dataset["layer"].values.tolist() for dataset in constants]
    listed = list(dict.fromkeys(name for each in layers for name in each))
    common = [name for name in listed if sum(name in each for each in layers) > 1]
    common.sort(key=lambda name: name == "output")
    dynamics = [run.dynamics for run in runs]
    epochs = [
        [dataset.attrs["perfect_fit_epoch"] for dataset in dynamics],
        [dataset["epoch"].values[-1] for dataset in dynamics],
    ]
    groups, missing = ([], NOT_ASKED) if regions is False else same_planes(dynamics, names)
    if missing and regions:
        raise InputError(
            "Expected runs on the same planes, so that regions can be compared. Received: "
            f"{missing}. {PLANES_REMEDY}"
        )
    batch = int(constants[0].attrs["batch"])
    labels = common_labels(*constants)
    shape = (len(MOMENTS), len(common), len(runs), len(runs))
    found: dict[str, np.ndarray] = {}

    def fill(values: dict[str, np.ndarray], place: tuple[int, int], members: list[int]) -> None:
        for name, block in values.items():
            full = found.setdefault(name, np.full((*shape, *block.shape[2:]), np.nan))
            full[place][np.ix_(members, members)] = block

    for place in np.ndindex(shape[:2]):
        at, name = epochs[place[0]], common[place[1]]
        present = [i for i in range(len(runs)) if name in layers[i] and np.isfinite(at[i])]
        if not present:
            continue
        prints = [
            layer_fingerprints(runs[i], layers[i].index(name), [float(at[i])]) for i in present
        ]
        stacked = np.concatenate(prints)
        fill(similarity(stacked, stacked, batch, labels), place, present)
        for group in groups:
            members = [i for i in group if i in present]
            if members:
                maps = [regions_at(dynamics[i].sel(layer=[name]), at[i]) for i in members]
                one = np.concatenate(maps)
                n_classes = int(dynamics[members[0]].attrs["n_classes"])
                are_chosen = all(dynamics[i].attrs.get("planes_chosen", 0) for i in group)
                found_regions = region_similarities(one, one, n_classes, are_chosen)
                fill(found_regions, place, members)
    pairs = ("moment", "layer", "run", "run_other")
    return xarray.Dataset(
        {name: ((*pairs, "bound")[: values.ndim], values) for name, values in found.items()},
        coords={
            "moment": list(MOMENTS),
            "layer": common,
            "run": names,
            "run_other": names,
            "title": ("run", [dataset.attrs["title"] for dataset in dynamics]),
            "epoch": (("moment", "run"), np.array(epochs, float)),
            "bound": ["lower", "upper"],
        },
        attrs={
            "batch": batch,
            "images_hash": constants[0].attrs["images_hash"],
            "regions_missing": missing,
            "schema_version": SCHEMA_VERSION,
        },
    )


def same_planes(dynamics: Sequence, names: Sequence[str]) -> tuple[list[list[int]], str]:
    """Indices of runs with the same planes, in groups, and why there are several groups.

    Runs without regions are in no group.
    """
    groups: list[list[int]] = []
    reasons: list[str] = []
    planes = [Planes.of(dataset) for dataset in dynamics]
    for index, own in enumerate(planes):
        if own is None:
            reasons.append(regions_differ(own, own, names[index], names[index]))
            continue
        for group in groups:
            first = group[0]
            reason = regions_differ(planes[first], own, names[first], names[index])
            if not reason:
                group.append(index)
                break
            reasons.append(reason)
        else:
            groups.append([index])
    return groups, "; ".join(reasons)

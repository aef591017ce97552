"""Comparison of the cells of a study: similarity of their runs, over seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics import Run, check_same_images
from repdyn_keras.dynamics.comparison import epoch_fingerprints
from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import cosines
from repdyn_keras.measures.map_agreement import agreements, class_shares, kappas
from repdyn_keras.study.study_folder import Job, State, StudyFolder

if TYPE_CHECKING:
    import xarray

MEASURES = ("cka", "region_agreement", "region_kappa")
# States of two runs that are compared.
MOMENTS = ("perfect fit", "end")


def compare_cells(folder: StudyFolder, jobs: Sequence[Job]) -> "xarray.Dataset":
    """Compares the runs of every two cells, and those of one cell with each other, over seeds.

    Two cells are compared at each seed that both have. Two runs of one cell have different seeds,
    and are compared if they share evaluation images and planes, as in a study with one `data_seed`.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility of decision regions.

    Args:
        folder: the folder of the study.
        jobs: its runs.

    Returns:
        `xarray.Dataset` over (measure, moment, pair, layer): `mean`, `deviation` (between pairs of
        runs) and `count`, with the coordinates `cell` and `cell_other` of a pair. Layers are those
        that both networks have. CKA needs the records of the runs; without them it is NaN and its
        count 0.

    Raises:
        InputError: no two finished runs can be compared.
    """
    import xarray

    runs: dict[str, dict[int, Run]] = {}
    for job in jobs:
        if folder.progress(job).state is State.FINISHED:
            runs.setdefault(job.cell, {})[job.config.seed] = Run(folder.run_folder(job).path)
    found: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    layers: list[str] = []
    for cell, other in itertools.combinations_with_replacement(runs, 2):
        for one, two in run_pairs(runs[cell], runs[other], is_same=cell == other):
            compared = compare_runs(one, two)
            if compared:
                found.setdefault((cell, other), []).append(compared)
                layers += [name for name in compared if name not in layers]
    if not found:
        raise InputError(
            "Expected finished runs of a study that share evaluation images and planes. Received: "
            f"{folder.path} without any two. See `repdyn study --status`."
        )
    shape = (len(MEASURES), len(MOMENTS), len(found), len(layers))
    mean, deviation = np.full(shape, np.nan), np.full(shape, np.nan)
    count = np.zeros(shape, np.int64)
    for pair, compared_runs in enumerate(found.values()):
        for index, name in enumerate(layers):
            values = [each[name] for each in compared_runs if name in each]
            if not values:
                continue
            stacked = np.stack(values)
            present = np.isfinite(stacked)
            number = present.sum(axis=0)
            total = np.where(present, stacked, 0).sum(axis=0)
            centre = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
            squares = np.where(present, stacked - centre, 0) ** 2
            spread = np.full_like(total, np.nan)
            np.divide(squares.sum(axis=0), number - 1, out=spread, where=number > 1)
            mean[:, :, pair, index] = centre
            deviation[:, :, pair, index] = np.sqrt(spread)
            count[:, :, pair, index] = number
    dims = ("measure", "moment", "pair", "layer")
    return xarray.Dataset(
        {"mean": (dims, mean), "deviation": (dims, deviation), "count": (dims, count)},
        coords={
            "measure": list(MEASURES),
            "moment": list(MOMENTS),
            "cell": ("pair", [cell for cell, _ in found]),
            "cell_other": ("pair", [other for _, other in found]),
            "layer": layers,
        },
        attrs={"title": folder.path.name},
    )


def run_pairs(
    runs: Mapping[int, Run], others: Mapping[int, Run], *, is_same: bool
) -> Iterator[tuple[Run, Run]]:
    """The runs that are compared: equal seeds of two cells, or different seeds of one."""
    if is_same:
        yield from itertools.combinations(runs.values(), 2)
        return
    for seed, run in runs.items():
        if seed in others:
            yield run, others[seed]


def compare_runs(one: Run, two: Run) -> dict[str, np.ndarray]:
    """(measure, moment) similarities of the layers that two runs have in common, by name.

    Empty if the runs have other images. What cannot be compared is NaN.
    """
    first, second = one.dynamics, two.dynamics
    if first.attrs["images_hash"] != second.attrs["images_hash"]:
        return {}
    names, names_other = (each["layer"].values.tolist() for each in (first, second))
    common = [name for name in names if name in names_other]
    places = [(names.index(name), names_other.index(name)) for name in common]
    found = {name: np.full((len(MEASURES), len(MOMENTS)), np.nan) for name in common}
    has_records = one.folder.holds_records() and two.folder.holds_records()
    if has_records:
        constants = one.folder.constants(), two.folder.constants()
        check_same_images(*constants, str(one.folder.path), str(two.folder.path))
    has_regions = "regions" in first and "regions" in second and same_planes(first, second)
    fits = tuple(float(each.attrs["perfect_fit_epoch"]) for each in (first, second))
    for moment, epochs in enumerate((fits, (one.epochs[-1], two.epochs[-1]))):
        if not np.isfinite(epochs).all():
            continue
        epoch, epoch_other = (int(each) for each in epochs)
        if has_records:
            prints = epoch_fingerprints(one.folder, epoch)
            prints_other = epoch_fingerprints(two.folder, epoch_other)
            for name, (place, other) in zip(common, places, strict=True):
                similarity = cosines(prints[[place]], prints_other[[other]])
                found[name][0, moment] = similarity[0, 0]
        if has_regions:
            maps = first["regions"].sel(epoch=epoch).values
            maps_other = second["regions"].sel(epoch=epoch_other).values
            for name, (place, other) in zip(common, places, strict=True):
                found[name][1:, moment] = region_similarity(
                    maps[place], maps_other[other], int(first.attrs["n_classes"])
                )
    return found


def same_planes(one: "xarray.Dataset", two: "xarray.Dataset") -> bool:
    """Whether two runs recorded regions on the same planes and grids."""
    same_grid = one["regions"].shape[2:] == two["regions"].shape[2:]
    return same_grid and bool((one["plane_sample"].values == two["plane_sample"].values).all())


def region_similarity(one: np.ndarray, two: np.ndarray, n_classes: int) -> tuple[float, float]:
    """Agreement and kappa of two maps (plane, row, column)."""
    maps = np.stack([one, two]).reshape(2, len(one), -1)
    by_plane = agreements(maps)
    kappa = kappas(by_plane, class_shares(maps, n_classes))
    return float(by_plane[0, 1].mean()), float(kappa[0, 1])

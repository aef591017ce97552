"""Comparison of the cells of a study: similarity of their runs, over seeds."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics import check_same_images, open_run
from repdyn_keras.dynamics.comparison import epoch_fingerprints
from repdyn_keras.dynamics.region_comparison import (
    Planes,
    region_similarities,
    regions_at,
    regions_differ,
)
from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import cosines
from repdyn_keras.records import RunFolder
from repdyn_keras.study.study_folder import Job, Stage, State, StudyFolder

if TYPE_CHECKING:
    import xarray

MEASURES = ("cka", "region_agreement", "region_kappa")
# States of two runs that are compared.
MOMENTS = ("perfect fit", "end")


@dataclass(frozen=True)
class RunStates:
    """The states of a run that are compared; its dynamics, which are large, are not kept.

    Attributes:
        folder: the run folder.
        layers: names of the layers.
        images_hash: hash of the evaluation images.
        epochs: (moment,) the epochs of MOMENTS; NaN without a perfect fit.
        regions: (layer, plane, points) classes at each of MOMENTS; None without.
        planes: the planes and the classes; None without regions.
        has_records: whether the folder holds the records, with the fingerprints.
    """

    folder: RunFolder
    layers: list[str]
    images_hash: str
    epochs: tuple[float, ...]
    regions: tuple[np.ndarray | None, ...]
    planes: Planes | None
    has_records: bool


def states_of(folder: RunFolder) -> RunStates:
    """The states of a run; raises InputError if it has no results, or they are damaged."""
    dynamics = open_run(folder.path).dynamics
    recorded = dynamics["epoch"].values
    epochs = float(dynamics.attrs["perfect_fit_epoch"]), float(recorded[-1])
    regions: list[np.ndarray | None] = [None] * len(MOMENTS)
    planes = Planes.of(dynamics)
    if planes is not None:
        for index, epoch in enumerate(epochs):
            if np.isfinite(epoch):
                regions[index] = regions_at(dynamics, epoch).copy()
    return RunStates(
        folder,
        dynamics["layer"].values.tolist(),
        str(dynamics.attrs["images_hash"]),
        epochs,
        tuple(regions),
        planes,
        folder.holds_records(),
    )


def compare_cells(folder: StudyFolder, jobs: Sequence[Job]) -> "xarray.Dataset":
    """Compares the runs of every two cells, and those of one cell with each other, over seeds.

    Two cells are compared at each seed that both have. Two runs of one cell have different seeds,
    and are compared if they share evaluation images and planes, as in a study with one `data_seed`.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility of decision regions.

    Args:
        folder: the folder of the study.
        jobs: its runs; those of the calibration are not compared.

    Returns:
        `xarray.Dataset` over (measure, moment, pair, layer): `mean`, `deviation` (between pairs of
        runs) and `count`, with the coordinates `cell` and `cell_other` of a pair. Layers are those
        that both networks have. CKA needs the records of the runs; without them it is NaN and its
        count 0. The attribute `missing` (JSON) says why runs are left out.

    Raises:
        InputError: no two finished runs can be compared.
    """
    import xarray

    runs: dict[str, dict[int, RunStates]] = {}
    missing: dict[str, str] = {}
    # Those of a calibration differ in their learning rates.
    for job in (job for job in jobs if job.stage is Stage.RUNS):
        progress = folder.progress(job)
        if progress.state is not State.FINISHED:
            missing[job.name] = progress.state.value
            continue
        try:
            states = states_of(folder.run_folder(job))
        except InputError as error:
            missing[job.name] = f"damaged: {error}"
            continue
        runs.setdefault(job.cell, {})[job.config.seed] = states
    found: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    layers: list[str] = []
    for cell, other in itertools.combinations_with_replacement(runs, 2):
        for one, two in run_pairs(runs[cell], runs[other], is_same=cell == other):
            compared = compare_states(one, two)
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
        attrs={"title": folder.path.name, "missing": json.dumps(missing)},
    )


def run_pairs(
    runs: Mapping[int, RunStates], others: Mapping[int, RunStates], *, is_same: bool
) -> Iterator[tuple[RunStates, RunStates]]:
    """The runs that are compared: equal seeds of two cells, or different seeds of one."""
    if is_same:
        yield from itertools.combinations(runs.values(), 2)
        return
    for seed, run in runs.items():
        if seed in others:
            yield run, others[seed]


def compare_states(one: RunStates, two: RunStates) -> dict[str, np.ndarray]:
    """(measure, moment) similarities of the layers that two runs have in common, by name.

    Empty if the runs have other images. What cannot be compared is NaN.
    """
    if one.images_hash != two.images_hash:
        return {}
    common = [name for name in one.layers if name in two.layers]
    found = {name: np.full((len(MEASURES), len(MOMENTS)), np.nan) for name in common}
    has_records = one.has_records and two.has_records
    if has_records:
        constants = one.folder.constants(), two.folder.constants()
        check_same_images(*constants, str(one.folder.path), str(two.folder.path))
    planes = None if regions_differ(one.planes, two.planes) else one.planes
    for index in range(len(MOMENTS)):
        epochs = one.epochs[index], two.epochs[index]
        if not np.isfinite(epochs).all():
            continue
        if has_records:
            pairs = zip((one, two), epochs, strict=True)
            prints = [epoch_fingerprints(run.folder, epoch) for run, epoch in pairs]
        for name in common:
            places = one.layers.index(name), two.layers.index(name)
            if has_records:
                sides = (each[[place]] for each, place in zip(prints, places, strict=True))
                found[name][0, index] = cosines(*sides)[0, 0]
            maps = one.regions[index], two.regions[index]
            if planes is not None and maps[0] is not None and maps[1] is not None:
                layer_maps = maps[0][[places[0]]], maps[1][[places[1]]]
                similar = region_similarities(*layer_maps, planes.n_classes)
                found[name][1:, index] = [similar[measure][0, 0] for measure in MEASURES[1:]]
    return found

"""The summary of a study: one small Dataset of all its runs, from which findings are computed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder, read_netcdf, write_netcdf
from repdyn_keras.study.calibration import Choice
from repdyn_keras.study.calibration_stage import stored_choices
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.single_run import SUMMARY
from repdyn_keras.study.study_file import Study, stored_study
from repdyn_keras.study.study_folder import MARK, Job, Stage, State, StudyFolder

if TYPE_CHECKING:
    import xarray

# Keys of a configuration that do not describe its cell.
PER_RUN = ("seed", "data_seed")


def write_summary(
    study: Study, folder: StudyFolder, jobs: Sequence[Job], choices: Mapping[str, Choice]
) -> None:
    """Writes `summary.nc` from the summaries of the finished runs."""
    summary = study_summary(study, folder, jobs, choices)
    if summary.sizes.get("run"):
        write_netcdf(summary, folder.summary_file, compress=True)


def study_summary(
    study: Study, folder: StudyFolder, jobs: Sequence[Job], choices: Mapping[str, Choice]
) -> "xarray.Dataset":
    """The summaries of all finished runs along a dimension `run`.

    Layers are those of all networks; what a network does not have is NaN.

    Args:
        study: the study.
        folder: its folder.
        jobs: its runs.
        choices: the results of its calibration by cell.

    Returns:
        `xarray.Dataset`; `docs/files.md` lists its variables. Runs that are not finished, or whose
        summary is damaged, are listed in the attribute `missing` with the reason.
    """
    import xarray

    found: list[xarray.Dataset] = []
    kept: list[Job] = []
    missing: dict[str, str] = {}
    for job in jobs:
        progress = folder.progress(job)
        if progress.state is not State.FINISHED:
            reason = progress.reason.splitlines()[0] if progress.reason else ""
            missing[job.name] = (
                f"{progress.state.value}: {reason}" if reason else progress.state.value
            )
            continue
        try:
            found.append(run_summary(folder.run_folder(job)))
            kept.append(job)
        except InputError as error:
            missing[job.name] = f"damaged: {error}"
    cells = {job.cell: cell_settings(job) for job in jobs}
    calibration = ""
    if folder.calibration_file.is_file():
        calibration = folder.calibration_file.read_text("utf-8")
    attributes: dict[str, Any] = {
        "title": study.about.splitlines()[0] if study.about else folder.path.name,
        "cells": json.dumps(cells),
        "calibration": calibration,
        "not_comparable": json.dumps(
            [cell for cell, choice in choices.items() if choice.learning_rate is None]
        ),
        "missing": json.dumps(missing),
    }
    if not found:
        return xarray.Dataset(attrs=attributes)
    return joined(found, kept).assign_attrs(attributes)


def open_summary(path: Path) -> "xarray.Dataset":
    """The summary of a study, from its folder or from a `summary.nc`.

    If a run of the folder finished after the file was written, or if there is none, it is made
    anew in memory.

    Raises:
        InputError: there is no study, or none of its runs is finished.
    """
    if not path.is_dir():
        return read_netcdf(path)
    folder = StudyFolder(path)
    is_study = folder.study_file.is_file()
    if folder.summary_file.is_file() and not (is_study and _is_outdated(folder)):
        return read_netcdf(folder.summary_file)
    study = stored_study(path)
    choices = stored_choices(folder)
    is_calibrated = study.calibration is None or choices is not None
    jobs = study_jobs(study, choices or {}) if is_calibrated else []
    summary = study_summary(study, folder, jobs, choices or {})
    if not summary.sizes.get("run"):
        raise InputError(
            f"Expected a study with finished runs. Received: {path}, which has none. See "
            "`repdyn study --status`."
        )
    return summary


def _is_outdated(folder: StudyFolder) -> bool:
    written = folder.summary_file.stat().st_mtime_ns
    marks = folder.path.glob(f"{Stage.RUNS.value}/*/{MARK}")
    return any(mark.stat().st_mtime_ns > written for mark in marks)


def joined(found: Sequence["xarray.Dataset"], jobs: Sequence[Job]) -> "xarray.Dataset":
    """Summaries of runs along a dimension `run`, in single precision."""
    import xarray

    layers = list(dict.fromkeys(name for one in found for name in one["layer"].values.tolist()))
    aligned = []
    for one in found:
        each = one.reindex(layer=layers, layer_other=layers, fill_value=np.nan)
        aligned.append(each.assign(images_hash=one.attrs["images_hash"]).drop_attrs())
    whole = xarray.concat(aligned, "run", join="override", combine_attrs="drop")
    whole["is_block"] = whole["is_block"].fillna(0).astype(np.int8)
    whole = whole.assign_coords(
        run=[job.name for job in jobs],
        cell=("run", [job.cell for job in jobs]),
        seed=("run", [job.config.seed for job in jobs]),
        model=("run", [job.config.model for job in jobs]),
        optimizer=("run", [job.config.optimizer for job in jobs]),
    )
    numbers = {
        name: variable.astype(np.float32)
        for name, variable in whole.data_vars.items()
        if variable.dtype == np.float64
    }
    return whole.assign(numbers)


def run_summary(folder: RunFolder) -> "xarray.Dataset":
    """The summary of a finished run; raises InputError if it is missing or damaged."""
    return read_netcdf(folder.checksums.check(folder.path / SUMMARY))


def cell_settings(job: Job) -> dict[str, Any]:
    """The configuration of a cell."""
    return {key: value for key, value in vars(job.config).items() if key not in PER_RUN}

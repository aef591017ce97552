"""One run of a study: trains, analyzes and summarizes, and marks its folder as finished."""

import csv
import math
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from repdyn_keras.config import ResolvedConfig, resolve
from repdyn_keras.config.keys import Config
from repdyn_keras.dynamics import Run, analyze
from repdyn_keras.dynamics.comparison import layer_fingerprints
from repdyn_keras.errors import Diverged, InputError
from repdyn_keras.experiment import Watcher, record_saved_weights, train
from repdyn_keras.measures.accuracies import perfect_fit_epoch
from repdyn_keras.measures.cka import cosines
from repdyn_keras.records import RunFolder
from repdyn_keras.records.netcdf import netcdf_bytes, read_netcdf
from repdyn_keras.study.run_summary import summarize
from repdyn_keras.study.study_folder import Stage, read_mark, wait_for, write_mark

# What of a finished run stays. Its configuration, history and summary always do.
KEEP = ("dynamics", "records", "all")
SUMMARY = "summary.nc"
RECALIBRATED = "recalibrated"


def run_one(path: str | Path, keep: str = "dynamics", watcher: Watcher | None = None) -> None:
    """Brings one run of a study to its end, from wherever it is.

    It may be called any number of times: a finished run is left as it is, and one that was stopped
    or killed continues from its last checkpoint. Everything that it needs to know is in the folder.

    Args:
        path: the folder of the run, which holds its configuration.
        keep: what of the finished run stays; one of KEEP.
        watcher: receives progress and messages.

    Raises:
        InputError: the configuration or the data is invalid, or another process runs it.
        StorageError: the disk is full or cannot be written to.
        Interrupted: Ctrl-C or SIGTERM was received.
    """
    folder = RunFolder(path)
    wait_for(folder.config_file)
    with folder.locked():
        ended = read_mark(folder)
        if ended is not None:
            # The process that wrote the mark may have been killed before it removed them.
            remove_unkept(folder, str(ended.get("keep", "all")))
            return
        config = resolve(Config(**folder.config()))
        watcher = watcher or Watcher()
        mark: dict[str, Any] = {}
        is_calibration = folder.path.parent.name == Stage.CALIBRATION.value
        try:
            train(config, out=folder.path, watcher=watcher, resume=True)
        except Diverged as error:
            mark["diverged"] = error.cause
        trained = time.monotonic()
        if is_calibration:
            mark |= trial_numbers(folder)
        elif "diverged" not in mark:
            analyze(folder, watcher.analysis_step)
            record_recalibrated(config, folder, watcher)
            watcher.analysis_step("summary")
            write_run_summary(config, folder)
        mark["seconds"] = round(timed_seconds(folder) + time.monotonic() - trained, 1)
        mark["keep"] = "dynamics" if is_calibration and keep == "records" else keep
        write_mark(folder, mark)
        # After the mark: a run without its records must not be taken for one to continue.
        remove_unkept(folder, mark["keep"])


def trial_numbers(folder: RunFolder) -> dict[str, float]:
    """The numbers of a calibration run that its mark holds; without the fit if there was none."""
    rows = [row for row in folder.history() if row.get("train_accuracy")]
    epochs = [float(row["epoch"]) for row in rows]
    fit = perfect_fit_epoch(epochs, np.array([float(row["train_accuracy"]) for row in rows]))
    tests = [float(row["test_accuracy"]) for row in rows if row.get("test_accuracy")]
    numbers = {"best_test_accuracy": max(tests, default=0.0)}
    return numbers | ({} if math.isnan(fit) else {"perfect_fit_epoch": fit})


def record_recalibrated(config: ResolvedConfig, folder: RunFolder, watcher: Watcher) -> None:
    """Writes the CKA of the saved weights, recorded with recalibrated BatchNormalization.

    Nothing is written if no weights were kept, or if there is nothing to recalibrate.
    """
    is_wanted = config.keep_weights and has_moving_statistics(config, folder)
    if not is_wanted or recalibrated_file(folder).is_file():
        return
    watcher.analysis_step("recalibrated BatchNormalization")
    changes = {"batch_norm": "recalibrate", "planes": 0}
    recorded = record_saved_weights(folder, folder.path / RECALIBRATED, changes)
    run, names = Run(recorded.path), recorded.constants()["layer"].values.tolist()
    cka = np.stack([cosines(layer_fingerprints(run, index)) for index in range(len(names))])
    coordinates = {"layer": names, "epoch": run.epochs, "epoch_other": run.epochs}
    dataset = xr.Dataset({"cka": (tuple(coordinates), cka)}, coords=coordinates)
    folder.write(recalibrated_file(folder), netcdf_bytes(dataset))


def has_moving_statistics(config: ResolvedConfig, folder: RunFolder) -> bool:
    """Whether an analyzed run was recorded with moving statistics of BatchNormalization."""
    return config.batch_norm == "moving" and "accuracy_training" in folder.dynamics()


def recalibrated_file(folder: RunFolder) -> Path:
    """The file of the CKA with recalibrated BatchNormalization."""
    return folder.path / f"{RECALIBRATED}.nc"


def write_run_summary(config: ResolvedConfig, folder: RunFolder) -> None:
    """Writes the summary of an analyzed run."""
    dynamics, recalibrated = folder.dynamics(), None
    if recalibrated_file(folder).is_file():
        file = folder.checksums.check(recalibrated_file(folder))
        recalibrated = read_netcdf(file)["cka"].values
    summary = summarize(
        dynamics,
        folder.history(),
        recalibrated,
        has_moving_statistics=has_moving_statistics(config, folder),
    )
    folder.write(folder.path / SUMMARY, netcdf_bytes(summary, compress=True))


def remove_unkept(folder: RunFolder, keep: str) -> None:
    """Removes what of a finished run is not kept."""
    for name in unkept(folder, keep):
        path = folder.path / name
        for file in sorted(path.rglob("*")):
            if file.is_file():
                folder.checksums.announce_removal(file)
                file.unlink()
        shutil.rmtree(path, ignore_errors=True)


def unkept(folder: RunFolder, keep: str) -> list[str]:
    """The folders inside that of a finished run that are not kept."""
    if keep == "all":
        return []
    names = [RECALIBRATED, folder.weights.name, folder.checkpoint_file.parent.name]
    names += [folder.records.name] if keep == "dynamics" else []
    return [name for name in names if (folder.path / name).is_dir()]


def remove_leftovers(folder: RunFolder) -> None:
    """Removes what a finished run was to remove when its process was killed.

    A folder that is damaged, or that another process removes from, is left alone.
    """
    with suppress(InputError):
        mark = read_mark(folder)
        if mark is not None and unkept(folder, str(mark.get("keep", "all"))):
            with folder.locked():
                remove_unkept(folder, str(mark["keep"]))


def timed_seconds(folder: RunFolder) -> float:
    """Seconds of training and recording, all attempts together."""
    with folder.timing_file.open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))

"""The comparison of the cells of a study, against plain loops over the records."""

import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import WRITTEN_EPOCHS, features, write_run
from rich.console import Console

from repdyn_keras import cka
from repdyn_keras.cli import study_printing
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.study.cell_comparison import MEASURES, MOMENTS, compare_cells
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.study_file import study_of
from repdyn_keras.study.study_folder import Stage, StudyFolder, mark_file, write_mark

pytestmark = [pytest.mark.long, pytest.mark.without_keras]
LAYERS = {"sgd": ("stem", "stage1_block1", "output"), "adam": ("stem", "other", "output")}
# Of the accuracies that `write_run` writes, the last three are the first three in a row.
FIT, END = WRITTEN_EPOCHS[8], WRITTEN_EPOCHS[-1]


@pytest.fixture
def study(tmp_path):
    """Two cells of two seeds with records, whose regions are equal; a third seed is missing."""
    study = study_of({"seeds": 3, "optimizer": ["sgd", "adam"]}, out=tmp_path / "study")
    folder = StudyFolder(study.out)
    folder.create(study)
    for number, job in enumerate(study_jobs(study, {})[:4]):
        path = folder.prepare(job)
        write_run(path, LAYERS[job.config.optimizer], seed=number)
        write_mark(RunFolder(path), {"seconds": 1.0})
    return study


def test_means_and_deviations_are_those_of_all_pairs_of_runs(study):
    jobs = study_jobs(study, {})
    trial = replace(jobs[0], stage=Stage.CALIBRATION)
    found = compare_cells(StudyFolder(study.out), [trial, *jobs])
    states = {
        (job.config.optimizer, job.config.seed): features(LAYERS[job.config.optimizer], seed=number)
        for number, job in enumerate(jobs[:4])
    }
    pairs = {
        ("sgd", "sgd"): [(("sgd", 0), ("sgd", 1))],
        ("sgd", "adam"): [(("sgd", 0), ("adam", 0)), (("sgd", 1), ("adam", 1))],
        ("adam", "adam"): [(("adam", 0), ("adam", 1))],
    }
    cells = zip(found["cell"].values, found["cell_other"].values, strict=True)
    assert list(cells) == [(f"resnet {a}", f"resnet {b}") for a, b in pairs]
    for (index, runs), (layer, (moment, epoch)) in itertools.product(
        enumerate(pairs.items()),
        itertools.product(
            ("stem", "stage1_block1", "other", "output"), zip(MOMENTS, (FIT, END), strict=True)
        ),
    ):
        values = []
        for one, two in runs[1]:
            sides = [
                states[run][WRITTEN_EPOCHS.index(epoch), LAYERS[run[0]].index(layer)]
                for run in (one, two)
                if layer in LAYERS[run[0]]
            ]
            if len(sides) == 2:
                values.append(cka(*sides, batch_size=16))
        row = found.isel(pair=index).sel(layer=layer, moment=moment, measure="cka")
        assert int(row["count"]) == len(values)
        assert float(row["mean"]) == pytest.approx(
            np.mean(values) if values else np.nan, abs=1e-5, nan_ok=True
        )
        spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
        assert float(row["deviation"]) == pytest.approx(spread, abs=1e-5, nan_ok=True)
        for measure in MEASURES[1:]:
            regions = found.isel(pair=index).sel(layer=layer, moment=moment, measure=measure)
            # The same maps were written for all runs.
            assert float(regions["mean"]) == pytest.approx(1 if values else np.nan, nan_ok=True)


def test_runs_that_are_unfinished_or_damaged_are_left_out_and_named(study, monkeypatch):
    folder, jobs = StudyFolder(study.out), study_jobs(study, {})
    (folder.run_folder(jobs[3]).constants_file).write_bytes(b"damaged")
    found = compare_cells(folder, jobs)
    missing = json.loads(found.attrs["missing"])
    assert set(missing) == {job.name for job in jobs[3:]}
    assert missing[jobs[4].name] == "waiting" and missing[jobs[3].name].startswith("damaged: ")
    assert int(found["count"].max()) == 1
    file = io.StringIO()
    monkeypatch.setattr(study_printing, "Console", lambda: Console(file=file, width=100))
    study_printing.print_cells(found)
    assert f"left out: {jobs[4].name}, waiting" in file.getvalue()
    for job in jobs[:4]:
        mark_file(folder.run_folder(job)).unlink()
    with pytest.raises(InputError, match="share evaluation images and planes"):
        compare_cells(StudyFolder(study.out), jobs)

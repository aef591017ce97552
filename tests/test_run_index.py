"""Indices of a study's runs, as a job array uses them."""

import json
import shutil
import subprocess
import sys

import pytest
from helpers import assert_input_error

from repdyn_keras.errors import InputError
from repdyn_keras.study.calibration_stage import calibrate
from repdyn_keras.study.run_index import run_of_index, runs_by_index
from repdyn_keras.study.study_file import study_of
from repdyn_keras.study.study_folder import Stage, State, StudyFolder, write_mark

pytestmark = pytest.mark.without_keras

CONTENT = {
    "dataset": "digits",
    "model": "resnet",
    "optimizer": ["sgd", "adam"],
    "seeds": 3,
    "calibration": {
        "seeds": [10, 11],
        "epochs": 40,
        "learning_rates": {"sgd": [0.01, 0.1], "adam": [0.001]},
    },
}


def finish(folder, jobs, epoch_of):
    """Marks calibration runs as finished."""
    for job in jobs:
        mark = {"perfect_fit_epoch": float(epoch_of(job)), "best_test_accuracy": 0.5}
        folder.prepare(job)
        write_mark(folder.run_folder(job), mark)


@pytest.fixture
def study(tmp_path):
    return study_of(CONTENT, out=tmp_path / "study")


@pytest.fixture
def folder(study):
    return StudyFolder(study.out)


def names(jobs):
    return {index: (job.stage, job.cell, job.config.seed) for index, job in jobs.items()}


def test_an_index_means_the_same_run_before_and_after_the_calibration(study, folder):
    before = runs_by_index(study, folder)
    assert list(before) == list(range(6 + 6))
    trials = [before[index] for index in range(6)]
    assert {job.stage for job in trials} == {Stage.CALIBRATION}
    finish(folder, trials, lambda job: 10)
    calibrate(study, folder)
    assert folder.calibration_file.is_file()
    after = runs_by_index(study, folder)
    assert names(after) == names(before)
    assert [after[index] for index in range(6)] == trials
    for index, job in after.items():
        assert run_of_index(study, folder, index) == job
    assert folder.progress(trials[0]).state is State.FINISHED
    shutil.rmtree(folder.path / "calibration")
    assert StudyFolder(study.out).progress(trials[0]).state is State.NOT_NEEDED
    extended = study_of({**CONTENT, "seeds": 5}, out=study.out)
    longer = runs_by_index(extended, folder)
    assert len(longer) == 16 and {index: longer[index] for index in after} == after


def test_cells_that_are_not_comparable_have_an_index_and_no_run(study, folder):
    trials = [runs_by_index(study, folder)[index] for index in range(6)]
    finish(folder, trials, lambda job: 10 if job.config.optimizer == "sgd" else 30)
    calibrate(study, folder)
    jobs = runs_by_index(study, folder)
    missing = [index for index in range(12) if index not in jobs]
    assert len(missing) == 3
    for index in range(12):
        assert run_of_index(study, folder, index) == jobs.get(index)
    cells = {jobs[index].cell for index in jobs if index >= 6}
    assert len(cells) == 1


def test_runs_wait_for_the_calibration_but_not_for_its_file(study, folder):
    trials = [run_of_index(study, folder, index) for index in range(6)]
    finish(folder, trials[:5], lambda job: 10)
    pattern = "calibration is not complete. Expected 6 finished.* Received: 5; .* has index 5"
    assert_input_error("one is missing", pattern, run_of_index, study, folder, 6)
    finish(folder, trials[5:], lambda job: 10)
    found = run_of_index(study, folder, 6)
    assert not folder.calibration_file.exists(), "several processes would write it"
    assert found is not None and found.stage is Stage.RUNS and found.config.epochs == 80
    assert runs_by_index(study, folder)[6] == found
    calibrate(study, folder)
    assert run_of_index(study, folder, 6) == found


@pytest.mark.parametrize("index", [-1, 12, 10**9])
def test_an_index_without_a_place_is_an_error(study, folder, index):
    pattern = rf"--run INDEX from 0 to 11\. Received: {index}\."
    assert_input_error(index, pattern, run_of_index, study, folder, index)


@pytest.mark.long
def test_several_processes_may_create_the_folder_of_a_study(study, folder, tmp_path):
    code = (
        "import json, pathlib, sys, time\n"
        "from repdyn_keras.study.study_file import study_of\n"
        "from repdyn_keras.study.study_folder import StudyFolder\n"
        "study = study_of(json.loads(sys.argv[1]), out=sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "StudyFolder(study.out).join(study)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(CONTENT), str(study.out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=100)[1] == "" and process.returncode == 0
    assert folder.study_file.is_file()
    other = study_of({**CONTENT, "width": 4}, out=study.out)
    with pytest.raises(InputError, match="belongs to another study"):
        folder.join(other)

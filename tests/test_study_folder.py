"""What the folders of a study say, when they are foreign, damaged, or left by a killed process."""

import json

import numpy as np
import pytest
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.records import atomic
from repdyn_keras.records.netcdf import netcdf_bytes
from repdyn_keras.study import run_study
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.outcomes import Outcome
from repdyn_keras.study.single_run import remove_leftovers, run_one
from repdyn_keras.study.study_file import study_of
from repdyn_keras.study.study_folder import State, StudyFolder, mark_file, write_mark
from repdyn_keras.study.summary import study_summary

pytestmark = pytest.mark.without_keras
COSTS = {"seconds": 1.0, "peak_bytes": 1, "dynamics_bytes": 1, "device": "cpu"}
HISTORY = b"epoch,loss\r\n0,3.0\r\n1,2.0\r\n2,nan\r\n"


@pytest.fixture
def study(tmp_path):
    """A study of three runs, all finished, with summaries that hold nearly nothing."""
    study = study_of({"seeds": 3, "epochs": 9}, out=tmp_path / "study")
    folder = StudyFolder(study.out)
    folder.create(study)
    for job in study_jobs(study, {}):
        folder.prepare(job)
        run = folder.run_folder(job)
        one = xr.Dataset(
            {"is_block": ("layer", np.ones(1, np.int8))},
            coords={"layer": ["block01"], "layer_other": ["block01"]},
            attrs={"images_hash": str(job.config.seed)},
        )
        run.write(run.path / "summary.nc", netcdf_bytes(one))
        run.history_file.write_bytes(HISTORY)
        write_mark(run, {"seconds": 2.0, "keep": "dynamics"})
    return study


class Failing:
    """An executor whose runs fail; it counts them."""

    def __init__(self):
        self.waiting, self.attempts = [], []

    def free(self):
        return 1 - len(self.waiting)

    def start(self, request):
        self.attempts.append(request.path)
        self.waiting.append(request.path)

    def wait(self, seconds):
        ended, self.waiting = self.waiting, []
        return [Outcome(path, "failed", "it is damaged") for path in ended]

    def stop(self):
        raise AssertionError("nothing is to be stopped")


def test_a_damaged_mark_costs_one_run_and_not_the_study(study):
    folder, jobs = StudyFolder(study.out), study_jobs(study, {})
    path = mark_file(folder.run_folder(jobs[1]))
    path.write_bytes(path.read_bytes()[:-4])
    progress = folder.progress(jobs[1])
    assert progress.state is State.FAILED and "is damaged" in progress.reason
    summary = study_summary(study, folder, jobs, {})
    assert summary["seed"].values.tolist() == [0, 2]
    missing = json.loads(summary.attrs["missing"])
    assert list(missing) == [jobs[1].name] and "finished.toml is damaged" in missing[jobs[1].name]
    executor = Failing()
    assert not run_study(study, executor, lambda request: COSTS)
    assert executor.attempts == [str(folder.run_folder(jobs[1]).path)] * 3
    assert StudyFolder(study.out).progress(jobs[2]).state is State.FINISHED
    with pytest.raises(InputError, match="is damaged"):
        run_one(executor.attempts[0])


@pytest.mark.parametrize("text", [b"epochs = 8\n", b"epochs =\n", b"\xff"])
def test_a_changed_configuration_is_refused_and_the_study_goes_on(study, text):
    folder, jobs = StudyFolder(study.out), study_jobs(study, {})
    for job in jobs[:2]:
        mark_file(folder.run_folder(job)).unlink()
    run = folder.run_folder(jobs[0])
    run.config_file.write_bytes(text)
    executor = Failing()
    assert not run_study(study, executor, lambda request: COSTS)
    assert executor.attempts == [str(folder.run_folder(jobs[1]).path)] * 3
    assert folder.progress(jobs[0]).state is State.FAILED
    assert "run.toml" in folder.progress(jobs[0]).reason
    assert run.config_file.read_bytes() == text


def test_a_diverged_run_ended_at_its_last_epoch(study):
    folder, job = StudyFolder(study.out), study_jobs(study, {})[0]
    assert folder.progress(job).epoch == 9
    write_mark(folder.run_folder(job), {"diverged": "the loss is nan", "seconds": 1.0})
    progress = StudyFolder(study.out).progress(job)
    assert (progress.state, progress.epoch) == (State.DIVERGED, 2)
    assert progress.reason == "the loss is nan"


@pytest.mark.parametrize("clean", [remove_leftovers, lambda run: run_one(run.path)])
def test_what_a_killed_process_was_to_remove_is_removed_whoever_looks_next(study, clean):
    run = StudyFolder(study.out).run_folder(study_jobs(study, {})[0])
    (run.records / "inner").mkdir(parents=True)
    run.write(run.records / "inner" / "a", b"1")
    (run.path / "weights").mkdir()
    before = {path for path in run.path.iterdir() if path.is_file()}
    clean(run)
    assert not run.records.exists() and not (run.path / "weights").exists()
    assert before <= {path for path in run.path.iterdir() if path.is_file()}
    run.weights.mkdir()
    write_mark(run, {"keep": "all"})
    clean(run)
    assert run.weights.exists(), "all is kept"


def test_leftovers_of_a_damaged_folder_are_left_alone(study):
    run = StudyFolder(study.out).run_folder(study_jobs(study, {})[0])
    run.records.mkdir()
    mark_file(run).write_bytes(b"keep = ")
    remove_leftovers(run)
    assert run.records.exists()


def test_nothing_is_written_into_the_folder_of_something_else(study, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    before = sorted(study.out.rglob("*"))
    for folder, changes in ((other, {}), (study.out, {"epochs": 8})):
        content = {**study.content, **changes}
        for dry_run in (True, False):
            with pytest.raises(InputError, match="Choose another"):
                run_study(
                    study_of(content, out=folder), Failing(), lambda request: COSTS, dry_run=dry_run
                )
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
    assert sorted(study.out.rglob("*")) == before
    assert not {atomic.LOCK, atomic.OWNER} & {path.name for path in study.out.iterdir()}

"""Studies from start to end: their folders, what kills and errors leave, and their summaries."""

import contextlib
import html
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from repdyn_keras.dynamics import open_run
from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import read_netcdf
from repdyn_keras.study import StudyWatcher, run_study
from repdyn_keras.study.claims import CLAIMS
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.local_workers import LocalWorkers
from repdyn_keras.study.outcomes import Outcome
from repdyn_keras.study.study_file import study_of
from repdyn_keras.study.study_folder import State, StudyFolder
from repdyn_keras.study.study_report import write_study_report

pytestmark = [pytest.mark.long, pytest.mark.one_backend]
TINY = {
    "dataset": "synthetic",
    "synthetic_train": 64,
    "synthetic_test": 16,
    "synthetic_size": 4,
    "synthetic_classes": 3,
    "model": "vit",
    "depth": 1,
    "width": 8,
    "heads": 1,
    "batch_size": 16,
    "n_eval": 32,
    "cka_batch": 16,
    "planes": 2,
    "drawn_planes": 0,
    "resolution": 4,
    "optimizer": ["sgd", "adam"],
    "epochs": 3,
    "seeds": 2,
}


def finished(folder, **changes):
    """Runs a study in worker processes; returns whether it is complete."""
    workers = LocalWorkers(1)
    try:
        study = study_of({**TINY, **changes}, out=folder)
        return run_study(study, workers, workers.ask)
    finally:
        workers.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "study"
    assert finished(folder)
    return folder


def test_a_study_keeps_its_results_and_sums_them_up(reference):
    summary = read_netcdf(reference / "summary.nc")
    jobs = study_jobs(study_of(TINY, out=reference), {})
    assert summary["run"].values.tolist() == [job.name for job in jobs]
    assert summary["cell"].values.tolist() == ["vit sgd", "vit adam"] * 2
    assert summary["seed"].values.tolist() == [0, 0, 1, 1]
    assert (reference / "summary.nc").stat().st_size < 1_000_000
    folder = StudyFolder(reference)
    for index, job in enumerate(jobs):
        path = folder.run_folder(job).path
        names = {each.name for each in path.iterdir()}
        assert {"dynamics.nc", "run.toml", "history.csv", "summary.nc"} <= names
        assert not {"records", "weights", "checkpoint"} & names
        run = open_run(path)
        assert run.epochs == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 3]
        change = summary["change"].isel(run=index).sel(similarity="cka", reading="raw")
        assert np.isfinite(change.sel(layer="block01"))
        tests = [row["test_accuracy"] for row in run.history]
        assert float(summary["final_test_accuracy"][index]) == pytest.approx(tests[-1])


def test_a_finished_study_is_left_as_it_is_and_grows_by_seeds(reference, tmp_path):
    copy = tmp_path / "study"
    subprocess.run(["cp", "-r", reference, copy], check=True)
    files = {path: path.stat().st_mtime_ns for path in copy.glob("runs/*/*")}
    assert finished(copy, seeds=3)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    grown, before = (read_netcdf(each / "summary.nc") for each in (copy, reference))
    assert grown.sizes["run"] == 6
    assert same(grown.isel(run=slice(0, 4)).drop_attrs(), before.drop_attrs())


def test_the_page_of_a_study_links_to_those_of_its_runs(reference, tmp_path):
    copy = tmp_path / "study"
    subprocess.run(["cp", "-r", reference, copy], check=True)
    damaged = sorted(copy.glob("runs/*/dynamics.nc"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    pages = [write_study_report(copy).read_text("utf-8") for _ in range(2)]
    assert pages[0] == pages[1]
    linked = re.findall('href="(runs/[^"]*)"', pages[0])
    assert len(linked) == 3 and all((copy / name).is_file() for name in linked)
    assert damaged.parent.name in pages[0], "a damaged run is named"
    for claim in CLAIMS:
        assert html.escape(claim.text) in pages[0]
    assert "<script" not in pages[0]


COMMAND = [sys.executable, "-c", "from repdyn_keras.cli import main; main()", "study"]


def same(one, two):
    return one.identical(two)


def children(pid):
    """The child processes of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_under_way(folder, since):
    """Whether a run of a study has ended an epoch since a time and is not finished."""
    files = [path for path in folder.glob("runs/*/history.csv") if path.stat().st_mtime_ns > since]
    return any(not path.with_name("finished.toml").is_file() for path in files)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes by /proc")
def test_a_study_killed_at_random_moments_gives_the_same_summary(reference, tmp_path):
    file, folder = tmp_path / "tiny.toml", tmp_path / "study"
    file.write_text(tomli_w.dumps(TINY))
    rng = random.Random(5)
    for victim in ("driver", "worker"):
        since = time.time_ns()
        process = subprocess.Popen(
            [*COMMAND, str(file), "--out", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # In the middle of a run, not while the libraries are imported.
        while process.poll() is None and not is_under_way(folder, since):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        workers = children(process.pid)
        if victim == "driver":
            process.kill()
            process.wait()
        for worker in workers:
            if victim == "worker":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            # A worker ends by itself when its driver is gone.
            deadline = time.monotonic() + 10
            while Path(f"/proc/{worker}").exists():
                assert time.monotonic() < deadline, "a worker outlived its driver"
                time.sleep(0.1)
        if victim == "worker":
            assert process.wait(timeout=300) == 0, "the driver replaces a lost worker"
    assert finished(folder)
    assert same(read_netcdf(folder / "summary.nc"), read_netcdf(reference / "summary.nc"))


class Failing:
    """An executor whose runs fail; it counts the attempts."""

    def __init__(self, kind="failed", reason="first\nlast line"):
        self.kind, self.reason, self.waiting, self.attempts = kind, reason, [], []
        self.stopped = False

    def free(self):
        return 1 - len(self.waiting)

    def start(self, request):
        self.attempts.append(Path(request.path).name)
        self.waiting.append(request.path)

    def wait(self, seconds):
        ended, self.waiting = self.waiting, []
        return [Outcome(path, self.kind, self.reason) for path in ended]

    def stop(self):
        self.stopped = True


COSTS = {"seconds": 1.0, "peak_bytes": 1, "dynamics_bytes": 1, "device": "cpu"}


def test_a_run_that_fails_is_tried_three_times_and_the_study_goes_on(tmp_path):
    study, executor, said = study_of(TINY, out=tmp_path / "study"), Failing(), []

    class Listener(StudyWatcher):
        def ended(self, job, outcome, is_final):
            said.append((job.name, is_final))

    assert not run_study(study, executor, lambda request: COSTS, watcher=Listener())
    jobs = study_jobs(study, {})
    assert executor.attempts == [job.name for job in jobs for _ in range(3)]
    assert said == [(job.name, last) for job in jobs for last in (False, False, True)]
    folder = StudyFolder(study.out)
    assert {folder.progress(job).state for job in jobs} == {State.FAILED}
    assert folder.progress(jobs[0]).reason.endswith("last line")
    assert not folder.summary_file.exists()


def test_a_full_disk_stops_the_study_at_once(tmp_path):
    study, executor = study_of(TINY, out=tmp_path / "study"), Failing("storage", "disk full.")
    with pytest.raises(StorageError, match="The study stopped. .*disk full. Then start"):
        run_study(study, executor, lambda request: COSTS)
    assert len(executor.attempts) == 1 and executor.stopped
    with pytest.raises(StorageError, match="free disk space .* Nothing was started"):
        run_study(study, executor, lambda request: COSTS | {"peak_bytes": 1 << 60})
    assert len(executor.attempts) == 1


def test_one_driver_at_a_time_and_only_of_its_own_study(reference, tmp_path):
    folder = StudyFolder(tmp_path / "study")
    code = (
        "import sys, time; from pathlib import Path; from repdyn_keras.records import atomic; "
        "atomic.acquire_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(InputError, match="Another process writes to"):
            run_study(study_of(TINY, out=folder.path), Failing(), lambda request: COSTS)
        holder.kill()
    with pytest.raises(InputError, match="belongs to another study. Expected epochs = 3"):
        run_study(study_of({**TINY, "epochs": 4}, out=reference), Failing(), lambda request: COSTS)


def test_a_damaged_summary_of_a_run_is_left_out_and_named(reference, tmp_path):
    copy = tmp_path / "study"
    subprocess.run(["cp", "-r", reference, copy], check=True)
    damaged = sorted(copy.glob("runs/*/summary.nc"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert finished(copy)
    summary = read_netcdf(copy / "summary.nc")
    assert summary.sizes["run"] == 3
    assert damaged.parent.name in summary.attrs["missing"]

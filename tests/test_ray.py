"""Studies on a real Ray cluster of two nodes on this machine."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import xarray as xr
from helpers import assert_input_error

from repdyn_keras.records import RunFolder
from repdyn_keras.study import StudyWatcher, ray_tasks, run_study
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.local_workers import LocalWorkers
from repdyn_keras.study.outcomes import Request
from repdyn_keras.study.ray_tasks import RayTasks
from repdyn_keras.study.study_file import study_of
from repdyn_keras.study.study_folder import State, StudyFolder, last_epoch
from repdyn_keras.study.summary import study_summary

pytestmark = [pytest.mark.long, pytest.mark.needs("ray"), pytest.mark.one_backend]

# One cell whose network compiles quickly, and whose epochs take milliseconds.
TINY = {
    "about": "a tiny study",
    "dataset": "synthetic",
    "synthetic_train": 64,
    "synthetic_test": 16,
    "synthetic_size": 8,
    "synthetic_channels": 1,
    "synthetic_classes": 4,
    "blocks": [1],
    "n_eval": 32,
    "cka_batch": 32,
    "batch_size": 32,
    "planes": 0,
    "record_epochs": [1, 4, 16, 32],
    "learning_rate": 0.3,
    "seeds": 3,
    "epochs": 64,
    "recalibrate": False,
}
NODE = {"num_cpus": 1, "object_store_memory": ray_tasks.STORE_BYTES}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def tasks(cluster):
    """An executor on the cluster."""
    tasks = RayTasks(cluster.address)
    yield tasks
    tasks.close()


def costs(request):
    """What a run will take, without timing it."""
    return {"seconds": 1.0, "peak_bytes": 1, "dynamics_bytes": 1, "device": "cpu"}


def run_to_end(folder: Path, executor, watcher=None) -> xr.Dataset:
    """Runs the tiny study; returns its summary."""
    study = study_of(TINY, out=folder)
    assert run_study(study, executor, costs, watcher=watcher)
    files = StudyFolder(folder)
    assert files.summary_file.is_file()
    return study_summary(study, files, study_jobs(study, {}), {})


def ancestors(process: int) -> list[int]:
    """The processes that started a process, directly or indirectly; the nearest first."""
    found = []
    while process > 1:
        text = Path(f"/proc/{process}/stat").read_text("utf-8")
        process = int(text.rpartition(")")[2].split()[1])
        found.append(process)
    return found


class NodeKiller(StudyWatcher):
    """Kills a node while one of its runs is between two checkpoints, and lets another node join.

    Attributes:
        folder: the folder of that run.
        epoch: the last epoch of its history then.
        attempts: how often the driver started each run.
    """

    def __init__(self, cluster):
        self.cluster = cluster
        self.node = cluster.worker_nodes.copy().pop()
        self.folder, self.epoch, self.attempts = None, 0, {}
        self._thread = threading.Thread(target=self.watch)
        self._runs = []

    def started(self, job, attempt):
        self.attempts[job.name] = attempt

    def progressed(self, jobs, running, folder):
        self._runs = [folder.run_folder(job) for job in jobs]
        if self._thread.ident is None:
            self._thread.start()
        if self.folder is not None and self.node in self.cluster.worker_nodes:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.cluster.add_node(**NODE)

    def watch(self):
        """Waits for a run of the node that has begun, and kills all of the node's processes."""
        raylet = self.node.all_processes["raylet"][0].process.pid
        end = time.monotonic() + 100
        while time.monotonic() < end:
            for run in self._runs:
                owner, epoch = run.path / ".owner", last_epoch(run.history_file)
                if epoch < 2 or not owner.is_file():
                    continue
                process = int(owner.read_text("utf-8").split()[1])
                above = ancestors(process)
                if raylet in above:
                    for each in (raylet, *above[: above.index(raylet)], process):
                        os.kill(each, signal.SIGKILL)
                    self.folder, self.epoch = run, epoch
                    return
            time.sleep(0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_study_survives_the_death_of_a_node_with_the_same_summary(cluster, tasks, tmp_path):
    assert tasks.capacity() == tasks.free() == 2
    killer = NodeKiller(cluster)
    found = run_to_end(tmp_path / "ray", tasks, killer)
    assert killer.folder is not None and 0 < killer.epoch < TINY["epochs"], "it died in mid-run"
    assert set(killer.attempts.values()) == {1}, "Ray itself starts a lost run again"
    timed = killer.folder.timing_file.read_text("utf-8").splitlines()
    assert sum(line.startswith("1,training") for line in timed) == 1, "it was continued"
    assert tasks.capacity() == 2, "the other node is used"
    workers = LocalWorkers(2)
    try:
        expected = run_to_end(tmp_path / "local", workers)
    finally:
        workers.close()
    assert found.sizes["run"] == TINY["seeds"]
    assert found["change"].sel(similarity="cka", reading="raw").notnull().all()
    xr.testing.assert_identical(found, expected)


def test_stopped_tasks_save_their_runs(tasks, tmp_path):
    study = study_of({**TINY, "epochs": 100_000, "seeds": 1}, out=tmp_path)
    folder = StudyFolder(tmp_path)
    (job,) = study_jobs(study, {})
    run = RunFolder(folder.prepare(job))
    log = str(folder.log_file(job))
    tasks.start(Request(str(run.path), "all", log, job.config.backend))
    end = time.monotonic() + 100
    while folder.progress(job).epoch < 5 and time.monotonic() < end:
        assert tasks.wait(0.2) == []
    tasks.stop()
    assert "interrupted" in folder.log_file(job).read_text("utf-8")
    assert folder.progress(job).state is State.UNDER_WAY
    with run.locked():
        pass


def test_resources_that_no_node_has_are_reported_at_once(cluster):
    for resources in ((1, 1), (3, 0)):
        pattern = "resources of a run, .*at most 1 CPUs and 0 GPUs"
        assert_input_error(resources, pattern, RayTasks, cluster.address, *resources)


def test_an_address_at_which_nobody_answers_is_reported_in_time(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            assert_input_error(address, "Received: Connection refused. Start", RayTasks, address)
        # Something that accepts connections, but is not Ray.
        silent.listen()
        assert ray_tasks.CONNECTED_WITHIN + ray_tasks.ANSWERED_WITHIN <= 15
        monkeypatch.setattr(ray_tasks, "ANSWERED_WITHIN", 3.0)
        assert_input_error("silent", "no answer within 3 s", RayTasks, f"127.0.0.1:{port}")
    for address in ("", "here", "host:", ":6379", "host:port"):
        assert_input_error(address, "Expected --ray local, auto, HOST:PORT", RayTasks, address)


def test_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_input_error("no ray", r"--ray needs.*repdyn-keras\[ray\]", RayTasks, "local")

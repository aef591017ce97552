"""Runs of a study as tasks of a Ray cluster."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from repdyn_keras.errors import EXTRAS, InputError, not_installed
from repdyn_keras.study.local_workers import GRACE
from repdyn_keras.study.outcomes import Outcome, Request
from repdyn_keras.study.supervised_run import supervised_run
from repdyn_keras.text import quoted

LOCAL, AUTO, CLIENT = "local", "auto", "ray://"
# How often Ray starts a task again whose worker or node has died.
MAX_RETRIES = 3
# Seconds for an address to accept a connection, and for Ray to answer at it.
CONNECTED_WITHIN, ANSWERED_WITHIN = 3.0, 12.0
# Seconds beyond the grace time after which tasks are killed.
MARGIN = 5.0
# The smallest object store: tasks exchange paths and short messages.
STORE_BYTES = 80 * 2**20
# Ray sends nothing anywhere, and does not announce how it will treat GPUs in the future.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Connects in a process of its own, since Ray itself would try for minutes and print much.
PROBE = (
    "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='error'); "
    "ray.shutdown()"
)


class RayTasks:
    """An executor of Ray core tasks, each a run in a process of its own.

    Ray starts as many runs as the resources of the cluster allow, also on nodes that join later. If
    a worker or a node dies, Ray starts its runs again on another one, where they continue from
    their last checkpoints. All nodes need the package, and the study's folder at the same path.

    Ray itself only counts CPUs, and sets OMP_NUM_THREADS and CUDA_VISIBLE_DEVICES. The process of a
    run is therefore bound to as many cores as it has whole CPUs, on Linux; other runs of the same
    node get other cores. Without GPUs of its own, a run sees none; with a fraction of one, the
    backend takes only the memory that it needs.

    Args:
        address: "local" to start Ray on this machine; otherwise a running cluster, host:port or
            "ray://host:port", or "auto" for the one that this machine belongs to.
        cpus_per_run: CPUs of a run; may be a fraction.
        gpus_per_run: GPUs of a run; may be a fraction.

    Raises:
        InputError: Ray is not installed, no cluster answers at the address, or none of its nodes
            has the resources of a run.
    """

    def __init__(self, address: str, cpus_per_run: float = 1.0, gpus_per_run: float = 0.0):
        self._ray = connected(address)
        self._needs = {"CPU": cpus_per_run, "GPU": gpus_per_run}
        self._variables = variables_of(gpus_per_run)
        self._cores = math.floor(cpus_per_run)
        self._requests: dict[Any, Request] = {}
        try:
            require_resources(self._nodes(), self._needs)
        except InputError:
            self.close()
            raise
        self._task = self._ray.remote(supervised_run).options(
            num_cpus=cpus_per_run,
            num_gpus=gpus_per_run,
            max_retries=MAX_RETRIES,
            scheduling_strategy="SPREAD",
        )

    def _nodes(self) -> list[dict[str, float]]:
        """The resources of the nodes that are alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def capacity(self) -> int:
        """How many runs the cluster holds at a time now; at least 1, since a node may join."""
        return max(1, sum(places(node, self._needs) for node in self._nodes()))

    def free(self) -> int:
        """How many more runs it takes now."""
        return self.capacity() - len(self._requests)

    def start(self, request: Request) -> None:
        """Gives a run to the cluster."""
        there = replace(
            request, path=os.path.abspath(request.path), log=os.path.abspath(request.log)
        )
        task = self._task.remote(there, self._cores, os.getcwd(), self._variables)
        self._requests[task] = request

    def wait(self, seconds: float) -> list[Outcome]:
        """The runs that ended; waits for the first one for some seconds.

        Raises:
            InputError: a node cannot run tasks of this package.
        """
        if not self._requests:
            time.sleep(seconds)
            return []
        ended, _ = self._ray.wait(list(self._requests), timeout=seconds)
        return [self._outcome(task) for task in ended]

    def _outcome(self, task: Any) -> Outcome:
        errors = self._ray.exceptions
        request = self._requests.pop(task)
        try:
            return replace(self._ray.get(task), path=request.path)
        except errors.RayTaskError as error:
            raise InputError(
                "A node cannot run tasks. Expected the same version of repdyn-keras on all nodes. "
                f"Received: {last_line(str(error))}."
            ) from None
        except errors.RayError as error:
            reason = last_line(str(error)) or type(error).__name__
            return Outcome(request.path, "lost", f"Ray gave up after {MAX_RETRIES} tries: {reason}")

    def stop(self) -> None:
        """Stops the runs under way, at their next checkpoint if that is near."""
        tasks = list(self._requests)
        for task in tasks:
            self._ray.cancel(task, force=False)
        if tasks:
            _, left = self._ray.wait(tasks, num_returns=len(tasks), timeout=GRACE + MARGIN)
            for task in left:
                self._ray.cancel(task, force=True)
        self.close()

    def close(self) -> None:
        """Leaves the cluster; ends it if it was started here."""
        self._requests.clear()
        self._ray.shutdown()


def connected(address: str) -> Any:
    """The module `ray`, connected to a cluster; arguments and errors as for `RayTasks`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise not_installed("ray", EXTRAS, "--ray") from None
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        settings |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        # Ray would count the cores of the machine, also those that this process may not use.
        if hasattr(os, "sched_getaffinity"):
            settings["num_cpus"] = len(os.sched_getaffinity(0))
    else:
        require_answer(address)
    with kept_handler(signal.SIGTERM):
        ray.init(address, **settings)
    return ray


@contextmanager
def kept_handler(number: int) -> Iterator[None]:
    """Restores the handler of a signal after the block: that of Ray would abort the process."""
    handler = signal.getsignal(number)
    yield
    # Python allows signal handlers in the main thread only.
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def require_answer(address: str) -> None:
    """Raises InputError unless a Ray cluster answers at an address, within 15 seconds."""
    reason = ""
    if address != AUTO:
        host, _, port = address.removeprefix(CLIENT).rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(
                "Expected --ray local, auto, HOST:PORT or ray://HOST:PORT. Received: --ray "
                f"{quoted(address)}."
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECTED_WITHIN).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    if not reason:
        reason = probe(address)
    if reason:
        raise InputError(
            f"Expected a Ray cluster that answers --ray {address}. Received: {reason.rstrip('.')}. "
            "Start one with `ray start --head`, which prints its address, or use --ray local."
        )


def probe(address: str) -> str:
    """Why another process cannot connect to a cluster; empty if it can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWERED_WITHIN,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWERED_WITHIN:.0f} s"
    return "" if done.returncode == 0 else last_line(done.stderr) or f"exit code {done.returncode}"


def variables_of(gpus_per_run: float) -> dict[str, str]:
    """The environment variables of a run's process."""
    if gpus_per_run == 0:
        return {"CUDA_VISIBLE_DEVICES": ""}
    if gpus_per_run < 1:
        return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return {}


def places(node: dict[str, float], needs: dict[str, float]) -> int:
    """How many runs fit on a node at a time.

    Args:
        node: the resources of the node by name.
        needs: those of a run.
    """
    # Fractions such as 0.1 have no exact representation.
    return min(math.floor(node.get(k, 0) / n + 1e-9) for k, n in needs.items() if n > 0)


def require_resources(nodes: list[dict[str, float]], needs: dict[str, float]) -> None:
    """Raises InputError unless a node has the resources of a run; arguments as for `places`."""
    if any(places(node, needs) for node in nodes):
        return
    cpus, gpus = (max((node.get(k, 0) for node in nodes), default=0) for k in ("CPU", "GPU"))
    raise InputError(
        f"Expected a node with the resources of a run, --cpus-per-run {needs['CPU']:g} and "
        f"--gpus-per-run {needs['GPU']:g}. Received: nodes with at most {cpus:g} CPUs and {gpus:g} "
        "GPUs."
    )


def last_line(text: str) -> str:
    """The last line of a text that is not empty, without the end of its sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else ""

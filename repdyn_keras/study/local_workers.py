"""Worker processes on this machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from repdyn_keras.study.outcomes import Outcome, Request

# Seconds that workers have to save their state after a signal.
GRACE = 30.0
# Runs after which a worker is replaced: compiled programs of earlier runs stay in its memory.
RUNS_PER_WORKER = 20


class Worker:
    """One worker process; see `worker`.

    Args:
        cores: the cores that it may use; None for those of this process.
    """

    def __init__(self, cores: Sequence[int] | None = None):
        self.cores = cores
        self.process: subprocess.Popen[bytes] | None = None
        self.request: Request | None = None
        self._runs = 0
        self._backend = ""
        self._answer = b""

    def launch(self) -> "subprocess.Popen[bytes]":
        """Its process, which is started if necessary."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "repdyn_keras.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # Ctrl-C is for the driver, which passes it on.
                start_new_session=True,
            )
            self._answer, self._runs = b"", 0
            if self.cores is not None and hasattr(os, "sched_setaffinity"):
                with suppress(OSError):
                    os.sched_setaffinity(self.process.pid, self.cores)
        return self.process

    def send(self, message: dict[str, Any], backend: str) -> None:
        """Sends a request that needs a backend, which a process cannot change."""
        if self._backend not in ("", backend):
            self.close()
        self._backend = backend
        pipe = self.launch().stdin
        if pipe is not None:
            # A worker that has died is noticed when its answer is read.
            with suppress(BrokenPipeError):
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()

    def start(self, request: Request) -> None:
        """Starts a run."""
        if self._runs >= RUNS_PER_WORKER:
            self.close()
        message = {"run": request.path, "keep": request.keep, "log": request.log}
        self.send(message, request.backend)
        self.request = request
        self._runs += 1

    def read(self) -> dict[str, Any] | None:
        """Reads from the process: its answer; {} if it has died; None if there is more to come."""
        pipe = self.launch().stdout if self.process is None else self.process.stdout
        data = os.read(pipe.fileno(), 1 << 16) if pipe is not None else b""
        if not data:
            return {}
        self._answer += data
        if not self._answer.endswith(b"\n"):
            return None
        answer, self._answer = self._answer, b""
        return json.loads(answer)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to {"plan": keys}; {} if the process died."""
        self.send(message, message["plan"]["backend"])
        while (answer := self.read()) is None:
            pass
        if not answer:
            self.close()
        return answer

    def terminate(self) -> None:
        """Sends SIGTERM: a run saves its state at the end of the epoch, if that is near."""
        if self.process is not None and self.request is not None:
            self.process.terminate()

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        self.process = self.request = None


class LocalWorkers:
    """An executor of worker processes, each with its share of the cores.

    Args:
        count: number of workers.
    """

    def __init__(self, count: int):
        self.workers = [Worker(cores) for cores in shares_of_cores(count)]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer of the first worker, while no run is under way."""
        return self.workers[0].ask(message)

    def free(self) -> int:
        """How many more runs it takes now."""
        return sum(worker.request is None for worker in self.workers)

    def start(self, request: Request) -> None:
        """Starts a run in a free worker."""
        next(worker for worker in self.workers if worker.request is None).start(request)

    def wait(self, seconds: float) -> list[Outcome]:
        """The runs that ended; waits for the first one for some seconds."""
        outcomes: list[Outcome] = []
        with DefaultSelector() as selector:
            for worker in self.workers:
                if worker.request is not None:
                    process = worker.launch() if worker.process is None else worker.process
                    if process.stdout is not None:
                        selector.register(process.stdout, EVENT_READ, worker)
            for key, _ in selector.select(seconds):
                worker = key.data
                answer = worker.read()
                if answer is None:
                    continue
                if answer:
                    outcomes.append(Outcome(**answer))
                    worker.request = None
                else:
                    outcomes.append(lost(worker))
        return outcomes

    def stop(self) -> None:
        """Stops the runs under way, at their next checkpoint if that is near."""
        for worker in self.workers:
            worker.terminate()
        end = time.monotonic() + GRACE
        while self.free() < len(self.workers) and time.monotonic() < end:
            self.wait(end - time.monotonic())
        self.close()

    def close(self) -> None:
        """Ends all processes."""
        for worker in self.workers:
            worker.close()


def lost(worker: Worker) -> Outcome:
    """The outcome of a run whose process died."""
    path = "" if worker.request is None else worker.request.path
    code = None if worker.process is None else worker.process.wait()
    worker.close()
    ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    hint = "; the system may have run out of memory" if code == -9 else ""
    return Outcome(path, "lost", f"its process ended with {ended}{hint}")


def shares_of_cores(count: int) -> list[list[int] | None]:
    """The cores of each of several workers; None for all if they cannot be shared out."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * count
    cores = sorted(os.sched_getaffinity(0))
    if count > len(cores):
        return [None] * count
    bounds = [len(cores) * index // count for index in range(count + 1)]
    return [cores[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]

"""Runs `repdyn` in processes that are killed at a given moment.

Used by kill.py. MOMENT is "never", "write:N" (at the N-th step of writing: before or after an fsync
or a rename) or "time:S" (S seconds after the first checkpoint). At a step of writing, data that is
not yet fsynced is first cut off at a random place, as in a power failure. REPORT receives the
activity of the process as JSON.
"""

import json
import os
import random
import signal
import sys
import threading
import time

PHASES = (
    ("/figures/", "drawing"),
    ("/dynamics/", "analysis"),
    ("survival/saved_state.py", "checkpoint"),
    ("/recording/", "recording"),
    ("experiment/training.py", "training"),
)
FSYNC, REPLACE = os.fsync, os.replace


class Reaper:
    """Counts the steps of writing, and kills the process at the given moment.

    Args:
        moment: MOMENT, as described in the module docstring.
        seed: seed of the place at which an unfinished write is cut off.
        report: path of REPORT.
    """

    def __init__(self, moment: str, seed: int, report: str):
        kind, _, when = moment.partition(":")
        self.step = int(when) if kind == "write" else None
        self.seconds = float(when) if kind == "time" else None
        self.random = random.Random(seed)
        self.report = report
        self.steps = 0
        self.began: float | None = None
        self.synced: dict[int, int] = {}

    def arm(self) -> None:
        """Intercepts every fsync and rename."""
        os.fsync, os.replace = self.fsync, self.replace

    def fsync(self, handle: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))
        self.count(f"before fsync of {name}", handle)
        FSYNC(handle)
        self.synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size
        self.count(f"after fsync of {name}")

    def replace(self, source, target) -> None:
        name = os.path.basename(target)
        self.count(f"before rename to {name}")
        REPLACE(source, target)
        if name == "state.nc" and self.began is None:
            self.began = time.monotonic()
            if self.seconds is not None:
                threading.Timer(self.seconds, self.end_now).start()
        self.count(f"after rename to {name}")

    def count(self, what: str, unsynced: int | None = None) -> None:
        """Counts one step of writing."""
        if self.steps == self.step:
            if unsynced is not None and os.path.isfile(f"/proc/self/fd/{unsynced}"):
                state = os.fstat(unsynced)
                kept = self.random.randint(self.synced.get(state.st_ino, 0), state.st_size)
                os.truncate(f"/proc/self/fd/{unsynced}", kept)
                what = f"{what}, {kept} of {state.st_size} bytes left"
            self.end(what)
        self.steps += 1

    def end_now(self) -> None:
        """Kills the process at the given time."""
        self.end("")

    def end(self, what: str) -> None:
        """Writes the report and kills the process with SIGKILL."""
        self.write({"phase": phase(), "what": what})
        os.kill(os.getpid(), signal.SIGKILL)

    def finished(self) -> None:
        """Writes the report of a command that was not killed."""
        self.write({"steps": self.steps, "seconds": time.monotonic() - (self.began or 0.0)})

    def write(self, values: dict) -> None:
        with open(self.report, "w", encoding="utf-8") as file:
            json.dump(values, file)


def phase() -> str:
    """The activity of the main thread, by the innermost file of the package on its stack."""
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None:
        for part, name in PHASES:
            if "repdyn_keras" in frame.f_code.co_filename and part in frame.f_code.co_filename:
                return name
        frame = frame.f_back
    return "start"


def run(moment: str, seed: int, report: str, arguments: list[str]) -> None:
    """Runs `repdyn` with these arguments in this process."""
    reaper = Reaper(moment, seed, report)
    reaper.arm()
    from repdyn_keras.cli import app
    from repdyn_keras.figures.parts import style

    style.DPI = 30  # figures are not tested here
    sys.argv = ["repdyn", *arguments]
    try:
        app()
    finally:
        reaper.finished()


def serve() -> None:
    """Forks a process for each line of stdin, [MOMENT, SEED, REPORT, LOG, ARGUMENTS] as JSON.

    This process has done the slow imports and no computation. The exit status of each fork,
    negative for a signal, is a line of stdout.
    """
    import repdyn_keras.experiment.training  # noqa: F401
    import repdyn_keras.figures  # noqa: F401

    for line in sys.stdin:
        moment, seed, report, log, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            run(moment, seed, report, arguments)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()

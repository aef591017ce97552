"""Kills runs at random moments, resumes them, and compares the results bit by bit.

    python benchmarks/faults/kill.py --backend jax --kills 50

Half of the kills are at a step of writing, before or after an fsync or a rename; data that is not
yet fsynced is cut off, as in a power failure. The other half are at a time between the first
checkpoint and the end. `dynamics.nc`, `history.csv`, the records and the last checkpoint of every
resumed run are compared with those of an uninterrupted one: all arrays and attributes, bit by bit.
Prints a table, and exits with 1 if any differs.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from repdyn_keras.records import RunFolder

CONFIG = """\
dataset = "synthetic"
epochs = 8
label_noise = 0.4
synthetic_train = 128
synthetic_test = 32
synthetic_size = 8
synthetic_channels = 1
synthetic_classes = 4
width = 8
blocks = [1, 1]
batch_size = 24
augment = true
n_eval = 64
cka_batch = 32
planes = 1
resolution = 5
record_epochs = [1, 2, 5]
keep_weights = true
checkpoint_seconds = 0
"""
VICTIM = Path(__file__).with_name("victim.py")


@dataclass(frozen=True)
class Trial:
    """One killed and resumed run: moment, activity, file being written, and differences."""

    moment: str
    phase: str
    what: str
    differing: list[str]


class Faults:
    """Kills and resumes runs.

    Args:
        place: folder for all runs.
        backend: backend of all runs.
    """

    def __init__(self, place: Path, backend: str):
        self.place = place
        self.backend = backend
        self.config = place / "config.toml"
        self.config.write_text(CONFIG, encoding="utf-8")
        self.of_thread = threading.local()
        self.servers: list[subprocess.Popen] = []
        self.whole = RunFolder(place / "whole")
        report = self.run(self.whole.path, "never", 0)
        self.steps, self.seconds = report["steps"], report["seconds"]

    def server(self) -> subprocess.Popen:
        """The process that forks the runs of this thread, with slow imports already done."""
        if not hasattr(self.of_thread, "server"):
            self.of_thread.server = subprocess.Popen(
                [sys.executable, str(VICTIM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # Programs compiled by jax are reused by all runs.
                env={
                    **os.environ,
                    "KERAS_BACKEND": self.backend,
                    "JAX_COMPILATION_CACHE_DIR": str(self.place / "compiled"),
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),
                    "OMP_WAIT_POLICY": "PASSIVE",
                },
            )
            self.servers.append(self.of_thread.server)
        return self.of_thread.server

    def run(self, folder: Path, moment: str, seed: int) -> dict:
        """Starts or resumes the run in a folder, in a separate process."""
        report, log = folder.with_suffix(".json"), folder.with_suffix(".log")
        report.unlink(missing_ok=True)
        arguments = ["run", str(self.config), "--backend", self.backend, "--out", str(folder)]
        arguments += ["--resume", "--quiet"]
        server = self.server()
        print(json.dumps([moment, seed, str(report), str(log), arguments]), file=server.stdin)
        server.stdin.flush()
        code = int(server.stdout.readline())
        if code not in (0, -9) or (moment == "never" and code):
            raise RuntimeError(f"repdyn {arguments} ended with {code}: {log.read_text()}")
        return json.loads(report.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Ends the forking processes."""
        for server in self.servers:
            server.stdin.close()
            server.wait()

    def moments(self, kills: int, rng: np.random.Generator) -> list[str]:
        """Moments of the kills: alternately a time and a step of writing."""
        steps = rng.integers(0, self.steps, kills)
        seconds = rng.uniform(0, self.seconds, kills)
        return [f"write:{steps[i]}" if i % 2 else f"time:{seconds[i]:.3f}" for i in range(kills)]

    def trial(self, number: int, moment: str) -> Trial:
        """Kills one run at a moment, resumes it and compares the result."""
        folder = self.place / f"run{number:03d}"
        report = self.run(folder, moment, number)
        self.run(folder, "never", number)
        differing = differences(self.whole, RunFolder(folder))
        return Trial(moment, report.get("phase", "finished"), report.get("what", ""), differing)


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """The differences between two run folders, bit by bit."""
    found = []
    if one.epochs() != other.epochs():
        found.append("recorded epochs")
    found += [
        f"record {epoch}"
        for epoch in set(one.epochs()) & set(other.epochs())
        if not one.record(epoch).identical(other.record(epoch))
    ]
    if not one.dynamics().identical(other.dynamics()):
        found.append("dynamics.nc")
    if not one.checkpoint().identical(other.checkpoint()):
        found.append("checkpoint")
    if one.history_file.read_bytes() != other.history_file.read_bytes():
        found.append("history.csv")
    if other.checksums.path.is_file():
        names, _, bad = other.checksums.read()
        damaged = [name for name in names if other.checksums.problem_of(name)]
        found += [f"checksum of {name}" for name in damaged] + [f"line {line}" for line in bad]
    return found


def main(
    backend: Annotated[str, typer.Option(help="jax, tensorflow or torch.")] = "jax",
    kills: Annotated[int, typer.Option(help="Number of runs to kill.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    jobs: Annotated[int, typer.Option(help="Number of concurrent runs.")] = 2,
) -> None:
    """Kill runs at random moments, resume them and compare the results."""
    with tempfile.TemporaryDirectory() as place:
        faults = Faults(Path(place), backend)
        moments = faults.moments(kills, np.random.default_rng(seed))
        with ThreadPoolExecutor(jobs) as pool:
            trials = list(pool.map(faults.trial, range(kills), moments))
        faults.close()
    table = Table("moment", "while", "what was being written", "after resuming")
    for trial in sorted(trials, key=lambda t: (t.phase, t.what)):
        result = "bit-identical" if not trial.differing else f"differs: {trial.differing}"
        table.add_row(trial.moment, trial.phase, trial.what or "-", result)
    Console(width=120).print(table)
    good = sum(not trial.differing for trial in trials)
    print(f"{backend}: {good} of {kills} runs bit-identical after kill -9 and --resume")
    raise typer.Exit(0 if good == kills else 1)


if __name__ == "__main__":
    typer.run(main)

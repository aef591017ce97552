"""The folder of a study: its files, and what they say about its runs."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from repdyn_keras.config import ResolvedConfig, resolve, to_toml, versions
from repdyn_keras.config.files import read_toml
from repdyn_keras.config.keys import KEYS, Config
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.survival.resume import as_recorded
from repdyn_keras.records import RunFolder, atomic
from repdyn_keras.records.run_folder import create_folder, run_name
from repdyn_keras.study.study_file import Study
from repdyn_keras.text import quoted

# Characters of the hash of a configuration in the name of a folder.
HASH_LENGTH = 10
# Seconds for which a file that another machine has written is waited for.
VISIBLE_WITHIN = 60.0
POLL = 0.2


class Stage(Enum):
    """What a run of a study is for; its value is the name of the folder of its runs."""

    CALIBRATION = "calibration"
    RUNS = "runs"


class State(Enum):
    """How far a run is."""

    WAITING = "waiting"
    UNDER_WAY = "under way"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    # Of a calibration whose result stands.
    NOT_NEEDED = "not needed"


# States of runs that are not started again.
ENDED = (State.FINISHED, State.DIVERGED)


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        stage: what it is for.
        cell: the label of its cell.
        config: its resolved configuration, seed included.
    """

    stage: Stage
    cell: str
    config: ResolvedConfig

    @cached_property
    def name(self) -> str:
        """The name of its folder: a readable beginning, and a hash of the configuration."""
        return f"{run_name(self.config)}-{config_hash(self.config)}"


@dataclass(frozen=True)
class Progress:
    """What the folder of a run says.

    Attributes:
        state: how far the run is.
        epoch: the last epoch of its history; 0 before the first.
        seconds: how long it took, all attempts together; NaN unless it is finished.
        reason: why it failed or diverged.
    """

    state: State
    epoch: int = 0
    seconds: float = float("nan")
    reason: str = ""


class StudyFolder:
    """The files of a study.

    `study.toml` is its content; `calibration/` and `runs/` hold a folder for every run, which says
    itself whether it is finished; `logs/` what every run printed, and `failures/` why one failed.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.study_file = self.path / "study.toml"
        self.calibration_file = self.path / "calibration.csv"
        self.summary_file = self.path / "summary.nc"
        self.figures = self.path / "figures"
        self.logs = self.path / "logs"
        self.failures = self.path / "failures"
        # Of finished runs, which stay finished.
        self._ended: dict[tuple[Stage, str], Progress] = {}

    def create(self, study: Study) -> None:
        """Creates the folder, or checks that it belongs to the study.

        Seeds may have been added to the study since.

        Raises:
            InputError: the folder belongs to another study, or is something else.
            StorageError: the folder is not writable.
        """
        import tomli_w

        self.check(study)
        if self.study_file.is_file() and read_toml(self.study_file) == study.content:
            return
        atomic.make_folder(self.path)
        atomic.write_bytes(self.study_file, tomli_w.dumps(study.content).encode("utf-8"))

    def check(self, study: Study) -> None:
        """Raises InputError if the folder belongs to another study, or is something else."""
        if self.study_file.is_file():
            check_same_study(self.path, read_toml(self.study_file), study.content)
        elif self.path.is_dir() and any(
            each.name not in (atomic.LOCK, atomic.OWNER) and each.suffix != atomic.PARTIAL
            for each in self.path.iterdir()
        ):
            raise InputError(
                f"Expected the folder of this study, or a new one. Received: {self.path}, which "
                "has other files and no study.toml. Choose another with --out."
            )

    def join(self, study: Study) -> None:
        """Like `create`, while other processes may do the same.

        Raises:
            InputError, StorageError: as for `create`.
        """
        if not self.study_file.is_file() or read_toml(self.study_file) != study.content:
            with self.locked(VISIBLE_WITHIN):
                self.create(study)

    @contextmanager
    def locked(self, seconds: float = 0.0) -> Iterator[None]:
        """Holds the lock of the study inside a block: one driver at a time.

        Args:
            seconds: how long to wait for another process to release it.

        Raises:
            InputError: another process holds the lock.
            StorageError: the folder is not writable.
        """
        atomic.acquire_lock(self.path, seconds)
        try:
            yield
        finally:
            atomic.release_lock(self.path)

    def run_folder(self, job: Job) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / job.stage.value / job.name)

    def log_file(self, job: Job) -> Path:
        """The file of what a run printed."""
        return self.logs / f"{job.stage.value}-{job.name}.txt"

    def failure_file(self, job: Job) -> Path:
        """The file that says why a run failed."""
        return self.failures / f"{job.stage.value}-{job.name}.txt"

    def prepare(self, job: Job) -> Path:
        """Creates the folder of a run with its configuration, unless it exists.

        Raises:
            InputError: the folder has another configuration.
        """
        folder = self.run_folder(job)
        if not folder.config_file.is_file():
            create_folder(folder.path, folder.config_file.name, to_toml(job.config, versions()))
        elif resolve(Config(**folder.config())) != as_recorded(job.config, folder):
            raise InputError(
                f"Expected the configuration of {job.name} in {folder.config_file}. Received: "
                "another one. Restore the file, or move the folder away."
            )
        return folder.path

    def progress(self, job: Job) -> Progress:
        """What the folder of a run says."""
        key = job.stage, job.name
        if key in self._ended:
            return self._ended[key]
        folder = self.run_folder(job)
        try:
            finished = read_mark(folder)
        except InputError as error:
            return Progress(State.FAILED, last_epoch(folder.history_file), reason=str(error))
        if finished is not None:
            is_diverged = "diverged" in finished
            self._ended[key] = Progress(
                State.DIVERGED if is_diverged else State.FINISHED,
                last_epoch(folder.history_file) if is_diverged else job.config.epochs,
                float(finished.get("seconds", "nan")),
                str(finished.get("diverged", "")),
            )
            return self._ended[key]
        epoch = last_epoch(folder.history_file)
        if job.stage is Stage.CALIBRATION and self.calibration_file.is_file():
            return Progress(State.NOT_NEEDED, epoch)
        if self.failure_file(job).is_file():
            reason = self.failure_file(job).read_text("utf-8", "replace").strip()
            return Progress(State.FAILED, epoch, reason=reason)
        if folder.config_file.is_file():
            return Progress(State.UNDER_WAY, epoch)
        return Progress(State.WAITING)


def check_same_study(path: Path, stored: dict[str, Any], content: dict[str, Any]) -> None:
    """Raises InputError unless two contents are equal, or the second has more seeds."""
    differing = [
        key
        for key in {**stored, **content}
        if key != "seeds" and stored.get(key) != content.get(key)
    ]
    removed = sorted({*stored.get("seeds", [])} - {*content["seeds"]})
    if not differing and not removed:
        return
    key = (differing or ["seeds"])[0]
    raise InputError(
        f"{path} belongs to another study. Expected {key} = {quoted(stored.get(key))}. Received: "
        f"{key} = {quoted(content.get(key))}. Choose another folder with --out."
    )


def config_hash(config: ResolvedConfig) -> str:
    """A hash of a resolved configuration.

    Keys at their defaults are left out, so that a key that a later version adds changes no hash.
    """
    values = {name: getattr(config, name) for name in KEYS}
    given = {name: value for name, value in values.items() if value != KEYS[name].default}
    text = json.dumps(given, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


# The mark of a finished run, which is written last.

MARK = "finished.toml"


def mark_file(folder: RunFolder) -> Path:
    """The file that marks a finished run."""
    return folder.path / MARK


def read_mark(folder: RunFolder) -> dict[str, Any] | None:
    """The content of the mark of a finished run; None if it is not finished."""
    file = mark_file(folder)
    return read_toml(folder.checksums.check(file)) if file.is_file() else None


def write_mark(folder: RunFolder, content: dict[str, Any]) -> None:
    """Marks a run as finished."""
    import tomli_w

    folder.write(mark_file(folder), tomli_w.dumps(content).encode("utf-8"))


def last_epoch(history: Path) -> int:
    """The epoch of the last complete row of a `history.csv`, which may be growing."""
    try:
        with history.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            rows = file.read().split(b"\r\n")[:-1]
        return int(rows[-1].split(b",")[0]) if rows else 0
    except (OSError, ValueError):
        return 0


def wait_for(path: Path, seconds: float = VISIBLE_WITHIN) -> Path:
    """Waits until a file that another process has written is visible here.

    Shared file systems show new files late; listing their folder makes them look again.

    Raises:
        InputError: it does not appear in time.
    """
    end = time.monotonic() + seconds
    while not path.is_file():
        if time.monotonic() > end:
            raise InputError(
                f"Expected {path} to be visible within {seconds:.0f} s. Received: no such file. "
                "Use a folder that all machines share."
            )
        if path.parent.is_dir():
            os.listdir(path.parent)
        time.sleep(POLL)
    return path

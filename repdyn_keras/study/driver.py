"""Runs a study: starts what its grid holds and its folders do not.

It keeps no state of its own. Killed at any moment and started again, it goes on.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from repdyn_keras.errors import InputError, Interrupted, StorageError
from repdyn_keras.records import RunFolder, atomic
from repdyn_keras.records.atomic import free_bytes
from repdyn_keras.study.calibration import Choice
from repdyn_keras.study.calibration_stage import calibrate, stored_choices
from repdyn_keras.study.grid import calibration_jobs, study_jobs
from repdyn_keras.study.outcomes import Executor, Outcome, Request
from repdyn_keras.study.single_run import SUMMARY, remove_leftovers
from repdyn_keras.study.study_file import Study
from repdyn_keras.study.study_folder import (
    ENDED,
    Job,
    Stage,
    State,
    StudyFolder,
    mark_file,
    read_mark,
    wait_for,
)
from repdyn_keras.study.study_plan import MAX_ATTEMPTS, StudyPlan, make_plan
from repdyn_keras.study.summary import write_summary
from repdyn_keras.text import format_bytes

# Seconds between two looks at the folders.
POLL = 1.0


class StudyWatcher:
    """Receives the notifications of a study. Its methods do nothing; subclasses override them."""

    def planned(self, plan: StudyPlan) -> None:
        """The plan, before anything runs."""

    def calibrated(self, rows: Sequence[dict[str, str]], choices: dict[str, Choice]) -> None:
        """The calibration is complete."""

    def progressed(self, jobs: Sequence[Job], running: Sequence[Job], folder: StudyFolder) -> None:
        """Called every second while runs are under way.

        Args:
            jobs: all runs of the stage.
            running: those under way.
            folder: the folder of the study.
        """

    def started(self, job: Job, attempt: int) -> None:
        """A run begins, for the first time or again."""

    def ended(self, job: Job, outcome: Outcome, is_final: bool) -> None:
        """A run ended; if it failed, `is_final` says whether it will not be tried again."""

    def message(self, text: str) -> None:
        """A message to the user."""


def run_study(
    study: Study,
    executor: Executor,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    workers: int = 1,
    keep: str = "dynamics",
    watcher: StudyWatcher | None = None,
    dry_run: bool = False,
) -> bool:
    """Runs a study to its end.

    Args:
        study: the study.
        executor: runs its runs.
        ask: answers {"plan": keys} in another process, see `worker`.
        workers: number of runs at a time, for the estimated time.
        keep: what of a finished run stays; one of `single_run.KEEP`.
        watcher: receives progress and messages.
        dry_run: whether to only make the plan.

    Returns:
        Whether all runs are finished.

    Raises:
        InputError: the folder belongs to another study, or another driver uses it.
        StorageError: the disk does not have enough space, or cannot be written to.
    """
    watcher = watcher or StudyWatcher()
    folder = StudyFolder(study.out)
    # Before the lock, which is a file: nothing is written to the folder of something else.
    folder.check(study)
    if dry_run:
        watcher.planned(make_plan(study, folder, ask, workers, keep))
        return False
    with folder.locked():
        folder.create(study)
        plan = make_plan(study, folder, ask, workers, keep)
        watcher.planned(plan)
        require_space(folder, plan)
        driver = _Driver(folder, executor, keep, watcher)
        if stored_choices(folder) is None:
            driver.run_all(calibration_jobs(study))
        rows, choices = calibrate(study, folder)
        if rows:
            watcher.calibrated(rows, choices)
        jobs = study_jobs(study, choices)
        is_complete = driver.run_all(jobs)
        write_summary(study, folder, jobs, choices)
        if not is_complete:
            finished = sum(folder.progress(job).state is State.FINISHED for job in jobs)
            watcher.message(f"{finished} of {len(jobs)} runs are finished; see --status.")
        if folder.summary_file.is_file():
            watcher.message(f"{folder.summary_file}")
    return is_complete


def require_space(folder: StudyFolder, plan: StudyPlan) -> None:
    """Raises StorageError unless the disk has space for the rest of the study."""
    free = free_bytes(folder.path)
    if plan.disk_bytes > free:
        raise StorageError(
            f"Expected {format_bytes(plan.disk_bytes)} of free disk space for {folder.path}. "
            f"Received: {format_bytes(free)}. Nothing was started. Free some space, choose another "
            "disk with --out, or use --keep dynamics."
        )


class _Driver:
    """Brings runs to their end with an executor.

    Args:
        folder: the folder of the study.
        executor: runs them.
        keep: what of a finished run stays.
        watcher: receives progress.
    """

    def __init__(self, folder: StudyFolder, executor: Executor, keep: str, watcher: StudyWatcher):
        self.folder = folder
        self.executor = executor
        self.keep = keep
        self.watcher = watcher
        self.running: dict[str, Job] = {}
        self.next_look = 0.0

    def run_all(self, jobs: Sequence[Job]) -> bool:
        """Runs all that are not finished; returns whether all are finished at the end.

        Raises:
            StorageError: the disk is full. Runs under way were stopped.
            Interrupted: a run was stopped by a signal that the driver did not send.
        """
        waiting = deque(job for job in jobs if self.folder.progress(job).state not in ENDED)
        for job in jobs:
            remove_leftovers(self.folder.run_folder(job))
        attempts = {job.name: 0 for job in waiting}
        try:
            while waiting or self.running:
                while waiting and self.executor.free() > 0:
                    job = waiting.popleft()
                    attempts[job.name] += 1
                    self.start(job, attempts[job.name])
                for outcome in self.executor.wait(POLL):
                    job = self.running.pop(outcome.path)
                    is_final = attempts[job.name] >= MAX_ATTEMPTS
                    if not self.ended(job, outcome, is_final) and not is_final:
                        waiting.appendleft(job)
                if time.monotonic() >= self.next_look:
                    self.look(jobs)
        except BaseException:
            self.executor.stop()
            raise
        return all(self.folder.progress(job).state is State.FINISHED for job in jobs)

    def look(self, jobs: Sequence[Job]) -> None:
        """Notifies the watcher of the progress, with at most a tenth of the driver's time."""
        began = time.monotonic()
        self.watcher.progressed(jobs, list(self.running.values()), self.folder)
        ended = time.monotonic()
        self.next_look = ended + max(POLL, 10 * (ended - began))

    def start(self, job: Job, attempt: int) -> None:
        """Starts a run; one whose folder holds another configuration fails at once."""
        try:
            path = self.folder.prepare(job)
        except InputError as error:
            path = self.folder.run_folder(job).path
            self.ended(job, Outcome(str(path), "failed", str(error)), is_final=True)
            return
        self.folder.failure_file(job).unlink(missing_ok=True)
        self.watcher.started(job, attempt)
        self.running[str(path)] = job
        log = str(self.folder.log_file(job))
        self.executor.start(Request(str(path), self.keep, log, job.config.backend))

    def ended(self, job: Job, outcome: Outcome, is_final: bool) -> bool:
        """Handles the end of a run; returns whether it is finished.

        Raises:
            StorageError: the disk is full.
            Interrupted: the run was interrupted.
        """
        if outcome.kind == "storage":
            raise StorageError(
                "The study stopped. Expected a disk that can be written to. Received: "
                f"{outcome.reason} Then start the study again; finished runs are kept."
            )
        if outcome.kind == "interrupted":
            raise Interrupted(f"a worker was stopped: {outcome.reason}", 15)
        folder = RunFolder(outcome.path)
        if outcome.kind == "finished":
            # Another machine may have written these.
            wait_for(mark_file(folder))
            if job.stage is Stage.RUNS and "diverged" not in (read_mark(folder) or {}):
                wait_for(folder.path / SUMMARY)
        elif is_final:
            text = f"{outcome.reason}\n".encode()
            atomic.make_folder(self.folder.failures)
            atomic.write_bytes(self.folder.failure_file(job), text)
        self.watcher.ended(job, outcome, is_final)
        return outcome.kind == "finished"

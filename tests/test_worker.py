"""How a worker answers when the run or its log cannot be written."""

import errno
import os
import sys

import pytest

from repdyn_keras.errors import InputError, Interrupted, StorageError
from repdyn_keras.study import single_run
from repdyn_keras.study.worker import logged_run

pytestmark = pytest.mark.without_keras
LIBRARY_ERROR = OSError(errno.ENOSPC, "No space left on device")
ENDS = {
    "finished": None,
    "failed": InputError("Expected a. Received: b."),
    "storage": StorageError("Expected space. Received: none."),
    "interrupted": Interrupted("stopped", 15),
}


def ended(monkeypatch, log, error, text="said by a library"):
    """The outcome of a run that prints a text and ends with an error."""

    def run_one(path, keep, watcher):
        watcher.message(text)
        watcher.analysis_step("phases")
        if error is not None:
            raise error

    monkeypatch.setattr(single_run, "run_one", run_one)
    # That of pytest writes to a file of its own.
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))
    return logged_run("runs/a", "dynamics", str(log))


@pytest.mark.parametrize("kind", ENDS)
def test_a_run_ends_as_its_error_says_and_its_log_tells_why(tmp_path, monkeypatch, kind):
    log = tmp_path / "logs" / "a.txt"
    outcome = ended(monkeypatch, log, ENDS[kind])
    assert (outcome.path, outcome.kind) == ("runs/a", kind)
    assert "said by a library" in log.read_text() and "analyzing: phases" in log.read_text()
    if ENDS[kind] is not None:
        assert outcome.reason == str(ENDS[kind]) and str(ENDS[kind]) in log.read_text()


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_changes_no_outcome(monkeypatch, kind):
    assert ended(monkeypatch, "/dev/full", ENDS[kind]).kind == kind


def test_a_full_disk_is_no_fault_of_the_run_wherever_it_is_noticed(tmp_path, monkeypatch):
    """Else every run of the study would be tried three times and fail."""
    outcome = ended(monkeypatch, tmp_path / "a.txt", LIBRARY_ERROR)
    assert outcome.kind == "storage" and "the disk is full" in outcome.reason
    outcome = ended(monkeypatch, tmp_path / "b.txt", OSError(errno.ENOENT, "No such file"))
    assert outcome.kind == "failed" and "No such file" in outcome.reason


def test_a_log_that_cannot_be_opened_is_the_disks_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.open", refuse)
    outcome = logged_run("runs/a", "dynamics", str(tmp_path / "a.txt"))
    assert outcome.kind == "storage" and "a read-only file system" in outcome.reason


def refuse(*arguments, **settings):
    raise OSError(errno.EROFS, "Read-only file system")

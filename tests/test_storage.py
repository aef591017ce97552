"""Full and read-only disks: one clear error, everything before it readable, and it goes on."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import MODEL, SHORT, Calls, contents, differences, files_below, resumed, run
from typer.testing import CliRunner

from repdyn_keras import Config, open_run
from repdyn_keras.cli import app
from repdyn_keras.config import resolve, to_toml
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import StorageError
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import free_bytes

pytestmark = pytest.mark.usefixtures("without_pictures")

PAGE = os.sysconf("SC_PAGESIZE")


class Disk:
    """A small disk of its own.

    Args:
        path: where it is mounted.
        size: its bytes.
    """

    def __init__(self, path: Path, size: int):
        self.path = path
        self.ballast = path / "ballast"
        path.mkdir()
        done = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
        if done.returncode:
            pytest.skip(f"a disk of its own cannot be mounted here: {done.stderr.strip()}")

    def fill(self, left: int = 0) -> None:
        """Fills it, but for `left` bytes."""
        self.ballast.write_bytes(bytes(max(0, free_bytes(self.path) - left)))

    def remount(self, how: str) -> None:
        """Makes it read-only (`ro`) or not (`rw`)."""
        done = mount("-o", f"remount,{how}", str(self.path))
        if done.returncode:
            pytest.skip(f"a disk cannot be made read-only here: {done.stderr.strip()}")


def mount(*arguments: str) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mount cannot be started: {error}")


@pytest.fixture
def disk(tmp_path):
    """Makes a disk, which is gone after the test."""
    made = []

    def make(size: int) -> Disk:
        made.append(tmp_path / "disk")
        return Disk(made[-1], size)

    yield make
    for path in made:
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True)


def assert_whole(folder: RunFolder, recorded: list[int], whole: RunFolder) -> None:
    """What was written before can be read and analyzed, and is what was to be written."""
    assert folder.epochs() == recorded
    for epoch in recorded:
        assert folder.record(epoch).identical(whole.record(epoch))
    assert folder.checkpoint() is not None
    assert len(folder.history()) in (len(folder.epochs()), len(folder.epochs()) + 1)
    assert open_run(folder.path).dynamics["epoch"].values.tolist() == recorded
    assert folder.leftovers() == []


@pytest.mark.parametrize(
    ("event", "pages", "file", "checkpoint"),
    [("epoch_ended", 0, "checkpoint/state.nc", 1), ("recorded", 2, "records/epoch-000002.nc", 2)],
)
def test_a_disk_that_fills_during_a_run(disk, tmp_path, event, pages, file, checkpoint):
    """Altogether, or up to a checksum's line: in mid-run, by somebody else's file."""
    config = {**SHORT, "record_epochs": (1, 2), "keep_weights": False}
    one = run(config, out=tmp_path / "whole").folder
    small = disk(32 * 2**20)
    folder = RunFolder(small.path / "run")
    with pytest.raises(StorageError) as caught:
        watcher = Calls(event, 2, lambda: small.fill(pages * PAGE))
        run(config, out=folder.path, watcher=watcher)
    said = str(caught.value)
    assert "the disk is full" in said
    assert "MB free" in said
    assert str(folder.path / file) in said or "timing.csv" in said or "checksums.txt" in said
    assert folder.checkpoint().attrs["epoch"] == checkpoint
    assert_whole(folder, [0, 1], one)
    before = contents(folder.records)

    with pytest.raises(StorageError, match=f"{folder.path} takes about 4.* MB more"):  # still full
        resumed(folder.path)
    assert contents(folder.records) == before

    small.ballast.unlink()
    resumed(folder.path)
    assert differences(one, folder) == []


def test_a_run_that_needs_more_than_there_is_does_not_begin(disk):
    small = disk(2**20)
    with pytest.raises(StorageError) as caught:
        run(SHORT, out=small.path / "runs" / "one")
    said = str(caught.value)
    assert said.startswith(f"{small.path / 'runs' / 'one'} takes about 4.")
    assert "MB more, and its disk has 1.0 MB free" in said
    assert list(small.path.iterdir()) == []


def test_the_disk_of_a_folder_is_its_own(disk):
    """Not that of the folder above, where a disk is mounted at the run's own folder."""
    small = disk(2**20)
    text = to_toml(resolve(Config(**SHORT)), {})
    (small.path / "run.toml").write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=f"{small.path} takes about 4.* has 1.0 MB free"):
        resumed(small.path)
    assert files_below(small.path) == ["run.toml"]


def test_a_full_disk_keeps_no_lock(disk):
    """What cannot note down who it is gives the lock back."""
    small = disk(2**20)
    folder = RunFolder(small.path / "run")
    folder.path.mkdir()
    small.fill()
    with pytest.raises(StorageError, match="the disk is full"):
        folder.lock()
    small.ballast.unlink()
    with FileLock(folder.path / ".lock", timeout=0):
        pass
    with folder.locked():
        assert (folder.path / ".owner").read_text().startswith(f"pid {os.getpid()} on ")
    assert [path.name for path in folder.path.iterdir()] in ([], [".lock"])


def test_a_folder_that_cannot_be_written_to_can_be_read(disk, whole):
    small = disk(16 * 2**20)
    folder = RunFolder(small.path / "run")
    shutil.copytree(whole.path, folder.path)
    small.remount("ro")
    before = contents(folder.path)
    assert open_run(folder.path).dynamics.identical(whole.dynamics())
    for write in (
        lambda: resumed(folder.path),
        lambda: analyze(folder),
        lambda: run(SHORT, out=small.path / "other"),
    ):
        with pytest.raises(StorageError, match=f"Cannot write {small.path}.*read-only file system"):
            write()
    command = ["run", str(folder.path), "--resume", "--model", MODEL, "--quiet"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "read-only file system" in done.stderr
    assert contents(folder.path) == before
    small.remount("rw")
    resumed(folder.path)
    assert differences(whole, folder) == []


REASONS = {
    errno.ENOSPC: "the disk is full. It needs 0.3 MB, and there are .* MB free",
    errno.EDQUOT: "the disk quota is used up. It needs 0.3 MB",
    errno.EROFS: "it lies on a read-only file system",
    errno.EACCES: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", REASONS, ids=errno.errorcode.get)
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step, number):
    folder = RunFolder(tmp_path)
    file = tmp_path / "records" / "one.nc"
    folder.write(file, b"old")

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"repdyn_keras.records.atomic.os.{step}", fail)
        with pytest.raises(StorageError, match=f"Cannot write {tmp_path}.*{REASONS[number]}"):
            folder.write(file, bytes(300_000))
    assert file.read_bytes() == b"old"
    assert folder.leftovers() == []
    assert folder.checksums.problem(file) == ""
    folder.write(file, b"new")
    assert folder.checksums.problem(file) == ""


def test_another_error_of_the_system_is_passed_on(tmp_path, monkeypatch):
    """A mistake of ours is not taken for one of the disk."""

    def fail(*arguments):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr("repdyn_keras.records.atomic.os.replace", fail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        RunFolder(tmp_path).write(tmp_path / "one.nc", b"new")

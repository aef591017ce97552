"""Full and read-only disks: one clear error, intact files, and a run that resumes."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import (
    MODEL,
    SHORT,
    Calls,
    assert_rejected,
    contents,
    differences,
    files_below,
    repdyn,
    resumed,
    run,
    whole_run,
)

from repdyn_keras import Config, open_run
from repdyn_keras.config import resolve, to_toml
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import StorageError
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import free_bytes, storage_errors

pytestmark = [pytest.mark.one_backend, pytest.mark.usefixtures("without_pictures")]

PAGE = os.sysconf("SC_PAGESIZE")


def mount(*arguments: str) -> None:
    """Calls `mount`, or skips the test if that is not possible."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mount cannot be started: {error}")
    if done.returncode:
        pytest.skip(f"mount {' '.join(arguments)} cannot be done here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """Makes a small disk of a given number of bytes, which is removed after the test."""
    path = tmp_path / "disk"

    def make(size: int) -> Path:
        path.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
        return path

    yield make
    subprocess.run(["umount", "--lazy", str(path)], capture_output=True)


def fill(disk: Path, left: int) -> None:
    """Fills a disk up to `left` bytes."""
    (disk / "ballast").write_bytes(bytes(max(0, free_bytes(disk) - left)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("event", "pages", "file", "checkpoint"),
    [("epoch_ended", 0, "checkpoint/state.nc", 1), ("recorded", 2, "records/epoch-000002.nc", 2)],
)
def test_a_disk_that_fills_during_a_run(disk, tmp_path, event, pages, file, checkpoint):
    """Another file fills it during the run: completely, or up to the line of a checksum."""
    more = {"record_epochs": (1, 2), "keep_weights": False, "early_records": 0}
    one = whole_run(tmp_path / "whole", **more)
    small = disk(32 * 2**20)
    folder = RunFolder(small / "run")
    watcher = Calls(event, 2, lambda: fill(small, pages * PAGE))
    with pytest.raises(StorageError, match="the disk is full, .* free") as caught:
        run({**SHORT, **more}, out=folder.path, watcher=watcher)
    names = (str(folder.path / file), "timing.csv", "checksums.txt")
    assert any(name in str(caught.value) for name in names)
    # Earlier files can be read and analyzed.
    assert folder.epochs() == open_run(folder.path).dynamics["epoch"].values.tolist() == [0, 1]
    assert all(folder.record(epoch).identical(one.record(epoch)) for epoch in (0, 1))
    assert folder.checkpoint().attrs["epoch"] == checkpoint
    assert len(folder.history()) in (2, 3)
    assert folder.partial_files() == []
    before = contents(folder.records)
    with pytest.raises(
        StorageError, match=rf"Expected 4\.\d MB of free disk space for {folder.path}\."
    ):  # still full
        resumed(folder.path)
    assert contents(folder.records) == before
    (small / "ballast").unlink()
    resumed(folder.path)
    assert differences(one, folder) == []


@pytest.mark.long
def test_a_run_that_needs_more_space_than_is_free_does_not_start(disk):
    small = disk(2**20)
    out = small / "runs" / "one"
    words = r"Expected 4\.\d MB of free disk space for {}\. Received: 1\.0 MB\."
    with pytest.raises(StorageError, match=words.format(out)):
        run(SHORT, out=out)
    assert list(small.iterdir()) == []
    # A disk may be mounted at the run folder itself.
    text = to_toml(resolve(Config(**SHORT)), {})
    (small / "run.toml").write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=words.format(small)):
        resumed(small)
    assert files_below(small) == ["run.toml"]


@pytest.mark.long
def test_a_read_only_folder_can_be_read(disk, whole):
    small = disk(16 * 2**20)
    folder = RunFolder(small / "run")
    shutil.copytree(whole.path, folder.path)
    mount("-o", "remount,ro", str(small))
    before = contents(folder.path)
    assert open_run(folder.path).dynamics.identical(whole.dynamics())
    for write in (
        lambda: resumed(folder.path),
        lambda: analyze(folder),
        lambda: run(SHORT, out=small / "other"),
    ):
        with pytest.raises(StorageError, match=f"Cannot write {small}.*read-only file system"):
            write()
    done = repdyn("run", folder.path, "--resume", "--model", MODEL, "--quiet")
    assert_rejected(done, ["read-only file system"])
    assert contents(folder.path) == before
    mount("-o", "remount,rw", str(small))
    resumed(folder.path)
    assert differences(whole, folder) == []


REASONS = {
    errno.ENOSPC: "Expected 300.0 kB of free space. Received: the disk is full, .* free",
    errno.EDQUOT: "Expected 300.0 kB of free space. Received: the disk quota is used up, .* free",
    errno.EROFS: "Expected a writable location. Received: a read-only file system",
    errno.EACCES: "Expected a writable location. Received: permission denied",
    errno.EIO: "Expected a writable location. Received: an input/output error of the disk",
}


def test_disk_errors_become_storage_errors_and_others_are_passed_on(tmp_path):
    def failing(number):
        with storage_errors(tmp_path / "one.nc", 300_000):
            raise OSError(number, os.strerror(number))

    for number, reason in REASONS.items():
        with pytest.raises(StorageError, match=f"Cannot write {tmp_path}/one.nc. {reason}"):
            failing(number)
    with pytest.raises(OSError, match="Bad file descriptor"):  # a bug
        failing(errno.EBADF)

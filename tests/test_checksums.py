"""Files of a run folder: checksums, atomic writing, the lock, and links out of the folder."""

import io
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import RunFolder
from repdyn_keras.records import atomic as atomic_module
from repdyn_keras.records.checksums import DELETED, Checksums, complete_length, entry_of

pytestmark = pytest.mark.without_keras

OLD, NEW = b"what it was", b"what it becomes"
RECORD, WEIGHTS = "records/epoch-000000.nc", "weights/epoch-000000.weights.h5"
SUMS = "checksums.txt"


def row(epoch: int) -> dict:
    return {"epoch": epoch, "loss": 1 / (epoch + 3)}


def table(folder: RunFolder, name: str = "history.csv"):
    return folder.table(folder.path / name, ("epoch", "loss"))


def keep_weights(folder: RunFolder, data: bytes = NEW) -> None:
    with folder.writing(folder.weights_file(0), ".weights.h5") as temporary:
        temporary.write_bytes(data)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """No fsync, which is slow and has no effect that a test could observe."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run folder with files that were written whole, appended to, and written by path."""
    folder = RunFolder(tmp_path / "run")
    folder.write(folder.record_file(0), OLD)
    table(folder).append(row(0))
    keep_weights(folder, OLD)
    return folder


def fresh(folder: RunFolder) -> Checksums:
    """The checksums as another process sees them."""
    return Checksums(folder.path)


def problems(folder: RunFolder) -> dict[str, str]:
    """The problems by file name."""
    sums = fresh(folder)
    found = {name: sums.problem_of(name) for name in sums.read()[0]}
    return {name: problem for name, problem in found.items() if problem}


def announced(folder: RunFolder, path: Path, data: bytes) -> None:
    """Announces a file, like a writer that is killed before it renames the file."""
    (folder.path / "part").write_bytes(data)
    fresh(folder).announce_file(path, folder.path / "part")
    (folder.path / "part").unlink()


def held(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_every_written_file_has_an_entry_that_reveals_changes(folder):
    for name in ("with spaces  in it.png", "näme ✓.png", "a\rb.png", "-"):
        folder.write(folder.figures / name, NEW)
    with pytest.raises(InputError, match="file name of one line"):
        folder.write(folder.path / "one\ntwo", b"")
    entries, last, bad = fresh(folder).read()
    assert (len(entries), last, bad) == (7, "figures/-", [])
    for name, found in entries.items():
        path = folder.path / name
        assert found[-1] == entry_of(path)
        data, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        for changed in (bytes([data[0] ^ 1]) + data[1:], data[:-1], data + b"\0", b""):
            path.write_bytes(changed)
            os.utime(path, ns=times)  # a faulty disk does not change the times
            problem = "its content changed"
            if len(changed) != len(data):
                problem = f"it has {len(changed)} bytes instead of {len(data)}"
            assert problems(folder) == {name: problem}
            words = f"^{re.escape(str(path))} is damaged.*Received: {problem}.*"
            words += f"`repdyn doctor {folder.path}`"
            with pytest.raises(InputError, match=words):
                fresh(folder).check(path)
        path.write_bytes(data)
        assert folder.checksums.check(path) == path
        path.write_bytes(data[::-1])
        assert folder.checksums.problem(path) != "", (
            "an intact file is checked again after a change"
        )
        path.unlink()
        assert problems(folder) == {name: "it is missing"}
        path.write_bytes(data)
    (folder.path / "notes.txt").write_text("it has no entry")
    assert fresh(folder).check(folder.path / "notes.txt").is_file()
    folder.checksums.path.unlink()
    fresh(folder).confirm_last()
    assert fresh(folder).read() == ({}, "", []) and not folder.checksums.path.exists()


def test_damaged_lines_are_reported_and_a_cut_off_one_is_overwritten(folder):
    path = folder.checksums.path
    data = path.read_bytes()
    bad = ["../victim", "/etc/passwd", "records/../../victim", "..", ".", "/", ""]
    bad = [f"{'0' * 64} 4 {name}" for name in bad] + ["", "word", "a b"]
    bad += [f"{'0' * 64} {size} x" for size in ("-4", "4.0", "9" * 21)]
    for text in (*bad, f"{'0' * 64} {'9' * 20} x"):
        path.write_bytes(data + f"{zlib.crc32(text.encode()):08x} {text}\n".encode())
        entries, last, found = fresh(folder).read()
        assert (len(entries), last, found) == ((3, WEIGHTS, [4]) if text in bad else (4, "x", []))
    for place, bit in itertools.product(range(data.index(b"\n") + 1), (1, 32, 128)):
        path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        entries, _, found = fresh(folder).read()
        assert found and RECORD not in entries, (place, bit)
    folder.write(folder.record_file(1), NEW)
    assert fresh(folder).read()[2] == found, "damaged lines stay"
    path.write_bytes(data)
    folder.write(folder.record_file(1), NEW)
    whole = path.read_bytes()
    for end in range(len(data) + 1, len(whole)):
        path.write_bytes(whole[:end])
        entries, last, found = fresh(folder).read()
        assert (len(entries), last, found) == (3, WEIGHTS, []), end
        fresh(folder).announce(folder.record_file(1), *entry_of(folder.record_file(1)))
        assert path.read_bytes() == whole


def test_the_end_of_the_last_complete_line_is_found_in_files_of_any_length(tmp_path):
    path = tmp_path / "text"
    for length, tail in itertools.product((0, 1, 4095, 4096, 4097, 9000), (0, 1, 4095, 4096, 5000)):
        path.write_bytes(b"x" * length + b"\n" + b"y" * tail)
        assert complete_length(path) == length + 1
    path.write_bytes(b"y" * 9000)
    assert complete_length(path) == 0


def test_an_announced_file_may_be_old_or_new_until_the_next_writer_confirms_it(folder):
    path = folder.record_file(0)
    for case, data in {"old": OLD, "new": NEW, "neither": b"0", "missing": None}.items():
        folder.write(path, OLD)
        announced(folder, path, NEW)
        path.unlink() if data is None else path.write_bytes(data)
        assert list(problems(folder)) == ([] if case in ("old", "new") else [RECORD]), case
        fresh(folder).confirm_last()
        assert list(problems(folder)) == ([RECORD] if case == "neither" else []), case
        before = held(folder.checksums.path)
        fresh(folder).confirm_last()
        assert held(folder.checksums.path) == before, "a confirmed line is not repeated"
    assert fresh(folder).accepted(path)[-1] == DELETED
    folder.write(path, OLD)
    announced(folder, path, NEW)
    announced(folder, folder.record_file(7), NEW)  # by a writer that skips confirm_last
    assert list(problems(folder)) == [RECORD, "records/epoch-000007.nc"]


def test_a_removed_file_may_be_missing_and_set_aside_never_overwrites(folder):
    path = folder.record_file(0)
    fresh(folder).announce_removal(path)
    assert problems(folder) == {RECORD: "it was removed, but exists"}
    for number, data in enumerate((OLD, NEW, b"third"), start=1):
        folder.write(path, data)
        moved = folder.set_aside(path)
        assert moved == folder.set_aside_folder / (
            path.name if number == 1 else f"{number}-{path.name}"
        )
        assert moved.read_bytes() == data and not path.exists()
        assert problems(folder) == {}
    assert len(list(folder.set_aside_folder.iterdir())) == 3
    before = held(folder.checksums.path)
    fresh(folder).announce_removal(folder.record_file(5))
    assert held(folder.checksums.path) == before, "it has no entry"


class ProcessDied(BaseException):
    """The end of a process."""


@contextmanager
def disk(how: str = "", when: int = -1):
    """Yields the list of write steps; at one of them the disk is full or the process dies.

    Args:
        how: "fails", or "dies": later steps have no effect, and a file in an fsync loses its end.
        when: the number of the step.
    """
    steps, real = [], {name: getattr(os, name) for name in ("mkdir", "fsync", "replace")}

    def end(*arguments, **more):
        raise ProcessDied

    def counted(name):
        def call(*arguments, **more):
            place = f"/proc/self/fd/{arguments[0]}" if name == "fsync" else arguments[-1]
            path = os.readlink(place) if name == "fsync" else str(arguments[0])
            steps.append(f"{name} {Path(path).name}")
            if len(steps) - 1 != when:
                return real[name](*arguments, **more)
            if how == "fails":
                raise OSError(28, "No space left on device")
            if name == "fsync" and os.path.isfile(place):
                os.truncate(place, os.path.getsize(place) - 5)
            for each in (*real, "unlink", "truncate", "ftruncate"):
                patch.setattr(os, each, end)
            patch.setattr(io, "open", end)
            raise ProcessDied

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, counted(name))
        yield steps


# A write, and the file that it changes.
WRITES = {
    "a new record": (lambda f: f.write(f.record_file(1), NEW), "records/epoch-000001.nc"),
    "a record again": (lambda f: f.write(f.record_file(0), NEW), RECORD),
    "weights": (keep_weights, WEIGHTS),
    "a new folder": (lambda f: f.write(f.figures / "a.png", NEW), "figures/a.png"),
    "rows": (lambda f: table(f).append(row(1), row(2)), "history.csv"),
    "a new table": (lambda f: table(f, "timing.csv").append(row(1)), "timing.csv"),
    "a table again": (lambda f: table(f).replace([row(4)]), "history.csv"),
    "set aside": (lambda f: f.set_aside(f.record_file(0)), RECORD),
}


@pytest.mark.parametrize("how", ["fails", "dies"])
@pytest.mark.parametrize("what", WRITES)
def test_after_any_step_of_writing_a_file_is_old_or_new_or_reported(folder, what, how):
    write, name = WRITES[what]
    old = held(folder.path / name)
    whole = RunFolder(shutil.copytree(folder.path, folder.path.parent / "whole"))
    with disk() as steps:
        write(whole)
    new = held(whole.path / name)
    assert new != old and len(steps) > 1
    for when, step in enumerate(steps):
        left = RunFolder(shutil.copytree(folder.path, folder.path.parent / str(when)))
        raised = None
        try:
            with disk(how, when):
                write(left)
        except (StorageError, ProcessDied) as error:
            raised = error
        path, wrong = left.path / name, problems(left)
        found = held(path)
        is_sound = found in (old, new)
        assert set(wrong) <= {name}, step
        if how == "fails":
            assert is_sound and (raised or found == new), step
            assert left.partial_files() == [], step
            full = f"Cannot write {left.path}.*the disk is full"
            assert raised is None or re.match(full, str(raised)), step
        else:
            assert isinstance(raised, ProcessDied), step
        if what != "set aside" and found:
            assert bool(wrong) != is_sound, step
            assert fresh(left).accepted(path), step
        with left.locked():
            assert left.partial_files() == [], step
            still = problems(left)
            assert bool(still) != is_sound or (path.exists() and not found), step
            if still:  # a cut-off row, or a table without one
                table(left, name).replace([row(4)])
            elif what != "set aside" or found:
                write(left)
                assert held(path) == new, step
        assert problems(left) == {} and fresh(left).read()[2] == [], step


def test_bytes_are_on_the_disk_before_their_name_and_lines_before_their_files(folder):
    """A power failure may lose everything that is not fsynced."""
    part = f".{folder.record_file(0).name}.{os.getpid()}.part"
    with disk() as steps:
        folder.write(folder.record_file(0), NEW)
    assert steps[1:] == [f"fsync {part}", f"fsync {SUMS}", f"replace {part}", "fsync records"]
    folder.checksums.path.unlink()
    with disk() as steps:
        table(folder).append(row(1))
    assert steps == [f"fsync {SUMS}", "fsync run", "fsync history.csv"]


@contextmanager
def largest_file(size: int):
    """Limits the size of files; a write that exceeds it is done in part."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_partial_append_is_undone(folder):
    rows = table(folder)
    for name, taken in itertools.product((SUMS, "history.csv"), (1, 5, 7)):
        if name == "history.csv":  # the limit must exceed checksums.txt
            rows.append(*map(row, range(100)))
        size, count = (folder.path / name).stat().st_size, len(folder.history())
        with (
            largest_file(size + taken),
            pytest.raises(StorageError, match=f"Cannot write .*{name}"),
        ):
            rows.append(row(1))
        assert (folder.path / name).stat().st_size == size
        rows.append(row(2))
        assert problems(folder) == {} and fresh(folder).read()[2] == []
        assert len(folder.history()) == count + 1 and folder.history()[-1]["epoch"] == "2"


def test_without_free_space_nothing_is_written(folder, monkeypatch):
    assert atomic_module.free_bytes(folder.path / "no" / "such") > 0, (
        "of the nearest existing parent"
    )
    before = held(folder.checksums.path)
    monkeypatch.setattr(atomic_module, "free_bytes", lambda path: len(NEW) - 1)
    with pytest.raises(StorageError, match="the disk is full"):
        folder.write(folder.record_file(0), NEW)
    assert held(folder.record_file(0)) == OLD and held(folder.checksums.path) == before
    monkeypatch.setattr(atomic_module, "free_bytes", lambda path: len(NEW))
    folder.write(folder.record_file(0), NEW)
    assert held(folder.record_file(0)) == NEW


LINKS = {
    "records": lambda f: f.write(f.record_file(1), NEW),
    "weights": keep_weights,
    "set_aside": lambda f: f.set_aside(f.record_file(0)),
    ".lock": RunFolder.lock,
    ".owner": RunFolder.lock,
    SUMS: lambda f: f.write(f.record_file(0), NEW),
    "history.csv": lambda f: table(f).append(row(1)),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_the_folder_are_not_followed(folder, name):
    link, outside = folder.path / name, folder.path.parent / "outside"
    if link.exists():
        link.rename(folder.path.parent / "away")
    link.symlink_to(outside)
    what = "Expected a regular file" if "." in name else "Expected a folder inside"
    with pytest.raises(StorageError, match=rf"Cannot write .*{name}\. {what}.*symbolic link"):
        LINKS[name](folder)
    assert not outside.exists()
    outside.write_text("mine") if "." in name else outside.mkdir()
    with pytest.raises(StorageError, match=rf"Cannot write .*{name}\. {what}.*symbolic link"):
        LINKS[name](folder)
    assert outside.read_text() == "mine" if "." in name else not list(outside.iterdir())


def test_a_link_inside_the_folder_is_followed_and_a_linked_file_is_replaced(folder):
    (folder.path / "pictures").mkdir()
    folder.figures.symlink_to("pictures", target_is_directory=True)
    folder.write(folder.figures / "cka.png", NEW)
    assert held(folder.path / "pictures" / "cka.png") == NEW
    victim, record = folder.path.parent / "victim", folder.record_file(0)
    victim.write_text("mine")
    for path in (record, record.with_name(f".{record.name}.{os.getpid()}.part")):
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
        folder.write(record, NEW)
        assert victim.read_text() == "mine" and not record.is_symlink() and held(record) == NEW


HOLD = """
import sys
from repdyn_keras.records import RunFolder
RunFolder(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_rejected_until_the_first_is_killed(folder):
    owner, mine = folder.path / ".owner", folder.records / ".notes"
    names = ("records/.epoch-000001.nc.7.part", ".history.csv.7.part", "weights/.e.7.weights.h5")
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        for path in (mine, *(folder.path / name for name in names)):
            path.write_bytes(b"half")
        announced(folder, folder.record_file(1), NEW)
        before = held(folder.checksums.path)
        with pytest.raises(InputError, match=f"Another process writes to {folder.path}") as caught:
            folder.lock()
        assert f"held by pid {process.pid} on {socket.gethostname()}, since" in str(caught.value)
        assert not isinstance(caught.value, StorageError)
        assert folder.partial_files() == sorted(folder.path / name for name in names)
        assert held(folder.checksums.path) == before
        assert held(folder.checksums.check(folder.record_file(0))) == OLD, "reading needs no lock"
        owner.write_bytes(b"\xff")
        with pytest.raises(InputError, match="an unknown process"):
            folder.lock()
        process.send_signal(signal.SIGKILL)
    assert owner.exists(), "a killed process does not remove it"
    with folder.locked():
        assert f"pid {os.getpid()} on" in owner.read_text()
        assert folder.partial_files() == [] and mine.exists()
    assert not owner.exists() and problems(folder) == {}


def test_the_lock_is_reentrant_and_released_after_an_error(folder):
    def is_free() -> bool:
        try:
            with FileLock(folder.path / ".lock", timeout=0):
                return True
        except Timeout:
            return False

    with pytest.raises(ValueError, match="mine"), folder.locked():
        with RunFolder(folder.path.parent / "run").locked():
            assert not is_free()
        assert (folder.path / ".owner").exists(), "the outer block still holds it"
        assert not is_free()
        raise ValueError("mine")
    assert not (folder.path / ".owner").exists() and is_free()
    announced(folder, folder.record_file(1), NEW)
    with disk() as steps, largest_file(0), pytest.raises(StorageError, match="Cannot write"):
        folder.lock()  # .owner cannot be written
    with (
        disk("fails", len(steps)),
        pytest.raises(StorageError, match=f"{SUMS}. .*the disk is full"),
    ):
        folder.lock()  # confirm_last cannot write
    assert is_free()
    folder.lock()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(folder.unlock).result()
    assert is_free(), "any thread of the process releases it"

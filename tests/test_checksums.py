"""What a run folder knows of its own files: checksums, one writer, whole appends, no way out."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import zlib

import pytest

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import RunFolder
from repdyn_keras.records import atomic as atomic_module
from repdyn_keras.records.atomic import free_bytes, require_room
from repdyn_keras.records.checksums import GONE, Checksums, digest_of, whole_lines
from repdyn_keras.records.tables import as_csv

pytestmark = pytest.mark.without_keras

COLUMNS = ("epoch", "loss")
OLD, NEW = b"what it was", b"what it becomes"


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run folder with one file of each way of writing."""
    folder = RunFolder(tmp_path / "run")
    folder.write(folder.record_file(0), OLD)
    folder.table(folder.history_file, COLUMNS).append({"epoch": 0, "loss": 1.5})
    with folder.writing(folder.weights_file(0), ".weights.h5") as temporary:
        temporary.write_bytes(b"weights")
    return folder


def fresh(folder: RunFolder) -> Checksums:
    """The checksums as another process sees them."""
    return Checksums(folder.path)


def problems(folder: RunFolder) -> dict[str, str]:
    """What is wrong, by file name."""
    sums = fresh(folder)
    found = {name: sums.problem_of(name) for name in sums.read()[0]}
    return {name: problem for name, problem in found.items() if problem}


def keep_times(path, data: bytes) -> None:
    """Changes a file's bytes as a bad disk does: its times stay."""
    state = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def announced(folder: RunFolder, path, data: bytes) -> None:
    """Notes what a file is about to hold, as a writer that is killed right after it."""
    part = folder.path / "part"
    part.write_bytes(data)
    fresh(folder).announce_file(path, part)
    part.unlink()


def line(text: str) -> bytes:
    """A line of `checksums.txt` with a checksum that fits."""
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


# --- entries ----------------------------------------------------------------------------------


def test_every_written_file_has_an_entry_of_what_it_holds(folder):
    entries, last, bad = fresh(folder).read()
    names = {"records/epoch-000000.nc", "history.csv", "weights/epoch-000000.weights.h5"}
    assert set(entries) == names
    assert last == "weights/epoch-000000.weights.h5"
    assert bad == []
    for name in names:
        entry = entries[name][-1]
        assert (entry.digest, entry.size) == digest_of(folder.path / name)
    assert problems(folder) == {}


@pytest.mark.parametrize("name", ["records/epoch-000000.nc", "history.csv"])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "empty"])
def test_changed_bytes_are_a_problem_and_checking_names_the_file(folder, name, how):
    path = folder.path / name
    data = path.read_bytes()
    changed = {
        "flipped": bytes([data[0] ^ 1]) + data[1:],
        "cut": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
    }
    keep_times(path, changed[how])
    assert list(problems(folder)) == [name]
    with pytest.raises(InputError) as caught:
        fresh(folder).check(path)
    for word in (str(path), "is damaged", "checksums.txt", f"repdyn doctor {folder.path}"):
        assert word in str(caught.value)
    path.write_bytes(data)
    assert fresh(folder).check(path) == path
    assert problems(folder) == {}


def test_a_file_that_was_whole_is_looked_at_again_once_it_changed(folder):
    path = folder.record_file(0)
    assert folder.checksums.problem(path) == ""
    path.write_bytes(NEW)
    assert folder.checksums.problem(path) != ""


def test_a_missing_file_is_a_problem(folder):
    folder.record_file(0).unlink()
    assert problems(folder) == {"records/epoch-000000.nc": "it is missing"}


def test_a_file_without_an_entry_is_no_problem(folder):
    (folder.path / "notes.txt").write_text("mine")
    assert fresh(folder).problem(folder.path / "notes.txt") == ""
    assert fresh(folder).check(folder.path / "notes.txt") == folder.path / "notes.txt"
    assert problems(folder) == {}


def test_without_checksums_nothing_is_a_problem(folder):
    folder.checksums.path.unlink()
    assert fresh(folder).read() == ({}, "", [])
    assert fresh(folder).problem(folder.record_file(0)) == ""


def test_the_entry_stands_before_its_file_does(folder, monkeypatch):
    path = folder.record_file(0)
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.append((fresh(folder).of(path)[-1].size, path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(atomic_module.os, "replace", spy)
    folder.write(path, NEW)
    assert seen == [(len(NEW), OLD)]


def test_a_name_of_two_lines_is_refused_and_not_written(folder):
    before = folder.checksums.path.read_bytes()
    with pytest.raises(InputError, match="more than one line"):
        folder.write(folder.path / "one\ntwo", b"")
    assert folder.checksums.path.read_bytes() == before
    assert not (folder.path / "one\ntwo").exists()


@pytest.mark.parametrize("name", ["with spaces  in it.png", "näme ✓.png", "a\rb.png", "-"])
def test_any_other_name_comes_back(folder, name):
    folder.write(folder.figures / name, b"picture")
    assert fresh(folder).read()[2] == []
    assert fresh(folder).of(folder.figures / name)[-1].size == 7
    (folder.figures / name).write_bytes(b"another")
    assert list(problems(folder)) == [f"figures/{name}"]


# --- after a kill -----------------------------------------------------------------------------


def test_announced_and_not_written_the_old_file_is_whole(folder):
    path = folder.record_file(0)
    announced(folder, path, NEW)
    assert problems(folder) == {}
    path.write_bytes(b"neither")
    assert list(problems(folder)) == ["records/epoch-000000.nc"]
    path.write_bytes(NEW)
    assert problems(folder) == {}


def test_what_an_earlier_line_says_counts_no_more_once_another_follows(folder):
    path = folder.record_file(0)
    announced(folder, path, NEW)
    announced(folder, folder.record_file(1), NEW)
    assert list(problems(folder)) == ["records/epoch-000000.nc", "records/epoch-000001.nc"]


@pytest.mark.parametrize("state", ["old", "new", "missing", "neither"])
def test_the_next_writer_settles_what_was_announced(folder, state):
    path = folder.record_file(0)
    announced(folder, path, NEW)
    if state == "missing":
        path.unlink()
    else:
        path.write_bytes({"old": OLD, "new": NEW, "neither": b"neither"}[state])
    with folder.locked():
        folder.write(folder.record_file(1), b"another")
    damaged = ["records/epoch-000000.nc"] if state == "neither" else []
    assert list(problems(folder)) == damaged
    if state == "missing":
        assert fresh(folder).of(path)[-1].digest == GONE


def test_a_new_file_that_was_announced_and_never_came_is_settled_as_gone(folder):
    announced(folder, folder.record_file(7), NEW)
    assert problems(folder) == {"records/epoch-000007.nc": "it is missing"}
    fresh(folder).settle()
    assert problems(folder) == {}


@pytest.mark.parametrize("settled", ["nothing announced", "written"])
def test_settling_what_is_whole_writes_nothing(folder, settled):
    if settled == "written":
        folder.write(folder.record_file(0), NEW)
    before = folder.checksums.path.read_bytes()
    fresh(folder).settle()
    assert folder.checksums.path.read_bytes() == before


def test_settling_without_checksums_makes_none(tmp_path):
    Checksums(tmp_path).settle()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 30, -1])
def test_a_torn_last_line_is_no_bad_one_and_the_next_line_takes_its_place(folder, step):
    path = folder.checksums.path
    before = path.read_bytes()
    folder.write(folder.record_file(1), NEW)
    whole = path.read_bytes()
    torn = whole[: len(before) + step] if step > 0 else whole[:step]
    path.write_bytes(torn)
    entries, last, bad = fresh(folder).read()
    assert "records/epoch-000001.nc" not in entries
    assert last == "weights/epoch-000000.weights.h5"
    assert bad == []
    folder.write(folder.record_file(2), NEW)
    data = path.read_bytes()
    assert data.startswith(before)
    assert data.count(b"\n") == before.count(b"\n") + 1
    assert fresh(folder).read()[2] == []
    assert problems(folder) == {}


def test_the_end_of_the_last_whole_line_is_found_in_files_of_any_length(tmp_path):
    path = tmp_path / "text"
    for length in (0, 1, 4095, 4096, 4097, 9000):
        for tail in (0, 1, 4095, 4096, 5000):
            head = b"x" * length + b"\n"
            path.write_bytes(head + b"y" * tail)
            assert whole_lines(path) == length + 1
    path.write_bytes(b"y" * 9000)
    assert whole_lines(path) == 0


# --- bad lines --------------------------------------------------------------------------------


def test_any_changed_byte_of_a_line_makes_it_bad(folder):
    path = folder.checksums.path
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for place in range(first):
        for bit in (1, 32, 128):
            changed = bytearray(data)
            changed[place] ^= bit
            path.write_bytes(changed)
            entries, _, bad = fresh(folder).read()
            assert bad, (place, bit)
            assert "records/epoch-000000.nc" not in entries


@pytest.mark.parametrize(
    "name", ["../victim", "/etc/passwd", "records/../../victim", "..", ".", "/", ""]
)
def test_a_name_that_leads_outside_is_a_bad_line(folder, name):
    with folder.checksums.path.open("ab") as file:
        file.write(line(f"{'0' * 64} 4 {name}"))
    entries, last, bad = fresh(folder).read()
    assert bad == [4]
    assert name not in entries
    assert last == "weights/epoch-000000.weights.h5"


@pytest.mark.parametrize(
    "text",
    ["", "word", "a b", f"{'0' * 64} -4 x", f"{'0' * 64} 4.0 x", f"{'0' * 64} {'9' * 5000} x"],
)
def test_what_is_no_entry_is_a_bad_line(folder, text):
    with folder.checksums.path.open("ab") as file:
        file.write(line(text))
    assert fresh(folder).read()[2] == [4]
    folder.write(folder.record_file(1), NEW)
    assert fresh(folder).read()[2] == [4], "it stays, to be found"
    assert problems(folder) == {}


# --- taken away on purpose --------------------------------------------------------------------


def test_what_was_forgotten_may_be_missing_and_not_be_there(folder):
    path = folder.record_file(0)
    fresh(folder).forget(path)
    assert problems(folder) == {"records/epoch-000000.nc": "it was taken away, and is there"}
    path.unlink()
    assert problems(folder) == {}
    folder.write(path, NEW)
    assert problems(folder) == {}
    path.write_bytes(OLD)
    assert list(problems(folder)) == ["records/epoch-000000.nc"]


def test_what_has_no_entry_is_not_forgotten(folder):
    before = folder.checksums.path.read_bytes()
    fresh(folder).forget(folder.record_file(5))
    assert folder.checksums.path.read_bytes() == before


def test_set_aside_moves_and_never_overwrites(folder):
    path = folder.record_file(0)
    for number, data in enumerate((OLD, NEW, b"third"), start=1):
        folder.write(path, data)
        moved = folder.set_aside(path)
        name = path.name if number == 1 else f"{number}-{path.name}"
        assert moved == folder.path / "set_aside" / name
        assert moved.read_bytes() == data
        assert not path.exists()
        assert problems(folder) == {}
    assert len(list((folder.path / "set_aside").iterdir())) == 3


def test_a_kill_while_a_file_is_set_aside_leaves_it_and_it_can_be_moved_again(folder, monkeypatch):
    path = folder.record_file(0)

    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("repdyn_keras.records.folder.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.set_aside(path)
    with folder.locked():
        assert problems(folder) == {}
        assert folder.checksums.check(path).read_bytes() == OLD
        assert folder.set_aside(path).read_bytes() == OLD
    assert problems(folder) == {}


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [True, False])
def test_an_interrupted_block_leaves_the_old_file_and_no_part(folder, error, old):
    path = folder.weights_file(0 if old else 1)
    before = folder.checksums.path.read_bytes()
    with pytest.raises(error):
        with folder.writing(path, ".weights.h5") as temporary:
            temporary.write_bytes(b"half")
            raise error
    assert path.exists() == old
    assert not old or path.read_bytes() == b"weights"
    assert folder.leftovers() == []
    assert folder.checksums.path.read_bytes() == before


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_write_that_fails_after_its_line_is_settled_at_once(folder, monkeypatch, step):
    path = folder.record_file(0)
    real = getattr(os, step)
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        # The part, then checksums.txt are synced; the folder, once the file is in its place.
        if step == "replace" or len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_module.os, step, fail)
        with pytest.raises(StorageError, match="epoch-000000.nc: the disk is full"):
            folder.write(path, NEW)
    assert path.read_bytes() == (OLD if step == "replace" else NEW)
    folder.write(folder.record_file(1), b"another")
    assert problems(folder) == {}
    assert folder.leftovers() == []


@pytest.mark.parametrize("name", ["records", "figures", "weights", "set_aside", "checkpoint"])
@pytest.mark.parametrize("target", ["there", "not there"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_written_there(folder, name, target):
    outside = folder.path.parent / "outside"
    if target == "there":
        outside.mkdir()
    shutil.rmtree(folder.path / name, ignore_errors=True)
    (folder.path / name).symlink_to(outside, target_is_directory=True)
    before = folder.checksums.path.read_bytes()
    calls = {
        "records": lambda: folder.write(folder.record_file(1), NEW),
        "figures": lambda: folder.write(folder.figures / "cka.png", NEW),
        "weights": lambda: folder.writing(folder.weights_file(1), ".weights.h5").__enter__(),
        "set_aside": lambda: folder.set_aside(folder.record_file(0)),
        "checkpoint": lambda: folder.write(folder.checkpoint_file, NEW),
    }
    with pytest.raises(StorageError, match=f"{name} is a link that leads out of"):
        calls[name]()
    assert outside.exists() == (target == "there")
    assert target != "there" or list(outside.iterdir()) == []
    assert folder.checksums.path.read_bytes() == before


def test_a_link_that_stays_inside_is_followed(folder):
    (folder.path / "pictures").mkdir()
    folder.figures.symlink_to("pictures", target_is_directory=True)
    folder.write(folder.figures / "cka.png", NEW)
    assert (folder.path / "pictures" / "cka.png").read_bytes() == NEW
    assert problems(folder) == {}


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(folder):
    victim = folder.path.parent / "victim"
    victim.write_text("mine")
    folder.record_file(0).unlink()
    folder.record_file(0).symlink_to(victim)
    folder.write(folder.record_file(0), NEW)
    assert victim.read_text() == "mine"
    assert not folder.record_file(0).is_symlink()
    assert folder.record_file(0).read_bytes() == NEW


# --- tables -----------------------------------------------------------------------------------


def row(epoch: int) -> dict:
    return {"epoch": epoch, "loss": 1 / (epoch + 3)}


def test_every_append_is_covered_and_another_process_goes_on(folder):
    for epoch in range(1, 4):
        folder.table(folder.history_file, COLUMNS).append(row(epoch), row(epoch))
        assert problems(folder) == {}
    assert [r["epoch"] for r in folder.history()] == ["0", "1", "1", "2", "2", "3", "3"]


@pytest.mark.parametrize("synced", [1, 2])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_disk_that_fails_takes_a_whole_row_or_none(folder, monkeypatch, synced, is_new):
    """The first fsync is that of checksums.txt, the second that of the table."""
    path = folder.timing_file if is_new else folder.history_file
    table = folder.table(path, COLUMNS)
    before = path.read_bytes() if path.exists() else b""
    real, calls = os.fsync, []

    def fail(handle):
        calls.append(handle)
        if len(calls) == synced:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_module.os, "fsync", fail)
        with pytest.raises(StorageError, match=f"Cannot write {path.parent}.*the disk is full"):
            table.append(row(1))
    assert (path.read_bytes() if path.exists() else b"") == before
    fresh(folder).settle()
    assert {name for name in problems(folder) if before} == set()
    table.append(row(2))
    assert path.read_bytes() == before + as_csv([row(2)], COLUMNS, header=not before)
    assert problems(folder) == {}


PARTLY = """
import resource, sys
from repdyn_keras.errors import StorageError
from repdyn_keras.records import RunFolder
folder = RunFolder(sys.argv[1])
table = folder.table(folder.history_file, ("epoch", "loss"))
table.open()
path = folder.path / sys.argv[2]
most = path.stat().st_size + int(sys.argv[3])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
try:
    table.append({"epoch": 1, "loss": 0.123456789012345})
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
print(path.stat().st_size - most + int(sys.argv[3]))
table.append({"epoch": 2, "loss": 2.5})
"""


@pytest.mark.parametrize("taken", [1, 12, 18])
@pytest.mark.parametrize("name", ["history.csv", "checksums.txt"])
def test_a_disk_that_takes_a_part_of_a_row_keeps_none_of_it(folder, name, taken):
    """As a disk does that is full within a row; here the system's own limit of a file's size."""
    pytest.importorskip("resource")
    if name == "history.csv":  # it must be the longer one of the two to be cut
        rows = [row(epoch) for epoch in range(1, 100)]
        folder.table(folder.history_file, COLUMNS).append(*rows)
        assert folder.history_file.stat().st_size > folder.checksums.path.stat().st_size + 200
    held = len(folder.history())
    command = [sys.executable, "-c", PARTLY, str(folder.path), name, str(taken)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    said, grown = result.stdout.splitlines()
    assert said.startswith(f"Cannot write {folder.path / name}: ")
    assert grown == "0", "bytes that the failed append left"
    assert problems(folder) == {}
    assert fresh(folder).read()[2] == []
    assert len(folder.history()) == held + 1
    assert folder.history()[-1] == {"epoch": "2", "loss": "2.5"}


def test_a_table_holds_its_rows_and_no_others(folder):
    table = folder.table(folder.timing_file, COLUMNS)
    assert table.holds([])
    assert not table.holds([row(1)])
    table.append(row(1))
    assert table.holds([row(1)])
    assert not table.holds([])
    assert not table.holds([row(1), row(2)])
    assert not table.holds([row(2)])


def test_a_replaced_table_is_whole_and_grows_on(folder):
    table = folder.table(folder.history_file, COLUMNS)
    table.replace([row(4), row(5)])
    assert problems(folder) == {}
    table.append(row(6))
    assert problems(folder) == {}
    with folder.history_file.open(newline="") as file:
        assert [each["epoch"] for each in csv.DictReader(file)] == ["4", "5", "6"]


# --- room -------------------------------------------------------------------------------------


def test_room_is_required_for_what_is_written(tmp_path):
    free = free_bytes(tmp_path)
    require_room(tmp_path / "file", 0)
    with pytest.raises(StorageError) as caught:
        require_room(tmp_path / "file", free * 2 + 10**9)
    needed = f"It needs {(free * 2 + 10**9) / 1e6:,.1f} MB"
    for word in (f"Cannot write {tmp_path / 'file'}", "the disk is full", needed, "MB free"):
        assert word in str(caught.value)


def test_without_room_nothing_is_written(folder, monkeypatch):
    monkeypatch.setattr(atomic_module, "free_bytes", lambda path: len(NEW) - 1)
    before = folder.checksums.path.read_bytes()
    with pytest.raises(StorageError, match="the disk is full"):
        folder.write(folder.record_file(0), NEW)
    assert folder.record_file(0).read_bytes() == OLD
    assert folder.checksums.path.read_bytes() == before
    monkeypatch.setattr(atomic_module, "free_bytes", lambda path: len(NEW))
    folder.write(folder.record_file(0), NEW)
    assert folder.record_file(0).read_bytes() == NEW


# --- one writer -------------------------------------------------------------------------------

HOLD = """
import sys
from repdyn_keras.records import RunFolder
RunFolder(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(folder):
    """Another process that holds the folder's lock."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_pid_and_host_of_the_first(folder, holder):
    with pytest.raises(InputError, match="Another process writes to") as caught:
        folder.lock()
    for word in (str(folder.path), f"pid {holder.pid}", socket.gethostname()):
        assert word in str(caught.value)
    assert not isinstance(caught.value, StorageError)
    assert folder.checksums.check(folder.record_file(0)).read_bytes() == OLD, "reading goes on"


def test_a_refused_process_touches_nothing(folder, holder):
    part = folder.records / ".epoch-000001.nc.77.part"
    part.write_bytes(b"the other writes this now")
    announced(folder, folder.record_file(1), NEW)
    before = folder.checksums.path.read_bytes()
    with pytest.raises(InputError):
        folder.lock()
    assert part.exists()
    assert folder.checksums.path.read_bytes() == before
    assert f"pid {holder.pid}" in (folder.path / ".owner").read_text()


def test_the_lock_of_a_killed_process_does_not_block(folder, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (folder.path / ".owner").exists(), "it could not clear it away"
    with folder.locked():
        assert f"pid {os.getpid()}" in (folder.path / ".owner").read_text()
    assert not (folder.path / ".owner").exists()


def test_one_process_takes_it_more_than_once(folder):
    again = RunFolder(folder.path.parent / "run")
    command = [sys.executable, "-c", HOLD, str(folder.path)]

    def other():
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    with folder.locked():
        with again.locked():
            pass
        assert (folder.path / ".owner").exists(), "the outer block still holds it"
        refused = other()
        assert refused.returncode == 1
        assert f"pid {os.getpid()}" in refused.stderr
    assert not (folder.path / ".owner").exists()
    assert other().stdout == "held\n"


def test_an_error_gives_the_lock_back(folder):
    with pytest.raises(ValueError, match="mine"), folder.locked():
        raise ValueError("mine")
    assert not (folder.path / ".owner").exists()
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    other = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert other.stdout == "held\n"


def test_a_lock_that_cannot_be_settled_is_given_back(folder, monkeypatch):
    """On a disk that is full even that line may not fit."""
    announced(folder, folder.record_file(1), NEW)

    def fail(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_module.os, "fsync", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            folder.lock()
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    other = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert other.stdout == "held\n", other.stderr


def test_the_next_writer_clears_away_what_was_never_finished(folder):
    parts = [
        folder.records / ".epoch-000001.nc.77.part",
        folder.path / ".history.csv.77.part",
        folder.weights / ".epoch-000001.weights.h5.77.weights.h5",
    ]
    mine = folder.records / ".notes"
    for path in (*parts, mine):
        path.write_bytes(b"half")
    with folder.locked():
        assert not any(path.exists() for path in parts)
    assert mine.exists()
    assert problems(folder) == {}

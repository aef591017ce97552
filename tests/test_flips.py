"""Random changes to the files of a run: each is detected, and none changes a result silently.

A change flips a byte or cuts off the end; every second one preserves the times of the file. The
short ring makes a few changes, the long ring 200.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_rejected, repdyn

from repdyn_keras import open_run
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.records.inspection import inspect

pytestmark = pytest.mark.one_backend

# Kinds of files that are changed in turn.
KINDS = ("records/epoch-*.nc", "records/constants.nc", "dynamics.nc", "checkpoint/state.nc")
KINDS += ("weights/*.h5", "run.toml", "history.csv", "timing.csv", "figures/*", "checksums.txt")
KINDS += ("report.html",)
UNREAD = ("timing.csv", "figures/*", "report.html", "checksums.txt")
RECORDED = ("fingerprint", "regions", "probe_accuracy")
READERS = {
    "records": lambda path: RunFolder(path).series(RunFolder(path).epochs(), RECORDED),
    "constants": lambda path: RunFolder(path).constants(),
    "computed": lambda path: compute_dynamics(RunFolder(path)),
    "dynamics": lambda path: open_run(path).dynamics,
    "checkpoint": lambda path: RunFolder(path).checkpoint(),
    "weights": lambda path: [
        RunFolder(path).checksums.check(file).read_bytes()
        for file in sorted(RunFolder(path).weights.iterdir())
    ],
    "configuration": lambda path: open_run(path).config,
    "history": lambda path: repr(open_run(path).history),
}
SLOW = ("computed", "dynamics", "constants")


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Path:
    """A copy of the tiny run; every change to it is undone."""
    return Path(shutil.copytree(tiny_run.folder.path, tmp_path_factory.mktemp("flips") / "run"))


@pytest.fixture(scope="module")
def untouched(tiny_run) -> dict:
    """The result of every reader for the unchanged run."""
    return {name: read(tiny_run.folder.path) for name, read in READERS.items()}


def same(one, other) -> bool:
    """Whether two results are bit-identical."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray):
        return one.tobytes() == other.tobytes()
    if hasattr(one, "identical"):
        numbers = [name for name in one.variables if one[name].dtype != object]
        return one.identical(other) and all(
            one[name].values.tobytes() == other[name].values.tobytes() for name in numbers
        )
    return one == other


def outcome(reader: str, run: Path, untouched: dict) -> str:
    """The outcome of a reader: the text of its error, "the same", or "another number"."""
    try:
        found = READERS[reader](run)
    except InputError as error:
        return str(error)
    return "the same" if same(found, untouched[reader]) else "another number"


def problems(run: Path) -> dict[str, str]:
    return {each.name: each.problem for each in inspect(RunFolder(run)) if each.problem}


def changes(run: Path, kind: str, count: int):
    """Makes the changes to a kind of file one at a time; yields the file and a description."""
    files = sorted(run.glob(kind))
    rng = np.random.default_rng([4, KINDS.index(kind)])
    for number in range(count):
        file = files[rng.integers(len(files))]
        data, state = file.read_bytes(), file.stat()
        times = (state.st_atime_ns, state.st_mtime_ns)
        place, flip = int(rng.integers(len(data))), int(rng.integers(1, 256))
        is_cut = rng.random() < 1 / 3
        changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        try:
            file.write_bytes(data[:place] if is_cut else changed)
            if number % 2 == 0:
                os.utime(file, ns=times)
            yield file, f"{file.relative_to(run)}: {place} {'cut' if is_cut else f'^ {flip}'}"
        finally:
            file.write_bytes(data)
            os.utime(file, ns=times)


def test_the_changes_cover_every_file(run):
    covered = {file for kind in KINDS for file in run.glob(kind)}
    assert covered == {path for path in run.rglob("*") if path.is_file() and path.stat().st_size}


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_change_is_detected_and_no_reader_returns_a_different_number(run, untouched, count):
    """A file whose newest line in checksums.txt is lost is rejected as well."""
    for kind in KINDS:
        is_sums = kind == "checksums.txt"
        for number, (file, what) in enumerate(changes(run, kind, count)):
            name, n_rejected = file.relative_to(run).as_posix(), 0
            for reader in READERS:
                is_its = "records" in kind or kind == f"{reader}.nc"
                if reader in SLOW and not is_its and (number % 4 or count == 2):
                    continue
                message = outcome(reader, run, untouched)
                is_rejected = "is damaged" in message and (is_sums or str(file) in message)
                assert is_rejected or message == "the same", (what, reader, message)
                n_rejected += is_rejected
            assert n_rejected or kind in UNREAD, what
            found = problems(run)
            if is_sums:
                words = ("line ", "not listed", " written", "content changed", "instead of")
                assert all(any(word in each for word in words) for each in found.values()), found
                assert n_rejected < len(READERS), what
            else:
                assert name in found and set(found) <= {name, "dynamics.nc"}, what
            assert found, what
        if count > 2:
            for _, what in changes(run, kind, 1):
                result = repdyn("doctor", run)
                assert result.exit_code == 1 and "│ no │" in result.stdout, what
    assert problems(run) == {}, "every change was undone"


@pytest.mark.long
def test_without_checksums_the_changes_return_different_numbers(run, untouched):
    """Otherwise the test above would prove nothing."""
    held = (run / "checksums.txt").read_bytes()
    (run / "checksums.txt").unlink()
    try:
        for kind, reader in ((KINDS[0], "records"), ("checkpoint/state.nc", "checkpoint")):
            found = [outcome(reader, run, untouched) for _ in changes(run, kind, 20)]
            assert "another number" in found
    finally:
        (run / "checksums.txt").write_bytes(held)


@pytest.mark.long
def test_changed_saved_weights_are_not_recorded(run, tmp_path, monkeypatch):
    """`repdyn record` receives only their folder, and uses the checksums of the run."""
    monkeypatch.chdir(tmp_path)
    for file, _ in changes(run, "weights/*.h5", 1):
        done = repdyn("record", run / "weights", "--like", run, "--out", "new")
        assert_rejected(done, [f"{file} is damaged", "checksums.txt"])
        assert not Path("new").exists()

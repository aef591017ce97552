"""200 random changes of a run's files: each is found, and none gives another number in silence.

A change flips a byte or cuts the end off; every other one leaves the file's times as they were.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from repdyn_keras import open_run
from repdyn_keras.cli import app
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.records.inspection import inspect

CHANGES_OF_A_KIND = 20
# The files of each kind, and what reads them.
KINDS = {
    "record": ("records/epoch-*.nc", ["records", "computed", "dynamics"]),
    "constants": ("records/constants.nc", ["constants", "computed", "dynamics"]),
    "dynamics": ("dynamics.nc", ["dynamics"]),
    "checkpoint": ("checkpoint/state.nc", ["checkpoint"]),
    "weights": ("weights/*.h5", ["weights"]),
    "configuration": ("run.toml", ["configuration"]),
    "history": ("history.csv", ["history"]),
    "timing": ("timing.csv", []),
    "figure": ("figures/*", []),
    "checksums": ("checksums.txt", None),
}
RECORDED = ("fingerprint", "regions", "probe_accuracy")
SLOW = ("computed", "checkpoint", "constants")
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
    "history": lambda path: open_run(path).history,
}


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Path:
    """A copy of the tiny run; each change is undone."""
    return Path(shutil.copytree(tiny_run.folder.path, tmp_path_factory.mktemp("flips") / "run"))


@pytest.fixture(scope="module")
def untouched(tiny_run) -> dict:
    """What every reader gives of the run itself."""
    return {name: read(tiny_run.folder.path) for name, read in READERS.items()}


def same(one, other) -> bool:
    """Whether two readings are the same to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray):
        return one.tobytes() == other.tobytes()
    if hasattr(one, "identical"):
        return one.identical(other) and all(
            one[name].values.tobytes() == other[name].values.tobytes()
            for name in one.variables
            if one[name].dtype != object
        )
    return one == other


def changed(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """The bytes with one flipped, or without their end; and what was done, in words."""
    place = int(rng.integers(len(data)))
    if rng.random() < 1 / 3:
        return data[:place], f"cut to {place} bytes"
    flip = int(rng.integers(1, 256))
    return data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :], f"{place} ^ {flip}"


def changes(run: Path, kind: str):
    """The changes of a kind of file, one at a time: the file, and what was done to it."""
    pattern, _ = KINDS[kind]
    files = sorted(run.glob(pattern))
    assert files
    rng = np.random.default_rng([4, list(KINDS).index(kind)])
    for number in range(CHANGES_OF_A_KIND):
        file = files[rng.integers(len(files))]
        data, state = file.read_bytes(), file.stat()
        times = (state.st_atime_ns, state.st_mtime_ns)
        bad, what = changed(data, rng)
        assert bad != data
        try:
            file.write_bytes(bad)
            if number % 2 == 0:
                os.utime(file, ns=times)
            yield file, f"{file.relative_to(run)}: {what}"
        finally:
            file.write_bytes(data)
            os.utime(file, ns=times)


def outcome(read, run: Path, wanted) -> str:
    """What a reader does: refuses, in its words; gives the same; or another number."""
    try:
        found = read(run)
    except InputError as error:
        return str(error)
    return "the same" if same(found, wanted) else "another number"


def problems(run: Path) -> dict[str, str]:
    return {each.name: each.problem for each in inspect(RunFolder(run)) if each.problem}


def test_there_are_200_changes_and_they_are_over_every_file(run):
    assert len(KINDS) * CHANGES_OF_A_KIND == 200
    covered = {file for pattern, _ in KINDS.values() for file in run.glob(pattern)}
    files = {path for path in run.rglob("*") if path.is_file() and path.stat().st_size}
    assert covered == files


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "checksums"])
def test_a_changed_file_is_refused_by_name_and_found(run, untouched, kind):
    for number, (file, what) in enumerate(changes(run, kind)):
        name = file.relative_to(run).as_posix()
        is_newer = file.stat().st_mtime_ns > (run / "dynamics.nc").stat().st_mtime_ns
        for reader in KINDS[kind][1]:
            said = outcome(READERS[reader], run, untouched[reader])
            if reader == "dynamics" and kind in ("record", "constants") and not is_newer:
                assert said == "the same", what
                continue
            assert str(file) in said, (what, reader)
            assert "is damaged" in said, (what, reader)
        found = problems(run)
        assert name in found, what
        assert set(found) <= {name, "dynamics.nc"}, what
        if number == 0:
            result = CliRunner().invoke(app, ["doctor", str(run)])
            assert result.exit_code == 1, what
            assert name in result.stdout
    assert problems(run) == {}, "every change was undone"


def test_changed_checksums_are_found_and_accuse_or_change_nothing(run, untouched):
    """A line that is lost may be the newest of its file, which is then refused, not read wrong."""
    harmless = 0
    for number, (_, what) in enumerate(changes(run, "checksums")):
        for name, read in READERS.items():
            if name in SLOW and number % 4:
                continue
            said = outcome(read, run, untouched[name])
            assert said == "the same" or "(checksums.txt)" in said, (what, name, said)
            harmless += said == "the same"
        found = problems(run)
        assert found, what
        words = ("line ", "does not name it", " written")
        assert all(any(word in problem for word in words) for problem in found.values()), found
    assert harmless > 0
    assert problems(run) == {}, "every change was undone"


def test_without_checksums_such_changes_do_give_other_numbers(run, untouched):
    """Else the tests above would show nothing."""
    sums = run / "checksums.txt"
    held = sums.read_bytes()
    sums.unlink()
    try:
        for kind, reader in (("record", "records"), ("checkpoint", "checkpoint")):
            found = [outcome(READERS[reader], run, untouched[reader]) for _ in changes(run, kind)]
            assert "another number" in found
    finally:
        sums.write_bytes(held)


def test_kept_weights_that_changed_are_not_recorded_again(run, tmp_path, monkeypatch):
    """`repdyn record` is given their folder alone, and finds the run's checksums beside it."""
    monkeypatch.chdir(tmp_path)
    for file, what in changes(run, "weights"):
        result = CliRunner().invoke(
            app, ["record", str(run / "weights"), "--like", str(run), "--out", "new"]
        )
        assert result.exit_code == 2, what
        assert f"{file} is damaged" in result.stderr, what
        assert "(checksums.txt)" in result.stderr, what
        assert not Path("new").exists()
        break  # each takes a second

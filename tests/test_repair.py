"""Damaged run folders: the output of `repdyn doctor`, and repair."""

import os
import re
from pathlib import Path

import pytest
from helpers import assert_rejected, contents, repdyn

from repdyn_keras.errors import InputError
from repdyn_keras.experiment import repair
from repdyn_keras.records import RunFolder
from repdyn_keras.records.inspection import Repair, inspect

pytestmark = pytest.mark.one_backend


def rewrite(path: Path, data: bytes) -> None:
    """Changes a file but not its times, like a faulty disk."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=times)


def flip(path: Path) -> None:
    """Flips one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, data)


def truncate(path: Path) -> None:
    """Removes the end."""
    rewrite(path, path.read_bytes()[:-7])


def problems(folder: RunFolder) -> dict[str, str]:
    return {f.name: f.problem for f in inspect(RunFolder(folder.path)) if f.problem}


def assert_same_results(one: RunFolder, other: RunFolder) -> None:
    one, other = RunFolder(one.path), RunFolder(other.path)
    assert one.epochs() == other.epochs()
    assert all(one.record(e).identical(other.record(e)) for e in one.epochs())
    assert one.constants().identical(other.constants())
    assert one.dynamics().identical(other.dynamics())
    assert one.history() == other.history()


# How each file can be repaired.
FILES = {
    "run.toml": "",
    "history.csv": "from the checkpoint",
    "timing.csv": "by setting it aside",
    "checkpoint/state.nc": "by setting it aside",
    "records/constants.nc": "from saved weights",
    "records/epoch-000001.nc": "from saved weights",
    "weights/epoch-000002.weights.h5": "by setting it aside",
    "dynamics.nc": "from the records",
    "figures/cka.png": "from the records",
    "report.html": "from the records",
}
# Damaged files, and the one among them that cannot be repaired.
TOGETHER = {
    ("records/epoch-000001.nc", "weights/epoch-000001.weights.h5"): "records/epoch-000001.nc",
    ("records/epoch-000001.nc", "run.toml"): "records/epoch-000001.nc",
    ("records/constants.nc", "run.toml"): "records/constants.nc",
    ("history.csv", "checkpoint/state.nc"): "history.csv",
}


def test_exactly_the_damaged_or_missing_files_are_listed(copy):
    assert problems(copy) == {}
    for names, lost in {**dict.fromkeys(((name,) for name in FILES), ""), **TOGETHER}.items():
        paths = [copy.path / name for name in names]
        for damage in (flip, truncate, Path.unlink):
            held = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
            for path in paths:
                damage(path)
            found = {f.name: f.repair for f in inspect(RunFolder(copy.path)) if f.problem}
            can = {n: FILES.get(n, "by setting it aside") if n != lost else "" for n in names}
            if damage is Path.unlink and names == ("report.html",):
                # Written last: the run may have ended before.
                can = {"report.html": Repair.BY_RESUMING}
            assert found == can, damage
            if damage is truncate and not lost:
                result = repdyn("doctor", copy.path)
                assert result.exit_code == 1
                assert re.search(rf"│ {re.escape(names[0])} +│ no │", result.stdout), result.stdout
            for path, (data, time) in zip(paths, held, strict=True):
                path.write_bytes(data)
                os.utime(path, ns=(time, time))
    assert problems(copy) == {}


def test_damaged_checksums_are_detected_by_line_or_by_unlisted_files(copy):
    path = copy.checksums.path
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text(text.replace(lines[2], lines[2].replace("a", "b", 1)))
    assert problems(copy)["checksums.txt"] == "line 3 is damaged"
    path.write_text("".join(lines[:-1]))
    assert list(problems(copy)) == [lines[-1].split(" ", 3)[3].strip()]
    path.write_text(text)
    # A file that was being written when a run was killed is not damaged.
    copy.checksums.announce(copy.record_file(7), "0" * 64, 100)
    (finding,) = [f for f in inspect(RunFolder(copy.path)) if f.problem]
    assert finding.name == "records/epoch-000007.nc" and "--resume" in finding.repair
    assert "ended while it was written" in finding.problem
    part = copy.records / ".epoch-000007.nc.77.part"
    part.write_bytes(b"half")
    assert problems(copy)["records/.epoch-000007.nc.77.part"] == "half-written, not used"


def test_without_checksums_files_are_recognized_by_name(copy):
    copy.checksums.path.unlink()
    result = repdyn("doctor", copy.path)
    assert result.exit_code == 0 and "no checksum" in result.stdout, result.stdout
    os.utime(copy.dynamics_file, ns=(0, 0))
    assert problems(copy) == {"dynamics.nc": "it is older than the records"}
    names = ("dynamics.nc", "history.csv", "run.toml", "records/constants.nc")
    for name in names[:2]:
        (copy.path / name).rename(copy.path.parent / Path(name).name)
        assert problems(copy) == {name: "it is missing"}
        (copy.path.parent / Path(name).name).rename(copy.path / name)
        os.utime(copy.dynamics_file)
    for name in names[2:]:
        (copy.path / name).unlink()
    assert problems(copy) == dict.fromkeys(reversed(names[2:]), "it is missing")
    copy.record_file(0).write_bytes(b"half")
    assert "cannot be read" in problems(copy)["records/epoch-000000.nc"]


MANY = ("records/epoch-000000.nc", "records/epoch-000003.nc", "records/constants.nc")
MANY += ("history.csv", "dynamics.nc")
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("names", "damage"),
    [
        ((), flip),
        (("history.csv",), truncate),
        pytest.param(("dynamics.nc",), flip, marks=LONG),
        pytest.param(MANY, flip, marks=LONG),
        pytest.param(MANY, Path.unlink, marks=LONG),
    ],
)
def test_repaired_files_equal_the_original_ones(tiny_run, copy, undrawn, names, damage):
    for name in names:
        damage(copy.path / name)
    before = contents(copy.path)
    repair(copy)
    assert names or contents(copy.path) == before, "intact files are unchanged"
    assert problems(copy) == {}
    assert_same_results(copy, tiny_run.folder)
    aside = (
        [file.name for file in copy.set_aside_folder.iterdir()]
        if copy.set_aside_folder.is_dir()
        else []
    )
    moved = [] if damage is Path.unlink else [Path(name).name for name in names]
    assert sorted(aside) == sorted(moved), "damaged files are kept"


@pytest.mark.long
def test_the_command_repairs_what_it_can_and_lists_the_rest(copy, undrawn):
    for file in (copy.record_file(1), copy.weights_file(2), copy.timing_file):
        flip(file)
    result = repdyn("doctor", copy.path, "--repair")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "records/epoch-000001.nc: recorded again from the saved weights." in result.stdout
    assert "timing.csv: set aside, since the run does not need it." in result.stdout
    assert "│ no │" not in result.stdout
    for file in (copy.record_file(2), copy.config_file, copy.dynamics_file):
        flip(file)
    result = repdyn("doctor", copy.path, "--repair")
    assert result.exit_code == 1
    assert "dynamics.nc: not restored, since a record is damaged" in result.stdout
    assert len(re.findall("not repairable", result.stdout)) == 2
    assert copy.record_file(2).is_file() and copy.config_file.is_file()
    with pytest.raises(InputError, match="epoch-000002.nc is damaged"):
        RunFolder(copy.path).record(2)


def test_repair_requires_a_run_and_the_name_of_its_code(copy):
    text = copy.config_file.read_text().replace('model = "resnet"', 'model = "strange:build"')
    copy.write(copy.config_file, text.encode())
    flip(copy.record_file(1))
    before = copy.record_file(1).read_bytes()
    assert_rejected(repdyn("doctor", copy.path, "--repair"), ["strange:build", "--model"])
    assert copy.record_file(1).read_bytes() == before, "files that cannot be repaired are not moved"
    assert_rejected(repdyn("doctor", "--repair"), ["repdyn doctor RUN --repair"])
    assert_rejected(repdyn("doctor", copy.path / "none", "--repair"), ["No folder"])

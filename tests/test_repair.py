"""A damaged run folder: what `repdyn doctor` says of it, and what `--repair` makes again."""

import os
import re
import shutil
from pathlib import Path

import pytest
from helpers import BACKEND, LAYERS
from typer.testing import CliRunner

from repdyn_keras.cli import app
from repdyn_keras.errors import InputError
from repdyn_keras.experiment import repair
from repdyn_keras.records import RunFolder
from repdyn_keras.records.inspection import inspect


@pytest.fixture(scope="module")
def whole(tiny_run) -> RunFolder:
    return tiny_run.folder


@pytest.fixture
def copy(whole, tmp_path) -> RunFolder:
    return RunFolder(shutil.copytree(whole.path, tmp_path / "copy"))


def rewrite(path: Path, data: bytes) -> None:
    """What a disk does to a file: its time does not tell."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=times)


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, data)


def cut(path: Path) -> None:
    """The end is lost."""
    rewrite(path, path.read_bytes()[:-7])


def doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def problems(folder: RunFolder) -> dict[str, str]:
    return {f.name: f.problem for f in inspect(RunFolder(folder.path)) if f.problem}


def same_results(one: RunFolder, other: RunFolder) -> bool:
    one, other = RunFolder(one.path), RunFolder(other.path)
    return (
        one.epochs() == other.epochs()
        and all(one.record(e).identical(other.record(e)) for e in one.epochs())
        and one.constants().identical(other.constants())
        and one.dynamics().identical(other.dynamics())
        and one.history() == other.history()
    )


def test_a_whole_run_has_no_problem_and_repair_changes_nothing(whole, copy):
    assert problems(copy) == {}
    before = {p: p.read_bytes() for p in copy.path.rglob("*") if p.is_file()}
    repair(copy)
    after = {p: p.read_bytes() for p in copy.path.rglob("*") if p.is_file()}
    assert after == before


FILES = (
    "run.toml",
    "history.csv",
    "timing.csv",
    "checkpoint/state.nc",
    "records/constants.nc",
    "records/epoch-000001.nc",
    "weights/epoch-000002.weights.h5",
    "dynamics.nc",
    "figures/cka.png",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_every_damaged_or_missing_file_is_named_and_no_other(copy, name, damage):
    damage(copy.path / name)
    assert list(problems(copy)) == [name]
    result = doctor(copy.path)
    assert result.exit_code == 1
    assert re.search(rf"│ {re.escape(name)} +│ no │", result.stdout), result.stdout


def test_a_damaged_line_of_the_checksums_is_found(copy):
    path = copy.checksums.path
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace("a", "b", 1)
    path.write_text("".join(lines))
    assert problems(copy)["checksums.txt"] == "line 3 is damaged"


def test_cut_checksums_are_found_by_the_files_they_no_longer_name(copy):
    path = copy.checksums.path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    assert list(problems(copy)) == [lines[-1].split(" ", 3)[3].strip()]


def test_a_folder_from_before_the_checksums_is_readable_and_says_that_it_has_none(copy):
    copy.checksums.path.unlink()
    result = doctor(copy.path)
    assert result.exit_code == 0, result.stdout
    assert "no checksum" in result.stdout


REPAIRED = {
    "history": ["history.csv"],
    "dynamics": ["dynamics.nc"],
    "many": [
        "records/epoch-000000.nc",
        "records/epoch-000003.nc",
        "records/constants.nc",
        "history.csv",
        "dynamics.nc",
    ],
}


@pytest.mark.parametrize(
    ("case", "damage"),
    [("many", flip), ("many", Path.unlink), ("history", cut), ("dynamics", flip)],
)
def test_what_is_repaired_is_what_it_was(whole, copy, undrawn, case, damage):
    for name in REPAIRED[case]:
        damage(copy.path / name)
    repair(copy)
    assert problems(copy) == {}
    assert same_results(copy, whole)
    aside = sorted(p.name for p in copy.aside.iterdir()) if copy.aside.is_dir() else []
    moved = [] if damage is Path.unlink else sorted(Path(n).name for n in REPAIRED[case])
    assert aside == moved, "damaged files are kept"


def test_the_command_repairs_and_says_what_it_did(copy, undrawn):
    flip(copy.record_file(1))
    flip(copy.timing_file)
    result = doctor(copy.path, "--repair")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "records/epoch-000001.nc: recorded again from its kept weights." in result.stdout
    assert "timing.csv: set aside" in result.stdout
    assert "│ no │" not in result.stdout


def test_what_cannot_be_made_again_stays_and_is_said(copy):
    flip(copy.record_file(1))
    flip(copy.weights_file(1))
    flip(copy.config_file)
    result = doctor(copy.path, "--repair")
    assert result.exit_code == 1
    assert len(re.findall("not repairable", result.stdout)) == 2
    assert copy.record_file(1).is_file() and copy.config_file.is_file()
    with pytest.raises(InputError, match="epoch-000001.nc is damaged"):
        RunFolder(copy.path).record(1)


def test_a_run_whose_network_is_code_is_repaired_once_the_code_is_named(copy):
    text = copy.config_file.read_text().replace('model = "resnet"', 'model = "strange:build"')
    copy.write(copy.config_file, text.encode())
    flip(copy.record_file(1))
    before = copy.record_file(1).read_bytes()
    result = doctor(copy.path, "--repair")
    assert result.exit_code == 2
    assert "strange:build" in result.stderr and "--model" in result.stderr
    assert copy.record_file(1).read_bytes() == before, "nothing is moved that is not made again"


def test_repair_needs_a_run():
    result = doctor("--repair")
    assert result.exit_code == 2
    assert "repdyn doctor RUN --repair" in result.stderr


def test_what_was_being_written_when_a_run_was_killed_is_no_damage(copy):
    digest = "0" * 64
    copy.checksums.announce(copy.record_file(7), digest, 100)
    finding = next(f for f in inspect(RunFolder(copy.path)) if f.problem)
    assert finding.name == "records/epoch-000007.nc"
    assert "ended while it was written" in finding.problem
    assert "--resume" in finding.repair


def test_the_recorded_layers_are_those_of_the_run(whole):
    assert whole.recorded_layers(0) == LAYERS
    assert whole.config()["backend"] == BACKEND

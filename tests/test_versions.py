"""Run folders that an earlier version of the package wrote, in version 1 of the file format."""

import re

import pytest
from helpers import SHORT, Calls, Killed, contents, kill, repdyn, resumed, run, write_run

from repdyn_keras import open_run
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.records import SCHEMA_VERSION, RunFolder
from repdyn_keras.records.netcdf import read_attribute

pytestmark = pytest.mark.one_backend


@pytest.fixture
def version_1(monkeypatch):
    """A function that calls another while files are written in version 1."""

    def call(function, *given, **more):
        with monkeypatch.context() as patch:
            patch.setattr("repdyn_keras.records.netcdf.SCHEMA_VERSION", 1)
            return function(*given, **more)

    return call


@pytest.fixture
def old(version_1, tmp_path) -> RunFolder:
    """A folder of version 1, with results that this version does not compute any more."""
    folder = version_1(write_run, tmp_path / "old", ("stem", "output"), planes=False)
    dynamics = compute_dynamics(folder)
    labels = dynamics["phase"]
    outdated = dynamics.assign(phase_candidate=labels).drop_vars("border_kind")
    version_1(folder.write_dynamics, outdated)
    return folder


def versions(folder: RunFolder) -> dict[str, int]:
    paths = [folder.constants_file, folder.dynamics_file, *map(folder.record_file, folder.epochs())]
    return {path.name: int(read_attribute(path, "schema_version")) for path in paths}


def test_results_of_version_1_are_computed_anew_from_its_records(old):
    assert set(versions(old).values()) == {1}
    before = contents(old.path)
    found = open_run(old.path).dynamics
    assert found.identical(compute_dynamics(old)) and "phase_candidate" not in found
    assert found.attrs["schema_version"] == SCHEMA_VERSION
    assert contents(old.path) == before, "opening a run writes nothing"
    assert repdyn("analyze", old.path).exit_code == 0
    assert versions(old).pop("dynamics.nc") == SCHEMA_VERSION
    assert old.dynamics().identical(found)
    after = contents(old.path)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"dynamics.nc", "checksums.txt"}


def test_figures_of_version_1_are_drawn_from_new_results(old, monkeypatch):
    drawn = []

    def draw_all(dynamics, *given, **more):
        drawn.append(dynamics)
        return []

    monkeypatch.setattr("repdyn_keras.figures.draw_all", draw_all)
    assert repdyn("figures", old.path).exit_code == 0
    assert drawn[0].identical(compute_dynamics(old))


def test_the_doctor_names_outdated_results_and_repairs_them(old, undrawn):
    result = repdyn("doctor", old.path)
    assert result.exit_code == 1
    words = " ".join(re.sub("[│┃]", " ", result.stdout).split())
    assert "dynamics.nc no an earlier version wrote it (format 1)" in words
    assert words.count(" no ") == 1, "the records are intact"
    assert repdyn("doctor", old.path, "--repair").exit_code == 0
    assert old.dynamics().attrs["schema_version"] == SCHEMA_VERSION


@pytest.mark.long
def test_a_run_of_version_1_is_resumed(version_1, whole, tmp_path, undrawn):
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        version_1(run, SHORT, out=killed, watcher=Calls("recorded", 3, kill))
    folder = resumed(killed)
    assert set(versions(folder).values()) == {1, SCHEMA_VERSION}
    assert open_run(killed).dynamics.identical(open_run(whole.path).dynamics)
    assert folder.history() == whole.history()

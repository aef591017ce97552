"""Invalid command lines of `repdyn study` and `repdyn findings`, and what they print."""

import json
import os
import re
from pathlib import Path

import pytest
import tomli_w
from helpers import assert_rejected, from_file, repdyn
from rich.console import Console

from repdyn_keras.cli.study_printing import print_calibration
from repdyn_keras.records import write_netcdf
from repdyn_keras.study.calibration import Trial, as_table, choose, rates_of

pytestmark = pytest.mark.one_backend
simulated = from_file(Path(__file__).parents[1] / "benchmarks" / "simulated_studies.py")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


BAD = [
    ("", {}, "STUDY.toml or --preset NAME. Received: nothing"),
    ("{file} --preset digits", {}, "Received: both"),
    ("--preset digit", {}, "Unknown preset. .*digits"),
    ("no.toml", {}, "Cannot read the configuration no.toml"),
    (".", {}, "Cannot read the configuration"),
    ("{file}", {"optimizer": []}, "The grid is empty"),
    ("{file}", {"widht": 8}, "Unknown key of a study. .*width"),
    ("{file}", {"seeds": 9000, "width": [4, 8]}, "at most 10000 runs"),
    ("{file}", {"seeds": 201}, "Expected --yes to start more than 200 runs"),
    ("{file} --workers 0", {}, "--workers from 1 to 1000"),
    ("{file} --keep nothing", {}, "Unknown value of --keep. .*dynamics, records, all"),
    ("{file} --cpus-per-run nan", {}, "--cpus-per-run above 0"),
    ("{file} --gpus-per-run inf", {}, "--gpus-per-run of at least 0"),
    ("{file} --run 2", {}, "--run INDEX from 0 to 1"),
    ("{file} --run 0 --dry-run", {}, "--run INDEX without --dry-run"),
    ("{file} --run 0 --ray local", {}, "--run INDEX without .*with --ray"),
    ("{file} --set epochs", {}, "Expected --set key=value"),
    ("{file} --out {file}", {}, "Cannot create the folder"),
    ("{file} --out .", {}, "has other files and no study.toml"),
    ("{file} --out . --status", {}, "has other files and no study.toml"),
    ("{file} --out . --dry-run", {}, "has other files and no study.toml"),
]


@pytest.mark.parametrize(("line", "content", "words"), BAD, ids=[each[0] for each in BAD])
def test_a_bad_command_line_of_study_is_one_clear_error(here, line, content, words):
    (here / "mine.toml").write_text(tomli_w.dumps({"seeds": 2, **content}))
    result = repdyn("study", *line.format(file="mine.toml").split())
    assert_rejected(result, "")
    assert re.search(words, result.stderr), result.stderr
    assert [path.name for path in here.iterdir()] == ["mine.toml"], "nothing is written"


def test_findings_are_printed_where_no_picture_can_be_written(here, monkeypatch):
    """The rows come first: the folder of somebody else's study may be read-only."""
    write_netcdf(simulated.simulated_summary(), here / "summary.nc")
    (here / "figures").write_text("in the way")
    result = repdyn("findings", ".", "--format", "json")
    assert result.exit_code == 2 and "figures" in result.stderr
    assert len(json.loads(result.stdout)["rows"]) == 24
    assert repdyn("findings", "summary.nc", "--format", "json").stdout == result.stdout
    assert sorted(os.listdir()) == ["figures", "summary.nc"]


def test_a_calibration_without_perfect_fit_is_said_in_words(tmp_path):
    rates = rates_of([Trial("a", 0.1, seed, float("inf"), 0.5) for seed in (1, 2)])
    choices = choose(rates)
    with (tmp_path / "text").open("w") as file:
        print_calibration(as_table(rates, choices), choices, Console(file=file, width=100))
    text = " ".join((tmp_path / "text").read_text().split())
    assert "No run of the calibration has a perfect fit" in text and "nan" not in text

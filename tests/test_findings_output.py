"""Findings as tables in the terminal, CSV, JSON, LaTeX, and pictures."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import from_file
from rich.console import Console

from repdyn_keras.cli.findings_table import print_findings
from repdyn_keras.errors import InputError
from repdyn_keras.figures import draw_findings, finding
from repdyn_keras.study.findings import findings
from repdyn_keras.study.findings_text import as_csv, as_json, as_latex, escape_latex, format_p

pytestmark = pytest.mark.without_keras

simulated = from_file(Path(__file__).parents[1] / "benchmarks" / "simulated_studies.py")


@pytest.fixture(scope="module")
def found():
    """Findings of a study with an effect in the first row, a missing run, and odd characters."""
    summary = simulated.simulated_summary(deviation=0.03).isel(run=slice(1, None))
    raised = summary["distinguishability"] + 0.2 * (summary["cell"] == "resnet sgd")
    summary = summary.assign(distinguishability=raised)
    missing = {"resnet-sgd-s0": "out of [red]memory\x1b[2J"}
    return findings(summary.assign_attrs(missing=json.dumps(missing), title="2% [b]of\x07 $x$"))


def same(text, value):
    """Whether a cell of a CSV file holds a value."""
    if isinstance(value, np.floating):
        return text == "" if np.isnan(value) else float(text) == value
    return text == str(value)


def test_csv_and_json_hold_every_value(found):
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    read = json.loads(as_json(found))
    assert read["seeds"] == list(range(10))
    assert read["missing"] == {"resnet-sgd-s0": "out of [red]memory\x1b[2J"}
    assert [row["row"] for row in table] == found["row"].values.tolist()
    names = [name for name in found.data_vars if found[name].dims == ("row",)]
    assert {"verdict", "effect", "p_holm", "explanation", "pairs", "primary"} <= set(names)
    for index, (cells, row) in enumerate(zip(table, read["rows"], strict=True)):
        values = found.isel(row=index)
        for name in names:
            value = values[name].values[()]
            assert same(cells[name], value), name
            is_nan = isinstance(value, np.floating) and np.isnan(value)
            assert (row[name] is None) if is_nan else (row[name] == value), name
        for side in ("left", "right"):
            expected = values[side].values
            assert all(same(cells[f"{side}_{seed}"], expected[seed]) for seed in range(10))
            assert np.array_equal(np.array(row[side], float), expected, equal_nan=True)


def test_latex_has_a_line_for_each_row_and_no_character_that_breaks_it(found):
    lines = as_latex(found).splitlines()
    rows = [line for line in lines if line.endswith("\\\\") and "multicolumn" not in line]
    assert len(rows) == 1 + found.sizes["row"]
    assert {line.replace("\\&", "").count("&") for line in rows} == {6}
    assert [lines.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 2, 1]
    assert "supported" in rows[1] and rows[1].startswith("In ResNet, phases")
    text = escape_latex("50% of a_b & {c} #1 $x$ \\input ~ ^ −1 <")
    assert text == (
        "50\\% of a\\_b \\& \\{c\\} \\#1 \\$x\\$ \\textbackslash{}input \\textasciitilde{} "
        "\\textasciicircum{} $-$1 \\textless{}"
    )
    assert "\x1b" not in escape_latex("\x1b[2J")


def test_p_values_have_two_digits():
    values = [0.5, 0.0996, 0.0214, 0.00196, 0.000061, np.nan]
    assert [format_p(p) for p in values] == ["0.50", "0.10", "0.021", "0.0020", "6.1e-05", "–"]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_shows_every_row_within_its_width(found, width):
    file = io.StringIO()
    print_findings(found, Console(file=file, width=width))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "\x07" not in text and "out of [red]memory\\x1b[2J" in text
    assert "2% [b]of\\x07 $x$" in text
    assert "…" not in text, "nothing is cut off"
    words = " ".join(text.split())
    for value in ("confounded", "undecided", "Holm p", "not testable", "resnet-sgd-s0"):
        assert (value in words) == (value != "confounded")
    assert "1-2, 5-9, 11, 13-14, 17-21, 23: seeds 0" in words, "a run of ResNet is missing"
    first = text[text.index("  1 ") :].splitlines()[0]
    effect = float(found["effect"][0])
    assert "In ResNet" in first and f"{effect:+.3f}" in first and "supported" in first
    assert (f"{float(found['lower'][0]):+.3f}" in first) == (width > 80)


def test_every_row_with_an_effect_has_a_picture(found, tmp_path):
    few = found.sel(row=["vit-state", "double-descent-depth", "depth-change-regions"])
    files = draw_findings(few, tmp_path / "figures")
    assert [file.name for file in files] == [
        "finding_vit-state.png",
        "finding_depth-change-regions.png",
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert np.isfinite(found["effect"].values).sum() == 22


def test_a_picture_shows_the_pairs_the_interval_and_the_verdict(found):
    figure = finding(found, "resnet-sgd-state")
    sides, differences = figure.axes
    row = found.sel(row="resnet-sgd-state")
    paired = np.isfinite(row["left"].values - row["right"].values)
    lines = [line.get_ydata() for line in sides.lines]
    joined = np.array([y for line, y in zip(sides.lines, lines, strict=True)][:9])
    expected = np.stack([row["left"].values, row["right"].values], axis=1)[paired]
    assert paired.sum() == 9
    assert np.allclose(joined, expected)
    shown = [np.ravel(line.get_ydata()) for line in differences.lines]
    assert any(np.allclose(y, [row["lower"], row["upper"]]) for y in shown if len(y) == 2)
    points = np.sort([y[0] for y in shown if len(y) == 1])
    for value in (row["effect"], row["effect_raw"], row["effect_recalibrated"]):
        assert np.isclose(points, float(value)).any()
    assert np.isin(np.round(expected[:, 0] - expected[:, 1], 9), np.round(points, 9)).all()
    texts = [figure.get_suptitle(), figure.subfigs[0].get_suptitle().replace("\n", " ")]
    assert texts[0].replace("\n", " ") == str(row["claim"].values)
    assert texts[1].startswith("Verdict: supported · effect +0.") and "9 of 9" in sides.get_title(
        loc="left"
    )


def test_a_picture_of_an_unknown_row_or_of_something_else_is_an_error(found):
    with pytest.raises(InputError, match="Unknown row. .*nearest: .*vit-state"):
        finding(found, "vit-stat")
    with pytest.raises(InputError, match="Unknown variable. .* Expected findings of a study"):
        finding(found.drop_vars("left"), "vit-state")

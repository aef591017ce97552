"""The page about the findings: its explanations, and its tables, made again from the summaries."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import repdyn_keras
from repdyn_keras.cli.findings_table import print_findings
from repdyn_keras.study.claims import CLAIMS
from repdyn_keras.study.findings import findings
from repdyn_keras.study.summary import open_summary

pytestmark = pytest.mark.without_keras
DOCS = Path(repdyn_keras.__file__).parents[1] / "docs"
PAGE = (DOCS / "findings.md").read_text("utf-8")
# The folder of a study that is under way has no summary yet.
STUDIES = [file.parent.name for file in sorted((DOCS / "findings").glob("*/summary.nc"))]


def test_the_page_explains_every_row_as_the_command_does():
    text = " ".join(PAGE.split())
    for claim in CLAIMS:
        start = text.index(f"**`{claim.name}`**")
        row = text[start : text.find("**`", start + 5) if "**`" in text[start + 5 :] else None]
        assert claim.text in row and claim.explanation in row, claim.name
        assert f"smallest effect {claim.smallest_effect:g}" in row, claim.name


@pytest.mark.parametrize("study", STUDIES)
def test_calibration_and_table_are_those_of_the_summary(study):
    file = DOCS / "findings" / study / "summary.nc"
    assert file.stat().st_size < 1_000_000
    summary = open_summary(file)
    assert f"```\n{summary.attrs['calibration']}```\n" in PAGE
    tested = findings(summary)
    printed = io.StringIO()
    print_findings(tested, Console(file=printed, width=80))
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert "\n".join(["```", *lines, "```"]) in PAGE
    for name, effect in zip(tested["row"].values, tested["effect"].values, strict=True):
        picture = f"findings/{study}/finding_{name}.png"
        if np.isfinite(effect) and tested["primary"].sel(row=name):
            assert f"({picture})" in PAGE and (DOCS / picture).is_file(), name

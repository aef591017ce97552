"""The page about the findings says what the rows say."""

from pathlib import Path

import pytest

import repdyn_keras
from repdyn_keras.study.claims import CLAIMS

pytestmark = pytest.mark.without_keras
DOCS = Path(repdyn_keras.__file__).parents[1] / "docs"


def test_the_page_explains_every_row_as_the_command_does():
    text = " ".join((DOCS / "findings.md").read_text("utf-8").split())
    for claim in CLAIMS:
        start = text.index(f"**`{claim.name}`**")
        row = text[start : text.find("**`", start + 5) if "**`" in text[start + 5 :] else None]
        assert claim.text in row and claim.explanation in row, claim.name
        assert f"smallest effect {claim.smallest_effect:g}" in row, claim.name

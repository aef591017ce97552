"""The script and the style of the pages, checked by a linter."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repdyn_keras.report import run_page
from repdyn_keras.report.run_page import RUN_SCRIPTS, script_of

pytestmark = [pytest.mark.long, pytest.mark.without_keras, pytest.mark.one_backend]

ASSETS = Path(run_page.__file__).parent / "assets"
RULES = {"noUndeclaredVariables": "error", "noUnusedVariables": "error"}


@pytest.fixture
def lint(tmp_path):
    """Lints files with these texts; returns the exit status and what was found."""
    program = Path(sys.executable).with_name("biome")
    assert program.is_file(), "needs pip install -e '.[dev]'"

    def run(**texts):
        folder = tmp_path / "-".join(texts)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        rules = {"recommended": True, "correctness": RULES}
        settings = {"linter": {"enabled": True, "rules": rules}}
        (folder / "biome.json").write_text(json.dumps(settings), encoding="utf-8")
        for name, text in texts.items():
            (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        command = [str(program), "lint", "--error-on-warnings", "--colors=off", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def test_script_and_style_have_no_findings(lint):
    style = (ASSETS / "page.css").read_text("utf-8")
    code, found = lint(page_js=script_of(*RUN_SCRIPTS), page_css=style)
    assert code == 0, found
    code, found = lint(
        page_js=script_of(*RUN_SCRIPTS) + "\nnowhere();\n", page_css=style + "a{colr:"
    )
    assert code == 1 and "noUndeclaredVariables" in found and "page.css" in found
    scripts = {path.name for path in ASSETS.glob("*.js")}
    assert scripts == {"common.js", "runs.js", "wait.js", *RUN_SCRIPTS}


@pytest.mark.parametrize("name", ["runs.js", "wait.js"])
def test_the_scripts_of_other_pages_use_nothing_undeclared(lint, name):
    _, found = lint(page_js=script_of(name))
    assert "noUndeclaredVariables" not in found and "parse" not in found, found

"""The code of the documentation: commands, blocks of Python, studies, and the API reference."""

import ast
import importlib
import inspect
import re
import shlex
import shutil

import numpy as np
import pytest
import typer
from helpers import PAGES, ROOT, from_file

import repdyn_keras
from repdyn_keras.cli import app
from repdyn_keras.study.study_file import load_study

pytestmark = [pytest.mark.long, pytest.mark.one_backend]


def blocks(page: str, language: str = "") -> list[str]:
    """The code blocks of a page in a language."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_api_reference_is_that_of_the_docstrings():
    program = from_file(ROOT / "docs" / "api_reference.py")
    assert program.page() == (ROOT / "docs" / "api.md").read_text("utf-8")
    named = set(re.findall(r"^### (\w+) \*$", program.page(), re.MULTILINE))
    assert named == set(repdyn_keras.__all__) - {"Config"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_options_that_exist(page):
    group = typer.main.get_command(app)
    for block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:\.venv/bin/)?repdyn ([\w-]+.*)", line.partition("  #")[0])
            # Output, and forms such as `repdyn record FOLDER [options]`, are no commands.
            if not found or found[1].startswith(("[", "COMMAND")) or "..." in found[1]:
                continue
            words = shlex.split(found[1])
            if words[0] not in group.commands:
                pytest.fail(f"{page}: no such command: {line}")
            command = group.commands[words[0]]
            known = {name for parameter in command.params for name in parameter.opts}
            for word in words[1:]:
                option = word.partition("=")[0]
                assert not option.startswith("--") or option in known | {"--help"}, line


def test_the_blocks_of_python_run(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    shutil.copytree(tiny_run.folder.path, tmp_path / "runs" / "digits-resnet-sgd-s0")
    monkeypatch.chdir(tmp_path)
    for page in ("docs/commands.md", "docs/models.md", "docs/batch_normalization.md"):
        for block in blocks(page, "python"):
            names: dict = {}
            exec(block, names)
            if "build" in names:
                given = inspect.signature(names["build"]).parameters
                values = {"image_shape": (8, 8, 1), "n_classes": 10, "seed": 0}
                model = names["build"](**{name: values[name] for name in given})
                assert model(np.zeros((1, 8, 8, 1), "float32")).shape == (1, 10)
    assert (tmp_path / "output.pdf").read_bytes().startswith(b"%PDF")


def test_the_studies_of_the_documentation_are_valid(tmp_path):
    for index, block in enumerate(blocks("docs/studies.md", "toml")):
        text = block if "seeds = 10" in block else f"seeds = 8\n{block}"
        file = tmp_path / f"{index}.toml"
        file.write_text(text, encoding="utf-8")
        assert load_study(file).cells


def test_programs_import_names_that_exist():
    programs = [path for folder in ("apps", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert len(programs) > 10
    missing = []
    for path in programs:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("repdyn_keras"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    if not hasattr(module, name.name):
                        try:
                            importlib.import_module(f"{node.module}.{name.name}")
                        except ModuleNotFoundError:
                            missing.append((path.name, name.name))
    assert missing == []

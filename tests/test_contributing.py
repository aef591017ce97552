"""The worked examples of CONTRIBUTING.md, applied to a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import repdyn_keras

pytestmark = [pytest.mark.long, pytest.mark.one_backend]

PACKAGE = Path(repdyn_keras.__file__).parent
TEXT = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
# Where an example adds an entry, and the file of the entry.
TABLES = {
    "FigureEntry": ("figures/figure_table.py", "FIGURES = (\n"),
    "DatasetEntry": ("config/registry.py", 'DATASETS = Registry(\n    "dataset",\n    [\n'),
    "NetworkEntry": ("config/registry.py", 'NETWORKS = Registry(\n    "model",\n    [\n'),
}


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path):
    """A copy of the package with all examples; the files that they touched, by example."""
    copy = shutil.copytree(
        PACKAGE, tmp_path / "repdyn_keras", ignore=shutil.ignore_patterns("__pycache__")
    )
    touched: dict[str, list[str]] = {}
    example = ""
    for block in code_blocks():
        named = re.match(r"# (\S+\.py)\n", block)
        if named and named[1].startswith("repdyn_keras/"):
            example = named[1].removeprefix("repdyn_keras/")
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
            touched[example] = [example]
        elif named:
            tests = tmp_path / "test_examples.py"
            held = tests.read_text("utf-8") if tests.exists() else ""
            tests.write_text(held + block, encoding="utf-8")
        elif block.startswith("MODULES"):
            file = copy / "measures/__init__.py"
            text = re.sub(
                r"^MODULES = \(.*?^\)\n", block, file.read_text("utf-8"), flags=re.M | re.S
            )
            file.write_text(text, encoding="utf-8")
            touched[example].append("measures/__init__.py")
        else:
            kind = re.search(r"^    (\w+Entry)\(", block, re.MULTILINE)[1]
            name, head = TABLES[kind]
            text = (copy / name).read_text("utf-8")
            assert text.count(head) == 1, f"{head!r} is the head of no table in {name}"
            entry = "".join(block.splitlines(keepends=True)[1:-1])
            text = text.replace(head, head + entry)
            if kind == "FigureEntry":
                module = example.removesuffix(".py").replace("/", ".")
                function = module.rpartition(".")[2].replace("plot_", "draw_")
                text = text.replace(
                    "\nimport xarray",
                    f"\nfrom repdyn_keras.{module} import {function}\nimport xarray",
                )
            (copy / name).write_text(text, encoding="utf-8")
            touched[example].append(name)
    return tmp_path, touched


def in_project(folder: Path, *command) -> str:
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_examples_work_together_and_touch_two_files_each(project):
    """A measure, a figure, a data set and a network: recorded, computed, drawn, listed."""
    folder, touched = project
    assert {len(files) for files in touched.values()} == {2} and len(touched) == 4
    settings = ["--set", "width=8", "--set", "planes=0", "--set", "n_eval=64"]
    settings += ["--set", "early_records=0"]
    command = "from repdyn_keras.cli import main; main()"
    words = ["run", "--dataset", "stripes", "--model", "mlp", "--epochs", 2, "--out", "run"]
    in_project(folder, "-c", command, *words, *settings)
    assert (folder / "run/figures/effective_rank.png").stat().st_size > 0
    show = (
        "from repdyn_keras import open_run; d = open_run('run').dynamics; print(d.effective_rank)"
    )
    printed = in_project(folder, "-c", show)
    assert "layer: 4, epoch: 3" in printed and "hidden3" in printed
    helped = in_project(folder, "-c", command, "run", "--help")
    assert "stripes" in helped and "mlp" in helped


def test_the_tests_of_the_examples_pass(project):
    folder, touched = project
    modules = [file.removesuffix(".py").replace("/", ".") for file in touched]
    names = {"effective_rank", "plot_effective_rank", "stripes", "mlp"}
    imports = "import numpy as np\nimport xarray as xr\n" + "".join(
        f"from repdyn_keras.{module} import *\n" for module in modules
    )
    tests = folder / "test_examples.py"
    text = re.sub(r"^pytestmark.*\n", "", tests.read_text("utf-8"), flags=re.MULTILINE)
    tests.write_text(imports + text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n")
    printed = in_project(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests.name)
    assert f"{len(names)} passed" in printed

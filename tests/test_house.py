"""The house: which room imports which, what stays unloaded, and what every module owes."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import repdyn_keras

PACKAGE = Path(repdyn_keras.__file__).parent
NAME = PACKAGE.name
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
# The table of DESIGN.md: what each room may import besides itself.
ROOMS = {
    "__init__": set(),
    "errors": set(),
    "config": {"errors"},
    "datasets": {"config", "errors"},
    "models": {"config", "errors"},
    "measures": {"errors"},
    "records": {"config", "errors"},
    "recording": {"measures", "records", "errors"},
    "dynamics": {"measures", "records", "errors"},
    "figures": {"errors"},
    "experiment": {
        "config",
        "datasets",
        "models",
        "measures",
        "recording",
        "records",
        "dynamics",
        "figures",
        "errors",
    },
}
ROOMS["cli"] = set(ROOMS) | {"__version__"}
BACKENDS = {"jax", "tensorflow", "torch"}
KERAS_ROOMS = {"models", "recording", "experiment"}
KERAS_FILES = {"measures/device.py"}
BACKEND_FILES = {"datasets/devices.py", "recording/backend.py", "experiment/batches.py"}
LONGEST = 420
TESTS = Path(__file__).parent
MARKED = [
    path.name
    for path in sorted(TESTS.glob("test_*.py"))
    if re.search(r"^pytestmark = .*without_keras", path.read_text("utf-8"), re.MULTILINE)
]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imported(node: ast.AST) -> list[str]:
    """Dotted names that the imports below a node name; `from a import b` names `a.b`."""
    names = []
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            names += [alias.name for alias in each.names]
        if isinstance(each, ast.ImportFrom) and each.level == 0:
            names += [f"{each.module}.{alias.name}" for alias in each.names]
    return names


def at_the_top(module: str) -> list[str]:
    """What a module imports when it is imported, that is, outside its functions."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        name
        for statement in tree(module).body
        if not isinstance(statement, kinds)
        for name in imported(statement)
    ]


def room_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def test_every_room_of_the_package_is_in_the_table():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_its_row_names(module):
    room = room_of(module)
    inside = [name.split(".") for name in imported(tree(module)) if name.split(".")[0] == NAME]
    used = {parts[1] for parts in inside if len(parts) > 1}
    assert used - {room} <= ROOMS[room]


def test_the_check_of_imports_sees_what_it_must():
    code = "from repdyn_keras.records import RunFolder\ndef f():\n    import repdyn_keras.models"
    found = imported(ast.parse(code))
    assert found == ["repdyn_keras.records.RunFolder", "repdyn_keras.models"]


@pytest.mark.parametrize("module", MODULES)
def test_no_import_is_relative(module):
    levels = [node.level for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)]
    assert not any(levels)


@pytest.mark.parametrize("module", MODULES)
def test_only_rooms_that_run_the_network_import_keras(module):
    uses = any(name.split(".")[0] == "keras" for name in imported(tree(module)))
    at_top = any(name.split(".")[0] == "keras" for name in at_the_top(module))
    if room_of(module) in KERAS_ROOMS or module in KERAS_FILES:
        return
    assert not at_top
    assert not uses


@pytest.mark.parametrize("module", MODULES)
def test_backends_are_imported_in_functions_of_the_files_meant_for_it(module):
    assert not {name.split(".")[0] for name in at_the_top(module)} & BACKENDS
    if module not in BACKEND_FILES:
        assert not {name.split(".")[0] for name in imported(tree(module))} & BACKENDS


def test_no_test_imports_another():
    names = {path.stem for path in TESTS.glob("test_*.py")}
    for path in TESTS.glob("*.py"):
        found = imported(ast.parse(path.read_text("utf-8")))
        assert not {each.split(".")[0] for each in found} & names, path.name


@pytest.mark.parametrize("name", MARKED)
def test_test_files_marked_without_keras_import_nothing_that_runs_it(name):
    """Only these are tested on one backend alone."""
    found = [each.split(".") for each in imported(ast.parse((TESTS / name).read_text("utf-8")))]
    tops = {parts[0] for parts in found}
    assert not tops & (BACKENDS | {"keras"})
    rooms = {parts[1] for parts in found if parts[0] == NAME}
    assert not rooms & (KERAS_ROOMS | {"RepresentationRecorder", "record", "run"})
    assert not {"measures.device", "cli.app"} & {".".join(parts[1:3]) for parts in found}


def test_some_test_files_are_marked_without_keras_and_some_are_not():
    assert 10 < len(MARKED) < len(list(TESTS.glob("test_*.py"))) - 10


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_docstring_and_is_short(module):
    assert ast.get_docstring(tree(module))
    assert len((PACKAGE / module).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_and_class_has_a_docstring(module):
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [
        node
        for node in tree(module).body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", repdyn_keras.__all__)
def test_every_public_name_resolves(name):
    assert callable(getattr(repdyn_keras, name))
    assert name in dir(repdyn_keras)


def test_the_contracts_names_are_public():
    contract = {"RepresentationRecorder", "cka", "cka_matrix", "open_run", "run"}
    assert contract <= set(repdyn_keras.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="repdyn_keras.*no_such_name"):
        _ = repdyn_keras.no_such_name


# What stays unloaded, seen in processes of their own.


def loaded_by(code: str, *arguments) -> set[str]:
    """The packages that a process has loaded once it has run `code`."""
    code = f"import sys\n{code}\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "MPLBACKEND": "agg"}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED")[2].split())


QUIET_EXIT = """
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
"""


def test_the_check_of_loaded_packages_sees_keras():
    assert {"keras", "repdyn_keras"} <= loaded_by("sys.modules['keras'] = sys; import repdyn_keras")


def test_importing_the_package_loads_no_backend_and_nothing_heavy():
    loaded = loaded_by("import repdyn_keras")
    assert not loaded & (BACKENDS | {"keras", "numpy", "xarray", "matplotlib", "sklearn", "typer"})


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_no_backend(arguments):
    code = f"sys.argv[1:] = {arguments!r}\nfrom repdyn_keras.cli import main\n{QUIET_EXIT}"
    assert not loaded_by(code) & (BACKENDS | {"keras", "xarray", "matplotlib", "sklearn"})


def test_analyzing_and_drawing_a_run_loads_no_backend(tiny_run, tmp_path):
    code = """
from repdyn_keras import open_run
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.figures import draw_all
run = open_run(sys.argv[1])
assert compute_dynamics(run.folder).identical(run.dynamics)
assert len(draw_all(run.dynamics, sys.argv[2])) == 8
"""
    loaded = loaded_by(code, tiny_run.folder.path, tmp_path / "figures")
    assert not loaded & (BACKENDS | {"keras"})
    assert {"xarray", "matplotlib"} <= loaded


def test_importing_every_module_leaves_global_random_state_alone():
    """Keras itself draws from it when it is imported, hence before."""
    loaded_by(
        """
import pkgutil
import random
import keras
import numpy as np
np.random.seed(5)
random.seed(5)
before, before_python = np.random.get_state(), random.getstate()
import repdyn_keras
for name in repdyn_keras.__all__:
    getattr(repdyn_keras, name)
for module in pkgutil.walk_packages(repdyn_keras.__path__, "repdyn_keras."):
    __import__(module.name)
assert "repdyn_keras.recording.recorder" in sys.modules
assert random.getstate() == before_python
after = np.random.get_state()
assert all(np.array_equal(a, b) for a, b in zip(before, after))
"""
    )

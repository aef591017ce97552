"""The structure of the package: imports between rooms, lazy imports, and form of modules."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import repdyn_keras

pytestmark = pytest.mark.one_backend

PACKAGE, TESTS = Path(repdyn_keras.__file__).parent, Path(__file__).parent
NAME = PACKAGE.name
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
# The rooms that each room may import.
ROOMS = {
    "__init__": "backends",
    "backends": "errors",
    "text": "",
    "seeds": "",
    "errors": "text",
    "triplets": "errors text",
    "config": "backends errors text triplets",
    "datasets": "config errors seeds text",
    "models": "config errors seeds text",
    "measures": "errors seeds text",
    "records": "config errors text",
    "recording": "measures records errors seeds text triplets",
    "figures": "records errors text",
    "dynamics": "config figures measures records errors text",
    "report": "dynamics figures records errors text",
}
ROOMS["experiment"] = " ".join(room for room in ROOMS if room != "__init__")
ROOMS["study"] = " ".join(room for room in ROOMS if room != "__init__")
ROOMS = {room: set(names.split()) for room, names in ROOMS.items()}
ROOMS["cli"] = set(ROOMS) | {"__version__"}
ROOMS["report"].add("__version__")
BACKENDS = {"jax", "tensorflow", "torch"}
KERAS_ROOMS = {"models", "recording", "experiment"}
KERAS_FILES = {"measures/device.py"}
BACKEND_FILES = {
    "datasets/tfds.py",
    "recording/backend_code.py",
    "recording/generators.py",
    "recording/sampling/data_sources.py",
    "experiment/survival/batches.py",
}
MAX_LINES = 420


def imported(*nodes: ast.AST) -> list[str]:
    """Dotted names of the imports below nodes; `from a import b` gives `a.b`."""
    names = []
    for each in (each for node in nodes for each in ast.walk(node)):
        if isinstance(each, ast.Import):
            names += [alias.name for alias in each.names]
        if isinstance(each, ast.ImportFrom):
            names += [f"{'.' * each.level}{each.module}.{alias.name}" for alias in each.names]
    return names


def top_level_packages(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def imported_at_top_level(tree: ast.Module) -> list[str]:
    """The imports of a module outside of its functions and classes."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return imported(*(each for each in tree.body if not isinstance(each, kinds)))


def room_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def test_each_room_imports_only_the_rooms_in_its_row():
    assert {room_of(module) for module in TREES} == set(ROOMS)
    inside = "from .a import b\ndef f():\n    import repdyn_keras.c"
    assert imported(ast.parse(inside)) == [".a.b", "repdyn_keras.c"], "the check finds imports"
    assert imported_at_top_level(ast.parse(inside)) == [".a.b"]
    violations = []
    for module, tree in TREES.items():
        names = [name.split(".") for name in imported(tree)]
        used = {parts[1] for parts in names if parts[0] == NAME and len(parts) > 1}
        allowed = {room_of(module), *ROOMS[room_of(module)]}
        violations += [(module, room) for room in sorted(used - allowed)]
        violations += [(module, "a relative import") for parts in names if parts[0] == ""]
    assert violations == []


def test_keras_and_backends_are_imported_only_where_allowed():
    """Rooms that run the network may import Keras; some files import backends in functions."""
    violations = []
    for module, tree in TREES.items():
        if room_of(module) not in KERAS_ROOMS and module not in KERAS_FILES:
            violations += [
                (module, name) for name in top_level_packages(imported(tree)) & {"keras"}
            ]
        names = imported_at_top_level(tree) if module in BACKEND_FILES else imported(tree)
        violations += [(module, name) for name in top_level_packages(names) & BACKENDS]
    assert violations == []


def test_modules_are_short_and_modules_and_public_names_have_docstrings():
    violations = []
    for module, tree in TREES.items():
        if len((PACKAGE / module).read_text("utf-8").splitlines()) > MAX_LINES:
            violations.append((module, "is long"))
        kinds = (ast.FunctionDef, ast.ClassDef)
        public = [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
        public = [n for n in public if "overload" not in map(ast.unparse, n.decorator_list)]
        bare = [node for node in [tree, *public] if not ast.get_docstring(node)]
        violations += [(module, getattr(node, "name", "no docstring")) for node in bare]
    assert violations == []


def test_names_are_found_at_once():
    """No basename twice, bounds called MAX_ and MIN_, and figures/ lists its pictures alone."""
    apps = [path.name for path in (PACKAGE.parent / "apps").glob("*.py")]
    names = [module.rpartition("/")[2] for module in TREES] + apps
    names = [name for name in names if name != "__init__.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
    constants = [
        (module, target.id)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for each in node.targets
        for target in ast.walk(each)
        if isinstance(target, ast.Name)
    ]
    bounds = re.compile(r"_?(MOST|FEWEST|LEAST|LONGEST|SHORTEST|LARGEST|SMALLEST)(_|$)")
    assert bounds.match("MOST_POINTS") and not bounds.match("MAX_POINTS"), "the check sees it"
    assert [(module, name) for module, name in constants if bounds.match(name)] == []
    first_level = {path.name for path in (PACKAGE / "figures").iterdir()} - {"__pycache__"}
    pictures = {name for name in first_level if name.startswith("plot_")}
    assert first_level - pictures == {"__init__.py", "figure_table.py", "parts"}


def documented_arguments(node: ast.AST) -> tuple[set[str], set[str]]:
    """The names under `Args:` in the docstring of a function or class, and its parameters."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
    arguments = node.args if isinstance(node, ast.FunctionDef) else inits and inits[0].args
    if arguments:
        listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        listed += [arguments.vararg, arguments.kwarg]
        parameters = {a.arg for a in listed if a is not None} - {"self", "cls"}
    else:
        parameters = fields
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
    names = re.findall(r"^    ([\w, ]+):", section[1], re.MULTILINE) if section else []
    return {name.strip() for line in names for name in line.split(",")}, parameters


def test_documented_arguments_are_the_parameters():
    made_up = 'def f(a, *, b):\n    """Does it.\n\n    Args:\n        a: x.\n        c: y.\n    """'
    assert documented_arguments(ast.parse(made_up).body[0]) == ({"a", "c"}, {"a", "b"})
    violations = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names, parameters = documented_arguments(node)
                missing = parameters - names if isinstance(node, ast.FunctionDef) else set()
                if names and (names - parameters or missing):
                    violations.append((module, node.name, sorted(names ^ parameters)))
    assert violations == []


def test_test_files_do_not_import_each_other_or_keras_if_marked():
    """Files marked `without_keras` are only tested on one backend."""
    files = {path.stem: path.read_text("utf-8") for path in sorted(TESTS.glob("*.py"))}
    others = {name for name in files if name.startswith("test_")}
    violations, marked = [], []
    for file, text in files.items():
        names = imported(ast.parse(text))
        violations += [(file, name) for name in top_level_packages(names) & others]
        if not re.search(r"^pytestmark = .*without_keras", text, re.MULTILINE):
            continue
        marked.append(file)
        violations += [(file, name) for name in top_level_packages(names) & {*BACKENDS, "keras"}]
        inside = [name.split(".") for name in names if name.startswith(f"{NAME}.")]
        runs_it = {*KERAS_ROOMS, "RepresentationRecorder", "record", "run"}
        violations += [(file, parts[1]) for parts in inside if parts[1] in runs_it]
        dotted = {".".join(parts[1:3]) for parts in inside}
        violations += [(file, name) for name in dotted & {"measures.device", "cli.app"}]
    assert violations == []
    assert 0 < len(marked) < len(others), "the check finds the mark"


def test_public_names_can_be_imported_and_others_raise_attribute_error():
    contract = {"RepresentationRecorder", "cka", "cka_matrix", "open_run", "run"}
    assert contract <= set(repdyn_keras.__all__) <= set(dir(repdyn_keras))
    for name in repdyn_keras.__all__:
        assert callable(getattr(repdyn_keras, name)), name
    with pytest.raises(AttributeError, match="repdyn_keras.*no_such_name"):
        _ = repdyn_keras.no_such_name


# Lazy imports, checked in separate processes.


def loaded_by(code: str, *arguments) -> set[str]:
    """The packages that a process has loaded after running `code`."""
    code = f"import sys\n{code}\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "MPLBACKEND": "agg"},
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED")[2].split())


COMMAND = """
from repdyn_keras.cli import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
"""
HEAVY = {*BACKENDS, "keras", "xarray", "matplotlib", "sklearn"}


def test_importing_the_package_and_help_load_no_backend():
    loaded = loaded_by("sys.modules['torch'] = sys; import repdyn_keras")
    assert loaded & {*HEAVY, "numpy", "typer", NAME} == {"torch", NAME}, (
        "torch shows that the check works"
    )
    for arguments in (["run", "--help"], ["--help"], ["--version"]):
        assert not loaded_by(COMMAND, *arguments) & HEAVY, arguments


@pytest.mark.long
def test_analyzing_and_drawing_a_run_loads_no_backend(tiny_run, tmp_path):
    code = """
from repdyn_keras import open_run
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.figures import draw_all
run = open_run(sys.argv[1])
assert compute_dynamics(run.folder).identical(run.dynamics)
assert len(draw_all(run.dynamics, sys.argv[2])) == 11
"""
    loaded = loaded_by(code, tiny_run.folder.path, tmp_path / "figures")
    assert not loaded & {*BACKENDS, "keras"}
    assert {"xarray", "matplotlib"} <= loaded


@pytest.mark.long
def test_importing_every_module_does_not_change_global_random_state():
    """Keras itself changes this state on import, so it is imported before."""
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

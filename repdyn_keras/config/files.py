"""Configurations as TOML files, and which parts of a file are trusted."""

import dataclasses
import sys
import tomllib
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from repdyn_keras.config.keys import KEYS, Config, check
from repdyn_keras.config.limits import usable_path
from repdyn_keras.config.registry import KERAS_SUFFIX
from repdyn_keras.errors import InputError, unknown

# The table of versions in a `run.toml`.
VERSIONS = "versions"
# Packages that influence the numbers of a run.
PACKAGES = ("repdyn-keras", "keras", "numpy", "jax", "tensorflow", "torch")
# Keys that may hold the path of a file to read.
PATH_KEYS = ("dataset", "data_dir", "model")
# Maximum size of a file; a configuration takes a few kilobytes.
MAX_BYTES = 2**20


def load_config(path: str | Path) -> dict[str, Any]:
    """Reads and checks the keys of a configuration file.

    The table `[versions]` of a `run.toml` is left out.

    Raises:
        InputError: the file cannot be read, is not TOML, or has an unknown key or invalid value.
    """
    path = Path(path)
    values = read_toml(path)
    values.pop(VERSIONS, None)
    for name, value in values.items():
        if name not in KEYS:
            raise unknown("key", name, KEYS, f"In {path}; `repdyn run --keys` lists all.")
        values[name] = check(name, value)
    return values


def load_versions(path: str | Path) -> dict[str, str]:
    """The package versions in a `run.toml`; empty if it has none.

    Raises:
        InputError: the file cannot be read or is not TOML.
    """
    table = read_toml(Path(path)).get(VERSIONS, {})
    return {k: str(v) for k, v in table.items()} if isinstance(table, dict) else {}


def versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that influence a run's numbers."""
    installed = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; raises InputError if it cannot be read or is not TOML."""
    path = usable_path(path)
    expected = "a TOML file with lines such as epochs = 40"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(
                f"Expected {expected}. Received: {path}, which has more than {MAX_BYTES} bytes."
            )
        return tomllib.loads(content.decode("utf-8"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"Cannot read the configuration {path}. Expected {expected}. Received: "
            f"{error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"Expected {expected}. Received: {path}, which is not UTF-8 text."
        ) from None
    except (ValueError, RecursionError) as error:
        # `int` raises a plain ValueError for numbers of more than 4300 digits.
        raise InputError(
            f"Expected {expected}. Received: {path}, which is not valid TOML: {error}."
        ) from None


def with_trust(from_file: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The keys of a file, overridden by those that the user gives.

    The file may be untrusted: the code and the paths with `..` that it names are used only if the
    user names them as well.

    Raises:
        InputError: the file names code to run, or a path with `..`, and the user does not.
    """
    model = from_file.get("model", "")
    # Values of another type are reported when they are checked.
    if isinstance(model, str) and ":" in model and "model" not in given:
        raise InputError(
            "The configuration names code to run. Expected the same model from you, if you trust "
            f"it: --model {model}, or model={model!r} in Python. Received: model = {model!r} from "
            "the file alone."
        )
    for name in PATH_KEYS:
        value = from_file.get(name)
        if name in given or not isinstance(value, str):
            continue
        if has_parent_part(path_in(name, value)):
            raise InputError(
                "The configuration names a path with a parent folder. Expected one without '..', "
                f"or the same path from you, if you trust it: --set {name}={value}, or "
                f"{name}={value!r} in Python. Received: {name} = {value!r} from the file alone."
            )
    return {**from_file, **given}


def has_parent_part(path: str) -> bool:
    """Whether a path has a part `..`, on POSIX or on Windows."""
    return any(".." in kind(path).parts for kind in (PurePosixPath, PureWindowsPath))


def path_in(name: str, value: str) -> str:
    """The path in the value of one of PATH_KEYS; empty if there is none."""
    if name == "dataset":
        return value.partition(":")[2]
    return "" if name == "model" and not value.endswith(KERAS_SUFFIX) else value


def check_paths(values: dict[str, Any]) -> None:
    """Raises InputError if the value of a key is not a possible path.

    This is not part of `check`, since the home folder of `~user` differs between machines.
    """
    for name in PATH_KEYS:
        if values.get(name) is not None:
            usable_path(path_in(name, values[name]))


def to_toml(config: Config, versions: dict[str, str]) -> str:
    """The whole configuration as TOML text, which `load_config` reads back."""
    import tomli_w

    values = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return tomli_w.dumps({**values, VERSIONS: versions})

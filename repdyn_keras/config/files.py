"""A run's configuration as a TOML file."""

import dataclasses
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from repdyn_keras.config.keys import KEYS, SAVED, Config, check
from repdyn_keras.config.paths import usable_path
from repdyn_keras.errors import InputError, unknown

VERSIONS = "versions"
# Keys that may hold the path of what is read.
PATHS = ("dataset", "data_dir", "model")
# A configuration takes a few kilobytes.
MOST_BYTES = 2**20


def load_config(path: str | Path) -> dict[str, Any]:
    """The keys that a configuration file sets, checked one by one.

    The table `[versions]`, which `run.toml` ends with, is left out.

    Raises:
        InputError: the file cannot be read, is not TOML, or holds an unknown key or a bad value.
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
    """The versions that a `run.toml` was written with; empty where it names none.

    Raises:
        InputError: the file cannot be read or is not TOML.
    """
    found = read_toml(Path(path)).get(VERSIONS, {})
    return {k: str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says; raises InputError where it cannot be read or is not TOML."""
    path = usable_path(path)
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise InputError(
                f"{path} holds more than {MOST_BYTES} bytes. Expected a TOML file of some lines "
                "such as epochs = 40."
            )
        return tomllib.loads(text.decode("utf-8"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"Cannot read the configuration {path}: {error.strerror}. Expected a TOML file."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text. Expected a TOML file.") from None
    except (ValueError, RecursionError) as error:
        # A plain ValueError is that of a number with more digits than Python reads.
        raise InputError(
            f"{path} is not valid TOML: {error}. Expected lines such as epochs = 40."
        ) from None


def with_trust(from_file: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The keys of a file under those that the user gives; a stranger's file runs no code.

    Raises:
        InputError: the file names code to run, or a path that climbs by `..`, and the user does
            not.
    """
    model = from_file.get("model", "")
    if ":" in model and "model" not in given:
        raise InputError(
            f"The configuration names code to run, model = {model!r}. Expected you to name it as "
            f"well, if you trust it: --model {model}, or model={model!r} in Python."
        )
    for name in PATHS:
        value = from_file.get(name)
        if name not in given and value is not None and climbs(name, value):
            raise InputError(
                f"The configuration names a path that leads upwards, {name} = {value!r}. Expected "
                f"one without '..', or you to name it as well, if you trust it: --set "
                f"{name}={value}, or {name}={value!r} in Python."
            )
    return {**from_file, **given}


def climbs(name: str, value: str) -> bool:
    """Whether a key's value is a path with a part `..`, in the manner of any system."""
    path = path_in(name, value)
    return any(".." in kind(path).parts for kind in (PurePosixPath, PureWindowsPath))


def path_in(name: str, value: str) -> str:
    """The path that the value of one of PATHS holds; empty where it holds none."""
    if name == "dataset":
        return value.partition(":")[2]
    return "" if name == "model" and not value.endswith(SAVED) else value


def check_paths(values: dict[str, Any]) -> None:
    """Raises InputError where no file can have a path that the keys name.

    Apart from the checks of single keys: whose home `~user` is differs from machine to machine.
    """
    for name in PATHS:
        if values.get(name) is not None:
            usable_path(path_in(name, values[name]))


def to_toml(config: Config, versions: dict[str, str]) -> str:
    """The whole configuration as TOML text; `load_config` reads it back."""
    import tomli_w

    values = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return tomli_w.dumps({**values, VERSIONS: versions})

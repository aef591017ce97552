"""`repdyn doctor`: what works here, or whether a run folder is whole."""

from pathlib import Path
from typing import Annotated

import typer

NOT_WHOLE = 1


def command(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run to check.")
    ] = None,
) -> None:
    """Say what works on this machine, or whether a run folder is whole."""
    from repdyn_keras.cli.tables import print_checks

    rows = machine() if run is None else folder(run)
    print_checks(rows)
    if run is not None and not all(good for _, good, _ in rows):
        raise typer.Exit(NOT_WHOLE)


def machine() -> list[tuple[str, bool, str]]:
    """What is installed: name, whether it works, and what it is or how to get it."""
    import os
    import platform
    from importlib import metadata

    from repdyn_keras.errors import EXTRAS, install_command
    from repdyn_keras.experiment.backends import is_installed

    rows = [("python", True, platform.python_version()), ("cores", True, str(os.cpu_count()))]
    for module in ("keras", "jax", *EXTRAS):
        name = module.replace("_", "-")
        if not is_installed(module):
            rows.append((name, False, install_command(module, EXTRAS)))
            continue
        try:
            rows.append((name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append((name, True, "of unknown version"))
    writable = os.access(".", os.W_OK)
    rows.append(("current folder", writable, "writable" if writable else "not writable"))
    return rows


def folder(path: Path) -> list[tuple[str, bool, str]]:
    """What of a run folder is there and readable: name, whether it is whole, and a word on it."""
    from repdyn_keras.errors import InputError
    from repdyn_keras.records import RunFolder, read_netcdf

    found = RunFolder(path).require_records()
    files = [found.constants_file, *map(found.record_file, found.epochs())]
    if found.dynamics_file.is_file():
        files.append(found.dynamics_file)
    rows = []
    for file in files:
        name = str(file.relative_to(found.path))
        try:
            read_netcdf(file)
            rows.append((name, True, f"{file.stat().st_size:,} bytes"))
        except InputError as error:
            rows.append((name, False, str(error)))
    if all(good for _, good, _ in rows) and not found.dynamics_are_current():
        rows.append(("dynamics.nc", False, f"missing or outdated: repdyn analyze {path}"))
    if found.config_file.is_file() or found.history_file.is_file():
        rows += configured(found)
    for leftover in sorted(found.path.rglob(".*.part")):
        rows.append((str(leftover.relative_to(found.path)), False, "half-written, not used"))
    return rows


def configured(found) -> list[tuple[str, bool, str]]:
    """Whether the files that `repdyn run` writes beside the records are there and readable."""
    from repdyn_keras.config.keys import KEYS
    from repdyn_keras.errors import InputError

    try:
        there = found.config()
        missing = [k for k, spec in KEYS.items() if spec.default is not None and k not in there]
        word = f"{len(there)} keys" if not missing else f"lacks {', '.join(missing)}"
        rows = [("run.toml", not missing, word)]
    except InputError as error:
        rows = [("run.toml", False, str(error))]
    epochs = len(found.history())
    rows.append(("history.csv", epochs > 0, f"{epochs} rows" if epochs else "missing or empty"))
    return rows

"""`repdyn doctor`: what works here, or whether a run folder is whole."""

from pathlib import Path
from typing import Annotated

import typer

NOT_WHOLE = 1


def command(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run to check.")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Make damaged and missing files again from what is whole; nothing is deleted.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="module:function of the run's network, whose code --repair may run."),
    ] = None,
) -> None:
    """Say what works on this machine, or whether a run folder is whole."""
    from repdyn_keras.cli.tables import print_checks

    if repair:
        mend(run, model)
    rows = machine() if run is None else folder(run)
    print_checks(rows)
    if run is not None and not all(good for _, good, _ in rows):
        raise typer.Exit(NOT_WHOLE)


def mend(run: Path | None, model: str | None) -> None:
    """Makes again what can be made again of a run folder."""
    from repdyn_keras.cli.tables import ReplayPrinter
    from repdyn_keras.errors import InputError
    from repdyn_keras.experiment import repair
    from repdyn_keras.records import RunFolder

    if run is None:
        raise InputError("--repair came without a run. Expected repdyn doctor RUN --repair.")
    given = {} if model is None else {"model": model}
    folder = RunFolder(run)
    if not folder.path.is_dir():
        folder.require_records()
    repair(folder, given, ReplayPrinter())


def machine() -> list[tuple[str, bool, str]]:
    """What is installed: name, whether it works, and what it is or how to get it."""
    import os
    import platform
    from importlib import metadata

    from repdyn_keras.backends import is_installed
    from repdyn_keras.errors import EXTRAS, install_command

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
    """What of a run folder is there and whole: name, whether it is, and a word on it."""
    from repdyn_keras.records import RunFolder
    from repdyn_keras.records.inspection import inspect

    return [
        (each.name, not each.problem, each.note or said_of(each))
        for each in inspect(RunFolder(path))
    ]


def said_of(finding) -> str:
    """What is wrong with a file, and what can be done."""
    can = f"repairable {finding.repair}" if finding.repair else "not repairable: restore it"
    return f"{finding.problem}; {can}"

"""`repdyn layers` and `doctor`: recordable layers; the installation and run folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repdyn_keras.cli import options
from repdyn_keras.config import NETWORKS

if TYPE_CHECKING:
    from repdyn_keras.records.inspection import Finding

# Exit code for a run folder with damaged or missing files.
DAMAGED = 1
# Name of what was checked, whether it is all right, and a remark.
Check = tuple[str, bool, str]


def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run to check.")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Restore damaged and missing files from intact ones; delete nothing.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="module:function of the run's network; permits --repair to run its code."
        ),
    ] = None,
) -> None:
    """Check the installation, or the files of a run folder."""
    from repdyn_keras.cli.printing import print_checks

    if repair:
        repair_run(run, model)
    rows = check_installation() if run is None else check_folder(run)
    print_checks(rows)
    if run is not None and not all(good for _, good, _ in rows):
        raise typer.Exit(DAMAGED)


def repair_run(run: Path | None, model: str | None) -> None:
    """Restores the files of a run folder that can be restored."""
    from repdyn_keras.cli.printing import ReplayPrinter
    from repdyn_keras.errors import InputError
    from repdyn_keras.experiment import repair
    from repdyn_keras.records import RunFolder

    if run is None:
        raise InputError(
            "Expected a run to repair: repdyn doctor RUN --repair. Received: --repair without one."
        )
    given = {} if model is None else {"model": model}
    folder = RunFolder(run)
    if not folder.path.is_dir():
        folder.require_records()
    repair(folder, given, ReplayPrinter())


def check_installation() -> list[Check]:
    """Checks Python, the packages and the current folder."""
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
            rows.append((name, True, "unknown version"))
    writable = os.access(".", os.W_OK)
    rows.append(("current folder", writable, "writable" if writable else "not writable"))
    return rows


def check_folder(path: Path) -> list[Check]:
    """Checks the files of a run folder."""
    from repdyn_keras.records import RunFolder
    from repdyn_keras.records.inspection import inspect

    return [
        (finding.name, not finding.problem, finding.note or describe_problem(finding))
        for finding in inspect(RunFolder(path))
    ]


def describe_problem(finding: "Finding") -> str:
    """What is wrong with a file, and how it can be repaired."""
    repair = f"repairable {finding.repair}" if finding.repair else "not repairable: restore it"
    return f"{finding.problem}; {repair}"


# Side of the images in patches if the configuration does not set `image_size`.
DEFAULT_PATCHES = 8


def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{NETWORKS.forms()}.")],
    backend: options.Backend = None,
    output: Annotated[
        str | None, typer.Option(help="Output to record if the network has several.")
    ] = None,
    set_: options.Set = None,
) -> None:
    """Show the layers of a network as a tree: which can be recorded, and which are by default."""
    from repdyn_keras.backends import use_backend
    from repdyn_keras.config import Config, resolve

    given = {"model": model, "backend": backend or None, "output": output}
    config = resolve(Config(**options.collect({}, given, set_ or [])))
    use_backend(config.backend)
    from repdyn_keras.cli.layer_tree import print_layers
    from repdyn_keras.models import build_model, recorded_layers
    from repdyn_keras.recording.network.head import find_head
    from repdyn_keras.recording.network.layer_choice import choose_layers, recordable
    from repdyn_keras.recording.network.model_inputs import check_model, own_inputs
    from repdyn_keras.recording.network.tracing import traced

    side = config.image_size or (config.patch or 1) * DEFAULT_PATCHES
    network = build_model(config, (side, side, 3), 10)
    check_model(network)
    trace = traced(network, own_inputs(network))
    head = find_head(trace, config.output)
    chosen, choice = choose_layers(trace, recorded_layers(config), head)
    print_layers(trace, recordable(trace, head), chosen, choice, head.tensor)

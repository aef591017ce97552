"""`repdyn analyze`, `report`, `watch`, `figures` and `compare`: results of recorded runs."""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repdyn_keras.cli import options
from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted, visible

if TYPE_CHECKING:
    from repdyn_keras.dynamics import Run


def analyze(
    run: Annotated[Path, options.Run],
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M",
            help="Also compute this similarity between epochs: rsa or mutual_knn, or, from records "
            "with features, procrustes, svcca or pwcca; can be repeated. Later analyses keep it.",
        ),
    ] = None,
) -> None:
    """Compute dynamics.nc from the records of a run, without training."""
    from repdyn_keras.cli.results import print_results
    from repdyn_keras.dynamics import analyze, open_run

    opened = open_run(run)
    with opened.folder.locked():
        analyze(opened.folder, measures=measure)
    print_results(open_run(run))


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...|STUDY",
            help="Folder of a run or a study, or those of two to four runs to see side by side.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the page of several runs; default: compare-A-B next to the first.",
        ),
    ] = None,
) -> None:
    """Write report.html, a page that shows a run or a study and needs nothing else.

    It opens in any browser, from a disk or a mail, and requests nothing from any host. With a
    study, the runs whose results were kept get pages too.
    """
    from repdyn_keras.config import usable_path
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.records.atomic import write_bytes
    from repdyn_keras.report import runs_html, write_report
    from repdyn_keras.study.study_report import write_study_report

    paths = [usable_path(path) for path in paths]
    if len(paths) > MAX_SIDE_BY_SIDE or (out is not None and len(paths) == 1):
        received = f"{len(paths)} folders" if len(paths) > 1 else "--out with one folder"
        raise InputError(
            f"Expected one folder, or 2 to {MAX_SIDE_BY_SIDE} folders of runs, with --out or "
            f"without. Received: {received}."
        )
    if len(paths) > 1:
        runs = [open_run(path) for path in paths]
        file = (usable_folder(out) or comparison_folder(runs)) / "report.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, runs_html(runs).encode("utf-8"))
        print(visible(file))
    elif (paths[0] / "study.toml").is_file():
        write_study_report(paths[0], lambda file: print(visible(file), flush=True))
    else:
        opened = open_run(paths[0])
        with opened.folder.locked():
            print(visible(write_report(opened)))


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that goes on.")],
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Address to listen at, so that other machines can see the run; default: this "
            "machine alone.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any that is free.")
    ] = 0,
) -> None:
    """Serve the page of a run while it goes on; new records appear by themselves.

    Ctrl-C ends it. Nothing is written.
    """
    from repdyn_keras.config import usable_path
    from repdyn_keras.report.live import LOCAL_HOST, LivePage, Server

    with Server(LivePage(usable_path(run)), host or LOCAL_HOST, port) as server:
        if not server.is_local:
            print(
                f"repdyn: everyone who can reach {host} can see this run: its images, labels and "
                "configuration. There is no password.",
                file=sys.stderr,
            )
        print(f"{visible(run)} is shown at {server.url} (Ctrl-C ends)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def figures(
    run: Annotated[Path, options.Run],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L",
            help="Layer, by name or regular expression; can be repeated. Default: the layers that "
            "change.",
        ),
    ] = None,
    epoch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E",
            help="Recorded epoch of the decision regions; can be repeated. Default: six of them.",
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Draw only the history of this image, see `repdyn images`; can be repeated.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M",
            help="Draw only the matrices of this similarity: cka, region_agreement, region_kappa "
            "or, once analyzed, rsa, mutual_knn, procrustes, svcca or pwcca; can be repeated. "
            "Default: all figures.",
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="F", help="png, pdf or svg. The animation: with png.")
    ] = "png",
    width: Annotated[
        str,
        typer.Option(
            metavar="W",
            help="Width of a page, such as 5.5in or 140mm. No text is smaller than 6 points.",
        ),
    ] = "12in",
    no_title: Annotated[
        bool, typer.Option("--no-title", help="Leave out titles and subtitles.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the figures; default: RUN/figures."),
    ] = None,
    zoom: Annotated[
        bool,
        typer.Option(
            "--zoom",
            help="Also draw cka_zoomed.png and region_agreement_zoomed.png, in which the "
            "colours of each layer begin near its lowest similarity instead of 0.",
        ),
    ] = False,
) -> None:
    """Draw the figures of a run from its dynamics."""
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.figures import Selection, Sheet, draw_all
    from repdyn_keras.figures.parts.page import write_file
    from repdyn_keras.figures.parts.selection import matching_layers

    chosen = {"--measure": measure, "--epoch": epoch, "--image": image}
    given = [name for name, values in chosen.items() if values]
    if len(given) > 1:
        raise InputError(
            "Expected at most one of --measure, which draws matrices of all epochs alone, --epoch, "
            "which selects those of the decision regions, and --image, which draws histories of "
            f"images alone. Received: {' and '.join(given)}."
        )
    sheet = Sheet(inches(width), not no_title, file_format)
    opened = open_run(run)
    names = opened.dynamics["layer"].values.tolist()
    selection = Selection(
        layers=tuple(matching_layers(layer, names)) if layer else None,
        epochs=tuple(map(epoch_number, epoch)) if epoch else None,
        measures=tuple(measure or ()),
        zoom=zoom,
        images=tuple(image or ()),
    )
    target = usable_folder(out)
    folder = opened.folder
    write = folder.write if target is None else write_file
    with folder.locked():
        paths = draw_all(
            opened.dynamics,
            target or folder.figures,
            write=write,
            selection=selection,
            sheet=sheet,
        )
    for path in paths:
        print(visible(path))


UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72}


def inches(text: str) -> float:
    """A length such as `5.5in` in inches; raises InputError for anything else."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{0,6})?)\s*(in|cm|mm|pt)", text.strip())
    if found is None:
        raise InputError(
            "Expected a length in in, cm, mm or pt, such as 5.5in. "
            f"Received: --width {quoted(text)}."
        )
    return float(found[1]) * UNITS[found[2]]


EPOCH = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
# Maximum number of runs on one page.
MAX_SIDE_BY_SIDE = 4
MAX_FOLDER_NAME = 200


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...|STUDY", help="Folders of two or more runs, or the folder of a study."
        ),
    ],
    epoch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E|E:E",
            help="Epoch of both runs, or one epoch of each, at which all layers are compared; can "
            "be repeated. Default: the first epoch, the perfect fit and the last epoch.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L|L:L",
            help="Layer of both runs, or one layer of each, whose epochs are compared; can be "
            "repeated. Default: every name that both runs have.",
        ),
    ] = None,
    regions: Annotated[
        bool | None,
        typer.Option(
            "--regions/--no-regions",
            help="Whether to compare decision regions. Default: if the runs have the same planes.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the results; default: next to the first run."),
    ] = None,
) -> None:
    """Compare runs that recorded the same images, or the cells of a study.

    Two runs are compared at all epochs, more of them at their perfect fit and at their end.
    """
    from repdyn_keras.cli.run_tables import print_comparison, print_runs
    from repdyn_keras.config import usable_path
    from repdyn_keras.dynamics import compare, compare_runs, open_run
    from repdyn_keras.figures import draw_comparison
    from repdyn_keras.records import write_netcdf

    paths = [usable_path(path) for path in paths]
    if len(paths) == 1:
        compare_study(paths[0], epoch or layer, out)
        return
    epochs = [epoch_pair(text) for text in epoch or []] or None
    layers = [pair(text, "layer") for text in layer or []] or None
    out = usable_folder(out)
    if len(paths) > 2 and (epochs or layers):
        raise InputError(
            "Expected --epoch and --layer with two runs. More runs are compared at their perfect "
            f"fit and at their end, in every layer. Received: {len(paths)} runs."
        )
    runs = [open_run(path) for path in paths]
    if len(runs) == 2:
        comparison = compare(runs[0], runs[1], epochs, layers, regions)
        print_comparison(comparison)
    else:
        comparison = compare_runs(runs, regions)
        print_runs(comparison)
    folder = out or comparison_folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    results_file = folder / "comparison.nc"
    write_netcdf(comparison, results_file)
    for path in (results_file, *draw_comparison(comparison, folder)):
        print(visible(path))


def usable_folder(out: Path | None) -> Path | None:
    """The folder of --out, if one was given; raises InputError for a file."""
    from repdyn_keras.config import usable_path

    out = out and usable_path(out)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"Expected a folder for --out, existing or new. Received: the file {out}.")
    return out


def comparison_folder(runs: "Sequence[Run]") -> Path:
    """The folder for what several runs have together, next to that of the first one."""
    from repdyn_keras.records.run_folder import file_name_part

    paths = [run.folder.path.resolve() for run in runs]
    names = "-".join(["compare", *(file_name_part(path.name) for path in paths)])
    return paths[0].parent / names[:MAX_FOLDER_NAME]


def compare_study(path: Path, selected: list[str] | None, out: Path | None) -> None:
    """Compares the cells of a study, and writes `cells.nc`."""
    from repdyn_keras.cli.study_printing import print_cells
    from repdyn_keras.records import write_netcdf
    from repdyn_keras.study.calibration_stage import all_jobs
    from repdyn_keras.study.cell_comparison import compare_cells
    from repdyn_keras.study.study_file import stored_study
    from repdyn_keras.study.study_folder import StudyFolder

    if not (path / "study.toml").is_file() or selected:
        received = "--epoch or --layer with a study" if selected else f"{path} alone"
        raise InputError(
            "Expected two or more folders of runs, or the folder of a study, which has study.toml. "
            f"Received: {received}."
        )
    folder = StudyFolder(path)
    comparison = compare_cells(folder, all_jobs(stored_study(path), folder)[0])
    print_cells(comparison)
    target = (out or path) / "cells.nc"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(comparison, target)
    print(visible(target))


def pair(text: str, kind: str) -> tuple[str, str]:
    """`X` as (X, X), and `X:Y` as (X, Y)."""
    parts = text.split(":")
    if len(parts) > 2 or not all(parts):
        raise InputError(
            f"Expected one {kind}, or two as in X:Y. Received: --{kind} {quoted(text)}."
        )
    return parts[0], parts[-1]


def epoch_pair(text: str) -> tuple[float, float]:
    """`E` as (E, E), and `E:F` as (E, F)."""
    first, second = pair(text, "epoch")
    return epoch_number(first), epoch_number(second)


def epoch_number(text: str) -> float:
    """The number of an epoch, such as 12 or 0.03; raises InputError for anything else."""
    if not EPOCH.fullmatch(text):
        raise InputError(f"Expected a recorded epoch, such as 0. Received: --epoch {quoted(text)}.")
    return float(text)

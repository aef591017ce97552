"""`repdyn compare`: two runs on the same images, layer by layer and epoch by epoch."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted, visible

# Of an epoch's number.
MOST_DIGITS = 18


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    other: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of another.")],
    epoch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E|E:E",
            help="Epoch, of both or of each, at which all layers are compared; repeatable. "
            "Default the first, the perfect fit and the last.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L|L:L",
            help="Layer, of both or of each, whose epochs are compared; repeatable. Default "
            "every name that both have.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the results; default beside the first run."),
    ] = None,
) -> None:
    """Compare two runs that recorded the same images: layers with layers, epochs with epochs."""
    from repdyn_keras.cli.tables import print_comparison
    from repdyn_keras.config import usable_path
    from repdyn_keras.dynamics import compare, open_run
    from repdyn_keras.figures import draw_comparison
    from repdyn_keras.records import write_netcdf
    from repdyn_keras.records.run_folder import file_name_part

    epochs = None if not epoch else [tuple(map(whole, pair(text, "epoch"))) for text in epoch]
    layers = None if not layer else [pair(text, "layer") for text in layer]
    out = out and usable_path(out)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file. Expected a folder, there already or new.")
    runs = open_run(usable_path(run)), open_run(usable_path(other))
    comparison = compare(*runs, epochs, layers)
    names = [file_name_part(opened.folder.path.resolve().name) for opened in runs]
    folder = out or run.resolve().parent / f"compare-{names[0]}-{names[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    print_comparison(comparison)
    results = folder / "comparison.nc"
    write_netcdf(comparison, results)
    for path in (results, *draw_comparison(comparison, folder)):
        print(visible(path))


def pair(text: str, kind: str) -> tuple[str, str]:
    """`X` as (X, X), and `X:Y` as (X, Y)."""
    parts = text.split(":")
    if len(parts) > 2 or not all(parts):
        raise InputError(f"--{kind} {quoted(text)} came. Expected one {kind}, or two as in X:Y.")
    return parts[0], parts[-1]


def whole(text: str) -> int:
    """A whole number, or InputError."""
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise InputError(f"--epoch {quoted(text)} came. Expected a recorded epoch, such as 0.")
    return int(text)

"""Draw decision regions of a recorded run, or of a saved model without a run.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer output --animate
    python apps/plot_regions.py model.keras --dataset digits --layer output

Rows are layers, columns are epochs; several planes are below each other on one sheet. A single map
fills the page. With --animate the file is an animation of all recorded epochs. Only a model needs a
backend.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repdyn_keras.errors import InputError, StorageError, unknown
from repdyn_keras.text import visible

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

MAX_NAME = 40
PICTURES = (".png", ".pdf", ".svg")


def draw(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.keras", help="Folder of a run, or a saved model.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or regular expression; repeatable. Default: those that change, or "
            "all with --animate or a model."
        ),
    ] = None,
    epoch: Annotated[
        list[int] | None, typer.Option(help="Recorded epoch; repeatable. Default: six of them.")
    ] = None,
    plane: Annotated[list[int] | None, typer.Option(help="Plane; repeatable. Default: 0.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG, PDF or SVG file; a GIF for each plane with --animate. Default: regions.png "
            "or regions.gif.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Width of the sheet in inches. Default: 12.")
    ] = None,
    animate: Annotated[
        bool, typer.Option("--animate", help="A GIF with a frame for each recorded epoch.")
    ] = False,
    dataset: Annotated[
        str, typer.Option(help="With a model: the data set of the images, as in `repdyn run`.")
    ] = "digits",
) -> None:
    """Draw decision regions of chosen layers, epochs and planes of a run or a saved model."""
    from repdyn_keras import open_run
    from repdyn_keras.figures import Sheet, animate_regions, film_strip
    from repdyn_keras.figures.parts.lookup import number_index, require
    from repdyn_keras.figures.parts.page import rendered, write_file
    from repdyn_keras.figures.parts.selection import matching_layers
    from repdyn_keras.figures.parts.sheet import on_sheet
    from repdyn_keras.figures.parts.style import without_tex

    out = out or Path("regions.gif" if animate else "regions.png")
    planes = plane or [0]
    check_output(out, animate)
    is_model = source.suffix == ".keras" and not source.is_dir()
    if animate and (epoch or width or is_model):
        raise InputError(
            "Expected --animate, which shows every recorded epoch of a run on a screen, without "
            "--epoch and --width, and not with a model. Received: both. Drop one."
        )
    sheet = Sheet(
        width or Sheet().width, file_format=out.suffix[1:].lower() if not animate else "png"
    )
    dynamics = of_model(source, dataset, max(planes)) if is_model else open_run(source).dynamics
    names = dynamics["layer"].values.tolist()
    layers = matching_layers(layer, names) if layer else names if is_model else None
    require(dynamics, "regions")
    for number in planes:
        number_index(dynamics, "plane", number)
    if animate:
        for number in planes:
            path = out.with_stem(f"{out.stem}-plane{number}") if len(planes) > 1 else out
            print(animate_regions(dynamics, layers, number, path))
        return
    with without_tex(), on_sheet(sheet):
        figure = film_strip(dynamics, planes, layers, epoch)
        if is_model:
            name_column(figure.axes[0], visible(source.name, MAX_NAME))
        write_file(out, rendered(figure, sheet.file_format))
    print(out)


def of_model(file: Path, dataset: str, last_plane: int) -> "xarray.Dataset":
    """The results of a saved model, recorded at one epoch in a folder that is removed again."""
    from repdyn_keras import record

    if not file.is_file():
        raise InputError(f"Expected RUN or MODEL.keras, a saved model. Received: no file {file}.")
    planes = max(last_plane + 1, 3)
    keys = {"dataset": dataset, "planes": planes, "drawn_planes": planes, "report": False}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        shutil.copyfile(file, checkpoints / "epoch-0.keras")
        return record(checkpoints, keys, out=Path(folder) / "run").dynamics.load()


def name_column(ax: "Axes", name: str) -> None:
    """Name the only column of maps after the model, which was saved at an epoch nobody knows."""
    ax.set_xticklabels([name], parse_math=False)
    for text in ax.texts:
        if text.get_text() == "epoch":
            text.set_text("model")


def check_output(out: Path, animate: bool) -> None:
    """Check the suffix and the folder of the output file; InputError where they cannot be used."""
    suffix = out.suffix.lower()
    if animate and suffix != ".gif":
        raise unknown("suffix of --out with --animate", out.suffix, [".gif"])
    if not animate and suffix not in PICTURES:
        hint = "For an animation, .gif, add --animate." if suffix == ".gif" else ""
        raise unknown("suffix of --out", out.suffix, PICTURES, hint)
    if not out.absolute().parent.is_dir():
        raise InputError(
            f"Expected --out in an existing folder. Received: {out}, and there is no folder "
            f"{out.absolute().parent}."
        )


def main() -> None:
    """Run the program; an error is one line on stderr and exit code 2."""
    try:
        typer.run(draw)
    except (InputError, StorageError, OSError) as error:
        print(f"plot_regions: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""Draws the decision regions of a recorded run.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer output --animate

Needs no backend. Draws one image per plane with layers as rows and epochs as columns, or, with
--animate, one animation per plane of all recorded epochs.
"""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError, StorageError, unknown
from repdyn_keras.text import visible

PICTURES = (".png", ".pdf", ".svg")


def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Name or regular expression; can be repeated. Default: all."),
    ] = None,
    epoch: Annotated[
        list[int] | None,
        typer.Option(help="Recorded epoch; can be repeated. Default: ten of them."),
    ] = None,
    plane: Annotated[
        list[int] | None, typer.Option(help="Plane; can be repeated. Default: 0.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG, PDF or SVG file; with --animate, a GIF. With several planes, -planeN is "
            "added to the name. Default: regions.png or regions.gif.",
            show_default=False,
        ),
    ] = None,
    animate: Annotated[
        bool, typer.Option("--animate", help="A GIF with a frame for each recorded epoch.")
    ] = False,
) -> None:
    """Draw decision regions of selected layers, epochs and planes of a recorded run."""
    from repdyn_keras import open_run
    from repdyn_keras.figures import animate_regions, film_strip
    from repdyn_keras.figures.choose import pick_plane, require
    from repdyn_keras.figures.style import without_tex

    out = out or Path("regions.gif" if animate else "regions.png")
    check_output(out, animate)
    if animate and epoch:
        raise InputError(
            "Expected --epoch or --animate, which shows every recorded epoch. Received: both."
        )
    dynamics = open_run(run).dynamics
    names = dynamics["layer"].values.tolist()
    layers = chosen_layers(layer, names) if layer else None
    planes = plane or [0]
    require(dynamics, "regions")
    for number in planes:
        pick_plane(dynamics, number)
    paths = [out.with_stem(f"{out.stem}-plane{number}") for number in planes]
    paths = paths if len(planes) > 1 else [out]
    if animate:
        for number, path in zip(planes, paths, strict=True):
            print(animate_regions(dynamics, layers, number, path))
        return
    with without_tex():
        figures = [film_strip(dynamics, number, layers, epoch or None) for number in planes]
        for figure, path in zip(figures, paths, strict=True):
            figure.savefig(path, dpi=150)
            print(path)


def check_output(out: Path, animate: bool) -> None:
    """Raises InputError unless the file has a known ending and its folder exists."""
    ending = out.suffix.lower()
    if animate and ending != ".gif":
        raise unknown("ending of --out with --animate", out.suffix, [".gif"])
    if not animate and ending not in PICTURES:
        hint = "Add --animate to write a GIF." if ending == ".gif" else ""
        raise unknown("ending of --out", out.suffix, PICTURES, hint)
    if not out.absolute().parent.is_dir():
        raise InputError(
            f"Expected --out in an existing folder. Received: {out}, in the folder "
            f"{out.absolute().parent}, which does not exist."
        )


def chosen_layers(patterns: list[str], names: list[str]) -> list[str]:
    """The layers that match a name or a regular expression, in the order of the run."""
    chosen = set()
    for pattern in patterns:
        try:
            matches = [name for name in names if name == pattern or re.fullmatch(pattern, name)]
        except re.error as error:
            raise InputError(
                "Expected --layer with a name or a regular expression, for one of: "
                f"{', '.join(names)}. Received: {pattern!r} ({error})."
            ) from None
        if not matches:
            raise InputError(
                f"Unknown layer. Expected one of: {', '.join(names)}. Received: {pattern!r}."
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


def main() -> None:
    """Runs the program; invalid input gives one message and exit code 2."""
    try:
        typer.run(draw)
    except (InputError, StorageError, OSError) as error:
        print(f"plot_regions: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

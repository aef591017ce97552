"""Draws decision regions of a recorded run to a file.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer output --animate

Needs no backend. Layers are rows, epochs columns, one picture a plane; with --animate an animation
of all recorded epochs.
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
        list[str] | None, typer.Option(help="Name or regular expression; repeatable. Default all.")
    ] = None,
    epoch: Annotated[
        list[int] | None, typer.Option(help="Recorded epoch; repeatable. Default ten of them.")
    ] = None,
    plane: Annotated[list[int] | None, typer.Option(help="Plane; repeatable.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG, PDF or SVG, with --animate GIF; with several planes, -planeN is added. "
            "Default regions.png or regions.gif.",
            show_default=False,
        ),
    ] = None,
    animate: Annotated[
        bool, typer.Option("--animate", help="A GIF with a frame for each recorded epoch.")
    ] = False,
) -> None:
    """Draw decision regions of chosen layers, epochs and planes of a recorded run."""
    from repdyn_keras import open_run
    from repdyn_keras.figures import animate_regions, film_strip
    from repdyn_keras.figures.parts.lookup import plane_index, require
    from repdyn_keras.figures.parts.style import without_tex

    out = out or Path("regions.gif" if animate else "regions.png")
    check_output(out, animate)
    if animate and epoch:
        raise InputError("--epoch came with --animate, which shows every recorded epoch. Drop one.")
    dynamics = open_run(run).dynamics
    names = dynamics["layer"].values.tolist()
    layers = chosen_layers(layer, names) if layer else None
    planes = plane or [0]
    require(dynamics, "regions")
    for number in planes:
        plane_index(dynamics, number)
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
    """Raises InputError unless a file of this name can be written."""
    ending = out.suffix.lower()
    if animate and ending != ".gif":
        raise unknown("ending of --out with --animate", out.suffix, [".gif"])
    if not animate and ending not in PICTURES:
        hint = "For an animation, .gif, add --animate." if ending == ".gif" else ""
        raise unknown("ending of --out", out.suffix, PICTURES, hint)
    if not out.absolute().parent.is_dir():
        raise InputError(f"No folder {out.absolute().parent}. Expected --out in one that exists.")


def chosen_layers(patterns: list[str], names: list[str]) -> list[str]:
    """The layers that any of the names or regular expressions match, in the run's order."""
    chosen = set()
    for pattern in patterns:
        try:
            matches = [name for name in names if name == pattern or re.fullmatch(pattern, name)]
        except re.error as error:
            raise InputError(
                f"--layer {pattern!r} is not a regular expression: {error}. Expected a name or an "
                f"expression; layers: {', '.join(names)}."
            ) from None
        if not matches:
            raise InputError(f"Unknown layer {pattern!r}. Expected among: {', '.join(names)}.")
        chosen.update(matches)
    return [name for name in names if name in chosen]


def main() -> None:
    """Runs the program; bad input is one message and exit code 2."""
    try:
        typer.run(draw)
    except (InputError, StorageError, OSError) as error:
        print(f"plot_regions: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

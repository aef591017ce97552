"""Draw decision regions of a recorded run.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer output --animate

Rows are layers, columns are epochs, and each plane is a file. With --animate the file is an
animation of all recorded epochs. No backend is needed.
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
        list[str] | None, typer.Option(help="Name or regular expression; repeatable. Default: all.")
    ] = None,
    epoch: Annotated[
        list[int] | None, typer.Option(help="Recorded epoch; repeatable. Default: ten of them.")
    ] = None,
    plane: Annotated[list[int] | None, typer.Option(help="Plane; repeatable.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG, PDF or SVG file, GIF with --animate. -planeN is added for several planes. "
            "Default: regions.png or regions.gif.",
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
    from repdyn_keras.figures.parts.lookup import number_index, require
    from repdyn_keras.figures.parts.style import without_tex

    out = out or Path("regions.gif" if animate else "regions.png")
    check_output(out, animate)
    if animate and epoch:
        raise InputError(
            "Expected --epoch or --animate, which shows every recorded epoch. Received: both. "
            "Drop one."
        )
    dynamics = open_run(run).dynamics
    names = dynamics["layer"].values.tolist()
    layers = chosen_layers(layer, names) if layer else None
    planes = plane or [0]
    require(dynamics, "regions")
    for number in planes:
        number_index(dynamics, "plane", number)
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


def chosen_layers(patterns: list[str], names: list[str]) -> list[str]:
    """The layers that match any of the names or regular expressions, in the run's order."""
    chosen: set[str] = set()
    for pattern in patterns:
        problem = "it matches none"
        try:
            matches = [name for name in names if name == pattern or re.fullmatch(pattern, name)]
        except re.error as error:
            matches, problem = [], f"it is not a regular expression: {error}"
        if not matches:
            raise InputError(
                "Unknown layer. Expected a name or a regular expression that matches some of: "
                f"{', '.join(names)}. Received: {pattern!r}; {problem}."
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


def main() -> None:
    """Run the program; an error is one line on stderr and exit code 2."""
    try:
        typer.run(draw)
    except (InputError, StorageError, OSError) as error:
        print(f"plot_regions: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""Draws decision regions of a recorded run to a file.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png

Needs no backend. Layers are rows, epochs columns, one picture a plane.
"""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError, unknown


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
        Path, typer.Option(help="PNG, PDF or SVG; with several planes, -planeN is added.")
    ] = Path("regions.png"),
) -> None:
    """Draw decision regions of chosen layers, epochs and planes of a recorded run."""
    from repdyn_keras import open_run
    from repdyn_keras.figures import film_strip

    dynamics = open_run(run).dynamics
    names = dynamics["layer"].values.tolist()
    layers = chosen_layers(layer, names) if layer else None
    planes = plane or [0]
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise unknown("ending of --out", out.suffix, (".png", ".pdf", ".svg"))
    if not out.absolute().parent.is_dir():
        raise InputError(f"No folder {out.absolute().parent}. Expected --out in one that exists.")
    figures = [
        film_strip(dynamics, plane=number, layers=layers, epochs=epoch or None) for number in planes
    ]
    for number, figure in zip(planes, figures, strict=True):
        suffix = f"-plane{number}" if len(planes) > 1 else ""
        path = out.with_stem(out.stem + suffix)
        figure.savefig(path, dpi=150)
        print(path)


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
    except (InputError, OSError) as error:
        print(f"plot_regions: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

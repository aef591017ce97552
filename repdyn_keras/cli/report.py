"""`repdyn report`: the pictures of a run."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.text import visible


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Draw the figures of a run from its dynamics."""
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.figures import draw_all

    opened = open_run(run)
    folder = opened.folder
    with folder.locked():
        for path in draw_all(opened.dynamics, folder.figures, write=folder.write):
            print(visible(path))

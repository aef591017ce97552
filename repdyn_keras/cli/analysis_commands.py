"""`repdyn analyze` and `repdyn report`: the dynamics and the figures of a recorded run."""

from pathlib import Path
from typing import Annotated

from repdyn_keras.cli import options
from repdyn_keras.text import visible


def analyze(run: Annotated[Path, options.Run]) -> None:
    """Compute dynamics.nc from the records of a run, without training."""
    from repdyn_keras.cli.printing import print_results
    from repdyn_keras.dynamics import analyze, open_run

    opened = open_run(run)
    with opened.folder.locked():
        analyze(opened.folder)
    print_results(open_run(run))


def report(run: Annotated[Path, options.Run]) -> None:
    """Draw the figures of a run from its dynamics."""
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.figures import draw_all

    opened = open_run(run)
    folder = opened.folder
    with folder.locked():
        for path in draw_all(opened.dynamics, folder.figures, write=folder.write):
            print(visible(path))

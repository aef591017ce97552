"""`repdyn analyze`: the dynamics of a run from its records."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Compute dynamics.nc from the records, without retraining."""
    from repdyn_keras.cli.tables import print_results
    from repdyn_keras.dynamics import analyze, open_run

    opened = open_run(run)
    with opened.folder.locked():
        analyze(opened.folder)
    print_results(open_run(run))

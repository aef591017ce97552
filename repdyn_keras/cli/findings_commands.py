"""`repdyn findings`: the claims of the paper, tested on a study."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import unknown
from repdyn_keras.text import visible

FORMATS = ("text", "csv", "latex", "json")


def findings(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="Folder of a study, or the summary.nc of one."),
    ],
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, csv, latex or json.")] = (
        "text"
    ),
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of one picture for each row; default: the study's figures/, none for a "
            "summary.nc.",
        ),
    ] = None,
) -> None:
    """Test the paper's findings on a study: effects, intervals, verdicts."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    from repdyn_keras.config import usable_path
    from repdyn_keras.figures import draw_findings
    from repdyn_keras.study.findings import findings
    from repdyn_keras.study.summary import open_summary

    path = usable_path(study)
    tested = findings(open_summary(path))
    if format == "text":
        from repdyn_keras.cli.findings_table import print_findings

        print_findings(tested)
    else:
        from repdyn_keras.study import findings_text

        write = {"csv": findings_text.as_csv, "json": findings_text.as_json}
        typer.echo(write.get(format, findings_text.as_latex)(tested), nl=False)
    # After the rows, which need no folder that can be written to.
    folder = figures or (path / "figures" if path.is_dir() else None)
    for file in [] if folder is None else draw_findings(tested, folder):
        if format == "text":
            print(visible(file))

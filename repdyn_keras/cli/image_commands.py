"""`repdyn images`: the history of every image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from repdyn_keras.cli import options
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import format_epoch, visible

if TYPE_CHECKING:
    import pandas
    import xarray

FORMATS = ("text", "csv")
# Rows of the table that are shown by default.
LIMIT = 24


def images(
    run: Annotated[Path, options.Run],
    suspects: Annotated[
        bool,
        typer.Option("--suspects", help="Only images for which another class has more votes."),
    ] = False,
    late: Annotated[
        bool, typer.Option("--late", help="In the order of learning, the last ones first.")
    ] = False,
    forgotten: Annotated[
        bool, typer.Option("--forgotten", help="Only forgotten images, the most often ones first.")
    ] = False,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text or csv.")] = "text",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Rows; default: {LIMIT} as text, all as csv."),
    ] = None,
) -> None:
    """List the images whose labels are suspicious, and when each image was learned.

    By default all images, the most suspicious labels first.
    """
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.dynamics.image_lists import image_list

    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    flags = {"suspects": suspects, "late": late, "forgotten": forgotten}
    chosen = [name for name, given in flags.items() if given]
    if len(chosen) > 1:
        raise InputError(
            "Expected at most one of --suspects, --late and --forgotten. Received: "
            f"{' and '.join(f'--{name}' for name in chosen)}."
        )
    dynamics = open_run(run).dynamics
    listed = image_list(dynamics, chosen[0] if chosen else None)
    if format == "csv":
        listed.index = listed.index.map(lambda image: visible(image))
        typer.echo(listed.head(limit or len(listed)).to_csv(float_format="%.6g"), nl=False)
    else:
        print_images(dynamics, listed, chosen[0] if chosen else None, limit or LIMIT)


def print_images(
    dynamics: "xarray.Dataset", listed: "pandas.DataFrame", order: str | None, limit: int
) -> None:
    """Prints the first rows of a list of images as a table, and what its columns mean.

    Args:
        dynamics: the Dataset of the run.
        listed: of `image_list`.
        order: the order of the list, or None.
        limit: number of rows.
    """
    from rich.console import Console
    from rich.table import Table

    from repdyn_keras.cli.printing import format_number, literal
    from repdyn_keras.dynamics.image_lists import ORDERS
    from repdyn_keras.figures.parts import style

    has_names, hidden = style.has_class_names(dynamics), dynamics.sizes["layer"] - 1

    def label(number: float) -> str:
        if not number >= 0:
            return "-"
        return style.class_name(dynamics, int(number), 12) if has_names else f"{number:.0f}"

    def learned(row: "pandas.Series") -> tuple[str, str]:
        epoch = row["learned_epoch"]
        lost = f"{row['forgetting_events']:.0f}"
        return "never" if np.isnan(epoch) else format_epoch(epoch), lost

    is_known, is_classifier = "label_true" in listed, style.has_class_scores(dynamics)
    shown = listed.head(limit)
    heading = f"{len(shown)} of {len(listed)} images"
    table = Table(
        title=f"{heading}: {ORDERS[order] if order else 'the most suspicious labels first'}",
        title_justify="left",
    )
    columns = ["image", "given", "before", *(["true"] if is_known else []), "suspicion", "margin"]
    for column in [*columns, "learned", "lost", "depth"]:
        table.add_column(column, justify="right", no_wrap=True)
    for image, row in shown.iterrows():
        depth = row["prediction_depth"]
        table.add_row(
            literal(image, 24),
            literal(label(row["label_given"])),
            literal(label(row["label_before"])),
            *([literal(label(row["label_true"]))] if is_known else []),
            format_number(row["suspicion"]),
            format_number(row["area_under_margin"], 1),
            *(learned(row) if is_classifier else ("-", "-")),
            "-" if np.isnan(depth) else f"{depth:.0f}/{hidden}",
        )
    console = Console()
    console.print(table)
    for line in NOTES:
        console.print(literal(line), soft_wrap=True)


NOTES = (
    "before: the class that probes and output predicted most before the given label was learned",
    "suspicion: share of all predictions for the strongest other class minus the share for the "
    "given label; above 0, the label is probably wrong",
    "margin: logit of the given label minus the largest other, averaged over epochs",
    "learned: epoch from which on the given label is predicted; of a wrong label, its memorization",
    "lost: how many times the given label was predicted at a record and not at the next",
    "depth: number of the first layer from which on all probes agree with the output, at the last "
    "record, of all hidden layers",
)

"""The tables of `repdyn findings`."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from repdyn_keras.cli.printing import format_number, literal, title
from repdyn_keras.study.findings_text import format_interval, format_p, format_signed
from repdyn_keras.study.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED

if TYPE_CHECKING:
    import xarray

STYLES = {SUPPORTED: "green", CONTRADICTED: "red"}
GROUPS = {
    True: "Findings on CKA",
    False: "Findings on region agreement (secondary, corrected apart)",
}
# From this width on, an interval is beside its effect and not below it.
WIDE = 110
MAX_WIDTH = 140
# Characters of a reason, of which some name cells of the study.
MAX_LINE = 600


def print_findings(findings: "xarray.Dataset", console: Console | None = None) -> None:
    """Prints the rows with their verdicts, and below them what the verdicts rest on.

    Args:
        findings: of `repdyn_keras.study.findings.findings`.
        console: where to print; None for standard output.
    """
    console = console or Console()
    numbers = {str(row): index for index, row in enumerate(findings["row"].values, 1)}
    if findings.attrs["title"]:
        console.print(title(findings.attrs["title"]), soft_wrap=True)
    for primary, heading in GROUPS.items():
        chosen = findings.isel(row=np.flatnonzero(findings["primary"].values == primary))
        if chosen.sizes["row"]:
            console.print(Text(heading, style="bold"))
            console.print(verdict_table(chosen, numbers, min(console.width, MAX_WIDTH)))
    console.print(Text("Beside the effects", style="bold"))
    console.print(evidence_table(findings, numbers))
    print_list(console, "Reasons, by number of row", reasons(findings, numbers))
    print_list(console, "Seeds without both sides, by number of row", left_out(findings, numbers))
    missing = json.loads(findings.attrs["missing"])
    print_list(
        console, "Missing runs", [("", f"{name}: {why}") for name, why in sorted(missing.items())]
    )
    console.print(
        Text(
            "effect: mean over seeds of left minus right, a positive one is predicted; interval: "
            "95%, Student's t; p: two-sided, sign flips of the differences; n: seeds with both "
            "sides."
        )
    )


def verdict_table(findings: "xarray.Dataset", numbers: dict[str, int], width: int) -> Table:
    """Claims, effects with intervals, p values, number of seeds, and verdicts.

    Args:
        findings: the rows to show.
        numbers: of the rows by name.
        width: columns of the terminal; narrow ones have the interval below the effect.
    """
    padding = (0, 0 if width < WIDE else 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, width=width, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("claim", ratio=1)
    table.add_column("effect [95%]", no_wrap=True)
    for name in ("p", "Holm p", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", width=16 if width < WIDE else 24)
    between = "\n" if width < WIDE else " "
    for name in map(str, findings["row"].values):
        row = findings.sel(row=name)
        verdict = str(row["verdict"].values)
        table.add_row(
            str(numbers[name]),
            literal(row["claim"].values),
            Text(between.join([format_signed(row["effect"]), format_interval(row)]).rstrip()),
            format_p(row["p"]),
            format_p(row["p_holm"]),
            str(int(row["pairs"])),
            Text(verdict, style=STYLES.get(verdict, "")),
        )
    return table


def evidence_table(findings: "xarray.Dataset", numbers: dict[str, int]) -> Table:
    """Smallest effects of interest, effects in other readings, and noise shares, by row.

    Args:
        findings: the rows to show; those without an effect are left out.
        numbers: of the rows by name.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    for name in ("effect", "smallest\nof interest", "recalibrated\nBatchNorm", "raw\nepochs"):
        table.add_column(name, justify="right")
    table.add_column("noise share\nleft, right", justify="right")
    table.add_column("left, right", overflow="fold")
    for name in map(str, findings["row"].values):
        row = findings.sel(row=name)
        if np.isnan(float(row["effect"])):
            continue
        noise = [format_number(float(row[f"noise_{side}"]), 3) for side in ("left", "right")]
        table.add_row(
            str(numbers[name]),
            format_signed(row["effect"]),
            f"{float(row['smallest_effect']):g}",
            format_signed(row["effect_recalibrated"]),
            format_signed(row["effect_raw"]),
            ", ".join(noise),
            literal(f"{row['left_side'].values}, {row['right_side'].values}"),
        )
    return table


def reasons(findings: "xarray.Dataset", numbers: dict[str, int]) -> list[tuple[str, str]]:
    """Numbers of rows and the reason of their verdict; rows of the same reason together.

    Rows that are undecided by their p value, which the table shows, are left out.
    """
    shown = findings["p_holm"].values > findings.attrs["alpha"]
    undecided = findings["verdict"].values == UNDECIDED
    return _grouped(findings.isel(row=np.flatnonzero(~(shown & undecided))), numbers, "reason")


def left_out(findings: "xarray.Dataset", numbers: dict[str, int]) -> list[tuple[str, str]]:
    """Numbers of rows and the seeds they leave out; rows that leave out the same together."""
    grouped = _grouped(findings, numbers, "left_out")
    return [(rows, f"seeds {seeds}") for rows, seeds in grouped]


def print_list(console: Console, heading: str, lines: Iterable[tuple[str, str]]) -> None:
    """Prints a heading, and lines with the numbers of their rows; nothing without lines."""
    lines = list(lines)
    if not lines:
        return
    console.print(Text(heading, style="bold"))
    for rows, text in lines:
        line = f"{rows}: {text}" if rows else text
        console.print(Padding(literal(line, MAX_LINE), (0, 0, 0, 2)))
    console.print()


def _grouped(findings, numbers, variable):
    found: dict[str, list[int]] = {}
    for name, text in zip(findings["row"].values, findings[variable].values, strict=True):
        if str(text):
            found.setdefault(str(text), []).append(numbers[str(name)])
    return [(_ranges(rows), text) for text, rows in found.items()]


def _ranges(rows):
    """Ascending numbers as text, such as `1-3, 5`."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][-1] + 1:
            parts[-1].append(row)
        else:
            parts.append([row])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)

"""Tables of comparisons of runs."""

import itertools
import string
from typing import TYPE_CHECKING

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from repdyn_keras.cli.printing import MAX_NAME, MAX_TITLE, format_mean, format_number, literal
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    import xarray

REGIONS_CAPTION = (
    "\nregions: share of plane points with the same class in both runs"
    "\nkappa: the same beyond chance (0 = chance)"
)
MEASURES = {
    "cka": "CKA",
    "region_agreement": "agreement of regions",
    "region_kappa": "kappa of regions",
}
# Pairs of runs that a table has columns for. Of more, it shows the output alone.
MAX_PAIRS = 10


def print_comparison(comparison: "xarray.Dataset") -> None:
    """Prints the similarity of each layer of run A with the same and the nearest layer of B."""
    console = Console()
    for run in "ab":
        console.print(literal(f"{run.upper()}: {comparison.attrs[f'title_{run}']}", MAX_TITLE))
    others = [str(name) for name in comparison["layer_b"].values]
    has_regions = "region_agreement_layers" in comparison
    for moment in range(comparison.sizes["moment"]):
        selected = comparison.isel(moment=moment)
        cka, spread = selected["cka_layers"].values, selected["cka_layers_null"].values
        by_class = "unknown, since A and B do not have the same labels"
        if "cka_layers_null_class" in selected:
            null = selected["cka_layers_null_class"].values
            by_class = f"{format_mean(null, 2)} on average"
        table = Table(
            title=f"A at epoch {format_epoch(selected['epoch_a'].item())}, "
            f"B at epoch {format_epoch(selected['epoch_b'].item())}",
            caption=f"CKA of unrelated layers: 0 ± {format_mean(spread, 4)}\n"
            f"with only the classes in common: {by_class}"
            f"{REGIONS_CAPTION if has_regions else ''}",
        )
        table.add_column("layer of A", no_wrap=True)
        table.add_column("same in B: CKA", justify="right")
        measures = ["region_agreement_layers", "region_kappa_layers"] if has_regions else []
        for heading in ("regions", "kappa")[: len(measures)]:
            table.add_column(heading, justify="right")
        table.add_column("nearest in B", no_wrap=True)
        table.add_column("its CKA", justify="right")
        for row, name in enumerate(map(str, comparison["layer_a"].values)):
            same = [""] * (1 + len(measures))
            if name in others:
                column = others.index(name)
                values = (selected[each].values[row, column] for each in ("cka_layers", *measures))
                same = list(map(format_number, values))
            if np.isnan(cka[row]).all():
                table.add_row(literal(name, MAX_NAME), *same, "", "-")
                continue
            nearest = int(np.nanargmax(cka[row]))
            table.add_row(
                literal(name, MAX_NAME),
                *same,
                literal(others[nearest], MAX_NAME),
                format_number(cka[row, nearest]),
            )
        console.print(table)
    if not has_regions:
        reason = literal(f"Regions are not compared: {comparison.attrs['regions_missing']}.")
        console.print(reason, soft_wrap=True)


def print_runs(comparison: "xarray.Dataset") -> None:
    """Prints the similarity of every two runs, a table for each moment and measure.

    Rows are layers and columns are pairs of runs. With many runs, rows and columns are runs, and
    the layer is the output.
    """
    console = Console()
    names = [str(name) for name in comparison["run"].values]
    numbers = itertools.count(len(string.ascii_uppercase) + 1)
    letters = [*string.ascii_uppercase[: len(names)]]
    letters += [f"R{next(numbers)}" for _ in names[len(letters) :]]
    for letter, name, title in zip(letters, names, comparison["title"].values, strict=True):
        console.print(literal(f"{letter}: {name} ({title})", MAX_TITLE), soft_wrap=True)
    for moment in map(str, comparison["moment"].values):
        chosen = comparison.sel(moment=moment)
        pairs = zip(letters, chosen["epoch"].values, strict=True)
        at = [f"{format_epoch(epoch)} of {letter}" for letter, epoch in pairs if np.isfinite(epoch)]
        if len(at) < 2:
            continue
        console.print(f"\n{moment}: epochs {', '.join(at)}", highlight=False, soft_wrap=True)
        tables = [
            run_table(chosen[measure], letters, title)
            for measure, title in MEASURES.items()
            if measure in chosen and np.isfinite(chosen[measure]).any()
        ]
        console.print(Columns(tables))
    if comparison.attrs["regions_missing"]:
        some = " between all runs" if "region_agreement" in comparison else ""
        reason = f"Regions are not compared{some}: {comparison.attrs['regions_missing']}."
        console.print(literal(reason), soft_wrap=True)


def run_table(values: "xarray.DataArray", letters: list[str], title: str) -> Table:
    """A table of one similarity (layer, run, run_other) of runs with these letters."""
    values = values.transpose("layer", "run", "run_other")
    pairs = list(itertools.combinations(range(len(letters)), 2))
    if len(pairs) <= MAX_PAIRS:
        table = Table(title=title)
        table.add_column("layer", no_wrap=True)
        for one, other in pairs:
            table.add_column(f"{letters[one]}-{letters[other]}", justify="right")
        for layer in values:
            cells = (format_number(float(layer[pair])) for pair in pairs)
            table.add_row(literal(str(layer["layer"].values), MAX_NAME), *cells)
        return table
    table = Table(title=f"{title}: output", caption="other layers: comparison.nc")
    table.add_column("run")
    for letter in letters:
        table.add_column(letter, justify="right")
    for letter, row in zip(letters, values.sel(layer="output").values, strict=True):
        table.add_row(letter, *map(format_number, row))
    return table

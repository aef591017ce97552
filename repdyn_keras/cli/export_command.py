"""`repdyn export`: variables of a run as a table, for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repdyn_keras.cli import options
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import visible

if TYPE_CHECKING:
    import pandas
    import xarray

FORMATS = ("csv", "json")


def export(
    run: Annotated[Path, options.Run],
    variable: Annotated[
        str | None,
        typer.Option(metavar="V", help="Variable of dynamics.nc; without it, all are listed."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L", help="Layer, by name or regular expression; can be repeated. Default: all."
        ),
    ] = None,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="csv or json.")] = "csv",
) -> None:
    """Print one variable of dynamics.nc as a table or as JSON, for other programs."""
    from repdyn_keras.dynamics import open_run
    from repdyn_keras.figures.parts.selection import matching_layers

    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    dynamics = open_run(run).dynamics
    if variable is None:
        list_variables(dynamics)
        return
    if variable not in dynamics.variables:
        names = map(str, dynamics.data_vars)
        raise unknown("variable", variable, names, "`repdyn export RUN` lists all.")
    values = dynamics[variable]
    if layer:
        if "layer" not in values.dims:
            raise InputError(
                f"Expected --layer with a variable of layers. Received: {variable}, with dims "
                f"({', '.join(map(str, values.dims))}). Drop --layer."
            )
        chosen = matching_layers(layer, dynamics["layer"].values.tolist())
        values = values.sel(layer=chosen)
    write = as_csv if format == "csv" else as_json
    typer.echo(write(values), nl=False)


def list_variables(dynamics: "xarray.Dataset") -> None:
    """Prints the variables of a run with their dimensions, units and meanings."""
    from rich.console import Console
    from rich.table import Table

    from repdyn_keras.cli.printing import literal

    table = Table("variable", "dims", "unit", "meaning")
    for name, values in dynamics.items():
        cells = (name, ", ".join(map(str, values.dims)), values.attrs.get("units", ""))
        table.add_row(*map(literal, (*cells, values.attrs.get("long_name", ""))))
    Console().print(table)


def as_csv(values: "xarray.DataArray") -> str:
    """A variable as CSV: one row for each value, with a column for each dimension."""
    # A coordinate of the same name as the variable is a column already.
    is_index = values.name in values.dims
    table = values.to_series() if is_index else values.reset_coords(drop=True).to_series()
    rows = table.to_frame() if is_index else table.reset_index()
    return csv_of(rows)


def csv_of(table: "pandas.DataFrame") -> str:
    """A table as CSV without its index; text is escaped where a terminal would interpret it."""
    from pandas.api.types import is_numeric_dtype

    for name in table.columns:
        if not is_numeric_dtype(table[name]):
            table[name] = table[name].map(visible)
    return table.to_csv(index=False)


def as_json(values: "xarray.DataArray") -> str:
    """A variable as JSON: its dims, coords, attributes and nested lists of values; NaN is null."""
    import json

    from repdyn_keras.report.run_data import without_nan

    found = without_nan(values.reset_coords(drop=True).to_dict())
    return json.dumps(found, default=visible) + "\n"

"""Similarity of the layers of two runs with each other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import (
    draw_cells,
    settle_cells,
    symbol,
    write_cells,
)
from repdyn_keras.figures.parts.epochs import label_names
from repdyn_keras.figures.parts.lookup import require_nonempty, shortened
from repdyn_keras.figures.parts.page import (
    PictureFile,
    panel_page,
    picture,
    text_width,
    title_panel,
)
from repdyn_keras.figures.parts.run_similarity import run_similarity
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.figures.parts.similarity_floors import UNRELATED, floors
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROSS = (
    f"not distinguished from unrelated representations (within {UNRELATED:g} standard deviations "
    "of 0)"
)
MAX_COLUMNS = 3
# Points of a cell that is wide enough for its value.
WRITTEN_CELL = 12.0


def draw_layer_comparison(
    comparison: xr.Dataset, _: Selection, measure: str = "cka"
) -> Iterator[PictureFile]:
    """Draw `layers.png`, or `layers_MEASURE.png`."""
    stem = "layers" if measure == "cka" else f"layers_{measure}"
    yield picture(stem, layer_comparison(comparison, measure))


@style.as_it_is
def layer_comparison(comparison: xr.Dataset, measure: str = "cka") -> "Figure":
    """Similarity of every layer of run A with every layer of run B at each moment; 1 = identical.

    Rows are layers of A, columns are layers of B. NaN is hatched. Values are written if they fit. A
    cross stands for a CKA within two standard deviations of 0 under unrelated data.

    Args:
        comparison: holds `MEASURE_layers` (moment, layer_a, layer_b) with `epoch_a` and `epoch_b`
            (moment), and optionally `cka_layers_null` of the same shape and
            `cka_layers_null_class`, which are marked on the colour bar; attributes `title_a`,
            `title_b`, `perfect_fit_epoch_a`, `perfect_fit_epoch_b`.
        measure: "cka", "region_agreement" or "region_kappa".

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent or holds no moment.
    """
    words, dims = run_similarity(measure), ("moment", "layer_a", "layer_b")
    cka = require_nonempty(comparison, f"{measure}_layers", dims)
    values = cka.values
    unrelated = np.zeros(values.shape, bool)
    if measure == "cka" and "cka_layers_null" in comparison:
        deviation = comparison["cka_layers_null"].transpose(*dims).values
        unrelated = np.abs(values) <= UNRELATED * deviation
    rows, columns = shortened(cka["layer_a"].values), shortened(cka["layer_b"].values)
    beside = 2.0 + max(text_width(name, sheet().name) for name in rows) / 72
    fitting = int((sheet().width - beside) / (WRITTEN_CELL * len(columns) / 72 + 0.2))
    about = f"cell: {words.name} of a layer of A (row) with a layer of B (column), {words.where}"
    title = f"{words.heading} of the layers of two runs{' (CKA)' * (measure == 'cka')}"
    heading = (title, style.subtitle(comparison, about))
    in_a_row = max(1, min(len(values), MAX_COLUMNS, fitting))
    figure, axes = panel_page(len(values), heading, "layers of B", "layers of A", in_a_row)
    for index, ax in enumerate(axes):
        draw_cells(ax, values[index])
        label_names(ax, columns, rows)
        title_panel(ax, moment_title(comparison, index), pad=5, linespacing=1.2)
    explained = {CROSS: symbol("x")} if unrelated.any() else {}
    marks = floors(comparison, *(name.format(kind="_layers") for name in words.floors))
    settle_cells(figure, axes, values, words.scale, explained, words.undefined, marks)
    for index, ax in enumerate(axes):
        label_names(ax, columns, rows)
        write_cells(ax, values[index], unrelated[index])
    return figure


def moment_title(comparison: xr.Dataset, index: int) -> str:
    """The epochs of both runs at a moment, on a line each."""
    lines = []
    for run in "ab":
        epoch = float(comparison[f"epoch_{run}"].values[index])
        note = " (perfect fit)" if epoch == style.perfect_fit_epoch(comparison, run) else ""
        lines.append(f"{run.upper()}: epoch {format_epoch(epoch)}{note}")
    return "\n".join(lines)

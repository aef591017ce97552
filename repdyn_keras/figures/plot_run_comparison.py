"""Similarity of every two of several runs, in every layer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import draw_cells, settle_cells, write_cells
from repdyn_keras.figures.parts.epochs import label_names
from repdyn_keras.figures.parts.lookup import layer_names, require_nonempty, shortened
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    panel_page,
    panel_room,
    picture,
    title_panel,
)
from repdyn_keras.figures.parts.run_similarity import run_similarity
from repdyn_keras.figures.parts.selection import Selection, evenly_spaced
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.figures.parts.similarity_floors import floors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_run_comparison(
    comparison: xr.Dataset, _: Selection, measure: str
) -> Iterator[PictureFile]:
    """Draw `runs_MEASURE.png`."""
    yield picture(f"runs_{measure}", run_comparison(comparison, measure))


@style.as_it_is
def run_comparison(comparison: xr.Dataset, measure: str = "cka", moment: str = "last") -> "Figure":
    """Similarity of every two runs at one moment, one panel for each layer; 1 = identical.

    NaN is hatched. Values are written if they fit.

    Args:
        comparison: holds the measure (moment, layer, run, run_other), see `compare_runs`.
        measure: "cka", "region_agreement" or "region_kappa".
        moment: "last" or "perfect fit".

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the measure or the moment is absent.
    """
    words = run_similarity(measure)
    values = require_nonempty(comparison, measure, ("moment", "layer", "run", "run_other"))
    moments = [str(name) for name in values["moment"].values]
    if moment not in moments:
        raise unknown("moment", moment, moments)
    layers, selected = evenly_spaced(layer_names(comparison))
    chosen = comparison.sel(moment=moment, layer=layers)
    cells = chosen[measure].transpose("layer", "run", "run_other").values
    runs = [str(name) for name in values["run"].values]
    recorded = [f"{epoch:g}" for epoch in chosen["epoch"].values if np.isfinite(epoch)]
    epochs = ", ".join(recorded if len(set(recorded)) > 1 else recorded[:1])
    when = "last epochs" if moment == "last" else "epochs of perfect fit"
    about = f"cell: {words.name} of two runs, {words.where} · {when}: {epochs}"
    title = f"{words.heading} of several runs{' (CKA)' * (measure == 'cka')}"
    heading = (title, " · ".join(text for text in (about, selected) if text))
    figure, axes = panel_page(len(layers), heading, "run", "run")
    names = shortened(runs)
    panels = fitted(layers, panel_room(figure, axes), sheet().panel_title)
    for ax, own, name in zip(axes, cells, panels, strict=True):
        draw_cells(ax, own)
        label_names(ax, names, names)
        title_panel(ax, name)
    marks = floors(chosen, *(name.format(kind="") for name in words.floors))
    undefined = f"{words.undefined}, or a run without the layer"
    settle_cells(figure, axes, cells, words.scale, {}, undefined, marks)
    for ax, own in zip(axes, cells, strict=True):
        label_names(ax, names, names)
        write_cells(ax, own, np.zeros(own.shape, bool))
    return figure

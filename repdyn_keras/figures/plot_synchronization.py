"""Synchronization of all pairs of layers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import draw_cells, settle_cells, write_cells
from repdyn_keras.figures.parts.epochs import label_names
from repdyn_keras.figures.parts.lookup import layer_index, require, shortened
from repdyn_keras.figures.parts.page import PictureFile, panel_page, picture
from repdyn_keras.figures.parts.selection import Selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The scale of all runs. Layers two octaves apart have 0.7 in a training of 102 epochs.
SCALE = (0.5, 1.0)
LABEL = "synchronization (1 = both layers\nchange at the same time)"
NO_TIMING = "a layer's first and last states are alike, or it has fewer than 3 records"


def draw_synchronization(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `synchronization.png`."""
    chosen = dynamics
    if selection.layers is not None:
        places = [layer_index(dynamics, layer) for layer in selection.layers]
        chosen = dynamics.isel(layer=places, layer_other=places)
    yield picture("synchronization", synchronization_matrix(chosen))


@style.as_it_is
def synchronization_matrix(dynamics: xr.Dataset) -> "Figure":
    """Synchronization of every layer with every other; 1 = they change at the same time.

    Values are written if they fit. NaN, of layers without timing, is hatched. The colour scale is
    the same for every run, from 0.5 to 1.

    Args:
        dynamics: holds `synchronization` (layer, layer_other), and optionally the attribute
            `synchronization_mean`.

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: `synchronization` is absent.
    """
    values = require(dynamics, "synchronization").transpose("layer", "layer_other").values
    names = shortened(dynamics["layer"].values)
    mean = float(dynamics.attrs.get("synchronization_mean", np.nan))
    octaves = float(np.ptp(np.log2(1.0 + dynamics["epoch"].values)))
    about = (
        "" if np.isnan(mean) else f"mean over pairs of blocks: {mean:.2f}",
        "" if octaves == 0 else f"two layers one octave apart: {1 - 1 / octaves:.2f}",
    )
    heading = ("Do the layers change at the same time?", style.subtitle(dynamics, *about))
    figure, axes = panel_page(1, heading, "layer", "layer")
    draw_cells(axes[0], values, SCALE)
    label_names(axes[0], names, names)
    settle_cells(figure, axes, values[None], LABEL, {}, NO_TIMING)
    label_names(axes[0], names, names)
    write_cells(axes[0], values, np.zeros(values.shape, bool))
    return figure

"""Accuracy of a linear probe on each layer over training."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import (
    EPOCH_AXIS,
    curve_meanings,
    curves_subtitle,
    draw_curves,
    fit_entry,
    label_axis,
    log_position,
    mark_fit,
)
from repdyn_keras.figures.parts.lookup import layer_name, require
from repdyn_keras.figures.parts.page import (
    PictureFile,
    panel_page,
    picture,
    settle_with_legend,
    title_panel,
)
from repdyn_keras.figures.parts.selection import Selection, listed_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ASPECT = 0.72


def draw_probe_curves(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `probe_curves.png`."""
    yield picture("probe_curves", probe_curves(dynamics, selection.layers))


@style.as_it_is
def probe_curves(dynamics: xr.Dataset, layers: Sequence[str] | None = None) -> "Figure":
    """Accuracy of a linear probe on each layer over epochs, one panel for each layer.

    Args:
        dynamics: of a run; holds `probe_accuracy` (layer, epoch, subset).
        layers: names; None: all, or 24 that are evenly spaced.

    Returns:
        The Figure.

    Raises:
        InputError: `probe_accuracy` or a layer is absent.
    """
    epochs = require(dynamics, "probe_accuracy")["epoch"].values
    layers, selected = listed_layers(dynamics, layers)
    subtitle = curves_subtitle(
        dynamics,
        "accuracy of a linear classifier fitted to each layer's features at every epoch",
        selected,
    )
    heading = ("What a linear probe can read from each layer", subtitle)
    figure, axes = panel_page(len(layers), heading, EPOCH_AXIS, "accuracy (1 = all images)")
    lines: dict[str, Line2D] = {}
    for layer, ax in zip(layers, axes, strict=True):
        lines |= draw_curves(ax, dynamics, layer, ends=True)
        mark_fit(ax, dynamics, labelled=False)
        name = layer_name(dynamics["layer"].values, layer)
        name = "output (the network itself)" if layer == "output" else name
        title_panel(ax, name)
    entries = {
        text: lines[name] for name, text in curve_meanings(dynamics).items() if name in lines
    }
    settle_with_legend(figure, axes, ASPECT, entries | fit_entry(dynamics))
    for ax in axes:
        label_axis(ax.xaxis, log_position(epochs), epochs)
    return figure

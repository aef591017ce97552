"""Accuracy of a linear probe on each layer over training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import (
    EPOCH_AXIS,
    curves_subtitle,
    draw_curves,
    label_axis,
    log_position,
    mark_fit,
)
from repdyn_keras.figures.parts.lookup import layer_name, layer_names, require
from repdyn_keras.figures.parts.page import PictureFile, panel_page, png, settle, title_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ASPECT = 0.72


def plot_probe_curves(dynamics: xr.Dataset) -> Iterator[PictureFile]:
    """Draw `probe_curves.png`."""
    yield PictureFile("probe_curves.png", png(probe_curves(dynamics)))


def probe_curves(dynamics: xr.Dataset) -> "Figure":
    """Accuracy of a linear probe on each layer over epochs, one panel for each layer.

    Args:
        dynamics: holds `probe_accuracy` (layer, epoch, subset).

    Returns:
        The Figure.

    Raises:
        InputError: `probe_accuracy` is absent.
    """
    epochs = require(dynamics, "probe_accuracy")["epoch"].values
    layers = layer_names(dynamics)
    fit = style.perfect_fit_epoch(dynamics)
    subtitle = curves_subtitle(
        dynamics,
        "accuracy of a linear classifier fitted to each layer's features at every epoch",
        "" if fit is None else f"dashed vertical line: perfect fit at epoch {fit:g}",
    )
    heading = ("What a linear probe can read from each layer", subtitle)
    figure, axes = panel_page(len(layers), heading, EPOCH_AXIS, "accuracy (1 = all images)")
    lines: dict[str, Line2D] = {}
    for layer, ax in zip(layers, axes, strict=True):
        lines |= draw_curves(ax, dynamics, layer, ends=True)
        mark_fit(ax, dynamics, labelled=False)
        name = layer_name(layers, layer)
        name = "output (the network itself)" if layer == "output" else name
        title_panel(ax, name)
    meanings = style.meanings(dynamics)
    names = [name for name in meanings if name in lines]
    if names:
        figure.legend(
            handles=[lines[name] for name in names],
            labels=[meanings[name] for name in names],
            loc="outside lower center",
            ncols=len(names) if len(layers) > 1 else 2,
            frameon=False,
            fontsize=style.SMALL,
            handlelength=3.0,
        )
    settle(figure, axes, ASPECT)
    for ax in axes:
        label_axis(ax.xaxis, log_position(epochs), epochs)
    return figure

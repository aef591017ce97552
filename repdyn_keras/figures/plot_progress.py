"""Progress of every layer from its first to its last state over training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import EPOCH_AXIS, label_axis, log_position, mark_fit
from repdyn_keras.figures.parts.lookup import layer_name, layer_names, require
from repdyn_keras.figures.parts.page import (
    PictureFile,
    panel_page,
    panel_room,
    png,
    quiet_frame,
    settle,
    title_panel,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASPECT = 0.62
OWN: style.Look = {"color": "#0077BB", "linewidth": 2.2}
OTHERS: style.Look = {"color": "#BDBDBD", "linewidth": 0.8}
HALF: style.Look = {"color": style.INK, "marker": "o", "markersize": 4.5, "linestyle": "none"}
BOX: style.Look = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
NO_TIMING = "no timing: first and last states alike, or fewer than 3 records"


def plot_progress(dynamics: xr.Dataset) -> Iterator[PictureFile]:
    """Draw `progress.png`."""
    yield PictureFile("progress.png", png(progress_curves(dynamics)))


def progress_curves(dynamics: xr.Dataset) -> "Figure":
    """Progress of each layer over epochs, one panel for each layer, with the others in grey.

    A dot marks where a layer has made half of its change. A dashed line marks the perfect fit.

    Args:
        dynamics: holds `progress` (layer, epoch).

    Returns:
        The Figure.

    Raises:
        InputError: `progress` is absent.
    """
    values = require(dynamics, "progress").transpose("layer", "epoch").values
    layers, epochs = layer_names(dynamics), dynamics["epoch"].values
    fit = style.perfect_fit_epoch(dynamics)
    about = (
        "0 = like the layer's first state, 1 = like its last",
        "dot: half of the change",
        "grey: the other layers" if len(layers) > 1 else "",
        "" if fit is None else f"dashed vertical line: perfect fit at epoch {fit:g}",
    )
    heading = ("When each layer changes", style.subtitle(dynamics, *about))
    upwards = "share of the layer's change made so far"
    figure, axes = panel_page(len(layers), heading, EPOCH_AXIS, upwards)
    no_timing = wrapped(NO_TIMING, style.SMALL, 0.9 * panel_room(figure, axes))
    for index, (layer, ax) in enumerate(zip(layers, axes, strict=True)):
        title_panel(ax, layer_name(layers, layer))
        _draw_progress(ax, values, index, epochs, no_timing)
        if np.isfinite(values[index]).any():
            mark_fit(ax, dynamics, labelled=False)
    settle(figure, axes, ASPECT)
    for ax in axes:
        label_axis(ax.xaxis, log_position(epochs), epochs)
    return figure


def _draw_progress(
    ax: "Axes", values: np.ndarray, index: int, epochs: np.ndarray, no_timing: str
) -> None:
    position, own = log_position(epochs), values[index]
    epoch = _half_epoch(own, epochs)
    if epoch is None:
        middle: style.Look = {"ha": "center", "va": "center", "size": style.SMALL, "bbox": BOX}
        ax.text(0.5, 0.5, no_timing, transform=ax.transAxes, **middle)
    else:
        if len(values) > 1:
            _draw_curves(ax, position, np.delete(values, index, axis=0), **OTHERS)
        _draw_curves(ax, position, own[None], **OWN)
        at = int(np.flatnonzero(epochs == epoch)[0])
        ax.plot(position[at], own[at], zorder=4, **HALF)
        look: style.Look = {"ha": "right", "size": style.SMALL, "bbox": BOX}
        ax.text(0.97, 0.07, f"half by epoch {epoch:g}", transform=ax.transAxes, **look)
    quiet_frame(ax)
    ax.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    ax.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    room = 0.03 * max(position[-1] - position[0], 1)
    ax.set(xlim=(position[0] - room, position[-1] + room), ylim=(-0.04, 1.06), axisbelow=True)
    label_axis(ax.xaxis, position, epochs, ends=True)


def _draw_curves(ax, position, curves, **look):
    """Draw curves (curve, epoch) as one line, connected over records without a value."""
    pieces = [np.stack([position, curve])[:, np.isfinite(curve)] for curve in curves]
    gap = np.full((2, 1), np.nan)
    ax.plot(*np.hstack([part for piece in pieces for part in (piece, gap)]), **look)


def _half_epoch(curve: np.ndarray, epochs: np.ndarray) -> float | None:
    """The first recorded epoch at which half of the change is made; None without a timing."""
    reached = np.flatnonzero(curve >= 0.5)
    return float(epochs[reached[0]]) if len(reached) else None

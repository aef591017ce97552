"""Progress of every layer from its first to its last state over training."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import (
    EPOCH_AXIS,
    fit_entry,
    label_axis,
    log_position,
    mark_fit,
)
from repdyn_keras.figures.parts.lookup import layer_index, layer_name, layer_names, require
from repdyn_keras.figures.parts.page import (
    PictureFile,
    new_axes,
    panel_page,
    panel_room,
    picture,
    quiet_frame,
    settle_with_legend,
    title_panel,
    wrapped,
)
from repdyn_keras.figures.parts.selection import Selection, evenly_spaced, listed_layers
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import format_epoch, format_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASPECT = 0.62
OWN: style.Look = {"color": "#0077BB", "linewidth": 2.2}
OTHERS: style.Look = {"color": "#BDBDBD", "linewidth": 0.8}
HALF: style.Look = {"color": style.INK, "marker": "o", "markersize": 4.5, "linestyle": "none"}
BOX: style.Look = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
UPWARDS = "share of the layer's change made so far"
NO_TIMING = "no timing: first and last states alike, or fewer than 3 records"


def draw_progress(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `progress.png`."""
    yield picture("progress", progress_curves(dynamics, selection.layers))


@style.as_it_is
def plot_progress(dynamics: xr.Dataset, layer: str = "output", ax: "Axes | None" = None) -> "Axes":
    """Progress of one layer from its first to its last state over epochs, the others in grey.

    A dot marks where the layer has made half of its change. A dashed line marks the perfect fit.

    Args:
        dynamics: of a run; holds `progress` (layer, epoch).
        layer: its name.
        ax: Axes to draw into; None: those of a new figure of pyplot.

    Returns:
        The Axes.

    Raises:
        InputError: `progress` or the layer is absent.

    Example:
        >>> plot_progress(open_run("runs/a").dynamics, "output")  # doctest: +SKIP
    """
    values = require(dynamics, "progress").transpose("layer", "epoch").values
    ax = ax or new_axes(6.0, 4.0)
    index, epochs = layer_index(dynamics, layer), dynamics["epoch"].values
    title_panel(ax, layer_name(dynamics["layer"].values, layer))
    _draw_progress(ax, values, index, epochs, NO_TIMING)
    if np.isfinite(values[index]).any():
        mark_fit(ax, dynamics, labelled=False)
    ax.set_xlabel(EPOCH_AXIS, size=sheet().label)
    ax.set_ylabel(UPWARDS, size=sheet().label)
    label_axis(ax.xaxis, log_position(epochs), epochs)
    return ax


@style.as_it_is
def progress_curves(dynamics: xr.Dataset, layers: Sequence[str] | None = None) -> "Figure":
    """Progress of each layer over epochs, one panel for each layer, with the others in grey.

    For the curves and marks see `plot_progress`.

    Args:
        dynamics: of a run; holds `progress` (layer, epoch).
        layers: names; None: the layers with a timing, 24 at most. The subtitle names the others.

    Returns:
        The Figure.

    Raises:
        InputError: `progress` or a layer is absent.
    """
    from matplotlib.lines import Line2D

    values = require(dynamics, "progress").transpose("layer", "epoch").values
    epochs = dynamics["epoch"].values
    layers, selected = _timed_layers(dynamics, values, layers)
    about = "0 = like the layer's first state, 1 = like its last"
    heading = ("When each layer changes", style.subtitle(dynamics, about, selected))
    figure, axes = panel_page(len(layers), heading, EPOCH_AXIS, UPWARDS)
    no_timing = wrapped(NO_TIMING, sheet().small, 0.9 * panel_room(figure, axes))
    for layer, ax in zip(layers, axes, strict=True):
        index = layer_index(dynamics, layer)
        title_panel(ax, layer_name(dynamics["layer"].values, layer))
        _draw_progress(ax, values, index, epochs, no_timing)
        if np.isfinite(values[index]).any():
            mark_fit(ax, dynamics, labelled=False)
    entries = {}
    if any(_half_epoch(row, epochs) is not None for row in values):
        entries = {"the layer": Line2D([], [], **OWN), "half of its change": Line2D([], [], **HALF)}
        entries |= {"the other layers": Line2D([], [], **OTHERS)} if len(values) > 1 else {}
        entries |= fit_entry(dynamics)
    settle_with_legend(figure, axes, ASPECT, entries)
    for ax in axes:
        label_axis(ax.xaxis, log_position(epochs), epochs)
    return figure


def _timed_layers(
    dynamics: xr.Dataset, values: np.ndarray, layers: Sequence[str] | None
) -> tuple[list[str], str]:
    """The layers to draw, and a note on those without a timing."""
    if layers is not None:
        return listed_layers(dynamics, layers)
    names = layer_names(dynamics)
    timed = [
        name for name, row in zip(names, values, strict=True) if _half_epoch(row, row) is not None
    ]
    untimed = [name for name in names if name not in timed]
    if not timed:
        return names[-1:], "no layer has a timing"
    shown, note = evenly_spaced(timed)
    missing = f"without a timing: {format_layers(untimed, names)}" if untimed else ""
    return shown, " · ".join(text for text in (note, missing) if text)


def _draw_progress(
    ax: "Axes", values: np.ndarray, index: int, epochs: np.ndarray, no_timing: str
) -> None:
    position, own = log_position(epochs), values[index]
    epoch = _half_epoch(own, epochs)
    if epoch is None:
        middle: style.Look = {"ha": "center", "va": "center", "size": sheet().small, "bbox": BOX}
        ax.text(0.5, 0.5, no_timing, transform=ax.transAxes, **middle)
    else:
        if len(values) > 1:
            _draw_curves(ax, position, np.delete(values, index, axis=0), **OTHERS)
        _draw_curves(ax, position, own[None], **OWN)
        at = int(np.flatnonzero(epochs == epoch)[0])
        ax.plot(position[at], own[at], zorder=4, **HALF)
        look: style.Look = {"ha": "right", "size": sheet().small, "bbox": BOX}
        ax.text(0.97, 0.07, f"half by epoch {format_epoch(epoch)}", transform=ax.transAxes, **look)
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

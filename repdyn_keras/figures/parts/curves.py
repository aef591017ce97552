"""Accuracies of one layer as lines over epochs."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import layer_index, require
from repdyn_keras.figures.parts.page import quiet_frame
from repdyn_keras.figures.parts.ticks import label_axis, log_position

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

ACCURACY = "accuracy (share of images, 1 = all)"


def draw_curves(
    ax: "Axes", dynamics: xr.Dataset, layer: str, ends: bool = False
) -> dict[str, "Line2D"]:
    """Draw one line for each recorded subset; returns the lines. For `ends` see `label_axis`."""
    accuracy = require(dynamics, "probe_accuracy")
    accuracy = accuracy.isel(layer=layer_index(dynamics, layer))
    epochs = accuracy["epoch"].values
    position = log_position(epochs)
    recorded = [str(name) for name in accuracy["subset"].values]
    lines = {}
    for name in style.SUBSETS:
        if name not in recorded:
            continue
        values = accuracy.isel(subset=recorded.index(name)).values
        if np.isfinite(values).any():
            (lines[name],) = ax.plot(position, values, **style.subset_line(name))
    if not lines:
        ax.text(0.5, 0.5, "no accuracy recorded", transform=ax.transAxes, ha="center")
    quiet_frame(ax)
    ax.set_ylim(-0.02, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "0.25", "0.5", "0.75", "1"])
    ax.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    ax.set_axisbelow(True)
    room = 0.03 * max(position[-1] - position[0], 1)
    ax.set_xlim(position[0] - room, position[-1] + room)
    label_axis(ax.xaxis, position, epochs, ends)
    return lines


def mark_fit(ax: "Axes", dynamics: xr.Dataset, *, labelled: bool) -> None:
    """Draw a vertical line at the epoch of perfect fit, if it is in sight."""
    fit = style.perfect_fit_epoch(dynamics)
    low, high = ax.get_xlim()
    if fit is None or not low <= (x := float(log_position(fit))) <= high:
        return
    ax.axvline(x, color=style.FAINT, linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
    if labelled:
        label_fit(ax, fit, x, offset=4, color=style.FAINT)


def label_fit(ax: "Axes", fit: float, x: float, offset: float, **look: Any) -> None:
    """Write the epoch of perfect fit above the Axes, `offset` points away, where there is room."""
    low, high = ax.get_xlim()
    share = (x - low) / (high - low)
    ax.annotate(
        f"perfect fit of the given labels: epoch {fit:g}",
        (x, 1),
        xytext=(0, offset),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        annotation_clip=False,
        ha="left" if share < 0.3 else "right" if share > 0.7 else "center",
        size=style.SMALL,
        **look,
    )


def curves_subtitle(dynamics: xr.Dataset, about: str) -> str:
    """The run's title, what is drawn, and whether the network never fitted its labels."""
    reached = style.perfect_fit_epoch(dynamics) is not None
    never = "" if reached else "perfect fit of the given labels was not reached"
    return style.joined(style.run_title(dynamics), about, never)

"""Accuracy over training: of the network itself, and of a linear probe on every layer."""

import numpy as np
import xarray as xr

from repdyn_keras.figures import style
from repdyn_keras.figures.choose import pick_layer, require
from repdyn_keras.figures.epochs import EPOCH_AXIS, label_axis, log_position, most_labels
from repdyn_keras.figures.names import layer_name
from repdyn_keras.figures.panels import axes_or_new, panel_grid, quiet_frame
from repdyn_keras.text import visible

# Letters on one line of the width.
MOST_OF_SUBTITLE = 150


def learning_curves(dynamics: xr.Dataset, ax=None):
    """Accuracy of the network's own output on every subset of images, over epochs.

    Args:
        dynamics: holds `probe_accuracy` (layer, epoch, subset), `output` among the layers.
        ax: Axes to draw into; None makes a Figure of its own.

    Returns:
        The Axes.

    Raises:
        InputError: `probe_accuracy` or the layer `output` is absent.
    """
    ax = axes_or_new(ax, style.WIDTH, 5.2)
    lines = _draw_curves(ax, dynamics, "output", most=14)
    fit = style.perfect_fit_epoch(dynamics)
    _mark_perfect_fit(ax, fit, labelled=True)
    ax.set_xlabel(EPOCH_AXIS, size=style.LABEL)
    ax.set_ylabel("accuracy (share of images, 1 = all)", size=style.LABEL)
    title = "What the network has learned, memorized and resisted"
    ax.set_title(title, size=style.TITLE, weight="bold", loc="left", pad=38)
    subtitle = ax.annotate(
        visible(_curves_subtitle(dynamics, fit), MOST_OF_SUBTITLE),
        (0, 1),
        xytext=(0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        size=style.LABEL,
        color=style.FAINT,
        parse_math=False,
    )
    # A long one must not push the axes together.
    subtitle.set_in_layout(False)
    if lines:
        ax.legend(
            handles=list(lines.values()),
            labels=[style.MEANING[name] for name in lines],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
            fontsize=style.LABEL,
            labelspacing=1.1,
            handlelength=3.2,
        )
    return ax


def probe_curves(dynamics: xr.Dataset):
    """Accuracy of a linear probe on each layer over epochs, one panel a layer.

    Args:
        dynamics: holds `probe_accuracy` (layer, epoch, subset).

    Returns:
        The Figure.

    Raises:
        InputError: `probe_accuracy` is absent.
    """
    accuracy = require(dynamics, "probe_accuracy")
    layers = [str(name) for name in accuracy["layer"].values]
    finite = np.isfinite(accuracy).any(("layer", "epoch"))
    names = [str(name) for name in accuracy["subset"].values[finite.values]]
    names = [name for name in style.SUBSETS if name in names]
    legend_columns = 5 if len(layers) > 1 else 2
    legend_rows = -(-len(names) // legend_columns)
    figure, axes = panel_grid(
        len(layers),
        "What a linear probe can read from each layer",
        _curves_subtitle(dynamics, style.perfect_fit_epoch(dynamics), probes=True),
        aspect=0.72,
        bottom=0.8 + 0.38 * legend_rows,
        row_gap=0.42,
    )
    across, down = figure.get_size_inches()
    most = most_labels(accuracy["epoch"].values, axes[0].get_position().width * across, style.SMALL)
    shown = {}
    for layer, ax in zip(layers, axes, strict=True):
        shown |= _draw_curves(ax, dynamics, layer, most)
        _mark_perfect_fit(ax, style.perfect_fit_epoch(dynamics), labelled=False)
        name = layer_name(layers, layer)
        name = "output (the network itself)" if layer == "output" else name
        ax.set_title(name, size=style.PANEL_TITLE, loc="left", pad=4, parse_math=False)
    figure.supxlabel(
        EPOCH_AXIS, size=style.LABEL, y=(0.24 + 0.38 * legend_rows) / down, va="bottom"
    )
    figure.supylabel("accuracy (share of images, 1 = all)", size=style.LABEL, x=0.12 / across)
    if names:
        figure.legend(
            handles=[shown[name] for name in names],
            labels=[style.MEANING[name] for name in names],
            loc="lower center",
            bbox_to_anchor=(0.5, 0.1 / down),
            ncols=min(len(names), legend_columns),
            frameon=False,
            fontsize=style.SMALL,
            handlelength=3.0,
        )
    return figure


def _draw_curves(ax, dynamics: xr.Dataset, layer: str, most: int) -> dict:
    """Draw one line a subset that was recorded; returns the lines by subset."""
    accuracy = require(dynamics, "probe_accuracy")
    accuracy = accuracy.isel(layer=pick_layer(dynamics, layer))
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
    label_axis(ax.xaxis, position, epochs, most)
    return lines


def _mark_perfect_fit(ax, epoch: float | None, *, labelled: bool) -> None:
    low, high = ax.get_xlim()
    if epoch is None or not low <= (x := float(log_position(epoch))) <= high:
        return
    ax.axvline(x, color=style.FAINT, linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
    if labelled:
        share = (x - low) / (high - low)
        ax.annotate(
            f"perfect fit of the given labels: epoch {epoch:g}",
            (x, 1),
            xytext=(0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="left" if share < 0.2 else "right" if share > 0.8 else "center",
            size=style.SMALL,
            color=style.FAINT,
        )


def _curves_subtitle(dynamics: xr.Dataset, fit: float | None, probes: bool = False) -> str:
    what = "accuracy of the network's own output"
    if probes:
        what = "accuracy of a linear classifier solved anew on each layer's features at every epoch"
    parts = [style.run_title(dynamics), what]
    if fit is None:
        parts.append("perfect fit of the given labels was not reached")
    elif probes:
        parts.append(f"dashed vertical line: perfect fit at epoch {fit:g}")
    return " · ".join(part for part in parts if part)

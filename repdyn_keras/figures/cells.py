"""Pieces of a picture of similarities: the grid of cells, its colour scale, and marks on it."""

import numpy as np

from repdyn_keras.figures import style
from repdyn_keras.figures.epochs import label_axis, most_labels, row_position
from repdyn_keras.figures.panels import place


def draw_cells(ax, values: np.ndarray, low: float, high: float, aspect: str = "equal"):
    """Draw similarities as coloured cells, row 0 at the bottom; NaN is hatched.

    Args:
        ax: Axes to draw into.
        values: (row, column).
        low, high: ends of the colour scale.
        aspect: "equal" for square cells, "auto" to fill the Axes.

    Returns:
        The matplotlib image.
    """
    image = ax.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        aspect=aspect,
        cmap=style.SIMILARITY_MAP,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        zorder=1,
    )
    if np.isnan(values).any():
        rows, columns = values.shape
        style.hatch_undefined(ax, columns, rows)
    return image


def color_range(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale that holds similarities: a round number below the least, and 1.

    Slightly negative values, the scatter of an unbiased estimate around 0, do not widen it.
    """
    finite = values[np.isfinite(values)]
    least = float(finite.min()) if finite.size else 0.0
    if -0.1 < least < 0:
        return 0.0, 1.0
    return min(0.9, float(np.floor(least * 10 + 1e-9) / 10)), 1.0


def label_epochs(ax, across: np.ndarray, upwards: np.ndarray) -> None:
    """Write the epochs' numbers at the cells, as many as fit side by side.

    Args:
        ax: Axes of the cells.
        across, upwards: (column,) and (row,) epochs.
    """
    box, (width, height) = ax.get_position(), ax.figure.get_size_inches()
    for axis, epochs, inches in (
        (ax.xaxis, across, box.width * width),
        (ax.yaxis, upwards, box.height * height),
    ):
        label_axis(axis, np.arange(len(epochs)), epochs, most_labels(epochs, inches, style.SMALL))
    ax.tick_params(which="major", length=3, labelsize=style.SMALL)
    ax.tick_params(which="minor", length=1.5, color=style.FAINT)


def mark_across(ax, epochs: np.ndarray, epoch: float | None) -> None:
    """Point a triangle from above at an epoch, if it is among the recorded ones."""
    _mark(ax, epochs, epoch, lambda at: (at, 1.018), "v", ax.get_xaxis_transform())


def mark_upwards(ax, epochs: np.ndarray, epoch: float | None) -> None:
    """Point a triangle from the right at an epoch, if it is among the recorded ones."""
    _mark(ax, epochs, epoch, lambda at: (1.018, at), "<", ax.get_yaxis_transform())


def _mark(ax, epochs: np.ndarray, epoch: float | None, where, marker: str, transform) -> None:
    if epoch is None or not epochs[0] <= epoch <= epochs[-1]:
        return
    x, y = where(row_position(epochs, epoch))
    look = {**triangle_look(), "marker": marker}
    ax.plot(x, y, transform=transform, gid="perfect fit", clip_on=False, **look)


def triangle_look() -> dict:
    """Keyword arguments of a line that is the mark of an epoch."""
    return {"marker": "v", "linestyle": "none", "color": style.INK, "markersize": 5.0}


def place_bar(figure, panels: list, values: np.ndarray, label: str):
    """Draw the colour bar of a grid of panels at its right, and return it.

    Args:
        figure: of `panel_grid`, with 1.35 inches kept free at the right.
        panels: its Axes, the first with an image.
        values: all that is drawn, to say whether some are below the scale.
        label: of the scale.
    """
    across, down = figure.get_size_inches()
    first = panels[0].get_position()
    length = first.height * down if len(panels) <= 4 else 4.2
    bar_axes = place(figure, across - 1.17, (1 - first.y1) * down, 0.18, length)
    image = panels[0].images[0]
    bar = figure.colorbar(image, cax=bar_axes, extend=extend(values, image.norm.vmin))
    label_bar(bar, label)
    return bar


def extend(values: np.ndarray, low: float) -> str:
    """Whether a colour bar ends in an arrow: where values lie below its least."""
    return "min" if np.nanmin(values, initial=np.inf) < low else "neither"


def label_bar(bar, label: str) -> None:
    """Write what a colour bar measures, and give it its look."""
    bar.set_label(label, size=style.LABEL)
    bar.ax.yaxis.labelpad = 8
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.outline.set_visible(False)


def place_legend(figure, handles: list, columns: int) -> None:
    """Draw the legend of a grid of panels at the lower edge of the figure, if there is any."""
    if handles:
        figure.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 0.08 / figure.get_size_inches()[1]),
            ncols=columns,
            frameon=False,
            fontsize=style.SMALL,
            handlelength=2.6,
        )

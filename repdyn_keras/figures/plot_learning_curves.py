"""Accuracy of the network over training, on each subset of images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import (
    EPOCH_AXIS,
    curve_meanings,
    curves_subtitle,
    draw_curves,
    fit_entry,
    mark_fit,
)
from repdyn_keras.figures.parts.lookup import layer_name
from repdyn_keras.figures.parts.page import PictureFile, new_axes, new_figure, picture
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Height over width of a wide page; inches of the height of a narrow one, and what a legend of one
# column adds.
ASPECT, MIN_HEIGHT, HIGHER = 0.43, 3.3, 0.8
# Inches of a page with room for a legend beside the Axes, and of one with room for two columns of a
# legend below them.
MIN_BESIDE, MIN_TWO = 7.0, 4.2
# Inches between the Axes and a legend below them, for tick labels and the label of the axis.
BELOW = 0.62
# Letters of the subtitle, on one line.
MAX_SUBTITLE = 150


def draw_learning_curves(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `learning_curves.png`."""
    yield picture("learning_curves", learning_curves(dynamics))


@style.as_it_is
def learning_curves(dynamics: xr.Dataset) -> "Figure":
    """Accuracy of the network's output on every subset of images, over epochs.

    Args:
        dynamics: of a run, see `plot_curves`.

    Returns:
        The Figure, with one Axes.

    Raises:
        InputError: `probe_accuracy` or the layer `output` is absent.
    """
    width = sheet().width
    height = ASPECT * width if width >= MIN_BESIDE else MIN_HEIGHT
    height += HIGHER if width <= MIN_TWO else 0
    figure = new_figure(width, height, "constrained")
    plot_curves(dynamics, ax=figure.add_subplot(), heading=sheet().heading)
    return figure


@style.as_it_is
def plot_curves(
    dynamics: xr.Dataset, layer: str = "output", ax: "Axes | None" = None, heading: bool = True
) -> "Axes":
    """Accuracy of the network, or of a layer's probe, on every subset of images, over epochs.

    A dotted line marks chance, 1 / number of classes; a dashed one the epoch of perfect fit.

    Args:
        dynamics: of a run; holds `probe_accuracy` (layer, epoch, subset).
        layer: its name; "output" for the network itself.
        ax: Axes to draw into; None: those of a new figure of pyplot.
        heading: whether to draw a title, and to name the epoch of perfect fit above the Axes; it is
            in the legend otherwise.

    Returns:
        The Axes, with a legend beside them.

    Raises:
        InputError: `probe_accuracy` or the layer is absent.

    Example:
        >>> plot_curves(open_run("runs/a").dynamics)  # doctest: +SKIP
    """
    from matplotlib.transforms import ScaledTranslation

    ax = ax or new_axes(9.0, 4.5)
    lines = draw_curves(ax, dynamics, layer)
    mark_fit(ax, dynamics, labelled=heading)
    ax.tick_params(labelsize=sheet().label)
    ax.set_xlabel(EPOCH_AXIS, size=sheet().label)
    ax.set_ylabel("accuracy (1 = all images)", size=sheet().label)
    if heading:
        _draw_heading(ax, dynamics, layer)
    if lines:
        look: style.Look = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "labelspacing": 1.1}
        if sheet().width < MIN_BESIDE:
            below = ScaledTranslation(0, -BELOW * sheet().scale, ax.figure.dpi_scale_trans)
            look = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
            look["ncols"] = 2 if sheet().width > MIN_TWO else 1
            look["bbox_transform"] = ax.transAxes + below
        entries = {curve_meanings(dynamics)[name]: line for name, line in lines.items()}
        entries |= {} if heading else fit_entry(dynamics)
        ax.legend(
            handles=list(entries.values()),
            labels=list(entries),
            frameon=False,
            fontsize=sheet().label,
            handlelength=3.2,
            **look,
        )
    return ax


def _draw_heading(ax, dynamics, layer):
    """Write the title and the subtitle above the Axes."""
    noisy = style.has_wrong_labels(dynamics)
    title = "What the network has learned" + (", memorized and resisted" if noisy else "")
    about = "accuracy of the network's own output"
    if layer != "output":
        name = layer_name(dynamics["layer"].values, layer)
        title, about = f"What a linear probe reads from {name}", "accuracy of the probe"
    look = {"size": sheet().title, "weight": "bold", "parse_math": False}
    ax.set_title(title, loc="left", pad=38 * sheet().scale, **look)
    subtitle = curves_subtitle(dynamics, about)
    ax.annotate(
        visible(subtitle, MAX_SUBTITLE),
        (0, 1),
        xytext=(0, 24 * sheet().scale),
        xycoords="axes fraction",
        textcoords="offset points",
        size=sheet().label,
        color=style.FAINT,
        parse_math=False,
        # A long line must not narrow the Axes.
        in_layout=False,
    )

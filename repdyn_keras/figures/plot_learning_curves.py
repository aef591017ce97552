"""Accuracy of the network over training, on each subset of images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import EPOCH_AXIS, curves_subtitle, draw_curves, mark_fit
from repdyn_keras.figures.parts.page import PictureFile, axes_or_new, png
from repdyn_keras.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Letters of the subtitle, on one line.
MAX_SUBTITLE = 150


def plot_learning_curves(dynamics: xr.Dataset) -> Iterator[PictureFile]:
    """Draw `learning_curves.png`."""
    yield PictureFile("learning_curves.png", png(learning_curves(dynamics).figure))


def learning_curves(dynamics: xr.Dataset, ax: "Axes | None" = None, heading: bool = True) -> "Axes":
    """Accuracy of the network's output on every subset of images, over epochs.

    Args:
        dynamics: holds `probe_accuracy` (layer, epoch, subset), with `output` among the layers.
        ax: Axes to draw into; None: those of a new Figure.
        heading: whether to draw a title, and to name the epoch of perfect fit.

    Returns:
        The Axes.

    Raises:
        InputError: `probe_accuracy` or the layer `output` is absent.
    """
    ax = axes_or_new(ax, style.WIDTH, 5.2)
    lines = draw_curves(ax, dynamics, "output")
    mark_fit(ax, dynamics, labelled=heading)
    ax.set_xlabel(EPOCH_AXIS, size=style.LABEL)
    ax.set_ylabel("accuracy (share of images, 1 = all)", size=style.LABEL)
    if heading:
        _draw_heading(ax, dynamics)
    if lines:
        ax.legend(
            handles=list(lines.values()),
            labels=[style.meanings(dynamics)[name] for name in lines],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
            fontsize=style.LABEL,
            labelspacing=1.1,
            handlelength=3.2,
        )
    return ax


def _draw_heading(ax, dynamics):
    """Write the title and the subtitle above the Axes."""
    noisy = style.has_wrong_labels(dynamics)
    title = "What the network has learned" + (", memorized and resisted" if noisy else "")
    ax.set_title(title, size=style.TITLE, weight="bold", loc="left", pad=38)
    subtitle = curves_subtitle(dynamics, "accuracy of the network's own output")
    ax.annotate(
        visible(subtitle, MAX_SUBTITLE),
        (0, 1),
        xytext=(0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        size=style.LABEL,
        color=style.FAINT,
        parse_math=False,
        # A long line must not narrow the Axes.
        in_layout=False,
    )

"""The learning curves as SVG inside the page."""

from typing import TYPE_CHECKING, Any

from repdyn_keras.figures import plot_curves
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.page import new_figure
from repdyn_keras.figures.parts.sheet import SCREEN
from repdyn_keras.report.svg import figure_svg

if TYPE_CHECKING:
    import xarray


# Inches.
HEIGHT = 5.2


def curves_svg(dynamics: "xarray.Dataset") -> dict[str, Any] | None:
    """The learning curves of a run, or None if no accuracy is known.

    Args:
        dynamics: the Dataset of the run.

    Returns:
        `svg`, and where the Axes are in it, as shares of its width and height from the left and the
        top: `left`, `right`, `top`, `bottom`; and the limits of the axis of log2(1 + epoch), `low`
        and `high`.
    """
    if "probe_accuracy" not in dynamics:
        return None
    accuracy = dynamics["probe_accuracy"].isel(layer=-1)
    if not accuracy.notnull().any():
        return None
    with style.without_tex():
        figure = new_figure(SCREEN.width, HEIGHT, "constrained")
        ax = plot_curves(dynamics, ax=figure.add_subplot(), heading=False)
    svg = figure_svg(ax.figure)
    # After the figure was drawn, which lays it out.
    box, (low, high) = ax.get_position(), ax.get_xlim()
    return {
        "svg": svg,
        "left": box.x0,
        "right": box.x1,
        "top": 1 - box.y1,
        "bottom": 1 - box.y0,
        "low": low,
        "high": high,
    }

"""The learning curves as SVG inside of the page."""

import io
import re
from typing import TYPE_CHECKING, Any, cast

from repdyn_keras.figures import learning_curves
from repdyn_keras.figures.parts import style

if TYPE_CHECKING:
    import xarray

# The page's own colours, light or dark, in place of those of a white figure.
COLORS = {
    style.INK: "var(--ink)",
    "#000000": "var(--ink)",
    style.FAINT: "var(--faint)",
    "#e3e3e3": "var(--line)",
    "#332288": "var(--test)",
    "#ffffff": "var(--card)",
}
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "repdyn"}


def curves_svg(dynamics: "xarray.Dataset") -> dict[str, Any] | None:
    """The learning curves of a run, or None if no accuracy is known.

    Args:
        dynamics: the Dataset of the run.

    Returns:
        `svg`, and where the Axes are in it, as shares of its width and height from the left and the
        top: `left`, `right`, `top`, `bottom`; and the limits of the axis of log2(1 + epoch), `low`
        and `high`.
    """
    import matplotlib

    if "probe_accuracy" not in dynamics:
        return None
    accuracy = dynamics["probe_accuracy"].isel(layer=-1)
    if not accuracy.notnull().any():
        return None
    with matplotlib.rc_context(SETTINGS), style.without_tex():
        ax = learning_curves(dynamics, heading=False)
        file = io.StringIO()
        metadata = {"Date": None, "Creator": None}
        cast(Any, ax.figure).savefig(file, format="svg", metadata=metadata)
        box, (low, high) = ax.get_position(), ax.get_xlim()
    return {
        "svg": inline(file.getvalue()),
        "left": box.x0,
        "right": box.x1,
        "top": 1 - box.y1,
        "bottom": 1 - box.y0,
        "low": low,
        "high": high,
    }


def inline(text: str) -> str:
    """A SVG file as an element of a page, with the page's colours and font."""
    svg = text[text.index("<svg") :]
    # The page sets the size; the view box keeps the proportions.
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for color, variable in COLORS.items():
        svg = re.sub(rf"{color}\b", variable, svg, flags=re.IGNORECASE)
    return svg.replace("'DejaVu Sans', ", "")

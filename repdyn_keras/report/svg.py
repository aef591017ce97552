"""Figures as SVG inside a page."""

import io
import re
from typing import Any

from repdyn_keras.figures.parts import style

# The page's own colours, light or dark, in place of those of a white figure.
COLORS = {
    style.INK: "var(--ink)",
    "#000000": "var(--ink)",
    style.FAINT: "var(--faint)",
    "#e3e3e3": "var(--line)",
    "#ededed": "var(--line)",
    "#332288": "var(--test)",
    "#ffffff": "var(--card)",
}
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "repdyn", "savefig.bbox": None}


def figure_svg(figure: Any) -> str:
    """A figure of matplotlib as an element of a page, with the page's colours and font.

    Its text is text, which matplotlib has escaped.
    """
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context(SETTINGS), style.without_tex():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    svg = text[text.index("<svg") :]
    # The page sets the size; the view box keeps the proportions.
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    # Figures of one page have groups of the same names, to which nothing refers.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for color, variable in COLORS.items():
        svg = re.sub(rf"{color}\b", variable, svg, flags=re.IGNORECASE)
    return svg.replace("'DejaVu Sans', ", "")

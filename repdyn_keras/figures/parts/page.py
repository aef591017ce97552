"""Pages: figures with a heading, panels and a legend, laid out by constrained layout."""

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import MAX_LAYER_NAME, shortened
from repdyn_keras.records.atomic import write_bytes

# Inches: around panels and text, and to the left of the heading.
PAD, MARGIN = 0.08, 0.12
# The widest panel, and what a page needs beside its panels for tick labels and a colour bar.
PANEL, BESIDE = 4.6, 2.1
# Inches between the panels of a row, which tick marks and triangles use.
BETWEEN = 0.2


class PictureFile(NamedTuple):
    """A file of a picture: its name, and its bytes."""

    name: str
    data: bytes


def new_figure(width, height, layout=None):
    """An empty Figure of so many inches, unknown to pyplot: nothing to close, no display needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure((width, height), facecolor="white", layout=layout)).figure


def axes_or_new(ax, width, height):
    """The given Axes, or those of a new Figure, which is `ax.figure`."""
    return ax or new_figure(width, height, "constrained").add_subplot()


def png(figure) -> bytes:
    """A figure as a PNG file."""
    data = io.BytesIO()
    # No software name: the same data give the same bytes under another patch of matplotlib.
    figure.savefig(data, format="png", dpi=style.DPI, metadata={"Software": None})
    return data.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, in a folder that is created if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)


def text_width(text: str, size: float) -> float:
    """The width of a line of text in points, for a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]


def wrapped(text: str, size: float, width: float) -> str:
    """Text broken into lines of at most `width` points, within words where they are longer.

    Text that matplotlib wraps would be measured as mathematics wherever it contains two `$`.
    """
    letters, lines = len(text), [text]
    while letters > 20 and max(text_width(line, size) for line in lines) > width:
        letters = min(letters - 1, int(letters * 0.98))
        lines = textwrap.wrap(text, letters)
    return "\n".join(lines)


def fitted(names: Sequence[str], width: float, size: float) -> list[str]:
    """Names of layers, shortened to `width` points, but not to less than 12 letters."""
    for letters in range(MAX_LAYER_NAME, 11, -1):
        short = shortened(names, letters)
        if max(text_width(name, size) for name in short) <= 0.97 * width:
            break
    return short


def new_page(width, title, subtitle):
    """A Figure with a title above a SubFigure with a subtitle, which is for the panels.

    Constrained layout stacks neither two titles, nor a legend and an axis label, of one figure:
    the title and the legend belong to the Figure, the subtitle and the labels to the SubFigure.
    """
    figure = new_figure(width, width)
    body = figure.subfigures()
    place = {"x": MARGIN / width, "ha": "left", "parse_math": False}
    figure.suptitle(title, size=style.TITLE, color=style.INK, weight="bold", **place)
    lines = wrapped(subtitle, style.LABEL, 69 * (width - 2 * MARGIN))
    body.suptitle(lines, size=style.LABEL, color=style.FAINT, linespacing=1.25, **place)
    return figure, body


def panel_page(count, heading, across, upwards, columns=None):
    """A page with a grid of panels, of which only the outer ones carry tick labels.

    Args:
        count: number of panels.
        heading: title and subtitle.
        across, upwards: labels of the axes.
        columns: panels in a row; None: chosen by their number, 4 at most.

    Returns:
        The Figure, and its Axes row by row. Call `settle` when everything is drawn.
    """
    columns = columns or {5: 3, 6: 3, 9: 3}.get(count, min(count, 4))
    figure, body = new_page(min(style.WIDTH, BESIDE + PANEL * columns), *heading)
    body.supxlabel(across, size=style.LABEL)
    body.supylabel(upwards, size=style.LABEL)
    grid = body.add_gridspec(math.ceil(count / columns), columns)
    axes = [body.add_subplot(grid[index]) for index in range(count)]
    for ax in axes:
        ax.label_outer()
        ax.tick_params(labelsize=style.SMALL)
    return figure, axes


def panel_room(figure, panels) -> float:
    """Points that a line above a panel of `panel_page` may take, known before the layout."""
    columns = panels[0].get_subplotspec().get_gridspec().ncols
    return 72 * ((figure.get_figwidth() - BESIDE) / columns - BETWEEN)


def title_panel(ax, title, pad=4, **look):
    """Write a panel's title at the left, `pad` points above it."""
    ax.set_title(title, loc="left", pad=pad, size=style.PANEL_TITLE, parse_math=False, **look)


def settle(figure, panels, aspect, legend=None):
    """Lay out a page once, with the height that its panels need, and keep that layout.

    Args:
        figure: of `new_page`.
        panels: Axes of one grid and one height.
        aspect: height of a panel over its width.
        legend: at the left of the panels, for which the page may have to be longer. The grid then
            ends with an empty row. Without it, the lowest panel of every column gets tick labels.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # An engine of the figure would be run, and the figure drawn twice, whenever it is saved.
    engine = ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)
    spec = panels[0].get_subplotspec()
    grid = spec.get_gridspec()
    # In heights of a panel.
    ratios = np.array(grid.get_height_ratios(), float)
    ratios /= ratios[spec.rowspan.start]
    # Generous, so that no panel collapses in the first pass.
    height = 6.0 + 4.0 * ratios.sum()
    figure.set_figheight(height)
    engine.execute(figure)
    across, down = size_inches(panels[0])
    height += ratios.sum() * (aspect * across - down)
    if legend is not None:
        for ax in figure.axes:
            ax.apply_aspect()
        missing = PAD - legend.get_window_extent().y0 / figure.dpi + figure.get_figheight() - height
        if missing > 0:
            ratios[-1] += missing / (aspect * across)
            grid.set_height_ratios(ratios)
            height += missing
    figure.set_figheight(height)
    engine.execute(figure)
    if legend is None:
        # After the layout: tick labels of a panel above an empty cell hang into that cell.
        for ax in panels[-grid.ncols :]:
            ax.tick_params(labelbottom=True)


def size_inches(ax) -> np.ndarray:
    """Width and height of Axes, before their aspect is applied."""
    return ax.get_position(original=True).size * ax.figure.bbox.size / ax.figure.dpi


def quiet_frame(ax) -> None:
    """Keep only the left and the lower line of the frame, in grey."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(style.FAINT)
    ax.tick_params(which="both", color=style.FAINT, labelcolor=style.INK)

"""Pages: figures with a heading, panels and a legend, laid out by constrained layout."""

import io
import math
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import MAX_LAYER_NAME, shortened
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.records.atomic import write_bytes

# Inches: around panels and text, and to the left of the heading.
PAD, MARGIN = 0.08, 0.12
# The widest and the narrowest panel, and what a page needs beside its panels for tick labels and a
# colour bar, at full scale.
PANEL, MIN_PANEL, BESIDE = 4.6, 1.15, 2.1
MAX_COLUMNS = 4
# Points per inch of a bold line of text, as it is measured.
BOLD_POINTS = 62
# Inches between the panels of a row, which tick marks and triangles use.
BETWEEN = 0.2
# Width of what is beside a text in a legend, in sizes of the text; inches of the tick labels and
# marks of a panel.
HANDLE, BELOW_TICKS = 5.5, 0.34


class PictureFile(NamedTuple):
    """A file of a picture: its name, and its bytes."""

    name: str
    data: bytes


def new_figure(width, height, layout=None):
    """An empty Figure of so many inches, unknown to pyplot: nothing to close, no display needed.

    A notebook shows it as the value of a cell.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = FigureCanvasAgg(Figure((width, height), facecolor="white", layout=layout)).figure
    figure._repr_png_ = partial(rendered, figure, "png")
    return figure


def new_axes(width, height):
    """The Axes of a new figure of pyplot of so many inches, which a notebook shows by itself."""
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout="constrained").add_subplot()


# A PDF file holds its fonts; in an SVG file letters are outlines, which need none.
FONTS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "repdyn"}
# No software name and no date: the same data give the same bytes.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


def picture(stem: str, figure) -> PictureFile:
    """A figure as a file in the format of the sheet."""
    file_format = sheet().file_format
    return PictureFile(f"{stem}.{file_format}", rendered(figure, file_format))


def rendered(figure, file_format: str) -> bytes:
    """A figure as the bytes of a "png", "pdf" or "svg" file, with its fonts."""
    import matplotlib

    data = io.BytesIO()
    dpi = style.DPI if file_format == "png" else style.VECTOR_DPI
    with matplotlib.rc_context(FONTS):
        figure.savefig(data, format=file_format, dpi=dpi, metadata=METADATA[file_format])
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
    if sheet().heading:
        # Bold letters are wider than those that are measured.
        lines = wrapped(title, sheet().title, BOLD_POINTS * (width - 2 * MARGIN))
        figure.suptitle(lines, size=sheet().title, color=style.INK, weight="bold", **place)
        lines = wrapped(subtitle, sheet().label, 69 * (width - 2 * MARGIN))
        body.suptitle(lines, size=sheet().label, color=style.FAINT, linespacing=1.25, **place)
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
    columns = columns or _columns(count)
    figure, body = new_page(min(sheet().width, beside() + PANEL * columns), *heading)
    room = 72 * (figure.get_figwidth() - 2 * MARGIN)
    body.supxlabel(wrapped(across, sheet().label, room), size=sheet().label, parse_math=False)
    body.supylabel(upwards, size=sheet().label)
    grid = body.add_gridspec(math.ceil(count / columns), columns)
    axes = [body.add_subplot(grid[index]) for index in range(count)]
    for ax in axes:
        ax.label_outer()
        ax.tick_params(labelsize=sheet().small)
    return figure, axes


def beside() -> float:
    """Inches that a page needs beside its panels."""
    return BESIDE * sheet().scale


def _columns(count: int) -> int:
    """Panels in a row: as many as have room, or one less if fewer cells stay empty then.

    One empty cell does not count: the legend fills it.
    """
    most = int((sheet().width - beside()) / MIN_PANEL)
    most = max(1, min(count, MAX_COLUMNS, most))
    return min((most, max(1, most - 1)), key=lambda columns: (max(-count % columns, 1), -columns))


def panel_room(figure, panels) -> float:
    """Points that a line above a panel of `panel_page` may take, known before the layout."""
    columns = panels[0].get_subplotspec().get_gridspec().ncols
    return 72 * ((figure.get_figwidth() - beside()) / columns - BETWEEN)


def title_panel(ax, title, pad=4, **look):
    """Write a panel's title at the left, `pad` points above it."""
    ax.set_title(title, loc="left", pad=pad, size=sheet().panel_title, parse_math=False, **look)


def settle(figure, panels, aspect, legend=None, above=0):
    """Lay out a page once, with the height that its panels need, and keep that layout.

    Args:
        figure: of `new_page`.
        panels: Axes of one grid and one height.
        aspect: height of a panel over its width.
        legend: at the left of the panels, for which the page may have to be longer. The grid then
            ends with an empty row. Without it, the lowest panel of every column gets tick labels.
        above: number of rows above the one at whose left the legend begins.
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
        # The rows above become lower, too, and the legend moves up with them.
        missing -= above * (down - aspect * across)
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


def settle_with_legend(figure, panels, aspect, entries) -> None:
    """Lay out a page with a legend: in the cells that panels leave empty, or else below them.

    Args:
        figure, panels, aspect: see `settle`.
        entries: labels, and lines or patches.
    """
    entries = {" ".join(text.split()): handle for text, handle in entries.items()}
    grid = panels[0].get_subplotspec().get_gridspec()
    rest = len(panels) % grid.ncols
    look = {"frameon": False, "fontsize": sheet().small, "handlelength": 2.6}
    if entries and rest:
        room = panel_room(figure, panels) * (grid.ncols - rest) - HANDLE * sheet().small
        labels = [wrapped(text, sheet().small, room) for text in entries]
        free = panels[0].figure.add_subplot(grid[-1, rest:])
        free.set_axis_off()
        place = {"loc": "upper left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.0}
        place["labelspacing"] = 0.3
        legend = free.legend(entries.values(), labels, **place, **look)
        legend.set_in_layout(False)
        settle(figure, panels, aspect)
        # Below the tick labels of the panel above.
        above = panels[len(panels) - grid.ncols : len(panels) - rest]
        names = [label for ax in above for label in ax.get_xticklabels() if label.get_text()]
        lowest = min((name.get_window_extent().y0 for name in names), default=np.inf)
        top = free.get_window_extent().y1
        gap = max(BELOW_TICKS * sheet().scale, (top - lowest) / figure.dpi + PAD)
        gap /= size_inches(free)[1]
        legend.set_bbox_to_anchor((0, 1 - gap), free.transAxes)
        box = legend.get_window_extent()
        if box.y0 >= 0 and box.x1 <= figure.bbox.width:
            return
        free.remove()
    if entries:
        in_a_row = min(len(panels), 2)
        room = 72 * figure.get_figwidth() / in_a_row - HANDLE * sheet().small
        labels = [wrapped(text, sheet().small, room) for text in entries]
        below = {"loc": "outside lower center", "ncols": in_a_row}
        figure.legend(entries.values(), labels, **below, **look)
    settle(figure, panels, aspect)


def size_inches(ax) -> np.ndarray:
    """Width and height of Axes, before their aspect is applied."""
    return ax.get_position(original=True).size * ax.figure.bbox.size / ax.figure.dpi


def quiet_frame(ax) -> None:
    """Keep only the left and the lower line of the frame, in grey."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(style.FAINT)
    ax.tick_params(which="both", color=style.FAINT, labelcolor=style.INK)

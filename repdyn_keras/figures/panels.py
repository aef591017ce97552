"""Figures laid out in inches, so that text keeps its size however many panels there are."""

import math
import textwrap

from repdyn_keras.figures import style

_HEADING_LEFT, _HEADING_TOP = 0.15, 0.14


def new_figure(width: float, height: float):
    """An empty Figure that pyplot knows nothing of: nothing to close, no display needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(ax, width: float, height: float):
    """The given Axes, or those of a new Figure (reached as `ax.figure`)."""
    if ax is not None:
        return ax
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained")
    return figure.add_subplot()


def place(figure, left: float, top: float, width: float, height: float):
    """New Axes at so many inches from the left and the top edge of the figure."""
    across, down = figure.get_size_inches()
    box = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(box)


def panel_grid(
    count: int,
    title: str,
    subtitle: str,
    *,
    aspect: float,
    columns: int | None = None,
    left: float = 0.75,
    right: float = 0.25,
    bottom: float = 1.2,
    row_gap: float = 0.5,
):
    """A Figure with a row-wise grid of equal panels under a heading.

    Args:
        count: number of panels.
        title, subtitle: the heading.
        aspect: height of a panel over its width.
        columns: panels side by side; None: as many as look well, 4 at most.
        left, right, bottom: inches kept free, for tick labels, a colour bar and a legend.
        row_gap: inches between rows, for the panels' titles.

    Returns:
        The Figure and the list of its `count` Axes. Only the outer ones carry tick labels.
    """
    columns = columns or {5: 3, 6: 3, 9: 3}.get(count, min(count, 4))
    rows = math.ceil(count / columns)
    column_gap = 0.22
    free = style.WIDTH - left - right - (columns - 1) * column_gap
    across = min(4.6, free / columns)
    down = across * aspect
    width = left + columns * across + (columns - 1) * column_gap + right
    top = heading_height(width, title, subtitle) + row_gap
    height = top + rows * down + (rows - 1) * row_gap + bottom
    figure = new_figure(width, height)
    heading(figure, title, subtitle)
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        x, y = left + column * (across + column_gap), top + row * (down + row_gap)
        ax = place(figure, x, y, across, down)
        lowest = index + columns >= count
        ax.tick_params(labelsize=style.SMALL, labelbottom=lowest, labelleft=column == 0)
        axes.append(ax)
    return figure, axes


def heading_height(width: float, title: str, subtitle: str) -> float:
    """Inches that a heading takes from the top of a figure so many inches wide."""
    return _HEADING_TOP + sum(height for *_, height in _heading_blocks(width, title, subtitle))


def heading(figure, title: str, subtitle: str) -> None:
    """Write a title and a fainter explanation in the upper left corner, wrapped to the width."""
    across, down = figure.get_size_inches()
    top = _HEADING_TOP
    for text, look, height in _heading_blocks(across, title, subtitle):
        figure.text(
            _HEADING_LEFT / across,
            1 - top / down,
            text,
            va="top",
            linespacing=1.25,
            parse_math=False,
            **look,
        )
        top += height


def _heading_blocks(width: float, title: str, subtitle: str) -> list[tuple[str, dict, float]]:
    """The wrapped text, the look and the height in inches of the heading's two parts."""
    blocks = []
    for text, size, color, weight in (
        (title, style.TITLE, style.INK, "bold"),
        (subtitle, style.LABEL, style.FAINT, "normal"),
    ):
        letter = size / 72 * (0.62 if weight == "bold" else 0.54)
        lines = textwrap.wrap(text, int((width - 2 * _HEADING_LEFT) / letter))
        look = {"size": size, "color": color, "weight": weight}
        blocks.append(("\n".join(lines), look, len(lines) * size / 72 * 1.36 + 0.04))
    return blocks


def quiet_frame(ax) -> None:
    """Keep only the axes' left and lower line, in gray."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(style.FAINT)
    ax.tick_params(which="both", color=style.FAINT, labelcolor=style.INK)

"""Text at and in the cells of a grid: names of rows and columns, and the values if they fit."""

import numpy as np

from repdyn_keras.figures import style
from repdyn_keras.figures.epochs import thinned

NAME_SIZE = 8.0
# Inches of a cell whose name does not touch that of the next.
SMALLEST_CELL = 0.15
VALUE_SIZES = (7.5, 7.0, 6.5, 6.0)
# Inches of a letter of one point.
LETTER = 0.62 / 72


def _cell_size(ax, shape: tuple[int, int]) -> tuple[float, float]:
    """Inches of a cell across and down."""
    box = ax.get_position()
    width, height = ax.figure.get_size_inches()
    return box.width * width / shape[1], box.height * height / shape[0]


def name_cells(ax, across: list[str], upwards: list[str]) -> None:
    """Write names at the columns and rows, only some where there are too many for their letters."""
    sides = _cell_size(ax, (len(upwards), len(across)))
    for axis, names, side, turn in (
        (ax.xaxis, across, sides[0], 90),
        (ax.yaxis, upwards, sides[1], 0),
    ):
        places = np.arange(len(names))
        chosen = thinned(places, int(len(names) * side / (0.95 * SMALLEST_CELL)))
        axis.set_ticks(chosen, labels=[names[i] for i in chosen], rotation=turn, parse_math=False)
    ax.tick_params(length=2, labelsize=NAME_SIZE, pad=2)


def short_number(value: float) -> str:
    """Two decimals, without the zero in front of them: .97, -.03, 1.0."""
    return {"0.00": "0", "-0.00": "0", "1.00": "1.0"}.get(
        text := f"{value:.2f}", text.replace("0.", ".", 1)
    )


def fitting_size(ax, shape: tuple[int, int], letters: int) -> float | None:
    """Points of the largest font in which so many letters fit into a cell, or None."""
    across, down = _cell_size(ax, shape)
    for size in VALUE_SIZES:
        if letters * size * LETTER <= 0.95 * across and 1.3 * size / 72 <= down:
            return size
    return None


def _ink(ax, value: float) -> str:
    image = ax.images[0]
    return style.ink_on(image.cmap(image.norm(value))[:3])


def cross_out(ax, values: np.ndarray, where: np.ndarray) -> None:
    """Draw a cross into some cells.

    Args:
        ax: Axes of the cells.
        values: (row, column) similarities.
        where: (row, column) which cells.
    """
    size = min(5.0, 0.4 * 72 * min(_cell_size(ax, values.shape)))
    look = {"marker": "x", "markersize": size, "markeredgewidth": 0.7, "gid": "cross"}
    for row, column in np.argwhere(where):
        ax.plot(column, row, color=_ink(ax, values[row, column]), **look)


def write_values(ax, values: np.ndarray, texts: np.ndarray, size: float) -> None:
    """Write texts into cells, in black or white, whichever is read more easily on the colour.

    Args:
        ax: Axes of the cells.
        values: (row, column) similarities.
        texts: (row, column) strings; empty ones are left out.
        size: in points, see `fitting_size`.
    """
    look = {"ha": "center", "va": "center_baseline", "size": size}
    for (row, column), text in np.ndenumerate(texts):
        if text:
            ax.text(column, row, text, color=_ink(ax, values[row, column]), **look)

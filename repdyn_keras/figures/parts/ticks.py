"""Epochs and names at the ticks of an axis, as many as fit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.page import size_inches, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

EPOCH_AXIS = "epoch (axis: log2(1 + epoch); 0 = before training)"
NAME_SIZE = 8.0
# Points of a cell whose name does not touch the next one's.
MIN_CELL = 1.25 * NAME_SIZE


def log_position(epochs: np.ndarray | Sequence[float] | float) -> np.ndarray:
    """log2(1 + epoch). Epochs recorded by the default schedule are nearly evenly spaced on it."""
    return np.log2(1 + np.asarray(epochs, float))


def cell_position(epochs: np.ndarray, epoch: float) -> float:
    """The position of an epoch among the recorded ones, which stand at 0, 1, 2, ..."""
    return float(np.interp(epoch, epochs, np.arange(len(epochs))))


def thinned(positions: np.ndarray, max_count: int) -> np.ndarray:
    """Indices of at most `max_count` positions, as evenly spaced as possible.

    The first and the last are always included. Neighbours are at least three quarters of an even
    spacing apart.

    Args:
        positions: (n,) ascending.
        max_count: at least 2.
    """
    last = len(positions) - 1
    if last < 1:
        return np.arange(last + 1)
    targets = np.linspace(positions[0], positions[last], max(2, max_count))
    gap = 0.75 * (targets[1] - targets[0])
    kept = [0]
    for index in np.unique(np.abs(positions[:, None] - targets).argmin(0))[1:-1]:
        after, before = positions[index] - positions[kept[-1]], positions[last] - positions[index]
        if after >= gap and before >= gap:
            kept.append(int(index))
    return np.array([*kept, last])


def label_axis(axis: "Axis", positions: np.ndarray, epochs: np.ndarray, ends: bool = False) -> None:
    """Write as many epoch numbers as fit at the present size; minor ticks mark the others.

    Args:
        axis: whose ticks are set; one whose labels are hidden gets no minor ticks, which are slow.
        positions, epochs: (n,) places on the axis, and their numbers.
        ends: write only the first and the last, as long as the size is not final.
    """
    room = text_width(str(int(np.max(epochs))), style.SMALL) + style.SMALL
    chosen = thinned(positions, 2 if ends else int(_length(axis) / room))
    axis.set_ticks(positions[chosen], labels=[str(int(epochs[i])) for i in chosen])
    shown = "labelbottom" if axis is axis.axes.xaxis else "labelleft"
    if not ends and axis.get_tick_params().get(shown, True):
        axis.set_ticks(np.delete(positions, chosen), minor=True)


def label_epochs(ax: "Axes", columns: np.ndarray, rows: np.ndarray, ends: bool = False) -> None:
    """Write epoch numbers at the cells of a grid, (column,) and (row,); see `label_axis`."""
    for axis, epochs in ((ax.xaxis, columns), (ax.yaxis, rows)):
        label_axis(axis, np.arange(len(epochs)), epochs, ends)
    ax.tick_params(which="major", length=3, labelsize=style.SMALL)
    ax.tick_params(which="minor", length=1.5, color=style.FAINT)


def label_names(ax: "Axes", columns: list[str], rows: list[str]) -> None:
    """Write names at the cells of a grid, only some where cells are narrower than the text."""
    for axis, names, turn in ((ax.xaxis, columns, 90), (ax.yaxis, rows, 0)):
        chosen = thinned(np.arange(len(names)), int(_length(axis) / MIN_CELL))
        axis.set_ticks(chosen, labels=[names[i] for i in chosen], rotation=turn, parse_math=False)
    ax.tick_params(length=2, labelsize=NAME_SIZE, pad=2)


def _length(axis: "Axis") -> float:
    """The length of an axis in points."""
    return 72 * size_inches(axis.axes)[0 if axis is axis.axes.xaxis else 1]

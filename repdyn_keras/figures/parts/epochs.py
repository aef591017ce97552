"""Epochs on an axis: positions, tick labels, and curves of accuracy."""

from collections.abc import Sequence

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import layer_index, require
from repdyn_keras.figures.parts.page import quiet_frame, size_inches, text_width, wrapped
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import format_epoch, format_epochs

FIT_LOOK: style.Look = {"color": style.FAINT, "linewidth": 1.1, "linestyle": (0, (3, 2))}
CHANCE = "chance"
CHANCE_LOOK: style.Look = {"color": style.FAINT, "linewidth": 1.1, "linestyle": (0, (1, 2))}
EPOCH_AXIS = "epoch (axis: log2(1 + epoch); 0 = before training)"
# Height of a cell whose name does not touch the next one's, in sizes of the name.
MIN_CELL = 1.25


def log_position(epochs: np.ndarray | Sequence[float] | float) -> np.ndarray:
    """log2(1 + epoch). Epochs recorded by the default schedule are nearly evenly spaced on it."""
    return np.log2(1 + np.asarray(epochs, float))


def thinned(positions: np.ndarray, max_count: int) -> np.ndarray:
    """Indices of at most `max_count` ascending positions, as evenly spaced as possible.

    The first and the last are always included. Neighbours are at least three quarters of an even
    spacing apart.
    """
    last = len(positions) - 1
    if last < 1:
        return np.arange(last + 1)
    targets = np.linspace(positions[0], positions[last], max(2, max_count))
    gap = 0.75 * (targets[1] - targets[0])
    kept = [0]
    for index in np.unique(np.abs(positions[:, None] - targets).argmin(0))[1:-1]:
        if np.diff(positions[[kept[-1], index, last]]).min() >= gap:
            kept.append(int(index))
    return np.array([*kept, last])


def label_axis(axis, positions, epochs, ends=False):
    """Write as many epochs as fit at their positions; minor ticks, which are slow, mark the others.

    Whole epochs come first, and those of early records where there is room between them. As long as
    the size is not final, write only the first and the last (`ends`).
    """
    last = len(epochs) - 1
    texts = np.array(format_epochs(epochs), object)
    whole = np.unique([0, *np.flatnonzero(epochs == np.floor(epochs)), last])
    room = max(text_width(text, sheet().small) for text in texts[whole]) + sheet().small
    chosen = whole[thinned(positions[whole], 2 if ends else int(_length(axis) / room))]
    if not ends:
        chosen = with_early(chosen, positions, texts, _length(axis))
    axis.set_ticks(positions[chosen], labels=texts[chosen].tolist())
    shown = {"x": "labelbottom", "y": "labelleft"}[axis.axis_name]
    if not ends and axis.get_tick_params().get(shown, True):
        axis.set_ticks(np.delete(positions, chosen), minor=True)


def with_early(chosen, positions, texts, length):
    """The indices that are chosen, and further ones whose texts fit between the first two.

    Args:
        chosen: ascending indices of positions with a text.
        positions: of all records.
        texts: of all records.
        length: of the axis in points.
    """
    unit = length / max(positions[-1] - positions[0], 1e-9)
    half = [text_width(text, sheet().small) / 2 for text in texts]
    kept = list(chosen[:1])
    end = chosen[1] if len(chosen) > 1 else 0
    for index in range(kept[0] + 1, end):
        beside = (kept[-1], end)
        gaps = [unit * abs(positions[index] - positions[other]) for other in beside]
        needed = [half[index] + half[other] + sheet().small for other in beside]
        if "." in texts[index] and np.greater_equal(gaps, needed).all():
            kept.append(index)
    return np.array([*kept, *chosen[1:]], int)


def label_epochs(ax, columns, rows, ends=False):
    """Write epoch numbers at the cells of a grid, (column,) and (row,); see `label_axis`."""
    for axis, epochs in ((ax.xaxis, columns), (ax.yaxis, rows)):
        label_axis(axis, np.arange(len(epochs)), epochs, ends)
    ax.tick_params(which="major", length=3, labelsize=sheet().small)
    ax.tick_params(which="minor", length=1.5, color=style.FAINT)


def label_names(ax, columns, rows):
    """Write names at the cells of a grid, only some where cells are narrower than the text."""
    for axis, names, turn in ((ax.xaxis, columns, 90), (ax.yaxis, rows, 0)):
        label_axis_names(axis, names, turn)
    ax.tick_params(length=2, labelsize=sheet().name, pad=2)


def label_axis_names(axis, names, turn):
    """Write names at the positions 0, 1, ... of an axis, only some where there is little room."""
    chosen = thinned(np.arange(len(names)), int(_length(axis) / (MIN_CELL * sheet().name)))
    axis.set_ticks(chosen, labels=[names[i] for i in chosen], rotation=turn, **style.PLAIN)


def _length(axis):
    """The length of an axis in points."""
    return 72 * size_inches(axis.axes)["xy".index(axis.axis_name)]


def draw_curves(ax, dynamics, layer, ends=False):
    """Draw one line for each recorded subset, and one for chance; returns the lines.

    For `ends` see `label_axis`; for the lines' meanings see `curve_meanings`.
    Without wrongly labelled images, the correctly labelled ones are left out: they are all.
    """
    accuracy = require(dynamics, "probe_accuracy").isel(layer=layer_index(dynamics, layer))
    epochs = accuracy["epoch"].values
    position = log_position(epochs)
    recorded = [str(name) for name in accuracy["subset"].values]
    lines = {}
    for name in [name for name in style.meanings(dynamics) if name in recorded]:
        values = accuracy.isel(subset=recorded.index(name)).values
        if np.isfinite(values).any():
            (lines[name],) = ax.plot(position, values, **style.subset_line(name))
    classes = int(dynamics.attrs.get("n_classes", 0))
    if lines and classes > 1:
        lines[CHANCE] = ax.axhline(1 / classes, gid=CHANCE, zorder=1, **CHANCE_LOOK)
    if not lines:
        is_output = layer == "output" and not style.has_class_scores(dynamics)
        text = "no class scores, so no accuracy" if is_output else "no accuracy recorded"
        look = {"ha": "center", "va": "center", "backgroundcolor": "white", "size": sheet().small}
        text = wrapped(text, sheet().small, 0.8 * 72 * size_inches(ax)[0])
        ax.text(0.5, 0.5, text, transform=ax.transAxes, **look)
    quiet_frame(ax)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "0.25", "0.5", "0.75", "1"])
    ax.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    room = 0.03 * max(position[-1] - position[0], 1)
    ax.set(xlim=(position[0] - room, position[-1] + room), ylim=(-0.02, 1.03), axisbelow=True)
    label_axis(ax.xaxis, position, epochs, ends)
    return lines


def curve_meanings(dynamics):
    """The text for each line of `draw_curves`, in the order of drawing."""
    chance = f"chance, 1 of {int(dynamics.attrs.get('n_classes', 0))} classes"
    return {**style.meanings(dynamics), CHANCE: chance}


def mark_fit(ax, dynamics, *, labelled):
    """Draw a vertical line at the epoch of perfect fit, if it is in sight."""
    fit = style.perfect_fit_epoch(dynamics)
    low, high = ax.get_xlim()
    if fit is None or not low <= (x := float(log_position(fit))) <= high:
        return
    ax.axvline(x, zorder=1, **FIT_LOOK)
    if labelled:
        label_fit(ax, fit, x, offset=4, color=style.FAINT)


def fit_entry(dynamics):
    """The text and the line of the perfect fit for a legend; empty if it is not in sight."""
    from matplotlib.lines import Line2D

    fit, epochs = style.perfect_fit_epoch(dynamics), dynamics["epoch"].values
    if fit is None or not epochs[0] <= fit <= epochs[-1]:
        return {}
    return {f"perfect fit: epoch {format_epoch(fit)}": Line2D([], [], **FIT_LOOK)}


def label_fit(ax, fit, x, offset, **look):
    """Write the epoch of perfect fit above the Axes, `offset` points away, where there is room."""
    low, high = ax.get_xlim()
    share = (x - low) / (high - low)
    look["ha"] = "left" if share < 0.3 else "right" if share > 0.7 else "center"
    look |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    text = f"perfect fit of the training labels: epoch {format_epoch(fit)}"
    ax.annotate(text, (x, 1), (0, offset), annotation_clip=False, size=sheet().small, **look)


def curves_subtitle(dynamics, *about):
    """The run's title, what is drawn, and whether the network never fitted its labels."""
    if not style.has_class_scores(dynamics):
        fit = "the output holds no class scores"
    else:
        reached = style.perfect_fit_epoch(dynamics) is not None
        fit = "" if reached else "perfect fit of the training labels was not reached"
    return style.subtitle(dynamics, *about, fit)

"""CKA of matching layers of two runs between all their recorded epochs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import (
    add_legend,
    add_page_bar,
    color_range,
    draw_cells,
    mark_column,
    mark_row,
    triangle,
)
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    panel_page,
    png,
    settle,
    size_inches,
    text_width,
)
from repdyn_keras.figures.parts.pairs import SCALE, nonempty, pair_aspect, pair_subtitle
from repdyn_keras.figures.parts.ticks import cell_position, label_axis, label_ends, label_epochs

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_epoch_comparison(comparison: xr.Dataset) -> Iterator[PictureFile]:
    """Draw `epochs.png`."""
    yield PictureFile("epochs.png", png(epoch_comparison(comparison)))


def epoch_comparison(comparison: xr.Dataset) -> "Figure":
    """CKA of a layer of run A with its match in run B between epochs, one panel for each match.

    Epochs of A go upwards, those of B across. NaN is hatched. Cells are recorded epochs, all of one
    size. Triangles mark each run's perfect fit. The dashed line joins equal epochs.

    Args:
        comparison: holds `cka_epochs` (match, recorded_a, recorded_b) with `match_a` and `match_b`
            (match), and the attributes of `layer_comparison`.

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent or holds no match.
    """
    cka = nonempty(comparison, "cka_epochs", ("match", "recorded_a", "recorded_b"))
    values = cka.values
    rows, columns = cka["recorded_a"].values, cka["recorded_b"].values
    matches = [
        (str(cka["match_a"].values[i]), str(cka["match_b"].values[i])) for i in range(len(values))
    ]
    about = (
        "cell: CKA of the layer of A at the epoch upwards with that of B at the epoch across, on "
        "the same images"
    )
    figure, body, axes = panel_page(
        len(values),
        "Similarity of layers of two runs between epochs (CKA)",
        pair_subtitle(comparison, about),
    )
    low = min(0.0, color_range(values)[0])
    same = _same_epochs(rows, columns)
    for ax, cells in zip(axes, values, strict=True):
        draw_cells(ax, cells, low, 1.0)
        label_epochs(ax, columns, rows, label_ends)
        if len(same) > 1:
            ax.plot(same[:, 0], same[:, 1], gid="same epoch", **_same_look())
        mark_column(ax, columns, style.perfect_fit_epoch(comparison, "b"))
        mark_row(ax, rows, style.perfect_fit_epoch(comparison, "a"))
    _title_matches(axes, matches)
    body.supxlabel("epoch of B (recorded epochs only, one cell each)", size=style.LABEL)
    body.supylabel("epoch of A", size=style.LABEL)
    add_page_bar(axes, values, SCALE)
    handles = _legend_handles(comparison, len(same) > 1, bool(np.isnan(values).any()))
    add_legend(figure, handles, 2 if len(values) > 1 else 1)
    settle(figure, axes, pair_aspect(rows, columns))
    _title_matches(axes, matches)
    for ax in axes:
        label_epochs(ax, columns, rows, label_axis)
    return figure


def _title_matches(axes: list["Axes"], matches: list[tuple[str, str]]) -> None:
    """Write the names of matching layers over their panels, as long as fits at the present size."""
    room = 72 * size_inches(axes[0])[0] - text_width("A: ", style.PANEL_TITLE)
    names = [name for match in matches for name in match]
    short = dict(zip(names, fitted(names, room, style.PANEL_TITLE), strict=True))
    look = {"size": style.PANEL_TITLE, "pad": 8, "linespacing": 1.2, "parse_math": False}
    for ax, (a, b) in zip(axes, matches, strict=True):
        title = short[a] if a == b else f"A: {short[a]}\nB: {short[b]}"
        ax.set_title(title, loc="left", **look)


def _same_epochs(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(point, 2) positions, across and upwards, of the epochs that lie within both runs."""
    low, high = max(rows[0], columns[0]), min(rows[-1], columns[-1])
    both = [epoch for epoch in np.union1d(rows, columns) if low <= epoch <= high]
    places = [(cell_position(columns, epoch), cell_position(rows, epoch)) for epoch in both]
    return np.array(places).reshape(-1, 2)


def _same_look() -> dict[str, Any]:
    from matplotlib.patheffects import Normal, Stroke

    return {
        "color": "white",
        "linewidth": 1.1,
        "linestyle": (0, (3, 2.5)),
        "zorder": 2,
        "path_effects": [Stroke(linewidth=2.1, foreground="#1A1A1A"), Normal()],
    }


def _legend_handles(comparison: xr.Dataset, any_same: bool, any_undefined: bool) -> list["Artist"]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = []
    for run, marker in (("a", "<"), ("b", "v")):
        fit = style.perfect_fit_epoch(comparison, run)
        if fit is not None:
            label = f"perfect fit of the given labels in {run.upper()}: epoch {fit:g}"
            handles.append(Line2D([], [], label=label, **triangle(marker)))
    if any_same:
        handles.append(Line2D([], [], label="the same epoch in both runs", **_same_look()))
    if any_undefined:
        handles.append(Patch(label="undefined (dead layer)", **style.undefined_look()))
    return handles

"""Similarity of matching layers of two runs between all their recorded epochs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import (
    draw_cells,
    mark_epoch,
    outlined,
    settle_cells,
    symbol,
)
from repdyn_keras.figures.parts.epochs import label_epochs
from repdyn_keras.figures.parts.lookup import require_nonempty
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    panel_page,
    picture,
    size_inches,
    text_width,
    title_panel,
)
from repdyn_keras.figures.parts.run_similarity import run_similarity
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.figures.parts.similarity_floors import floors
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_epoch_comparison(
    comparison: xr.Dataset, _: Selection, measure: str = "cka"
) -> Iterator[PictureFile]:
    """Draw `epochs.png`, or `epochs_MEASURE.png`."""
    stem = "epochs" if measure == "cka" else f"epochs_{measure}"
    yield picture(stem, epoch_comparison(comparison, measure))


@style.as_it_is
def epoch_comparison(comparison: xr.Dataset, measure: str = "cka") -> "Figure":
    """Similarity of a layer of run A with its match in run B between epochs, a panel per match.

    Epochs of A go upwards, those of B across. NaN is hatched. Cells are recorded epochs, all of one
    size. Triangles mark each run's perfect fit. The dashed line joins equal epochs.

    Args:
        comparison: holds `MEASURE_epochs` (match, recorded_a, recorded_b) with `match_a` and
            `match_b` (match), the attributes of `layer_comparison`, and optionally
            `cka_epochs_null` and `cka_epochs_null_class`, which are marked on the colour bar.
        measure: "cka", "region_agreement" or "region_kappa".

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent or holds no match.
    """
    words, dims = run_similarity(measure), ("match", "recorded_a", "recorded_b")
    cka = require_nonempty(comparison, f"{measure}_epochs", dims)
    values = cka.values
    rows, columns = cka["recorded_a"].values, cka["recorded_b"].values
    names = zip(cka["match_a"].values, cka["match_b"].values, strict=True)
    matches = [(str(a), str(b)) for a, b in names]
    about = (
        f"cell: {words.name} of the layer of A at the epoch of the row with that of B at the epoch "
        f"of the column, {words.where}"
    )
    title = f"{words.heading} of layers of two runs between epochs{' (CKA)' * (measure == 'cka')}"
    heading = (title, style.subtitle(comparison, about))
    across = "epoch of B (recorded epochs only, one cell each)"
    figure, axes = panel_page(len(values), heading, across, "epoch of A")
    same = _same_epochs(rows, columns)
    dashes = outlined(1.1, 2.1, linestyle=(0, (3, 2.5)))
    fits = {run: style.perfect_fit_epoch(comparison, run) for run in "ab"}
    for ax, cells in zip(axes, values, strict=True):
        draw_cells(ax, cells)
        label_epochs(ax, columns, rows, ends=True)
        if len(same) > 1:
            ax.plot(same[:, 0], same[:, 1], gid="same epoch", zorder=2, **dashes)
        mark_epoch(ax, columns, fits["b"], "v")
        mark_epoch(ax, rows, fits["a"], "<")
    explained = {
        f"perfect fit of the training labels in {run.upper()}: epoch {format_epoch(fit)}": symbol(
            marker
        )
        for (run, fit), marker in zip(fits.items(), "<v", strict=True)
        if fit is not None
    }
    if len(same) > 1:
        explained["the same epoch in both runs"] = dashes
    _title_matches(axes, matches)
    marks = floors(comparison, *(name.format(kind="_epochs") for name in words.floors))
    settle_cells(figure, axes, values, words.scale, explained, words.undefined, marks)
    _title_matches(axes, matches)
    for ax in axes:
        label_epochs(ax, columns, rows)
    return figure


def _title_matches(axes, matches):
    """Write the names of matching layers over their panels, as long as fits at the present size."""
    room = 72 * size_inches(axes[0])[0] - text_width("A: ", sheet().panel_title)
    names = [name for match in matches for name in match]
    short = dict(zip(names, fitted(names, room, sheet().panel_title), strict=True))
    for ax, (a, b) in zip(axes, matches, strict=True):
        title = short[a] if a == b else f"A: {short[a]}\nB: {short[b]}"
        title_panel(ax, title, pad=11, linespacing=1.2)


def _same_epochs(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(point, 2) positions, across and upwards, of the epochs that lie within both runs."""
    low, high = max(rows[0], columns[0]), min(rows[-1], columns[-1])
    both = [epoch for epoch in np.union1d(rows, columns) if low <= epoch <= high]
    places = [np.interp(both, epochs, np.arange(len(epochs))) for epochs in (columns, rows)]
    return np.stack(places, axis=-1)

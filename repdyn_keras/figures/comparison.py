"""Pictures of a comparison of two runs: layers with layers, and epochs with epochs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.figures import style
from repdyn_keras.figures.cell_text import (
    LETTER,
    NAME_SIZE,
    SMALLEST_CELL,
    cross_out,
    fitting_size,
    name_cells,
    short_number,
    write_values,
)
from repdyn_keras.figures.cells import (
    color_range,
    draw_cells,
    label_epochs,
    mark_across,
    mark_upwards,
    place_bar,
    place_legend,
    triangle_look,
)
from repdyn_keras.figures.choose import require
from repdyn_keras.figures.epochs import row_position
from repdyn_keras.figures.files import save_all
from repdyn_keras.figures.names import shortened
from repdyn_keras.figures.panels import panel_grid

SCALE = "CKA of A with B (1 = same\nrepresentation, 0 = unrelated)"
# Standard deviations under unrelated data up to which a similarity says nothing.
UNRELATED = 2.0
# Of a panel, height over width; beyond them cells are not square.
ASPECTS = (0.75, 1.4)


def draw_comparison(
    comparison: xr.Dataset,
    folder: str | os.PathLike,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write `layers.png` and `epochs.png`, as far as the Dataset holds what they show.

    Args:
        comparison: of two runs, see `layer_comparison` and `epoch_comparison`.
        folder: made where it does not exist; files of the same names are replaced.
        progress: called with a line of text after each file.

    Returns:
        The files, in the order of drawing.
    """
    plan = {}
    if "cka_layers" in comparison and comparison.sizes["moment"]:
        plan["layers.png"] = lambda: layer_comparison(comparison)
    if "cka_epochs" in comparison and comparison.sizes["match"]:
        plan["epochs.png"] = lambda: epoch_comparison(comparison)
    return save_all(plan, folder, progress)


def layer_comparison(comparison: xr.Dataset):
    """CKA of every layer of run A with every layer of run B, one panel a moment; 1 = identical.

    Layers of A go upwards, those of B across; NaN is hatched. Values are written where they fit. A
    cross stands for a value within two standard deviations of 0 under unrelated data.

    Args:
        comparison: holds `cka_layers` (moment, layer_a, layer_b) with `epoch_a` and `epoch_b`
            (moment), and perhaps `cka_layers_null` of the same shape; attributes `title_a`,
            `title_b`, `perfect_fit_epoch_a`, `perfect_fit_epoch_b`.

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent or holds no moment.
    """
    dims = ("moment", "layer_a", "layer_b")
    cka = _filled(comparison, "cka_layers", dims)
    values = cka.values
    unrelated = np.zeros(values.shape, bool)
    if "cka_layers_null" in comparison:
        deviation = comparison["cka_layers_null"].transpose(*dims).values
        unrelated = np.abs(values) <= UNRELATED * deviation
    upwards, across = shortened(cka["layer_a"].values), shortened(cka["layer_b"].values)
    handles = _layer_handles(bool(unrelated.any()), bool(np.isnan(values).any()))
    reach = [max(map(len, names)) * NAME_SIZE * LETTER for names in (upwards, across)]
    left, right = 0.6 + reach[0], 1.35
    columns = min(len(values), 3)
    while columns > 1 and _panel_width(columns, left, right) < SMALLEST_CELL * len(across):
        columns -= 1
    figure, axes = panel_grid(
        len(values),
        "Similarity of the layers of two runs (CKA)",
        _subtitle(
            comparison,
            "cell: CKA of a layer of A, upwards, with a layer of B, across, on the same images",
        ),
        aspect=float(np.clip(len(upwards) / len(across), *ASPECTS)),
        columns=columns,
        left=left,
        right=right,
        bottom=0.55 + reach[1] + 0.21 * len(handles),
        row_gap=0.62,
    )
    low = min(0.0, color_range(values)[0])
    texts = np.vectorize(short_number)(values)
    longest = max(map(len, texts[~unrelated]), default=0)
    for index, ax in enumerate(axes):
        draw_cells(ax, values[index], low, 1.0, aspect="auto")
        name_cells(ax, across, upwards)
        cross_out(ax, values[index], unrelated[index])
        size = fitting_size(ax, values[index].shape, longest)
        if size is not None:
            shown = np.isfinite(values[index]) & ~unrelated[index]
            write_values(ax, values[index], np.where(shown, texts[index], ""), size)
        ax.set_title(
            "\n".join(_moment(comparison, cka, run, index) for run in "ab"),
            size=style.PANEL_TITLE,
            loc="left",
            pad=5,
            linespacing=1.2,
        )
    _label_axes(figure, "layers of B", "layers of A", len(handles))
    place_bar(figure, axes, values, SCALE)
    place_legend(figure, handles, 1)
    return figure


def epoch_comparison(comparison: xr.Dataset):
    """CKA of a layer of run A with its match in run B between epochs, one panel a match.

    Epochs of A go upwards, those of B across; NaN is hatched. Cells are recorded epochs, of equal
    size. Triangles point at each run's perfect fit; the dashed line is equal time in both.

    Args:
        comparison: holds `cka_epochs` (match, recorded_a, recorded_b) with `match_a` and `match_b`
            (match), and the attributes of `layer_comparison`.

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent or holds no match.
    """
    cka = _filled(comparison, "cka_epochs", ("match", "recorded_a", "recorded_b"))
    values = cka.values
    upwards, across = cka["recorded_a"].values, cka["recorded_b"].values
    fit_a, fit_b = (_perfect_fit(comparison, run) for run in "ab")
    matches = [*cka["match_a"].values, *cka["match_b"].values]
    count = len(values)
    same = _same_epochs(upwards, across)
    handles = _epoch_handles(fit_a, fit_b, len(same) > 1, bool(np.isnan(values).any()))
    legend_columns = 2 if count > 1 else 1
    legend_rows = -(-len(handles) // legend_columns)
    figure, axes = panel_grid(
        count,
        "Similarity of layers of two runs between epochs (CKA)",
        _subtitle(
            comparison,
            "cell: CKA of the layer of A at the epoch upwards with that of B at the epoch across, "
            "on the same images",
        ),
        aspect=float(np.clip(len(upwards) / len(across), *ASPECTS)),
        right=1.35,
        bottom=0.8 + 0.21 * legend_rows,
        row_gap=0.48 if matches[:count] == matches[count:] else 0.62,
    )
    low = min(0.0, color_range(values)[0])
    inches = axes[0].get_position().width * figure.get_size_inches()[0]
    letters = max(12, int(inches / (style.PANEL_TITLE * LETTER)) - len("A: "))
    names = shortened(matches, letters)
    for ax, a, b, cells in zip(axes, names[:count], names[count:], values, strict=True):
        draw_cells(ax, cells, low, 1.0, aspect="auto")
        label_epochs(ax, across, upwards)
        if len(same) > 1:
            ax.plot(same[:, 0], same[:, 1], gid="same epoch", **_same_look())
        mark_across(ax, across, fit_b)
        mark_upwards(ax, upwards, fit_a)
        title = a if a == b else f"A: {a}\nB: {b}"
        look = {"size": style.PANEL_TITLE, "linespacing": 1.2, "parse_math": False}
        ax.set_title(title, loc="left", pad=8, **look)
    _label_axes(
        figure, "epoch of B (recorded epochs only, one cell each)", "epoch of A", legend_rows
    )
    place_bar(figure, axes, values, SCALE)
    place_legend(figure, handles, legend_columns)
    return figure


def _filled(comparison: xr.Dataset, variable: str, dims: Sequence[str]) -> xr.DataArray:
    """A variable in an order of dimensions; raises InputError where it is absent or empty."""
    found = require(comparison, variable, "Expected a comparison of two runs.").transpose(*dims)
    if found.size == 0:
        sizes = ", ".join(f"{name} = {size}" for name, size in found.sizes.items())
        raise InputError(f"{variable} is empty ({sizes}). Expected at least one {dims[0]}.")
    return found


def _perfect_fit(comparison: xr.Dataset, run: str) -> float | None:
    return style.reached(comparison.attrs.get(f"perfect_fit_epoch_{run}"))


def _subtitle(comparison: xr.Dataset, explained: str) -> str:
    titles = [style.title_of(comparison.attrs.get(f"title_{run}")) for run in "ab"]
    named = [f"{run}: {title}" for run, title in zip("AB", titles, strict=True) if title]
    return " · ".join([*named, explained])


def _moment(comparison: xr.Dataset, cka: xr.DataArray, run: str, index: int) -> str:
    """The words for a run's epoch at a moment."""
    epoch = float(cka[f"epoch_{run}"].values[index])
    note = " (perfect fit)" if epoch == _perfect_fit(comparison, run) else ""
    return f"{run.upper()}: epoch {epoch:g}{note}"


def _panel_width(columns: int, left: float, right: float) -> float:
    return (style.WIDTH - left - right) / columns - 0.22


def _same_epochs(upwards: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(point, 2) places, across and upwards, of the epochs that lie within both runs."""
    low, high = max(upwards[0], across[0]), min(upwards[-1], across[-1])
    both = [epoch for epoch in np.union1d(upwards, across) if low <= epoch <= high]
    places = [(row_position(across, epoch), row_position(upwards, epoch)) for epoch in both]
    return np.array(places).reshape(-1, 2)


def _same_look() -> dict:
    from matplotlib.patheffects import Normal, Stroke

    return {
        "color": "white",
        "linewidth": 1.1,
        "linestyle": (0, (3, 2.5)),
        "zorder": 2,
        "path_effects": [Stroke(linewidth=2.1, foreground="#1A1A1A"), Normal()],
    }


def _layer_handles(any_unrelated: bool, any_undefined: bool) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = []
    if any_unrelated:
        label = (
            f"not distinguished from unrelated representations (within {UNRELATED:g} standard "
            "deviations of 0)"
        )
        look = {"marker": "x", "linestyle": "none", "color": style.INK, "markersize": 5.0}
        handles.append(Line2D([], [], label=label, **look))
    if any_undefined:
        handles.append(Patch(label="undefined (dead layer)", **style.undefined_look()))
    return handles


def _epoch_handles(
    fit_a: float | None, fit_b: float | None, any_same: bool, any_undefined: bool
) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = []
    for run, fit, marker in (("A", fit_a, "<"), ("B", fit_b, "v")):
        if fit is not None:
            label = f"perfect fit of the given labels in {run}: epoch {fit:g}"
            handles.append(Line2D([], [], label=label, **{**triangle_look(), "marker": marker}))
    if any_same:
        handles.append(Line2D([], [], label="the same epoch in both runs", **_same_look()))
    if any_undefined:
        handles.append(Patch(label="undefined (dead layer)", **style.undefined_look()))
    return handles


def _label_axes(figure, across: str, upwards: str, legend_rows: int) -> None:
    width, height = figure.get_size_inches()
    low = (0.2 + 0.21 * legend_rows) / height
    figure.supxlabel(across, size=style.LABEL, y=low, va="bottom")
    figure.supylabel(upwards, size=style.LABEL, x=0.12 / width)

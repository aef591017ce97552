"""Epoch by epoch similarity of a layer with itself, with its phases."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures import style
from repdyn_keras.figures.cells import (
    color_range,
    draw_cells,
    extend,
    label_bar,
    label_epochs,
    mark_across,
    mark_upwards,
    place_bar,
    place_legend,
    triangle_look,
)
from repdyn_keras.figures.choose import pick_layer, require
from repdyn_keras.figures.names import layer_name
from repdyn_keras.figures.panels import axes_or_new, panel_grid

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Words:
    """What a similarity is called, and which phases were found on it (None: none are)."""

    title: str
    scale: str
    subtitle: str
    phases: str | None


WORDS = {
    "cka": Words(
        "Similarity of each layer's representation between epochs (CKA)",
        "CKA of the layer at two epochs\n(1 = same representation, 0 = unrelated)",
        "cell: CKA of one layer at the epoch across and the epoch upwards, on the same images",
        "",
    ),
    "region_agreement": Words(
        "Agreement of each layer's decision regions between epochs",
        "share of plane points given the same class\nat two epochs (1 = same regions)",
        "cell: share of points, over all planes, that one layer's probe puts in the same class at "
        "the epoch across and the epoch upwards",
        "_regions",
    ),
    "region_kappa": Words(
        "Agreement of each layer's decision regions beyond chance (Cohen's kappa)",
        "Cohen's kappa of the regions at two epochs\n(1 = same regions, 0 = chance)",
        "cell: kappa of one layer's regions at the epoch across and the epoch upwards",
        None,
    ),
}


def similarity_heatmap(
    dynamics: xr.Dataset,
    variable: str,
    layer: str,
    ax=None,
    vmin: float | None = None,
    vmax: float | None = None,
):
    """Similarity of one layer between all pairs of recorded epochs; 1 = identical.

    Cells are recorded epochs, of equal size however far apart; NaN is hatched. Lines are borders
    between phases: solid where the phases are distinguished from even drift (p <= 0.05), dotted
    for the best split where they are not. Triangles point at the epoch of perfect fit.

    Args:
        dynamics: holds `variable` (layer, epoch, epoch_other).
        variable: "cka", "region_agreement" or "region_kappa".
        layer: its name.
        ax: Axes to draw into; None makes a Figure of its own, with a colour bar.
        vmin, vmax: ends of the colour scale; None: from this layer's values to 1.

    Returns:
        The Axes.

    Raises:
        InputError: the variable or the layer is absent.
    """
    values = _similarity(dynamics, variable).isel(layer=pick_layer(dynamics, layer)).values
    low, high = color_range(values)
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    alone = ax is None
    ax = axes_or_new(ax, 7.0, 6.0)
    epochs = dynamics["epoch"].values
    image = draw_cells(ax, values, low, high)
    label_epochs(ax, epochs, epochs)
    found = _phases(dynamics, variable, layer)
    if found is not None:
        _draw_borders(ax, found)
    fit = style.perfect_fit_epoch(dynamics)
    mark_across(ax, epochs, fit)
    mark_upwards(ax, epochs, fit)
    name = layer_name(dynamics["layer"].values, layer)
    title = name if found is None else f"{name}\n{found.text}"
    ax.set_title(
        title, size=style.PANEL_TITLE, loc="left", pad=8, linespacing=1.2, parse_math=False
    )
    if alone:
        ax.set_xlabel("epoch", size=style.LABEL)
        ax.set_ylabel("epoch", size=style.LABEL)
        bar = ax.figure.colorbar(image, ax=ax, extend=extend(values, low))
        label_bar(bar, WORDS[variable].scale)
    return ax


def similarity_heatmaps(dynamics: xr.Dataset, variable: str):
    """Similarity between epochs, one panel a layer, all on one colour scale.

    Args:
        dynamics: holds `variable` (layer, epoch, epoch_other).
        variable: "cka", "region_agreement" or "region_kappa".

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent.
    """
    values = _similarity(dynamics, variable)
    layers = [str(name) for name in values["layer"].values]
    low, high = color_range(values.values)
    words = WORDS[variable]
    handles = _legend_handles(dynamics, variable, bool(np.isnan(values.values).any()))
    legend_columns = 2 if len(layers) > 1 else 1
    legend_rows = -(-len(handles) // legend_columns)
    figure, axes = panel_grid(
        len(layers),
        words.title,
        " · ".join(part for part in (style.run_title(dynamics), words.subtitle) if part),
        aspect=1.0,
        right=1.35,
        bottom=0.8 + 0.21 * legend_rows,
        row_gap=0.62,
    )
    for layer, ax in zip(layers, axes, strict=True):
        similarity_heatmap(dynamics, variable, layer, ax, low, high)
    across, down = figure.get_size_inches()
    label = "epoch (recorded epochs only, one cell each; 0 = before training)"
    figure.supxlabel(label, size=style.LABEL, y=(0.2 + 0.21 * legend_rows) / down, va="bottom")
    figure.supylabel("epoch", size=style.LABEL, x=0.12 / across)
    place_bar(figure, axes, values.values, words.scale)
    place_legend(figure, handles, legend_columns)
    return figure


def _similarity(dynamics: xr.Dataset, variable: str) -> xr.DataArray:
    if variable not in WORDS:
        raise unknown("similarity between epochs", variable, WORDS)
    return require(dynamics, variable)


@dataclass(frozen=True)
class _Found:
    """The phases to draw: borders (cells from 0), whether they are more than drift, the words."""

    borders: np.ndarray
    distinguished: bool
    text: str


def _phases(dynamics: xr.Dataset, variable: str, layer: str) -> _Found | None:
    """The phases found on a similarity, or None where none were sought."""
    words = WORDS[variable]
    if words.phases is None or f"phase{words.phases}" not in dynamics:
        return None
    place_of = pick_layer(dynamics, layer)
    p = np.nan
    if f"phases_p{words.phases}" in dynamics:
        p = float(dynamics[f"phases_p{words.phases}"].values[place_of])
    distinguished = p <= SIGNIFICANT
    kind = f"phase{words.phases}"
    if not distinguished and f"phase_candidate{words.phases}" in dynamics:
        kind = f"phase_candidate{words.phases}"
    phase = dynamics[kind].values[place_of]
    count = len(np.unique(phase[phase > 0]))
    if count == 0:
        return _Found(np.array([]), False, "undefined at every epoch")
    if np.isnan(p):
        # Without a test a border would claim more than is known.
        return _Found(np.array([]), False, "phases not tested")
    defined = np.flatnonzero(phase > 0)
    change = np.flatnonzero(np.diff(phase[defined])) + 1
    text = f"K = {count}{' phases' if distinguished else ' (dotted)'}, p {_p_text(p)}"
    return _Found(defined[change] - 0.5, distinguished, text)


def _p_text(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _border_look(distinguished: bool) -> dict:
    from matplotlib.patheffects import Normal, Stroke

    # White with a dark rim is seen on both ends of the colour map.
    dotted = (0, (0.1, 2.9))
    return {
        "color": "white",
        "linewidth": 1.1 if distinguished else 1.4,
        "linestyle": "-" if distinguished else dotted,
        "dash_capstyle": "round",
        "path_effects": [
            Stroke(linewidth=2.1 if distinguished else 2.6, foreground="#1A1A1A"),
            Normal(),
        ],
    }


def _draw_borders(ax, found: _Found) -> None:
    from matplotlib.lines import Line2D

    low, high = ax.get_xlim()
    for border in found.borders:
        for x, y in (([border, border], [low, high]), ([low, high], [border, border])):
            line = Line2D(x, y, zorder=3, **_border_look(found.distinguished))
            line.set_gid("phase border" if found.distinguished else "candidate border")
            ax.add_line(line)


def _legend_handles(dynamics: xr.Dataset, variable: str, any_undefined: bool) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    layers = [str(name) for name in dynamics["layer"].values]
    found = [_phases(dynamics, variable, layer) for layer in layers]
    handles = []
    if any(f is not None and f.distinguished and f.borders.size for f in found):
        label = f"border between K phases, distinguished from even drift (p ≤ {SIGNIFICANT})"
        handles.append(Line2D([], [], label=label, **_border_look(True)))
    if any(f is not None and not f.distinguished and f.borders.size for f in found):
        label = f"best split into K parts, not distinguished from even drift (p > {SIGNIFICANT})"
        handles.append(Line2D([], [], label=label, **_border_look(False)))
    fit = style.perfect_fit_epoch(dynamics)
    if fit is not None:
        label = f"perfect fit of the given labels: epoch {fit:g}"
        handles.append(Line2D([], [], label=label, **triangle_look()))
    if any_undefined:
        handles.append(Patch(label="undefined (dead layer)", **style.undefined_look()))
    return handles

"""Similarity of each layer with itself between all recorded epochs, with its phases."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import (
    add_bar,
    color_range,
    draw_cells,
    mark_epoch,
    outlined,
    settle_cells,
    symbol,
)
from repdyn_keras.figures.parts.epochs import label_epochs
from repdyn_keras.figures.parts.lookup import layer_index, layer_name, layer_names, require
from repdyn_keras.figures.parts.page import PictureFile, axes_or_new, panel_page, png, title_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Words:
    """The text for a similarity, and the suffix of its phases' variables (None: no phases)."""

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


def plot_similarity(dynamics: xr.Dataset, variable: str) -> Iterator[PictureFile]:
    """Draw `VARIABLE.png`."""
    yield PictureFile(f"{variable}.png", png(similarity_heatmaps(dynamics, variable)))


def similarity_heatmap(
    dynamics: xr.Dataset,
    variable: str,
    layer: str,
    ax: "Axes | None" = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> "Axes":
    """Similarity of one layer between all pairs of recorded epochs; 1 = identical.

    Cells are recorded epochs, all of one size. NaN is hatched. Lines are borders between phases:
    solid if the phases are distinguished from even drift (p <= 0.05), dotted for the best split if
    they are not. Triangles mark the epoch of perfect fit.

    Args:
        dynamics: holds `variable` (layer, epoch, epoch_other).
        variable: "cka", "region_agreement" or "region_kappa".
        layer: its name.
        ax: Axes to draw into; None: those of a new Figure, with a colour bar.
        vmin, vmax: ends of the colour scale; None: from this layer's values to 1.

    Returns:
        The Axes.

    Raises:
        InputError: the variable or the layer is absent.
    """
    values = _similarity(dynamics, variable).isel(layer=layer_index(dynamics, layer)).values
    low, high = color_range(values)
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    alone = ax is None
    ax = axes_or_new(ax, 7.0, 6.0)
    _draw_heatmap(ax, dynamics, variable, layer, values, (low, high), on_page=False)
    if alone:
        ax.set_xlabel("epoch", size=style.LABEL)
        ax.set_ylabel("epoch", size=style.LABEL)
        add_bar([ax], values, WORDS[variable].scale)
    return ax


def similarity_heatmaps(dynamics: xr.Dataset, variable: str) -> "Figure":
    """Similarity between epochs, one panel for each layer, all on one colour scale.

    Args:
        dynamics: holds `variable` (layer, epoch, epoch_other).
        variable: "cka", "region_agreement" or "region_kappa".

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the variable is absent.
    """
    values = _similarity(dynamics, variable).transpose("layer", "epoch", "epoch_other").values
    layers, epochs, words = layer_names(dynamics), dynamics["epoch"].values, WORDS[variable]
    heading = (words.title, style.subtitle(dynamics, words.subtitle))
    across = "epoch (recorded epochs only, one cell each; 0 = before training)"
    figure, axes = panel_page(len(layers), heading, across, "epoch")
    scale = color_range(values)
    for layer, ax, cells in zip(layers, axes, values, strict=True):
        _draw_heatmap(ax, dynamics, variable, layer, cells, scale, on_page=True)
    has_maps = variable == "cka" or style.has_class_scores(dynamics)
    undefined = "dead layer" if has_maps else "dead layer, or an output without class scores"
    settle_cells(figure, axes, values, words.scale, _explained(dynamics, variable), undefined)
    for ax in axes:
        label_epochs(ax, epochs, epochs)
    return figure


def _similarity(dynamics: xr.Dataset, variable: str) -> xr.DataArray:
    if variable not in WORDS:
        raise unknown("similarity between epochs", variable, WORDS)
    return require(dynamics, variable)


def _draw_heatmap(ax, dynamics, variable, layer, values, scale, *, on_page):
    epochs = dynamics["epoch"].values
    draw_cells(ax, values, scale, "auto" if on_page else "equal")
    label_epochs(ax, epochs, epochs, ends=on_page)
    phases = _phases(dynamics, variable, layer)
    if phases is not None:
        _draw_borders(ax, phases)
    fit = style.perfect_fit_epoch(dynamics)
    mark_epoch(ax, epochs, fit, "v")
    mark_epoch(ax, epochs, fit, "<")
    name = layer_name(dynamics["layer"].values, layer)
    title_panel(ax, name if phases is None else f"{name}\n{phases.text}", pad=8, linespacing=1.2)


@dataclass(frozen=True)
class _Phases:
    """Phases to draw: their borders in cells, whether they differ from drift, and their text."""

    borders: np.ndarray
    distinguished: bool
    text: str


def _phases(dynamics: xr.Dataset, variable: str, layer: str) -> _Phases | None:
    """The phases of a layer by one similarity, or None if the Dataset has none for it."""
    suffix = WORDS[variable].phases
    if suffix is None or f"phase{suffix}" not in dynamics:
        return None
    index = layer_index(dynamics, layer)
    p = np.nan
    if f"phases_p{suffix}" in dynamics:
        p = float(dynamics[f"phases_p{suffix}"].values[index])
    distinguished = bool(p <= SIGNIFICANT)
    kind = f"phase{suffix}"
    if not distinguished and f"phase_candidate{suffix}" in dynamics:
        kind = f"phase_candidate{suffix}"
    phase = dynamics[kind].values[index]
    count = len(np.unique(phase[phase > 0]))
    if count == 0:
        return _Phases(np.array([]), False, "undefined at every epoch")
    if np.isnan(p):
        # Without a test, borders would suggest phases that may not exist.
        return _Phases(np.array([]), False, "phases not tested")
    defined = np.flatnonzero(phase > 0)
    change = np.flatnonzero(np.diff(phase[defined])) + 1
    text = f"K = {count}{' phases' if distinguished else ' (dotted)'}, p {_format_p(p)}"
    return _Phases(defined[change] - 0.5, distinguished, text)


def _format_p(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _border_look(distinguished):
    if distinguished:
        return outlined(1.1, 2.1, dash_capstyle="round")
    return outlined(1.4, 2.6, dash_capstyle="round", linestyle=(0, (0.1, 2.9)))


def _draw_borders(ax, phases):
    from matplotlib.lines import Line2D

    low, high = ax.get_xlim()
    for border in phases.borders:
        for x, y in (([border, border], [low, high]), ([low, high], [border, border])):
            line = Line2D(x, y, zorder=3, **_border_look(phases.distinguished))
            line.set_gid("phase border" if phases.distinguished else "candidate border")
            ax.add_line(line)


def _explained(dynamics, variable):
    """The labels and looks of the lines that are drawn."""
    drawn = {
        phases.distinguished
        for layer in layer_names(dynamics)
        if (phases := _phases(dynamics, variable, layer)) is not None and phases.borders.size
    }
    labels = {
        True: f"border between K phases, distinguished from even drift (p ≤ {SIGNIFICANT})",
        False: f"best split into K parts, not distinguished from even drift (p > {SIGNIFICANT})",
    }
    explained = {labels[kind]: _border_look(kind) for kind in labels if kind in drawn}
    fit = style.perfect_fit_epoch(dynamics)
    if fit is not None:
        explained[f"perfect fit of the given labels: epoch {fit:g}"] = symbol("v")
    return explained

"""Similarity of two runs layer by layer: CKA and decision regions beside each other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import label_axis_names
from repdyn_keras.figures.parts.lookup import require_nonempty, shortened
from repdyn_keras.figures.parts.page import (
    PictureFile,
    panel_page,
    picture,
    quiet_frame,
    settle_with_legend,
    title_panel,
)
from repdyn_keras.figures.parts.run_similarity import SIMILARITIES
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.figures.plot_layer_comparison import MAX_COLUMNS, moment_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASPECT = 0.72
LOOKS: dict[str, style.Look] = {
    "cka": {"color": "#222222", "marker": "o", "linestyle": "-"},
    "region_agreement": {"color": "#CC3311", "marker": "s", "linestyle": "-"},
    "region_kappa": {"color": "#0077BB", "marker": "D", "linestyle": (0, (5, 1.6)), "mfc": "white"},
}
# Between the bars of two measures at one layer, in layers.
SHIFT = 0.12


def draw_similarity_by_layer(comparison: xr.Dataset, _: Selection) -> Iterator[PictureFile]:
    """Draw `similarity_by_layer.png`."""
    yield picture("similarity_by_layer", similarity_by_layer(comparison))


@style.as_it_is
def similarity_by_layer(comparison: xr.Dataset) -> "Figure":
    """CKA, agreement and kappa of each layer of run A with that of its name in B, at each moment.

    One panel for each moment. Bars are 95% intervals over the choice of planes, where planes were
    drawn at random.

    Args:
        comparison: holds `cka_layers` and `region_agreement_layers` (moment, layer_a, layer_b) with
            what belongs to them, see `compare`.

    Returns:
        The Figure.

    Raises:
        InputError: a variable is absent or holds no moment.
    """
    from matplotlib.lines import Line2D

    dims = ("moment", "layer_a", "layer_b")
    for measure in ("cka", "region_agreement"):
        require_nonempty(comparison, f"{measure}_layers", dims)
    in_b = [str(name) for name in comparison["layer_b"].values]
    common = [str(name) for name in comparison["layer_a"].values if str(name) in in_b]
    names = xr.DataArray(common, dims="layer")
    chosen = comparison.sel(layer_a=names, layer_b=names)
    present = [name for name in LOOKS if f"{name}_layers" in comparison]
    about = "layers of the same name in both runs, on the same images and planes"
    bounds = comparison.get("region_agreement_layers_interval")
    if bounds is not None and bounds.notnull().any():
        about += "; bars: 95% intervals over the choice of planes"
    heading = ("Similarity of two runs, layer by layer", style.subtitle(comparison, about))
    moments = comparison.sizes["moment"]
    columns = min(moments, MAX_COLUMNS)
    figure, axes = panel_page(moments, heading, "layer", "similarity (1 = identical)", columns)
    at, short = np.arange(len(common)), shortened(common)
    for index, ax in enumerate(axes):
        for number, name in enumerate(present):
            # Bars of several measures do not hide each other.
            place = at + SHIFT * (number - (len(present) - 1) / 2)
            _draw_measure(ax, chosen.isel(moment=index), name, place)
        quiet_frame(ax)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "0.25", "0.5", "0.75", "1"])
        ax.grid(axis="y", color="#E3E3E3", linewidth=0.7)
        ax.set(xlim=(-0.5, len(common) - 0.5), axisbelow=True)
        ax.set_ylim(min(-0.04, ax.get_ylim()[0]), 1.04)
        label_axis_names(ax.xaxis, short, 90)
        title_panel(ax, moment_title(comparison, index), pad=5, linespacing=1.2)
    entries = {SIMILARITIES[name].name: Line2D([], [], **_look(name)) for name in present}
    settle_with_legend(figure, axes, ASPECT, entries)
    for ax in axes:
        label_axis_names(ax.xaxis, short, 90)
        ax.tick_params(axis="x", labelsize=sheet().name, labelbottom=True)
    return figure


def _look(name: str) -> style.Look:
    return {"linewidth": 1.5 * sheet().scale, "markersize": 4.5 * sheet().scale, **LOOKS[name]}


def _draw_measure(ax, moment: xr.Dataset, name: str, place: np.ndarray) -> None:
    """Draw one measure (layer) as a line with the bars of its intervals, if it has any."""
    values = moment[f"{name}_layers"].values
    ax.plot(place, values, gid=name, zorder=3, **_look(name))
    interval = f"{name}_layers_interval"
    if interval in moment:
        low, high = moment[interval].transpose("bound", "layer").values
        bars = np.stack([values - low, high - values])
        look = {"ecolor": LOOKS[name]["color"], "elinewidth": 1.0 * sheet().scale, "zorder": 2}
        ax.errorbar(place, values, bars, fmt="none", **look)

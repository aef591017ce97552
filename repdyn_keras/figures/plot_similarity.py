"""Similarity of each layer with itself between all recorded epochs, with its phases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import (
    SCALE,
    add_bar,
    draw_cells,
    mark_epoch,
    settle_cells,
    symbol,
    zoom_note,
    zoomed_scale,
)
from repdyn_keras.figures.parts.epochs import label_epochs
from repdyn_keras.figures.parts.lookup import layer_index, layer_name, require
from repdyn_keras.figures.parts.other_similarities import OTHERS, PREFIX
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    new_axes,
    panel_page,
    panel_room,
    picture,
    title_panel,
    wrapped,
)
from repdyn_keras.figures.parts.phase_borders import (
    MIN_RECORDS,
    NOT_TESTED,
    draw_borders,
    explained_borders,
    layer_phases,
)
from repdyn_keras.figures.parts.selection import (
    Selection,
    changing_layers,
    lowest_similarity,
)
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.figures.parts.similarity_floors import floors
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Words:
    """The text for a similarity, and the variables that belong to it.

    Attributes:
        name: short.
        title, scale, subtitle: text.
        phases: suffix of the variables of its phases; None: it has none.
        floors: variables of its floors.
    """

    name: str
    title: str
    scale: str
    subtitle: str
    phases: str | None
    floors: tuple[str, ...] = ()


WORDS = {
    "cka": Words(
        "CKA",
        "Similarity of each layer's representation between epochs (CKA)",
        "CKA of the layer at two epochs\n(1 = same representation, 0 = unrelated)",
        "cell: CKA of a layer between the epochs of the column and of the row, on the same images",
        "",
        ("cka_null", "cka_null_class"),
    ),
    "region_agreement": Words(
        "agreement",
        "Agreement of each layer's decision regions between epochs",
        "share of plane points given the same class\nat two epochs (1 = same regions)",
        "cell: share of points, over all planes, that a layer's probe puts in the same class at "
        "the epochs of the column and of the row",
        "_regions",
        ("region_agreement_floor", "region_chance"),
    ),
    "region_kappa": Words(
        "kappa",
        "Agreement of each layer's decision regions beyond chance (Cohen's kappa)",
        "Cohen's kappa of the regions at two epochs\n(1 = same regions, 0 = chance)",
        "cell: kappa of a layer's regions at the epochs of the column and of the row",
        None,
    ),
} | {
    f"{PREFIX}{key}": Words(
        name,
        f"Similarity of each layer's representation between epochs ({name})",
        f"{name} of the layer at two epochs\n({scale})",
        f"cell: {about}, of a layer at the epochs of the column and of the row, on the same images",
        None,
        (f"{PREFIX}{key}_null",),
    )
    for key, (name, about, scale) in OTHERS.items()
}
# Those of representations; the others are of decision regions.
REPRESENTATIONS = tuple(name for name in WORDS if not name.startswith("region"))


# Above the triangle of the perfect fit.
TITLE = {"pad": 11, "linespacing": 1.2}


def draw_similarity(
    dynamics: xr.Dataset, selection: Selection, measure: str, zoom: bool = False
) -> Iterator[PictureFile]:
    """Draw `MEASURE.png`, or `MEASURE_zoomed.png`."""
    stem = f"{measure}_zoomed" if zoom else measure
    yield picture(stem, similarity_heatmaps(dynamics, measure, selection.layers, zoom))


@style.as_it_is
def plot_similarity(
    dynamics: xr.Dataset,
    layer: str = "output",
    measure: str = "cka",
    ax: "Axes | None" = None,
    zoom: bool = False,
) -> "Axes":
    """Similarity of one layer between all pairs of recorded epochs; 1 = identical.

    Cells are recorded epochs, all of one size. NaN is hatched. Lines are borders between phases:
    solid at a change of state, dashed with a diamond at a freeze, where the records scatter before
    and not after. Triangles mark the epoch of perfect fit. Unless zoomed, the colour bar
    marks levels of this layer: for CKA, a square at two standard deviations of unrelated
    representations and a circle at what the classes alone give; for the agreement of regions, a
    circle at that with a probe fitted on resampled images and a diamond at that of chance.

    Args:
        dynamics: of a run; holds the measure (layer, epoch, epoch_other).
        layer: its name.
        measure: "cka", "region_agreement", "region_kappa" or, of a measure on request,
            "similarity_NAME".
        ax: Axes to draw into; None: those of a new figure of pyplot.
        zoom: whether colours begin near this layer's lowest value instead of 0; the title says so.

    Returns:
        The Axes, with a colour bar beside them.

    Raises:
        InputError: the measure or the layer is absent.

    Example:
        >>> plot_similarity(open_run("runs/a").dynamics, "output")  # doctest: +SKIP
    """
    values = _similarity(dynamics, measure).isel(layer=layer_index(dynamics, layer)).values
    scale = zoomed_scale(values) if zoom else SCALE
    ax = ax or new_axes(6.0, 5.0)
    phases = layer_phases(dynamics, layer, WORDS[measure].phases)
    _draw_heatmap(ax, dynamics, values, scale, phases, on_page=False)
    lines = [layer_name(dynamics["layer"].values, layer)]
    lines += [phases.text] if phases is not None else []
    lines += [zoom_note(scale)] if zoom else []
    title_panel(ax, "\n".join(lines), **TITLE)
    ax.set_xlabel("epoch", size=sheet().label)
    ax.set_ylabel("epoch", size=sheet().label)
    chosen = dynamics.isel(layer=[layer_index(dynamics, layer)])
    marks = [] if zoom else floors(chosen, *WORDS[measure].floors)
    add_bar([ax], values, WORDS[measure].scale, marks)
    return ax


@style.as_it_is
def similarity_heatmaps(
    dynamics: xr.Dataset,
    measure: str = "cka",
    layers: Sequence[str] | None = None,
    zoom: bool = False,
) -> "Figure":
    """Similarity between epochs, one panel for each layer, all on one colour scale from 0 to 1.

    For the cells, lines and triangles see `plot_similarity`. The colour bar marks floors, unless
    the scales are zoomed.

    Args:
        dynamics: of a run; holds the measure (layer, epoch, epoch_other).
        measure: "cka", "region_agreement", "region_kappa" or, of a measure on request,
            "similarity_NAME".
        layers: names; None: the layers that change, 24 at most. The subtitle names the others.
        zoom: whether the colours of each panel begin near its lowest value instead of 0; its title
            says where.

    Returns:
        The Figure; its last Axes is the colour bar.

    Raises:
        InputError: the measure or a layer is absent.
    """
    values = _similarity(dynamics, measure).transpose("layer", "epoch", "epoch_other").values
    epochs, words = dynamics["epoch"].values, WORDS[measure]
    layers, selected = changing_layers(dynamics, layers, lowest_similarity(values), words.name)
    values = values[[layer_index(dynamics, layer) for layer in layers]]
    found = [layer_phases(dynamics, layer, words.phases) for layer in layers]
    # The heading says once what would hold for every panel.
    untested = len(epochs) < MIN_RECORDS and None not in found
    notes = [NOT_TESTED if untested else "", "each panel has colours of its own" if zoom else ""]
    notes.append(selected)
    heading = (words.title, style.subtitle(dynamics, words.subtitle, *notes))
    across = "epoch (recorded epochs only, one cell each; 0 = before training)"
    figure, axes = panel_page(len(layers), heading, across, "epoch")
    room = panel_room(figure, axes)
    names = fitted(layers, room, sheet().panel_title)
    for name, phases, ax, cells in zip(names, found, axes, values, strict=True):
        scale = zoomed_scale(cells) if zoom else SCALE
        _draw_heatmap(ax, dynamics, cells, scale, phases, on_page=True)
        if phases is not None and not (untested and phases.is_untested):
            name += "\n" + wrapped(phases.text, sheet().panel_title, room)
        if zoom:
            name += "\n" + zoom_note(scale)
        title_panel(ax, name, **TITLE)
    is_of_features = measure in REPRESENTATIONS
    has_maps = is_of_features or style.has_class_scores(dynamics)
    undefined = "dead layer" if has_maps else "dead layer, or an output without class scores"
    chosen = dynamics.isel(layer=[layer_index(dynamics, layer) for layer in layers])
    marks = [] if zoom else floors(chosen, *words.floors)
    changing = "the representation differs" if is_of_features else "the regions differ"
    explained = explained_borders(found, changing)
    fit = style.perfect_fit_epoch(dynamics)
    if fit is not None and epochs[0] <= fit <= epochs[-1]:
        explained[f"perfect fit: epoch {format_epoch(fit)}"] = symbol("v")
    settle_cells(figure, axes, values, words.scale, explained, undefined, marks)
    for ax in axes:
        label_epochs(ax, epochs, epochs)
    return figure


def _similarity(dynamics: xr.Dataset, measure: str) -> xr.DataArray:
    if measure not in WORDS:
        raise unknown("similarity between epochs", measure, WORDS)
    return require(dynamics, measure)


def _draw_heatmap(ax, dynamics, values, scale, phases, *, on_page):
    epochs = dynamics["epoch"].values
    draw_cells(ax, values, scale, "auto" if on_page else "equal")
    label_epochs(ax, epochs, epochs, ends=on_page)
    if phases is not None:
        draw_borders(ax, phases)
    fit = style.perfect_fit_epoch(dynamics)
    mark_epoch(ax, epochs, fit, "v")
    mark_epoch(ax, epochs, fit, "<")

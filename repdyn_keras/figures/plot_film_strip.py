"""Decision regions on a plane through three images, of each layer over training."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import (
    layer_index,
    layer_name,
    number_index,
)
from repdyn_keras.figures.parts.maps import (
    KEY,
    SIDE,
    class_legend,
    disc_meaning,
    draw_discs,
    draw_map,
    draw_mosaic,
    plane_corners,
    plane_maps,
    settle_maps,
)
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    new_axes,
    new_page,
    picture,
    text_width,
)
from repdyn_keras.figures.parts.selection import (
    Selection,
    changing_layers,
    listed_layers,
    lowest_similarity,
)
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import format_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PLANES = 3
# Layers and epochs where none were asked for.
MAX_LAYERS, MAX_EPOCHS = 5, 6
# Inches: smallest width of a page, smallest and largest side of a map, space between maps.
MIN_WIDTH, MIN_SIDE, MAX_SIDE, SPACE = 7.0, 0.6, 1.9, 0.07
# Inches: height of the maps of many layers, and the side below which it does not reduce maps; and
# the least side of a map.
MAX_HEIGHT, LOW_SIDE, MIN_MAP = 12.0, 0.9, 0.1
# Share of a page's width for the names of layers.
MAX_NAMES = 0.3
# Points of a disc for an inch of a map's side, and at least and at most.
DISC, MIN_DISC, MAX_DISC = 4.6, 2.8, 14.0
TITLE = "Decision regions of each layer over training"


def draw_film_strip(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `regions_planeN.png` of the first planes."""
    for plane in dynamics["plane"].values[:MAX_PLANES].tolist():
        strip = film_strip(dynamics, plane, selection.layers, selection.epochs)
        yield picture(f"regions_plane{plane}", strip)


@style.as_it_is
def plot_regions(
    dynamics: xr.Dataset,
    layer: str = "output",
    epoch: float | None = None,
    plane: int = 0,
    ax: "Axes | None" = None,
) -> "Axes":
    """The class that a layer's probe assigns to each point of a plane through three images.

    A disc marks each image, in the colour of its given label and with its number if classes have no
    names: it has the colour of its surroundings if the image is assigned to that class. A wrongly
    labelled image has a ring in the colour of its true class around it.

    Args:
        dynamics: holds `regions` (layer, epoch, plane, row, column), `plane_position` and
            `plane_label`; perhaps `plane_label_given`, and `regions_drawn`, a finer grid, which is
            then drawn.
        layer, epoch, plane: which map, by name and numbers; the last recorded epoch by default.
        ax: Axes to draw into; None: those of a new figure of pyplot.

    Returns:
        The Axes, with a legend beside them.

    Raises:
        InputError: no planes were recorded, or the layer, epoch or plane is absent.

    Example:
        >>> plot_regions(open_run("runs/a").dynamics, "output", epoch=5)  # doctest: +SKIP
    """
    maps = plane_maps(dynamics, plane)
    recorded = dynamics["epoch"].values
    index = number_index(dynamics, "epoch", recorded[-1] if epoch is None else epoch)
    at = layer_index(dynamics, layer), index
    classes = maps.values[at]
    ax = ax or new_axes(6.4, 5.6)
    draw_map(ax, classes)
    corners = plane_corners(dynamics, number_index(dynamics, "plane", plane), len(classes))
    draw_discs(ax, corners, size=17, numbers=not style.has_class_names(dynamics))
    name = layer_name(dynamics["layer"].values, layer)
    classifier = "the network" if str(layer) == "output" else f"a linear probe on {name}"
    title = f"Class given by {classifier} at epoch {format_epochs(recorded)[index]}"
    ax.set_title(title, size=sheet().panel_title + 1, loc="left", parse_math=False)
    about = f"plane {plane} through three images (discs: {corners.meaning})"
    ax.set_xlabel(about, size=sheet().label)
    class_legend(ax, dynamics, classes, corners, bbox_to_anchor=(1.01, 1.0))
    return ax


@style.as_it_is
def film_strip(
    dynamics: xr.Dataset,
    plane: int | str | Sequence[int] | Sequence[str] = 0,
    layers: Sequence[str] | None = None,
    epochs: Sequence[float] | None = None,
    most: int = MAX_EPOCHS,
) -> "Figure":
    """Decision regions on one or several planes: layers downwards, epochs across.

    The epoch of perfect fit is marked.

    Args:
        dynamics: as for `plot_regions`, and `plane_image` if the inputs are images.
        plane: its number, or those of several planes, below each other; names if `plane` is a
            coordinate of names.
        layers: names in the order of drawing; None: the layers whose regions change, 5 at most.
        epochs: recorded epochs; None: evenly spaced among the recorded ones, with the first, the
            last and that of perfect fit.
        most: how many epochs at most where `epochs` is None; at least 3.

    Returns:
        The Figure; its first Axes hold the maps of each plane, with epochs and layers as their
        ticks.

    Raises:
        InputError: no planes were recorded; a layer, epoch or plane is absent; none is given; or
            there is no room for so many epochs.
    """
    planes = np.atleast_1d(plane).tolist()
    for name, values in (("plane", planes), ("epoch", epochs)):
        if values is not None and not len(values):
            raise InputError(f"Expected at least one {name}. Received: none.")
    regions = [plane_maps(dynamics, number) for number in planes]
    indices = [number_index(dynamics, "plane", number) for number in planes]
    names, note = _shown_layers(dynamics, layers)
    rows = [layer_index(dynamics, name) for name in names]
    names, beside = _beside(names)
    room = sheet().width - beside
    recorded = dynamics["epoch"].values
    fitted_at = _perfect_fit(dynamics)
    if epochs is None:
        columns = _spread_columns(dynamics, room, most)
    else:
        columns = [number_index(dynamics, "epoch", epoch) for epoch in epochs]
    maps = [each.isel(layer=rows, epoch=columns).values for each in regions]

    side = room / len(columns) - SPACE
    if side < MIN_MAP:
        raise InputError(
            f"Expected at most {int(room / (MIN_MAP + SPACE))} epochs on a page of "
            f"{sheet().width:g} inches. Received: {len(columns)}. Choose fewer, or a wider page."
        )
    if len(rows) * len(columns) > 1:
        side = min(side, MAX_SIDE, max(LOW_SIDE, MAX_HEIGHT / len(rows)))
    scale = _scale()
    width = beside + len(columns) * (side + SPACE)
    width = min(sheet().width, max(MIN_WIDTH, width))
    figure, body = new_page(width, TITLE, _subtitle(dynamics, planes, indices, note))
    heights = [1.0] * len(planes) + [0.01]
    ratios = [KEY * scale, width - beside]
    grid = body.add_gridspec(len(heights), 2, width_ratios=ratios, height_ratios=heights)
    panels, keys = [], {}
    for place, (index, classes) in enumerate(zip(indices, maps, strict=True)):
        ax = body.add_subplot(grid[place, 1])
        corners = plane_corners(dynamics, index, classes.shape[-1])
        size = float(np.clip(DISC * side, MIN_DISC, MAX_DISC))
        x, y, aspect = draw_mosaic(ax, classes, corners, size=size, gap=SPACE / side)
        ax.tick_params(length=0, labeltop=place == 0, labelbottom=False)
        ax.tick_params("x", labelsize=sheet().small, pad=4)
        ax.tick_params("y", labelsize=sheet().label, pad=4)
        ax.set_xticks(x, format_epochs(recorded[columns]))
        ax.set_yticks(y, names, **style.PLAIN)
        if place == 0:
            for column in np.flatnonzero(np.isin(columns, fitted_at)):
                _mark_fit(ax, x[column])
        panels.append(ax)
        # The last one has room below, for the legend.
        keys[index] = grid[place, 0] if place < len(planes) - 1 else grid[place:, 0]
    corner = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    panels[0].annotate("epoch", (0, 1), xytext=(-4, 5), size=sheet().small, **corner)
    settle_maps(
        figure, panels[0], aspect, dynamics, keys, np.concatenate([m.ravel() for m in maps])
    )
    return figure


def shown_by_default(
    dynamics: xr.Dataset, layers: Sequence[str] | None = None
) -> tuple[list[str], list[float]]:
    """The layers and epochs that a film strip shows on this sheet where no epochs are asked for.

    Args:
        dynamics: as for `film_strip`; it need not hold regions.
        layers: as for `film_strip`.
    """
    names, _ = _shown_layers(dynamics, layers)
    columns = _spread_columns(dynamics, sheet().width - _beside(names)[1], MAX_EPOCHS)
    return names, dynamics["epoch"].values[columns].tolist()


def _scale():
    """How much of the space around the maps a narrow sheet leaves."""
    return min(sheet().scale, sheet().width / MIN_WIDTH)


def _beside(names: list[str]) -> tuple[list[str], float]:
    """The layers' names as they are drawn, and the inches beside the maps."""
    names = fitted(names, MAX_NAMES * 72 * sheet().width, sheet().label)
    widest = max(text_width(name, sheet().label) for name in names)
    return names, SIDE * _scale() + widest / 72 + 0.3


def _perfect_fit(dynamics: xr.Dataset) -> np.ndarray:
    """The index of the epoch of perfect fit, if it was reached."""
    return np.flatnonzero(dynamics["epoch"].values == style.perfect_fit_epoch(dynamics))


def _spread_columns(dynamics: xr.Dataset, room: float, most: int) -> list[int]:
    """Indices of the epochs that are drawn where none were asked for, in so many inches."""
    fitted_at = _perfect_fit(dynamics)
    most = min(most, max(3, int(room / (MIN_SIDE * _scale() + SPACE))))
    included = int(fitted_at[0]) if len(fitted_at) else None
    return spread(dynamics.sizes["epoch"], most, included)


def _subtitle(dynamics, planes, indices, note):
    """The text below the title."""
    of_output = "the network's own class" if style.has_class_scores(dynamics) else "no regions"
    wrong = any(plane_corners(dynamics, index, 1).wrong.any() for index in indices)
    numbers = ", ".join(str(number) for number in planes)
    planes_text = (
        f"plane {numbers}: the plane through the three images at the left"
        if len(planes) == 1
        else f"planes {numbers}: each through the three images at its left"
    )
    return style.subtitle(
        dynamics,
        f"{planes_text}; discs mark their places (colour: {disc_meaning(wrong)})",
        f"rows: the class that a linear probe on the layer gives; output: {of_output}",
        note,
    )


def _shown_layers(dynamics: xr.Dataset, layers: Sequence[str] | None) -> tuple[list[str], str]:
    """The layers of a film strip, and a note on the others."""
    if layers is not None or "region_agreement" not in dynamics:
        return listed_layers(dynamics, layers, MAX_LAYERS)
    dims = ("layer", "epoch", "epoch_other")
    lowest = lowest_similarity(dynamics["region_agreement"].transpose(*dims).values)
    return changing_layers(dynamics, None, lowest, "an agreement of regions", MAX_LAYERS)


def spread(count: int, most: int, included: int | None = None) -> list[int]:
    """Indices of at most `most` of `count` epochs, as evenly spaced as possible.

    The first, the last and the one that is `included` are always among them.
    """
    most = max(2 if included is None else 3, most)
    if included in (None, 0, count - 1) or count <= most:
        indices = np.linspace(0, count - 1, min(most, count))
    else:
        left = int(np.clip(round((most - 1) * included / (count - 1)), 1, most - 2))
        before, after = (
            np.linspace(0, included, left + 1),
            np.linspace(included, count - 1, most - left),
        )
        indices = np.concatenate([before, after[1:]])
    return np.unique(indices.round().astype(int)).tolist()


def _mark_fit(ax, x):
    """Write "perfect fit" above the epoch of a column, with a triangle."""
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
    text = "perfect fit\n\N{BLACK DOWN-POINTING TRIANGLE}"
    look = {"size": sheet().small, "linespacing": 0.95, "va": "bottom"}
    ax.annotate(text, (x, 1), (0, 14), gid="perfect fit", **place, **look)

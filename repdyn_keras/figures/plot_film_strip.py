"""Decision regions on a plane through three images, of each layer over training."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import (
    MAX_LAYER_NAME,
    layer_index,
    layer_name,
    layer_names,
    number_index,
    shortened,
)
from repdyn_keras.figures.parts.maps import (
    SIDE,
    class_legend,
    draw_discs,
    draw_map,
    draw_mosaic,
    map_grid,
    plane_corners,
    plane_maps,
    settle_maps,
)
from repdyn_keras.figures.parts.page import PictureFile, axes_or_new, new_page, png, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PLANES = 3
# Inches: smallest width of a page, smallest and largest side of a map, space between maps.
MIN_WIDTH, MIN_SIDE, MAX_SIDE, SPACE = 7.0, 0.6, 1.9, 0.07
# Inches: height of the maps of many layers.
MAX_HEIGHT = 12.0


def plot_film_strip(dynamics: xr.Dataset) -> Iterator[PictureFile]:
    """Draw `regions_planeN.png` of the first planes."""
    for plane in dynamics["plane"].values[:MAX_PLANES].tolist():
        yield PictureFile(f"regions_plane{plane}.png", png(film_strip(dynamics, plane)))


def decision_regions(
    dynamics: xr.Dataset, layer: str, epoch: int, plane: int = 0, ax: "Axes | None" = None
) -> "Axes":
    """The class that a layer's probe assigns to each point of a plane through three images.

    A disc marks each image, in the colour of its given label and with its number if classes have no
    names: it has the colour of its surroundings if the image is assigned to that class. A wrongly
    labelled image has a ring in the colour of its true class around it.

    Args:
        dynamics: holds `regions` (layer, epoch, plane, row, column), `plane_position` and
            `plane_label`; perhaps `plane_label_given`, and `regions_drawn`, a finer grid, which is
            then drawn.
        layer, epoch, plane: which map, by name and numbers.
        ax: Axes to draw into; None: those of a new Figure.

    Returns:
        The Axes.

    Raises:
        InputError: no planes were recorded, or the layer, epoch or plane is absent.
    """
    maps = plane_maps(dynamics, plane)
    at = layer_index(dynamics, layer), number_index(dynamics, "epoch", epoch)
    classes = maps.values[at]
    ax = axes_or_new(ax, 6.4, 5.6)
    draw_map(ax, classes)
    corners = plane_corners(dynamics, number_index(dynamics, "plane", plane), len(classes))
    draw_discs(ax, corners, size=17, numbers=not style.has_class_names(dynamics))
    name = layer_name(dynamics["layer"].values, layer)
    classifier = "the network" if str(layer) == "output" else f"a linear probe on {name}"
    title = f"Class given by {classifier} at epoch {epoch}"
    ax.set_title(title, size=style.PANEL_TITLE + 1, loc="left", parse_math=False)
    about = f"plane {plane} through three images (discs: {corners.meaning})"
    ax.set_xlabel(about, size=style.LABEL)
    class_legend(ax, dynamics, classes, corners, bbox_to_anchor=(1.01, 1.0))
    return ax


def film_strip(
    dynamics: xr.Dataset,
    plane: int = 0,
    layers: Iterable[str] | None = None,
    epochs: Iterable[int] | None = None,
    most: int = 10,
) -> "Figure":
    """Decision regions on one plane: layers downwards, epochs across.

    The epoch of perfect fit is marked.

    Args:
        dynamics: as for `decision_regions`, and `plane_image` if the inputs are images.
        plane: its number.
        layers: names in the order of drawing; None: all.
        epochs: recorded epochs; None: evenly spaced among the recorded ones, with the first, the
            last and that of perfect fit.
        most: how many epochs at most where `epochs` is None; at least 3.

    Returns:
        The Figure; its first Axes hold the maps, with epochs and layers as their ticks.

    Raises:
        InputError: no planes were recorded, or a layer, epoch or plane is absent.
    """
    regions = plane_maps(dynamics, plane)
    index = number_index(dynamics, "plane", plane)
    names = layer_names(dynamics) if layers is None else list(layers)
    rows = [layer_index(dynamics, name) for name in names]
    names = shortened(names, MAX_LAYER_NAME)
    fit = style.perfect_fit_epoch(dynamics)
    recorded = dynamics["epoch"].values
    if epochs is None:
        fit_index = np.flatnonzero(recorded == fit)
        columns = spread(len(recorded), most, int(fit_index[0]) if len(fit_index) else None)
    else:
        columns = [number_index(dynamics, "epoch", epoch) for epoch in epochs]
    maps = regions.isel(layer=rows, epoch=columns).values

    beside = SIDE + max(text_width(name, style.LABEL) for name in names) / 72 + 0.3
    side = (style.WIDTH - beside) / len(columns) - SPACE
    side = float(np.clip(side, MIN_SIDE, min(MAX_SIDE, max(0.9, MAX_HEIGHT / len(rows)))))
    width = max(MIN_WIDTH, beside + len(columns) * (side + SPACE))
    has_scores = style.has_class_scores(dynamics)
    of_output = "the network's own class" if has_scores else "no class scores, so no regions"
    corners = plane_corners(dynamics, index, maps.shape[-1])
    subtitle = style.subtitle(
        dynamics,
        f"plane {plane}: the plane through the three images at the left; discs mark their places "
        f"(colour: {corners.meaning})",
        f"rows: the class that a linear probe on the layer gives; output: {of_output}",
    )
    figure, body = new_page(width, "Decision regions of each layer over training", subtitle)
    ax = body.add_subplot(map_grid(body, width - beside, 1, [1.0])[0, 0])
    x, y, aspect = draw_mosaic(ax, maps, corners, size=4.6, gap=SPACE / side)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.tick_params("x", labelsize=style.SMALL, pad=4)
    ax.tick_params("y", labelsize=style.LABEL, pad=4)
    ax.set_xticks(x, [str(epoch) for epoch in recorded[columns]])
    ax.set_yticks(y, names, parse_math=False)
    corner = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    ax.annotate("epoch", (0, 1), xytext=(-4, 5), size=style.SMALL, **corner)
    for column in np.flatnonzero(recorded[columns] == fit):
        _mark_fit(ax, x[column])
    settle_maps(figure, ax, aspect, dynamics, index, maps)
    return figure


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
    look = {"size": style.SMALL, "linespacing": 0.95, "va": "bottom"}
    ax.annotate(text, (x, 1), (0, 14), gid="perfect fit", **place, **look)

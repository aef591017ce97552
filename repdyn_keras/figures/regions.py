"""Decision regions of a layer on a plane through three images, and how they move over epochs."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from repdyn_keras.figures import style
from repdyn_keras.figures.choose import pick_epoch, pick_layer, pick_plane, require
from repdyn_keras.figures.maps import (
    SIDE,
    class_handles,
    class_legend,
    draw_discs,
    draw_map,
    draw_mosaic,
    draw_side,
    side_height,
)
from repdyn_keras.figures.names import MOST_LETTERS, layer_name, shortened
from repdyn_keras.figures.panels import axes_or_new, heading, heading_height, new_figure, place


def decision_regions(dynamics: xr.Dataset, layer: str, epoch: int, plane: int = 0, ax=None):
    """The class that a layer's probe gives to each point of a plane through three images.

    A disc stands at each image's place, in the colour of its true class and with its number where
    the classes have no names: a disc that melts into its surroundings is classified correctly.

    Args:
        dynamics: holds `regions` (layer, epoch, plane, row, column), `plane_position` and
            `plane_label`.
        layer, epoch, plane: which map, by name and number.
        ax: Axes to draw into; None makes a Figure of its own.

    Returns:
        The Axes.

    Raises:
        InputError: no planes were recorded, or the layer, epoch or plane is absent.
    """
    regions = require(dynamics, "regions")
    at = {
        "layer": pick_layer(dynamics, layer),
        "epoch": pick_epoch(dynamics, epoch),
        "plane": pick_plane(dynamics, plane),
    }
    classes = regions.isel(at).values
    ax = axes_or_new(ax, 6.4, 5.6)
    draw_map(ax, classes)
    position = dynamics["plane_position"].values[at["plane"]]
    labels = dynamics["plane_label"].values[at["plane"]]
    numbers = not style.has_class_names(dynamics)
    draw_discs(ax, position, labels, size=17, numbers=numbers)
    name = layer_name(dynamics["layer"].values, layer)
    who = "the network" if str(layer) == "output" else f"a linear probe on {name}"
    ax.set_title(
        f"Class given by {who} at epoch {epoch}",
        size=style.PANEL_TITLE + 1,
        loc="left",
        parse_math=False,
    )
    ax.set_xlabel(
        f"plane {plane} through three images (discs: their true classes)", size=style.LABEL
    )
    class_legend(ax, class_handles(dynamics, classes, labels), bbox_to_anchor=(1.01, 1.0))
    return ax


def film_strip(
    dynamics: xr.Dataset,
    plane: int = 0,
    layers: Iterable[str] | None = None,
    epochs: Iterable[int] | None = None,
    most: int = 10,
):
    """Decision regions on one plane: layers downwards, epochs across.

    Args:
        dynamics: holds `regions` (layer, epoch, plane, row, column), `plane_position`,
            `plane_label`, and `plane_image` where the inputs are pictures.
        plane: its number.
        layers: names in the order of drawing; None: all.
        epochs: recorded epochs; None: about `most`, evenly along the recorded ones, with the first
            and the last.
        most: how many epochs at most where `epochs` is None.

    Returns:
        The Figure; its first Axes hold the maps, with epochs and layers as their ticks.

    Raises:
        InputError: no planes were recorded, or a layer, epoch or plane is absent.
    """
    regions = require(dynamics, "regions").isel(plane=pick_plane(dynamics, plane))
    plane_at = pick_plane(dynamics, plane)
    names = [str(name) for name in dynamics["layer"].values] if layers is None else list(layers)
    rows = [pick_layer(dynamics, name) for name in names]
    names = shortened(names, MOST_LETTERS)
    if epochs is None:
        count = dynamics.sizes["epoch"]
        columns = np.unique(np.linspace(0, count - 1, max(2, min(most, count))).round().astype(int))
    else:
        columns = [pick_epoch(dynamics, epoch) for epoch in epochs]
    position = dynamics["plane_position"].values[plane_at]
    labels = dynamics["plane_label"].values[plane_at]
    maps = regions.isel(layer=rows, epoch=columns).transpose("layer", "epoch", "row", "column")
    maps = maps.values
    handles = class_handles(dynamics, maps, labels)

    title = "Decision regions of each layer over training"
    explained = (
        f"plane {plane}: the plane through the three images at the left; discs mark their places "
        "in the colours of their true classes",
        "rows: the class that a linear probe on the layer gives; output: the network's own class",
    )
    subtitle = " · ".join(part for part in (style.run_title(dynamics), *explained) if part)
    gap = 0.07
    name_width = 0.075 * max(len(name) for name in names) + 0.25
    size = (style.WIDTH - SIDE - name_width - 0.2) / len(columns) - gap
    size = float(np.clip(size, 0.6, min(1.9, max(0.9, 12 / len(rows)))))
    width = max(7.0, SIDE + name_width + len(columns) * (size + gap) + 0.2)
    top = heading_height(width, title, subtitle) + 0.45
    height = max(top + len(rows) * (size + gap) + 0.3, top + side_height(handles))
    figure = new_figure(width, height)
    across, down = (count * (size + gap) - gap for count in (len(columns), len(rows)))
    ax = place(figure, SIDE + name_width, top, across, down)
    x, y = draw_mosaic(ax, maps, position, labels, gap / size, disc=4.6)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.tick_params("x", labelsize=style.SMALL, pad=4)
    ax.tick_params("y", labelsize=style.LABEL, pad=4)
    ax.set_xticks(x, [str(epoch) for epoch in dynamics["epoch"].values[columns]])
    ax.set_yticks(y, names, parse_math=False)
    figure.text(
        (SIDE + name_width - 0.08) / width,
        1 - (top - 0.06) / height,
        "epoch",
        size=style.SMALL,
        ha="right",
    )
    draw_side(figure, dynamics, plane_at, handles, top)
    heading(figure, title, subtitle)
    return figure

"""Decision regions: maps of a plane, and the images and classes that explain them."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import number_index, require
from repdyn_keras.figures.parts.page import settle
from repdyn_keras.figures.parts.sheet import sheet

MAX_IN_LEGEND = 20
# Width of white rims in points, and of the ring around a wrongly labelled image's disc: in points,
# and in diameters of the disc.
RIM, RING = 0.9, (2.0, 0.15)
# Points of the dark edge around a disc, and of discs from which on rims have their full width.
DARK_EDGE, FULL_DISC = 2.6, 4.6
FRAME: style.Look = {"edgecolor": "#888888", "linewidth": 0.5}
# For discs and frames at the edge of the Axes, drawn whole.
OVER_EDGE: style.Look = {"clip_on": False, "in_layout": False}
# Inches: width of the key, and of a page's left column with the key and the legend.
KEY, SIDE = 2.0, 2.45
# Parts of the key's width: side of an image, height of its caption, distance to the next image.
IMAGE, CAPTION, GAP = 0.30, 0.085, 0.05
# Letters of a caption, so that neighbouring captions do not overlap.
MAX_CAPTION = 11


def draw_map(ax, classes, hatch=False, aspect="equal"):
    """Draw a map of classes (row, column), row 0 at the bottom; returns the image.

    `hatch` draws the hatch for "undefined" even if this map does not need it. The aspect is "auto"
    in Axes that `settle_maps` makes square.
    """
    colors = style.class_image(classes)
    image = style.draw_grid(ax, colors, hatch or (colors[..., 3] == 0).any(), aspect=aspect)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(**FRAME)
    return image


class Corners(NamedTuple):
    """The three images of a plane.

    Attributes:
        position: (corner, axis) row and column on the maps that are drawn.
        true, given: (corner,) true classes and given labels.
    """

    position: np.ndarray
    true: np.ndarray
    given: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """(corner,) whether an image has a wrong label."""
        return self.given != self.true

    @property
    def meaning(self) -> str:
        """What the colours of the discs mean."""
        return disc_meaning(bool(self.wrong.any()))


def disc_meaning(any_wrong: bool) -> str:
    """What the colours of discs mean, where some of the images have wrong labels or none has."""
    return "given label, in a ring of the true class" if any_wrong else "class"


def plane_maps(dynamics: xr.Dataset, number: int) -> xr.DataArray:
    """The maps of a plane that are drawn, (layer, epoch, row, column).

    They are on the finer grid if there is one for this plane.

    Raises:
        InputError: no planes were recorded, or the plane is absent.
    """
    regions = require(dynamics, "regions")
    index = number_index(dynamics, "plane", number)
    if index < dynamics.sizes.get("plane_drawn", 0):
        drawn = dynamics["regions_drawn"].isel(plane_drawn=index)
        regions = drawn.rename(row_drawn="row", column_drawn="column")
    else:
        regions = regions.isel(plane=index)
    return regions.transpose("layer", "epoch", "row", "column")


def plane_corners(dynamics: xr.Dataset, index: int, side: int) -> Corners:
    """The corners of a plane on maps of `side` rows and columns, which fill the same extent.

    Without `plane_label_given`, the given labels are unknown and taken for the true ones.
    """
    position = dynamics["plane_position"].values[index]
    position = (position + 0.5) * side / dynamics.sizes["row"] - 0.5
    true = dynamics["plane_label"].values[index]
    known = "plane_label_given" in dynamics
    return Corners(position, true, dynamics["plane_label_given"].values[index] if known else true)


def draw_mosaic(ax, maps, corners, size, gap):
    """Draw many maps of one plane into one Axes: a figure with hundreds of Axes takes seconds.

    Args:
        ax: Axes to draw into.
        maps: (line, place, row, column) unsigned integers; the dtype's maximum is "undefined".
        corners, size: of the discs on each map, see `draw_discs`.
        gap: space between maps, in parts of a map's side.

    Returns:
        The maps' centres along the x axis; along the y axis, downwards; height over width.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    down, across, rows, columns = maps.shape
    below, beside = (max(1, round(gap * side)) for side in (rows, columns))
    # The image's first row is at the bottom.
    gaps = ((0, 0), (0, 0), (0, below), (0, beside), (0, 0))
    padded = np.pad(style.class_image(maps[::-1]), gaps, constant_values=1).swapaxes(1, 2)
    image = padded.reshape(down * (rows + below), -1, 4)[:-below, :-beside]
    style.draw_grid(ax, image, (image[..., 3] == 0).any(), aspect="auto")
    y = (rows + below) * np.arange(down)[::-1]
    x = (columns + beside) * np.arange(across)
    places = [(low, left) for low in y for left in x]
    frames = [Rectangle((left - 0.5, low - 0.5), columns, rows) for low, left in places]
    ax.add_collection(PatchCollection(frames, facecolor="none", zorder=2, **FRAME, **OVER_EDGE))
    position = np.concatenate([corners.position + place for place in places])
    draw_discs(ax, Corners(position, *np.tile(corners[1:], len(places))), size)
    ax.spines[:].set_visible(False)
    return x + (columns - 1) / 2, y + (rows - 1) / 2, image.shape[0] / image.shape[1]


def draw_discs(ax, corners, size, numbers=False):
    """Draw discs in the colours of given labels, with rims that are visible on any map.

    A wrongly labelled image has a larger disc: a ring in the colour of its true class around one in
    the colour of its given label.

    Args:
        ax: Axes of the map.
        corners: the images.
        size: diameter in points.
        numbers: write each disc's given label on it.
    """
    y, x = corners.position.T
    wrong = np.flatnonzero(corners.wrong)
    given, true = (
        np.array([style.class_color(int(label)) for label in labels])
        for labels in (corners.given, corners.true)
    )
    small = min(1.0, size / FULL_DISC)
    outer = np.where(corners.wrong, size + 2 * (RING[0] * small + RING[1] * size), size)
    rim = {"edgecolor": "white", "linewidth": RIM * small}
    edge = (outer + DARK_EDGE * small) ** 2
    ax.scatter(x, y, s=edge, color=style.INK, linewidth=0, zorder=3, **OVER_EDGE)
    if len(wrong):
        ring = {"s": outer[wrong] ** 2, "color": true[wrong], "zorder": 4}
        ax.scatter(x[wrong], y[wrong], gid="true class", **ring, **rim, **OVER_EDGE)
    ax.scatter(x, y, s=size**2, color=given, zorder=5, **rim, **OVER_EDGE)
    if numbers:
        look = {"ha": "center", "va": "center_baseline", "size": 9, "weight": "bold", "zorder": 6}
        for column, row, label, color in zip(x, y, corners.given, given, strict=True):
            ax.text(column, row, str(int(label)), color=style.ink_on(color), **look)


def class_legend(owner, dynamics, classes, corners, **look):
    """Add a legend of the classes drawn: all, or those of the corners and the most frequent.

    Args:
        owner: Axes or Figure that gets the legend.
        dynamics: may name the classes, see `style.class_name`.
        classes: any number of maps.
        corners: the three images, whose classes are always listed.
        look: keyword arguments of the owner's `legend`.
    """
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    values, counts = np.unique(classes, return_counts=True)
    area = dict(zip(values.tolist(), counts.tolist(), strict=True))
    undefined = area.pop(np.iinfo(classes.dtype).max, 0)
    always = {int(label) for label in (*corners.true, *corners.given)}
    ranked = sorted({*always, *area}, key=lambda c: (c not in always, -area.get(c, 0), c))
    entries: list[tuple[str, Any]] = [
        (style.class_name(dynamics, index), Patch(color=style.class_color(index)))
        for index in sorted(ranked[:MAX_IN_LEGEND])
    ]
    if len(ranked) > MAX_IN_LEGEND:
        more = f"and {len(ranked) - MAX_IN_LEGEND} more, less frequent"
        entries.append((more, Patch(color="none")))
    if undefined:
        entries.append(("undefined", Patch(**style.UNDEFINED)))
    for given, true in sorted(set(zip(corners.given, corners.true, strict=True))):
        if given != true:
            entries.append((wrong_label(dynamics, given, true), _disc_symbol(given, true)))
    # matplotlib < 3.10 omits labels that start with `_`; all versions parse `a$b$` as mathematics.
    options = {"loc": "upper left", "frameon": False, "fontsize": sheet().small, **look}
    options["handler_map"] = {tuple: HandlerTuple(1)}
    handles = [handle for _, handle in entries]
    legend = owner.legend(handles=handles, labels=["entry"] * len(handles), **options)
    for text, (label, _) in zip(legend.get_texts(), entries, strict=True):
        text.set(text=label, parse_math=False)
    return legend


def wrong_label(dynamics, given, true, brief=False):
    """`labelled 3,` and `truly 8` on two lines. Draw it with `parse_math=False`.

    A `brief` one is narrow enough for a caption: the line of a given label with a name is the name.
    """
    if not style.has_class_names(dynamics):
        return f"labelled {int(given)},\ntruly {int(true)}"
    if brief:
        true_length = MAX_CAPTION - len("truly")
        first = style.class_name(dynamics, int(given), MAX_CAPTION - 1)
        return f"{first},\ntruly {style.class_name(dynamics, int(true), true_length)}"
    names = [style.class_name(dynamics, int(label)) for label in (given, true)]
    return f"labelled {names[0]},\ntruly {names[1]}"


def _disc_symbol(given, true):
    """The disc of a wrongly labelled image for a legend, as markers on each other."""
    from matplotlib.lines import Line2D

    colors = style.class_color(int(true)), style.class_color(int(given))
    parts = ((12.4, style.INK, style.INK), (9.8, colors[0], "white"), (4.6, colors[1], "white"))
    return tuple(
        Line2D([], [], marker="o", linestyle="none", ms=size, color=face, mec=edge, mew=RIM)
        for size, face, edge in parts
    )


def map_grid(body, width, columns, heights):
    """A grid for maps, `width` inches wide, and at its left the cell of a plane's key.

    A spare row is added to those with the given heights, see `settle`.
    """
    outer = body.add_gridspec(1, 2, width_ratios=[KEY, width])
    ratios = [*heights, 0.01]
    inner = outer[0, 1].subgridspec(len(ratios), columns, height_ratios=ratios)
    return inner, outer[0, 0]


def settle_maps(figure, panel, aspect, dynamics, cells, classes):
    """Add the planes' keys and the classes' legend to the left of maps, and lay out the page.

    Args:
        figure, panel, aspect: see `settle`; one panel with maps.
        dynamics: holds `plane_position`, `plane_label` and perhaps `plane_image`.
        cells: index of each plane, and the cell of a grid that is for its key.
        classes: all maps.
    """
    keys = {index: _add_key(panel.figure, cell) for index, cell in cells.items()}
    found = [plane_corners(dynamics, index, 1) for index in cells]
    corners = Corners(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    last = list(keys.values())[-1]
    look = {"title_fontsize": sheet().small, "alignment": "left", "bbox_transform": last.transAxes}
    look["title"] = "colour: class given to\neach point of the plane"
    legend = class_legend(figure, dynamics, classes, corners, bbox_to_anchor=(-0.04, -0.1), **look)
    settle(figure, [panel], aspect, legend, above=len(cells) - 1)
    for index, key in keys.items():
        _draw_images(key, dynamics, index)


def _add_key(body, cell):
    """The square at the left of maps that shows where the three images are."""
    key = body.add_subplot(cell, box_aspect=1, anchor="NW", facecolor="#FAFAFA")
    key.set(xticks=[], yticks=[])
    key.spines[:].set(color="#BBBBBB", linewidth=0.8)
    key.set_title("the three images", size=sheet().small, loc="left", pad=4)
    return key


def _draw_images(key, dynamics, plane):
    """Draw the three images at their places on the plane, in frames of their classes' colours.

    A wrongly labelled image has a second frame, inside, in the colour of its given label.
    """
    from matplotlib.patches import Rectangle

    corners = plane_corners(dynamics, plane, 1)
    centre = corners.position[:, ::-1] + 0.5
    caption_height = CAPTION * (2 if corners.wrong.any() else 1)
    # Inputs that are not images have no height and width.
    pictures = dynamics["plane_image"].values[plane] if "plane_image" in dynamics else np.array(0)
    box = key.get_position()
    places = _apart(centre - [IMAGE / 2, (IMAGE - caption_height) / 2], caption_height)
    for corner, place in enumerate(places):
        label, given = int(corners.true[corner]), int(corners.given[corner])
        color = style.class_color(label)
        rect = (*(box.min + place * box.size), *(IMAGE * box.size))
        picture = key.figure.add_axes(rect, label=f"image of {style.class_name(dynamics, label)}")
        picture.set(xticks=[], yticks=[])
        if pictures.ndim == 4:
            look = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
            picture.imshow(displayable(pictures[corner]), **look)
        else:
            picture.set_facecolor(color)
            look = {"ha": "center", "va": "center", "transform": picture.transAxes, "size": 14}
            number = "" if style.has_class_names(dynamics) else str(label)
            picture.text(0.5, 0.5, number, color=style.ink_on(color), **look)
        picture.spines[:].set(color=color, linewidth=2.6)
        caption = style.class_name(dynamics, label, MAX_CAPTION)
        if given != label:
            caption = wrong_label(dynamics, given, label, brief=True)
            frame: style.Look = {"facecolor": "none", "linewidth": 2.6}
            frame["edgecolor"] = style.class_color(given)
            inner = (0.07, 0.07), 0.86, 0.86
            picture.add_patch(Rectangle(*inner, transform=picture.transAxes, **frame))
        picture.set_xlabel(caption, size=sheet().small, labelpad=2.5, parse_math=False)


def displayable(image: np.ndarray) -> np.ndarray:
    """Pixels (height, width, channel) stretched to 0..1: (h, w, 3), or (h, w) of fewer channels."""
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = np.nanmin(image), np.nanmax(image)
    # A constant image is drawn in medium grey.
    return (image - low) / (high - low) if high > low else np.full(image.shape, 0.5)


def _apart(corners, caption):
    """Lower left corners of three images (3, 2), in parts of the key's width, moved apart.

    They are moved inside the key, and sideways until no image overlaps another.
    """
    size = np.array([IMAGE + GAP, IMAGE + caption + GAP])
    low, high = np.array([0.03, 0.03 + caption]), 0.97 - IMAGE
    corners = np.clip(corners, low, high)
    for pair in ([0, 1], [0, 2], [1, 2]):
        if np.all(np.abs(np.subtract(*corners[pair])) < size):
            left, right = sorted(pair, key=lambda index: corners[index, 0])
            half = size[0] / 2
            middle = np.clip(corners[pair, 0].mean(), low[0] + half, high - half)
            corners[left, 0], corners[right, 0] = middle - half, middle + half
    return corners

"""Decision regions: maps of a plane, and the images and classes that explain them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.page import place_of, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import GridSpecFromSubplotSpec
    from matplotlib.image import AxesImage
    from matplotlib.legend import Legend
    from matplotlib.patches import Patch

MAX_IN_LEGEND = 20
FRAME: style.Look = {"edgecolor": "#888888", "linewidth": 0.5}
# Inches: width of the key, and of a page's left column with the key and the legend.
KEY, SIDE = 2.0, 2.45
# Parts of the key's width: side of an image, height of its caption, distance to the next image.
IMAGE, CAPTION, GAP = 0.30, 0.085, 0.05
# Letters of a caption, so that neighbouring captions do not overlap.
MAX_CAPTION = 11


def draw_map(
    ax: "Axes",
    classes: np.ndarray,
    hatch: bool | None = None,
    aspect: Literal["equal", "auto"] = "equal",
) -> "AxesImage":
    """Draw a map of classes, row 0 at the bottom.

    Args:
        ax: Axes to draw into.
        classes: (row, column) unsigned integers; the dtype's maximum is "undefined".
        hatch: whether to draw the hatch for "undefined" below it; None: if this map needs it.
        aspect: "equal", or "auto" to fill Axes that `settle_maps` makes square.
    """
    rows, columns = classes.shape
    image = style.class_image(classes)
    shown = ax.imshow(image, origin="lower", interpolation="nearest", aspect=aspect, zorder=1)
    if (image[..., 3] == 0).any() if hatch is None else hatch:
        style.hatch_undefined(ax, columns, rows)
    # The discs of the three images must not change the limits.
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5), xticks=[], yticks=[])
    ax.spines[:].set(**FRAME)
    return shown


def draw_mosaic(
    ax: "Axes", maps: np.ndarray, position: np.ndarray, labels: np.ndarray, gap: float, disc: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw many maps of one plane into one Axes: a figure with hundreds of Axes takes seconds.

    Args:
        ax: Axes to draw into.
        maps: (line, place, row, column) unsigned integers, see `draw_map`.
        position: (corner, axis) row and column of each disc on a map.
        labels: (corner,) classes of the discs.
        gap: space between maps, in parts of a map's side.
        disc: diameter of a disc in points.

    Returns:
        The maps' centres along the x axis; along the y axis, downwards; height over width.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    down, across, rows, columns = maps.shape
    steps = np.array([side + max(1, round(gap * side)) for side in (rows, columns)])
    # The image's first row is at the bottom.
    y, x = steps[0] * np.arange(down)[::-1], steps[1] * np.arange(across)
    shape = int(y[0]) + rows, int(x[-1]) + columns
    image = np.ones((*shape, 4))
    colors = style.class_image(maps.reshape(-1, columns)).reshape(*maps.shape, 4)
    for line, place in np.ndindex(down, across):
        low, left = y[line], x[place]
        image[low : low + rows, left : left + columns] = colors[line, place]
    if (image[..., 3] == 0).any():
        style.hatch_undefined(ax, shape[1], shape[0])
    ax.imshow(image, origin="lower", interpolation="nearest", aspect="auto", zorder=1)
    frames = [Rectangle((left - 0.5, low - 0.5), columns, rows) for low in y for left in x]
    ax.add_collection(
        PatchCollection(frames, facecolor="none", zorder=2, clip_on=False, in_layout=False, **FRAME)
    )
    corners = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 1, 2) + position
    draw_discs(ax, corners.reshape(-1, 2), np.tile(labels, down * across), size=disc)
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(-0.5, shape[0] - 0.5))
    ax.spines[:].set_visible(False)
    return x + (columns - 1) / 2, y + (rows - 1) / 2, shape[0] / shape[1]


def draw_discs(
    ax: "Axes", position: np.ndarray, labels: np.ndarray, size: float, numbers: bool = False
) -> None:
    """Draw discs in the colours of true classes, with rims that are visible on any map.

    Args:
        ax: Axes of the map.
        position: (corner, axis) row and column of each disc.
        labels: (corner,) classes.
        size: diameter in points.
        numbers: write each disc's class on it.
    """
    x, y = position[:, 1], position[:, 0]
    colors = [style.class_color(int(label)) for label in labels]
    look: style.Look = {"clip_on": False, "in_layout": False}
    ax.scatter(x, y, s=(size + 2.6) ** 2, color=style.INK, linewidth=0, zorder=3, **look)
    ax.scatter(x, y, s=size**2, color=colors, edgecolor="white", linewidth=1.1, zorder=4, **look)
    if numbers:
        look = {"ha": "center", "va": "center_baseline", "size": 9, "weight": "bold", "zorder": 5}
        for column, row, label, color in zip(x, y, labels, colors, strict=True):
            ax.text(column, row, str(int(label)), color=style.ink_on(color), **look)


def class_handles(dynamics: xr.Dataset, classes: np.ndarray, corners: np.ndarray) -> list["Patch"]:
    """Legend entries of the classes drawn: all, or those of the corners and the most frequent.

    Args:
        dynamics: may name the classes, see `style.class_name`.
        classes: any number of maps.
        corners: (corner,) classes of the three images, which are always listed.
    """
    from matplotlib.patches import Patch

    undefined = np.iinfo(classes.dtype).max
    values, counts = np.unique(classes, return_counts=True)
    always = {int(label) for label in corners}
    area = dict.fromkeys(always, 0)
    area |= {int(v): int(n) for v, n in zip(values, counts, strict=True) if v != undefined}
    ranked = sorted(area, key=lambda index: (index not in always, -area[index]))
    shown, left_out = sorted(ranked[:MAX_IN_LEGEND]), len(ranked) - MAX_IN_LEGEND
    handles = [
        Patch(color=style.class_color(index), label=style.class_name(dynamics, index))
        for index in shown
    ]
    if left_out > 0:
        handles.append(Patch(color="none", label=f"and {left_out} more, less frequent"))
    if undefined in values:
        handles.append(Patch(label="undefined", **style.undefined_look()))
    return handles


def class_legend(owner: "Axes | Figure", handles: Sequence["Patch"], **look: Any) -> "Legend":
    """Add a legend that shows the handles' labels literally.

    Args:
        owner: gets the legend.
        handles: of `class_handles`.
        look: keyword arguments of the owner's `legend`.
    """
    # matplotlib < 3.10 omits labels that start with `_`; all versions parse `a$b$` as mathematics.
    places = [f"entry {index}" for index in range(len(handles))]
    options = {"loc": "upper left", "frameon": False, "fontsize": style.SMALL, **look}
    legend = owner.legend(handles=list(handles), labels=places, **options)
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        text.set(text=handle.get_label(), parse_math=False)
    return legend


def map_grid(
    body: "SubFigure", width: float, columns: int, heights: Sequence[float]
) -> "GridSpecFromSubplotSpec":
    """A grid for maps, and beside it, at the left, the cell of a plane's key.

    Args:
        body: of `new_page`.
        width: of the maps, in inches.
        columns: of the grid.
        heights: of its rows; a spare row is added, see `settle`.

    """
    outer = body.add_gridspec(1, 2, width_ratios=[KEY, width])
    ratios = [*heights, 0.01]
    return outer[0, 1].subgridspec(len(ratios), columns, height_ratios=ratios)


def settle_maps(
    figure: "Figure",
    panel: "Axes",
    aspect: float,
    dynamics: xr.Dataset,
    plane: int,
    classes: np.ndarray,
) -> None:
    """Add the plane's key and the classes' legend to the left of maps, and lay out the page.

    Args:
        figure: of `new_page`.
        panel: one of the maps, in a grid of `map_grid`.
        aspect: height of the panel over its width.
        dynamics: holds `plane_position`, `plane_label` and perhaps `plane_image`.
        plane: index of the plane.
        classes: all maps.
    """
    cell = place_of(panel).get_topmost_subplotspec().get_gridspec()[0, 0]
    key = panel.figure.add_subplot(cell, box_aspect=1, anchor="NW", facecolor="#FAFAFA")
    key.set(xticks=[], yticks=[])
    key.spines[:].set(color="#BBBBBB", linewidth=0.8)
    key.set_title("the three images", size=style.SMALL, loc="left", pad=4)
    handles = class_handles(dynamics, classes, dynamics["plane_label"].values[plane])
    legend = class_legend(
        figure,
        handles,
        bbox_to_anchor=(-0.04, -0.1),
        bbox_transform=key.transAxes,
        title="colour: class given to\neach point of the plane",
        title_fontsize=style.SMALL,
        alignment="left",
    )
    settle(figure, [panel], aspect, legend)
    _draw_images(key, dynamics, plane)


def _draw_images(key: "Axes", dynamics: xr.Dataset, plane: int) -> None:
    """Draw the three images at their places on the plane, in frames of their classes' colours."""
    position = dynamics["plane_position"].values[plane]
    sides = np.array([dynamics.sizes["row"], dynamics.sizes["column"]])
    centre = ((position + 0.5) / sides)[:, ::-1]
    # Inputs that are not images have no height and width.
    pictures = dynamics["plane_image"].values[plane] if "plane_image" in dynamics else None
    box = key.get_position()
    for corner, (x, y) in enumerate(_apart(centre - [IMAGE / 2, (IMAGE - CAPTION) / 2])):
        label = int(dynamics["plane_label"].values[plane, corner])
        color = style.class_color(label)
        look: style.Look
        rect = (box.x0 + x * box.width, box.y0 + y * box.height)
        picture = key.figure.add_axes((*rect, IMAGE * box.width, IMAGE * box.height))
        picture.set(xticks=[], yticks=[])
        picture.set_label(f"image of {style.class_name(dynamics, label)}")
        if pictures is not None and pictures.ndim == 4:
            look = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
            picture.imshow(displayable(pictures[corner]), **look)
        else:
            picture.patch.set_facecolor(color)
            if not style.has_class_names(dynamics):
                look = {"ha": "center", "va": "center", "transform": picture.transAxes}
                picture.text(0.5, 0.5, str(label), size=14, color=style.ink_on(color), **look)
        picture.spines[:].set(color=color, linewidth=2.6)
        caption = style.class_name(dynamics, label, MAX_CAPTION)
        picture.set_xlabel(caption, size=style.SMALL, labelpad=2.5, parse_math=False)


def displayable(image: np.ndarray) -> np.ndarray:
    """An image stretched to 0..1: (height, width) for fewer than 3 channels, else (h, w, 3).

    Args:
        image: (height, width, channel) standardized pixels.
    """
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = np.nanmin(image), np.nanmax(image)
    # A constant image is drawn in medium gray.
    return (image - low) / (high - low) if high > low else np.full(image.shape, 0.5)


def _apart(corners: np.ndarray) -> np.ndarray:
    """Places of three images, moved inside the key and sideways until none overlaps another.

    Args:
        corners: (3, 2) x and y of each image's lower left corner, in parts of the key's width.
    """
    size = np.array([IMAGE + GAP, IMAGE + CAPTION + GAP])
    low = np.array([0.03, 0.03 + CAPTION])
    high = 0.97 - IMAGE
    corners = np.clip(corners, low, high)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        if np.all(np.abs(corners[first] - corners[second]) < size):
            left, right = sorted((first, second), key=lambda index: corners[index, 0])
            middle = corners[[left, right], 0].mean()
            middle = np.clip(middle, low[0] + size[0] / 2, high - size[0] / 2)
            corners[left, 0], corners[right, 0] = middle - size[0] / 2, middle + size[0] / 2
    return corners

"""Pieces of a picture of decision regions: the map, its discs, and what explains them."""

import numpy as np
import xarray as xr

from repdyn_keras.figures import style
from repdyn_keras.figures.thumbnails import draw_key

MOST_IN_LEGEND = 20
# Inches: the column at the left that explains maps, and the square in it.
SIDE, KEY = 2.45, 2.0


def draw_map(ax, classes: np.ndarray, hatch: bool | None = None):
    """Draw a map of classes, row 0 at the bottom.

    Args:
        ax: Axes to draw into.
        classes: (row, column) unsigned integers; the dtype's maximum is "undefined".
        hatch: whether to lay the hatch of "undefined" under it; None: where this map needs it.

    Returns:
        The matplotlib image.
    """
    rows, columns = classes.shape
    image = style.class_image(classes)
    shown = ax.imshow(image, origin="lower", interpolation="nearest", zorder=1)
    if (image[..., 3] == 0).any() if hatch is None else hatch:
        style.hatch_undefined(ax, columns, rows)
    # The images stand inside the grid; the limits must not follow their discs.
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color="#888888", linewidth=0.5)
    return shown


def draw_mosaic(
    ax, maps: np.ndarray, position: np.ndarray, labels: np.ndarray, gap: float, disc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw many maps of one plane into one Axes: a picture with hundreds of Axes takes seconds.

    Args:
        ax: Axes to draw into.
        maps: (down, across, row, column) unsigned integers, see `draw_map`.
        position: (corner, axis) row and column of each disc on a map.
        labels: (corner,) classes of the discs.
        gap: white space between maps, in parts of a map's side.
        disc: diameter of a disc in points.

    Returns:
        The places of the maps' centres along the x axis, and along the y axis, downwards.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    down, across, rows, columns = maps.shape
    steps = np.array([side + max(1, round(gap * side)) for side in (rows, columns)])
    # The image's first row is at the bottom.
    y, x = steps[0] * np.arange(down)[::-1], steps[1] * np.arange(across)
    shape = y[0] + rows, x[-1] + columns
    image = np.ones((*shape, 4))
    colors = style.class_image(maps.reshape(-1, columns)).reshape(*maps.shape, 4)
    for place in np.ndindex(down, across):
        top, left = y[place[0]], x[place[1]]
        image[top : top + rows, left : left + columns] = colors[place]
    if (image[..., 3] == 0).any():
        style.hatch_undefined(ax, shape[1], shape[0])
    ax.imshow(image, origin="lower", interpolation="nearest", aspect="auto", zorder=1)
    frames = [Rectangle((left - 0.5, low - 0.5), columns, rows) for low in y for left in x]
    look = {"facecolor": "none", "edgecolor": "#888888", "linewidth": 0.5, "clip_on": False}
    ax.add_collection(PatchCollection(frames, zorder=2, **look))
    corners = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 1, 2) + position
    draw_discs(ax, corners.reshape(-1, 2), np.tile(labels, down * across), size=disc)
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(-0.5, shape[0] - 0.5))
    ax.spines[:].set_visible(False)
    return x + (columns - 1) / 2, y + (rows - 1) / 2


def draw_discs(
    ax, position: np.ndarray, labels: np.ndarray, size: float, numbers: bool = False
) -> None:
    """Discs in the colours of the true classes, rimmed white and dark to be seen on any map.

    Args:
        ax: Axes of the map.
        position: (corner, axis) row and column of each disc.
        labels: (corner,) classes.
        size: diameter in points.
        numbers: write each disc's class on it.
    """
    x, y = position[:, 1], position[:, 0]
    colors = [style.class_color(int(label)) for label in labels]
    ax.scatter(x, y, s=(size + 2.6) ** 2, color=style.INK, linewidth=0, zorder=3, clip_on=False)
    ax.scatter(
        x, y, s=size**2, color=colors, edgecolor="white", linewidth=1.1, zorder=4, clip_on=False
    )
    for (row, column), label, color in zip(position, labels, colors, strict=True):
        if numbers:
            text = {"ha": "center", "va": "center_baseline", "size": 9, "weight": "bold"}
            ink = style.ink_on(color)
            ax.text(column, row, str(int(label)), color=ink, zorder=5, **text)


def class_handles(dynamics: xr.Dataset, classes: np.ndarray, corners: np.ndarray) -> list:
    """Legend entries of the classes in sight: all, or the corners' and the most frequent.

    Args:
        dynamics: may name the classes, see `style.class_name`.
        classes: any number of maps.
        corners: (corner,) classes that are listed in any case.
    """
    from matplotlib.patches import Patch

    undefined = np.iinfo(classes.dtype).max
    values, counts = np.unique(classes, return_counts=True)
    area = dict.fromkeys((int(label) for label in corners), 0)
    area |= {int(v): int(n) for v, n in zip(values, counts, strict=True) if v != undefined}
    own = {int(label) for label in corners}
    ranked = sorted(area, key=lambda index: (index not in own, -area[index]))
    shown, left_out = sorted(ranked[:MOST_IN_LEGEND]), len(ranked) - MOST_IN_LEGEND
    handles = [
        Patch(color=style.class_color(index), label=style.class_name(dynamics, index))
        for index in shown
    ]
    if left_out > 0:
        handles.append(Patch(color="none", label=f"and {left_out} more, less frequent"))
    if undefined in values:
        handles.append(Patch(label="undefined", **style.undefined_look()))
    return handles


def class_legend(owner, handles: list, **look):
    """A legend that writes the handles' labels as they are.

    Args:
        owner: the Axes or the Figure.
        handles: of `class_handles`.
        look: keyword arguments of the owner's `legend`.

    Returns:
        The matplotlib legend.
    """
    # matplotlib < 3.10 leaves out what is called `_so`, and any sets `a$b$` as mathematics.
    places = [f"entry {index}" for index in range(len(handles))]
    options = {"loc": "upper left", "frameon": False, "fontsize": style.SMALL, **look}
    legend = owner.legend(handles=handles, labels=places, **options)
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        text.set(text=handle.get_label(), parse_math=False)
    return legend


def side_height(handles: list) -> float:
    """Inches that `draw_side` takes downwards with so many legend entries."""
    return KEY + 0.95 + 0.185 * len(handles)


def draw_side(figure, dynamics: xr.Dataset, plane: int, handles: list, top: float) -> None:
    """Draw the three images of a plane and the classes' legend at the left edge of a figure.

    Args:
        figure: to draw into.
        dynamics: holds `plane_position`, `plane_label` and perhaps `plane_image`.
        plane: its place along the dimension.
        handles: of `class_handles`.
        top: inches from the upper edge.
    """
    width, height = figure.get_size_inches()
    draw_key(figure, dynamics, plane, 0.2, top, KEY)
    class_legend(
        figure,
        handles,
        bbox_to_anchor=(0.12 / width, 1 - (top + KEY + 0.35) / height),
        title="colour: class given to\neach point of the plane",
        title_fontsize=style.SMALL,
        alignment="left",
    )
    figure.text(0.2 / width, 1 - (top - 0.08) / height, "the three images", size=style.SMALL)

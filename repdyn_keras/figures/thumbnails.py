"""The three images that span a plane, as small pictures at their places."""

import numpy as np
import xarray as xr

from repdyn_keras.figures import style
from repdyn_keras.figures.panels import place

THUMBNAIL = 0.60
CAPTION = 0.17
# Of a caption, so that those of neighbours do not meet.
MOST_LETTERS = 11


def displayable(image: np.ndarray) -> np.ndarray:
    """An image stretched to 0..1: (height, width) for fewer than 3 channels, else (h, w, 3).

    Args:
        image: (height, width, channel) standardized pixels.
    """
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = np.nanmin(image), np.nanmax(image)
    # A constant picture has no contrast to stretch; mid-gray says so.
    return (image - low) / (high - low) if high > low else np.full(image.shape, 0.5)


def plane_pictures(dynamics: xr.Dataset, plane: int) -> list[np.ndarray] | None:
    """The three pictures of a plane, or None where the inputs are no pictures."""
    if "plane_image" not in dynamics or dynamics["plane_image"].ndim != 5:
        return None
    return [displayable(image) for image in dynamics["plane_image"].values[plane]]


def draw_key(figure, dynamics: xr.Dataset, plane: int, left: float, top: float, size: float):
    """Draw the plane as a square with its three images at their places, framed in class colours.

    Args:
        figure: to draw into.
        dynamics: holds `plane_position`, `plane_label` and perhaps `plane_image`.
        plane: its place along the dimension.
        left, top, size: of the square, in inches from the figure's upper left corner.
    """
    square = place(figure, left, top, size, size)
    square.set(xticks=[], yticks=[], xlim=(0, size), ylim=(size, 0))
    square.patch.set_facecolor("#FAFAFA")
    for spine in square.spines.values():
        spine.set(color="#BBBBBB", linewidth=0.8)
    rows, columns = dynamics.sizes["row"], dynamics.sizes["column"]
    position = dynamics["plane_position"].values[plane]
    centre = np.stack(
        [(position[:, 1] + 0.5) / columns * size, (1 - (position[:, 0] + 0.5) / rows) * size], -1
    )
    corners = _apart(centre - [THUMBNAIL / 2, THUMBNAIL / 2 + CAPTION / 2], size)
    pictures = plane_pictures(dynamics, plane)
    for corner, (x, y) in enumerate(corners):
        label = int(dynamics["plane_label"].values[plane, corner])
        caption = style.class_name(dynamics, label, MOST_LETTERS)
        color = style.class_color(label)
        picture = place(figure, left + x, top + y, THUMBNAIL, THUMBNAIL)
        picture.set(xticks=[], yticks=[])
        picture.set_label(f"image of {style.class_name(dynamics, label)}")
        if pictures is None:
            picture.patch.set_facecolor(color)
            if not style.has_class_names(dynamics):
                at = {"transform": picture.transAxes, "ha": "center", "va": "center"}
                picture.text(0.5, 0.5, str(label), size=14, color=style.ink_on(color), **at)
        else:
            picture.imshow(pictures[corner], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for spine in picture.spines.values():
            spine.set(color=color, linewidth=2.6)
        picture.set_xlabel(
            caption, size=style.SMALL, labelpad=2.5, color=style.INK, parse_math=False
        )
    return square


def _apart(corners: np.ndarray, size: float) -> np.ndarray:
    """Upper left corners of three pictures, moved sideways until none covers another.

    Args:
        corners: (3, 2) x and y in inches.
        size: of the square that holds them.
    """
    wide, high = THUMBNAIL + 0.1, THUMBNAIL + CAPTION + 0.1
    low = 0.06
    corners = np.clip(corners, low, [size - THUMBNAIL - low, size - THUMBNAIL - CAPTION - low])
    for first, second in ((0, 1), (0, 2), (1, 2)):
        if np.all(np.abs(corners[first] - corners[second]) < [wide, high]):
            left, right = sorted((first, second), key=lambda i: corners[i, 0])
            middle = np.clip(
                corners[[left, right], 0].mean(), low + wide / 2, size - THUMBNAIL - low - wide / 2
            )
            corners[left, 0], corners[right, 0] = middle - wide / 2, middle + wide / 2
    return corners

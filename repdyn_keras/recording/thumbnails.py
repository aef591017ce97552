"""Small pictures of images, by which people recognize them in lists and figures."""

from typing import Any

import numpy as np

# Pixels of a side at most, and bytes of all thumbnails of a recording at most.
MAX_THUMBNAIL_SIDE, MAX_THUMBNAIL_BYTES = 32, 32 * 2**20
# Below this side, an image would not be recognized.
MIN_THUMBNAIL_SIDE = 6
CHANNELS = (1, 2, 3, 4)
# Images that are reduced at a time.
CHUNK = 256


def thumbnails(images: Any) -> np.ndarray | None:
    """Images reduced to at most 32 pixels a side, by the means of blocks of pixels.

    They are smaller if there are so many images that 32 MiB would not hold them.

    Args:
        images: (n, height, width, channels) with at most four channels, or anything else.

    Returns:
        (n, rows, columns, 1 or 3) uint8, from the smallest to the largest pixel of all thumbnails;
        None if `images` are not images in this form, or too many.
    """
    shape = thumbnail_shape(getattr(images, "shape", ()))
    if shape is None:
        return None
    parts = [
        block_means(np.asarray(images[start : start + CHUNK])[..., : shape[3]], shape[1:3])
        for start in range(0, shape[0], CHUNK)
    ]
    reduced = np.concatenate(parts)
    low, high = float(reduced.min()), float(reduced.max())
    stretched = (reduced - low) / (high - low) if high > low else np.full_like(reduced, 0.5)
    return np.rint(255 * stretched).astype(np.uint8)


def thumbnail_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The shape of the thumbnails of images of a shape; None if there are none."""
    if len(shape) != 4 or shape[-1] not in CHANNELS or min(shape) < 1:
        return None
    channels = 3 if shape[-1] >= 3 else 1
    longest = int(np.sqrt(MAX_THUMBNAIL_BYTES / (shape[0] * channels)))
    scale = min(1.0, min(MAX_THUMBNAIL_SIDE, longest) / max(shape[1:3]))
    if scale < 1 and max(shape[1:3]) * scale < MIN_THUMBNAIL_SIDE:
        return None
    rows, columns = (max(1, round(side * scale)) for side in shape[1:3])
    return shape[0], rows, columns, channels


def block_means(images: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """(n, rows, columns, channels) float32 means of blocks of nearly equal size.

    Args:
        images: (n, height, width, channels).
        sides: rows and columns, at most the height and the width.
    """
    reduced: np.ndarray = images.astype(np.float32)
    for axis, (length, side) in enumerate(zip(images.shape[1:3], sides, strict=True), start=1):
        starts = np.arange(side) * length // side
        sizes = np.diff(np.append(starts, length))
        sums = np.add.reduceat(reduced, starts, axis=axis)
        reduced = sums / np.float32(sizes.reshape([-1 if axis == at else 1 for at in range(4)]))
    return reduced

"""Animated GIF files whose frames share one palette, so that colours do not flicker."""

import io
from collections.abc import Iterable, Sequence

import numpy as np

# The encoder uses one of 256 colours for pixels that a frame does not change.
MAX_COLORS = 255
MAX_EXACT = 200


def encode_gif(
    frames: Iterable[np.ndarray], palette: np.ndarray, milliseconds: Sequence[int]
) -> bytes:
    """An endless animation as a GIF file.

    Args:
        frames: (height, width, 3) uint8 pixels, all of one shape.
        palette: (color, 3) uint8, at most 255.
        milliseconds: duration of each frame; the format keeps multiples of 10.
    """
    from PIL import Image

    pictures = []
    for pixels in frames:
        picture = Image.fromarray(palette_indices(pixels, palette))
        picture.putpalette(palette.tobytes())
        pictures.append(picture)
    data = io.BytesIO()
    pictures[0].save(
        data,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=list(milliseconds),
        loop=0,
        optimize=False,
    )
    return data.getvalue()


def common_palette(samples: Sequence[np.ndarray], exact: np.ndarray) -> np.ndarray:
    """A palette for all frames: some exact colours, the others by median cut of sample frames.

    Args:
        samples: (height, width, 3) uint8 frames that hold nearly all colours of the animation.
        exact: (color, 3) uint8 colours to keep, most important first; at most 200 are kept.

    Returns:
        (color, 3) uint8, at most 255, the exact ones first.
    """
    from PIL import Image

    _, first = np.unique(_codes(exact), return_index=True)
    exact = exact[np.sort(first)][:MAX_EXACT]
    pixels = np.concatenate([sample.reshape(-1, 3) for sample in samples])
    others = pixels[~np.isin(_codes(pixels), _codes(exact))]
    if len(others) == 0:
        return exact
    limit = MAX_COLORS - len(exact)
    cut = Image.fromarray(others[None]).quantize(
        limit, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    colors = np.array(cut.getpalette(), np.uint8).reshape(-1, 3)
    return np.concatenate([exact, colors[:limit]])


def palette_indices(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(height, width) uint8 index of a palette's colour for each pixel.

    Colours of the palette are kept exactly. Pillow chooses a near one for the others; it compares
    them in steps of four levels.
    """
    from PIL import Image

    table = Image.new("P", (1, 1))
    padding = np.repeat(palette[:1], 256 - len(palette), axis=0)
    table.putpalette(np.concatenate([palette, padding]).tobytes())
    near = Image.fromarray(pixels).quantize(palette=table, dither=Image.Dither.NONE)
    indices, codes, known = np.array(near), _codes(pixels), _codes(palette)
    order = np.argsort(known)
    place = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[place] == codes, place, indices).astype(np.uint8)


def _codes(pixels: np.ndarray) -> np.ndarray:
    """One integer for each colour."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue

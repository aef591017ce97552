"""Animated GIF files whose frames share one palette, so that colours do not flicker."""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from repdyn_keras.figures.files import write_whole

# One of the 256 is left to the encoder, which marks with it what a frame does not change.
MOST_COLORS = 255
MOST_EXACT = 200


def write_gif(
    frames: Iterable[np.ndarray],
    palette: np.ndarray,
    milliseconds: Sequence[int],
    path: Path,
    write: Callable[[Path, bytes], None] = write_whole,
) -> Path:
    """Write an endless animation, whole or not at all.

    Args:
        frames: (height, width, 3) uint8 pixels, all of one shape; taken one by one.
        palette: (color, 3) uint8, at most 255; each pixel gets the nearest.
        milliseconds: of each frame; the format keeps multiples of 10.
        path: the file; one of the same name is replaced.
        write: writes the file.

    Returns:
        The path.
    """
    from PIL import Image

    pictures = []
    for pixels in frames:
        picture = Image.fromarray(nearest_colors(pixels, palette))
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
    write(path, data.getvalue())
    return path


def common_palette(samples: Sequence[np.ndarray], exact: np.ndarray) -> np.ndarray:
    """Colours for all frames: some as they are, the others by median cut of sample frames.

    Args:
        samples: (height, width, 3) uint8 frames that hold about every colour of the others.
        exact: (color, 3) uint8 colours to keep, the most important first; 200 at most are.

    Returns:
        (color, 3) uint8, at most 255.
    """
    from PIL import Image

    _, first = np.unique(_codes(exact), return_index=True)
    exact = exact[np.sort(first)][:MOST_EXACT]
    pixels = np.concatenate([sample.reshape(-1, 3) for sample in samples])
    others = pixels[~np.isin(_codes(pixels), _codes(exact))]
    if len(others) == 0:
        return exact
    cut = Image.fromarray(others[None]).quantize(
        MOST_COLORS - len(exact), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    colors = np.array(cut.getpalette(), np.uint8).reshape(-1, 3)
    return np.concatenate([exact, colors[: MOST_COLORS - len(exact)]])


def nearest_colors(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(height, width) uint8: the place in the palette of the colour nearest to each pixel's."""
    codes, where = np.unique(_codes(pixels), return_inverse=True)
    present = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)
    table = palette.astype(np.int32)
    # |p - q|^2 without |p|^2, which is the same for every q.
    distance = (table**2).sum(-1) - 2 * present @ table.T
    return distance.argmin(-1).astype(np.uint8)[where.reshape(pixels.shape[:-1])]


def _codes(pixels: np.ndarray) -> np.ndarray:
    """One integer a colour."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue

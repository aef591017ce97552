"""The most suspicious labels on the page of a run."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.figures.parts.films import film
from repdyn_keras.figures.plot_suspects import MAX_SUSPECTS, caption, most_suspicious

if TYPE_CHECKING:
    import xarray


def suspects_of(dynamics: "xarray.Dataset") -> list[dict[str, str]]:
    """The first suspects, each with the addresses of its picture and its film, and two lines.

    Args:
        dynamics: the Dataset of a run.

    Returns:
        `picture` and `film` (addresses of PNG files that they hold; empty if there is none), and
        `labels` and `history` in words. Empty without histories of images.
    """
    if "suspicion" not in dynamics or "image_probe_class" not in dynamics:
        return []
    found = []
    for index in most_suspicious(dynamics, MAX_SUSPECTS).tolist():
        labels, history = caption(dynamics, index).splitlines()
        picture = ""
        if "image_picture" in dynamics:
            pixels = dynamics["image_picture"].values[index]
            picture = png_url(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
        # The first row of a picture is on top, and so is the output.
        colors = np.rint(255 * film(dynamics, index)[::-1]).astype(np.uint8)
        row = {"picture": picture, "film": png_url(colors), "labels": labels, "history": history}
        found.append(row)
    return found


def png_url(pixels: np.ndarray, most: int | None = None) -> str:
    """Pixels (row, column) or (row, column, 3 or 4) of uint8 as the address of a PNG file.

    It has at most `most` pixels on a side.
    """
    from PIL import Image

    picture, data = Image.fromarray(pixels), io.BytesIO()
    if most is not None:
        picture.thumbnail((most, most))
    picture.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")

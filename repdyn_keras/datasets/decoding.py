"""One encoded image as upright bytes, grey or RGB."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
PALETTE_MODES = ("P", "PA")
# Properties of an image that are counted for the notes.
GREY, ALPHA, DEEP = "grey", "alpha", "16 bits"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image before decoding.

    Attributes:
        name: its name for messages.
        data: its path, or the bytes of its file.
        label: its class.
    """

    name: str
    data: str | bytes
    label: int


@dataclass(frozen=True)
class ImageFormat:
    """The shape that images are decoded into.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 or 3.
        resize: whether images of other sizes are cropped and resized; else they do not fit.
        to_grey: whether images in colour are made grey for one channel; else they do not fit.
    """

    height: int
    width: int
    channels: int
    resize: bool
    to_grey: bool


class FormatMismatch(Exception):
    """A valid image of another size than the format, or in colour where the format is grey."""


@contextmanager
def opened(data: str | bytes) -> Iterator[Image.Image]:
    """The image of a path or of a file's bytes, rotated upright by its EXIF orientation."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        if image.info.get("exif"):
            yield ImageOps.exif_transpose(image)
        else:
            yield image


def decoded(data: str | bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """An image of mode L or RGB, and which of GREY, ALPHA and DEEP it was.

    Alpha is dropped. 16 bits become 8 by division; Pillow's own conversion would clip them.

    Raises:
        Exception: any exception of Pillow's for a damaged image; ValueError for a mode without 8
            or 16 bits per channel.
    """
    with opened(data) as image:
        image.load()
        has_alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
        kinds = (ALPHA,) if has_alpha else ()
        if is_deep(image):
            wide = np.asarray(image).astype(np.uint32)
            return Image.fromarray(((wide + 128) // 257).astype(np.uint8)), (*kinds, GREY, DEEP)
        if image.mode in GREY_MODES:
            return converted(image, "L"), (*kinds, GREY)
        if image.mode in PALETTE_MODES:
            colour = image.convert("RGBA").convert("RGB")
            return (colour.convert("L"), (*kinds, GREY)) if is_grey(image) else (colour, kinds)
        if image.mode in COLOUR_MODES:
            return converted(image, "RGB"), kinds
        raise ValueError(f"pixels of mode {image.mode}, not of 8 or 16 bits")


def converted(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; the same object where it is in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey of 16 bits; some versions of Pillow open such a PNG as mode I."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def is_grey(image: Image.Image) -> bool:
    """Whether an image is grey by its mode or by every colour of its palette."""
    if image.mode in PALETTE_MODES:
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES or is_deep(image)


def decoded_into(
    data: str | bytes, form: ImageFormat
) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    """Pixels (height, width, channels), the original size (width, height) and properties.

    Raises:
        FormatMismatch: the image does not fit.
        Exception: as `decoded`.
    """
    image, kinds = decoded(data)
    size, wanted = image.size, (form.width, form.height)
    grey_only = form.channels == 1 and not form.to_grey
    if (size != wanted and not form.resize) or (grey_only and image.mode != "L"):
        raise FormatMismatch
    image = converted(image, "L" if form.channels == 1 else "RGB")
    if size != wanted:
        image = ImageOps.fit(image, wanted)
    return np.asarray(image).reshape(form.height, form.width, form.channels), size, kinds

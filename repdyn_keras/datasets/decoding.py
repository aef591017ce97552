"""Decodes one image file, keeping 16 bits per channel."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
PALETTE_MODES = ("P", "PA")
MODES = frozenset(GREY_MODES + COLOUR_MODES + PALETTE_MODES)
ALPHA_MODES = ("LA", "RGBA", "PA")
# Properties of images that are reported to the user.
GREY, ALPHA, DEEP, TURNED, FRAMES = "grey", "alpha", "16 bits", "turned", "frames"
# Largest range of the values of an image that looks empty, of 255.
MAX_EMPTY_RANGE = 8
# From 8 to 16 bits, as PNG defines it: 255 becomes 65 535.
DEEP_FACTOR = 257
ORIENTATION = 0x0112
# Modes of files with 16 bits in each of several channels, as Pillow names them.
DEEP_COLOUR = re.compile(r"(RGBA?|LA|[A-Za-z]+);16([BLN])")
NATIVE, OTHER = ("L", "B") if sys.byteorder == "little" else ("B", "L")


class FormatMismatch(Exception):
    """A valid image does not fit the format: its size, colour or bits per channel."""


@dataclass(frozen=True)
class ImageFormat:
    """The format into which images are decoded.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 or 3.
        resize: whether images of other sizes are cropped and resized; otherwise they are rejected.
        to_grey: whether colour images are converted to one channel; otherwise they are rejected.
        deep: whether pixels have 16 bits per channel; otherwise such images are rejected.
        background: value from 0 to 255 of the grey on which images with an alpha channel are
            composited; None drops the alpha channel.
    """

    height: int
    width: int
    channels: int
    resize: bool
    to_grey: bool
    deep: bool = False
    background: int | None = None


# An image of mode L or RGB; 16 bits per channel as (height, width, 1 or 3) uint16.
Picture = Image.Image | np.ndarray


class Properties(NamedTuple):
    """What an image was before its conversion.

    Attributes:
        size: (width, height).
        kinds: those of GREY, ALPHA, DEEP, TURNED and FRAMES that it was.
        extent: smallest and largest value of an image of 16 bits per channel.
        veiled: whether its alpha channel has different values.
        empty: its brightness from 0 to 255, if its alpha channel alone holds content.
    """

    size: tuple[int, int]
    kinds: tuple[str, ...]
    extent: tuple[int, int] | None = None
    veiled: bool = False
    empty: float | None = None

    @property
    def grey(self) -> bool:
        """Whether it had one channel besides alpha."""
        return GREY in self.kinds


@contextmanager
def opened(data: str | bytes) -> Iterator[Image.Image]:
    """Opens the image of a path or of a file's bytes."""
    # Of a path, Pillow would map TIFF files into memory with the sides of rotated ones swapped.
    stream = io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb")
    with stream, Image.open(stream) as image:
        yield image


def header(data: str | bytes) -> tuple[tuple[int, int], bool, bool]:
    """Size (width, height), whether an image is grey, and whether it has 16 bits per channel."""
    with opened(data) as image:
        size = image.size
        # Pillow already swaps the sides of TIFF files.
        if image.format != "TIFF" and orientation(image) >= 5:
            size = size[::-1]
        layout = deep_colour(image)
        if layout is not None:
            return size, layout.startswith("LA"), True
        return size, is_grey(image), is_deep_grey(image)


def decoded(data: str | bytes, background: int | None = None) -> tuple[Picture, Properties]:
    """Decodes an image, rotated by its EXIF orientation.

    Args:
        data: a path, or the bytes of a file.
        background: as in `ImageFormat`.

    Raises:
        Exception: any exception that Pillow raises for a damaged image; ValueError for a mode
            without 8 or 16 bits per channel.
    """
    with opened(data) as image:
        kinds = [TURNED] if orientation(image) > 1 else []
        # The further images of an MPO file are not frames but previews and depth maps.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            kinds.append(FRAMES)
        if deep_colour(image):
            return decoded_deep(deep_channels(data, image), kinds, background)
        image.load()
        if is_deep_grey(image):
            if image.mode == "I" and not fits_16_bits(image):
                raise ValueError("whole numbers beyond 16 bits")
            if "transparency" in image.info:
                kinds.append(ALPHA)
            values = np.asarray(upright(image)).astype(np.uint16)[..., None]
            return values, deep_properties(values, (*kinds, GREY, DEEP))
        if image.mode not in MODES:
            raise ValueError(unusable_mode(image.mode))
        mode = "RGB"
        if is_grey(image):
            kinds.append(GREY)
            mode = "L"
        if image.mode not in ALPHA_MODES and "transparency" not in image.info:
            if image.mode in PALETTE_MODES:
                image = image.convert("RGB")
            image = converted(upright(image), mode)
            return image, Properties(image.size, tuple(kinds))
        return decoded_with_alpha(upright(image), mode, (*kinds, ALPHA), background)


def decoded_with_alpha(
    image: Image.Image, mode: str, kinds: tuple[str, ...], background: int | None
) -> tuple[Image.Image, Properties]:
    """Drops the alpha channel of an image of 8 bits, or composites it on a background."""
    if image.mode != "LA":
        image = image.convert("RGBA")
    # (bands, 2): smallest and largest value of each band; the last is alpha.
    extrema = np.array(image.getextrema())
    ranges = np.ptp(extrema, axis=1)
    veiled = bool(ranges[-1] > MAX_EMPTY_RANGE)
    empty = None
    if veiled and (ranges[:-1] <= MAX_EMPTY_RANGE).all():
        empty = float(extrema[:-1].mean())
    flat = image.convert("L" if image.mode == "LA" else "RGB")
    if background is not None:
        base = Image.new(flat.mode, flat.size, (background,) * len(flat.getbands()))
        base.paste(flat, mask=image.getchannel("A"))
        flat = base
    return converted(flat, mode), Properties(flat.size, kinds, veiled=veiled, empty=empty)


def decoded_deep(
    values: np.ndarray, kinds: list[str], background: int | None
) -> tuple[np.ndarray, Properties]:
    """The same for channels (height, width, 2 to 4) of 16 bits; an even number includes alpha."""
    kinds = [*kinds, *([GREY] if values.shape[-1] == 2 else []), DEEP]
    if values.shape[-1] == 3:
        return values, deep_properties(values, tuple(kinds))
    colours, alpha = values[..., :-1], values[..., -1:]
    limit = MAX_EMPTY_RANGE * DEEP_FACTOR
    veiled = bool(np.ptp(alpha) > limit)
    empty = None
    if veiled and (np.ptp(colours, axis=(0, 1)) <= limit).all():
        empty = float(colours.mean()) / DEEP_FACTOR
    if background is not None:
        weight = alpha / 65_535
        behind = background * DEEP_FACTOR
        colours = np.rint(colours * weight + behind * (1 - weight)).astype(np.uint16)
    return colours, deep_properties(colours, (*kinds, ALPHA), veiled, empty)


def deep_properties(
    values: np.ndarray, kinds: tuple[str, ...], veiled: bool = False, empty: float | None = None
) -> Properties:
    """The properties of an image (height, width, channels) of 16 bits."""
    height, width = values.shape[:2]
    return Properties((width, height), kinds, (int(values.min()), int(values.max())), veiled, empty)


def deep_colour(image: Image.Image) -> str | None:
    """The layout of a file of 16 bits in several channels, of which Pillow reads 8; else None."""
    tiles = getattr(image, "tile", None)
    if image.mode.startswith("I") or not tiles:
        return None
    arguments = tiles[0][3]
    layout = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    is_deep = isinstance(layout, str) and ";16" in layout and DEEP_COLOUR.match(layout)
    return layout if is_deep else None


def deep_channels(data: str | bytes, image: Image.Image) -> np.ndarray:
    """All 16 bits of the channels of an image that is open but not loaded, as uint16.

    Pillow reads the upper byte of each number. The lower byte follows from the same data, read as
    if its bytes were in the other order.

    Args:
        data: a path, or the bytes of a file.
        image: the image.
    """
    layout = deep_colour(image) or ""
    match = DEEP_COLOUR.fullmatch(layout)
    if match is None or match[1] not in ("RGB", "RGBA", "LA"):
        raise ValueError(f"colour of 16 bits per channel stored as {layout}")
    if match[1] == "LA":
        # Four bytes per pixel: two of grey, two of alpha.
        parts = np.asarray(upright(with_layout(image, "RGBA"))).astype(np.uint16)
        return parts[..., ::2] * 256 + parts[..., 1::2]
    order = NATIVE if match[2] == "N" else match[2]
    with opened(data) as again:
        lower = upright(with_layout(again, f"{match[1]};16{'L' if order == 'B' else 'B'}"))
        upper = upright(image)
        return np.asarray(upper).astype(np.uint16) * 256 + np.asarray(lower)


def with_layout(image: Image.Image, layout: str) -> Image.Image:
    """An image that is open but not loaded, whose data are read in another layout."""
    tiles: list[Any] = []
    for tile in getattr(image, "tile", ()):
        arguments = (layout, *tile[3][1:]) if isinstance(tile[3], tuple) else layout
        # Older versions of Pillow use plain tuples.
        replace = getattr(tile, "_replace", None)
        tiles.append(replace(args=arguments) if replace else (*tile[:3], arguments))
    vars(image)["tile"] = tiles
    return image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation: 1 for upright images, from 5 for those whose sides are swapped."""
    if image.info.get("exif") or image.format == "TIFF":
        value = image.getexif().get(ORIENTATION, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    return 1


def upright(image: Image.Image) -> Image.Image:
    """The image, rotated by its EXIF orientation; Pillow already rotates TIFF files."""
    return ImageOps.exif_transpose(image) if image.info.get("exif") else image


def converted(image: Image.Image, mode: str) -> Image.Image:
    """The image converted to a mode; the same object if it already has this mode."""
    return image if image.mode == mode else image.convert(mode)


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an image is grey with 16 bits; Pillow opens some such files as mode I."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def fits_16_bits(image: Image.Image) -> bool:
    """Whether the values of an image of mode I are those of 16 bits."""
    values = np.asarray(image)
    return bool(values.min() >= 0 and values.max() <= 65_535)


def is_grey(image: Image.Image) -> bool:
    """Whether the mode of an image or all colours of its palette are grey."""
    if image.mode in PALETTE_MODES:
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES or is_deep_grey(image)


def unusable_mode(mode: str) -> str:
    """Why images of a mode are not read."""
    numbers = {"I": ", signed or 32-bit whole numbers", "F": ", 32-bit floating-point numbers"}
    return f"pixels of mode {mode}{numbers.get(mode, '')}, not of 8 or 16 bits"


def decoded_into(data: str | bytes, image_format: ImageFormat) -> tuple[np.ndarray, Properties]:
    """Decodes an image into a format.

    Returns:
        Pixels (height, width, channels), and what the image was.

    Raises:
        FormatMismatch: the image does not fit the format.
        Exception: as for `decoded`.
    """
    picture, was = decoded(data, image_format.background)
    target = (image_format.width, image_format.height)
    grey_only = image_format.channels == 1 and not image_format.to_grey
    if (was.size != target and not image_format.resize) or (grey_only and not was.grey):
        raise FormatMismatch
    shape = (image_format.height, image_format.width, image_format.channels)
    if isinstance(picture, np.ndarray):
        if not image_format.deep:
            raise FormatMismatch
        return np.broadcast_to(deep_fitted(picture, target, shape[-1]), shape), was
    picture = converted(picture, "L" if image_format.channels == 1 else "RGB")
    if was.size != target:
        picture = ImageOps.fit(picture, target)
    pixels = np.asarray(picture).reshape(shape)
    return pixels.astype(np.uint16) * DEEP_FACTOR if image_format.deep else pixels, was


def deep_fitted(values: np.ndarray, target: tuple[int, int], channels: int) -> np.ndarray:
    """Pixels of 16 bits, resized as Pillow resizes those of 8, with one or all channels.

    Args:
        values: (height, width, 1 or 3) uint16.
        target: (width, height).
        channels: 1 converts colour to grey.
    """
    if values.shape[-1] > channels:
        # Pillow's weights of colours (ITU-R 601-2).
        values = np.rint(values @ [0.299, 0.587, 0.114]).astype(np.uint16)[..., None]
    if values.shape[1::-1] == target:
        return values
    resized = []
    for channel in np.moveaxis(values, -1, 0):
        # Pillow resizes integers of 16 bits without interpolation, so it is given floats.
        floats = ImageOps.fit(Image.fromarray(channel.astype(np.float32)), target)
        resized.append(np.rint(np.clip(np.asarray(floats), 0, 65_535)))
    return np.stack(resized, axis=-1).astype(np.uint16)

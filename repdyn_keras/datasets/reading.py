"""Many encoded images as bytes of one shape."""

import contextlib
import io
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from PIL import Image, ImageOps

from repdyn_keras.datasets.images import Pixels, allocate_pixels
from repdyn_keras.errors import InputError

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


# Broken images that an error names, and characters of what is wrong with one.
MAX_BROKEN, MAX_REASON = 3, 80
# Pixels that are decoded before they are stored, and images at most.
PIXELS_AT_ONCE, IMAGES_AT_ONCE = 2**23, 512
MAX_THREADS = 8
# Threads take longer with images of fewer pixels.
MIN_THREADED_PIXELS = 128 * 128

Source = Callable[[], Iterable[EncodedImage]]
# What `decoded_into` returns.
Decoded = tuple[np.ndarray, tuple[int, int], tuple[str, ...]]


@dataclass(frozen=True)
class DecodedImages:
    """Images of one shape.

    Attributes:
        pixels: (n, height, width, channels) bytes.
        labels: (n,) int64.
        notes: what was done to the images, for the user.
    """

    pixels: Pixels
    labels: np.ndarray
    notes: tuple[str, ...]


@dataclass
class ImageCounts:
    """How many images had each size (width, height), and each of GREY, ALPHA and DEEP."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)


def read_images(
    source: Source,
    count: int,
    where: str,
    side: int | None = None,
    channels: int | None = None,
) -> DecodedImages:
    """Decodes every image, in the order of the source, into one shape.

    Images of one size keep it. Otherwise every image is cropped to its centre and resized, by
    Pillow's `ImageOps.fit`, to a square whose side is the median of the images' shorter sides.
    One channel where every image is grey, else three.

    Args:
        source: begins an iteration over the images, the same each time.
        count: number of images.
        where: the data set, for messages.
        side: side of the square in pixels; None for the sizes of the images.
        channels: 1 or 3; None to decide by the images.

    Raises:
        InputError: images that cannot be decoded, or no room for them.
    """
    form = format_of_first(source, count, where, side, channels)
    result = None
    # Most data sets have images of one format: a second pass is for others.
    with contextlib.suppress(FormatMismatch):
        result = decode_all(source, count, where, form)
    if result is None:
        # Outside the block above, so that the first pass has freed its memory.
        form = common_format(source, side, channels)
        result = decode_all(source, count, where, form)
    pixels, labels, counts = result
    return DecodedImages(pixels, labels, tuple(describe_changes(counts, form, channels)))


def format_of_first(
    source: Source, count: int, where: str, side: int | None, channels: int | None
) -> ImageFormat:
    """The format of the first image that can be decoded."""
    problems = []
    for encoded in source():
        try:
            image, kinds = decoded(encoded.data)
        except Exception as error:  # Pillow's decoders raise exceptions of any type
            problems.append((encoded.name, error))
            continue
        width, height = (side, side) if side else image.size
        n_channels = channels or (1 if GREY in kinds else 3)
        return ImageFormat(height, width, n_channels, side is not None, channels is not None)
    raise broken_images(problems, count, where)


def common_format(source: Source, side: int | None, channels: int | None) -> ImageFormat:
    """The format for images that differ, from their headers."""
    sizes, all_grey = set(), True
    shorter = []
    for encoded in source():
        try:
            with opened(encoded.data) as image:
                size, grey = image.size, is_grey(image)
        except Exception:  # noqa: S112, a broken image: decoding reports all of them together
            continue
        sizes.add(size)
        shorter.append(min(size))
        all_grey = all_grey and grey
    n_channels = channels or (1 if all_grey else 3)
    if side is None and len(sizes) == 1:
        width, height = sizes.pop()
        return ImageFormat(height, width, n_channels, True, True)
    side = side or round(statistics.median(shorter))
    return ImageFormat(side, side, n_channels, True, True)


def decode_all(
    source: Source, count: int, where: str, form: ImageFormat
) -> tuple[Pixels, np.ndarray, ImageCounts]:
    """Decodes all images into a format: pixels, labels and counts of sizes and properties.

    Raises:
        FormatMismatch: an image does not fit.
        InputError: images cannot be decoded, or there are more or fewer than `count`.
    """
    pixels = allocate_pixels((count, form.height, form.width, form.channels))
    labels = np.empty(count, np.int64)
    counts, problems, row = ImageCounts(), [], 0
    area = form.height * form.width
    at_once = max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // area))
    threads = min(os.cpu_count() or 1, MAX_THREADS) if area >= MIN_THREADED_PIXELS else 0
    encoded = iter(source())
    with ThreadPoolExecutor(max(1, threads)) as pool:
        map_images = pool.map if threads else map
        while chunk := list(islice(encoded, at_once)):
            results = map_images(lambda image: attempt(image, form), chunk)
            for image, result in zip(chunk, results, strict=True):
                if row == count:
                    raise InputError(
                        f"{where} has too many images. Expected {count}, the number in its "
                        "metadata. Received: more."
                    )
                labels[row] = image.label
                if isinstance(result, FormatMismatch):
                    raise result
                if isinstance(result, Exception):
                    problems.append((image.name, result))
                else:
                    pixels[row], size, kinds = result
                    counts.sizes[size] += 1
                    counts.kinds.update(kinds)
                row += 1
    if problems:
        raise broken_images(problems, count, where)
    if row < count:
        raise InputError(
            f"{where} lacks images. Expected {count}, the number in its metadata. Received: {row}."
        )
    return pixels, labels, counts


def attempt(encoded: EncodedImage, form: ImageFormat) -> Decoded | Exception:
    """The decoded image, or the exception that decoding raised."""
    try:
        return decoded_into(encoded.data, form)
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        return error


def broken_images(problems: list[tuple[str, Exception]], count: int, where: str) -> InputError:
    """The error for images that cannot be decoded; names the first ones."""
    named = "; ".join(f"{name} ({reason(error)})" for name, error in problems[:MAX_BROKEN])
    more = f"; and {len(problems) - MAX_BROKEN} more" if len(problems) > MAX_BROKEN else ""
    return InputError(
        f"{len(problems)} of {count} images of {where} cannot be read. Expected whole images of 8 "
        f"bits per channel, or grey ones of 16. Received: {named}{more}. Repair or remove them."
    )


def reason(error: Exception) -> str:
    """The message of an exception, shortened."""
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith("cannot identify image file"):
        return "not an image that Pillow can read"
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."


def describe_changes(counts: ImageCounts, form: ImageFormat, channels: int | None) -> Iterator[str]:
    """What was done to the images, one sentence each."""
    count = sum(counts.sizes.values())
    wanted = (form.width, form.height)
    if set(counts.sizes) != {wanted}:
        by_area = sorted(counts.sizes, key=lambda size: (size[0] * size[1], size))
        first, last = (format_size(size) for size in (by_area[0], by_area[-1]))
        were = f"of {len(by_area)} sizes, from {first} to" if len(by_area) > 1 else "of"
        yield (
            f"images {were} {last} pixels (width x height) were cropped to their centre and "
            f"resized to {format_size(wanted)}."
        )
    grey = counts.kinds[GREY]
    if channels is None and 0 < grey < count:
        yield f"{grey} of {count} images are grey, the rest in colour: all are read as RGB."
    if counts.kinds[ALPHA]:
        yield f"{counts.kinds[ALPHA]} of {count} images have an alpha channel, which is dropped."
    if counts.kinds[DEEP]:
        yield f"{counts.kinds[DEEP]} of {count} images have 16 bits per pixel, reduced to 8."


def format_size(size: tuple[int, int]) -> str:
    """A size (width, height) as text."""
    return f"{size[0]}x{size[1]}"

"""Decodes image files into one array of bytes."""

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
# Properties of images that are reported to the user.
GREY, ALPHA, DEEP = "grey", "alpha", "16 bits"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image before decoding.

    Attributes:
        name: its name, for messages.
        data: its path, or the bytes of its file.
        label: its class.
    """

    name: str
    data: str | bytes
    label: int


@dataclass(frozen=True)
class ImageFormat:
    """The format into which images are decoded.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 or 3.
        resize: whether images of other sizes are cropped and resized; otherwise they are rejected.
        to_grey: whether colour images are converted to one channel; otherwise they are rejected.
    """

    height: int
    width: int
    channels: int
    resize: bool
    to_grey: bool


class FormatMismatch(Exception):
    """A valid image has another size than the format, or has colour and the format is grey."""


@contextmanager
def opened(data: str | bytes) -> Iterator[Image.Image]:
    """Opens the image of a path or of a file's bytes, rotated by its EXIF orientation."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        if image.info.get("exif"):
            yield ImageOps.exif_transpose(image)
        else:
            yield image


def decoded(data: str | bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """Decodes an image to mode L or RGB, and lists which of GREY, ALPHA and DEEP it was.

    The alpha channel is dropped. 16 bits are divided to 8 bits, since Pillow would clip them.

    Raises:
        Exception: any exception that Pillow raises for a damaged image; ValueError for a mode
            without 8 or 16 bits per channel.
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
    """The image converted to a mode; the same object if it already has this mode."""
    return image if image.mode == mode else image.convert(mode)


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey with 16 bits; some versions of Pillow open such a PNG as mode I."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def is_grey(image: Image.Image) -> bool:
    """Whether the mode of an image or all colours of its palette are grey."""
    if image.mode in PALETTE_MODES:
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES or is_deep(image)


def decoded_into(
    data: str | bytes, image_format: ImageFormat
) -> tuple[np.ndarray, tuple[int, int], tuple[str, ...]]:
    """Decodes an image into a format.

    Returns:
        Pixels (height, width, channels), the original size (width, height) and the properties.

    Raises:
        FormatMismatch: the image does not fit the format.
        Exception: as for `decoded`.
    """
    image, kinds = decoded(data)
    size, target = image.size, (image_format.width, image_format.height)
    grey_only = image_format.channels == 1 and not image_format.to_grey
    if (size != target and not image_format.resize) or (grey_only and image.mode != "L"):
        raise FormatMismatch
    image = converted(image, "L" if image_format.channels == 1 else "RGB")
    if size != target:
        image = ImageOps.fit(image, target)
    return (
        np.asarray(image).reshape(image_format.height, image_format.width, image_format.channels),
        size,
        kinds,
    )


# Maximum number of unreadable images that an error names, and of characters of a reason.
MAX_NAMED, MAX_REASON = 3, 80
# Maximum number of pixels and of images that are decoded before they are stored.
MAX_CHUNK_PIXELS, MAX_CHUNK_IMAGES = 2**23, 512
MAX_THREADS = 8
# Smaller images are decoded faster without threads.
MIN_THREADED_PIXELS = 128 * 128

Source = Callable[[], Iterable[EncodedImage]]
# The return value of `decoded_into`.
Decoded = tuple[np.ndarray, tuple[int, int], tuple[str, ...]]


@dataclass(frozen=True)
class DecodedImages:
    """Images of one shape.

    Attributes:
        pixels: (n, height, width, channels) bytes.
        labels: (n,) int64.
        notes: messages to the user about conversions.
    """

    pixels: Pixels
    labels: np.ndarray
    notes: tuple[str, ...]


@dataclass
class ImageCounts:
    """Number of images by size (width, height), and by property: GREY, ALPHA and DEEP."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)


def read_images(
    source: Source,
    count: int,
    dataset_name: str,
    side: int | None = None,
    channels: int | None = None,
) -> DecodedImages:
    """Decodes all images of a source, in order, into one shape.

    Images that all have the same size keep it. Otherwise every image is cropped at its centre and
    resized by Pillow's `ImageOps.fit` to a square whose side is the median of the shorter sides.
    The result has one channel if every image is grey, else three.

    Args:
        source: returns a new iterator over the images, always in the same order.
        count: number of images.
        dataset_name: name of the data set, for messages.
        side: side of the square in pixels; None derives the size from the images.
        channels: 1 or 3; None derives it from the images.

    Raises:
        InputError: images cannot be decoded, or there is not enough space for them.
    """
    image_format = format_of_first(source, count, dataset_name, side, channels)
    result = None
    # Most data sets have images of a single format and need only one pass.
    with contextlib.suppress(FormatMismatch):
        result = decode_all(source, count, dataset_name, image_format)
    if result is None:
        # Outside of the block above, where the exception would keep the memory of the first pass.
        image_format = common_format(source, side, channels)
        result = decode_all(source, count, dataset_name, image_format)
    pixels, labels, counts = result
    return DecodedImages(pixels, labels, tuple(describe_changes(counts, image_format, channels)))


def format_of_first(
    source: Source, count: int, dataset_name: str, side: int | None, channels: int | None
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
    raise unreadable_images(problems, count, dataset_name)


def common_format(source: Source, side: int | None, channels: int | None) -> ImageFormat:
    """The common format of images that differ, from their headers."""
    sizes, all_grey = set(), True
    shorter = []
    for encoded in source():
        try:
            with opened(encoded.data) as image:
                size, grey = image.size, is_grey(image)
        except Exception:  # noqa: S112, `decode_all` reports all unreadable images
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
    source: Source, count: int, dataset_name: str, image_format: ImageFormat
) -> tuple[Pixels, np.ndarray, ImageCounts]:
    """Decodes all images into a format.

    Returns:
        Pixels, labels, and counts of sizes and properties.

    Raises:
        FormatMismatch: an image does not fit the format.
        InputError: images cannot be decoded, or their number is not `count`.
    """
    pixels = allocate_pixels(
        (count, image_format.height, image_format.width, image_format.channels)
    )
    labels = np.empty(count, np.int64)
    counts, problems, row = ImageCounts(), [], 0
    area = image_format.height * image_format.width
    chunk_size = max(1, min(MAX_CHUNK_IMAGES, MAX_CHUNK_PIXELS // area))
    threads = min(os.cpu_count() or 1, MAX_THREADS) if area >= MIN_THREADED_PIXELS else 0
    encoded = iter(source())
    with ThreadPoolExecutor(max(1, threads)) as pool:
        map_images = pool.map if threads else map
        while chunk := list(islice(encoded, chunk_size)):
            results = map_images(lambda image: try_decode(image, image_format), chunk)
            for image, result in zip(chunk, results, strict=True):
                if row == count:
                    raise InputError(
                        f"{dataset_name} has too many images. Expected {count}, the number in its "
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
        raise unreadable_images(problems, count, dataset_name)
    if row < count:
        raise InputError(
            f"{dataset_name} lacks images. Expected {count}, the number in its metadata. Received: "
            f"{row}."
        )
    return pixels, labels, counts


def try_decode(encoded: EncodedImage, image_format: ImageFormat) -> Decoded | Exception:
    """The decoded image, or the exception that decoding raised."""
    try:
        return decoded_into(encoded.data, image_format)
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        return error


def unreadable_images(
    problems: list[tuple[str, Exception]], count: int, dataset_name: str
) -> InputError:
    """The error for images that cannot be decoded, with the names of the first ones."""
    named = "; ".join(f"{name} ({reason(error)})" for name, error in problems[:MAX_NAMED])
    more = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    return InputError(
        f"{len(problems)} of {count} images of {dataset_name} cannot be read. Expected whole "
        f"images of 8 bits per channel, or grey ones of 16. Received: {named}{more}. Repair or "
        "remove them."
    )


def reason(error: Exception) -> str:
    """The message of an exception, shortened."""
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith("cannot identify image file"):
        return "not an image that Pillow can read"
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."


def describe_changes(
    counts: ImageCounts, image_format: ImageFormat, channels: int | None
) -> Iterator[str]:
    """Messages about what was done to the images."""
    count = sum(counts.sizes.values())
    target = (image_format.width, image_format.height)
    if set(counts.sizes) != {target}:
        by_area = sorted(counts.sizes, key=lambda size: (size[0] * size[1], size))
        first, last = (format_size(size) for size in (by_area[0], by_area[-1]))
        were = f"of {len(by_area)} sizes, from {first} to" if len(by_area) > 1 else "of"
        yield (
            f"images {were} {last} pixels (width x height) were cropped to their centre and "
            f"resized to {format_size(target)}."
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

"""Decodes image files into one array of 8 or 16 bits per channel."""

import contextlib
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from repdyn_keras.datasets.decoding import (
    ALPHA,
    DEEP,
    DEEP_FACTOR,
    FRAMES,
    GREY,
    TURNED,
    FormatMismatch,
    ImageFormat,
    Properties,
    decoded,
    decoded_into,
    header,
)
from repdyn_keras.datasets.images import Pixels, allocate_pixels
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names


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


# Maximum number of unreadable images that an error names, and of characters of a reason.
MAX_NAMED, MAX_REASON = 20, 80
# Maximum number of images that a note names.
MAX_NOTED = 3
# What the first bytes say of a file that is no image.
FIRST_BYTES = (
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page"),
    (rb"\s*<(\?xml|svg|!doctype)", "an XML or SVG file"),
    (rb"version https://git-lfs", "a Git LFS pointer"),
    (rb"....ftyp(heic|heix|mif1|msf1)", "a HEIC image"),
    (rb"....ftypavif", "an AVIF image"),
    (rb"%PDF", "a PDF file"),
    (rb"\0+$", "a file of zeros"),
)
# Backgrounds of images whose alpha channel alone holds content, best first.
BACKGROUNDS = (255, 0, 128)
# Maximum number of pixels and of images that are decoded before they are stored.
MAX_CHUNK_PIXELS, MAX_CHUNK_IMAGES = 2**23, 512
MAX_THREADS = 8
# Smaller images are decoded faster without threads.
MIN_THREADED_PIXELS = 128 * 128

Source = Callable[[], Iterable[EncodedImage]]
# The return value of `decoded_into`.
Converted = tuple[np.ndarray, Properties]


@dataclass(frozen=True)
class DecodedImages:
    """Images of one shape.

    Attributes:
        pixels: (n, height, width, channels) uint8, or uint16 if any image has 16 bits.
        labels: (n,) int64.
        notes: messages to the user about conversions.
    """

    pixels: Pixels
    labels: np.ndarray
    notes: tuple[str, ...]


@dataclass
class ImageCounts:
    """What the images of a data set were before their conversion.

    Attributes:
        sizes: number of images by size (width, height).
        kinds: number of images by property.
        veiled: number of images whose alpha channel has different values.
        empty: brightness of each image whose alpha channel alone holds content.
        extent: smallest and largest value of the images of 16 bits.
        frames: names of images of several frames.
        first_empty: name of the first image whose alpha channel alone holds content.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    veiled: int = 0
    empty: list[float] = field(default_factory=list)
    extent: tuple[int, int] = (65_535, 0)
    frames: list[str] = field(default_factory=list)
    first_empty: str = ""

    def add(self, name: str, image: Properties) -> None:
        """Counts an image."""
        self.sizes[image.size] += 1
        if not image.kinds:
            return
        self.kinds.update(image.kinds)
        self.veiled += image.veiled
        if image.empty is not None:
            self.first_empty = self.first_empty or name
            self.empty.append(image.empty)
        if image.extent is not None:
            low, high = image.extent
            self.extent = min(self.extent[0], low), max(self.extent[1], high)
        if FRAMES in image.kinds:
            self.frames.append(name)

    @property
    def background(self) -> int | None:
        """The background with the most contrast, if alpha holds the content of most images.

        Only images whose alpha channel has different values are considered.
        """
        if 2 * len(self.empty) <= self.veiled:
            return None
        return max(BACKGROUNDS, key=lambda grey: min(abs(v - grey) for v in self.empty))


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
    The result has one channel if every image is grey, else three. It has 16 bits per channel if any
    image has; images of 8 bits are then multiplied by 257.

    Alpha channels are dropped, unless they alone hold the content of most images that have one, as
    in sets of icons: then all images are composited on one background.

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
    background = result[2].background
    if background is not None:
        del result
        image_format = replace(image_format, background=background)
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
            _, image = decoded(encoded.data)
        except Exception as error:  # Pillow's decoders raise exceptions of any type
            problems.append((encoded, error))
            continue
        width, height = (side, side) if side else image.size
        n_channels = channels or (1 if image.grey else 3)
        resize, to_grey, deep = side is not None, channels is not None, DEEP in image.kinds
        return ImageFormat(height, width, n_channels, resize, to_grey, deep)
    raise unreadable_images(problems, count, dataset_name)


def common_format(source: Source, side: int | None, channels: int | None) -> ImageFormat:
    """The common format of images that differ, from their headers."""
    sizes, all_grey, any_deep = set(), True, False
    shorter = []
    for encoded in source():
        try:
            size, grey, deep = header(encoded.data)
        except Exception:  # noqa: S112, `decode_all` reports all unreadable images
            continue
        sizes.add(size)
        shorter.append(min(size))
        all_grey, any_deep = all_grey and grey, any_deep or deep
    n_channels = channels or (1 if all_grey else 3)
    if side is None and len(sizes) == 1:
        width, height = sizes.pop()
        return ImageFormat(height, width, n_channels, True, True, any_deep)
    side = side or round(statistics.median(shorter))
    return ImageFormat(side, side, n_channels, True, True, any_deep)


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
    shape = (count, image_format.height, image_format.width, image_format.channels)
    pixels = allocate_pixels(shape, np.uint16 if image_format.deep else np.uint8)
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
                    problems.append((image, result))
                else:
                    pixels[row], was = result
                    counts.add(image.name, was)
                row += 1
    if problems:
        raise unreadable_images(problems, count, dataset_name)
    if row < count:
        raise InputError(
            f"{dataset_name} lacks images. Expected {count}, the number in its metadata. Received: "
            f"{row}."
        )
    return pixels, labels, counts


def try_decode(encoded: EncodedImage, image_format: ImageFormat) -> Converted | Exception:
    """The decoded image, or the exception that decoding raised."""
    try:
        return decoded_into(encoded.data, image_format)
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        return error


def unreadable_images(
    problems: list[tuple[EncodedImage, Exception]], count: int, dataset_name: str
) -> InputError:
    """The error for images that cannot be decoded, with the names of the first ones by reason."""
    by_reason: dict[str, list[str]] = {}
    for image, error in problems[:MAX_NAMED]:
        by_reason.setdefault(cause(image, error), []).append(image.name)
    named = "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())
    more = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    return InputError(
        f"{len(problems)} of {count} images of {dataset_name} cannot be read. Expected whole "
        f"images of 8 or 16 bits per channel. Received: {named}{more}. Repair, convert or remove "
        "them."
    )


def cause(encoded: EncodedImage, error: Exception) -> str:
    """Why an image cannot be decoded: what its first bytes say, else the message of Pillow."""
    start = encoded.data[:64] if isinstance(encoded.data, bytes) else b""
    if isinstance(encoded.data, str):
        try:
            with Path(encoded.data).open("rb") as file:
                start = file.read(64)
        except OSError as failure:
            return failure.strerror or reason(failure)
    if not start:
        return "an empty file"
    for pattern, what in FIRST_BYTES:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return what
    return reason(error)


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
    yield from describe_alpha(counts, image_format)
    deep = counts.kinds[DEEP]
    if deep:
        low, high = counts.extent
        scaled = f"; those of 8 bits are multiplied by {DEEP_FACTOR}" if deep < count else ""
        yield (
            f"{deep} of {count} images have 16 bits per channel, values {low} to {high}, which are "
            f"kept{scaled}."
        )
    if counts.kinds[TURNED]:
        yield f"{counts.kinds[TURNED]} of {count} images are rotated by their EXIF orientation."
    if counts.frames:
        yield (
            f"{len(counts.frames)} of {count} images have several frames, of which the first is "
            f"read: {format_names(counts.frames, MAX_NOTED)}."
        )


def describe_alpha(counts: ImageCounts, image_format: ImageFormat) -> Iterator[str]:
    """The message about alpha channels."""
    if not counts.kinds[ALPHA]:
        return
    have = f"{counts.kinds[ALPHA]} of {sum(counts.sizes.values())} images have an alpha channel"
    empty = len(counts.empty)
    if image_format.background is not None:
        name = {0: "black", 255: "white"}.get(image_format.background, "grey")
        yield (
            f"{have}, which alone holds the content of {empty} of them: all are composited on "
            f"{name}."
        )
    elif empty:
        yield (
            f"{have}, which is dropped, although it alone holds the content of {empty} of them, "
            f"such as {counts.first_empty}."
        )
    else:
        yield f"{have}, which is dropped."


def format_size(size: tuple[int, int]) -> str:
    """A size (width, height) as text."""
    return f"{size[0]}x{size[1]}"

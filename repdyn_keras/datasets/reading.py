"""Many encoded images as bytes of one shape, and what was done to them."""

import contextlib
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from repdyn_keras.datasets.decoding import (
    ALPHA,
    DEEP,
    GREY,
    Encoded,
    Form,
    OtherForm,
    decoded,
    in_form,
    is_grey,
    opened,
)
from repdyn_keras.datasets.store import room_for
from repdyn_keras.errors import InputError

# Broken images that an error names.
NAMED = 3
# Pixels that are decoded before they are stored, and images at most.
PIXELS_AT_ONCE, IMAGES_AT_ONCE = 2**23, 512
# Threads cost more than they bring with images of fewer pixels.
LEAST_PIXELS = 128 * 128

Source = Callable[[], Iterable[Encoded]]


@dataclass(frozen=True)
class Read:
    """Decoded images.

    Attributes:
        pixels: (n, height, width, channels) bytes, an array or a `FilePixels`.
        labels: (n,) int64.
        notes: what was done to the images that the user should know.
    """

    pixels: object
    labels: np.ndarray
    notes: tuple[str, ...]


@dataclass
class Seen:
    """Of how many images each size (width, height) was, and each of GREY, ALPHA and DEEP."""

    sizes: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)


def read_images(
    source: Source,
    count: int,
    where: str,
    side: int | None = None,
    channels: int | None = None,
) -> Read:
    """Decodes every image, in the order of the source, into one shape.

    Sizes that are all equal stay. Otherwise every image is cropped in its middle and resized, by
    Pillow's `ImageOps.fit`, to a square whose side is the median of the images' shorter sides.
    One channel where every image is grey, else three.

    Args:
        source: begins an iteration over the images, the same each time.
        count: how many there are.
        where: what they are, for messages.
        side: side that all are brought to, in pixels; None for their own.
        channels: 1 or 3; None goes by the images.

    Raises:
        InputError: images that cannot be decoded, or no room for them.
    """
    form = first_form(source, count, where, side, channels)
    filled = None
    with contextlib.suppress(OtherForm):
        filled = fill(source, count, where, form)
    if filled is None:
        # The room of the first attempt is free by now.
        form = common_form(source, side, channels)
        filled = fill(source, count, where, form)
    pixels, labels, seen = filled
    return Read(pixels, labels, tuple(notes_on(seen, form, channels)))


def first_form(
    source: Source, count: int, where: str, side: int | None, channels: int | None
) -> Form:
    """The form of the first image that can be decoded, which most often is that of all."""
    problems = []
    for encoded in source():
        try:
            image, kinds = decoded(encoded.data)
        except Exception as error:  # decoders raise whatever they like
            problems.append((encoded.name, error))
            continue
        width, height = (side, side) if side else image.size
        found = channels or (1 if GREY in kinds else 3)
        return Form(height, width, found, side is not None, channels is not None)
    raise refused(problems, count, where)


def common_form(source: Source, side: int | None, channels: int | None) -> Form:
    """The form for images that differ, by what their files say before they are decoded."""
    sizes, all_grey = set(), True
    shorter = []
    for encoded in source():
        try:
            with opened(encoded.data) as image:
                size, grey = image.size, is_grey(image)
        except Exception:  # noqa: S112, a broken image: decoding names it, with all others
            continue
        sizes.add(size)
        shorter.append(min(size))
        all_grey = all_grey and grey
    found = channels or (1 if all_grey else 3)
    if side is None and len(sizes) == 1:
        width, height = sizes.pop()
        return Form(height, width, found, True, True)
    side = side or round(statistics.median(shorter))
    return Form(side, side, found, True, True)


def fill(source: Source, count: int, where: str, form: Form):
    """Decodes all images into the form: pixels, labels and what was seen.

    Raises:
        OtherForm: an image does not fit.
        InputError: some images cannot be decoded.
    """
    pixels = room_for((count, form.height, form.width, form.channels))
    labels = np.empty(count, np.int64)
    seen, problems, row = Seen(), [], 0
    area = form.height * form.width
    at_once = max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // area))
    threads = min(os.cpu_count() or 1, 8) if area >= LEAST_PIXELS else 0
    encoded = iter(source())
    with ThreadPoolExecutor(max(1, threads)) as pool:
        each = pool.map if threads else map
        while chunk := list(islice(encoded, at_once)):
            for one, result in zip(chunk, each(lambda e: attempt(e, form), chunk), strict=True):
                if row == count:
                    raise InputError(f"{where} holds more than the {count} images it names.")
                labels[row] = one.label
                if isinstance(result, OtherForm):
                    raise result
                if isinstance(result, Exception):
                    problems.append((one.name, result))
                else:
                    pixels[row], size, kinds = result
                    seen.sizes[size] += 1
                    seen.kinds.update(kinds)
                row += 1
    if problems:
        raise refused(problems, count, where)
    if row < count:
        raise InputError(f"{where} names {count} images and holds {row}. Expected all of them.")
    return pixels, labels, seen


def attempt(encoded: Encoded, form: Form):
    """The image in its form, or the error that decoding raised."""
    try:
        return in_form(encoded.data, form)
    except Exception as error:  # decoders raise whatever they like
        return error


def refused(problems: list[tuple[str, Exception]], count: int, where: str) -> InputError:
    """The error for images that cannot be decoded: names the first ones."""
    named = "; ".join(f"{name} ({reason(error)})" for name, error in problems[:NAMED])
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return InputError(
        f"{len(problems)} of {count} images of {where} cannot be read: {named}{more}. Expected "
        "whole images of 8 bits a channel, or grey ones of 16: mend or remove them."
    )


def reason(error: Exception) -> str:
    """An error in a few words."""
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith("cannot identify image file"):
        return "no image that Pillow knows"
    return text if len(text) <= 80 else text[:77] + "..."


def notes_on(seen: Seen, form: Form, channels: int | None):
    """What was done to the images, in sentences."""
    count = sum(seen.sizes.values())
    wanted = (form.width, form.height)
    if set(seen.sizes) != {wanted}:
        by_area = sorted(seen.sizes, key=lambda size: (size[0] * size[1], size))
        first, last = (by_size(size) for size in (by_area[0], by_area[-1]))
        were = f"of {len(by_area)} sizes, from {first} to" if len(by_area) > 1 else "of"
        yield (
            f"images {were} {last} pixels (width x height) were cropped in the middle and resized "
            f"to {by_size(wanted)}."
        )
    grey = seen.kinds[GREY]
    if channels is None and 0 < grey < count:
        yield f"{grey} of {count} images are grey, the others in colour: all are read as RGB."
    if seen.kinds[ALPHA]:
        yield f"{seen.kinds[ALPHA]} of {count} images have an alpha channel, which is dropped."
    if seen.kinds[DEEP]:
        yield f"{seen.kinds[DEEP]} of {count} images have 16 bits a pixel, which are made 8."


def by_size(size: tuple[int, int]) -> str:
    """A size in words."""
    return f"{size[0]}x{size[1]}"

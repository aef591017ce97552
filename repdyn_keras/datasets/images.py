"""Decoded images in memory or in a temporary file, standardized on access."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_bytes

# Maximum number of pixels from which moments are computed at a time.
MAX_CHUNK = 2**25
# Maximum number of images in a chunk: the sum of that many squared bytes fits into 32 bits.
MAX_CHUNK_IMAGES = 2**16
# Decoded images that take more bytes than this are written to a temporary file.
MEMORY_LIMIT = 2 * 2**30


class FilePixels:
    """Pixels in an unnamed temporary file, read on access.

    Images are read with `preadv`, so none stays in the memory of the process. The file is removed
    when the process ends.

    Args:
        shape: (n, height, width, channels).
        dtype: uint8 or uint16.

    Raises:
        InputError: the folder for temporary files has not enough free space.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.uint8):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.image_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        needed = len(self) * self.image_bytes
        self.folder = tempfile.gettempdir()
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise InputError(
                f"Expected {format_bytes(needed)} of free disk space in {self.folder} for "
                f"{len(self)} decoded images: more than {format_bytes(MEMORY_LIMIT)} are not held "
                f"in memory. Received: {format_bytes(free)}. Set TMPDIR to a folder on a larger "
                "disk, or reduce the images by image_size."
            )
        self.file = tempfile.TemporaryFile(prefix="repdyn-", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, row: int, image: np.ndarray) -> None:
        data = memoryview(np.ascontiguousarray(image, self.dtype).data).cast("B")
        offset, done = row * self.image_bytes, 0
        while done < len(data):
            try:
                done += os.pwrite(self.file.fileno(), data[done:], offset + done)
            except OSError as error:
                raise InputError(
                    f"Cannot write decoded images to {self.folder}. Expected free space of "
                    f"{format_bytes(len(self) * self.image_bytes)}. Received: {error.strerror}. "
                    "Set TMPDIR to another folder."
                ) from None

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        if rows.ndim == 0:
            return self[rows[None]][0]
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        # Images that are adjacent in the file are read at once.
        breaks = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
        for start, stop in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            if start < stop:
                self.read_into(images[start:stop], int(rows[start]))
        return images

    def read_into(self, images: np.ndarray, row: int) -> None:
        """Reads consecutive images, starting at `row`, into the array `images`."""
        data = memoryview(images.data).cast("B")
        offset, done = row * self.image_bytes, 0
        while done < len(data):
            count = os.preadv(self.file.fileno(), [data[done:]], offset + done)
            if count == 0:
                raise EOFError(f"The file of decoded images ends at byte {offset + done}.")
            done += count


Pixels = np.ndarray | FilePixels


def allocate_pixels(shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> Pixels:
    """Uninitialized pixels, in a file if they take more bytes than MEMORY_LIMIT.

    Args:
        shape: (n, height, width, channels).
        dtype: uint8 or uint16.
    """
    if int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize > MEMORY_LIMIT:
        return FilePixels(shape, dtype)
    return np.empty(shape, dtype)


class Images:
    """Images in memory or in a file, standardized per channel on access.

    Indexing with a slice, an array of integers or an integer reads only these images and returns
    `(pixels - mean) / deviation` as float32: (k, height, width, channels), or (height, width,
    channels) for an integer.

    Args:
        pixels: (n_all, height, width, channels).
        mean: (channels,) float32.
        deviation: (channels,) float32.
        rows: (n,) indices of these images in `pixels`, in order; None for all.

    Attributes:
        shape: (n, height, width, channels).
        dtype: float32.

    Example:
        >>> images = Images(np.full((2, 1, 1, 1), 5, np.uint8), np.float32([3]), np.float32([2]))
        >>> images[:1].item()
        1.0
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        pixels: Pixels,
        mean: np.ndarray,
        deviation: np.ndarray,
        rows: np.ndarray | None = None,
    ):
        self.pixels = pixels
        self.mean = mean
        self.deviation = deviation
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, channels)."""
        return (len(self), *self.pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.pixels if self.rows is None else self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        chosen = key if self.rows is None else self.rows[key]
        return standardize(self.pixels[chosen], self.mean, self.deviation)


def standardize(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(x - mean) / deviation per channel, as float32."""
    return ((x.astype(np.float32) - mean) / deviation).astype(np.float32)


def pixel_moments(pixels: Pixels, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, as float32; 1 for a deviation of 0.

    Args:
        pixels: (n, height, width, channels); more than 2^25 values are processed in chunks.
        rows: indices of the images to use; None for all.
    """
    if rows is None and isinstance(pixels, np.ndarray) and pixels.size <= MAX_CHUNK:
        mean = pixels.mean(axis=(0, 1, 2), dtype=np.float64)
        deviation = pixels.std(axis=(0, 1, 2), dtype=np.float64)
    else:
        chosen = np.arange(len(pixels)) if rows is None else np.sort(rows)
        is_bytes = pixels.dtype == np.uint8
        mean, deviation = (byte_moments if is_bytes else two_pass_moments)(pixels, chosen)
    deviation[deviation == 0] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def byte_moments(pixels: Pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of bytes, from exact sums in one pass."""
    channels = pixels.shape[-1]
    total, squares = np.zeros((2, channels), np.int64)
    for chunk in chunks(pixels, rows):
        values = chunk.reshape(len(chunk), -1).astype(np.uint32)
        total += (
            values.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
        )
        values *= values
        squares += (
            values.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
        )
    n = len(rows) * pixels.shape[1] * pixels.shape[2]
    # Python integers compute n * sum(x^2) - sum(x)^2 without rounding.
    variances = [n * int(q) - int(s) ** 2 for q, s in zip(squares, total, strict=True)]
    return total / n, np.array([value**0.5 / n for value in variances])


def two_pass_moments(pixels: Pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from float64 sums in two passes."""
    n = len(rows) * pixels.shape[1] * pixels.shape[2]
    mean = sum(chunk.sum(axis=(0, 1, 2), dtype=np.float64) for chunk in chunks(pixels, rows)) / n
    squares = sum(
        np.square(chunk.astype(np.float64) - mean).sum(axis=(0, 1, 2))
        for chunk in chunks(pixels, rows)
    )
    return mean, np.sqrt(squares / n)


def chunks(pixels: Pixels, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The images of `rows`, in chunks of limited size."""
    image_size = int(np.prod(pixels.shape[1:]))
    step = min(max(1, MAX_CHUNK // 4 // image_size), MAX_CHUNK_IMAGES)
    for start in range(0, len(rows), step):
        yield pixels[rows[start : start + step]]

"""Images that are kept as they were read and standardized when they are taken."""

import numpy as np

# Pixels that the moments are computed of at once.
AT_ONCE = 2**25
# Squares of this many bytes fit into 32 bits.
MOST_BYTES = 2**16


class Images:
    """Images in memory or in a file, standardized by channel as they are taken.

    Indexing by a slice, an array of integers or an integer reads these images alone and returns
    `(pixels - mean) / deviation` as float32: (k, height, width, channels), or (height, width,
    channels) for an integer.

    Args:
        pixels: (n_all, height, width, channels), an array or a `FilePixels`.
        mean, deviation: (channels,) float32.
        rows: (n,) which of the pixels these images are, in order; None for all.

    Attributes:
        shape: (n, height, width, channels).
        dtype: float32.

    Example:
        >>> images = Images(np.full((2, 1, 1, 1), 5, np.uint8), np.float32([3]), np.float32([2]))
        >>> images[:1].item()
        1.0
    """

    dtype = np.dtype(np.float32)

    def __init__(self, pixels, mean: np.ndarray, deviation: np.ndarray, rows=None):
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

    def __getitem__(self, key) -> np.ndarray:
        chosen = key if self.rows is None else self.rows[key]
        return standardize(self.pixels[chosen], self.mean, self.deviation)


def standardize(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(x - mean) / deviation by channel, as float32."""
    return ((x.astype(np.float32) - mean) / deviation).astype(np.float32)


def pixel_moments(pixels, rows=None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (1 where constant) of each channel, as float32.

    Args:
        pixels: (n, height, width, channels), an array or a `FilePixels`; of more than 2^25 numbers
            only parts are held at once.
        rows: which of the images count; None for all.
    """
    if rows is None and isinstance(pixels, np.ndarray) and pixels.size <= AT_ONCE:
        mean = pixels.mean(axis=(0, 1, 2), dtype=np.float64)
        deviation = pixels.std(axis=(0, 1, 2), dtype=np.float64)
    else:
        chosen = np.arange(len(pixels)) if rows is None else np.sort(rows)
        exact = pixels.dtype == np.uint8
        mean, deviation = (byte_moments if exact else two_pass_moments)(pixels, chosen)
    deviation[deviation == 0] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def byte_moments(pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel of bytes, by exact sums in one pass."""
    channels = pixels.shape[-1]
    total, squares = np.zeros((2, channels), np.int64)
    for part in parts(pixels, rows):
        wide = part.reshape(len(part), -1).astype(np.uint32)
        total += wide.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
        wide *= wide
        squares += (
            wide.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
        )
    n = len(rows) * pixels.shape[1] * pixels.shape[2]
    # Whole numbers of any size: the difference loses nothing.
    spread = [n * int(q) - int(s) ** 2 for q, s in zip(squares, total, strict=True)]
    return total / n, np.array([value**0.5 / n for value in spread])


def two_pass_moments(pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel of any numbers, by float64 sums in two passes."""
    n = len(rows) * pixels.shape[1] * pixels.shape[2]
    mean = sum(part.sum(axis=(0, 1, 2), dtype=np.float64) for part in parts(pixels, rows)) / n
    squares = sum(
        np.square(part.astype(np.float64) - mean).sum(axis=(0, 1, 2))
        for part in parts(pixels, rows)
    )
    return mean, np.sqrt(squares / n)


def parts(pixels, rows: np.ndarray):
    """The images of `rows`, some at a time."""
    by_image = int(np.prod(pixels.shape[1:]))
    step = min(max(1, AT_ONCE // 4 // by_image), MOST_BYTES)
    for start in range(0, len(rows), step):
        yield pixels[rows[start : start + step]]

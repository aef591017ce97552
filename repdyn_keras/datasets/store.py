"""Room for decoded images: memory up to a limit, a temporary file beyond it."""

import os
import shutil
import tempfile

import numpy as np

from repdyn_keras.errors import InputError

# Bytes of decoded images that are held in memory; more go to a temporary file.
MEMORY_LIMIT = 2 * 2**30


class FilePixels:
    """Bytes of images in a temporary file without a name, read as they are asked for.

    Reads go by `pread`: no images stay in the process's memory, and the file is gone with it.

    Args:
        shape: (n, height, width, channels).

    Raises:
        InputError: the folder for temporary files has no room for them.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.image_bytes = int(np.prod(shape[1:]))
        needed = len(self) * self.image_bytes
        self.folder = tempfile.gettempdir()
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise InputError(
                f"{len(self)} decoded images take {gib(needed)}, beyond the {gib(MEMORY_LIMIT)} "
                f"held in memory, and {self.folder} has {gib(free)} free. Expected room there: set "
                "TMPDIR to a folder on a larger disk, or make them smaller by image_size."
            )
        self.file = tempfile.TemporaryFile(prefix="repdyn-", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, row: int, image: np.ndarray) -> None:
        data = memoryview(np.ascontiguousarray(image, self.dtype)).cast("B")
        at, done = row * self.image_bytes, 0
        while done < len(data):
            try:
                done += os.pwrite(self.file.fileno(), data[done:], at + done)
            except OSError as error:
                raise InputError(
                    f"Cannot write decoded images to {self.folder}: {error.strerror}. Expected "
                    f"room for {gib(len(self) * self.image_bytes)}: set TMPDIR to another folder."
                ) from None

    def __getitem__(self, key) -> np.ndarray:
        rows = np.arange(len(self))[key]
        if rows.ndim == 0:
            return self[rows[None]][0]
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        # Neighbours in the file are read at once.
        breaks = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
        for start, stop in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            if start < stop:
                self.read_into(images[start:stop], int(rows[start]))
        return images

    def read_into(self, images: np.ndarray, row: int) -> None:
        """Fills `images` with those from `row` on."""
        data = memoryview(images).cast("B")
        at, done = row * self.image_bytes, 0
        while done < len(data):
            got = os.preadv(self.file.fileno(), [data[done:]], at + done)
            if got == 0:
                raise EOFError(f"The file of decoded images ends at byte {at + done}.")
            done += got


def room_for(shape: tuple[int, ...]):
    """Room for bytes (n, height, width, channels): an array, or a `FilePixels` beyond the limit."""
    if int(np.prod(shape, dtype=object)) > MEMORY_LIMIT:
        return FilePixels(shape)
    return np.empty(shape, np.uint8)


def gib(count: int) -> str:
    """A number of bytes, to be read."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**27 else f"{count / 2**20:.1f} MiB"

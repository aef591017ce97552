"""Numbers of a page in one compressed block, which the page's script reads back.

The block is a little-endian uint32 with the length of a JSON header, the header, zeros up to a
multiple of four bytes, and the arrays one after the other. It is compressed by gzip and written in
base64, so that no text in it can be taken for markup.
"""

import base64
import gzip
import json
import struct
from typing import Any

import numpy as np

# Types of arrays by their names in the page's script.
DTYPES = {"uint8": "<u1", "uint16": "<u2", "float32": "<f4"}
ALIGNMENT = 4


class Payload:
    """Collects arrays, and packs them with a header.

    Attributes:
        arrays: the place of every array, by name: dtype, shape, and offset in bytes.
    """

    def __init__(self):
        self.arrays: dict[str, dict[str, Any]] = {}
        self._data = bytearray()

    def add(self, name: str, values: np.ndarray) -> None:
        """Adds an array of the dtype uint8, uint16 or float32."""
        dtype = str(values.dtype)
        place = {"dtype": dtype, "shape": list(values.shape), "offset": len(self._data)}
        self.arrays[name] = place
        self._data += np.ascontiguousarray(values, DTYPES[dtype]).tobytes()
        self._data += bytes(-len(self._data) % ALIGNMENT)

    def packed(self, header: dict[str, Any]) -> str:
        """The block as text: the header, with the places of all arrays, and the arrays."""
        text = json.dumps({**header, "arrays": self.arrays}, allow_nan=False).encode("utf-8")
        start = struct.pack("<I", len(text)) + text
        start += bytes(-len(start) % ALIGNMENT)
        # No time stamp: the same run gives the same page.
        return base64.b64encode(gzip.compress(start + bytes(self._data), mtime=0)).decode("ascii")


def float32(values: np.ndarray) -> np.ndarray:
    """Values as float32."""
    return np.asarray(values, np.float32)


def triangle(values: np.ndarray) -> np.ndarray:
    """The upper triangles (..., n (n + 1) / 2) of symmetric matrices (..., n, n), row by row."""
    rows, columns = np.triu_indices(values.shape[-1])
    return float32(values[..., rows, columns])


def class_indices(maps: np.ndarray) -> np.ndarray:
    """Classes in the smallest type; the maximum of either type is "undefined"."""
    undefined = np.iinfo(maps.dtype).max
    defined = maps[maps != undefined]
    dtype = np.uint8 if not defined.size or defined.max() < np.iinfo(np.uint8).max else np.uint16
    return np.where(maps == undefined, np.iinfo(dtype).max, maps).astype(dtype)

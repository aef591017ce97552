"""A stratified draw from data that is read once and may be larger than the memory."""

import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.recording.inputs import as_labels, count, dense, taken
from repdyn_keras.recording.sampling.data_sources import Source, source_of
from repdyn_keras.text import format_names, format_shape

# Times as many samples are kept as are drawn, while the numbers of the classes are not known yet.
RESERVE = 2
# Samples of each class that are kept at least.
MIN_PER_CLASS = 2
HASH_RANGE = 2.0**64
LABEL_FREE = "Without labels, labelled=False records fingerprints only."


@dataclass(frozen=True)
class Samples:
    """Samples that were drawn from data.

    Attributes:
        x: (n, ...) images, or a structure of arrays for several inputs.
        y: (n,) int64 labels; None without labels.
        total: number of samples in the data.
        source: what they were drawn from.
    """

    x: Any
    y: np.ndarray | None
    total: int
    source: Source

    @property
    def description(self) -> str:
        """What was taken, for a message."""
        classes = 0 if self.y is None else len(np.unique(self.y))
        strata = f", stratified over {classes} classes" if classes > 1 else ""
        batches = "1 batch" if self.source.batches == 1 else f"{self.source.batches} batches"
        return (
            f"took {count(self.x)} of {self.total} samples of the {self.source.kind} "
            f"({batches}){strata}"
        )

    def first(self, n: int) -> "Samples":
        """The first of these samples, which are a stratified draw, too."""
        y = None if self.y is None else self.y[:n]
        return Samples(taken(self.x, slice(n)), y, self.total, self.source)


def draw(
    data: Any, n: int, seed: int, name: str, *, labelled: bool = True, output: str | None = None
) -> Samples:
    """Draws samples at random, in proportion to the classes; the same ones in whatever order.

    Every sample has two random numbers u and v, a hash of its values and the seed. It gets the
    position (rank of its u within its class + v) / size of the class, and the n smallest positions
    are drawn. While the data is read, the samples with the 2 n smallest u are kept, and those with
    the 2 smallest of each class.

    Args:
        data: a `tf.data.Dataset`, a `keras.utils.PyDataset` or a torch `DataLoader` of batches
            (x, y) or (x, y, weights), as `fit` takes them.
        n: number of samples to draw.
        seed: seed of the draw.
        name: name of the data in messages.
        labelled: whether to use the labels.
        output: key of the labels, where those of several outputs are in a dict.

    Raises:
        InputError: the data does not tell its length, holds no labels or other labels than classes,
            or its samples have no common shape.
    """
    source = source_of(data, name)
    reservoir = Reservoir(RESERVE * n, seed)
    for batch in source.read():
        x, y = parts(batch, source, name, labelled, output)
        for index, label in enumerate(np.zeros(count(x), int) if y is None else y):
            reservoir.add(taken(x, index), int(label))
    if not reservoir.total:
        raise InputError(f"Expected {name} with samples. Received: a {source.kind} without any.")
    chosen = sorted(reservoir.positions())[:n]
    samples = [sample for *_, sample in chosen]
    labels = np.array([label for _, _, label, _ in chosen]) if labelled else None
    return Samples(stacked(samples, name), labels, reservoir.total, source)


class Kept(NamedTuple):
    """A sample that may be drawn, as an entry of a heap with the largest u first.

    Attributes:
        negative_u: -u.
        order: minus its number in the order of reading, which decides between equal u.
        v: the second random number.
        label: its class.
        digest: hash of its values.
        sample: its arrays.
    """

    negative_u: float
    order: int
    v: float
    label: int
    digest: bytes
    sample: Any


class Reservoir:
    """Samples that may be drawn.

    Args:
        size: number of samples to keep, beside those of rare classes.
        seed: seed of the draw.

    Attributes:
        total: number of all samples.
    """

    def __init__(self, size: int, seed: int):
        self._size, self._seed = size, seed
        self.total = 0
        self._counts: Counter[int] = Counter()
        # The samples with the smallest u, and the smallest of the others of each class.
        self._kept: list[Kept] = []
        self._spare: dict[int, list[Kept]] = {}
        # How many samples of the same values are kept, by their hash.
        self._copies: Counter[bytes] = Counter()

    def add(self, sample: Any, label: int) -> None:
        """Keeps a sample if it may be drawn."""
        digest = hash_of(keras.tree.flatten(sample), self._seed)
        copies = self._copies[digest]
        # A copy of a kept sample has random numbers of its own.
        numbers = hash_of([np.frombuffer(digest, np.uint8)], copies) if copies else digest
        u, v = (float(each) / HASH_RANGE for each in np.frombuffer(numbers, "<u8"))
        # A copy of the arrays does not keep the batch in memory.
        arrays = keras.tree.map_structure(np.array, sample)
        entry = Kept(-u, -self.total, v, label, digest, arrays)
        self.total += 1
        self._counts[label] += 1
        self._copies[digest] += 1
        left = pushed(self._kept, entry, self._size)
        if left is not None:
            left = pushed(self._spare.setdefault(left.label, []), left, MIN_PER_CLASS)
        if left is not None:
            self._copies[left.digest] -= 1
            if not self._copies[left.digest]:
                del self._copies[left.digest]

    def positions(self) -> Iterator[tuple[float, int, int, Any]]:
        """Position, a number that decides between equal ones, label and sample of each."""
        by_class: dict[int, list[Kept]] = {}
        for entry in itertools.chain(self._kept, *self._spare.values()):
            by_class.setdefault(entry.label, []).append(entry)
        number = 0
        for label, entries in sorted(by_class.items()):
            for rank, entry in enumerate(sorted(entries, reverse=True)):
                yield (rank + entry.v) / self._counts[label], number, label, entry.sample
                number += 1


def pushed(heap: list[Kept], entry: Kept, size: int) -> Kept | None:
    """Adds an entry to a heap of limited size; returns the one that is left out, if any."""
    if len(heap) < size:
        heapq.heappush(heap, entry)
        return None
    return heapq.heappushpop(heap, entry)


def hash_of(arrays: list, seed: int) -> bytes:
    """16 bytes that depend on the values of arrays and the seed alone."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def stacked(samples: list, name: str) -> Any:
    """Samples as one structure of arrays."""
    flat = [keras.tree.flatten(sample) for sample in samples]
    for column in zip(*flat, strict=True):
        shapes = sorted({array.shape for array in column})
        if len(shapes) > 1:
            raise InputError(
                f"Expected samples of one shape in {name}. Received: "
                f"{format_names(map(format_shape, shapes))}. Resize or pad them."
            )
    return keras.tree.map_structure(lambda *arrays: np.stack(arrays), *samples)


def parts(
    batch: Any, source: Source, name: str, labelled: bool, output: str | None
) -> tuple[Any, np.ndarray | None]:
    """The images and the labels of a batch as NumPy arrays."""
    if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= 3:
        if labelled:
            raise InputError(
                f"Expected {name} of batches (x, y), or (x, y, weights), as fit takes them. "
                f"Received: a {source.kind} without labels, of {shape_of(batch)}. {LABEL_FREE}"
            )
        x, y = batch[0] if isinstance(batch, tuple) and len(batch) == 1 else batch, None
    else:
        x, y = batch[:2]
    arrays = keras.tree.map_structure(lambda each: dense(each, name), x)
    y = y if y is None or isinstance(y, dict | list | tuple) else dense(y, f"labels of {name}")
    flat = keras.tree.flatten(arrays)
    if not flat or any(array.dtype == object for array in flat):
        raise InputError(
            f"Expected {name} of batches with arrays. Received: a {source.kind} of {shape_of(x)}."
        )
    is_single = isinstance(y, np.ndarray) and y.ndim == 0
    if is_single or any(array.ndim == 0 for array in flat):
        raise InputError(
            f"Expected {name} in batches. Received: a {source.kind} of single samples, such as "
            f"{shape_of(x)}. Call batch(size) on it."
        )
    lengths = {len(array) for array in flat}
    if len(lengths) > 1:
        raise InputError(
            f"Expected arrays of one length in a batch of {name}. Received: arrays of "
            f"{format_names(sorted(lengths))} entries."
        )
    return arrays, classes(y, count(arrays), name, output) if labelled else None


def classes(y: Any, n: int, name: str, output: str | None) -> np.ndarray:
    """(n,) labels of a batch."""
    if isinstance(y, dict):
        if output not in y:
            raise InputError(
                f"Expected output=... as a key of the labels in {name}: {format_names(y)}. "
                f"Received: output={output!r}."
            )
        y = y[output]
    if not hasattr(y, "shape"):
        raise InputError(
            f"Expected labels of {name} as one array, or as a dict with output=... as a key. "
            f"Received: {shape_of(y)}. {LABEL_FREE}"
        )
    array = dense(y, f"labels of {name}")
    return np.zeros(0, np.int64) if not n else as_labels(array, n, f"labels of {name}")


def shape_of(structure: Any) -> str:
    """The shapes of a structure, for a message."""
    flat = keras.tree.flatten(structure)
    return format_names(
        format_shape(x.shape) if hasattr(x, "shape") else type(x).__name__ for x in flat
    )

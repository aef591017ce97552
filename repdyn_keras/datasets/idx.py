"""IDX files of images and labels, as of MNIST."""

import contextlib
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from repdyn_keras.config import usable_path
from repdyn_keras.datasets.archives import axis_order, describe_unused
from repdyn_keras.datasets.folder import list_entries
from repdyn_keras.datasets.images import Pixels, allocate_pixels
from repdyn_keras.datasets.load import RawData, describe_split, stratified_split
from repdyn_keras.datasets.reading import reason
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, format_shape

TRAIN, TEST, IMAGES, LABELS = "train", "test", "images", "labels"
NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_.](?P<kind>images[-_.]idx[34]|labels[-_.]idx1)"
    r"[-_.]ubyte(\.gz)?",
    re.IGNORECASE,
)
LAYOUT = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte and, unless test images are split off, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or .gz"
)
# The bytes of a header after two zeros: the type of the values, then the number of axes.
UNSIGNED_BYTES = 0x08
VALUE_TYPES = {
    UNSIGNED_BYTES: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
AXES = {IMAGES: (3, 4), LABELS: (1,)}
GZIP_START = b"\x1f\x8b"
# Number of bytes that are read at a time while the length of a file is measured.
CHUNK_BYTES = 2**20
# Maximum number of names of files in a message.
MAX_FILES = 12

Files = dict[tuple[str, str], Path]


def idx(path: str, seed: int, test_share: float) -> RawData:
    """The images and labels of a folder of IDX files.

    Source: LeCun, Cortes and Burges 1998, The MNIST database, which defines the format.

    Args:
        path: the folder, as for `find_idx_files`.
        seed: seed of the split, used if the folder has no test files.
        test_share: share of the test images, used if the folder has no test files.

    Raises:
        InputError: files are missing, damaged or not IDX files of bytes, or do not fit together.
    """
    files = find_idx_files(path)
    shapes = {key: checked_shape(file, key[1]) for key, file in files.items()}
    parts = [part for part in (TRAIN, TEST) if (part, IMAGES) in files]
    for part in parts:
        n_images, n_labels = (shapes[part, kind][0] for kind in (IMAGES, LABELS))
        if n_images != n_labels:
            raise InputError(
                f"{path}: {files[part, LABELS].name} does not fit {files[part, IMAGES].name}. "
                f"Expected one label per image. Received: {n_labels} labels of {n_images} images."
            )
    image_shapes = [shapes[part, IMAGES][1:] for part in parts]
    if len(set(image_shapes)) > 1:
        names = " and ".join(files[part, IMAGES].name for part in parts)
        raise InputError(
            f"{path}: {names} do not fit together. Expected images of the same size in both. "
            f"Received: {' and '.join(map(format_shape, image_shapes))}."
        )
    channels_first = False
    notes: list[str] = []
    if len(image_shapes[0]) == 3:
        channels_first, notes = axis_order(image_shapes[0], path)
    pixels = [
        read_pixels(files[part, IMAGES], shapes[part, IMAGES], channels_first) for part in parts
    ]
    labels = [read_labels(files[part, LABELS], shapes[part, LABELS]) for part in parts]
    n_classes = max(int(each.max()) for each in labels) + 1
    train_rows = test_rows = None
    if len(parts) == 1:
        (all_labels,) = labels
        train_rows, test_rows = stratified_split(
            all_labels, test_share, seed, range(n_classes), path
        )
        pixels, labels = pixels * 2, [all_labels[train_rows], all_labels[test_rows]]
        notes.append(describe_split(path, len(test_rows), len(all_labels), test_share))
    return RawData(
        train=pixels[0],
        y_train=labels[0],
        test=pixels[1],
        y_test=labels[1],
        n_classes=n_classes,
        train_rows=train_rows,
        test_rows=test_rows,
        notes=(*notes, *describe_unused(labels[0], n_classes, None, path)),
    )


def find_idx_files(path: str) -> Files:
    """The IDX files of a folder by part ("train" or "test") and kind ("images" or "labels").

    Names are those of MNIST, `train-images-idx3-ubyte` and so on, with or without `.gz`, with dots
    or underscores in place of dashes, with `test` in place of `t10k`, and with a common prefix, as
    in `emnist-letters-train-images-idx3-ubyte`. Of a file with and without `.gz`, the plain one is
    used. Other files are ignored.

    Args:
        path: the folder.

    Returns:
        Paths of two files, or of four if the folder has a test part.

    Raises:
        InputError: there is no such folder, files are missing, or several have the same meaning.
    """
    root = usable_path(path)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise InputError(
            f"Expected a folder of IDX files: {LAYOUT}. Received: {root}, which {problem}."
        )
    names = [entry.name for entry in list_entries(str(root)) if entry.is_file()]
    sets: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name in names:
        if match := NAME.fullmatch(name):
            part = TRAIN if match["part"].lower() == TRAIN else TEST
            kind = IMAGES if match["kind"].lower().startswith(IMAGES) else LABELS
            if name.lower().endswith(".gz") and name[: -len(".gz")] in names:
                continue
            sets.setdefault(match["prefix"], {}).setdefault((part, kind), []).append(name)
    whole = [each for each in sets.values() if {(TRAIN, IMAGES), (TRAIN, LABELS)} <= set(each)]
    if len(whole) > 1:
        trains = format_names(each[TRAIN, IMAGES][0] for each in whole)
        raise InputError(
            f"{path} has several data sets. Expected one: {LAYOUT}. Received: {trains}. Move each "
            "into a folder of its own."
        )
    found = whole[0] if whole else max(sets.values(), key=len, default={})
    has_test = (TEST, IMAGES) in found or (TEST, LABELS) in found
    missing = [
        f"{part} {kind}"
        for part in ((TRAIN, TEST) if has_test else (TRAIN,))
        for kind in (IMAGES, LABELS)
        if (part, kind) not in found
    ]
    if missing:
        raise InputError(
            f"{path} lacks {' and '.join(missing)}. Expected IDX files: {LAYOUT}. Received: "
            f"{format_names(names, MAX_FILES) or 'no files'}."
        )
    for (part, kind), several in found.items():
        if len(several) > 1:
            raise InputError(
                f"{path} has several files of {part} {kind}. Expected one of each: {LAYOUT}. "
                f"Received: {format_names(several)}. Remove or rename all but one."
            )
    return {key: root / name for key, (name,) in found.items()}


@contextlib.contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """A file, decompressed if it begins as gzip does; its name decides nothing.

    Raises:
        InputError: it cannot be opened, or reading inside the context fails.
    """
    try:
        with file.open("rb") as raw:
            is_packed = raw.read(len(GZIP_START)) == GZIP_START
            raw.seek(0)
            with cast(IO[bytes], gzip.open(raw)) if is_packed else raw as content:
                yield content
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise InputError(
            f"Cannot read {file}. Expected a whole IDX file, plain or compressed by gzip. "
            f"Received: {why.rstrip('.')}."
        ) from None


def checked_shape(file: Path, kind: str) -> tuple[int, ...]:
    """The shape in the header of a file that holds as many bytes as the header says.

    Nothing is allocated by the header: the bytes are counted first.

    Args:
        file: the file.
        kind: "images" or "labels".

    Raises:
        InputError: the header is another one, or the file is longer or shorter.
    """
    axes = AXES[kind]
    expected = f"{VALUE_TYPES[UNSIGNED_BYTES]} of {' or '.join(map(str, axes))} axes, magic " + (
        " or ".join(f"0x{UNSIGNED_BYTES << 8 | n:08x}" for n in axes)
    )
    with opened(file) as content:
        magic = content.read(4)
        if len(magic) < 4 or magic[:3] != bytes([0, 0, UNSIGNED_BYTES]) or magic[3] not in axes:
            raise InputError(
                f"{file} is not an IDX file of {kind}. Expected {expected}. Received: "
                f"{describe_magic(magic)}."
            )
        sizes = content.read(4 * magic[3])
        shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
        if len(sizes) == 4 * magic[3] and 0 in shape:
            raise InputError(
                f"{file} is empty. Expected at least one of its {kind}. Received: shape "
                f"{format_shape(shape)}."
            )
        header = 4 + 4 * magic[3]
        # Python integers: the product of hostile sizes exceeds 64 bits.
        values = int(np.prod(shape, dtype=object))
        length = 4 + len(sizes) + count_bytes(content, values + 1)
    if len(sizes) < 4 * magic[3] or length != header + values:
        more = length > header + values
        what = f"at least {header}" if len(sizes) < 4 * magic[3] else str(header + values)
        raise InputError(
            f"{file} {'is too long' if more else 'is truncated'}. Expected {what} bytes, of which "
            f"the header takes {header}. Received: {'more' if more else f'{length} bytes'}."
        )
    return shape


def describe_magic(magic: bytes) -> str:
    """What the first four bytes of a file say, for messages."""
    if len(magic) < 4:
        return f"a file of {len(magic)} bytes"
    if magic[:2] == b"\0\0" and magic[2] in VALUE_TYPES:
        return f"magic 0x{magic.hex()}, {VALUE_TYPES[magic[2]]} of {magic[3]} axes"
    return f"magic 0x{magic.hex()}, which is no IDX file"


def count_bytes(content: IO[bytes], most: int) -> int:
    """The number of bytes that are left, counted up to `most`."""
    count = 0
    while count < most and (chunk := content.read(min(CHUNK_BYTES, most - count))):
        count += len(chunk)
    return count


def read_pixels(file: Path, shape: tuple[int, ...], channels_first: bool) -> Pixels:
    """The images of a file, (n, height, width, channels) uint8.

    Args:
        file: the file, whose length was checked.
        shape: the shape in its header.
        channels_first: whether the axis of channels comes before height and width.
    """
    n, *image = shape
    if len(image) == 2:
        image = [*image, 1]
    last = [*image[1:], image[0]] if channels_first else image
    pixels = allocate_pixels((n, *last))
    with opened(file) as content:
        content.read(4 + 4 * len(shape))
        for row in range(n):
            data = content.read(int(np.prod(image)))
            values = np.frombuffer(data, np.uint8).reshape(image)
            pixels[row] = np.moveaxis(values, 0, -1) if channels_first else values
    return pixels


def read_labels(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The labels of a file whose length was checked, (n,) int64."""
    with opened(file) as content:
        content.read(4 + 4 * len(shape))
        return np.frombuffer(content.read(shape[0]), np.uint8).astype(np.int64)

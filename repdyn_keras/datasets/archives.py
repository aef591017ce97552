"""NumPy archives of images and labels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repdyn_keras.config import usable_path
from repdyn_keras.datasets.load import RawData, describe_split, stratified_split
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, format_shape

# The squares of larger pixel values overflow float32.
MAX_PIXEL = 1e18
MAX_LABEL = 65_534
CANONICAL = {
    ("train", "images"): "x_train",
    ("train", "labels"): "y_train",
    ("test", "images"): "x_test",
    ("test", "labels"): "y_test",
    ("", "images"): "x",
    ("", "labels"): "y",
}
ARRAY_NAMES = "x_train, y_train, x_test, y_test"
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}
KINDS = {
    **dict.fromkeys(("x", "data", "image", "images", "imgs", "pixels"), "images"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "labels"),
}
# Words that are written together, as in Xtrain.
JOINED = re.compile(rf"([xy])({'|'.join(PARTS)})|({'|'.join(PARTS)})([xy])")
# Numbers of channels by which the axis of channels is recognized: grey, colour, colour and alpha.
# A last axis of two is one of channels as well, rather than images that are two pixels wide.
CHANNELS, LAST_CHANNELS = (1, 3, 4), (1, 2, 3, 4)


@dataclass(frozen=True)
class Part:
    """Images and labels of one part of an archive, and the names of their arrays."""

    images: np.ndarray
    labels: np.ndarray
    images_name: str
    labels_name: str


def npz(path: str, seed: int, test_share: float) -> RawData:
    """The images and labels of a NumPy archive.

    The arrays are recognized by their names: x_train, y_train, x_test and y_test, or others in use,
    such as train_images and train_labels. Without a test part, the validation part is used for
    testing. Arrays without parts, such as x and y, are split.

    Args:
        path: the archive.
        seed: seed of the split, used if the archive has none.
        test_share: share of the test images, used if the archive has no split.

    Raises:
        InputError: the archive cannot be read, or its arrays are not images and labels.
    """
    parts, notes = read_archive(usable_path(path), path)
    images = [checked_images(part, path) for part in parts]
    if len(parts) > 1 and images[0].shape[1:] != images[1].shape[1:]:
        raise InputError(
            f"{path}: {parts[0].images_name} and {parts[1].images_name} do not fit together. "
            "Expected the same (height, width, channels) in both. Received: "
            f"{images[0].shape[1:]} and {images[1].shape[1:]}."
        )
    images, axis_notes = channels_last(images, path)
    labels, n_classes, class_names, label_notes = class_labels(parts, path)
    notes += axis_notes + label_notes
    train_rows = test_rows = None
    if len(parts) == 1:
        names = class_names or range(n_classes)
        (all_labels,) = labels
        train_rows, test_rows = stratified_split(all_labels, test_share, seed, names, path)
        images, labels = images * 2, [all_labels[train_rows], all_labels[test_rows]]
        notes.append(describe_split(path, len(test_rows), len(all_labels), test_share))
    notes += describe_unused(labels[0], n_classes, class_names, path)
    return RawData(
        train=images[0],
        y_train=labels[0],
        test=images[1],
        y_test=labels[1],
        n_classes=n_classes,
        train_rows=train_rows,
        test_rows=test_rows,
        class_names=class_names,
        notes=tuple(notes),
    )


def describe_unused(
    labels: np.ndarray, n_classes: int, class_names: Sequence[str] | None, path: str
) -> list[str]:
    """A note about the classes without a training image; none if there are no such classes.

    Args:
        labels: (n,) labels of the training images.
        n_classes: number of classes.
        class_names: names of the classes; None if they have none.
        path: the data set, for the note.
    """
    unused = sorted(set(range(n_classes)) - set(np.unique(labels).tolist()))
    if not unused:
        return []
    shown = [class_names[label] for label in unused] if class_names else unused
    return [f"{path}: no training image has the label {format_names(shown)}, of {n_classes}."]


def read_archive(file: Path, path: str) -> tuple[list[Part], list[str]]:
    """Reads the training and the test part, or the only part, of an archive.

    Args:
        file: the archive.
        path: the archive as the user wrote it, for messages.

    Returns:
        The parts, and notes about the arrays that are used.
    """
    expected = f"a NumPy archive (.npz) of the arrays {ARRAY_NAMES}, or x, y"
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                f"Expected {expected}, written by numpy.savez. Received: {path}, a single array."
            )
        with archive:
            chosen = choose_arrays(archive.files, path, expected)
            parts = [
                Part(np.asarray(archive[images]), np.asarray(archive[labels]), images, labels)
                for images, labels in chosen
            ]
            others = [name for name in archive.files if name not in {n for p in chosen for n in p}]
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"No file {path}. Expected {expected}. Received: {path}.") from None
    except Exception as error:  # damaged archives raise whatever their reader raises
        raise InputError(
            f"Cannot read {path}. Expected a whole NumPy archive (.npz) of plain number arrays, "
            f"written by numpy.savez. Received: {error}."
        ) from None
    notes = []
    used = [name for pair in chosen for name in pair]
    if used != list(CANONICAL.values())[:4]:
        notes.append(f"{path}: the arrays {', '.join(used)} are used.")
    if others:
        notes.append(f"{path}: other arrays were ignored: {format_names(others)}.")
    return parts, notes


def choose_arrays(names: Sequence[str], path: str, expected: str) -> list[tuple[str, str]]:
    """Names of images and labels: of the training and the test part, or of the only part.

    Args:
        names: the names of all arrays.
        path: the archive, for messages.
        expected: what is expected, for messages.

    Raises:
        InputError: arrays are missing, or two names mean the same.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        meaning = meaning_of(name)
        if meaning is not None:
            found.setdefault(meaning, []).append(name)

    def complete(part: str) -> bool:
        return (part, "images") in found and (part, "labels") in found

    named = {part for part, _ in found}
    train = "" if "" in named and "train" not in named else "train"
    test = next((part for part in ("test", "validation") if complete(part)), None)
    # Arrays without a test part are split, unless their names say that they are one part of two.
    parts = [train, test or "test"] if train or test else [train]
    keys = [(part, kind) for part in parts for kind in ("images", "labels")]
    missing = [CANONICAL[key] for key in keys if key not in found]
    if missing:
        raise InputError(
            f"{path} lacks {', '.join(missing)}. Expected {expected}. Received: "
            f"{format_names(names) or 'none'}."
        )
    for key in keys:
        if len(found[key]) > 1:
            raise InputError(
                f"{path} has several arrays of {' '.join(key).strip()}. Expected {expected}. "
                f"Received: {', '.join(found[key])}. Remove or rename all but one."
            )
    return [(found[part, "images"][0], found[part, "labels"][0]) for part in parts]


def meaning_of(name: str) -> tuple[str, str] | None:
    """Part ("" if none) and kind ("images" or "labels") of an array by its name, else None.

    Example:
        >>> meaning_of("train_images"), meaning_of("X_test"), meaning_of("weights")
        (('train', 'images'), ('test', 'images'), None)
    """
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    words = []
    for word in re.split(r"[\W_]+", spaced):
        joined = JOINED.fullmatch(word)
        words += [part for part in joined.groups() if part] if joined else [word]
    parts = [PARTS[word] for word in words if word in PARTS]
    kinds = [KINDS[word] for word in words if word in KINDS]
    if len(kinds) != 1 or len(parts) > 1 or len(words) > len(kinds) + len(parts):
        return None
    return (parts[0] if parts else ""), kinds[0]


def checked_images(part: Part, path: str) -> np.ndarray:
    """Images as (n, height, width, channels), in whatever order the axes are.

    Raises:
        InputError: the array is not images.
    """
    images, name = part.images, part.images_name
    if images.dtype == bool:
        images = images.astype(np.uint8)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.size == 0 or not is_real(images):
        raise InputError(
            f"{path}: {name} is not images. Expected numbers of shape (n, height, width) or "
            f"(n, height, width, channels). Received: {images.dtype} of shape {images.shape}."
        )
    if not np.isfinite(images).all() or float(np.abs(images).max()) > MAX_PIXEL:
        raise InputError(
            f"{path}: {name} has pixels that cannot be used. Expected finite ones. Received: "
            f"NaN, infinite ones or some beyond {MAX_PIXEL:g}."
        )
    return images


def channels_last(images: Iterable[np.ndarray], path: str) -> tuple[list[np.ndarray], list[str]]:
    """Moves an axis of channels that comes first to the end, and notes how axes are read.

    Args:
        images: arrays (n, ...) of the same shape (...) of four dimensions.
        path: the archive, for messages.
    """
    images = list(images)
    channels_first, notes = axis_order(images[0].shape[1:], path)
    if channels_first:
        images = [np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in images]
    return images, notes


def axis_order(shape: Sequence[int], path: str) -> tuple[bool, list[str]]:
    """Whether the axis of an image's channels comes first, and notes how axes are read.

    It comes first if the first axis has 1, 3 or 4 values and the last axis has more than 4.

    Args:
        shape: the three sizes of an image.
        path: the data set, for messages.
    """
    first, _, last = shape
    if first in CHANNELS and last not in LAST_CHANNELS:
        return True, [
            f"{path}: images of shape {format_shape(shape)} are read as channels x height x "
            "width, and the channels are moved to the end."
        ]
    if first in CHANNELS or last not in LAST_CHANNELS:
        return False, [
            f"{path}: images of shape {format_shape(shape)} are read as height x width x channels. "
            "If their channels come first, transpose them."
        ]
    return False, []


def class_labels(
    parts: Sequence[Part], path: str
) -> tuple[list[np.ndarray], int, tuple[str, ...] | None, list[str]]:
    """Labels of all parts as classes from 0.

    Returns:
        Labels (n,) int64 of each part, the number of classes, their names if labels are text, and
        notes.

    Raises:
        InputError: labels are not classes, or those of the parts differ in kind.
    """
    columns = [flat_labels(part, path) for part in parts]
    text = [labels.dtype.kind in "SU" for labels, _ in columns]
    if any(text):
        if not all(text):
            raise InputError(
                f"{path}: labels of different kinds. Expected text or whole numbers in all parts. "
                f"Received: {format_names(labels.dtype for labels, _ in columns)}."
            )
        return text_labels([as_text(labels, path) for labels, _ in columns], path)
    widths = {width for _, width in columns if width is not None}
    if len(widths) > 1:
        raise InputError(
            f"{path}: one-hot labels of different widths. Expected one column per class in all "
            f"parts. Received: {format_names(sorted(widths))} columns."
        )
    labels = [
        whole_numbers(column, part.labels_name, path)
        for (column, _), part in zip(columns, parts, strict=True)
    ]
    n_classes = max([*widths, *(int(column.max()) + 1 for column in labels)])
    notes = [f"{path}: labels are one-hot, of {n_classes} classes."] if widths else []
    return labels, n_classes, None, notes


def flat_labels(part: Part, path: str) -> tuple[np.ndarray, int | None]:
    """Labels as (n,), and the number of columns if they were one-hot.

    Raises:
        InputError: there is not one label per image.
    """
    labels, n = part.labels, len(part.images)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape == (n,):
        return labels, None
    if labels.ndim == 2 and len(labels) == n and (is_real(labels) or labels.dtype == bool):
        is_binary = ((labels == 0) | (labels == 1)).all()
        if is_binary and (np.count_nonzero(labels, axis=1) == 1).all():
            return labels.argmax(axis=1), labels.shape[1]
    raise InputError(
        f"{path}: {part.labels_name} does not fit {part.images_name}. Expected one class per "
        f"image, shape ({n},), or one-hot labels with a single 1 per row, shape ({n}, classes). "
        f"Received: shape {labels.shape} for {n} images."
    )


def as_text(labels: np.ndarray, path: str) -> np.ndarray:
    """Labels of bytes or text as text."""
    try:
        return labels.astype(str) if labels.dtype.kind == "U" else np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: labels cannot be decoded. Expected text in UTF-8. Received: {error.reason}."
        ) from None


def text_labels(
    columns: Sequence[np.ndarray], path: str
) -> tuple[list[np.ndarray], int, tuple[str, ...], list[str]]:
    """The same as `class_labels` for text, whose classes are sorted."""
    names, indices = np.unique(np.concatenate(columns), return_inverse=True)
    if len(names) > MAX_LABEL + 1:
        raise InputError(
            f"{path}: labels are not classes. Expected at most {MAX_LABEL + 1} different texts. "
            f"Received: {len(names)}."
        )
    cuts = np.cumsum([len(column) for column in columns])[:-1]
    notes = [f"{path}: labels are text; the classes are numbered in sorted order."]
    labels = np.split(indices.astype(np.int64), cuts)
    return labels, len(names), tuple(map(str, names)), notes


def whole_numbers(labels: np.ndarray, name: str, path: str) -> np.ndarray:
    """Labels (n,) as int64.

    Raises:
        InputError: they are not whole numbers from 0.
    """
    if labels.dtype == bool:
        labels = labels.astype(np.int64)
    if not is_real(labels) or not np.isfinite(labels).all() or (np.mod(labels, 1) != 0).any():
        raise InputError(
            f"{path}: {name} is not class labels. Expected whole numbers 0, 1, ... Received: "
            f"other values, {labels.dtype}."
        )
    if labels.min() < 0 or labels.max() > MAX_LABEL:
        raise InputError(
            f"{path}: {name} is not class labels. Expected 0 to the number of classes - 1, at "
            f"most {MAX_LABEL}. Received: {labels.min()} to {labels.max()}."
        )
    return labels.astype(np.int64)


def is_real(array: np.ndarray) -> bool:
    """Whether an array holds integers or real floats."""
    return np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)

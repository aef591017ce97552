"""Image folders: one subfolder per class, with or without a split."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from repdyn_keras.config import usable_path
from repdyn_keras.datasets.load import RawData
from repdyn_keras.datasets.reading import EncodedImage, read_images
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TRAIN, TESTS = "train", ("test", "val", "validation")
LAYOUT = "PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE"


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder.

    Attributes:
        classes: names of the classes, sorted.
        train: the training images, sorted by class and name; all images if there is no split.
        test: the test images; empty if there is no split.
        notes: messages about ignored files.
    """

    classes: tuple[str, ...]
    train: tuple[EncodedImage, ...]
    test: tuple[EncodedImage, ...]
    notes: tuple[str, ...]


def folder(path: str, seed: int, image_size: int | None, test_share: float) -> RawData:
    """Decodes the images of a folder.

    Args:
        path: as for `find_files`.
        seed: seed of the split, used if the folder has none.
        image_size: side in pixels to which the images are resized; None keeps their size.
        test_share: share of the test images, used if the folder has no split.

    Raises:
        InputError: as for `find_files`, or images cannot be read.
    """
    files = find_files(path)
    encoded = files.train + files.test
    images = read_images(lambda: encoded, len(encoded), path, image_size)
    n_train = len(files.train) if files.test else None
    return RawData.from_images(images, files.classes, n_train, test_share, seed, path, files.notes)


def find_files(path: str) -> ImageFiles:
    """Finds the image files of a folder.

    Hidden files and folders are ignored. Files that are not images are ignored with a note.

    Args:
        path: a folder of class folders, or a folder with a subfolder `train` and one of `test`,
            `val` and `validation`, which contain class folders.

    Raises:
        InputError: there is no such folder, it has fewer than two class folders, a class folder
            has no images or has subfolders, or the two parts have different classes.
    """
    root = usable_path(path)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise InputError(f"Expected a folder: {LAYOUT}. Received: {root}, which {problem}.")
    subfolders = {entry.name: entry.path for entry in list_folders(str(root))}
    test = next((name for name in TESTS if name in subfolders), None)
    if test is not None and TRAIN in subfolders:
        if all(list_folders(subfolders[name]) for name in (TRAIN, test)):
            return split_files(root, subfolders, test)
    if subfolders and set(subfolders) <= {TRAIN, *TESTS}:
        raise InputError(
            f"Expected {LAYOUT}. Received: {root}, which holds {format_names(sorted(subfolders))}, "
            "but not both a training and a test folder of class folders."
        )
    return class_files(str(root))


def split_files(root: Path, subfolders: dict[str, str], test: str) -> ImageFiles:
    """The image files of a folder with a split; `test` is the name of the test subfolder."""
    train_files, test_files = (class_files(subfolders[name], f"{name}/") for name in (TRAIN, test))
    if train_files.classes != test_files.classes:
        raise different_classes(train_files.classes, test_files.classes, root, test)
    others = sorted(set(subfolders) - {TRAIN, test})
    return replace(
        train_files,
        test=test_files.train,
        notes=(
            f"the split of {root} is used: {TRAIN} and {test}.",
            *([f"other folders in it were ignored: {format_names(others)}."] if others else []),
            *train_files.notes,
            *test_files.notes,
        ),
    )


def class_files(path: str, prefix: str = "") -> ImageFiles:
    """The images of the class folders in a folder.

    Args:
        path: the folder.
        prefix: prefix of the names of the images.
    """
    classes = list_folders(path)
    if len(classes) < 2:
        content = f"one class folder, {classes[0].name!r}" if classes else "no class folders"
        raise InputError(
            f"Expected at least 2 classes: {LAYOUT}. Received: {path}, which holds {content}."
        )
    images: list[EncodedImage] = []
    ignored: Counter[str] = Counter()
    for label, class_folder in enumerate(classes):
        before = len(images)
        for entry in list_entries(class_folder.path):
            if entry.is_dir():
                raise InputError(
                    f"Class folders are nested too deep. Expected {LAYOUT}. Received: "
                    f"{class_folder.path}, which holds folders, such as {entry.name!r}."
                )
            if entry.name.lower().endswith(SUFFIXES):
                name = f"{prefix}{class_folder.name}/{entry.name}"
                images.append(EncodedImage(name, entry.path, label))
            else:
                ignored[suffix_or_name(entry.name)] += 1
        if len(images) == before:
            raise InputError(
                f"Expected images in every class folder, files that end in {', '.join(SUFFIXES)}. "
                f"Received: {class_folder.path} holds no images. Remove the folder if it is not a "
                "class."
            )
    ignored.update(suffix_or_name(e.name) for e in list_entries(path) if not e.is_dir())
    total = sum(ignored.values())
    note = f"{total} files in {path} are not images and were ignored: {format_names(ignored)}."
    return ImageFiles(
        classes=tuple(class_folder.name for class_folder in classes),
        train=tuple(images),
        test=(),
        notes=(note,) if total else (),
    )


def list_entries(path: str) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, sorted by name."""
    try:
        with os.scandir(path) as entries:
            kept = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {path}. Expected a readable folder. Received: "
            f"{error.strerror}."
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def list_folders(path: str) -> list[os.DirEntry[str]]:
    """The subfolders of a folder that are not hidden, sorted by name."""
    return [entry for entry in list_entries(path) if entry.is_dir()]


def suffix_or_name(name: str) -> str:
    """The suffix of a file's name in lower case, or the name if it has no suffix."""
    return Path(name).suffix.lower() or name


def different_classes(
    train: Iterable[str], test: Iterable[str], root: Path, test_name: str
) -> InputError:
    """The error for a split whose parts have different classes."""
    only = [
        f"only in {part}: {format_names(sorted(set(classes) - set(others)))}"
        for part, classes, others in ((TRAIN, train, test), (test_name, test, train))
        if set(classes) - set(others)
    ]
    return InputError(
        f"The parts of {root} have different classes. Expected the same class folders in {TRAIN} "
        f"and {test_name}. Received: {'; '.join(only)}."
    )

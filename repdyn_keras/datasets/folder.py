"""A folder of images, one subfolder a class, with or without a split of its own."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from repdyn_keras.config import Config, usable_path
from repdyn_keras.datasets.decoding import Encoded
from repdyn_keras.datasets.raw import Raw
from repdyn_keras.datasets.reading import read_images
from repdyn_keras.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TRAIN, TESTS = "train", ("test", "val", "validation")
LAYOUT = "PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE"
NAMED = 5


@dataclass(frozen=True)
class Files:
    """Images of a folder, by class.

    Attributes:
        classes: names of the classes, sorted.
        train: the training images, by class and name; all images where there is no split.
        test: the test images; empty where there is no split.
        notes: what was left aside.
    """

    classes: tuple[str, ...]
    train: tuple[Encoded, ...]
    test: tuple[Encoded, ...]
    notes: tuple[str, ...]


def folder(config: Config, path: str, seed: int) -> Raw:
    """The images of a folder, decoded.

    Args:
        config: says `image_size` and `test_share`.
        path: as `find_files` takes it.
        seed: seed of the split, where the folder has none.

    Raises:
        InputError: as `find_files`; or images that cannot be read.
    """
    files = find_files(path)
    encoded = files.train + files.test
    images = read_images(lambda: encoded, len(encoded), path, config.image_size)
    n_train = len(files.train) if files.test else None
    return Raw.of_images(images, files.classes, n_train, config.test_share, seed, path, files.notes)


def find_files(path: str) -> Files:
    """The images of a folder.

    Hidden files and folders are ignored; so are files that are no images, which is said.

    Args:
        path: holds class folders, or `train` and one of `test`, `val` and `validation` that do.

    Raises:
        InputError: no such folder; no class folders, or a single one; one without images or with
            folders in it; other classes in the split than in the other.
    """
    root = usable_path(path)
    if not root.is_dir():
        came = "is a file" if root.exists() else "does not exist"
        raise InputError(f"{root} {came}. Expected a folder: {LAYOUT}.")
    below = {folder.name: folder.path for folder in folders(str(root))}
    test = next((name for name in TESTS if name in below), None)
    is_split = TRAIN in below and test is not None
    if is_split and all(folders(below[name]) for name in (TRAIN, test)):
        train_files, test_files = (class_files(below[n], f"{n}/") for n in (TRAIN, test))
        if train_files.classes != test_files.classes:
            raise different_classes(train_files.classes, test_files.classes, root, test)
        others = sorted(set(below) - {TRAIN, test})
        return replace(
            train_files,
            test=test_files.train,
            notes=(
                f"the split of {root} is used: {TRAIN} and {test}.",
                *([f"ignored beside them: {some(others)}."] if others else []),
                *train_files.notes,
                *test_files.notes,
            ),
        )
    if below and set(below) <= {TRAIN, *TESTS}:
        raise InputError(
            f"{root} holds {some(sorted(below))}, but not both a training and a test folder with "
            f"class folders in them. Expected {LAYOUT}."
        )
    return class_files(str(root))


def class_files(folder: str, part: str = "") -> Files:
    """The images of the class folders of one folder; `part` begins the images' names."""
    classes = folders(folder)
    if len(classes) < 2:
        came = f"one class folder, {classes[0].name!r}" if classes else "no class folders"
        raise InputError(f"{folder} holds {came}. Expected at least 2 classes: {LAYOUT}.")
    found, ignored = [], Counter()
    for label, one in enumerate(classes):
        before = len(found)
        for entry in visible(one.path):
            if entry.is_dir():
                raise InputError(
                    f"{one.path} holds folders, such as {entry.name!r}, where images were "
                    f"expected: class folders are nested too deep. Expected {LAYOUT}."
                )
            if entry.name.lower().endswith(SUFFIXES):
                found.append(Encoded(f"{part}{one.name}/{entry.name}", entry.path, label))
            else:
                ignored[ending(entry.name)] += 1
        if len(found) == before:
            raise InputError(
                f"The class folder {one.path} holds no images. Expected some that end on "
                f"{', '.join(SUFFIXES)}; remove the folder if it is no class."
            )
    ignored.update(ending(entry.name) for entry in visible(folder) if not entry.is_dir())
    total = sum(ignored.values())
    note = f"{total} files in {folder} are no images and were ignored: {some(ignored)}."
    return Files(
        classes=tuple(one.name for one in classes),
        train=tuple(found),
        test=(),
        notes=(note,) if total else (),
    )


def visible(folder: str) -> list[os.DirEntry]:
    """What a folder holds, sorted by name, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder}: {error.strerror}. Expected one that can be read."
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def folders(folder: str) -> list[os.DirEntry]:
    """The folders in a folder, sorted by name, without hidden ones."""
    return [entry for entry in visible(folder) if entry.is_dir()]


def ending(name: str) -> str:
    """How files of this kind end, or the name where it has no ending."""
    return Path(name).suffix.lower() or name


def different_classes(train, test, root: Path, name: str) -> InputError:
    """The error for a split whose parts hold different classes."""
    only = [
        f"only in {part}: {some(sorted(set(one) - set(other)))}"
        for part, one, other in ((TRAIN, train, test), (name, test, train))
        if set(one) - set(other)
    ]
    return InputError(
        f"{root}: {TRAIN} and {name} hold different classes ({'; '.join(only)}). Expected the same "
        "class folders in both."
    )


def some(names) -> str:
    """The first few of many names."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

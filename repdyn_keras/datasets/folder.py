"""Image folders: one subfolder per class, with or without a split."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from repdyn_keras.config import usable_path
from repdyn_keras.datasets.load import RawData
from repdyn_keras.datasets.reading import EncodedImage, read_images
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, visible

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pnm", ".pbm"),
)
# Files of images that are not read.
OTHER_IMAGES = frozenset(
    ".ai .arw .avif .cr2 .cr3 .dcm .dds .dicom .dng .emf .eps .exr .fits .hdr .heic .heif .ico .j2k"
    " .jp2 .jpx .jxl .mha .mhd .nef .nii .npy .npz .nrrd .orf .pcx .psd .raf .raw .rw2 .svg .svgz"
    " .svs .tga .wmf .xcf".split()
)
# Files and folders that operating systems and archives add, in lower case.
SYSTEM_NAMES = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "__pycache__")
)
TRAIN, TEST, VALIDATION = "train", "test", "validation"
PART_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), TRAIN),
    **dict.fromkeys(("test", "testing", "testset"), TEST),
    **dict.fromkeys(("val", "valid", "validation", "valset"), VALIDATION),
}
# Words of a name of a part that say nothing, as in train_images and test_set.
FILLERS = frozenset(("set", "data", "dataset", "image", "images", "imgs", "split", "folder"))
# Names of a folder, beside others, that holds the images.
WRAPPERS = frozenset(("data", "dataset", "datasets", "image", "images", "imgs"))
LAYOUT = "PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE"


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder.

    Attributes:
        classes: names of the classes, sorted.
        train: the training images, sorted by class and name; all images if there is no split.
        test: the test images; empty if there is no split.
        notes: messages about the layout and ignored files.
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
    raw = RawData.from_images(images, files.classes, n_train, test_share, seed, path, files.notes)
    return replace(raw, image_names=tuple(visible(image.name) for image in encoded))


def find_files(path: str) -> ImageFiles:
    """Finds the image files of a folder.

    Names of parts are recognized in upper and lower case, with a common prefix or suffix, as in
    `Training` and `Testing`, or `seg_train` and `seg_test`. Without a test part, the validation
    part is used for testing. Extra folders around parts and classes are passed through. Hidden
    files and folders are ignored. Files that are not read are ignored with a note.

    Args:
        path: a folder of class folders, or a folder with a subfolder `train` and one of `test`,
            `val` and `validation`, which contain class folders.

    Raises:
        InputError: there is no such folder, it has fewer than two class folders, a class folder
            has no images or has subfolders, or the test part has other classes.
    """
    root = usable_path(path)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise InputError(f"Expected a folder: {LAYOUT}. Received: {root}, which {problem}.")
    top, notes = without_wrappers(str(root))
    split = find_split(top)
    files = class_files(top) if split is None else split_files(top, *split)
    return replace(files, notes=(*notes, *files.notes))


def without_wrappers(path: str) -> tuple[str, list[str]]:
    """The folder of parts or classes: passes through folders that hold only one, and notes it."""
    top, notes = inner_folder(path), []
    if top != path:
        notes.append(f"the images of {path} are read from {os.path.relpath(top, path)}.")
    if find_split(top) is not None:
        return top, notes
    folders = list_folders(top)
    wrappers = [each for each in folders if each.name.lower() in WRAPPERS]
    others = [each for each in folders if each not in wrappers]
    if (
        len(wrappers) == 1
        and others
        and list_folders(wrappers[0].path)
        and not any(holds_images(each.path) for each in folders)
    ):
        ignored = format_names(each.name for each in others)
        notes.append(f"of the folders in {top}, {wrappers[0].name} is read, not {ignored}.")
        inner, more = without_wrappers(wrappers[0].path)
        return inner, notes + more
    return top, notes


def inner_folder(path: str, inside_part: bool = False) -> str:
    """The first folder, going inwards, that holds several folders, images, or a folder of images.

    Args:
        path: the outermost folder.
        inside_part: whether `path` is a part; otherwise a single part is not passed through.
    """
    while len(folders := list_folders(path)) == 1:
        (only,) = folders
        is_part = not inside_part and part_of(only.name) is not None
        if is_part or holds_images(path) or not list_folders(only.path):
            break
        path = only.path
    return path


def part_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The part that the name of a folder says, and its other words; None if it says none."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    parts = [PART_WORDS[word] for word in words if word in PART_WORDS]
    if len(parts) != 1:
        return None
    return parts[0], tuple(word for word in words if word not in FILLERS and word not in PART_WORDS)


def find_split(path: str) -> tuple[str, str] | None:
    """Names of the training and the test subfolder; None for a folder of classes.

    Raises:
        InputError: the folder has a training part without a test part, or several of one kind.
    """
    folders = list_folders(path)
    named = {entry.name: part_of(entry.name) for entry in folders}
    inner = {entry.name: inner_folder(entry.path, True) for entry in folders if named[entry.name]}
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name, found in named.items():
        # A class may be called "train", but only parts hold folders.
        if found is not None and list_folders(inner[name]):
            groups.setdefault(found[1], {}).setdefault(found[0], []).append(name)
    for _, parts in sorted(groups.items(), key=lambda item: (len(item[0]), item[0])):
        several = [name for names in parts.values() if len(names) > 1 for name in names]
        if several and TRAIN in parts and len(parts) > 1:
            raise InputError(
                f"{path} has several parts of one kind. Expected one folder each for training and "
                f"testing. Received: {format_names(several)}. Move the others elsewhere."
            )
        tests = [parts[part][0] for part in (TEST, VALIDATION) if part in parts]
        if TRAIN in parts and tests:
            train = parts[TRAIN][0]
            classes = {entry.name for entry in list_folders(inner[train])}
            fitting = (
                name
                for name in tests
                if classes >= {entry.name for entry in list_folders(inner[name])}
            )
            return train, next(fitting, tests[0])
    only_parts = bool(folders) and all(found and not found[1] for found in named.values())
    if only_parts or any(TRAIN in parts for parts in groups.values()):
        raise InputError(
            f"Expected {LAYOUT}. Received: {path}, which holds {format_names(sorted(named))}, but "
            "not both a training and a test folder of class folders. To split off test images by "
            "test_share, give the path of the folder that holds the class folders."
        )
    return None


def split_files(path: str, train: str, test: str) -> ImageFiles:
    """The image files of a folder with a split, in its subfolders `train` and `test`."""
    inner = [inner_folder(os.path.join(path, name), True) for name in (train, test)]
    names = [os.path.relpath(folder, path) for folder in inner]
    train_files = class_files(inner[0], f"{names[0]}/")
    test_files = class_files(inner[1], f"{names[1]}/", min_classes=1)
    unknown = sorted(set(test_files.classes) - set(train_files.classes))
    missing = sorted(set(train_files.classes) - set(test_files.classes))
    if unknown:
        absent = f"; only in {train}: {format_names(missing)}" if missing else ""
        raise InputError(
            f"The parts of {path} have different classes. Expected class folders in {test} that "
            f"are also in {train}. Received: only in {test}: {format_names(unknown)}{absent}."
        )
    others = [e.name for e in list_folders(path) if e.name not in (train, test)]
    labels = [train_files.classes.index(name) for name in test_files.classes]
    return replace(
        train_files,
        test=tuple(replace(image, label=labels[image.label]) for image in test_files.train),
        notes=(
            f"the split of {path} is used: {names[0]} and {names[1]}.",
            *([f"other folders in it were ignored: {format_names(others)}."] if others else []),
            *([f"{test} has no images of {format_names(missing)}."] if missing else []),
            *train_files.notes,
            *test_files.notes,
        ),
    )


def class_files(path: str, prefix: str = "", min_classes: int = 2) -> ImageFiles:
    """The images of the class folders in a folder.

    Args:
        path: the folder.
        prefix: prefix of the names of the images.
        min_classes: least number of classes.
    """
    classes = list_folders(path)
    if len(classes) < min_classes:
        content = f"one class folder, {classes[0].name!r}" if classes else "no class folders"
        raise InputError(
            f"Expected at least 2 classes: {LAYOUT}. Received: {path}, which holds {content}."
        )
    images: list[EncodedImage] = []
    ignored: Counter[str] = Counter()
    for label, class_folder in enumerate(classes):
        before, others = len(images), Counter[str]()
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
                others[suffix_or_name(entry.name)] += 1
        if len(images) == before:
            raise no_images(class_folder.path, others)
        ignored += others
    ignored.update(suffix_or_name(e.name) for e in list_entries(path) if not e.is_dir())
    return ImageFiles(
        classes=tuple(class_folder.name for class_folder in classes),
        train=tuple(images),
        test=(),
        notes=tuple(describe_ignored(ignored, path)),
    )


def no_images(path: str, others: Counter[str]) -> InputError:
    """The error for a class folder without images.

    Args:
        path: the folder.
        others: number of other files by suffix.
    """
    kinds = format_names(f"{count} {suffix}" for suffix, count in others.most_common())
    unread = [suffix for suffix in others if suffix in OTHER_IMAGES]
    remedy = "Remove the folder if it is not a class."
    if unread:
        remedy = f"Convert its {format_names(unread)} files, for example to PNG."
    return InputError(
        f"Expected images in every class folder, files that end in {', '.join(SUFFIXES)}. "
        f"Received: {path} holds no images{f', but {kinds} files' if kinds else ''}. {remedy}"
    )


def describe_ignored(ignored: Counter[str], path: str) -> Iterator[str]:
    """Notes about files that are not read.

    Args:
        ignored: their number by suffix.
        path: the folder that holds them.
    """
    unread = {suffix: count for suffix, count in ignored.items() if suffix in OTHER_IMAGES}
    if unread:
        kinds = format_names(f"{count} {suffix}" for suffix, count in unread.items())
        yield (
            f"images in {path} of kinds that are not read were left out: {kinds}. Convert them, "
            "for example to PNG, to use them."
        )
    others = [suffix for suffix in ignored if suffix not in OTHER_IMAGES]
    if others:
        total = sum(ignored[suffix] for suffix in others)
        yield f"{total} files in {path} are not images and were ignored: {format_names(others)}."


def holds_images(path: str) -> bool:
    """Whether a folder itself holds images."""
    return any(entry.name.lower().endswith(SUFFIXES) for entry in list_entries(path))


def list_entries(path: str) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, sorted by name."""
    try:
        with os.scandir(path) as entries:
            kept = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {path}. Expected a readable folder. Received: "
            f"{error.strerror}."
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or added by an operating system or an archive."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_folders(path: str) -> list[os.DirEntry[str]]:
    """The subfolders of a folder that are not hidden, sorted by name."""
    return [entry for entry in list_entries(path) if entry.is_dir()]


def suffix_or_name(name: str) -> str:
    """The suffix of a file's name in lower case, or the name if it has no suffix."""
    return Path(name).suffix.lower() or name

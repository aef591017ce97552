"""A TFDS data set, read from its files without its code and without the network."""

import contextlib
import functools
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from repdyn_keras.config import Config, usable_path
from repdyn_keras.datasets.decoding import Encoded
from repdyn_keras.datasets.devices import load_tensorflow
from repdyn_keras.datasets.prepared import (
    default_data_dir,
    find_prepared,
    missing,
    parse_name,
)
from repdyn_keras.datasets.raw import Raw
from repdyn_keras.datasets.reading import read_images, reason
from repdyn_keras.errors import EXTRAS, InputError, install_command, not_installed

TRAIN, TESTS = "train", ("test", "validation")
# Examples that are read from disk at once.
AT_ONCE = 256


def tfds(config: Config, name: str, seed: int) -> Raw:
    """The images of a TFDS data set, decoded.

    Args:
        config: says `data_dir`, `download`, `image_size`, `test_share` and `backend`.
        name: NAME, NAME/CONFIG, with or without :VERSION.
        seed: seed of the split, where the data set has none.

    Raises:
        InputError: a package is missing, or the data set; it cannot be read, or has no images with
            classes.
    """
    where = f"tfds:{name}"
    parse_name(name)
    require("tensorflow_datasets", where)
    path = find_or_download(name, config)
    builder = open_builder(path, where)
    image, label = keys_of(builder, where)
    names = builder.info.features[label].names
    splits, notes = choose_splits(builder, image, label, where, config.backend)
    counts = [builder.info.splits[split].num_examples for split in splits]

    def source() -> Iterator[Encoded]:
        for split in splits:
            for index, (data, value) in enumerate(
                examples(builder, split, image, label, where, config.backend)
            ):
                yield Encoded(f"{split}[{index}]", data, checked(value, names, where, split))

    images = read_images(
        source,
        sum(counts),
        where,
        config.image_size,
        1 if builder.info.features[image].shape[-1] == 1 else 3,
    )
    n_train = counts[0] if len(counts) > 1 else None
    return Raw.of_images(images, names, n_train, config.test_share, seed, where, notes)


def require(package: str, purpose: str) -> None:
    """Raises InputError unless a package can be imported."""
    if importlib.util.find_spec(package) is None:
        raise not_installed(package, EXTRAS, purpose)


def find_or_download(name: str, config: Config) -> Path:
    """The folder of a prepared data set; downloads it where the configuration asks for that."""
    data_dir = usable_path(config.data_dir) if config.data_dir else default_data_dir()
    found = find_prepared(name, data_dir)
    if found is None and config.download:
        download(name, data_dir, config.backend)
        found = find_prepared(name, data_dir)
    if found is None:
        raise missing(name, data_dir)
    return found.path


def download(name: str, data_dir: Path, backend: str) -> None:
    """Downloads and prepares a data set, as array_record where that can be written."""
    require("tensorflow", f"preparing tfds:{name}")
    import tensorflow_datasets

    load_tensorflow(backend)
    array_record = importlib.util.find_spec("array_record") is not None
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir, try_gcs=False)
        # TFDS prints its progress where a run prints its results.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(
                download_config=tensorflow_datasets.download.DownloadConfig(try_download_gcs=False),
                file_format="array_record" if array_record else None,
            )
    except Exception as error:  # any error of any data set's own code
        raise InputError(
            f"tfds:{name} could not be downloaded and prepared in {data_dir}: {reason(error)}. "
            "Expected the name of a TFDS data set and a connection to its servers."
        ) from error


def open_builder(path: Path, where: str):
    """What reads a prepared data set, made of its files alone."""
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder_from_directory(path)
    except Exception as error:  # very old or damaged ones raise all kinds
        raise InputError(
            f"{where}: the files in {path} cannot be opened: {reason(error)}. Expected a data set "
            "that TFDS 4 or newer prepared: remove the folder and prepare it anew (--download)."
        ) from None


def keys_of(builder, where: str) -> tuple[str, str]:
    """The features that hold the image and the label: the supervised ones, else by these names."""
    from tensorflow_datasets import features as kinds

    features = builder.info.features
    keys = builder.info.supervised_keys
    if not keys or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        keys = ("image", "label")
    image, label = keys
    found = {key: features[key] if key in features else None for key in keys}
    is_image = isinstance(found[image], kinds.Image) and len(found[image].shape) == 3
    if not is_image or found[image].np_dtype not in ("uint8", "uint16"):
        raise InputError(
            f"{where} has no images for classification: {image!r} is "
            f"{describe(found[image])}. Expected an Image of 8 or 16 bits, as one of "
            f"its features {', '.join(sorted(features))}."
        )
    if not isinstance(found[label], kinds.ClassLabel):
        raise InputError(
            f"{where} has no classes: {label!r} is {describe(found[label])}. Expected a "
            f"ClassLabel, as one of its features {', '.join(sorted(features))}."
        )
    return image, label


def describe(feature) -> str:
    """What a feature is."""
    if feature is None:
        return "missing"
    return f"{type(feature).__name__} of {feature.np_dtype} and shape {feature.shape}"


def choose_splits(builder, image: str, label: str, where: str, backend: str):
    """The splits to read, the training one first, and notes; a test split needs its labels."""
    filled = [name for name, split in builder.info.splits.items() if split.num_examples]
    if TRAIN not in filled:
        raise InputError(
            f"{where} has the splits {', '.join(filled) or 'none'}. Expected one called {TRAIN}."
        )
    notes = []
    for test in TESTS:
        if test not in filled:
            continue
        first = itertools.islice(examples(builder, test, image, label, where, backend), 1)
        if next(first)[1] >= 0:
            return (TRAIN, test), [*notes, f"{where}: the split {test} is used for testing."]
        notes.append(f"{where}: the split {test} has no labels and is not used.")
    return (TRAIN,), notes


def checked(value: int, names: list[str], where: str, split: str) -> int:
    """A label; raises InputError unless it is one of a class."""
    if not 0 <= value < len(names):
        raise InputError(
            f"{where}: an image of {split} has the label {value}. Expected 0 to {len(names) - 1}."
        )
    return value


def examples(builder, split: str, image: str, label: str, where: str, backend: str):
    """The encoded image and the label of every example of a split, in the order on disk.

    Raises:
        InputError: the files cannot be read.
    """
    formats = {each.value for each in builder.info.available_file_formats()}
    is_random = "array_record" in formats
    if not is_random:
        need_tensorflow(where, formats)
    read = random_access if is_random else functools.partial(in_sequence, backend=backend)
    try:
        yield from read(builder, split, image, label)
    except Exception as error:  # each file format has errors of its own
        raise InputError(
            f"{where}: {split} cannot be read from {builder.data_path}: {reason(error)}. Expected "
            "whole files: remove the folder and prepare it anew (--download)."
        ) from None


def need_tensorflow(where: str, formats) -> None:
    """Raises InputError unless TensorFlow is there, which other formats than array_record need."""
    try:
        require("tensorflow", where)
    except InputError:
        raise InputError(
            f"{where} is stored as {', '.join(sorted(formats))}, which TensorFlow reads, and that "
            f"is not installed. Install it: {install_command('tensorflow', EXTRAS)}. Sets prepared "
            "as array_record (file_format of download_and_prepare) need none."
        ) from None


def random_access(builder, split: str, image: str, label: str):
    """Examples of an array_record set, without TensorFlow."""
    from tensorflow_datasets import decode

    records = builder.as_data_source(
        split, decoders={image: decode.SkipDecoding()}, file_format="array_record"
    )
    for start in range(0, len(records), AT_ONCE):
        for one in records.__getitems__(range(start, min(start + AT_ONCE, len(records)))):
            yield as_bytes(one[image]), int(one[label])


def in_sequence(builder, split: str, image: str, label: str, backend: str):
    """Examples of a set in another format, by TensorFlow, one file after the other."""
    import tensorflow_datasets

    load_tensorflow(backend)
    records = builder.as_dataset(
        split,
        shuffle_files=False,
        decoders=tensorflow_datasets.decode.PartialDecoding(
            {image: True, label: True}, decoders={image: tensorflow_datasets.decode.SkipDecoding()}
        ),
        read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    for batch in records.batch(AT_ONCE).as_numpy_iterator():
        yield from zip(batch[image].tolist(), batch[label].tolist(), strict=True)


def as_bytes(data) -> bytes:
    """Encoded bytes, however the reader wraps them."""
    return data if isinstance(data, bytes) else bytes(data.item())

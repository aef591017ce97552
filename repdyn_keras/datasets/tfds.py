"""TFDS data sets, read from files without running their code and without network access."""

import contextlib
import functools
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repdyn_keras.config import usable_path
from repdyn_keras.datasets.load import RawData
from repdyn_keras.datasets.reading import EncodedImage, read_images, reason
from repdyn_keras.errors import EXTRAS, InputError, install_command, not_installed
from repdyn_keras.text import format_names, quoted

INFO_FILE = "dataset_info.json"
# The names that TFDS accepts, and shortened versions. A config of dots would be a parent folder.
NAME = re.compile(
    r"(?P<name>[a-zA-Z]\w*)(/(?P<config>(?!\.+(:|$))[\w+.-]+))?"
    r"(:(?P<version>[\d*]+(\.[\d*]+){0,2}))?"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")
# Maximum number of data sets in a message.
MAX_DATASETS = 8


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        name: its name.
        config: its config, or None.
        version: its version, three numbers.
        path: its folder.
    """

    name: str
    config: str | None
    version: str
    path: Path

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.name}{config}:{self.version}"

    def sort_key(self) -> tuple[str, str, tuple[int, ...]]:
        """Key by which data sets are sorted."""
        return self.name, self.config or "", self.version_numbers

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version as numbers, for comparison."""
        return tuple(map(int, self.version.split(".")))


def default_data_dir() -> Path:
    """The default folder of TFDS: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return usable_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def parse_name(text: str) -> tuple[str, str | None, str | None]:
    """Name, config and version of NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.

    Raises:
        InputError: the text has none of these forms.
    """
    match = NAME.fullmatch(text)
    if match is None:
        raise InputError(
            "Not the name of a TFDS data set. Expected tfds:NAME, tfds:NAME/CONFIG or either with "
            f":VERSION, such as tfds:mnist:3.0.1. Received: {quoted(f'tfds:{text}')}."
        )
    return match["name"], match["config"], match["version"]


def list_prepared(data_dir: Path) -> list[Prepared]:
    """All prepared data sets in a folder, sorted by name, config and version."""
    prepared = []
    for info in [*data_dir.glob(f"*/*/{INFO_FILE}"), *data_dir.glob(f"*/*/*/{INFO_FILE}")]:
        name, *config, version = info.parent.relative_to(data_dir).parts
        if VERSION.fullmatch(version):
            prepared.append(Prepared(name, config[0] if config else None, version, info.parent))
    return sorted(prepared, key=Prepared.sort_key)


def find_prepared(text: str, data_dir: Path) -> Prepared | None:
    """The newest prepared version of a data set; None if it is not on disk.

    Args:
        text: as for `parse_name`; a version may contain `*`.
        data_dir: folder of prepared data sets.

    Raises:
        InputError: the name is invalid, or does not say which of several configs to use.
    """
    name, config, version = parse_name(text)
    parts = [re.escape(part).replace(r"\*", r"\d+") for part in (version or "*").split(".")]
    pattern = re.compile(r"\.".join(parts) + r"(\.\d+)*")
    matching = [
        dataset
        for dataset in list_prepared(data_dir)
        if dataset.name == name
        and (config is None or dataset.config == config)
        and pattern.fullmatch(dataset.version)
    ]
    configs = sorted({dataset.config or "" for dataset in matching})
    if len(configs) > 1:
        if "" not in configs:
            named = format_names(
                (f"tfds:{name}/{config_name}" for config_name in configs), MAX_DATASETS
            )
            raise InputError(
                f"{data_dir} holds tfds:{text} in {len(configs)} configs. Expected one of them: "
                f"{named}. Received: tfds:{text}."
            )
        matching = [dataset for dataset in matching if dataset.config is None]
    return max(matching, key=lambda dataset: dataset.version_numbers, default=None)


def missing_dataset(text: str, data_dir: Path) -> InputError:
    """The error for a data set that is not on disk."""
    content = format_names(list_prepared(data_dir), MAX_DATASETS) or "no data set"
    return InputError(
        f"tfds:{text} is not on disk. Expected it in the default folder of TFDS or in --data-dir; "
        f"--download downloads and prepares it. Received: {data_dir}, which holds {content}."
    )


TRAIN, TESTS = "train", ("test", "validation")
# Number of examples that are read from disk at a time.
CHUNK_SIZE = 256
# An encoded image and its label.
Example = tuple[bytes, int]


def tfds(
    name: str,
    seed: int,
    data_dir: str | None,
    download: bool,
    image_size: int | None,
    test_share: float,
    backend: str,
) -> RawData:
    """Decodes the images of a TFDS data set.

    Args:
        name: NAME or NAME/CONFIG, with or without :VERSION.
        seed: seed of the split, used if the data set has none.
        data_dir: folder of prepared data sets; None for the default folder of TFDS.
        download: whether to download and prepare the data set if it is not on disk.
        image_size: side in pixels to which the images are resized; None keeps their size.
        test_share: share of the test images, used if the data set has no test split.
        backend: the backend that Keras runs on.

    Raises:
        InputError: a package or the data set is missing, or the data set cannot be read or does
            not consist of images with classes.
    """
    dataset_name = f"tfds:{name}"
    parse_name(name)
    require("tensorflow_datasets", dataset_name)
    path = find_or_download(name, data_dir, download, backend)
    builder = open_builder(path, dataset_name)
    image, label = image_and_label(builder, dataset_name)
    names = builder.info.features[label].names
    splits, notes = choose_splits(builder, image, label, dataset_name, backend)
    counts = [builder.info.splits[split].num_examples for split in splits]

    def source() -> Iterator[EncodedImage]:
        for split in splits:
            for index, (data, value) in enumerate(
                examples(builder, split, image, label, dataset_name, backend)
            ):
                name = f"{split}[{index}]"
                yield EncodedImage(name, data, checked_label(value, names, dataset_name, split))

    channels = 1 if builder.info.features[image].shape[-1] == 1 else 3
    images = read_images(source, sum(counts), dataset_name, image_size, channels)
    n_train = counts[0] if len(counts) > 1 else None
    return RawData.from_images(images, names, n_train, test_share, seed, dataset_name, notes)


def keep_tensorflow_off_gpus(backend: str) -> None:
    """Hides the GPUs from TensorFlow if it is loaded besides another backend.

    The first operation of TensorFlow would otherwise reserve all GPU memory.

    Args:
        backend: the backend that Keras runs on.
    """
    if backend != "tensorflow" and "tensorflow" in sys.modules:
        try:
            sys.modules["tensorflow"].config.set_visible_devices([], "GPU")
        except RuntimeError:
            # The user's code has already initialized TensorFlow.
            return


def load_tensorflow(backend: str) -> None:
    """Imports TensorFlow, without GPUs if Keras runs on another backend."""
    import tensorflow  # noqa: F401

    keep_tensorflow_off_gpus(backend)


def require(package: str, purpose: str) -> None:
    """Raises InputError unless a package can be imported."""
    if importlib.util.find_spec(package) is None:
        raise not_installed(package, EXTRAS, purpose)


def find_or_download(name: str, data_dir: str | None, download: bool, backend: str) -> Path:
    """The folder of a prepared data set, which is downloaded if it is missing and `download`."""
    folder = usable_path(data_dir) if data_dir else default_data_dir()
    prepared = find_prepared(name, folder)
    if prepared is None and download:
        download_and_prepare(name, folder, backend)
        prepared = find_prepared(name, folder)
    if prepared is None:
        raise missing_dataset(name, folder)
    return prepared.path


def download_and_prepare(name: str, data_dir: Path, backend: str) -> None:
    """Downloads and prepares a data set, as array_record if that package is installed."""
    require("tensorflow", f"preparing tfds:{name}")
    import tensorflow_datasets

    load_tensorflow(backend)
    array_record = importlib.util.find_spec("array_record") is not None
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir, try_gcs=False)
        # Standard output is reserved for the results of the command.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(
                download_config=tensorflow_datasets.download.DownloadConfig(try_download_gcs=False),
                file_format="array_record" if array_record else None,
            )
    except Exception as error:  # the code of a data set raises exceptions of any type
        raise InputError(
            f"tfds:{name} could not be downloaded and prepared in {data_dir}. Expected the name of "
            f"a TFDS data set and a connection to its servers. Received: {reason(error)}."
        ) from error


def open_builder(path: Path, dataset_name: str) -> Any:
    """The TFDS builder of a prepared data set, created only from its files."""
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder_from_directory(path)
    except Exception as error:  # old or damaged files raise exceptions of any type
        raise InputError(
            f"{dataset_name}: the files in {path} cannot be opened. Expected a data set prepared "
            f"by TFDS 4 or newer. Received: {reason(error)}. Remove the folder and prepare it "
            "again (--download)."
        ) from None


def image_and_label(builder: Any, dataset_name: str) -> tuple[str, str]:
    """Names of the image and label features: the supervised keys, else `image` and `label`."""
    from tensorflow_datasets import features as kinds

    features = builder.info.features
    keys = builder.info.supervised_keys
    if not keys or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        keys = ("image", "label")
    image, label = (features[key] if key in features else None for key in keys)
    names = ", ".join(sorted(features))
    if (
        not isinstance(image, kinds.Image)
        or len(image.shape) != 3
        or image.np_dtype not in ("uint8", "uint16")
    ):
        raise InputError(
            f"{dataset_name} has no images for classification. Expected an Image of 8 or 16 bits "
            f"among its features {names}. Received: {keys[0]!r} is {describe_feature(image)}."
        )
    if not isinstance(label, kinds.ClassLabel):
        raise InputError(
            f"{dataset_name} has no classes. Expected a ClassLabel among its features {names}. "
            f"Received: {keys[1]!r} is {describe_feature(label)}."
        )
    return keys


def describe_feature(feature: Any) -> str:
    """The type of a feature, for messages."""
    if feature is None:
        return "missing"
    return f"{type(feature).__name__} of {feature.np_dtype} and shape {feature.shape}"


def choose_splits(
    builder: Any, image: str, label: str, dataset_name: str, backend: str
) -> tuple[tuple[str, ...], list[str]]:
    """The splits to read, the training split first, and notes. Test splits need labels."""
    non_empty = [name for name, split in builder.info.splits.items() if split.num_examples]
    if TRAIN not in non_empty:
        raise InputError(
            f"Expected a split called {TRAIN}. Received: {dataset_name} with the splits "
            f"{', '.join(non_empty) or 'none'}."
        )
    notes: list[str] = []
    for test in TESTS:
        if test not in non_empty:
            continue
        first = itertools.islice(examples(builder, test, image, label, dataset_name, backend), 1)
        if next(first)[1] >= 0:
            return (TRAIN, test), [*notes, f"{dataset_name}: the split {test} is used for testing."]
        notes.append(f"{dataset_name}: the split {test} has no labels and is not used.")
    return (TRAIN,), notes


def checked_label(value: int, names: Sequence[str], dataset_name: str, split: str) -> int:
    """The label; raises InputError unless it is the index of a class."""
    if not 0 <= value < len(names):
        raise InputError(
            f"{dataset_name} has an invalid label. Expected 0 to {len(names) - 1}. Received: "
            f"{value}, in the split {split}."
        )
    return value


def examples(
    builder: Any, split: str, image: str, label: str, dataset_name: str, backend: str
) -> Iterator[Example]:
    """The encoded image and the label of every example of a split, in the order on disk.

    Raises:
        InputError: the files cannot be read.
    """
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    has_array_record = "array_record" in formats
    if not has_array_record:
        require_tensorflow(dataset_name, formats)
    read = (
        read_array_record
        if has_array_record
        else functools.partial(read_with_tensorflow, backend=backend)
    )
    try:
        yield from read(builder, split, image, label)
    except Exception as error:  # every file format has its own exceptions
        raise InputError(
            f"{dataset_name}: the split {split} cannot be read. Expected whole files in "
            f"{builder.data_path}. Received: {reason(error)}. Remove the folder and prepare it "
            "again (--download)."
        ) from None


def require_tensorflow(dataset_name: str, formats: Collection[str]) -> None:
    """Raises InputError unless TensorFlow, which reads all other formats, is installed."""
    try:
        require("tensorflow", dataset_name)
    except InputError:
        raise InputError(
            f"Expected the package 'tensorflow', which reads {dataset_name}, stored as "
            f"{', '.join(sorted(formats))}. Received: it is not installed. Install it: "
            f"{install_command('tensorflow', EXTRAS)}. Data sets prepared as array_record "
            "(file_format of download_and_prepare) do not need it."
        ) from None


def read_array_record(builder: Any, split: str, image: str, label: str) -> Iterator[Example]:
    """Reads the examples of an array_record data set, without TensorFlow."""
    from tensorflow_datasets import decode

    records = builder.as_data_source(
        split, decoders={image: decode.SkipDecoding()}, file_format="array_record"
    )
    for start in range(0, len(records), CHUNK_SIZE):
        for example in records.__getitems__(range(start, min(start + CHUNK_SIZE, len(records)))):
            yield as_bytes(example[image]), int(example[label])


def read_with_tensorflow(
    builder: Any, split: str, image: str, label: str, backend: str
) -> Iterator[Example]:
    """Reads the examples of a data set in another format with TensorFlow, file by file."""
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
    for batch in records.batch(CHUNK_SIZE).as_numpy_iterator():
        yield from zip(batch[image].tolist(), batch[label].tolist(), strict=True)


def as_bytes(data: Any) -> bytes:
    """Bytes, also from a NumPy scalar of bytes."""
    return data if isinstance(data, bytes) else bytes(data.item())

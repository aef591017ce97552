"""The configuration keys: their names, meanings, defaults and valid values."""

import dataclasses
import math
import re
import types
import typing
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repdyn_keras.backends import BACKENDS
from repdyn_keras.config.measure_names import ON_REQUEST, check_measures
from repdyn_keras.config.plane_triplets import IndexTriplets, check_triplets, parse_triplets
from repdyn_keras.config.registry import DATASETS, NETWORKS, OPTIMIZERS, SCHEDULES, Registry
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted

STEMS = ("small", "imagenet")
BATCH_NORMS = ("moving", "recalibrate")
PRESETS = [name for network in NETWORKS.values() for name in network.presets]
# Maximum side of an image in pixels.
MAX_SIDE = 16_384


def key(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    unset: str = "preset",
) -> Any:
    """A dataclass field with the metadata that the checks and `--keys` use.

    Args:
        default: value if the key is not set; None if `resolve` fills it in.
        help: the key's meaning.
        choices: valid values, or the registry that defines them.
        low: smallest valid number.
        high: largest valid number.
        below: exclusive upper bound.
        unset: text that `--keys` shows for a default of None.
    """
    bounds = {"low": low, "high": high, "below": below}
    metadata = {"help": help, "choices": choices, "unset": unset, **bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run, except its folder.

    `resolve` replaces None by the default of the network, the optimizer or the preset.

    Raises:
        InputError: a value has the wrong type or is out of range, or a name is unknown.

    Example:
        >>> Config(model="vit", epochs=40).model
        'vit'
    """

    backend: str = key("jax", "Keras backend", choices=BACKENDS)
    dataset: str = key("digits", "data set", choices=DATASETS)
    model: str = key("resnet", "network", choices=NETWORKS)
    optimizer: str = key("sgd", "optimizer", choices=OPTIMIZERS)
    epochs: int | None = key(None, "number of training epochs", low=1, high=1_000_000)
    label_noise: float = key(
        0.2, "share of training labels replaced by another class", low=0, below=1
    )
    seed: int = key(0, "seed of the initial weights and the order of batches", low=0)
    data_seed: int | None = key(
        None,
        "seed of the split, the sample of training images, the label noise, the evaluation images "
        "and the planes; runs with the same data_seed and n_train can be compared",
        low=0,
        unset="seed",
    )

    standardize: bool = key(
        True,
        "subtract the mean of the training images and divide by their standard deviation, per "
        "channel",
    )
    data_dir: str | None = key(None, "folder of prepared data sets", unset="that of TFDS")
    download: bool = key(False, "download a data set that is not on disk")
    image_size: int | None = key(
        None,
        "side in pixels to which images are resized",
        low=1,
        high=MAX_SIDE,
        unset="original size",
    )
    test_share: float = key(
        0.2,
        "share of the images held out for testing if there is no test split",
        low=0.01,
        high=0.9,
    )
    n_train: int | None = key(
        None,
        "number of training images, a stratified sample of those of the data set",
        low=4,
        unset="all",
    )
    augment: bool = key(
        False, "augment training images: random crops (padding 1/8 of the side) and flips"
    )
    synthetic_train: int = key(2048, "number of training images", low=8, high=10**9)
    synthetic_test: int = key(512, "number of test images", low=1, high=10**9)
    synthetic_size: int = key(16, "side of the images in pixels", low=2, high=MAX_SIDE)
    synthetic_channels: int = key(3, "number of channels", low=1, high=1000)
    synthetic_classes: int = key(10, "number of classes", low=2, high=10_000)

    preset: str | None = key(
        None, f"sizes of a published network: {', '.join(PRESETS)}", unset="small images"
    )
    width: int | None = key(
        None,
        "channels of the first stage, or features of a token",
        low=1,
        high=100_000,
    )
    blocks: tuple[int, ...] | None = key(None, "number of blocks of each stage", low=1, high=1000)
    stem: str | None = key(None, "first layers", choices=STEMS)
    patch: int | None = key(None, "side of a patch in pixels", low=1, high=MAX_SIDE)
    depth: int | None = key(None, "number of encoder blocks", low=1, high=1000)
    heads: int | None = key(None, "number of attention heads", low=1, high=100_000)

    learning_rate: float | None = key(None, "initial learning rate", low=0, high=1e6)
    schedule: str | None = key(None, "learning-rate schedule", choices=SCHEDULES)
    momentum: float = key(0.9, "momentum", low=0, below=1)
    weight_decay: float = key(0.0, "decoupled weight decay", low=0, high=1e6)
    batch_size: int | None = key(None, "number of images per training step", low=1)

    n_eval: int = key(
        1024, "number of evaluation images, whose representations are compared", low=4
    )
    cka_batch: int = key(256, "batch size of minibatch CKA", low=4)
    record_epochs: str | tuple[int, ...] = key(
        "log", "epochs to record: log (0, round(2^(i/6)) and the last) or a list", low=0
    )
    early_records: int = key(
        6, "number of further records after steps of the first two epochs", low=0, high=1000
    )
    layers: str | None = key(
        None, "regular expression of layer names to record", unset="every block"
    )
    pooling: str | int = key(
        "mean", "pooling of a probe's features: mean, flatten, or the side of a grid", low=1
    )
    output: str | None = key(
        None, "output to record if a network has several", unset="the only one"
    )
    batch_norm: str = key(
        "moving", "statistics of BatchNormalization while recording", choices=BATCH_NORMS
    )
    probe_images: int = key(
        10_000, "maximum number of images for fitting probes, and for testing them", low=3
    )
    planes: int | IndexTriplets = key(
        16,
        "number of planes through three images, or indices of the three training images of each "
        "plane, as in [[3,17,42],[5,6,7]]; 0 records no regions",
        low=0,
        high=10_000,
    )
    resolution: int = key(14, "points along each side of a plane's grid", low=2, high=1000)
    drawn_planes: int = key(
        3,
        "number of planes whose regions have a second, finer grid for figures",
        low=0,
        high=10_000,
    )
    drawn_resolution: int = key(
        45, "points along each side of the grids for figures", low=2, high=1000
    )
    margin: float = key(
        0.1, "margin around the three images, relative to their extent", low=0, high=100
    )
    measures: str | None = key(
        None, f"similarities beside CKA: {', '.join(ON_REQUEST)}", unset="none"
    )
    keep_weights: bool = key(False, "save the weights of every record in weights/")
    report: bool = key(True, "write report.html, a page that shows the run, at its end")
    checkpoint_seconds: float = key(
        60.0, "seconds between checkpoints if no epoch is recorded", low=0
    )
    grace_seconds: float = key(
        20.0, "seconds allowed for the epoch to end after Ctrl-C or SIGTERM", low=0
    )

    def __post_init__(self) -> None:
        for name in KEYS:
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.pooling not in ("mean", "flatten") and not isinstance(self.pooling, int):
            raise unknown("pooling", self.pooling, ("mean", "flatten"), "Or give a whole number.")
        if isinstance(self.record_epochs, str) and self.record_epochs != "log":
            hint = "Or give a list of epochs."
            raise unknown("record_epochs", self.record_epochs, ("log",), hint)

    @property
    def plane_count(self) -> int:
        """Number of planes."""
        return self.planes if isinstance(self.planes, int) else len(self.planes)


# The largest integer of TOML.
MAX_INT = 2**63 - 1
NUMBER_LIST = re.compile(r"[\[(]?\s*-?\d+(\s*,\s*-?\d+)*\s*,?\s*[\])]?")
KEYS = {spec.name: spec for spec in dataclasses.fields(Config)}
TYPES = typing.get_type_hints(Config)
TYPE_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[int, ...]: "a list of whole numbers",
    IndexTriplets: "a list of triplets of whole numbers",
}


def values_of(config: Config, names: Iterable[str]) -> dict[str, Any]:
    """The values of these keys, as keyword arguments."""
    return {name: getattr(config, name) for name in names}


def check_pattern(pattern: str) -> None:
    """Raises InputError unless `pattern` is a regular expression."""
    try:
        with warnings.catch_warnings():
            # FutureWarning about brackets that future versions of Python may read differently.
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            "layers is not a regular expression. Expected one such as 'stage4.*' or "
            f"'block0[1-3]'. Received: {quoted(pattern)} ({error})."
        ) from None


def check(name: str, value: Any) -> Any:
    """The value of a key, converted to its type if that is lossless; else raises InputError."""
    if name not in KEYS:
        raise unknown_key(name)
    meta = KEYS[name].metadata
    value = convert(name, value)
    if value is None:
        return None
    if isinstance(value, str):
        check_text(name, value)
    if name == "measures":
        return check_measures(value)
    choices = meta["choices"]
    if isinstance(choices, Registry):
        choices.find(value)
    elif choices and value not in choices:
        raise unknown(name, value, choices)
    if name == "layers":
        check_pattern(value)
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, str | bool | tuple):
            check_range(name, number)
    return value


def unknown_key(name: str) -> InputError:
    """The error for an unknown key."""
    return unknown("key", name, KEYS, "`repdyn run --keys` lists all.")


def check_text(name: str, text: str) -> None:
    """Raises InputError if a text cannot be stored in a UTF-8 file."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(
            f"{name} cannot be stored in a file. Expected Unicode without NUL characters. "
            f"Received: {quoted(text)}. Rename files whose names are not UTF-8."
        )


def check_range(name: str, number: float) -> None:
    """Raises InputError unless a number is finite and within the range of its key."""
    meta = KEYS[name].metadata
    low, high, below = meta["low"], meta["high"], meta["below"]
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
        or (below is not None and number >= below)
    ):
        raise InputError(
            f"{name} is out of range. Expected {describe_range(meta)}. Received: "
            f"{name} = {quoted(number)}."
        )


def describe_range(meta: Mapping[str, Any]) -> str:
    """The range of a key, for messages."""
    parts = [
        f"{word} {meta[bound]}"
        for bound, word in (("low", "at least"), ("high", "at most"), ("below", "below"))
        if meta[bound] is not None
    ]
    return "a finite number" + (" " + " and ".join(parts) if parts else "")


def accepted_types(name: str) -> tuple[Any, ...]:
    """The types of a key's values."""
    hint = TYPES[name]
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def describe_types(name: str) -> str:
    """The types of a key's values, for messages."""
    return " or ".join(TYPE_NAMES[kind] for kind in accepted_types(name) if kind is not type(None))


def convert(name: str, value: Any) -> Any:
    """`value` as one of the key's types; raises InputError if the conversion is not lossless."""
    accepted = accepted_types(name)
    if value is None and type(None) in accepted:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_list = isinstance(value, list | tuple | range)
    if any(isinstance(v, int) and abs(v) > MAX_INT for v in (value if is_list else [value])):
        raise too_large(name, value)
    for kind in accepted:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and is_number and float(value).is_integer():
            if abs(value) > MAX_INT:
                raise too_large(name, value)
            return int(value)
        if kind is float and is_number:
            return float(value)
        if kind is str and isinstance(value, str):
            return value
        if kind == IndexTriplets and isinstance(value, list | tuple):
            return check_triplets(name, value, KEYS[name].metadata["high"])
        if kind == tuple[int, ...] and is_list:
            if value and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
                return tuple(value)
    raise InputError(
        f"{name} has the wrong type. Expected {describe_types(name)}. Received: "
        f"{name} = {quoted(value)}."
    )


def too_large(name: str, value: Any) -> InputError:
    """The error for an integer that TOML cannot store."""
    return InputError(
        f"{name} is out of range. Expected {describe_types(name)} up to {MAX_INT}. Received: "
        f"{quoted(value)}."
    )


def parse_value(name: str, text: str) -> Any:
    """Parses `text` as in `--set name=text`.

    Lists are separated by commas, `blocks=1,1,1,1`, and triplets of a list are in brackets,
    `planes=[[3,17,42],[5,6,7]]`.
    """
    if name not in KEYS:
        raise unknown_key(name)
    accepted = accepted_types(name)
    stripped = text.strip()
    if type(None) in accepted and stripped.lower() in ("none", "null", ""):
        return None
    if IndexTriplets in accepted and stripped.startswith("["):
        return check(name, parse_triplets(name, stripped))
    if tuple[int, ...] in accepted and NUMBER_LIST.fullmatch(stripped):
        parts = re.findall(r"-?\d+", stripped)
        # `int` raises ValueError for more than 4300 digits.
        if max(map(len, parts)) > len(str(MAX_INT)) + 1:
            raise too_large(name, text)
        return check(name, [int(part) for part in parts])
    if bool in accepted and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    if int in accepted or float in accepted:
        for number in (int, float):
            try:
                return check(name, number(stripped))
            except InputError:
                raise
            except ValueError:
                continue
    return check(name, stripped)


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """The values of the "key=value" arguments of --set, by key.

    Raises:
        InputError: an argument has no =, a key is unknown, or a value is invalid.
    """
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(
                f"Expected --set key=value, such as --set width=16. Received: --set {quoted(pair)}."
            )
        values[name.strip()] = parse_value(name.strip(), text)
    return values

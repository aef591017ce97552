"""The keys of a run: name, meaning, default and what each may hold."""

import dataclasses
import math
import re
import types
import typing
import warnings
from dataclasses import dataclass, field
from typing import Any

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted

BACKENDS = ("jax", "tensorflow", "torch")
DATASETS = ("digits", "synthetic", "npz:FILE", "folder:PATH", "tfds:NAME")
MODELS = ("resnet", "vit", "module:function", "FILE.keras")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "inverse-sqrt", "cosine")
SAVED = ".keras"
STEMS = ("small", "imagenet")
BATCH_NORMS = ("moving", "recalibrate")
# A side of images that is larger than this is a slip of the hand.
MOST_PIXELS = 16_384


def key(default: Any, help: str, *, choices=None, low=None, high=None, below=None, unset="preset"):
    """A dataclass field with what the checks and `--keys` need to know of it.

    `unset` says what stands for a key that is None.
    """
    bounds = {"low": low, "high": high, "below": below}
    metadata = {"help": help, "choices": choices, "unset": unset, **bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run except the folder it is written to.

    A key that is None is filled by `resolve` from the preset of its dataset, model and optimizer.

    Raises:
        InputError: a value has the wrong type or is out of range, or a name is unknown.

    Example:
        >>> Config(model="vit", epochs=40).model
        'vit'
    """

    backend: str = key("jax", "Keras backend", choices=BACKENDS)
    dataset: str = key("digits", "digits, synthetic, npz:FILE, folder:PATH, or tfds:NAME")
    model: str = key("resnet", "network: resnet, vit, module:function, or FILE.keras")
    optimizer: str = key("sgd", "optimizer", choices=OPTIMIZERS)
    epochs: int | None = key(None, "epochs to train", low=1, high=1_000_000)
    label_noise: float = key(
        0.2, "share of training labels replaced by another class", low=0, below=1
    )
    seed: int = key(0, "seed of the weights and the order of batches", low=0)
    data_seed: int | None = key(
        None,
        "seed of the split, the noise, the images compared and the planes; runs of one data_seed "
        "and label_noise can be compared",
        low=0,
        unset="seed",
    )

    standardize: bool = key(
        True, "pixels less their mean, by their deviation; false leaves them as they are read"
    )
    data_dir: str | None = key(None, "folder of prepared TFDS data sets", unset="that of TFDS")
    download: bool = key(False, "download a TFDS data set that is not on disk")
    image_size: int | None = key(
        None,
        "side of the images of folder and tfds, in pixels",
        low=1,
        high=MOST_PIXELS,
        unset="their own",
    )
    test_share: float = key(
        0.2, "share of images kept for testing where a data set has no split", low=0.01, high=0.9
    )
    augment: bool = key(False, "random crops (padding 1/8 of the side) and horizontal flips")
    synthetic_train: int = key(2048, "training images of synthetic", low=8, high=10**9)
    synthetic_test: int = key(512, "test images of synthetic", low=1, high=10**9)
    synthetic_size: int = key(16, "side of an image of synthetic", low=2, high=MOST_PIXELS)
    synthetic_channels: int = key(3, "channels of synthetic", low=1, high=1000)
    synthetic_classes: int = key(10, "classes of synthetic", low=2, high=10_000)

    preset: str | None = key(
        None, "sizes of a network by name, such as resnet34 or vit-s16", unset="small images"
    )
    width: int | None = key(
        None,
        "width: channels of the ResNet's first stage, features of a ViT token",
        low=1,
        high=100_000,
    )
    blocks: tuple[int, ...] | None = key(None, "blocks of each ResNet stage", low=1, high=1000)
    stem: str | None = key(None, "first layers of the ResNet", choices=STEMS)
    patch: int | None = key(None, "side of a ViT patch in pixels", low=1, high=MOST_PIXELS)
    depth: int | None = key(None, "encoder blocks of the ViT", low=1, high=1000)
    heads: int | None = key(None, "attention heads of the ViT", low=1, high=100_000)

    learning_rate: float | None = key(None, "initial learning rate", low=0, high=1e6)
    schedule: str | None = key(None, "course of the learning rate", choices=SCHEDULES)
    momentum: float = key(0.9, "momentum of SGD", low=0, below=1)
    weight_decay: float = key(0.0, "decoupled weight decay", low=0, high=1e6)
    batch_size: int | None = key(None, "images of a training step", low=1)

    n_eval: int = key(1024, "training images whose representations are compared", low=4)
    cka_batch: int = key(256, "images of a batch of minibatch CKA", low=4)
    record_epochs: str | tuple[int, ...] = key(
        "log", "epochs to record: log (0, round(2^(i/6)), the last) or a list", low=0
    )
    layers: str | None = key(
        None, "regular expression of layer names to record", unset="every block"
    )
    pooling: str | int = key(
        "mean", "features of a probe: mean, flatten, or the side of a grid", low=1
    )
    output: str | None = key(
        None, "the output that is recorded, of a network with several", unset="the only one"
    )
    batch_norm: str = key(
        "moving", "moments of BatchNormalization while recording", choices=BATCH_NORMS
    )
    probe_images: int = key(10_000, "training images that probes are fitted on, at most", low=3)
    planes: int = key(16, "planes through three images; 0 records no regions", low=0, high=10_000)
    resolution: int = key(24, "points along each side of a plane's grid", low=2, high=1000)
    margin: float = key(
        0.1, "margin around the three images, in parts of their extent", low=0, high=100
    )
    keep_weights: bool = key(False, "keep the weights of every recorded epoch in weights/")
    checkpoint_seconds: float = key(
        60.0, "seconds after which a checkpoint is due where no epoch is recorded", low=0
    )
    grace_seconds: float = key(
        20.0, "seconds that an epoch may take to end after Ctrl-C or SIGTERM", low=0
    )

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            value = check(spec.name, getattr(self, spec.name))
            object.__setattr__(self, spec.name, value)
        if self.pooling not in ("mean", "flatten") and not isinstance(self.pooling, int):
            raise unknown("pooling", self.pooling, ("mean", "flatten"), "Or a whole number.")
        if isinstance(self.record_epochs, str) and self.record_epochs != "log":
            raise unknown("record_epochs", self.record_epochs, ("log",), "Or a list of epochs.")


# The largest whole number of TOML.
LARGEST = 2**63 - 1
NUMBER_LIST = re.compile(r"[\[(]?\s*-?\d+(\s*,\s*-?\d+)*\s*,?\s*[\])]?")
KEYS = {spec.name: spec for spec in dataclasses.fields(Config)}
TYPES = typing.get_type_hints(Config)


def check_dataset_name(name: str) -> None:
    """Raises InputError unless `name` has the form of a known data set."""
    kind, colon, rest = name.partition(":")
    forms = {form.partition(":")[0]: form for form in DATASETS if ":" in form}
    if kind not in forms:
        if name not in DATASETS:
            raise unknown("dataset", name, DATASETS)
    elif not rest:
        raise InputError(f"Dataset {quoted(name)} names no data. Expected {forms[kind]}.")


def check_model_name(name: str) -> None:
    """Raises InputError unless `name` is a network's or has the form module:function."""
    if name.endswith(SAVED):
        return
    if ":" in name:
        module, _, function = name.partition(":")
        if all(part.isidentifier() for part in [*module.split("."), function]):
            return
        raise InputError(
            f"model = {quoted(name)} is no module:function. Expected such as 'my_models:build', "
            "for the function build in my_models.py."
        )
    if name not in MODELS:
        raise unknown("model", name, MODELS)


def check_pattern(pattern: str) -> None:
    """Raises InputError unless `pattern` is a regular expression."""
    try:
        with warnings.catch_warnings():
            # Of brackets that a later Python may read in another way.
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"layers={quoted(pattern)} is not a regular expression: {error}. "
            "Expected one such as 'stage4.*' or 'block0[1-3]'."
        ) from None


FORMS = {"dataset": check_dataset_name, "model": check_model_name, "layers": check_pattern}


def check(name: str, value: Any) -> Any:
    """The value of a key, converted where nothing is lost; raises InputError otherwise."""
    if name not in KEYS:
        raise unknown("key", name, KEYS, "`repdyn run --keys` lists all.")
    meta = KEYS[name].metadata
    value = convert(name, value)
    if value is None:
        return None
    if meta["choices"] and value not in meta["choices"]:
        raise unknown(name, value, meta["choices"])
    if isinstance(value, str):
        check_text(name, value)
    if name in FORMS:
        FORMS[name](value)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str | bool):
            continue
        low, high, below = meta["low"], meta["high"], meta["below"]
        if (
            not math.isfinite(number)
            or (low is not None and number < low)
            or (high is not None and number > high)
            or (below is not None and number >= below)
        ):
            raise InputError(
                f"{name} = {quoted(number)} is out of range. Expected {range_of(meta)}."
            )
    return value


def check_text(name: str, text: str) -> None:
    """Raises InputError where a file of UTF-8 could not hold a text, or no path could."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(
            f"{name} = {quoted(text)} is no text that a file could hold. Expected Unicode without "
            "NUL characters; rename files whose names are not UTF-8."
        )


def range_of(meta) -> str:
    """The range of a key in words."""
    parts = [
        f"{word} {meta[bound]}"
        for bound, word in (("low", "at least"), ("high", "at most"), ("below", "below"))
        if meta[bound] is not None
    ]
    return "a finite number" + (" " + " and ".join(parts) if parts else "")


def accepted(name: str) -> tuple:
    """The types that a key may hold."""
    hint = TYPES[name]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(options)


def convert(name: str, value: Any) -> Any:
    """`value` as one of the key's types, without loss."""
    options = accepted(name)
    if value is None and type(None) in options:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_list = isinstance(value, list | tuple | range)
    if any(isinstance(v, int) and abs(v) > LARGEST for v in (value if is_list else [value])):
        raise too_large(name)
    for option in options:
        if option is bool and isinstance(value, bool):
            return value
        if option is int and is_number and float(value).is_integer():
            if abs(value) > LARGEST:
                raise too_large(name)
            return int(value)
        if option is float and is_number:
            return float(value)
        if option is str and isinstance(value, str):
            return value
        if typing.get_origin(option) is tuple and is_list:
            if value and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
                return tuple(value)
    raise InputError(f"{name} = {quoted(value)} is not valid. Expected {words_of(name)}.")


def too_large(name: str) -> InputError:
    """The error for whole numbers that TOML does not hold."""
    return InputError(f"{name} is out of range. Expected {words_of(name)} up to {LARGEST}.")


def words_of(name: str) -> str:
    """What a key may hold, in words."""
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        tuple[int, ...]: "a list of whole numbers",
    }
    return " or ".join(words[option] for option in accepted(name) if option is not type(None))


def parse_value(name: str, text: str) -> Any:
    """The value that `text`, as typed after `--set name=`, stands for.

    Lists are written with commas: `blocks=1,1,1,1`.
    """
    if name not in KEYS:
        raise unknown("key", name, KEYS, "`repdyn run --keys` lists all.")
    options = accepted(name)
    stripped = text.strip()
    if type(None) in options and stripped.lower() in ("none", "null", ""):
        return None
    if tuple[int, ...] in options and NUMBER_LIST.fullmatch(stripped):
        parts = re.findall(r"-?\d+", stripped)
        # Python reads no number of more than 4300 digits.
        if max(map(len, parts)) > len(str(LARGEST)) + 1:
            raise too_large(name)
        return check(name, [int(part) for part in parts])
    if bool in options and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    if int in options or float in options:
        for number in (int, float):
            try:
                return check(name, number(stripped))
            except InputError:
                raise
            except ValueError:
                continue
    return check(name, stripped)


def describe_keys() -> list[tuple[str, str, str]]:
    """Every key with its default (in brackets what stands for none) and its meaning."""
    rows = []
    for name, spec in KEYS.items():
        default = f"({spec.metadata['unset']})" if spec.default is None else spec.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        choices = spec.metadata["choices"]
        suffix = f" ({', '.join(choices)})" if choices else ""
        rows.append((name, str(default), spec.metadata["help"] + suffix))
    return rows

"""One entry for each data set, network, optimizer and learning-rate schedule.

Checks, help texts, defaults, size estimates and names of run folders are read from the entries. To
add a data set or a network, write a module and add an entry here. An entry names its code by an
import path that is resolved on use, so that reading a configuration imports neither Keras nor
NumPy.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted

KERAS_SUFFIX = ".keras"
Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One possible value of a configuration key.

    Args:
        form: how users write it: a name, or a pattern such as "npz:FILE".
        help: one line of help text.
        factory: import path "module:function" of its code.
        keys: configuration keys, passed to the factory by name.
    """

    form: str
    help: str
    factory: str
    keys: tuple[str, ...] = ()

    def matches(self, value: str) -> bool:
        """Whether a value of the key means this entry."""
        return value == self.form

    def check(self, value: str) -> None:
        """Raises InputError unless a matching value is complete."""

    def load_factory(self) -> Callable[..., Any]:
        """The factory, imported."""
        return import_object(self.factory)


@dataclass(frozen=True, kw_only=True)
class DatasetEntry(Entry):
    """A data set.

    The factory is called as `factory(argument, seed=..., **keys)`, without `argument` if the form
    has none, and returns a `datasets.load.RawData`. `seed` is the seed of the split.

    Args:
        shorten: function from the argument to the data set's part of a run folder's name.
    """

    shorten: Callable[[str], str] = str

    @property
    def has_argument(self) -> bool:
        """Whether a colon and an argument follow the name."""
        return ":" in self.form

    @property
    def name(self) -> str:
        """The form without its argument."""
        return self.form.partition(":")[0]

    def matches(self, value: str) -> bool:
        """Whether a value of the key means this entry."""
        return value.partition(":")[0] == self.name if self.has_argument else value == self.form

    def check(self, value: str) -> None:
        """Raises InputError if the argument is missing."""
        if self.has_argument and not self.argument(value):
            raise InputError(
                f"The dataset has no argument. Expected {self.form}. Received: {quoted(value)}."
            )

    def argument(self, value: str) -> str:
        """The part after the colon."""
        return value.partition(":")[2]

    def short_name(self, value: str) -> str:
        """The data set's part of the name of a run folder."""
        return self.shorten(self.argument(value)) if self.has_argument else self.name


@dataclass(frozen=True, kw_only=True)
class NetworkEntry(Entry):
    """A network.

    The factory is called as `factory(image_shape=..., n_classes=..., seed=..., **keys)` and
    returns a `keras.Model`.

    Args:
        defaults: defaults of unset keys.
        training: defaults of `learning_rate`, `schedule` and `batch_size` by optimizer; for other
            optimizers, the defaults of the optimizer's entry apply.
        presets: sizes of published networks, by name.
        layers: regular expression that matches the full names of the layers that are recorded by
            default; None leaves the choice to the recorder.
        blocks: regular expression that matches the full names of the recorded layers that are
            blocks of the network; None if they are not known.
        weights: import path of a function of the `size_keys` that estimates the number of weights;
            None if it is not known before the network is built.
        size_keys: keys that determine the number of weights.
        fits: whether a value means this entry; None compares it with the form.
        check_value: raises InputError unless a matching value is complete.
        shorten: function from the value to the network's part of a run folder's name.
    """

    defaults: Values = field(default_factory=dict)
    training: Mapping[str, Values] = field(default_factory=dict)
    presets: Mapping[str, Values] = field(default_factory=dict)
    layers: str | None = None
    blocks: str | None = None
    weights: str | None = None
    size_keys: tuple[str, ...] = ()
    fits: Callable[[str], bool] | None = None
    check_value: Callable[[str], None] | None = None
    shorten: Callable[[str], str] = str

    def matches(self, value: str) -> bool:
        """Whether a value of the key means this entry."""
        return value == self.form if self.fits is None else self.fits(value)

    def check(self, value: str) -> None:
        """Raises InputError unless a matching value is complete."""
        if self.check_value is not None:
            self.check_value(value)

    def short_name(self, value: str) -> str:
        """The network's part of the name of a run folder."""
        return self.shorten(value)


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry(Entry):
    """An optimizer.

    The factory is called as `factory(learning_rate, weight_decay=..., **keys)` and returns a
    `keras.optimizers.Optimizer`.

    Args:
        defaults: defaults of `learning_rate`, `schedule` and `batch_size` for networks whose entry
            has none for this optimizer.
    """

    defaults: Values


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry(Entry):
    """A learning-rate schedule.

    The factory is called as `factory(rate, total_steps)` and returns what Keras's optimizers take
    as a learning rate.
    """


EntryType = TypeVar("EntryType", bound=Entry)


class Registry(dict[str, EntryType], Generic[EntryType]):
    """The entries of one configuration key by their forms, in the order of the help texts.

    Args:
        key: the configuration key.
        entries: the entries.
    """

    def __init__(self, key: str, entries: Iterable[EntryType]):
        super().__init__({entry.form: entry for entry in entries})
        self.key = key

    def find(self, value: str) -> EntryType:
        """The entry that a value of the key means.

        Raises:
            InputError: no entry matches, or the value is incomplete.
        """
        for entry in self.values():
            if entry.matches(value):
                entry.check(value)
                return entry
        raise unknown(self.key, value, self)

    def forms(self) -> str:
        """All forms as an enumeration, for help texts and messages."""
        return one_of(self)


def one_of(names: Iterable[str]) -> str:
    """Alternatives as an enumeration.

    Example:
        >>> one_of(["a", "b", "c"])
        'a, b or c'
    """
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def import_object(path: str) -> Any:
    """Imports the object of an import path "module:name"."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def check_function_name(value: str) -> None:
    """Raises InputError unless a value has the form module:function."""
    module, _, function = value.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), function]):
        raise InputError(
            "Expected model = module:function, such as 'my_models:build' for the function build "
            f"in my_models.py. Received: {quoted(value)}."
        )


DATASETS = Registry(
    "dataset",
    [
        DatasetEntry(
            form="digits",
            help="scans of handwritten digits, 8 x 8, included in scikit-learn",
            factory="repdyn_keras.datasets.sources:digits",
            keys=("test_share",),
        ),
        DatasetEntry(
            form="synthetic",
            help="generated images, one noisy pattern per class",
            factory="repdyn_keras.datasets.sources:synthetic",
            keys=(
                "synthetic_train",
                "synthetic_test",
                "synthetic_size",
                "synthetic_channels",
                "synthetic_classes",
            ),
        ),
        DatasetEntry(
            form="npz:FILE",
            help="NumPy archive of x_train, y_train, x_test and y_test, or of x and y",
            factory="repdyn_keras.datasets.archives:npz",
            keys=("test_share",),
            shorten=lambda path: Path(path).stem,
        ),
        DatasetEntry(
            form="folder:PATH",
            help="image files in one folder per class",
            factory="repdyn_keras.datasets.folder:folder",
            keys=("image_size", "test_share"),
            shorten=lambda path: Path(path).expanduser().resolve().name,
        ),
        DatasetEntry(
            form="idx:PATH",
            help="folder of IDX files, as of MNIST and Fashion-MNIST",
            factory="repdyn_keras.datasets.idx:idx",
            keys=("test_share",),
            shorten=lambda path: Path(path).expanduser().resolve().name,
        ),
        DatasetEntry(
            form="tfds:NAME",
            help="TensorFlow Datasets",
            factory="repdyn_keras.datasets.tfds:tfds",
            keys=("data_dir", "download", "image_size", "test_share", "backend"),
        ),
    ],
)

# With the default sizes a run takes less than three minutes on two cores. The learning rates have
# the earliest perfect fit among the rates of benchmarks/README.md whose final test accuracy is
# within 0.02 of the best.
NETWORKS = Registry(
    "model",
    [
        NetworkEntry(
            form="resnet",
            help="pre-activation ResNet",
            factory="repdyn_keras.models.resnet:resnet",
            keys=("width", "blocks", "stem"),
            defaults={"width": 8, "blocks": (2, 2, 2, 2), "stem": "small"},
            training={
                "sgd": {"learning_rate": 0.05, "schedule": "inverse-sqrt", "batch_size": 128},
                "adam": {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 128},
            },
            # Blocks: He et al. 2016 (arXiv 1512.03385), table 1. "-cifar": the stem for small
            # images and the width 64 of Nakkiran et al. 2020 (arXiv 1912.02292).
            presets={
                "resnet18": {"width": 64, "blocks": (2, 2, 2, 2), "stem": "imagenet"},
                "resnet34": {"width": 64, "blocks": (3, 4, 6, 3), "stem": "imagenet"},
                "resnet18-cifar": {"width": 64, "blocks": (2, 2, 2, 2), "stem": "small"},
                "resnet34-cifar": {"width": 64, "blocks": (3, 4, 6, 3), "stem": "small"},
            },
            layers=r"stem|stage\d+_block\d+|pooled",
            blocks=r"stage\d+_block\d+",
            weights="repdyn_keras.models.resnet:approximate_weights",
            size_keys=("width", "blocks"),
        ),
        NetworkEntry(
            form="vit",
            help="Vision Transformer",
            factory="repdyn_keras.models.vit:vit",
            keys=("patch", "width", "depth", "heads"),
            defaults={"width": 64, "patch": 4, "depth": 6, "heads": 4},
            training={
                "sgd": {"learning_rate": 0.01, "schedule": "inverse-sqrt", "batch_size": 64},
                "adam": {"learning_rate": 5e-4, "schedule": "constant", "batch_size": 64},
            },
            # mu16: big_vision's table of sizes. ti16 and s16: Touvron et al. 2021
            # (arXiv 2012.12877), table 1. b16: Dosovitskiy et al. 2021 (arXiv 2010.11929), table 1.
            # ti4: ti16 for images of 32 x 32. Its patch is our own choice: 64 tokens instead of 4.
            presets={
                "vit-mu16": {"width": 32, "depth": 1, "heads": 2, "patch": 16},
                "vit-ti4": {"width": 192, "depth": 12, "heads": 3, "patch": 4},
                "vit-ti16": {"width": 192, "depth": 12, "heads": 3, "patch": 16},
                "vit-s16": {"width": 384, "depth": 12, "heads": 6, "patch": 16},
                "vit-b16": {"width": 768, "depth": 12, "heads": 12, "patch": 16},
            },
            layers=r"patch_embedding|block\d+|class_token",
            blocks=r"block\d+",
            weights="repdyn_keras.models.vit:approximate_weights",
            size_keys=("width", "depth"),
        ),
        NetworkEntry(
            form="module:function",
            help="a Python function that returns a keras.Model",
            factory="repdyn_keras.models.user_models:build_by_function",
            keys=("model",),
            fits=lambda value: ":" in value and not value.endswith(KERAS_SUFFIX),
            check_value=check_function_name,
        ),
        NetworkEntry(
            form=f"FILE{KERAS_SUFFIX}",
            help="a saved keras.Model",
            factory="repdyn_keras.models.user_models:build_from_file",
            keys=("model",),
            fits=lambda value: value.endswith(KERAS_SUFFIX),
            shorten=lambda path: Path(path).stem,
        ),
    ],
)

OPTIMIZERS = Registry(
    "optimizer",
    [
        OptimizerEntry(
            form="sgd",
            help="stochastic gradient descent with momentum",
            factory="keras.optimizers:SGD",
            keys=("momentum",),
            defaults={"learning_rate": 0.01, "schedule": "inverse-sqrt", "batch_size": 128},
        ),
        OptimizerEntry(
            form="adam",
            help="Adam",
            factory="keras.optimizers:Adam",
            defaults={"learning_rate": 1e-3, "schedule": "constant", "batch_size": 128},
        ),
    ],
)

SCHEDULES = Registry(
    "schedule",
    [
        ScheduleEntry(
            form="constant",
            help="the initial rate throughout",
            factory="repdyn_keras.models.build:constant",
        ),
        ScheduleEntry(
            form="inverse-sqrt",
            help="falls with the square root of the step",
            factory="repdyn_keras.models.build:inverse_sqrt",
        ),
        ScheduleEntry(
            form="cosine",
            help="falls to zero at the last step along a cosine",
            factory="repdyn_keras.models.build:cosine",
        ),
    ],
)

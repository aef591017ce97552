"""Measures: what is recorded of a network's state, and what is computed from all records.

A measure is a module of this package that defines `MEASURE`, a `Measure`, and is listed in
`MODULES`. `CONTRIBUTING.md` has an example. Measures use NumPy; only `device` uses `keras.ops`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeVar

import numpy as np

from repdyn_keras.errors import InputError, unknown

# The modules that define a `MEASURE`, in the order in which they run. A measure may use the results
# of those before it.
MODULES = (
    "cka",
    "cka_epochs",
    "probe",
    "accuracies",
    "image_histories",
    "regions",
    "phases",
    "synchronization",
    "rsa_epochs",
    "mutual_knn_epochs",
    "features",
    "procrustes",
    "svcca",
    "pwcca",
)

Dims = tuple[str, ...]
Arrays = Mapping[str, Any]
# Kernel (d, classes) and bias (classes,) of a probe for each hidden layer.
ProbeWeights = list[tuple[np.ndarray, np.ndarray]]
T = TypeVar("T")


class Labels(Protocol):
    """Labels of images that probes are fitted on."""

    @property
    def y(self) -> np.ndarray:
        """(n,) int64 labels as given."""

    def subsets(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By name of a subset: (n,) mask of its images, and (n,) the labels to compare with."""


class State(Protocol):
    """One state of a network. Every property is computed when it is first read, and cached.

    The layers are the hidden layers in the order of the network, followed by the output.

    Attributes:
        layers: names of the layers.
        n_classes: number of classes of the output's scores, or of the labels if the output holds
            no class scores; 0 without either.
        fitted: labels of the images that probes are fitted on; None if there are none.
        held_out: labels of the images that nothing is fitted on; None if there are none.
        fingerprints: (layer, pair) float32, see `measures.cka.fingerprint`.
        norms: (layer, 3) squared norms, see `measures.cka.is_dead`.
        epsilons: machine epsilon of each layer's activations.
        fitted_features: pooled features (n, d) of each hidden layer, then the output's scores
            (n, classes), of the images that probes are fitted on. The scores are NaN if the output
            holds no class scores.
        held_out_features: the same for the held-out images; None if there are none.
        evaluation_features: the same for the evaluation images, if they are to be recorded; None if
            not.
        fitted_logits: (n, classes) logits of the output for the probe images, see
            `recording.network.head.Head.logits`; NaN if the output holds no class scores.
        training_scores: (n, classes) scores of the output for the probe images, computed with
            batch statistics on whole batches; None if no BatchNormalization layer is trained.
        has_planes: whether decision regions are recorded.
    """

    layers: list[str]
    n_classes: int

    @property
    def fitted(self) -> Labels | None: ...
    @property
    def held_out(self) -> Labels | None: ...
    @property
    def fingerprints(self) -> np.ndarray: ...
    @property
    def norms(self) -> np.ndarray: ...
    @property
    def epsilons(self) -> list[float]: ...
    @property
    def fitted_features(self) -> list[np.ndarray]: ...
    @property
    def held_out_features(self) -> list[np.ndarray] | None: ...
    @property
    def evaluation_features(self) -> list[np.ndarray] | None: ...
    @property
    def fitted_logits(self) -> np.ndarray: ...
    @property
    def training_scores(self) -> np.ndarray | None: ...
    @property
    def has_planes(self) -> bool: ...

    def classify_planes(self, probes: list[ProbeWeights]) -> tuple[np.ndarray, np.ndarray]:
        """The classes that probes and the output predict at grid points, all in one pass.

        Args:
            probes: sets of probes, each with one for every hidden layer.

        Returns:
            (set, layer, plane, row, column) classes, and (layer, plane_drawn, row_drawn,
            column_drawn) classes by the first set on the drawn grids of the first planes, of which
            there may be none.
        """

    def cached(self, function: "Callable[[State], T]") -> T:
        """`function(state)`, computed only once for each state, for use by several measures."""


class Series(Protocol):
    """All records of a run.

    Attributes:
        layers: names of the layers, the output last.
        epochs: the recorded epochs.
        blocks: (layer,) whether a layer is a block of the network.
        constants: `xarray.Dataset` of everything that is the same at every epoch.
    """

    layers: list[str]
    epochs: list[float]
    constants: Any

    @property
    def blocks(self) -> np.ndarray: ...

    def recorded(self, *names: str) -> dict[str, np.ndarray]:
        """Variables of the records, stacked along a first dimension `epoch`.

        Variables that a record lacks are left out.
        """

    def each(self, name: str, part: tuple[slice, ...]) -> Iterator[np.ndarray]:
        """A part of a variable of the records, one record after another."""

    def fingerprints(self, layers: slice, pairs: slice) -> np.ndarray:
        """(epoch, layer, pair) part of the fingerprints."""

    def features(self, layer: int) -> np.ndarray:
        """(epoch, n, d) float32 features of the evaluation images in a layer."""

    @property
    def fingerprint_length(self) -> int:
        """Number of pairs in a fingerprint."""

    def computed(self, name: str) -> np.ndarray | None:
        """A variable that an earlier measure computed; None if there is none."""


@dataclass(frozen=True)
class Measure:
    """A measure, registered by name.

    Attributes:
        name: its name, which is also its purpose in `timing.csv`.
        title: what is computed, for progress messages.
        recorded: dims by name of the variables that it records for one state.
        computed: dims by name of the variables of `dynamics.nc` that it computes.
        meanings: (long name, unit) by name of every variable in `computed`, which `dynamics.nc`
            holds as `long_name` and `units`. The unit of a pure number is "1".
        attributes: names of the attributes of `dynamics.nc` that it computes.
        on_state: function of a state that returns the variables in `recorded` by name. It may
            leave out variables.
        over_epochs: function of all records that returns the variables in `computed` and the
            attributes in `attributes` by name. It may leave out both.
        is_on_request: whether `over_epochs` runs only if the measure is requested by name, as by
            `repdyn analyze --measure`.
        needs_features: whether `over_epochs` needs records with features.
    """

    name: str
    title: str
    recorded: Mapping[str, Dims] = field(default_factory=dict)
    computed: Mapping[str, Dims] = field(default_factory=dict)
    meanings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    on_state: Callable[[State], Arrays] | None = None
    over_epochs: Callable[[Series], Arrays] | None = None
    is_on_request: bool = False
    needs_features: bool = False


def check_names(measure: Measure, others: Mapping[str, Measure]) -> None:
    """Raises InputError unless names are unique and every computed variable has a meaning."""
    if measure.name in others:
        raise InputError(
            f"Expected a measure with a unique name. Received: {measure.name!r}, which is already "
            "registered."
        )
    for other in others.values():
        for kind in ("recorded", "computed", "attributes"):
            taken = sorted({*getattr(measure, kind)} & {*getattr(other, kind)})
            if taken:
                raise InputError(
                    f"Expected unique names of the {kind} variables of the measure "
                    f"{measure.name!r}. Received: {taken[0]!r}, which the measure {other.name!r} "
                    "has as well."
                )
    undescribed = [name for name in measure.computed if not is_meaning(measure.meanings.get(name))]
    if undescribed:
        raise InputError(
            "Expected meanings=(long name, unit) of every computed variable of the measure "
            f"{measure.name!r}, such as ('number of classes', '1'). Received: "
            f"{measure.meanings.get(undescribed[0])!r} for {undescribed[0]!r}."
        )


def is_meaning(value: object) -> bool:
    """Whether a value is a long name and a unit."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(text, str) and text for text in value)


def labelled(
    measure: Measure, arrays: Arrays, table: Mapping[str, Dims], sizes: dict[str, int]
) -> dict[str, tuple[Dims, Any]]:
    """Arrays of a measure with their dims, each (dims, array), checked against a table.

    Args:
        measure: the measure.
        arrays: the result of one of its functions.
        table: `measure.recorded` or `measure.computed`.
        sizes: sizes of known dims; those of new dims are added.

    Raises:
        InputError: a name is not in the table, or an array does not fit its dims.
    """
    variables: dict[str, tuple[Dims, Any]] = {}
    for name, array in arrays.items():
        if name not in table:
            raise InputError(
                f"Expected variables of the measure {measure.name!r} among: "
                f"{', '.join(table) or 'none'}. Received: {name!r}. Declare it in its table."
            )
        dims, shape = table[name], np.shape(array)
        expected = tuple(sizes.get(dim) for dim in dims)
        fits = len(shape) == len(dims) and all(
            size in (None, actual) for size, actual in zip(expected, shape, strict=True)
        )
        if not fits:
            described = ", ".join(
                dim if size is None else f"{dim}={size}"
                for dim, size in zip(dims, expected, strict=True)
            )
            raise InputError(
                f"Expected the variable {name!r} of the measure {measure.name!r} with dims "
                f"({described}). Received: an array of shape {shape}."
            )
        sizes.update(zip(dims, shape, strict=True))
        variables[name] = (dims, array)
    return variables


@cache
def _registry() -> dict[str, Measure]:
    measures: dict[str, Measure] = {}
    for module in MODULES:
        measure = import_module(f"{__name__}.{module}").MEASURE
        check_names(measure, measures)
        measures[measure.name] = measure
    return measures


def register(measure: Measure) -> None:
    """Adds a measure, which runs after the ones already registered.

    Raises:
        InputError: another measure has the same name or a variable of the same name, or a variable
            that it computes has no meaning.
    """
    check_names(measure, _registry())
    _registry()[measure.name] = measure


def registered() -> list[Measure]:
    """All measures, in the order in which they run."""
    return list(_registry().values())


def on_request() -> list[str]:
    """The names of the measures that are computed only on request."""
    return [measure.name for measure in registered() if measure.is_on_request]


def requested(names: Iterable[str]) -> list[Measure]:
    """The measures that always run, and those that are requested by name.

    Raises:
        InputError: there is no measure of that name that is computed on request.
    """
    names = list(names)
    for name in names:
        if name not in on_request():
            raise unknown("measure", name, on_request())
    return [each for each in registered() if not each.is_on_request or each.name in names]


def measure_names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Names of measures without repetitions, from a list or a text that commas separate.

    Raises:
        InputError: it is something else.
    """
    listed = given.split(",") if isinstance(given, str) else () if given is None else given
    names = list(listed) if isinstance(listed, Iterable) else [listed]
    if not all(isinstance(name, str) for name in names):
        raise InputError(
            f"Expected measures as names, such as ('rsa', 'svcca'). Received: measures={given!r}."
        )
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))

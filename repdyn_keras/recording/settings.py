"""Settings of a recorder: epochs, evaluation images, probes, planes and layers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from repdyn_keras import seeds
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures import requested
from repdyn_keras.recording.inputs import EvaluationImages, LabelledImages
from repdyn_keras.recording.plane_corners import PlaneCorners
from repdyn_keras.text import is_whole, quoted, visible
from repdyn_keras.triplets import Triplet

PER_OCTAVE = 6


class Schedule:
    """The epochs to record, which always include epoch 0 and the last epoch.

    Args:
        epochs: "log" for the distinct values of round(2^(i/6)), which do not depend on the length
            of the training; a whole number k for every k-th epoch; or a list of epochs.
        early: number of early records, within the first two epochs.

    Raises:
        InputError: `epochs` has none of these forms.

    Example:
        >>> Schedule("log").planned(10)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        >>> Schedule(4).planned(10)
        [0, 4, 8, 10]
    """

    def __init__(self, epochs: str | int | Iterable[int] = "log", early: int = 0):
        require_whole("early_records", early, 0)
        self.early = early
        self.epochs: str | int | frozenset[int] = "log"
        if isinstance(epochs, str):
            if epochs != "log":
                raise unknown(
                    "epochs", epochs, ("log",), "Or use a whole number, or a list of epochs."
                )
            return
        if isinstance(epochs, Iterable):
            self.epochs = frozenset(epochs)
            numbers, minimum = list(self.epochs), 0
        else:
            self.epochs = epochs
            numbers, minimum = [epochs], 1
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
                raise InputError(
                    "Expected 'log', a whole number k of at least 1 to record every k-th epoch, or "
                    f"a list of epochs of at least 0. Received: epochs={epochs!r}."
                )

    def includes(self, epoch: float) -> bool:
        """Whether to record the state after whole epochs, whatever the length of the training."""
        if epoch == 0:
            return True
        if not is_whole(epoch):
            return False
        if isinstance(self.epochs, str):
            return is_log_epoch(epoch)
        if isinstance(self.epochs, int):
            return epoch % self.epochs == 0
        return epoch in self.epochs

    def planned(self, last: int) -> list[int]:
        """The whole epochs to record in a training of `last` epochs."""
        return [epoch for epoch in range(last + 1) if epoch == last or self.includes(epoch)]


def is_log_epoch(epoch: float) -> bool:
    """Whether an epoch of at least 1 is round(2^(i/6)) for some i = 0, 1, ..."""
    near = round(PER_OCTAVE * math.log2(epoch))
    return any(round(2 ** (i / PER_OCTAVE)) == epoch for i in range(max(0, near - 1), near + 2))


POOLINGS = ("mean", "flatten")
BATCH_NORMS = ("moving", "recalibrate")


@dataclass(frozen=True)
class ProbeSettings:
    """The images and the features of the probes.

    Attributes:
        fitted: the probe images and their given labels; None for no probes.
        held_out: the held-out images and their labels, or None.
        pooling: features of a probe: "mean" over positions, "flatten", or the side of a grid.
    """

    fitted: LabelledImages | None
    held_out: LabelledImages | None
    pooling: str | int

    def __post_init__(self):
        is_side = isinstance(self.pooling, int) and self.pooling >= 1
        if self.pooling not in POOLINGS and not is_side:
            hint = "Or use a whole number of at least 1, the side of a grid."
            raise unknown("pooling", self.pooling, POOLINGS, hint)


@dataclass(frozen=True)
class PlaneSettings:
    """The planes and the grids on them.

    Attributes:
        planes: number of planes, or triplets of the ids of their images; 0 records no decision
            regions.
        resolution: points along each side of a grid.
        margin: margin around a plane's three images, relative to their extent.
        seed: seed of the random choice of planes.
        drawn: number of planes, the first ones, with a second grid that is only drawn.
        drawn_resolution: points along each side of such a grid.
        place: name or number of the input in which the planes are; None for the only one of real
            numbers.
    """

    planes: int | tuple[Triplet, ...]
    resolution: int
    margin: float
    seed: int
    drawn: int
    drawn_resolution: int
    place: str | int | None = None

    def __post_init__(self):
        if isinstance(self.planes, int):
            require_whole("planes", self.planes, 0)
        require_whole("resolution", self.resolution, 2)
        require_whole("drawn_planes", self.drawn, 0)
        require_whole("drawn_resolution", self.drawn_resolution, 2)
        if not 0 <= self.margin < np.inf:
            raise InputError(f"Expected a margin of at least 0. Received: margin={self.margin!r}.")

    @property
    def triplets(self) -> tuple[Triplet, ...]:
        """The ids of each plane's images; empty if planes are drawn at random."""
        return () if isinstance(self.planes, int) else self.planes

    @property
    def count(self) -> int:
        """Number of planes."""
        return self.planes if isinstance(self.planes, int) else len(self.planes)

    @property
    def drawn_count(self) -> int:
        """Number of planes with a drawn grid, which has to be finer than the other one."""
        return min(self.drawn, self.count) if self.drawn_resolution > self.resolution else 0

    @property
    def points(self) -> int:
        """Number of points that are classified for a record."""
        drawn = self.drawn_count * self.drawn_resolution**2
        return self.count * self.resolution**2 + drawn


@dataclass(frozen=True)
class LayerSelection:
    """The layers and the output of a model to record.

    Attributes:
        layers: names, a regular expression, or None for the default.
        output: name of the output to record; None for a model with one output.
        blocks: regular expression of the layers that are blocks of the network; None if every
            hidden layer is one.
        channel_axis: the axis of the channels in layers that do not tell it, or axes by the name
            of a layer; None if it is not named.
    """

    layers: str | Iterable[str] | None
    output: str | None = None
    blocks: str | None = None
    channel_axis: int | Mapping[str, int] | None = None

    def __post_init__(self):
        given = self.channel_axis
        axes = given.values() if isinstance(given, Mapping) else [0 if given is None else given]
        if not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes):
            raise InputError(
                "Expected channel_axis as a whole number, such as 1 or -1, or as a dict of such "
                f"numbers by the name of a layer. Received: channel_axis={quoted(given)}."
            )


@dataclass(frozen=True)
class Settings:
    """Everything that a recorder records, apart from the model.

    Attributes:
        evaluation: the evaluation images, whose representations are compared.
        probes: the images and the features of the probes.
        planes: the planes.
        selection: the layers and the output to record.
        schedule: the epochs to record.
        batch_norm: "moving" or "recalibrate".
        class_names: names of the classes; empty if they have none.
        fits_on_evaluation: whether probes are fitted on the evaluation images because no other
            images were given.
        corners: the images of planes that are given as triplets; None if planes are drawn at
            random.
        measures: the measures on request that an analysis computes.
    """

    evaluation: EvaluationImages
    probes: ProbeSettings
    planes: PlaneSettings
    selection: LayerSelection
    schedule: Schedule
    batch_norm: str
    class_names: tuple[str, ...] = ()
    fits_on_evaluation: bool = False
    corners: PlaneCorners | None = None
    measures: tuple[str, ...] = ()

    def __post_init__(self):
        if self.batch_norm not in BATCH_NORMS:
            raise unknown("batch_norm", self.batch_norm, BATCH_NORMS)
        requested(self.measures)

    @property
    def keeps_features(self) -> bool:
        """Whether a measure needs the features of the evaluation images in the records."""
        return any(measure.needs_features for measure in requested(self.measures))

    @property
    def has_planes(self) -> bool:
        """Whether planes are requested, and the labels that they need are given."""
        return (
            self.planes.count > 0
            and self.evaluation.true is not None
            and self.probes.fitted is not None
        )


def fitted_images(
    train, images, labels, true_labels, images_true_labels, ids, probe_images: int, seed: int
) -> LabelledImages | None:
    """The probe images, or None without labels; drawn by true label if that is known.

    Args:
        train: (x, y), or None for the evaluation images and their labels.
        images, labels: the evaluation images; labels may be None.
        true_labels: (n,) labels of `train` before label noise, or None.
        images_true_labels: (n,) labels of `images` before label noise, which are those of the
            probe images without `train`; or None.
        ids: (n,) ids of the images of `train`, or of `images` without it; None numbers them.
        probe_images: maximum number of probe images.
        seed: seed of the recorder.
    """
    require_whole("probe_images", probe_images, 1)
    if train is None and labels is None:
        return None
    pair = (images, labels) if train is None else train
    known = images_true_labels if train is None and true_labels is None else true_labels
    labelled = LabelledImages.from_pair(pair, "train", known, ids)
    return labelled.probe_sample(probe_images, seeds.derived(seed, seeds.PROBE_IMAGES))


def require_whole(name: str, value: object, minimum: int) -> None:
    """Raises InputError unless a setting is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(
            f"Expected a whole number of at least {minimum} for {name}. Received: {name}={value!r}."
        )


def print_notice(text: str) -> None:
    """Prints a message from the recorder."""
    print(f"repdyn: {visible(text)}", flush=True)

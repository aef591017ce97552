"""One state of a model: the properties that measures use, computed when first needed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from repdyn_keras.measures import Dims, ProbeWeights, labelled, registered
from repdyn_keras.measures.accuracies import BATCH_NORM_GAP, pooled_moments
from repdyn_keras.recording.backend_code import full_precision, unchanged
from repdyn_keras.recording.inputs import LabelledImages, taken
from repdyn_keras.recording.network.recorded_model import RecordedModel, batches, results
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.text import format_epoch

T = TypeVar("T")


class Stopwatch:
    """Measures seconds by purpose. Nested purposes are not counted for the outer one.

    Attributes:
        seconds: seconds by purpose.
    """

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def timed(self, purpose: str) -> Iterator[None]:
        """Adds the duration of the block to its purpose."""
        self._lap()
        self._running.append(purpose)
        try:
            yield
        finally:
            self._lap()
            self._running.pop()

    def _lap(self) -> None:
        now = time.perf_counter()
        if self._running:
            purpose = self._running[-1]
            self.seconds[purpose] = self.seconds.get(purpose, 0.0) + now - self._since
        self._since = now


class ModelState:
    """The current state of a model; implements `measures.State`.

    Args:
        recorded: the model with its passes.
        stopwatch: measures the time of each pass.
        values: the values of the model's variables.
    """

    def __init__(self, recorded: RecordedModel, stopwatch: Stopwatch, values: ModelValues):
        self.layers = recorded.names
        self.n_classes = recorded.n_classes
        self._recorded = recorded
        self._stopwatch = stopwatch
        self._values = values
        self._results: dict[Callable, Any] = {}

    @property
    def fitted(self) -> LabelledImages | None:
        """The probe images and their labels."""
        return self._recorded.settings.probes.fitted

    @property
    def held_out(self) -> LabelledImages | None:
        """The held-out images and their labels."""
        return self._recorded.settings.probes.held_out

    @property
    def epsilons(self) -> list[float]:
        """Machine epsilon of each layer's activations."""
        return self._recorded.epsilons

    @property
    def has_planes(self) -> bool:
        """Whether decision regions are recorded."""
        return bool(self._recorded.planes)

    def cached(self, function: Callable[[Any], T]) -> T:
        """`function(self)`, computed only once."""
        if function not in self._results:
            self._results[function] = function(self)
        return self._results[function]

    @cached_property
    def _evaluated(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Fingerprints, norms and, if needed, the features of the evaluation images."""
        evaluation, layers = self._recorded.settings.evaluation, len(self.layers)
        size = evaluation.batch
        batch_count = len(evaluation.ids) // size
        fingerprints = np.empty((layers, batch_count, size * (size - 1) // 2), np.float32)
        norms = np.zeros((layers, 3))
        features = []
        with self._stopwatch.timed("fingerprints"):
            inputs = ((self._values.tensors, batch) for batch in batches(evaluation.x, size))
            batch_results = results(self._recorded.fingerprint_pass, inputs)
            for index, (vectors, squares, of_images) in enumerate(batch_results):
                fingerprints[:, index] = vectors
                norms += squares
                features.append(of_images)
        joined = [np.concatenate(layer) for layer in zip(*features, strict=True)]
        return fingerprints.reshape(layers, -1), norms, joined

    @property
    def fingerprints(self) -> np.ndarray:
        """(layer, pair) float32 fingerprints."""
        return self._evaluated[0]

    @property
    def norms(self) -> np.ndarray:
        """(layer, 3) squared norms."""
        return self._evaluated[1]

    @cached_property
    def fitted_features(self) -> list[np.ndarray]:
        """Features of the probe images; those of evaluation images are not computed again."""
        recorded, fitted = self._recorded, self.fitted
        if fitted is None:
            return []
        if not recorded.has_shared:
            with self._stopwatch.timed("accuracies"):
                return recorded.features(self._values, fitted.x)
        evaluated = self._evaluated[2]
        with self._stopwatch.timed("accuracies"):
            layers = [layer[recorded.shared] for layer in evaluated]
            remaining = np.flatnonzero(recorded.shared < 0)
            if len(remaining):
                others = recorded.features(self._values, fitted.x, remaining)
                for layer, features in zip(layers, others, strict=True):
                    layer[remaining] = features
        return layers

    @cached_property
    def held_out_features(self) -> list[np.ndarray] | None:
        """Features of the held-out images."""
        if self.held_out is None:
            return None
        with self._stopwatch.timed("accuracies"):
            return self._recorded.features(self._values, self.held_out.x)

    @property
    def evaluation_features(self) -> list[np.ndarray] | None:
        """Features of the evaluation images, if the settings ask for them."""
        return self._evaluated[2] if self._recorded.settings.keeps_features else None

    @property
    def fitted_logits(self) -> np.ndarray:
        """(n, classes) logits of the output for the probe images."""
        return self._recorded.head.logits(self.fitted_features[-1])

    @cached_property
    def _statistics(self) -> tuple[np.ndarray, list] | None:
        """Scores in training mode, and moments of each BatchNormalization layer.

        Only whole batches are used, since padding would change the moments.
        """
        recorded, fitted = self._recorded, self.fitted
        if recorded.statistics_pass is None or fitted is None:
            return None
        size = recorded.statistics_batch
        whole = len(fitted.y) // size * size
        scores, moments = [], []
        with self._stopwatch.timed("batch statistics"):
            inputs = (
                (self._values.tensors, batch)
                for batch in batches(taken(fitted.x, slice(whole)), size)
            )
            for output, of_batch in results(recorded.statistics_pass, inputs):
                scores.append(output)
                moments.append(of_batch)
        return np.concatenate(scores), pooled_moments(moments)

    @property
    def training_scores(self) -> np.ndarray | None:
        """(n, classes) scores of the probe images with batch statistics, for whole batches."""
        return None if self._statistics is None else self._statistics[0]

    def classify_planes(self, probes: list[ProbeWeights]) -> tuple[np.ndarray, np.ndarray]:
        """(set, layer, plane, row, column) classes at grid points, and those on drawn grids."""
        with self._stopwatch.timed("regions"):
            return self._recorded.classify_planes(self._values, probes)

    def recalibrate(self) -> None:
        """Replaces the moving statistics by the moments of the probe images for later passes."""
        if self._statistics is None:
            return
        changes = {}
        for norm, (mean, variance) in zip(self._recorded.norms, self._statistics[1], strict=True):
            changes[id(norm.moving_mean)] = mean.astype(np.float32)
            changes[id(norm.moving_variance)] = variance.astype(np.float32)
        self._values = self._values.with_values(changes)


def measure(
    recorded: RecordedModel, stopwatch: Stopwatch, values: ModelValues
) -> dict[str, tuple[Dims, Any]]:
    """Computes all measures of one state of a model; writes none of its variables.

    Args:
        recorded: the model with its passes.
        stopwatch: measures the time of each measure.
        values: the values of the model's variables.

    Returns:
        Variables by name, each (dims, array).

    Raises:
        InputError: a variable of a measure is not declared, or does not fit its dims.
    """
    sizes = {"layer": len(recorded.names), "plane": len(recorded.planes)}
    variables: dict[str, tuple[Dims, Any]] = {}
    with full_precision(), unchanged(recorded.model, recorded.generators):
        state = ModelState(recorded, stopwatch, values)
        if recorded.settings.batch_norm == "recalibrate":
            state.recalibrate()
        for registered_measure in registered():
            if registered_measure.on_state is None:
                continue
            with stopwatch.timed(registered_measure.name):
                arrays = registered_measure.on_state(state)
            variables |= labelled(registered_measure, arrays, registered_measure.recorded, sizes)
            if not arrays:
                stopwatch.seconds.pop(registered_measure.name)
    return variables


def record_warnings(
    record, epoch: float, n: int, uses_moving_statistics: bool
) -> Iterator[tuple[str, str]]:
    """Problems in a record: a key that is the same at every epoch, and a message.

    Args:
        record: the record, an `xarray.Dataset`.
        epoch: its epoch.
        n: number of evaluation images.
        uses_moving_statistics: whether BatchNormalization is recorded with moving statistics.
    """
    at = format_epoch(epoch)
    for layer in record["layer"].values.tolist():
        values = record.sel(layer=layer)
        norms = ", ".join(f"{v:.3g}" for v in np.sqrt(values["norm"].values))
        if not values["finite"]:
            yield (
                f"not finite {layer}",
                f"layer {layer!r} has NaN or infinite activations at epoch {at} (n = {n}): its "
                "similarities are NaN.",
            )
        elif values["dead"]:
            yield (
                f"dead {layer}",
                f"layer {layer!r} is constant over the {n} images at epoch {at} (norms of U, "
                f"K, x: {norms}): its similarities are NaN.",
            )
    if not uses_moving_statistics or "accuracy_training" not in record:
        return
    with_batch, with_moving = (
        float(record[f"accuracy_{mode}"]) for mode in ("training", "inference")
    )
    if abs(with_batch - with_moving) > BATCH_NORM_GAP:
        yield (
            "gap",
            f"at epoch {at} the accuracy is {with_batch:.2f} with batch statistics and "
            f"{with_moving:.2f} with moving statistics. BatchNormalization lags behind, which may "
            "look like an early phase. Compare with batch_norm='recalibrate'.",
        )

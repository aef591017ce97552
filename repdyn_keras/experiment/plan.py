"""The plan of a run: what it will record, and its cost."""

import math
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np

from repdyn_keras.config import ResolvedConfig
from repdyn_keras.experiment.configured_recorder import plane_settings
from repdyn_keras.measures.map_agreement import region_dtype
from repdyn_keras.recording.fits.early_steps import early_steps
from repdyn_keras.recording.network.recorded_model import RecordedModel
from repdyn_keras.recording.settings import Schedule
from repdyn_keras.recording.thumbnails import thumbnail_shape
from repdyn_keras.text import is_whole

TIMED_PASSES = 5
# A training step costs about as much as this many forward passes.
PASSES_PER_STEP = 3
# Matrices of all pairs of epochs for each layer: three similarities, both bounds of each, and two
# nulls of CKA.
MATRICES = 3 + 2 * 3 + 2
# Those of a measure on request: its similarity, and mean and deviation of its null.
MATRICES_ON_REQUEST = 3
# Typical size of the figures of a run.
FIGURES_BYTES = 4_000_000


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        epochs: the epochs to record, those of early records among them.
        layers: the layers to record, the output last.
        parameters: number of weights of the model.
        steps: training steps in an epoch.
        images: numbers of training images, evaluation images and test images.
        images_available: number of training images of the data set, of which `n_train` are used.
        disk_bytes: upper bound of the size on disk: records, checkpoint, dynamics, figures and, if
            kept, weights.
        images_trained: number of images in forward and backward passes of the training.
        images_recorded: number of images in forward passes of the records.
        seconds: estimated time; NaN unless `timed` estimated it.
    """

    epochs: list[float]
    layers: list[str]
    parameters: int
    steps: int
    images: tuple[int, int, int]
    images_available: int
    disk_bytes: int
    images_trained: int
    images_recorded: int
    seconds: float = float("nan")

    @property
    def recorded(self) -> str:
        """The numbers of recorded epochs and of early records, as text."""
        early = sum(not is_whole(epoch) for epoch in self.epochs)
        further = f", {early} early records" if early else ""
        return f"{len(self.epochs) - early} of them recorded{further}"

    @property
    def training_images(self) -> str:
        """The number of training images, and of how many they are a sample, as text."""
        used, available = self.images[0], self.images_available
        return f"{used}" if used == available else f"{used} of {available}"


def plan_run(
    config: ResolvedConfig, model, layers: list[str], data, n_eval: int, steps: int, checkpoint: int
) -> Plan:
    """The plan of a resolved configuration.

    Args:
        config: the resolved configuration.
        model: its network.
        layers: names of the recorded hidden layers.
        data: its data set.
        n_eval: number of evaluation images.
        steps: training steps in an epoch.
        checkpoint: size of a checkpoint in bytes.
    """
    early = early_steps(config.early_records, steps).values()
    epochs = sorted(
        [
            *map(float, Schedule(config.record_epochs).planned(config.epochs)),
            *(epoch for epoch in early if epoch < config.epochs),
        ]
    )
    batch = min(config.cka_batch, n_eval)
    kept = n_eval // batch * batch
    points = plane_settings(config).points
    names = [*layers, "output"]
    probed = min(config.probe_images, len(data.x_train))
    # Classes by the output and every probe, and two numbers, of each probe image.
    history = probed * (len(names) * region_dtype(data.n_classes).itemsize + 8)
    record = len(names) * (4 * (kept // batch) * batch * (batch - 1) // 2 + points) + history
    pictures = thumbnail_shape((probed, *data.x_train.shape[1:]))
    weights = 4 * model.count_params() if config.keep_weights else 0
    tested = min(config.probe_images, len(data.x_test))
    batch_norm = any(type(layer).__name__ == "BatchNormalization" for layer in model.layers)
    return Plan(
        epochs=epochs,
        layers=names,
        parameters=model.count_params(),
        steps=steps,
        images=(len(data.x_train), kept, len(data.x_test)),
        images_available=data.n_available,
        disk_bytes=(
            len(epochs) * (record + weights)
            # The previous checkpoint exists until the next one is complete.
            + 2 * checkpoint
            + dynamics_bytes(len(names), len(epochs), points)
            + len(epochs) * history
            # In the constants and in `dynamics.nc`.
            + (2 * math.prod(pictures) if pictures else 0)
            + FIGURES_BYTES
        ),
        images_trained=config.epochs * steps * min(config.batch_size, len(data.x_train)),
        images_recorded=len(epochs) * (kept + probed * (1 + batch_norm) + tested + points),
    )


def with_measures(plan: Plan, recorded: RecordedModel) -> Plan:
    """The plan with the size of the features and results of the measures that were asked for."""
    settings, epochs = recorded.settings, len(plan.epochs)
    size = len(settings.measures) * MATRICES_ON_REQUEST * 8 * len(plan.layers) * epochs**2
    if settings.keeps_features:
        widths = sum(recorded.widths) + recorded.n_classes
        size += epochs * 4 * len(settings.evaluation.ids) * widths
    return replace(plan, disk_bytes=plan.disk_bytes + size)


def dynamics_bytes(layers: int, epochs: int, points: int) -> int:
    """Estimated size of `dynamics.nc`: the matrices of epochs of each layer, and the regions."""
    return layers * epochs * (MATRICES * 8 * epochs + points)


def timed(plan: Plan, model, images: np.ndarray) -> Plan:
    """The plan with its estimated time, which is measured with a few forward passes.

    A training step counts as three forward passes. Probes and figures are not included.

    Args:
        plan: the plan.
        model: the network, built.
        images: one batch of images.
    """
    model.predict_on_batch(images)
    laps = []
    for _ in range(TIMED_PASSES):
        start = time.perf_counter()
        model.predict_on_batch(images)
        laps.append(time.perf_counter() - start)
    by_image = statistics.median(laps) / len(images)
    passes = PASSES_PER_STEP * plan.images_trained + plan.images_recorded
    return replace(plan, seconds=by_image * passes)


def device_name() -> str:
    """The devices that Keras runs on, such as "gpu:0" or "cpu"."""
    import keras

    devices = keras.distribution.list_devices()
    return ", ".join(sorted({str(device) for device in devices})) or "cpu"

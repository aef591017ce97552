"""The plan of a run: what it will do, and its costs."""

import statistics
import time
from dataclasses import dataclass, replace

import numpy as np

from repdyn_keras.config import ResolvedConfig
from repdyn_keras.recording.settings import Schedule

TIMED_PASSES = 5
# Cost of a training step in forward passes.
PASSES_PER_STEP = 3
# Typical size of a run's pictures.
FIGURES_BYTES = 4_000_000


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        epochs: the epochs it will record.
        layers: the layers it will record, the output last.
        parameters: number of the model's weights.
        steps: training steps in an epoch.
        images: training images, evaluation images, test images.
        disk_bytes: upper bound of its size on disk: records, checkpoint, dynamics, pictures and,
            if kept, weights.
        images_trained: images through the network forwards and backwards.
        images_recorded: images through the network forwards, for the records.
        seconds: estimated time; NaN until `timed` measures it.
    """

    epochs: list[int]
    layers: list[str]
    parameters: int
    steps: int
    images: tuple[int, int, int]
    disk_bytes: int
    images_trained: int
    images_recorded: int
    seconds: float = float("nan")


def plan_run(
    config: ResolvedConfig, model, layers: list[str], data, n_eval: int, steps: int, checkpoint: int
) -> Plan:
    """The plan of a resolved configuration.

    Args:
        config: the resolved configuration.
        model: its network.
        layers: hidden layers that are recorded.
        data: its data set.
        n_eval: evaluation images.
        steps: training steps in an epoch.
        checkpoint: bytes of a checkpoint.
    """
    epochs = Schedule(config.record_epochs).planned(config.epochs)
    batch = min(config.cka_batch, n_eval)
    kept = n_eval // batch * batch
    points = config.planes * config.resolution**2
    names = [*layers, "output"]
    record = len(names) * (4 * (kept // batch) * batch * (batch - 1) // 2 + points)
    weights = 4 * model.count_params() if config.keep_weights else 0
    probed = min(config.probe_images, len(data.x_train))
    tested = min(config.probe_images, len(data.x_test))
    batch_norm = any(type(layer).__name__ == "BatchNormalization" for layer in model.layers)
    return Plan(
        epochs=epochs,
        layers=names,
        parameters=model.count_params(),
        steps=steps,
        images=(len(data.x_train), kept, len(data.x_test)),
        disk_bytes=(
            len(epochs) * (record + weights)
            # The previous one stays until the next one is complete.
            + 2 * checkpoint
            + dynamics_bytes(len(names), len(epochs), points)
            + FIGURES_BYTES
        ),
        images_trained=config.epochs * steps * min(config.batch_size, len(data.x_train)),
        images_recorded=len(epochs) * (kept + probed * (1 + batch_norm) + tested + points),
    )


def dynamics_bytes(layers: int, epochs: int, points: int) -> int:
    """Estimated size of `dynamics.nc`: three similarities of all epochs, and the regions."""
    return layers * epochs * (3 * 8 * epochs + points)


def timed(plan: Plan, model, images: np.ndarray) -> Plan:
    """The plan with its estimated seconds, from a few forward passes measured now.

    A training step counts as three forward passes. Probes and pictures are not included.

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

"""Messages of a recorder: what it leaves out and why, and what looks wrong in a record."""

from collections.abc import Iterator

import numpy as np

from repdyn_keras.recording.layers import OUTPUT
from repdyn_keras.recording.recorded_model import RecordedModel

BATCH_NORM_GAP = 0.1


def announcements(recorded: RecordedModel) -> Iterator[str]:
    """What is recorded and what is not, before the first record."""
    settings, head = recorded.settings, recorded.head
    evaluation = settings.evaluation
    yield f"recording {recorded.choice}."
    if evaluation.left_out:
        yield (
            f"{evaluation.left_out} evaluation images are left out: {len(evaluation.x)} are whole "
            f"batches of {evaluation.batch}."
        )
    if settings.probed.fitted is None:
        yield "no labels given: only fingerprints are recorded, no probes and no decision regions."
        return
    if settings.fits_on_evaluation:
        yield "no train=(x, y) given: probes are fitted on the evaluation images."
    if settings.rasterized.planes and not settings.has_planes:
        yield "no labels of the evaluation images given: no decision regions are recorded."
    elif settings.rasterized.planes and not recorded.is_continuous:
        yield (
            "the model takes whole numbers, such as word indices, and a point between two inputs "
            "is no input: no decision regions are recorded."
        )
    if head.is_single:
        yield (
            f"{OUTPUT} is one unit ({head.activation}): class 1 above {head.threshold:g}, "
            "else class 0."
        )


def record_warnings(
    record, epoch: int, n: int, uses_moving_statistics: bool
) -> Iterator[tuple[str, str]]:
    """What looks wrong in a record: a key, the same at every epoch, and the message.

    Args:
        record: the record, an `xarray.Dataset`.
        epoch: its epoch.
        n: number of evaluation images.
        uses_moving_statistics: whether BatchNormalization is recorded with moving statistics.
    """
    for layer in record["layer"].values.tolist():
        here = record.sel(layer=layer)
        norms = ", ".join(f"{v:.3g}" for v in np.sqrt(here["norm"].values))
        if not here["finite"]:
            yield (
                f"not finite {layer}",
                f"layer {layer!r} has NaN or infinite activations at epoch {epoch} (n = {n}): its "
                "similarities are NaN.",
            )
        elif here["dead"]:
            yield (
                f"dead {layer}",
                f"layer {layer!r} is constant over the {n} images at epoch {epoch} (norms of U, "
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
            f"at epoch {epoch} the accuracy is {with_batch:.2f} with batch statistics and "
            f"{with_moving:.2f} with moving statistics. BatchNormalization lags behind, which may "
            "cause an early phase of its own. Compare with batch_norm='recalibrate'.",
        )

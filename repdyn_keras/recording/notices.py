"""What a recorder tells: what it leaves out and why, and what looks wrong in a record."""

from collections.abc import Iterator

import numpy as np

from repdyn_keras.recording.layers import OUTPUT

BATCH_NORM_GAP = 0.1


def announcements(recorder) -> Iterator[str]:
    """What the user should know before the first record.

    Args:
        recorder: a `RepresentationRecorder` that was built for its model.
    """
    evaluation, head = recorder.evaluation, recorder.measurement.head
    if evaluation.left_out:
        yield (
            f"{evaluation.left_out} evaluation images are left out: {len(evaluation.x)} are whole "
            f"batches of {evaluation.batch}."
        )
    if recorder.probed is None:
        yield "no labels came: fingerprints only, no probes and no decision regions."
        return
    if recorder.without_train:
        yield "no train=(x, y) came: probes are fitted on the evaluation images."
    if recorder.without_planes:
        yield "no labels of the images came: no planes and no decision regions."
    elif recorder.planes and not recorder.between_inputs:
        yield (
            "the model takes whole numbers, such as words': points between two inputs are none, "
            "hence no planes and no decision regions."
        )
    if head.is_single:
        yield (
            f"{OUTPUT} is one unit ({head.activation}): class 1 above {head.threshold:g}, "
            "else class 0."
        )


def warnings_of(record, epoch: int, n: int, is_moving: bool) -> Iterator[tuple[str, str]]:
    """What looks wrong in a record: a key, the same for the same trouble, and the words.

    Args:
        record: the record, an `xarray.Dataset`.
        epoch: its epoch.
        n: number of images that are compared.
        is_moving: whether BatchNormalization is recorded with its moving statistics.
    """
    for layer in record["layer"].values.tolist():
        here = record.sel(layer=layer)
        norms = ", ".join(f"{v:.3g}" for v in np.sqrt(here["norm"].values))
        if not here["finite"]:
            yield (
                f"not finite {layer}",
                f"layer {layer!r} puts out NaN or infinite values at epoch {epoch} (n = {n}): its "
                "similarities are NaN there.",
            )
        elif here["dead"]:
            yield (
                f"dead {layer}",
                f"layer {layer!r} is constant over the {n} images at epoch {epoch} (norms of U, "
                f"K, x: {norms}): its similarities are NaN there.",
            )
    if not is_moving or "accuracy_training" not in record:
        return
    with_batch, with_moving = (
        float(record[f"accuracy_{mode}"]) for mode in ("training", "inference")
    )
    if abs(with_batch - with_moving) > BATCH_NORM_GAP:
        yield (
            "gap",
            f"at epoch {epoch} the accuracy is {with_batch:.2f} with batch statistics and "
            f"{with_moving:.2f} with moving ones: BatchNormalization lags, and an early phase may "
            "be its own. Compare batch_norm='recalibrate'.",
        )

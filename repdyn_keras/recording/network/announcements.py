"""What a recorder tells before its first record: what is recorded, and what is not."""

from collections.abc import Iterator

import numpy as np

from repdyn_keras.measures.planes import corners_notice, planes_notice
from repdyn_keras.recording.network.axes import axis_notices
from repdyn_keras.recording.network.head import OUTPUT
from repdyn_keras.recording.network.preprocessing import has_preprocessor
from repdyn_keras.recording.network.recorded_model import RecordedModel


def announcements(recorded: RecordedModel) -> Iterator[str]:
    """Messages before the first record about what is recorded and what is not."""
    settings, head = recorded.settings, recorded.head
    evaluation, n = settings.evaluation, len(settings.evaluation.ids)
    yield f"recording {recorded.choice}."
    if recorded.renamed:
        yield recorded.renamed
    if has_preprocessor(recorded.model):
        preprocessor = recorded.model.preprocessor
        name = getattr(preprocessor, "name", type(preprocessor).__name__)
        yield f"images are preprocessed by {name}, as in fit."
    if evaluation.left_out:
        yield (
            f"{evaluation.left_out} evaluation images are left out: {n} are whole "
            f"batches of {evaluation.batch}."
        )
    if settings.probes.fitted is None:
        yield "no labels given: only fingerprints are recorded, no probes and no decision regions."
        return
    if head.notice:
        yield head.notice
    yield from axis_notices(recorded.channel_axes, settings.selection.channel_axis)
    if settings.fits_on_evaluation:
        yield "no train=(x, y) given: probes are fitted on the evaluation images."
    if recorded.norms and not recorded.statistics_batch:
        yield (
            f"{len(settings.probes.fitted.y)} probe images are less than a batch of "
            f"{recorded.fixed_batch}, the fixed batch size of the model: the accuracy "
            "with batch statistics is not recorded."
        )
    if settings.planes.count and not settings.has_planes:
        yield "no labels of the evaluation images given: no decision regions are recorded."
    elif recorded.plane_notice:
        yield recorded.plane_notice
    elif settings.corners is not None and settings.corners.true is not None:
        if notice := corners_notice(settings.planes.triplets, settings.corners.true):
            yield notice
    elif recorded.planes and (notice := planes_notice(evaluation.true)):
        yield notice
    if len(np.unique(settings.probes.fitted.y)) == 1:
        yield "the probe images are all of one class: their accuracy is 1 for every probe."
    if head.is_single:
        yield (
            f"{OUTPUT} is one unit ({head.activation}): class 1 above {head.threshold:g}, "
            "else class 0."
        )

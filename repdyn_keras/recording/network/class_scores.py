"""Whether an output holds class scores: by its loss, its head and the labels, not by its shape."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.recording.network.head import SIGMOIDS, Head
from repdyn_keras.recording.settings import Settings
from repdyn_keras.text import format_names, format_shape

# Losses by what they say about an output. "classes": one score per class. "units": each unit is a
# yes or no of its own, such as a class or a pixel. "values": the output approximates numbers.
CLASSES, UNITS, VALUES, UNKNOWN, UNCOMPILED = "classes", "units", "values", "unknown", "uncompiled"
LOSSES = {
    CLASSES: (
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
    ),
    UNITS: (
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "hinge",
        "squared_hinge",
        "kl_divergence",
    ),
    VALUES: (
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "cosine_similarity",
        "log_cosh",
        "huber",
        "poisson",
        "circle",
    ),
}
MEANINGS = {name: meaning for meaning, names in LOSSES.items() for name in names}
# Losses of one output are read in this order: the first kind that occurs decides.
ORDER = (CLASSES, UNITS, UNKNOWN, VALUES)
PROBABILITY_LOSSES = ("binary_crossentropy", "binary_focal_crossentropy")
# Heads that scale each row to length 1, which makes it an embedding.
NORMALIZED = ("UnitNormalization", "Normalize")


@dataclass(frozen=True)
class Training:
    """What a compiled model says about one output.

    Attributes:
        meaning: "classes", "units", "values", "unknown" for a loss of the user's own or none for
            this output, or "uncompiled".
        loss: the name of the loss, for messages.
        expects_probabilities: whether the loss takes a single unit for a probability; None if it
            does not say.
        measures_accuracy: whether a metric of this output is an accuracy.
    """

    meaning: str
    loss: str
    expects_probabilities: bool | None = None
    measures_accuracy: bool = False


def resolved_head(model: keras.Model, head: Head, settings: Settings) -> Head:
    """The head with its number of classes, by the loss of the output, its head and the labels.

    Let k be the number of classes of the labels (their maximum + 1, or the number of class names
    if that is larger). The number of units *fits* if it is k, or one unit for k <= 2, and *nearly
    fits* if it is more than k and at most 2k, as where the labels lack some classes. The output
    holds class scores in these cases:

    - The output is (n, units), and not scaled to unit length unless its loss is one of classes.
    - Categorical crossentropies and `categorical_hinge`: unless k is more than twice the number of
      classes of the output, so that the labels are those of another task.
    - Binary crossentropies, `hinge`, `squared_hinge` and `kl_divergence`, whose units may be pixels
      as well: if the number of units fits or nearly fits.
    - Losses of numbers (`mse`, `mae`, `huber`, `cosine_similarity`, `poisson`, ...): if it is a
      softmax and fits or nearly fits, if it is a single sigmoid and k <= 2, or if it fits and the
      model is compiled with an accuracy as metric.
    - Another loss, or no loss for this output (`add_loss`): if the number of units fits; or nearly
      fits, for a softmax or with an accuracy as metric.
    - A model that is not compiled: if the number of units fits or nearly fits.

    Where only the numbers decide, the choice is announced. Otherwise the output has no accuracy and
    no regions, and the number of classes is k.

    Args:
        model: the model.
        head: its recorded output, as `find_head` finds it.
        settings: the settings of the recorder, with the labels.

    Raises:
        InputError: a label is not among the classes of an output that holds class scores, or may
            hold some where the model is not compiled.
    """
    labels = given_labels(settings)
    if not labels:
        return head
    training = training_of(model, head)
    highest = max(int(y.max()) for y in labels.values()) + 1
    known = max(highest, len(settings.class_names))
    if not head.classes:
        shape = format_shape(head.tensor.shape[1:])
        return without_scores(head, known, f"its shape is {shape}")
    units = head.tensor.shape[-1]
    if training.meaning in (CLASSES, UNCOMPILED) or (training.meaning == UNITS and units == 1):
        if highest > 2 * head.classes:
            return without_scores(head, known, numbers(head, known, training.loss))
        check_labels(head, labels, training)
    fits = highest <= 2 if units == 1 else units in (highest, known)
    nearly = units > 1 and highest < units <= 2 * known
    is_certain, reason = decision(head, training, fits, nearly)
    if reason:
        if training.meaning != VALUES:
            reason = numbers(head, known, reason)
        # Labels that are not among its classes are an error for an output of class scores.
        may_hold = highest <= head.classes
        advice = remedy(head, training, fits, nearly) if may_hold else ""
        return without_scores(head, known, reason, advice)
    if not is_certain:
        head = replace(
            head,
            notice=f"output {head.name!r} is taken for class scores "
            f"({numbers(head, known, training.loss)}).",
        )
    return replace(head, threshold=threshold(head, training))


def decision(head: Head, training: Training, fits: bool, nearly: bool) -> tuple[bool, str]:
    """Whether it is certain that an output holds class scores, and why it does not hold them.

    Args:
        head: an output (n, units).
        training: what the compiled model says about it.
        fits, nearly: whether the number of units fits the labels, see `resolved_head`.

    Returns:
        Whether the choice needs no notice; and a reason, empty if the output holds class scores.
    """
    meaning, is_softmax = training.meaning, head.activation == "softmax"
    if meaning == CLASSES:
        return True, ""
    if head.activation in NORMALIZED:
        return True, "its rows have length 1"
    if meaning == UNITS and (fits or nearly):
        return fits, ""
    if meaning == VALUES:
        is_probability = head.is_single and head.activation in SIGMOIDS
        if fits and (is_softmax or is_probability or training.measures_accuracy):
            return False, ""
        return (False, "") if is_softmax and nearly else (True, training.loss)
    if meaning == UNKNOWN and head.is_single and not head.has_known_activation:
        return True, f"{training.loss}, activation {head.activation}"
    if meaning == UNKNOWN and (fits or (nearly and (is_softmax or training.measures_accuracy))):
        return False, ""
    if meaning == UNCOMPILED and (fits or nearly):
        return fits, ""
    return True, training.loss


def remedy(head: Head, training: Training, fits: bool, nearly: bool) -> str:
    """What helps if an output does hold class scores; empty if another `compile` changes nothing.

    Args:
        head: an output for which `decision` gives a reason.
        training, fits, nearly: as for `decision`.
    """
    if training.meaning == UNCOMPILED:
        return " If it holds class scores, compile the model with its loss."
    _, reason = decision(head, replace(training, measures_accuracy=True), fits, nearly)
    if reason:
        return ""
    return " If it holds class scores, compile the model with metrics=['accuracy']."


def without_scores(head: Head, classes: int, reason: str, advice: str = "") -> Head:
    """A head that holds no class scores, for labels of this number of classes."""
    return replace(
        head,
        classes=classes,
        has_scores=False,
        notice=f"output {head.name!r} holds no class scores ({reason}): no accuracy and no regions "
        f"of the output are recorded; probes of hidden layers are.{advice}",
    )


def numbers(head: Head, classes: int, reason: str) -> str:
    """A reason with the number of units of an output, and of classes of the labels."""
    units = head.tensor.shape[-1]
    size = "1 unit" if units == 1 else f"{units} units"
    return f"{size}, labels of {classes} classes, {reason}"


def given_labels(settings: Settings) -> dict[str, Any]:
    """The labels of the recorder by name, without those that are absent."""
    evaluation, probes = settings.evaluation, settings.probes
    labels = {
        "labels": evaluation.given,
        "true labels": evaluation.true,
        "train labels": None if probes.fitted is None else probes.fitted.y,
        "true train labels": None if probes.fitted is None else probes.fitted.true,
        "test labels": None if probes.held_out is None else probes.held_out.y,
    }
    return {name: y for name, y in labels.items() if y is not None}


def check_labels(head: Head, labels: dict[str, Any], training: Training) -> None:
    """Raises InputError unless all labels are among the classes of the output."""
    remedy = "Leave out the labels to record only fingerprints."
    if training.meaning == UNCOMPILED:
        remedy += " If the output holds no class scores, compile the model with its loss."
    is_known = head.has_known_activation or training.expects_probabilities is not None
    if head.is_single and not is_known:
        raise InputError(
            "Expected a single output unit with a sigmoid or no activation, so that it is known "
            f"to be a probability or a logit. Received: {head.name!r} with the activation "
            f"{head.activation!r}. {remedy}"
        )
    if training.meaning == UNCOMPILED and head.activation in NORMALIZED:
        return
    for name, y in labels.items():
        if not name.startswith("true") and y.max() >= head.classes:
            raise InputError(
                f"Expected {name} from 0 to {head.classes - 1}: the model has {head.classes} "
                f"classes. Received: {name} up to {y.max()}. {remedy}"
            )


def threshold(head: Head, training: Training) -> float:
    """The value above which a single unit predicts class 1.

    A sigmoid is a probability. Any other unit is one if its loss takes it for one, or if it
    approximates labels of 0 and 1.
    """
    if not head.is_single or head.activation in (*SIGMOIDS, "tanh"):
        return head.threshold
    if training.expects_probabilities is not None:
        return 0.5 if training.expects_probabilities else 0.0
    return 0.5 if training.meaning == VALUES else head.threshold


def training_of(model: keras.Model, head: Head) -> Training:
    """What a model, compiled or not, says about one of its outputs."""
    if not getattr(model, "compiled", False):
        return Training(UNCOMPILED, "the model is not compiled")
    metrics = getattr(model, "_compile_metrics", None)
    given = [getattr(metrics, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
    has_accuracy = any(is_accuracy(m) for part in given for m in entries_for(part, head))
    losses = [described(loss) for loss in entries_for(model.loss, head)]
    if not losses:
        return Training(UNKNOWN, "no loss for this output", None, has_accuracy)
    meanings = [meaning for meaning, _, _ in losses]
    probabilities = [p for _, _, p in losses if p is not None]
    return Training(
        next(meaning for meaning in ORDER if meaning in meanings),
        f"loss {format_names(name for _, name, _ in losses)}",
        probabilities[0] if probabilities else None,
        has_accuracy,
    )


def entries_for(given, head: Head) -> list:
    """The losses or metrics of an output, in any structure that `compile` accepts."""
    if isinstance(given, dict):
        for key in head.path if head.path and isinstance(head.path[0], str) else (head.name,):
            given = given.get(key) if isinstance(given, dict) else given
    elif isinstance(given, list | tuple) and head.count > 1 and len(given) == head.count:
        given = given[head.index]
    return [entry for entry in keras.tree.flatten(given) if entry is not None]


def described(loss) -> tuple[str, str, bool | None]:
    """The meaning of a loss, its name, and whether it takes a single unit for a probability."""
    name, options = getattr(loss, "name", None), {}
    if isinstance(loss, str):
        name = loss
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return UNKNOWN, name, None
    if isinstance(loss, functools.partial):
        loss, options = loss.func, loss.keywords
    is_own = isinstance(loss, keras.losses.Loss) and not is_of_keras(type(loss).call)
    options = {**getattr(loss, "_fn_kwargs", {}), **options}
    function = getattr(loss, "fn", loss)
    kind = getattr(function, "__name__", type(function).__name__)
    name = str(name or kind)
    if is_own or not is_of_keras(function) or kind not in MEANINGS:
        return UNKNOWN, f"{name!r}, which does not tell", None
    is_probability = None
    if kind in PROBABILITY_LOSSES:
        is_probability = not options.get("from_logits", False)
    return MEANINGS[kind], name, is_probability


def is_of_keras(function) -> bool:
    """Whether a function is defined by Keras."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "keras"


def is_accuracy(metric) -> bool:
    """Whether a metric is an accuracy, by its name or its class."""
    if isinstance(metric, str):
        return metric.lower() == "acc" or metric.lower().endswith("accuracy")
    name = getattr(metric, "__name__", type(metric).__name__)
    return name.lower().endswith("accuracy")

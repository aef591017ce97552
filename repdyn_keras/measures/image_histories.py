"""The history of every image: the predictions of output and probes at each recorded epoch."""

from collections.abc import Callable

import numpy as np

from repdyn_keras.measures import Arrays, Dims, Measure, Series, State
from repdyn_keras.measures.image_scores import (
    area_under_margin,
    correctness,
    first_learned,
    forgetting_events,
    learned,
    mean_and_deviation,
    prediction_depth,
)
from repdyn_keras.measures.map_agreement import region_dtype, undefined_class
from repdyn_keras.measures.probe import solved_probes
from repdyn_keras.measures.suspicion import add_votes, record_weights, rivals, suspicion

# Bytes of `image_probe_class` in memory and in `dynamics.nc`, above which it is left out.
MAX_CLASS_BYTES = 256 * 2**20
# The part of the predicted classes that the output gives.
OUTPUT = (slice(-1, None),)
# Bytes of the logits of images, or of the votes on them, in float64, that are used at a time.
MAX_BLOCK_BYTES = 64 * 2**20


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Margin of each image for its given label: its logit minus the largest other one.

    Positive if the network predicts the given label. With one unit for two classes, whose logits
    are 0 and z, it is z for class 1 and -z for class 0.

    Source: Pleiss et al. 2020 (arXiv 2001.10528, eq. 1).

    Args:
        logits: (n, classes).
        labels: (n,) given labels.

    Returns:
        (n,) float64; NaN where logits are not finite, and everywhere with a single class.
    """
    if logits.shape[1] < 2:
        return np.full(len(logits), np.nan)
    rows = np.arange(len(logits))
    others = logits.astype(np.float64)
    given = others[rows, labels]
    defined = np.isfinite(others).all(axis=1)
    others[rows, labels] = -np.inf
    return np.where(defined, given - others.max(axis=1), np.nan)


def label_probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) softmax probability of each image's given label; NaN where logits are not finite.

    Args:
        logits: (n, classes).
        labels: (n,) given labels.
    """
    powers = logits.astype(np.float64)
    defined = np.isfinite(powers).all(axis=1)
    powers[~defined] = 0
    powers -= powers.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    shares = powers[np.arange(len(labels)), labels] / powers.sum(axis=1)
    return np.where(defined, shares, np.nan)


def in_blocks(function: Callable, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float32 results of a function of logits and labels, for blocks of images."""
    block = max(1, MAX_BLOCK_BYTES // (8 * logits.shape[1]))
    starts = range(0, len(logits), block)
    parts = [slice(start, start + block) for start in starts]
    found = [function(logits[part], labels[part]) for part in parts]
    return np.concatenate(found).astype(np.float32)


def predicted(scores: np.ndarray, n_classes: int) -> np.ndarray:
    """(n,) predicted classes in the smallest unsigned dtype; its maximum means undefined."""
    dtype = region_dtype(n_classes)
    defined = np.isfinite(scores).all(axis=1)
    return np.where(defined, scores.argmax(axis=1), undefined_class(dtype)).astype(dtype)


def on_state(state: State) -> Arrays:
    """Margin, probability of the given label, and classes, of every probe image."""
    if state.fitted is None:
        return {}
    features, labels, count = state.fitted_features, state.fitted.y, state.n_classes
    logits = state.fitted_logits
    classes = [predicted(features[-1], count)]
    for probe, x in zip(state.cached(solved_probes), features, strict=False):
        scores = np.full((len(x), 1), np.nan) if probe is None else probe.logits(x)
        classes.insert(-1, predicted(scores, count))
    return {
        "image_margin": in_blocks(margins, logits, labels),
        "image_probability": in_blocks(label_probabilities, logits, labels),
        "image_probe_class": np.stack(classes),
    }


def over_epochs(series: Series) -> Arrays:
    """Histories of all probe images, and what they amount to."""
    if "probe_sample" not in series.constants:
        return {}
    recorded = series.recorded("image_margin", "image_probability")
    if len(recorded) < 2:
        return {}
    epochs = np.array(series.epochs, float)
    constants = series.constants
    given = constants["probe_label_given"].values
    found: dict = {
        "image_id": constants["probe_sample"].values,
        "label_given": given,
        "image_margin": recorded["image_margin"].T,
        "image_probability": recorded["image_probability"].T,
    }
    for name, constant in (("label_true", "probe_label_true"), ("image_picture", "probe_picture")):
        if constant in constants:
            found[name] = constants[constant].values
    classes = np.stack([row[0] for row in series.each("image_probe_class", OUTPUT)], axis=1)
    undefined = classes == undefined_class(classes.dtype)
    is_given = np.where(undefined, np.nan, classes == given[:, None])
    found |= {"image_class": classes, "learned_epoch": learned(epochs, is_given)}
    found |= class_histories(series, given, found["learned_epoch"])
    confidence, variability = mean_and_deviation(epochs, found["image_probability"])
    return found | {
        "first_learned_epoch": first_learned(epochs, is_given),
        "forgetting_events": forgetting_events(is_given),
        "area_under_margin": area_under_margin(epochs, found["image_margin"]),
        "confidence": confidence,
        "variability": variability,
        "correctness": correctness(epochs, is_given),
    }


def class_histories(
    series: Series, given: np.ndarray, learned_epochs: np.ndarray
) -> dict[str, np.ndarray]:
    """Classes at probes, prediction depths, and the votes on each label.

    Reads a block of images of one record at a time, so that memory is bounded for many images of
    many classes.

    Args:
        series: the records.
        given: (image,) given labels.
        learned_epochs: (image,) epochs from which on they are predicted; NaN for never.
    """
    epochs, images = np.array(series.epochs, float), len(given)
    n_classes = max(int(series.constants.attrs["n_classes"]), int(given.max()) + 1)
    block = max(1, MAX_BLOCK_BYTES // (8 * n_classes))
    found: dict[str, np.ndarray] = {
        "suspicion": np.empty(images),
        "label_before": np.empty(images, np.int64),
    }
    weights = record_weights(epochs)
    until = np.where(np.isnan(learned_epochs), np.inf, learned_epochs)
    for start in range(0, images, block):
        part = slice(start, start + block)
        votes, before = np.zeros((2, len(given[part]), n_classes))
        for index, classes in enumerate(series.each("image_probe_class", (slice(None), part))):
            depth = prediction_depth(classes)
            if not index and not start:
                shape = images, len(epochs)
                found["prediction_depth"] = np.empty(shape, depth.dtype)
                if len(classes) * classes.itemsize * images * len(epochs) <= MAX_CLASS_BYTES:
                    found["image_probe_class"] = np.empty((len(classes), *shape), classes.dtype)
            found["prediction_depth"][part, index] = depth
            if "image_probe_class" in found:
                found["image_probe_class"][:, part, index] = classes
            add_votes(votes, classes, weights[index])
            add_votes(before, classes, weights[index] * (epochs[index] < until[part]))
        found["suspicion"][part] = suspicion(votes, given[part])
        found["label_before"][part] = rivals(before, given[part])[0]
    return found


# Dims, long name and unit of each variable.
IMAGE, HISTORY = ("image",), ("image", "epoch")
COMPUTED: dict[str, tuple[Dims, str, str]] = {
    "image_id": (IMAGE, "id of the image", "1"),
    "label_given": (IMAGE, "label that the network was given", "class"),
    "label_true": (IMAGE, "label before label noise", "class"),
    "image_picture": (
        ("image", "pixel_row", "pixel_column", "pixel_channel"),
        "the image, reduced to a small picture",
        "1",
    ),
    "image_margin": (HISTORY, "logit of the given label minus the largest other", "logit"),
    "image_probability": (HISTORY, "softmax probability of the given label", "1"),
    "image_class": (HISTORY, "class that the output predicts", "class"),
    "image_probe_class": (
        ("layer", "image", "epoch"),
        "class that the layer's probe predicts, and the output at the output",
        "class",
    ),
    "prediction_depth": (
        HISTORY,
        "number of the first layer from which on all probes agree with the output",
        "layer",
    ),
    "first_learned_epoch": (IMAGE, "first epoch at which the given label is predicted", "epoch"),
    "learned_epoch": (IMAGE, "epoch from which on the given label is predicted", "epoch"),
    "forgetting_events": (IMAGE, "times that the given label was lost between two records", "1"),
    "area_under_margin": (IMAGE, "margin averaged over epochs", "logit"),
    "confidence": (IMAGE, "probability of the given label, averaged over epochs", "1"),
    "variability": (IMAGE, "deviation over epochs of the given label's probability", "1"),
    "correctness": (IMAGE, "share of epochs at which the given label is predicted", "1"),
    "suspicion": (IMAGE, "share of votes for the strongest other class minus the label's", "1"),
    "label_before": (IMAGE, "class predicted most before the given label was learned", "class"),
}

MEASURE = Measure(
    name="images",
    title="histories of images",
    recorded={
        "image_margin": ("probe_image",),
        "image_probability": ("probe_image",),
        "image_probe_class": ("layer", "probe_image"),
    },
    computed={name: dims for name, (dims, _, _) in COMPUTED.items()},
    meanings={name: (text, unit) for name, (_, text, unit) in COMPUTED.items()},
    on_state=on_state,
    over_epochs=over_epochs,
)

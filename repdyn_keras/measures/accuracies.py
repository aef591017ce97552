"""Accuracies of the network in inference and in training mode, and the perfect fit."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series, State

# Subsets of images for which accuracies are recorded.
SUBSETS = ("train", "clean", "mislabeled_given", "mislabeled_true", "test")
PERFECT_FIT = 0.995
PERFECT_RECORDS = 3
# Difference of the accuracies with batch and with moving statistics of BatchNormalization from
# which on it is reported.
BATCH_NORM_GAP = 0.1


def subset_accuracies(
    state: State, scores: np.ndarray, held_out_scores: np.ndarray | None
) -> list[float]:
    """The accuracy on each of SUBSETS; NaN if the subset has no images or scores are not finite.

    Args:
        state: provides the labels.
        scores: (n, classes) scores of the images that probes are fitted on.
        held_out_scores: (m, classes) scores of the held-out images, or None.
    """
    accuracies = dict.fromkeys(SUBSETS, float("nan"))
    if state.fitted is not None and np.isfinite(scores).all():
        classes = scores.argmax(axis=1)
        for name, (chosen, labels) in state.fitted.subsets().items():
            if chosen.any():
                accuracies[name] = float(np.mean(classes[chosen] == labels[chosen]))
    is_defined = held_out_scores is not None and np.isfinite(held_out_scores).all()
    if held_out_scores is not None and is_defined and state.held_out is not None:
        classes = held_out_scores.argmax(axis=1)
        accuracies["test"] = float(np.mean(classes == state.held_out.y))
    return list(accuracies.values())


def output_accuracies(state: State) -> list[float]:
    """The network's own accuracy on each of SUBSETS."""
    held_out = state.held_out_features
    return subset_accuracies(
        state, state.fitted_features[-1], None if held_out is None else held_out[-1]
    )


def pooled_moments(
    batches: list[list[tuple[np.ndarray, np.ndarray]]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each BatchNormalization layer over batches of equal size.

    Args:
        batches: for each batch, (mean, variance) of each layer.

    Returns:
        (mean, variance) of each layer, float64.
    """
    pooled = []
    for layer in zip(*batches, strict=True):
        means = np.stack([mean for mean, _ in layer]).astype(np.float64)
        variances = np.stack([variance for _, variance in layer]).astype(np.float64)
        pooled.append((means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)))
    return pooled


def perfect_fit_epoch(epochs: list[float], accuracy: np.ndarray) -> float:
    """First of three consecutive recorded epochs (fewer at the end) with a perfect fit, or NaN.

    A perfect fit is an inference-mode accuracy of at least 0.995 on the given labels.

    Args:
        epochs: the recorded epochs.
        accuracy: (epoch,) inference-mode accuracy on the given labels.
    """
    fits = np.asarray(accuracy) >= PERFECT_FIT
    for index, epoch in enumerate(epochs):
        if fits[index : index + PERFECT_RECORDS].all():
            return float(epoch)
    return float("nan")


def memorized_share(probe_accuracy: np.ndarray) -> float:
    """Share of the wrongly labelled images that the network has memorized at the end.

    Args:
        probe_accuracy: (layer, epoch, subset) accuracies, with the output as the last layer; NaN
            if there are no wrongly labelled images.
    """
    last = float(probe_accuracy[-1, -1, SUBSETS.index("mislabeled_given")])
    return last if np.isfinite(last) else float("nan")


def on_state(state: State) -> Arrays:
    """The network's accuracy on the given labels, with moving and with batch statistics.

    NaN if the output holds no class scores, or some that are not finite.
    """
    if state.fitted is None:
        return {}
    accuracies = {"accuracy_inference": state.cached(output_accuracies)[0]}
    scores = state.training_scores
    if scores is not None:
        labels = state.fitted.y[: len(scores)]
        is_right = scores.argmax(axis=1) == labels
        is_defined = np.isfinite(scores).all()
        accuracies["accuracy_training"] = float(np.mean(is_right)) if is_defined else float("nan")
    return accuracies


def over_epochs(series: Series) -> Arrays:
    """The accuracies at every epoch, the epoch of perfect fit and the memorized share."""
    accuracies = {**series.recorded("accuracy_inference"), **series.recorded("accuracy_training")}
    fit = memorized = float("nan")
    if "accuracy_inference" in accuracies:
        fit = perfect_fit_epoch(series.epochs, accuracies["accuracy_inference"])
    by_subset = series.computed("probe_accuracy")
    if by_subset is not None:
        memorized = memorized_share(by_subset)
    return {**accuracies, "perfect_fit_epoch": fit, "memorized_share": memorized}


MEASURE = Measure(
    name="accuracies",
    title="accuracies",
    recorded={"accuracy_inference": (), "accuracy_training": ()},
    computed={"accuracy_inference": ("epoch",), "accuracy_training": ("epoch",)},
    meanings={
        "accuracy_inference": ("accuracy of the network in inference mode, given labels", "1"),
        "accuracy_training": ("accuracy of the network with batch statistics, given labels", "1"),
    },
    attributes=("perfect_fit_epoch", "memorized_share"),
    on_state=on_state,
    over_epochs=over_epochs,
)

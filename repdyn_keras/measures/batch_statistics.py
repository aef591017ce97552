"""Accuracy with batch statistics, and BatchNormalization's moments over many batches."""

import numpy as np

from repdyn_keras.measures.contract import Arrays, Measure, Series, State


def pooled_moments(
    batches: list[list[tuple[np.ndarray, np.ndarray]]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each BatchNormalization layer over batches of equal size.

    Args:
        batches: of each batch, (mean, variance) of each layer.

    Returns:
        (mean, variance) of each layer, float64.
    """
    pooled = []
    for layer in zip(*batches, strict=True):
        means = np.stack([mean for mean, _ in layer]).astype(np.float64)
        variances = np.stack([variance for _, variance in layer]).astype(np.float64)
        pooled.append((means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)))
    return pooled


def on_state(state: State) -> Arrays:
    """The network's accuracy in training mode, where it has BatchNormalization."""
    scores = state.training_scores
    if scores is None or state.fitted is None:
        return {}
    return {
        "accuracy_training": float(np.mean(scores.argmax(axis=1) == state.fitted.y[: len(scores)]))
    }


def over_epochs(series: Series) -> Arrays:
    """The same at every epoch."""
    return series.recorded("accuracy_training")


MEASURE = Measure(
    name="batch statistics",
    title="accuracies with batch statistics",
    recorded={"accuracy_training": ()},
    computed={"accuracy_training": ("epoch",)},
    on_state=on_state,
    over_epochs=over_epochs,
)

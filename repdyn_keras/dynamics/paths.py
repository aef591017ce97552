"""Phases of every layer."""

import numpy as np

from repdyn_keras.measures.phases import find_phases


def path_variables(grams: np.ndarray, epochs: list[int], suffix: str = "") -> dict:
    """Phases of every layer's path; records where a layer is undefined are left out, as phase 0.

    Args:
        grams: (layer, epoch, epoch_other) similarities.
        epochs: the recorded epochs.
        suffix: ends the names of the variables.

    Returns:
        Variables by name, each (dims, array).
    """
    layers, t = grams.shape[:2]
    labels = np.zeros((layers, t), dtype=np.int64)
    candidates = np.zeros((layers, t), dtype=np.int64)
    numbers = np.full((layers, 4), np.nan)
    for index, gram in enumerate(grams):
        alive = defined_at(gram)
        if len(alive) == 0:
            continue
        found = find_phases(gram[np.ix_(alive, alive)], np.array(epochs)[alive])
        labels[index, alive] = found.labels
        candidates[index, alive] = found.candidate
        numbers[index] = (
            found.p,
            found.distinguishability,
            found.distinguishability_raw,
            found.jitter_share,
        )
    by_layer = ("phases_p", "distinguishability", "distinguishability_raw", "jitter_share")
    return {
        f"phase{suffix}": (("layer", "epoch"), labels),
        f"phase_candidate{suffix}": (("layer", "epoch"), candidates),
        **{f"{n}{suffix}": (("layer",), numbers[:, i]) for i, n in enumerate(by_layer)},
    }


def defined_at(gram: np.ndarray) -> np.ndarray:
    """Indices of the epochs at which a layer's similarities are defined."""
    return np.flatnonzero(~np.isnan(np.diagonal(gram)))

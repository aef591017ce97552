"""When layers change, and how far they do so together."""

import re

import numpy as np

from repdyn_keras.dynamics.paths import defined_at
from repdyn_keras.measures.synchronization import (
    concordance,
    half_progress,
    timing_overlap,
    timing_spread,
)
from repdyn_keras.measures.trajectory import settling_index

# Fewer records than this have no second difference, and no timing.
FEWEST_RECORDS = 3
NOT_BLOCKS = re.compile(r"stem|patch_embedding|pooled|class_token|output")


def timing_variables(cka: np.ndarray, epochs: list[int]) -> dict:
    """Synchronization of all pairs of layers, over the records at which both are defined.

    Returns:
        Variables by name: `synchronization`, `concordance`, `timing_spread` (octaves) and `lag`
        (layer, layer_other) in octaves, positive where `layer` is later; `settling_epoch` (layer).
    """
    layers = len(cka)
    shape = (layers, layers)
    overlap, alike, spread, lag = (np.full(shape, np.nan) for _ in range(4))
    settled = np.full(layers, np.nan)
    times = np.array(epochs)
    for i in range(layers):
        alive = defined_at(cka[i])
        if len(alive):
            settled[i] = times[alive][settling_index(cka[i][np.ix_(alive, alive)])]
        for j in range(layers):
            both = np.intersect1d(alive, defined_at(cka[j]))
            if len(both) < FEWEST_RECORDS:
                continue
            part = np.ix_(both, both)
            one, other, at = cka[i][part], cka[j][part], times[both]
            overlap[i, j] = timing_overlap(one, other)
            alike[i, j] = concordance(one, other)
            spread[i, j] = timing_spread(one, other, at)
            lag[i, j] = half_progress(one, at) - half_progress(other, at)
    pair = ("layer", "layer_other")
    return {
        "synchronization": (pair, overlap),
        "concordance": (pair, alike),
        "timing_spread": (pair, spread),
        "lag": (pair, lag),
        "settling_epoch": (("layer",), settled),
    }


def synchronization_mean(dynamics) -> float:
    """Mean timing overlap over pairs of blocks: no stem, no patch embedding, no pooled features,
    no class token, no output. NaN where there are fewer than two."""
    names = dynamics["layer"].values
    blocks = [i for i, name in enumerate(names) if not NOT_BLOCKS.fullmatch(str(name))]
    first, second = np.triu_indices(len(blocks), 1)
    overlap = dynamics["synchronization"].values[np.ix_(blocks, blocks)][first, second]
    return float(np.nanmean(overlap)) if np.isfinite(overlap).any() else float("nan")

"""CKA of every layer between all epochs, from the records."""

import numpy as np

from repdyn_keras.measures.cka import cosines
from repdyn_keras.records import RunFolder

# Fingerprints held at a time; the files are read once for every so many bytes.
MEMORY_BYTES = 1 << 30


def cka_by_layer(folder: RunFolder, epochs: list[int], layers: int) -> np.ndarray:
    """(layer, epoch, epoch_other) CKA; NaN where a layer is dead or not finite."""
    state = folder.series(epochs, ["finite", "dead"])
    usable = (state["finite"] > state["dead"]).T
    first = folder.fingerprints(epochs[:1], slice(0, 1))
    at_once = max(1, MEMORY_BYTES // (first.nbytes * len(epochs)))
    cka = np.full((layers, len(epochs), len(epochs)), np.nan)
    for start in range(0, layers, at_once):
        group = slice(start, min(start + at_once, layers))
        prints = folder.fingerprints(epochs, group)
        for index in range(group.start, group.stop):
            alive = np.flatnonzero(usable[index])
            if len(alive):
                part = np.ix_(alive, alive)
                cka[index][part] = cosines(prints[alive, index - group.start])
    return cka

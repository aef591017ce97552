"""CKA of every layer between all epochs, from the records."""

import numpy as np

from repdyn_keras.measures.cka import SUM_CHUNK, inner_products, normalized
from repdyn_keras.records import RunFolder

# Bytes of fingerprints held at a time: however many records there are, parts of them are compared
# that fit, and the files are opened again for every part.
MEMORY_BYTES = 1 << 27


def cka_by_layer(folder: RunFolder, epochs: list[int], layers: int) -> np.ndarray:
    """(layer, epoch, epoch_other) CKA; NaN where a layer is dead or not finite."""
    state = folder.series(epochs, ["finite", "dead"])
    unusable = (state["finite"] <= state["dead"]).T
    length = folder.fingerprint_length(epochs[0])
    fitting = MEMORY_BYTES // (4 * len(epochs) * layers * SUM_CHUNK)
    columns = max(1, fitting) * SUM_CHUNK
    at_once = layers if fitting else max(1, MEMORY_BYTES // (4 * len(epochs) * SUM_CHUNK))
    products = np.zeros((layers, len(epochs), len(epochs)))
    for first in range(0, layers, at_once):
        group = slice(first, min(first + at_once, layers))
        for start in range(0, length, columns):
            prints = folder.fingerprints(epochs, group, slice(start, start + columns))
            with np.errstate(invalid="ignore", over="ignore"):
                for index in range(group.start, group.stop):
                    part = prints[:, index - group.start]
                    products[index] += inner_products(part, part)
    for index, gone in enumerate(unusable):
        products[index, gone] = products[index, :, gone] = np.nan
    return np.stack([normalized(product) for product in products])

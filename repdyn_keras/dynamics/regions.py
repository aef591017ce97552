"""Decision regions of all epochs, and how alike they are."""

import numpy as np

from repdyn_keras.measures.regions import (
    agreements,
    boundary_lengths,
    class_shares,
    fragments,
    kappas,
)
from repdyn_keras.records import RunFolder


def region_variables(folder: RunFolder, epochs: list[int], n_classes: int):
    """Regions, their agreement and kappa between all epochs, fragments, shares and boundaries.

    Returns:
        Variables by name, each (dims, array); and the agreement alone, (layer, epoch, epoch_other).
    """
    maps = folder.series(epochs, ["regions"])["regions"].swapaxes(0, 1)
    flat = maps.reshape(*maps.shape[:2], -1)
    agreement = np.stack([agreements(layer) for layer in flat])
    pair = ("layer", "epoch", "epoch_other")
    plane = ("layer", "epoch", "plane")
    return {
        "regions": (("layer", "epoch", "plane", "row", "column"), maps),
        "region_agreement": (pair, agreement),
        "region_kappa": (pair, np.stack([kappas(layer, n_classes) for layer in flat])),
        "fragments": (plane, fragments(maps)),
        "boundary_length": (plane, boundary_lengths(maps)),
        "class_share": (
            ("layer", "epoch", "class"),
            np.stack([class_shares(layer, n_classes) for layer in flat]),
        ),
    }, agreement

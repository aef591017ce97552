"""Epochs from which a share of images stays above a level."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

# The shares of the wrong labels between which a network memorizes them.
MEMORIZED_SHARES = (0.1, 0.9)


def stays_from(epochs: np.ndarray, shares: np.ndarray, level: float) -> float:
    """First epoch from which on a share stays at or above a level; NaN if it never does.

    An untrained network gives the wrong labels by chance, before it resists them.

    Args:
        epochs: (epoch,) ascending.
        shares: (epoch,) the share at each.
        level: the level.
    """
    below = np.flatnonzero(shares < level)
    first = int(below[-1]) + 1 if len(below) else 0
    return float(epochs[first]) if first < len(epochs) else float("nan")


def memorization_epochs(
    epochs: np.ndarray, shares: np.ndarray, fit: float, chance: float = 0.0
) -> tuple[float, ...]:
    """The epochs from which 10% and 90% of the wrong labels stay memorized; NaN for never.

    They are looked for up to the perfect fit: a later disturbance of the training does not make the
    memorization later.

    Args:
        epochs: (epoch,) ascending.
        shares: (epoch,) memorized share of the wrong labels.
        fit: epoch of perfect fit; NaN if it was not reached.
        chance: share that is given by chance; 10% and 90% are then of the way from it to all.
    """
    learning = epochs <= (fit if np.isfinite(fit) else np.inf)
    levels = (chance + share * (1 - chance) for share in MEMORIZED_SHARES)
    return tuple(stays_from(epochs[learning], shares[learning], level) for level in levels)


def output_accuracy(dynamics: "xarray.Dataset", subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and accuracy of the network itself on a subset, where it is known.

    Args:
        dynamics: the Dataset of a run.
        subset: "train", "clean", "mislabeled_given", "mislabeled_true" or "test".

    Returns:
        (n,) epochs and (n,) accuracies; both empty if the accuracy is never known.
    """
    if "probe_accuracy" not in dynamics or subset not in dynamics["subset"].values:
        return np.array([]), np.array([])
    values = dynamics["probe_accuracy"].sel(subset=subset).isel(layer=-1).values
    known = np.isfinite(values)
    return dynamics["epoch"].values[known].astype(float), values[known]

"""A layer's path through training, computed from its epoch x epoch similarity matrix.

A positive semidefinite matrix G of similarities is the Gram matrix of points, one for each epoch:
|point_s - point_t|^2 = G_ss + G_tt - 2 G_st. These points are the path.
"""

import numpy as np
from scipy.ndimage import median_filter


def octaves(epochs: np.ndarray) -> np.ndarray:
    """The axis that paths are measured on, u = log2(1 + epoch)."""
    return np.log2(1.0 + np.asarray(epochs, float))


def trapezoid_widths(u: np.ndarray) -> np.ndarray:
    """(t,) trapezoid widths of points on an axis: the part of the axis that each represents."""
    steps = np.diff(u)
    return np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2


def jitter(gram: np.ndarray) -> np.ndarray:
    """(t,) squared size of each point's scatter around a smooth path.

    s_t = max(0, G_tt + G_(t-1,t+1) - G_(t-1,t) - G_(t,t+1)), ends copied, running median of 3:
    white scatter around a smooth path has exactly this expectation.

    Args:
        gram: (t, t) similarities, t >= 3.
    """
    diagonal = np.diagonal(gram)
    inner = diagonal[1:-1] + np.diagonal(gram, 2) - np.diagonal(gram, 1)[:-1]
    inner = np.maximum(0, inner - np.diagonal(gram, 1)[1:])
    return median_filter(np.concatenate([inner[:1], inner, inner[-1:]]), 3, mode="nearest")


def squared_steps(gram: np.ndarray) -> np.ndarray:
    """(t - 1,) squared distances between successive points."""
    diagonal = np.diagonal(gram)
    return np.maximum(0, diagonal[:-1] + diagonal[1:] - 2 * np.diagonal(gram, 1))


def step_shares(gram: np.ndarray) -> np.ndarray:
    """(t - 1,) each step's share of the path's squared steps, less jitter; sums to 1.

    NaN where no step is larger than the jitter.
    """
    scatter = jitter(gram)
    steps = np.maximum(0, squared_steps(gram) - scatter[:-1] - scatter[1:])
    total = steps.sum()
    return steps / total if total > 0 else np.full_like(steps, np.nan)


def progress(shares: np.ndarray) -> np.ndarray:
    """(t,) running sum of step shares, from 0 to 1."""
    return np.concatenate([[0.0], np.cumsum(shares)])


def settling_index(gram: np.ndarray, level: float = 0.95) -> int:
    """First index from which the similarity to the final point stays above `level`."""
    below = np.flatnonzero(~(gram[:, -1] > level))
    return int(below[-1]) + 1 if len(below) else 0


def defined_records(gram: np.ndarray) -> np.ndarray:
    """Indices of the records at which a layer's similarities are defined."""
    return np.flatnonzero(~np.isnan(np.diagonal(gram)))

"""Epochs on an axis: where they stand, and which of them are written out."""

from collections.abc import Sequence

import numpy as np

EPOCH_AXIS = "epoch (axis: log2(1 + epoch); 0 = before training)"


def log_position(epochs: np.ndarray) -> np.ndarray:
    """log2(1 + epoch): the axis on which the default schedule of records is nearly even."""
    return np.log2(1 + np.asarray(epochs, float))


def row_position(epochs: np.ndarray, epoch: float) -> float:
    """Where an epoch stands among the recorded ones, counted in cells from 0."""
    return float(np.interp(epoch, epochs, np.arange(len(epochs))))


def thinned(positions: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` ascending positions, spread as evenly as they allow.

    The first and the last are always among them; no two are nearer than three quarters of an even
    share of the axis.

    Args:
        positions: (n,) ascending.
        most: at least 2.
    """
    last = len(positions) - 1
    if last < 1:
        return np.arange(last + 1)
    targets = np.linspace(positions[0], positions[last], max(2, most))
    gap = 0.75 * (targets[1] - targets[0])
    kept = [0]
    for index in np.unique(np.abs(positions[:, None] - targets).argmin(0))[1:-1]:
        after, before = positions[index] - positions[kept[-1]], positions[last] - positions[index]
        if after >= gap and before >= gap:
            kept.append(index)
    return np.array([*kept, last])


def most_labels(epochs: np.ndarray, inches: float, size: float) -> int:
    """How many epoch numbers of a font size (in points) fit side by side on so many inches."""
    digits = len(str(int(np.max(epochs))))
    return max(2, int(inches / ((0.64 * digits + 1.0) * size / 72)))


def label_axis(axis, positions: np.ndarray, epochs: Sequence[int], most: int) -> None:
    """Write the true numbers of some epochs on a matplotlib Axis; the others get a minor tick."""
    chosen = thinned(positions, most)
    axis.set_ticks(positions[chosen], labels=[str(int(epochs[i])) for i in chosen])
    axis.set_ticks(np.delete(positions, chosen), minor=True)

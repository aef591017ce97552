"""Images that carry much of a representation's similarity to everything else."""

from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.text import MAX_LAYER_LENGTH, format_epochs, format_names, visible

if TYPE_CHECKING:
    import xarray

TOP = 0.01
# Share of the top 1% of at least 100 images from which on they are warned about. Gaussian features
# of one dimension, the most concentrated ones, have 0.085. `benchmarks/bench_intervals.py` shows
# the intervals of CKA for larger shares.
THRESHOLD = 0.2


def top_images(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images with the largest shares, and what they make up together.

    Args:
        shares: (n, m) share of each image in m sums over n images.

    Returns:
        (m,) share of the top 1% of images, at least one; and their indices (m, rank), the most
        influential image first.
    """
    count = max(1, round(TOP * len(shares)))
    order = np.argsort(-shares, axis=0, kind="stable")[:count]
    return np.take_along_axis(shares, order, axis=0).sum(axis=0), order.T


def named(indices: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The ids of images by index, with -1, an empty string or NaN where the index is -1.

    Args:
        indices: indices of images, of any shape.
        ids: (n,) ids of the images: integers, strings or floats.
    """
    missing = {"i": -1, "u": -1, "f": np.nan}.get(ids.dtype.kind, "")
    ids = ids.astype(np.int64) if ids.dtype.kind == "u" else ids
    return np.append(ids, np.array([missing], ids.dtype))[indices]


def threshold(n: int) -> float:
    """The share of the most influential of n images from which on they are warned about.

    Below 100 images, a single image is more than 1% of them, and the threshold is larger.
    """
    return min(1.0, THRESHOLD * max(1, (1 / (TOP * n)) ** 0.5))


def influence_notice(dynamics: "xarray.Dataset") -> str | None:
    """One line that names the layers and epochs that few images dominate; None without any.

    Args:
        dynamics: a run's results, with `influential_share` (layer, epoch) and the attribute
            `influence_threshold`.
    """
    if "influential_share" not in dynamics:
        return None
    limit = dynamics.attrs["influence_threshold"]
    share = dynamics["influential_share"].transpose("layer", "epoch")
    named = []
    for layer in share:
        epochs = layer["epoch"].values[layer.values > limit]
        if len(epochs):
            name = visible(layer["layer"].item(), MAX_LAYER_LENGTH)
            word = "epoch" if len(epochs) == 1 else "epochs"
            named.append(f"{name} ({word} {format_names(format_epochs(epochs))})")
    if not named:
        return None
    return (
        f"1% of the evaluation images carry more than {limit:.0%}, and up to {share.max():.0%}, of "
        f"a layer's squared similarities: {format_names(named)}. See influential_image."
    )

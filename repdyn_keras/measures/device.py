"""What runs where the model runs: Gram matrices, pooled features, grids and class indices.

Written with `keras.ops` alone, so that one text serves jax, tensorflow and torch.
"""

import numpy as np
from keras import config, ops


def fingerprint(x, batch: int):
    """Fingerprint of one batch of activations, as `measures.cka.fingerprint` defines it.

    Source: Nguyen et al. 2021 (arXiv 2010.15327), eq. 3, of features that are centred first.

    Args:
        x: (batch, ...) activations of any float dtype.
        batch: number of samples b.

    Returns:
        (b (b - 1) / 2,) float32: the upper triangle of the U-centred Gram matrix times
        sqrt(2 / (b (b - 3))).
        (3,) float32: |U|^2, |K|^2 and sum |x|^2, by which `measures.cka.is_dead` judges.
    """
    x = ops.reshape(ops.cast(x, "float32"), (batch, -1))
    size = ops.sum(ops.square(x))
    x = x - ops.mean(x, axis=0, keepdims=True)
    gram = ops.matmul(x, ops.transpose(x))
    gram_norm = ops.sum(ops.square(gram))
    gram = gram * (1 - ops.eye(batch, dtype="float32"))
    rows = ops.sum(gram, axis=0) / (batch - 2)
    centred = gram - rows[:, None] - rows[None] + ops.sum(rows) / (batch - 1)
    row, column = np.triu_indices(batch, 1)
    upper = ops.take(ops.reshape(centred, (-1,)), (row * batch + column).astype("int32"))
    norms = ops.stack([2 * ops.sum(ops.square(upper)), gram_norm, size])
    return upper * float(np.sqrt(2 / (batch * (batch - 3)))), norms


def pooled(x, pooling: str | int):
    """A probe's features (batch, d) of activations (batch, ..., channels), as float32.

    Args:
        x: activations; two spatial axes, one token axis, or none.
        pooling: "mean" averages over all positions, "flatten" keeps them, and a whole number g
            averages images over a g x g grid (token axes are averaged).
    """
    x = ops.cast(x, "float32")
    if len(x.shape) <= 2:
        return x
    if len(x.shape) == 4 and config.image_data_format() == "channels_first":
        x = ops.transpose(x, (0, 2, 3, 1))
    if pooling == "flatten":
        return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))
    if pooling == "mean" or len(x.shape) != 4:
        return ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
    _, height, width, channels = x.shape
    x = ops.einsum("gh,nhwc->ngwc", bins(height, pooling), x)
    x = ops.einsum("gw,nhwc->nhgc", bins(width, pooling), x)
    side_y, side_x = min(height, pooling), min(width, pooling)
    return ops.reshape(x, (-1, side_y * side_x * channels))


def bins(length: int, count: int) -> np.ndarray:
    """(count, length) weights that average an axis over `count` even bins, at most one a point."""
    count = min(count, length)
    edges = np.linspace(0, length, count + 1)
    position = np.arange(length)
    overlap = np.minimum(position + 1, edges[1:, None]) - np.maximum(position, edges[:-1, None])
    overlap = np.clip(overlap, 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype("float32")


def plane_points(origin, axes, coordinates):
    """Points of planes: origin + first coordinate * first axis + second * second.

    Args:
        origin: (batch, d).
        axes: (batch, 2, d).
        coordinates: (batch, 2).

    Returns:
        (batch, d).
    """
    return origin + ops.sum(coordinates[:, :, None] * axes, axis=1)


def class_index(logits, undefined: int):
    """Index of the largest logit (batch, classes) as int32; `undefined` where one is not finite."""
    finite = ops.all(ops.isfinite(logits), axis=-1)
    index = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.where(finite, index, undefined)

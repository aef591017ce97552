"""Computations on the model's device: Gram matrices, pooled features, grids and class indices.

Only `keras.ops` is used, for jax, tensorflow and torch.
"""

import numpy as np
from keras import ops

# Number of features that are multiplied at a time for a Gram matrix.
CHUNK_FEATURES = 4096


def fingerprints(layers: list, batch: int):
    """Fingerprints of one batch of activations, as `measures.cka.fingerprint` defines them.

    Source: Nguyen et al. 2021 (arXiv 2010.15327), eq. 3; the features are centred first.

    Args:
        layers: (batch, ...) activations of each layer, of any float dtype.
        batch: number of samples b.

    Returns:
        (layer, b (b - 1) / 2) float32: the upper triangle of each U-centred Gram matrix times
        sqrt(2 / (b (b - 3))).
        (layer, 3) float32: |U|^2, |K|^2 and sum |x|^2, see `measures.cka.is_dead`.
    """
    grams, sizes = zip(
        *(centred_gram(ops.reshape(ops.cast(x, "float32"), (batch, -1))) for x in layers),
        strict=True,
    )
    grams = ops.stack(grams)
    gram_norms = ops.sum(ops.square(grams), axis=(1, 2))
    grams = grams * (1 - ops.eye(batch, dtype="float32"))
    rows = ops.sum(grams, axis=1) / (batch - 2)
    total = ops.sum(rows, axis=1) / (batch - 1)
    centred = grams - rows[:, :, None] - rows[:, None] + total[:, None, None]
    row, column = np.triu_indices(batch, 1)
    places = ops.convert_to_tensor(row * batch + column, dtype="int32")
    upper = ops.take(ops.reshape(centred, (len(layers), -1)), places, axis=1)
    norms = [2 * ops.sum(ops.square(upper), axis=1), gram_norms, ops.stack(sizes)]
    return upper * float(np.sqrt(2 / (batch * (batch - 3)))), ops.stack(norms, axis=1)


def centred_gram(x):
    """Gram matrix of features after centring, and sum of squares of the features before.

    Features are processed in chunks that fit into the processor's cache, so that computing the mean
    costs little. Only half of the entries below the diagonal are multiplied.

    Args:
        x: (n, d) float32.

    Returns:
        (n, n) float32, symmetric up to rounding; and sum |x|^2 of the uncentred features.
    """
    n, d = x.shape
    half = n // 2

    def parts(chunk):
        mean = ops.mean(chunk, axis=0, keepdims=True)
        centred = chunk - mean
        above, below = centred[:half], centred[half:]
        return (
            ops.matmul(above, ops.transpose(centred)),
            ops.matmul(below, ops.transpose(below)),
            n * ops.sum(ops.square(mean)),
        )

    def add_chunk(index, sums):
        chunk = ops.slice(x, (0, index * CHUNK_FEATURES), (n, CHUNK_FEATURES))
        return tuple(ops.add(s, part) for s, part in zip(sums, parts(chunk), strict=True))

    whole = d // CHUNK_FEATURES
    shapes = ((half, n), (n - half, n - half), ())
    sums = tuple(ops.zeros(shape, dtype="float32") for shape in shapes)
    if whole:
        sums = ops.fori_loop(0, whole, add_chunk, sums)
    if whole * CHUNK_FEATURES < d:
        rest = parts(x[:, whole * CHUNK_FEATURES :])
        sums = tuple(ops.add(s, part) for s, part in zip(sums, rest, strict=True))
    top, corner, shift = sums
    bottom = ops.concatenate([ops.transpose(top[:, half:]), corner], axis=1)
    gram = ops.concatenate([top, bottom], axis=0)
    return gram, ops.trace(gram) + shift


def pooled(x, pooling: str | int, channel_axis: int = -1, mask=None):
    """The features (batch, d) of a probe from activations (batch, ...), as float32.

    Positions outside of the mask are not averaged, and are 0 where all positions are kept; the
    average of no position is 0.

    Args:
        x: activations, with any number of positional axes and one of channels.
        pooling: "mean" averages over all positions, "flatten" keeps all positions, and a whole
            number g averages two positional axes over a g x g grid and any other number of them
            completely.
        channel_axis: the axis of the channels.
        mask: (batch, ...) booleans, True at the positions that count; their axes are the first ones
            of the activations, without that of the channels. None where all count.
    """
    x = ops.cast(x, "float32")
    if len(x.shape) <= 2:
        return x
    if mask is not None:
        weights = ops.cast(mask, "float32")
        weights = ops.reshape(weights, (*mask.shape, *[1] * (len(x.shape) - len(mask.shape))))
        x = ops.where(weights > 0, x, 0.0)
        if pooling != "flatten":
            shares = pooled(weights * ops.ones_like(x), pooling, channel_axis)
            return ops.divide_no_nan(pooled(x, pooling, channel_axis), shares)
    if channel_axis % len(x.shape) != len(x.shape) - 1:
        x = ops.moveaxis(x, channel_axis, -1)
    if pooling == "flatten":
        return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))
    if pooling == "mean" or len(x.shape) != 4:
        return ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))
    _, height, width, channels = x.shape
    pooling = int(pooling)
    x = ops.einsum("gh,nhwc->ngwc", bins(height, pooling), x)
    x = ops.einsum("gw,nhwc->nhgc", bins(width, pooling), x)
    side_y, side_x = min(height, pooling), min(width, pooling)
    return ops.reshape(x, (-1, side_y * side_x * channels))


def bins(length: int, count: int) -> np.ndarray:
    """(count, length) weights that average an axis over `count` equal bins, at most `length`."""
    count = min(count, length)
    edges = np.linspace(0, length, count + 1)
    position = np.arange(length)
    overlap = np.minimum(position + 1, edges[1:, None]) - np.maximum(position, edges[:-1, None])
    overlap = np.clip(overlap, 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype("float32")


def small_convolution(images, kernel, strides: tuple[int, int], padding: str):
    """A convolution of small images as one matrix product between all inputs and all outputs.

    Args:
        images: (batch, height, width, channels), of fixed height and width.
        kernel: (rows, columns, channels, filters).
        strides: steps along height and width.
        padding: "same" or "valid".

    Returns:
        (batch, height', width', filters).
    """
    sides, spans = images.shape[1:3], kernel.shape[:2]
    (y, in_y), (x, in_x) = (
        kernel_entries(*sizes_and_stride, padding)
        for sizes_and_stride in zip(sides, spans, strides, strict=True)
    )
    # (height, height', width, width', channels, filters)
    weights = ops.take(ops.take(kernel, y.ravel(), axis=0), x.ravel(), axis=1)
    weights = ops.reshape(weights, (*y.shape, *x.shape, *kernel.shape[2:]))
    connected = (in_y[:, :, None, None] & in_x).astype("float32")[..., None, None]
    weights = ops.transpose(weights * ops.cast(connected, weights.dtype), (0, 2, 4, 1, 3, 5))
    inputs = int(np.prod(images.shape[1:]))
    outputs = (y.shape[1], x.shape[1], kernel.shape[3])
    result = ops.matmul(
        ops.reshape(images, (-1, inputs)), ops.reshape(weights, (inputs, int(np.prod(outputs))))
    )
    return ops.reshape(result, (-1, *outputs))


def kernel_entries(
    side: int, span: int, stride: int, padding: str
) -> tuple[np.ndarray, np.ndarray]:
    """The entry of a kernel that connects an input with an output, along one axis.

    Returns:
        (input, output) indices into the kernel, and (input, output) whether the two are connected.
    """
    count = -(-side // stride) if padding == "same" else (side - span) // stride + 1
    before = max((count - 1) * stride + span - side, 0) // 2 if padding == "same" else 0
    entry = np.arange(side)[:, None] - np.arange(count) * stride + before
    return np.clip(entry, 0, span - 1), (entry >= 0) & (entry < span)


def plane_points(origin, axes, coordinates):
    """Points of planes: origin + coordinates[0] * axes[0] + coordinates[1] * axes[1].

    Args:
        origin: (batch, d).
        axes: (batch, 2, d).
        coordinates: (batch, 2).

    Returns:
        (batch, d).
    """
    return origin + ops.sum(coordinates[:, :, None] * axes, axis=1)


def class_index(logits, undefined: int):
    """Index of the largest logit (batch, classes) as int32; `undefined` if one is not finite."""
    finite = ops.all(ops.isfinite(logits), axis=-1)
    index = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.where(finite, index, undefined)

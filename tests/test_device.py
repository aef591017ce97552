"""Computations on the device, compared with NumPy in float64."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from helpers import assert_fingerprint, fingerprint_float64
from keras import config, ops

from repdyn_keras.measures import cka, device


@pytest.fixture(autouse=True)
def channels_last():
    """Sets the data format of these tests, and restores the previous one."""
    before = config.image_data_format()
    config.set_image_data_format("channels_last")
    yield
    config.set_image_data_format(before)


def numpy_of(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def pooled(x, pooling, channel_axis=-1):
    return numpy_of(device.pooled(ops.convert_to_tensor(x), pooling, channel_axis))


def activations(shape, mean=0.0, seed=0):
    """Features with a common part, so that their Gram matrix is not diagonal."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, int(np.prod(shape[1:]))))
    x = rng.normal(size=shape) + 0.3 * common.reshape(shape)
    return (x + mean).astype(np.float32)


def test_fingerprints_and_norms_equal_those_in_float64():
    """For several layers at a time; activations in half precision are summed in float32."""
    cases = [
        ((32, 7, 7, 5), 30, "float32"),
        ((32, 900), 0, "float32"),
        ((32, 900), 3, "float16"),
        ((32, 900), 3, "bfloat16"),
    ]
    layers = [
        ops.cast(ops.convert_to_tensor(activations(shape, mean)), dtype)
        for shape, mean, dtype in cases
    ]
    constants = [np.full((32, 900), value, np.float32) for value in (0.0, 0.1, 1000.0)]
    living = [activations((32, 900), 1000)]
    more = [ops.convert_to_tensor(x) for x in (*constants, *living)]
    found, norms = map(numpy_of, device.fingerprints(layers + more, 32))
    assert found.dtype == norms.dtype == np.float32
    for case, x, vector, squares in zip(cases, layers, found, norms, strict=False):
        exact = numpy_of(ops.cast(x, "float32"))
        assert_fingerprint(vector, exact, 32, case)
        expected = fingerprint_float64(exact, 32)[1]
        np.testing.assert_allclose(squares, expected, rtol=1e-4, err_msg=str(case))
    epsilon = float(np.finfo(np.float32).eps)
    dead = [bool(cka.is_dead(n.astype(np.float64), epsilon)) for n in norms]
    assert dead == [False] * 4 + [True] * 3 + [False], "a constant layer is dead"


@pytest.mark.long
def test_fingerprints_are_float32_for_any_default_dtype():
    x = activations((32, 900), 3)
    before = config.floatx()
    for floatx in ("bfloat16", "float16"):
        config.set_floatx(floatx)
        try:
            found, norms = device.fingerprints([ops.convert_to_tensor(x, dtype="float32")], 32)
        finally:
            config.set_floatx(before)
        assert found.dtype == norms.dtype == ops.convert_to_tensor(x, dtype="float32").dtype
        assert_fingerprint(numpy_of(found)[0], x, 32, floatx)


def padded(x, kernel, strides, padding):
    """Images (batch, height, width, channels) padded with zeros as for a convolution."""
    pads = []
    for side, span, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True):
        total = max((-(-side // stride) - 1) * stride + span - side, 0)
        pads.append((total // 2, total - total // 2) if padding == "same" else (0, 0))
    return np.pad(x, [(0, 0), *pads, (0, 0)])


def test_convolutions_of_small_images_equal_a_plain_loop():
    for sides, spans, strides, padding in [
        ((2, 2), (3, 3), (1, 1), "same"),
        ((2, 1), (3, 2), (2, 1), "same"),
        ((1, 2), (2, 3), (1, 2), "same"),
        ((2, 2), (2, 1), (1, 2), "valid"),
    ]:
        x = activations((3, *sides, 4))
        kernel = activations((*spans, 4, 5), seed=1)
        around = padded(x.astype(np.float64), kernel, strides, padding)
        rows, columns = (
            range(0, n - span + 1, step)
            for n, span, step in zip(around.shape[1:3], spans, strides, strict=True)
        )
        expected = np.zeros((3, len(rows), len(columns), 5))
        for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
            part = around[:, row : row + spans[0], column : column + spans[1]]
            expected[:, i, j] = np.tensordot(part, kernel, 3)
        found = device.small_convolution(
            ops.convert_to_tensor(x), ops.convert_to_tensor(kernel), strides, padding
        )
        case = f"{sides} {spans} {strides} {padding}"
        assert found.shape == expected.shape, case
        np.testing.assert_allclose(numpy_of(found), expected, atol=1e-5, err_msg=case)


def test_centred_gram_over_chunks_of_features():
    """For features far from 0: whole chunks, a remainder, and less than one chunk."""
    for n, d in [(4, 1), (9, 4096), (9, 2 * 4096 + 17)]:
        x = np.random.default_rng(d).normal(3, 1, (n, d)).astype(np.float32)
        gram, size = map(numpy_of, device.centred_gram(ops.convert_to_tensor(x)))
        exact = x.astype(np.float64)
        centred = exact - exact.mean(axis=0)
        rounding = 3e-6 * max(d, 10)
        np.testing.assert_allclose(gram, centred @ centred.T, rtol=0, atol=rounding)
        np.testing.assert_allclose(gram, gram.T, rtol=0, atol=rounding)
        assert size == pytest.approx(np.sum(np.square(exact)), rel=1e-5)


def loop_bins(length, count):
    """(count, length) exact overlaps of pixels with `count` even bins, normalized."""
    count = min(count, length)
    width = Fraction(length, count)
    weights = []
    for index in range(count):
        low, high = index * width, (index + 1) * width
        row = [
            max(Fraction(0), min(high, Fraction(p + 1)) - max(low, Fraction(p)))
            for p in range(length)
        ]
        weights.append([float(w / sum(row)) for w in row])
    return np.array(weights)


def test_bins_equal_a_loop_over_exact_overlaps():
    sizes = [(8, 2), (8, 8), (7, 2), (7, 3), (5, 4), (3, 5), (1, 1), (1, 4), (10, 1)]
    for length, count in sizes:
        found = device.bins(length, count)
        assert found.shape == (min(length, count), length)
        np.testing.assert_allclose(found, loop_bins(length, count), atol=1e-6)


def test_pooling_on_a_grid_equals_a_plain_loop():
    for height, width, side in [(8, 8, 2), (6, 9, 4), (2, 11, 4)]:
        x = activations((3, height, width, 4), 2)
        rows, columns = loop_bins(height, side), loop_bins(width, side)
        expected = np.zeros((3, len(rows), len(columns), 4))
        for n, i, j, c in np.ndindex(*expected.shape):
            for p, q in itertools.product(range(height), range(width)):
                expected[n, i, j, c] += rows[i, p] * columns[j, q] * x[n, p, q, c]
        found = pooled(x, side)
        assert found.shape == (3, len(rows) * len(columns) * 4)
        np.testing.assert_allclose(found, expected.reshape(3, -1), atol=1e-5)


def test_other_poolings_equal_numpy():
    images, tokens, vectors = (activations(shape) for shape in [(4, 6, 5, 3), (4, 9, 3), (4, 7)])
    for x, pooling, expected in [
        (images, "mean", images.mean(axis=(1, 2))),
        (images, 1, images.mean(axis=(1, 2))),
        (images, 6, images.reshape(4, -1)),
        (images, "flatten", images.reshape(4, -1)),
        (tokens, "mean", tokens.mean(axis=1)),
        (tokens, 2, tokens.mean(axis=1)),
        (tokens, "flatten", tokens.reshape(4, -1)),
        (vectors, "mean", vectors),
        (vectors, "flatten", vectors),
        (vectors, 2, vectors),
    ]:
        found = pooled(x, pooling)
        assert found.shape == expected.shape, (x.shape, pooling)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{x.shape} {pooling}")
        if x is vectors or pooling == "flatten":
            np.testing.assert_array_equal(found, expected)
    half = ops.cast(ops.convert_to_tensor(images), "float16")
    assert numpy_of(device.pooled(half, "mean")).dtype == np.float32


def test_features_do_not_depend_on_the_channel_axis():
    for shape in ((2, 6, 5, 4), (2, 7, 3), (2, 3, 4, 5, 2)):
        x = activations(shape)
        for axis, pooling in itertools.product(range(1, len(shape)), ("mean", "flatten", 3)):
            expected = pooled(x, pooling)
            turned = np.ascontiguousarray(np.moveaxis(x, -1, axis))
            for given in (axis, axis - len(shape)):
                found = pooled(turned, pooling, given)
                np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{shape} {axis}")
    assert pooled(activations((2, 3)), "mean", 1).shape == (2, 3)


def test_plane_points_are_the_origin_plus_coordinates_along_the_axes():
    rng = np.random.default_rng(3)
    origin, axes, at = (rng.normal(size=shape) for shape in [(5, 12), (5, 2, 12), (5, 2)])
    given = (ops.convert_to_tensor(a.astype(np.float32)) for a in (origin, axes, at))
    found = numpy_of(device.plane_points(*given))
    expected = [o + c[0] * a[0] + c[1] * a[1] for o, a, c in zip(origin, axes, at, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_class_index_is_the_largest_logit_and_undefined_where_one_is_not_finite():
    """A single non-finite logit makes the class undefined."""
    for undefined, bad, column in [(255, np.nan, 0), (255, -np.inf, 4), (65535, np.inf, 9)]:
        logits = np.random.default_rng(4).normal(size=(50, 10)).astype(np.float32)
        expected = logits.argmax(axis=1)
        logits[2, column], expected[2] = bad, undefined
        found = numpy_of(device.class_index(ops.convert_to_tensor(logits), undefined))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)

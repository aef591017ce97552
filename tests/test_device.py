"""What runs on the device, against NumPy."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from keras import config, ops

from repdyn_keras.measures import cka, device


@pytest.fixture(autouse=True)
def channels_last():
    """Activations of these tests are laid out so; what was set before is put back."""
    before = config.image_data_format()
    config.set_image_data_format("channels_last")
    yield
    config.set_image_data_format(before)


def numpy_of(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def activations(shape, mean=0.0, dtype=np.float32, seed=0):
    """Features with a common part, so that their Gram matrix is not only its diagonal."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, int(np.prod(shape[1:]))))
    x = rng.normal(size=shape) + 0.3 * common.reshape(shape)
    return (x + mean).astype(dtype)


SHAPES = [(32, 7, 7, 5), (48, 2000)]


@pytest.mark.parametrize("mean", [0, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_fingerprint_equals_that_of_numpy_in_float64(shape, mean):
    x = activations(shape, mean)
    found = numpy_of(device.fingerprint(ops.convert_to_tensor(x), shape[0])[0])
    expected = cka.fingerprint(x.astype(np.float64))
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("shape, mean", [(SHAPES[0], 30), (SHAPES[1], 0)])
def test_norms_are_those_that_death_is_judged_by(shape, mean):
    x = activations(shape, mean)
    found = numpy_of(device.fingerprint(ops.convert_to_tensor(x), shape[0])[1])
    n = len(x)
    flat = x.reshape(n, -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    gram = centred @ centred.T
    k = gram - np.diag(np.diag(gram))
    r = k.sum(axis=0) / (n - 2)
    u = k - r - r[:, None] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(u, 0)
    np.testing.assert_allclose(found, [(u**2).sum(), (gram**2).sum(), (flat**2).sum()], rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.0])
def test_a_constant_layer_is_dead_and_a_living_one_is_not(value):
    epsilon = float(np.finfo(np.float32).eps)
    constant = np.full((48, 2000), value, np.float32)
    norms = numpy_of(device.fingerprint(ops.convert_to_tensor(constant), 48)[1])
    assert cka.is_dead(norms.astype(np.float64), epsilon)
    living = numpy_of(
        device.fingerprint(ops.convert_to_tensor(activations((32, 50), value)), 32)[1]
    )
    assert not cka.is_dead(living.astype(np.float64), epsilon)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_activations_are_summed_in_float32(dtype):
    x = ops.cast(ops.convert_to_tensor(activations((48, 2000), 3)), dtype)
    exact = numpy_of(ops.cast(x, "float32")).astype(np.float64)
    found = numpy_of(device.fingerprint(x, 48)[0])
    expected = cka.fingerprint(exact)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_cosine_of_two_device_fingerprints_is_cka():
    x, y = activations((48, 2000), 30, seed=1), activations((48, 2000), 30, seed=1)
    y = y + np.random.default_rng(2).normal(size=y.shape).astype(np.float32)
    prints = [numpy_of(device.fingerprint(ops.convert_to_tensor(a), 48)[0]) for a in (x, y)]
    expected = cka.cka(x.astype(np.float64), y.astype(np.float64))
    assert cka.cosines(np.stack(prints))[0, 1] == pytest.approx(expected, abs=1e-5)
    assert 0.05 < expected < 0.95


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


@pytest.mark.parametrize(
    "length, count", [(8, 2), (8, 8), (7, 2), (7, 3), (5, 4), (3, 5), (1, 1), (1, 4), (10, 1)]
)
def test_bins_equal_a_loop_over_exact_overlaps(length, count):
    found = device.bins(length, count)
    assert found.shape == (min(length, count), length)
    np.testing.assert_allclose(found, loop_bins(length, count), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "height, width, side", [(8, 8, 2), (7, 7, 2), (6, 9, 4), (5, 3, 3), (2, 11, 4), (1, 1, 2)]
)
def test_pooling_on_a_grid_equals_a_plain_loop(height, width, side):
    x = activations((3, height, width, 4), 2)
    found = numpy_of(device.pooled(ops.convert_to_tensor(x), side))
    rows, columns = loop_bins(height, side), loop_bins(width, side)
    expected = np.zeros((3, len(rows), len(columns), 4))
    for n, i, j, c in np.ndindex(*expected.shape):
        for p, q in itertools.product(range(height), range(width)):
            expected[n, i, j, c] += rows[i, p] * columns[j, q] * x[n, p, q, c]
    assert found.shape == (3, len(rows) * len(columns) * 4)
    np.testing.assert_allclose(found, expected.reshape(3, -1), atol=1e-5)


def test_pooling_on_one_cell_is_the_mean_and_on_all_cells_keeps_every_position():
    x = activations((3, 6, 5, 2))
    one, every = (numpy_of(device.pooled(ops.convert_to_tensor(x), g)) for g in (1, 6))
    np.testing.assert_allclose(one, x.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(every, x.reshape(3, -1), atol=1e-6)


@pytest.mark.parametrize("shape, axes", [((4, 6, 5, 3), (1, 2)), ((4, 9, 3), (1,))])
def test_mean_pooling_averages_all_positions(shape, axes):
    x = activations(shape)
    found = numpy_of(device.pooled(ops.convert_to_tensor(x), "mean"))
    np.testing.assert_allclose(found, x.mean(axis=axes), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 9, 3), (4, 7)])
def test_flatten_keeps_every_number_in_order(shape):
    x = activations(shape)
    found = numpy_of(device.pooled(ops.convert_to_tensor(x), "flatten"))
    np.testing.assert_array_equal(found, x.reshape(4, -1))


@pytest.mark.parametrize("pooling", ["mean", "flatten", 2])
def test_features_without_positions_stay_as_they_are(pooling):
    x = activations((4, 7))
    found = numpy_of(device.pooled(ops.convert_to_tensor(x), pooling))
    np.testing.assert_array_equal(found, x)


def test_tokens_are_averaged_where_a_grid_is_asked_for():
    x = activations((4, 9, 3))
    found = numpy_of(device.pooled(ops.convert_to_tensor(x), 2))
    np.testing.assert_allclose(found, x.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "flatten", 2, 3])
def test_channels_first_images_give_the_same_features(pooling):
    x = activations((2, 6, 5, 4))
    expected = numpy_of(device.pooled(ops.convert_to_tensor(x), pooling))
    config.set_image_data_format("channels_first")
    turned = ops.convert_to_tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(numpy_of(device.pooled(turned, pooling)), expected, atol=1e-6)


def test_half_precision_features_become_float32():
    x = ops.cast(ops.convert_to_tensor(activations((4, 6, 6, 3))), "float16")
    assert numpy_of(device.pooled(x, "mean")).dtype == np.float32


def test_plane_points_are_the_origin_plus_coordinates_along_the_axes():
    rng = np.random.default_rng(3)
    origin, axes, at = (
        rng.normal(size=(5, 12)),
        rng.normal(size=(5, 2, 12)),
        rng.normal(size=(5, 2)),
    )
    given = (ops.convert_to_tensor(a.astype(np.float32)) for a in (origin, axes, at))
    found = numpy_of(device.plane_points(*given))
    expected = [o + c[0] * a[0] + c[1] * a[1] for o, a, c in zip(origin, axes, at, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("undefined", [255, 65535])
def test_class_index_is_the_largest_logit(undefined):
    logits = np.random.default_rng(4).normal(size=(50, 10)).astype(np.float32)
    found = numpy_of(device.class_index(ops.convert_to_tensor(logits), undefined))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, logits.argmax(axis=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("undefined, column", [(255, 0), (255, 4), (65535, 9)])
def test_a_point_with_a_logit_that_is_not_finite_is_undefined(bad, undefined, column):
    logits = np.random.default_rng(5).normal(size=(6, 10)).astype(np.float32)
    logits[2, column] = bad
    found = numpy_of(device.class_index(ops.convert_to_tensor(logits), undefined))
    expected = logits.argmax(axis=1)
    expected[2] = undefined
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [4, 9, 32])
@pytest.mark.parametrize("d", [1, 4096, 4097, 3 * 4096, 2 * 4096 + 17])
def test_centred_gram_over_chunks_of_features(n, d):
    """Against float64, of features far from 0; whole chunks, a rest, and less than one."""
    x = np.random.default_rng(d).normal(3, 1, (n, d)).astype(np.float32)
    gram, size = map(numpy_of, device.centred_gram(ops.convert_to_tensor(x)))
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    rounding = 3e-6 * max(d, 10)
    np.testing.assert_allclose(gram, centred @ centred.T, rtol=0, atol=rounding)
    np.testing.assert_allclose(gram, gram.T, rtol=0, atol=rounding)
    assert size == pytest.approx(np.sum(np.square(exact)), rel=1e-5)


@pytest.mark.parametrize("floatx", ["bfloat16", "float16"])
def test_fingerprints_are_float32_whatever_the_default_dtype(floatx):
    x = activations((16, 5000), 3)
    expected = numpy_of(device.fingerprint(ops.convert_to_tensor(x), 16)[0])
    before = config.floatx()
    config.set_floatx(floatx)
    try:
        found, norms = device.fingerprint(ops.convert_to_tensor(x, dtype="float32"), 16)
    finally:
        config.set_floatx(before)
    assert found.dtype == norms.dtype == ops.convert_to_tensor(x, dtype="float32").dtype
    np.testing.assert_array_equal(numpy_of(found), expected)

"""CKA: its mathematical properties, and a float64 reference implementation of the formulas."""

import itertools
import warnings

import numpy as np
import pytest
from helpers import assert_input_error, fingerprint_float64

from repdyn_keras.measures import cka as module
from repdyn_keras.measures.cka import (
    batch_length,
    cka,
    cka_matrix,
    cosines,
    fingerprint,
    is_dead,
)

pytestmark = pytest.mark.without_keras

ESTIMATORS = ("unbiased", "biased")


def hsic_1(k, m):
    """Nguyen et al. 2021, eq. 3, for two Gram matrices of uncentred features."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    trace = np.trace(k @ m)
    sums = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def hsic_0(k, m):
    """The biased estimator, up to a factor: tr K H M H."""
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ m @ h)


def flat(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)


def reference(x, y, batch=None, estimator="unbiased"):
    """CKA from HSIC averaged over batches, separately in the numerator and the denominators."""
    hsic = hsic_1 if estimator == "unbiased" else hsic_0
    x, y = flat(x), flat(y)
    batch = batch or len(x)
    parts = [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
    parts = [(a @ a.T, b @ b.T) for a, b in parts]
    cross = np.mean([hsic(k, m) for k, m in parts])
    left = np.mean([hsic(k, k) for k, _ in parts])
    right = np.mean([hsic(m, m) for _, m in parts])
    return cross / np.sqrt(left * right)


def related(n=96, d=30, k=20, seed=0):
    """Two related float64 representations."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 6))
    x = common @ rng.normal(size=(6, d)) + rng.normal(size=(n, d))
    y = common @ rng.normal(size=(6, k)) + 2 * rng.normal(size=(n, k))
    return x, y


def rotation(d, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


# --- values -----------------------------------------------------------------------------------


def test_published_reference_values():
    """A dozen public implementations agree on the first pair; the second is the demo of
    Kornblith's authors."""
    random = np.random.RandomState(0)
    x, y = random.uniform(size=(30, 25)), random.uniform(size=(30, 25))
    assert cka(x, y, estimator="biased") == pytest.approx(0.489342739, abs=1e-9)
    assert cka(x, y) == pytest.approx(0.023598699, abs=1e-9)
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    y = random.randn(100, 10) + x
    assert cka(x, y, estimator="biased") == pytest.approx(0.557613, abs=1e-6)
    assert cka(x, y) == pytest.approx(0.513456, abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_float64_equals_the_reference_to_1e_10(estimator):
    rng = np.random.default_rng(5)
    image = rng.normal(size=(48, 5, 6, 3))
    pairs = {
        "related": related(),
        "four samples": related(n=4),
        "images": (image, np.tanh(image.reshape(48, -1)[:, :11])),
        "whole numbers": (rng.integers(0, 100, (48, 12)), rng.integers(0, 100, (48, 12)) ** 2),
        "bytes": (*rng.integers(0, 256, (2, 48, 12)).astype(np.uint8),),
        "booleans": (*(rng.random((2, 48, 12)) < 0.5),),
    }
    for (name, (x, y)), batch in itertools.product(pairs.items(), (None, 4, 16)):
        found = cka(x, y, batch_size=min(batch or len(x), len(x)), estimator=estimator)
        expected = reference(x, y, batch, estimator)
        assert found == pytest.approx(expected, abs=1e-10), (name, batch)


def test_lower_precision_equals_the_reference_for_any_mean():
    for (n, d, k), mean in itertools.product(((64, 10, 10), (128, 300, 40)), (0, 3, 30)):
        x, y = (a / np.sqrt(8) for a in related(n, d, k, seed=d))
        x, y = (x + mean).astype(np.float32), (y - mean).astype(np.float32)
        assert abs(cka(x, y) - reference(x, y)) < 1e-5, (n, mean)
        assert 0.01 < abs(reference(x, y)) < 0.99
    for scale in np.float32([1e-6, 1e6]):
        assert abs(cka(scale * x, y) - cka(x, y)) < 1e-5, scale
    x, y = related()
    half = [30 * a.astype(np.float16) for a in (x, y)]
    assert abs(cka(*half) - reference(*half)) < 1e-5
    mixed = half[0].astype(np.float32), y
    assert abs(cka(*mixed) - reference(*mixed)) < 1e-5
    # The squares of the Gram matrix sum up to 1e40 on the diagonal and to 1e36 next to it.
    x, y = np.random.default_rng(5).normal(size=(2, 8, 4096)).astype(np.float32)
    assert cka(x * np.float32(1e8), y) == pytest.approx(cka(x, y), abs=1e-5)


def test_unrelated_data_is_near_zero_and_not_clamped():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 256, 4096)).astype(np.float32)
    assert abs(cka(x, y)) < 0.02
    assert cka(x, y, estimator="biased") == pytest.approx(0.94, abs=0.01)
    many = list(rng.normal(size=(12, 24, 100)))
    matrix = cka_matrix(many)
    expected = [[reference(a, b) for a in many] for b in many]
    np.testing.assert_allclose(matrix, expected, atol=1e-10)
    assert (matrix < 0).sum() >= 5
    assert np.linalg.eigvalsh(matrix).min() > -1e-6


# --- invariances ------------------------------------------------------------------------------

TRANSFORMS = {
    "reflection": lambda y: -y,
    "small scale": lambda y: 1e-6 * y,
    "large scale": lambda y: 1e6 * y,
    "shift": lambda y: y + np.linspace(-50, 50, y.shape[1]),
    "all at once": lambda y: 7 * y @ rotation(y.shape[1]) - 3,
    "more columns of zeros": lambda y: np.hstack([y, np.zeros((len(y), 9))]),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("batch", [None, 24])
def test_invariant_only_to_rotation_scale_and_shift(batch, estimator):
    x, y = related()
    options = {"batch_size": batch, "estimator": estimator}
    before = cka(x, y, **options)
    for name, change in TRANSFORMS.items():
        assert cka(x, change(y), **options) == pytest.approx(before, abs=1e-9), name
        assert cka(y, change(y), **options) == pytest.approx(1, abs=1e-9), name
    stretched = y * np.geomspace(1, 30, y.shape[1])
    assert abs(cka(x, stretched, **options) - before) > 0.05
    assert cka(y, stretched, **options) < 0.9


def test_the_order_of_samples_matters_only_across_batches():
    x, y = related()
    rng = np.random.default_rng(2)
    order = rng.permutation(96)
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y), abs=1e-12)
    assert abs(cka(x[order], y) - cka(x, y)) > 0.1
    batches = [rng.permutation(np.arange(i, i + 16)) for i in range(0, 96, 16)]
    within = np.concatenate([batches[i] for i in rng.permutation(6)])
    one, other = cka(x, y, batch_size=16), cka(x[within], y[within], batch_size=16)
    assert one == pytest.approx(other, abs=1e-12)
    # With one class per batch, differences between classes are lost: sorting by class changes CKA.
    labels, rng = np.tile(np.arange(8), 16), np.random.default_rng(4)
    x = 3 * np.eye(8)[labels] + rng.normal(size=(128, 8))
    y = 3 * np.eye(8)[labels] @ rotation(8) + rng.normal(size=(128, 8))
    order = np.argsort(labels, kind="stable")
    assert cka(x, y, batch_size=16) > cka(x[order], y[order], batch_size=16) + 0.2


# --- matrices and fingerprints ----------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 32])
def test_matrix_equals_pairwise_values_and_is_positive_semidefinite(batch):
    x, y = related()
    many = [x, y, x + 0.5 * np.random.default_rng(8).normal(size=x.shape), np.tanh(y), x[:, :3]]
    matrix = cka_matrix(many, batch_size=batch)
    pairs = [[cka(a, b, batch_size=batch) for b in many] for a in many]
    np.testing.assert_allclose(matrix, pairs, atol=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diagonal(matrix), 1, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    prints = np.stack([k * fingerprint(a, batch_size=batch) for k, a in enumerate(many, 1)])
    np.testing.assert_allclose(cosines(prints[:2], prints[1:]), matrix[:2, 1:], atol=1e-12)
    np.testing.assert_allclose(cosines(prints), matrix, atol=1e-12)


def test_products_with_more_columns_than_a_chunk():
    a, b = 1 + np.random.default_rng(1).random((2, 3, 40_003), np.float32)
    found = module.inner_products(a, b[:2])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, a.astype(float) @ b[:2].T.astype(float), rtol=1e-6)


def test_fingerprints_and_norms_equal_their_definition():
    x = related(n=24)[0] + 2
    for b in (24, 8):
        vector, norms = fingerprint_float64(x, b)
        found, squares, epsilon = module.fingerprint_and_norms(x, b, "unbiased")
        np.testing.assert_allclose(found, vector, rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(fingerprint(x, batch_size=b), found)
        np.testing.assert_allclose(squares, norms, rtol=1e-10)
        assert epsilon == np.finfo(np.float64).eps
        found, squares, _ = module.fingerprint_and_norms(x, b, "biased")
        norms[0] = norms[1]  # centring once more changes nothing
        np.testing.assert_allclose([found @ found, *squares], [norms[1], *norms], rtol=1e-10)


def test_precision_follows_the_features_and_the_input_is_unchanged():
    x = np.random.default_rng(10).integers(0, 2, size=(12, 30))
    for dtype in (np.float16, np.float32, np.float64, np.int64, np.uint8, bool):
        given = x.astype(dtype)
        found = fingerprint(given, batch_size=6)
        cka_matrix([given, given], estimator="biased")
        expected = np.float32 if dtype in (np.float16, np.float32) else np.float64
        assert found.dtype == expected, dtype
        np.testing.assert_array_equal(given, x.astype(dtype))


# --- undefined CKA ----------------------------------------------------------------------------

rounding = np.random.default_rng(0).normal(size=(34, 5))
CONSTANTS = {
    "ones": np.ones((34, 5), np.float32),
    "zeros": np.zeros((34, 5), np.float32),
    "one row, not representable": np.tile(np.float32([0.1, 1e3, -7.3]), (34, 1)),
    "rounding of large numbers": (1e4 + 1e-3 * rounding).astype(np.float32),
    "rounding of float16": (1 + 1e-4 * rounding).astype(np.float16),
    "float64": np.full((34, 5), 0.1),
    "integers": np.full((34, 5), 7),
}


def test_constant_features_give_nan_with_a_warning():
    x = related(n=34)[0]
    for (name, constant), (batch, left) in itertools.product(
        CONSTANTS.items(), ((None, 34), (8, 32))
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = cka(x, constant, batch_size=batch)
        output = " ".join(str(one.message) for one in caught)
        assert np.isnan(value), name
        assert f"number 1 is constant over its {left} samples" in output, name
        assert ("2 of 34 samples are left out" in output) == (batch == 8), name


def test_only_the_rows_and_columns_of_an_undefined_representation_are_nan():
    x, y = related(n=32)
    with pytest.warns(UserWarning, match="number 1 is constant"):
        matrix = cka_matrix([x, np.ones((32, 3)), y])
    np.testing.assert_array_equal(np.isnan(matrix), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    assert matrix[0, 2] == pytest.approx(reference(x, y), abs=1e-10)
    for bad in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[3, 2] = bad
        with pytest.warns(UserWarning, match="number 0 is not finite"):
            assert np.isnan(cka(broken, y))
        with pytest.warns(UserWarning, match="Representation x is not finite"):
            assert np.isnan(fingerprint(broken)).all()


def test_a_layer_is_dead_if_only_rounding_errors_remain():
    """(|U|^2, |K|^2, sum |x|^2): |U| against max(eps |K|, eps^2 sum |x|^2), eps = 1e-3."""
    table = {
        (0.0, 0.0, 0.0): True,
        (0.99e-6, 1.0, 0.0): True,
        (1.01e-6, 1.0, 0.0): False,
        (0.99, 0.0, 1e6): True,
        (1.01, 0.0, 1e6): False,
    }
    for squares, dead in table.items():
        assert is_dead(np.array(squares), 1e-3) == dead, squares
    np.testing.assert_array_equal(is_dead(np.array(list(table)).T, 1e-3), list(table.values()))


# --- batches and invalid input -----------------------------------------------------------------


def test_batches():
    for n, batch, expected in ((1024, 256, 256), (100, 256, 100), (100, None, 100), (4, 4, 4)):
        assert batch_length(n, batch) == expected
    x, y = related()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cka(x, y, batch_size=1000) == cka(x, y)
    with pytest.warns(UserWarning, match="6 of 96 samples are left out"):
        value = cka(x, y, batch_size=30)
    assert value == pytest.approx(reference(x[:90], y[:90], 30), abs=1e-10)


REJECTED = {
    "three samples": ([np.eye(3)] * 2, {}, r"at least 4.*b \(b - 3\)"),
    "batches of three": ([np.eye(8)] * 2, {"batch_size": 3}, "at least 4.*batch_size = 3"),
    "batches of none": ([np.eye(8)] * 2, {"batch_size": 0}, "batch_size = 0"),
    "negative batches": ([np.eye(8)] * 2, {"batch_size": -8}, "batch_size = -8"),
    "no samples": ([np.zeros((0, 5))] * 2, {}, "n = 0"),
    "unequal n": (
        [np.eye(8), np.eye(6)],
        {},
        "8 samples in representation 0 and 6 in representation 1",
    ),
    "one axis": ([np.arange(8.0)] * 2, {}, r"shape \(8,\)"),
    "nothing": ([], {}, "Expected a sequence of arrays .*Received: an empty sequence"),
    "no estimator": (
        [np.eye(8)] * 2,
        {"estimator": None},
        "Unknown estimator.*Expected.*unbiased.*biased.*Received: 'None'",
    ),
}


def test_invalid_input_is_rejected():
    for name, (given, options, message) in REJECTED.items():
        assert_input_error(name, message, cka_matrix, given, **options)

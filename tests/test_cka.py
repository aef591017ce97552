"""CKA: the mathematics it must obey, against a float64 reference written from the formulas."""

import re
import warnings

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import batch_length, cka, cka_matrix, cosines, fingerprint, is_dead

pytestmark = pytest.mark.without_keras


def hsic_1(k, m):
    """Nguyen et al. 2021, eq. 3, of two Gram matrices as they come: no centring first."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    trace = np.trace(k @ m)
    sums = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def flat(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)


def reference_cka(x, y, batch=None):
    """HSIC_1 averaged over batches, numerator and both denominators apart."""
    x, y = flat(x), flat(y)
    batch = batch or len(x)
    parts = [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
    parts = [(a @ a.T, b @ b.T) for a, b in parts]
    cross = np.mean([hsic_1(k, m) for k, m in parts])
    left = np.mean([hsic_1(k, k) for k, _ in parts])
    right = np.mean([hsic_1(m, m) for _, m in parts])
    return cross / np.sqrt(left * right)


def kornblith_cka(x, y):
    """|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred features."""
    x, y = flat(x) - flat(x).mean(axis=0), flat(y) - flat(y).mean(axis=0)
    norm = np.linalg.norm
    return norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def related(n=96, d=30, k=20, seed=0):
    """Two representations that share a part, in float64."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 6))
    x = common @ rng.normal(size=(6, d)) + rng.normal(size=(n, d))
    y = common @ rng.normal(size=(6, k)) + 2 * rng.normal(size=(n, k))
    return x, y


def rotation(d, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


@pytest.mark.parametrize("mean", [0, 3, 30])
@pytest.mark.parametrize("shape", [(64, 10, 10), (128, 300, 40), (100, 5, 200)])
def test_float32_equals_the_float64_reference_whatever_the_mean(mean, shape):
    n, d, k = shape
    rng = np.random.default_rng(d)
    common = rng.normal(size=(n, 4))
    x = (common @ rng.normal(size=(4, d)) / 2 + rng.normal(size=(n, d))) / np.sqrt(2)
    y = (common @ rng.normal(size=(4, k)) / 2 + rng.normal(size=(n, k))) / np.sqrt(2)
    x, y = (x + mean).astype(np.float32), (y - mean).astype(np.float32)
    expected = reference_cka(x, y)
    assert abs(cka(x, y) - expected) < 1e-5
    assert 0.01 < abs(expected) < 0.99


@pytest.mark.parametrize("batch", [None, 4, 16, 32])
def test_float64_equals_averaged_hsic_1_to_1e_10(batch):
    x, y = related()
    assert cka(x, y, batch_size=batch) == pytest.approx(reference_cka(x, y, batch), abs=1e-10)


def test_minibatch_cka_is_not_the_mean_of_the_batches_cka():
    x, y = related()
    batches = [reference_cka(x[i : i + 8], y[i : i + 8]) for i in range(0, 96, 8)]
    assert abs(cka(x, y, batch_size=8) - np.mean(batches)) > 1e-3


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("batch", [None, 16])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_representation_is_identical_with_itself(estimator, batch, dtype):
    x = related()[0].astype(dtype)
    assert cka(x, x, estimator=estimator, batch_size=batch) == pytest.approx(1, abs=1e-12)


TRANSFORMS = {
    "rotation": lambda y: y @ rotation(y.shape[1]),
    "reflection": lambda y: -y,
    "isotropic scale": lambda y: 0.01 * y,
    "shift": lambda y: y + np.linspace(-50, 50, y.shape[1]),
    "all at once": lambda y: 7 * y @ rotation(y.shape[1]) - 3,
    "more columns of zeros": lambda y: np.hstack([y, np.zeros((len(y), 9))]),
}


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("batch", [None, 24])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_invariant_to(name, batch, estimator):
    x, y = related()
    options = {"batch_size": batch, "estimator": estimator}
    before = cka(x, y, **options)
    assert cka(x, TRANSFORMS[name](y), **options) == pytest.approx(before, abs=1e-9)


def test_not_invariant_to_an_anisotropic_scaling():
    x, y = related()
    stretched = y * np.geomspace(1, 30, y.shape[1])
    assert abs(cka(x, stretched) - cka(x, y)) > 0.05
    assert cka(y, stretched) < 0.9


def test_full_batch_invariant_to_the_order_of_the_samples():
    x, y = related()
    order = np.random.default_rng(2).permutation(len(x))
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y), abs=1e-12)
    assert abs(cka(x[order], y) - cka(x, y)) > 0.1


def test_minibatch_invariant_to_order_within_a_batch_and_to_the_order_of_batches():
    x, y = related()
    rng = np.random.default_rng(3)
    batches = [rng.permutation(np.arange(i, i + 16)) for i in range(0, 96, 16)]
    order = np.concatenate([batches[i] for i in rng.permutation(len(batches))])
    one, other = cka(x, y, batch_size=16), cka(x[order], y[order], batch_size=16)
    assert one == pytest.approx(other, abs=1e-12)


def test_minibatch_depends_on_which_samples_share_a_batch():
    """Batches of one class each hide what the classes share: sorting by class changes CKA."""
    rng = np.random.default_rng(4)
    labels = np.tile(np.arange(8), 16)
    centres = 3 * np.eye(8)
    x = centres[labels] + rng.normal(size=(128, 8))
    y = centres[labels] @ rotation(8) + rng.normal(size=(128, 8))
    by_class = np.argsort(labels, kind="stable")
    mixed, sorted_ = cka(x, y, batch_size=16), cka(x[by_class], y[by_class], batch_size=16)
    assert mixed > sorted_ + 0.2
    assert sorted_ == pytest.approx(reference_cka(x[by_class], y[by_class], 16), abs=1e-10)


def test_unequal_widths_and_image_shaped_features():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 5, 6, 3))
    y = np.tanh(x.reshape(40, -1)[:, :11])
    assert cka(x, y) == pytest.approx(reference_cka(x, y), abs=1e-10)
    assert cka(x, x.reshape(40, -1)) == pytest.approx(1, abs=1e-12)


def test_unrelated_data_with_many_more_features_than_samples_is_near_zero():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 256, 4096)).astype(np.float32)
    assert abs(cka(x, y)) < 0.02
    assert cka(x, y, estimator="biased") == pytest.approx(0.94, abs=0.01)


def test_negative_values_are_not_clamped():
    rng = np.random.default_rng(7)
    pairs = [rng.normal(size=(2, 32, 200)) for _ in range(20)]
    values = np.array([cka(x, y) for x, y in pairs])
    assert (values < 0).sum() >= 5
    assert (values > 0).sum() >= 5
    np.testing.assert_allclose(values, [reference_cka(x, y) for x, y in pairs], atol=1e-10)


def test_biased_equals_kornblith():
    x, y = related(n=50, d=80, k=7)
    assert cka(x, y, estimator="biased") == pytest.approx(kornblith_cka(x, y), abs=1e-10)
    assert abs(cka(x, y) - kornblith_cka(x, y)) > 0.01


def test_biased_minibatch_is_the_ratio_of_averaged_biased_hsic():
    x, y = related()

    def centred(a):
        a = a - a.mean(axis=0)
        return a @ a.T

    parts = [(centred(x[i : i + 16]), centred(y[i : i + 16])) for i in range(0, 96, 16)]
    cross, left, right = (
        sum(np.sum(p[i] * p[j]) for p in parts) for i, j in ((0, 1), (0, 0), (1, 1))
    )
    found = cka(x, y, batch_size=16, estimator="biased")
    assert found == pytest.approx(cross / np.sqrt(left * right), abs=1e-10)


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


def test_matrix_is_positive_semidefinite_for_unrelated_data_with_negative_entries():
    rng = np.random.default_rng(9)
    matrix = cka_matrix(list(rng.normal(size=(12, 24, 100)).astype(np.float32)))
    assert matrix.min() < 0
    assert np.linalg.eigvalsh(matrix).min() > -1e-6


def test_cosines_of_two_sets_are_a_block_of_the_matrix_of_both():
    x, y = related()
    many = [x, y, np.tanh(x), np.tanh(y)]
    prints = np.stack([fingerprint(a, batch_size=32) for a in many])
    np.testing.assert_allclose(
        cosines(prints[:1], prints[1:]), cka_matrix(many, batch_size=32)[:1, 1:], atol=1e-12
    )


def test_leaving_a_sample_out_of_the_fingerprint_equals_leaving_it_out_of_the_data():
    """The fingerprint holds the whole U-centred Gram matrix, which can be centred again."""
    x, _ = related(n=20)
    n = len(x)
    u = np.zeros((n, n))
    u[np.triu_indices(n, 1)] = fingerprint(x) / np.sqrt(2 / (n * (n - 3)))
    u = u + u.T
    keep = np.delete(np.arange(n), 7)
    rest = u[np.ix_(keep, keep)]
    m = n - 1
    rows = rest.sum(axis=0) / (m - 2)
    rest = rest - rows[:, None] - rows + rest.sum() / ((m - 1) * (m - 2))
    expected = fingerprint(x[keep])
    found = rest[np.triu_indices(m, 1)] * np.sqrt(2 / (m * (m - 3)))
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [None, 8])
def test_fingerprint_has_the_stated_length_and_its_square_is_unbiased_hsic(batch):
    x, _ = related(n=24)
    b = batch or 24
    vector = fingerprint(x, batch_size=batch)
    assert vector.shape == (24 // b * b * (b - 1) // 2,)
    grams = [x[i : i + b] @ x[i : i + b].T for i in range(0, 24, b)]
    assert vector @ vector == pytest.approx(sum(hsic_1(k, k) for k in grams), rel=1e-10)


@pytest.mark.parametrize(
    "dtype, expected",
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int64, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
    ],
)
def test_precision_of_a_fingerprint_follows_its_features(dtype, expected):
    x = np.random.default_rng(10).integers(0, 2, size=(12, 30)).astype(dtype)
    assert fingerprint(x).dtype == expected


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8, bool])
def test_whole_number_features_neither_wrap_nor_round(dtype):
    rng = np.random.default_rng(11)
    x = rng.integers(0, 100, size=(40, 12)).astype(dtype)
    y = rng.integers(0, 100, size=(40, 12)) + 20 * x.astype(np.int64)
    expected = reference_cka(x.astype(np.float64), y)
    assert cka(x, y) == pytest.approx(expected, abs=1e-10)


def test_float16_features_are_summed_in_more_than_float16():
    x, y = (30 * a.astype(np.float16) for a in related())
    assert x.dtype == np.float16
    assert abs(cka(x, y) - reference_cka(x, y)) < 1e-5


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_mixed_precision_pairs_agree_with_the_reference():
    x, y = related()
    x = x.astype(np.float32)
    assert abs(cka(x, y) - reference_cka(x, y)) < 1e-5


def test_mixed_precision_reads_no_uninitialized_memory(monkeypatch):
    """A signalling NaN in memory that was never written would warn of an invalid cast."""

    def dirty(shape, dtype=np.float64):
        array = np.zeros(shape, dtype)
        if array.dtype == np.float32:
            array.view(np.uint32)[:] = 0x7FA00000
        return array

    x, y = related()
    monkeypatch.setattr(np, "empty", dirty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = cka(x.astype(np.float32), y)
    assert abs(value - reference_cka(x.astype(np.float32), y)) < 1e-5


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_inputs_are_not_changed(dtype):
    x, y = ((100 * a).astype(dtype) for a in related())
    kept = x.copy(), y.copy()
    cka(x, y, batch_size=32)
    cka_matrix([x, y], estimator="biased")
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


CONSTANTS = {
    "ones": np.ones((32, 5), np.float32),
    "zeros": np.zeros((32, 5), np.float32),
    "one row, not representable": np.tile(np.float32([0.1, 1e3, -7.3]), (32, 1)),
    "rounding of large numbers": (
        np.float32(1e4) + 1e-3 * np.random.default_rng(0).normal(size=(32, 5))
    ).astype(np.float32),
    "float64": np.full((32, 5), 0.1),
    "integers": np.full((32, 5), 7),
}


@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("name", CONSTANTS)
def test_constant_features_give_nan_with_a_warning(name, batch):
    x = CONSTANTS[name]
    with pytest.warns(UserWarning, match="number 1 is constant over its 32 samples"):
        value = cka(related(n=32)[0], x, batch_size=batch)
    assert np.isnan(value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_features_give_nan_with_a_warning(bad):
    x, y = related(n=32)
    x[3, 2] = bad
    with pytest.warns(UserWarning, match="number 0 is not finite"):
        value = cka(x, y)
    assert np.isnan(value)


def test_only_the_rows_and_columns_of_an_undefined_representation_are_nan():
    x, y = related(n=32)
    with pytest.warns(UserWarning, match="number 1 is constant"):
        matrix = cka_matrix([x, np.ones((32, 3)), y])
    np.testing.assert_array_equal(np.isnan(matrix), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    assert matrix[0, 2] == pytest.approx(reference_cka(x, y), abs=1e-10)


def test_norms_that_float32_does_not_hold_are_no_infinity():
    """The squares of the Gram matrix's diagonal sum up to 1e40, those beside it to 1e36."""
    x, y = np.random.default_rng(5).normal(size=(2, 8, 4096)).astype(np.float32)
    assert cka(x * np.float32(1e8), y) == pytest.approx(cka(x, y), abs=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_small_and_large_features_are_not_taken_for_constant(scale):
    x, y = (a.astype(np.float32) for a in related())
    scaled = x * np.float32(scale)
    assert abs(cka(scaled, y) - cka(x, y)) < 1e-5


@pytest.mark.parametrize(
    "squares, dead",
    [
        # (|U|^2, |K|^2, sum |x|^2); |U| against max(eps |K|, eps^2 sum |x|^2), eps = 1e-3
        ((0.0, 0.0, 0.0), True),
        ((0.99e-6, 1.0, 0.0), True),
        ((1.01e-6, 1.0, 0.0), False),
        ((0.99, 0.0, 1e6), True),
        ((1.01, 0.0, 1e6), False),
    ],
)
def test_dead_means_no_more_than_rounding(squares, dead):
    assert is_dead(np.array(squares), 1e-3) == dead


@pytest.mark.parametrize("batch", [None, 2, 4])
def test_fewer_than_four_samples_are_refused(batch):
    x = np.random.default_rng(0).normal(size=(3, 5))
    with pytest.raises(InputError, match=r"at least 4.*b \(b - 3\)"):
        cka(x, x, batch_size=batch)


@pytest.mark.parametrize("batch", [3, 1, 0, -8])
def test_batches_of_fewer_than_four_samples_are_refused(batch):
    x, y = related()
    with pytest.raises(InputError, match=f"batch_size = {batch}.*at least 4"):
        cka(x, y, batch_size=batch)


def test_four_samples_are_enough():
    x, y = related(n=4)
    assert cka(x, y) == pytest.approx(reference_cka(x, y), abs=1e-9)


def test_no_samples_are_refused():
    with pytest.raises(InputError):
        cka(np.zeros((0, 5)), np.zeros((0, 5)))


@pytest.mark.parametrize("batch", [None, 8])
def test_unequal_numbers_of_samples_are_refused(batch):
    x, y = related(n=32)
    with pytest.raises(InputError, match="Representation 0 has 32 samples, number 1 has 24"):
        cka(x, y[:24], batch_size=batch)


def test_one_dimensional_features_are_refused():
    with pytest.raises(InputError, match=r"shape \(8,\)"):
        cka(np.arange(8.0), np.arange(8.0))


def test_no_representations_are_refused():
    with pytest.raises(InputError, match="No representations"):
        cka_matrix([])


@pytest.mark.parametrize("name", ["debiased", "", None])
def test_an_unknown_estimator_is_refused_with_the_valid_names(name):
    x, y = related()
    with pytest.raises(InputError) as caught:
        cka(x, y, estimator=name)
    words = set(re.findall(r"\w+", str(caught.value).split("Valid")[1]))
    assert {"unbiased", "biased"} <= words


def test_left_out_samples_are_told_and_are_the_last_ones():
    x, y = related()
    with pytest.warns(UserWarning, match="6 of 96 samples are left out"):
        value = cka(x, y, batch_size=30)
    assert value == pytest.approx(reference_cka(x[:90], y[:90], 30), abs=1e-10)


def test_a_batch_larger_than_the_data_takes_all_of_it_without_a_warning():
    x, y = related()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cka(x, y, batch_size=1000) == cka(x, y)


@pytest.mark.parametrize(
    "n, batch, expected", [(1024, 256, 256), (100, 256, 100), (100, None, 100), (4, 4, 4)]
)
def test_batch_length(n, batch, expected):
    assert batch_length(n, batch) == expected

"""Sign-flip test, paired interval and Holm's correction, compared with SciPy and by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from repdyn_keras.errors import InputError
from repdyn_keras.study import paired_tests
from repdyn_keras.study.paired_tests import holm, sign_flip_p, smallest_p, t_interval

pytestmark = pytest.mark.without_keras


@pytest.mark.parametrize("n", [2, 5, 8, 11])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_exact_p_is_that_of_scipys_permutation_test(n, shift):
    values = np.random.default_rng(n).normal(shift, 1, n)
    expected = stats.permutation_test(
        (values, np.zeros(n)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_p(values) == pytest.approx(expected.pvalue, abs=1e-12)
    assert sign_flip_p(-3 * values) == sign_flip_p(values)


def test_ties_and_zeros_are_counted_as_all_flips_do():
    for values in ([0.1, 0.2, 0.3, 0.3], [0.0, 0.0, 1.0], [0.0, 0.0], [0.1] * 10, [1, -1, 2, -2]):
        flips = np.array(list(itertools.product([1, -1], repeat=len(values))))
        sums = np.abs(flips @ np.array(values))
        assert sign_flip_p(np.array(values)) == np.mean(sums >= abs(sum(values)) - 1e-9)


def test_the_smallest_p_is_reached_by_differences_of_one_sign():
    for n in (1, 2, 5, 8, 10, 20, 21):
        values = np.random.default_rng(n).uniform(0.5, 1, n)
        assert sign_flip_p(values) == pytest.approx(smallest_p(n))
    assert smallest_p(0) == smallest_p(1) == 1
    assert smallest_p(10) == 2 / 1024


def test_beyond_twenty_pairs_random_flips_approximate_the_exact_p(monkeypatch):
    values = np.random.default_rng(3).normal(0.4, 1, 18)
    exact = sign_flip_p(values)
    assert 0.01 < exact < 0.99
    monkeypatch.setattr(paired_tests, "MAX_EXACT_PAIRS", 10)
    random = sign_flip_p(values)
    assert random != exact
    assert abs(random - exact) < 4 * np.sqrt(exact / 99_999)
    assert random == sign_flip_p(values), "the flips are the same at every call"
    assert (random * 100_000) % 1 == pytest.approx(0, abs=1e-6)


def test_under_no_effect_p_is_at_most_alpha_as_often_as_alpha():
    rng = np.random.default_rng(5)
    for draw in (rng.normal, lambda size: rng.standard_t(4, size)):
        found = np.array([sign_flip_p(draw(size=8)) for _ in range(2000)])
        # 12 of 256 flips have p <= 0.05.
        assert abs(np.mean(found <= 0.05) - 12 / 256) < 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_the_interval_is_that_of_scipys_paired_t_test():
    values = np.random.default_rng(1).normal(0.3, 1, 9)
    for level in (0.95, 0.5):
        expected = stats.ttest_1samp(values, 0).confidence_interval(level)
        assert t_interval(values, level) == pytest.approx((expected.low, expected.high))
    assert np.isnan(t_interval(np.array([1.0]))).all()
    assert t_interval(np.array([2.0, 2.0])) == (2, 2)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.6])) == pytest.approx([1, 1])
    assert holm(np.array([np.nan, 0.04, 0.02])) == pytest.approx([np.nan, 0.04, 0.04], nan_ok=True)
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize("values", [[], [1, np.nan], [1, np.inf], [[1.0, 2.0]]])
def test_differences_that_cannot_be_tested_are_rejected(values):
    for function in (sign_flip_p, t_interval):
        with pytest.raises(InputError, match="Expected at least one paired .* Received: an array"):
            function(np.array(values))

"""Synchronization of two layers, on constructed paths."""

import numpy as np
import pytest

from repdyn_keras.measures.synchronization import (
    concordance,
    half_progress,
    timing_overlap,
    timing_spread,
)

pytestmark = pytest.mark.without_keras

EPOCHS = np.array([0, 1, 3, 7, 15, 31])  # u = 0, 1, 2, 3, 4, 5


def straight_path(steps):
    """Similarities of a straight path with these steps and without jitter."""
    at = np.concatenate([[0], np.cumsum(steps)])
    return np.outer(at, at)


def random_gram(t=12, seed=0):
    x = np.random.default_rng(seed).normal(size=(t, 30)).cumsum(axis=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def test_timing_compares_steps_and_concordance_compares_amplitudes():
    epochs = np.arange(12)
    for seed in range(4):
        gram = random_gram(seed=seed)
        kept = gram.copy()
        for other in (gram, 0.01 * gram, 40 * gram, gram + 0.5, gram + 3):
            assert timing_overlap(gram, other) == pytest.approx(1, abs=1e-9)
            assert timing_spread(gram, other, epochs) == pytest.approx(0, abs=1e-9)
            assert half_progress(other, epochs) == pytest.approx(half_progress(gram, epochs))
            if other is gram:
                assert concordance(gram, other) == pytest.approx(1, abs=1e-12)
            else:
                assert concordance(gram, other) < 0.9
        unlike = random_gram(seed=seed + 10)
        value = timing_overlap(gram, unlike)
        assert value == pytest.approx(timing_overlap(unlike, gram), abs=1e-15)
        assert 0 <= value < 1
        np.testing.assert_array_equal(gram, kept)


def test_timing_overlap_is_the_sum_of_the_smaller_shares_of_squared_steps():
    for one, other, expected in (
        ([1, 2, 0, 0, 0], [0, 0, 0, 1, 3], 0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5),
        ([1, 1, 1, 1], [0, 0, 0, 5], 0.25),
        # shares 1/5, 4/5 and 4/5, 1/5
        ([1, 2], [2, 1], 0.4),
        # shares (1, 4, 9) / 14 and (1, 1, 1) / 3
        ([1, 2, 3], [1, 1, 1], 1 / 14 + 4 / 14 + 1 / 3),
    ):
        assert timing_overlap(straight_path(one), straight_path(other)) == pytest.approx(
            expected, abs=1e-12
        )


def test_layers_without_any_step_have_no_timing():
    still, moving = np.ones((6, 6)), straight_path([1, 1, 1, 1, 1])
    assert np.isnan(timing_overlap(still, moving))
    assert np.isnan(timing_overlap(moving, still))
    assert np.isnan(timing_spread(still, moving, EPOCHS))
    assert np.isnan(half_progress(still, EPOCHS))


def test_timing_spread_is_the_area_between_the_progress_curves_in_octaves():
    for one, other, epochs, expected in (
        # one step at u 0-1, one at u 4-5: progress curves 1 apart from u = 1 to 4, and two ramps
        ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1], EPOCHS, 4.0),
        ([1, 0, 0, 0, 0], [0, 1, 0, 0, 0], EPOCHS, 1.0),
        ([0, 1, 0, 0, 0], [0, 0, 0, 1, 0], EPOCHS, 2.0),
        # even pace and a single first step: the difference is 1 - k/5 at u = k
        ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0], EPOCHS, 0.8 / 2 + 0.7 + 0.5 + 0.3 + 0.1),
        # u = 0, 1, 5, 6: four octaves without change between the steps
        ([1, 0, 0], [0, 0, 1], np.array([0, 1, 31, 63]), 5.0),
    ):
        for a, b in (
            (straight_path(one), straight_path(other)),
            (straight_path(other), straight_path(one)),
        ):
            assert timing_spread(a, b, epochs) == pytest.approx(expected, abs=1e-12)


def test_half_progress_is_where_the_progress_curve_crosses_one_half():
    for steps, expected in (
        ([1, 0, 0, 0, 0], 0.5),
        ([0, 0, 0, 0, 1], 4.5),
        ([1, 1, 1, 1, 1], 2.5),
        ([1, 1, 0, 0, 0], 1.0),
        ([0, 1, 1, 1, 1], 3.0),
        ([1, 0, 0, 0, 2], 4 + 3 / 8),  # shares 1/5 and 4/5: 0.3 / 0.8 into the last step
        ([2, 0, 0, 0, 1], 5 / 8),
    ):
        assert half_progress(straight_path(steps), EPOCHS) == pytest.approx(expected, abs=1e-12)
    assert half_progress(straight_path([1, 0, 1]), np.array([0, 1, 31, 63])) == pytest.approx(
        1, abs=1e-12
    )


def test_concordance_equals_lins_formula_on_the_upper_triangles():
    """Lin 1989, eq. 2: 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2)."""
    pairs = [(i, j) for i in range(8) for j in range(i + 1, 8)]
    for seed in range(4):
        one, other = random_gram(8, seed), random_gram(8, seed + 20) + np.diag(np.arange(8.0))
        x, y = ([gram[pair] for pair in pairs] for gram in (one, other))
        (sx, sxy), (_, sy) = np.cov(x, y, bias=True)
        expected = 2 * sxy / (sx + sy + (np.mean(x) - np.mean(y)) ** 2)
        assert concordance(one, other) == pytest.approx(expected, abs=1e-12)

    def gram(a, b, c):
        return np.array([[1, a, b], [a, 1, c], [b, c, 1]])

    # x = 1, 2, 3 and y = 2, 4, 6: s_xy = 4/3, s_x^2 = 2/3, s_y^2 = 8/3, means 2 apart
    assert concordance(gram(1, 2, 3), gram(2, 4, 6)) == pytest.approx((8 / 3) / (10 / 3 + 4))
    assert concordance(gram(1, 2, 3), gram(3, 2, 1)) == pytest.approx(-1)
    assert np.isnan(concordance(np.ones((4, 4)), np.ones((4, 4))))
    assert concordance(np.ones((4, 4)), np.zeros((4, 4))) == 0

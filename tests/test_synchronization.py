"""Synchronization of two layers: when they change, on paths made by hand."""

import numpy as np
import pytest

from repdyn_keras.measures.synchronization import (
    concordance,
    half_progress,
    timing_overlap,
    timing_spread,
)

pytestmark = pytest.mark.without_keras


def path(steps):
    """Similarities of a straight path that makes the given steps; no jitter is found on it."""
    at = np.concatenate([[0], np.cumsum(steps)])
    return np.outer(at, at)


def turning(steps, seed=0):
    """Similarities of a path whose steps have the given lengths and directions of their own."""
    rng = np.random.default_rng(seed)
    directions = np.abs(rng.normal(size=(len(steps), 40)))  # acute: no step goes back
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    moved = np.cumsum(np.asarray(steps)[:, None] * directions, axis=0)
    x = np.vstack([np.zeros(40), moved])
    return x @ x.T


def random_gram(t=12, seed=0):
    x = np.random.default_rng(seed).normal(size=(t, 30)).cumsum(axis=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


EPOCHS = np.array([0, 1, 3, 7, 15, 31])  # u = 0, 1, 2, 3, 4, 5


@pytest.mark.parametrize("seed", range(4))
def test_identical_layers_have_identical_timing(seed):
    gram = random_gram(seed=seed)
    epochs = np.arange(12)
    assert timing_overlap(gram, gram) == pytest.approx(1, abs=1e-12)
    assert timing_spread(gram, gram, epochs) == 0
    assert concordance(gram, gram) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("factor", [0.01, 0.5, 40])
def test_timing_does_not_depend_on_amplitude_where_concordance_does(factor):
    gram = random_gram()
    assert timing_overlap(gram, factor * gram) == pytest.approx(1, abs=1e-9)
    assert timing_spread(gram, factor * gram, np.arange(12)) == pytest.approx(0, abs=1e-9)
    assert concordance(gram, factor * gram) < 0.9


@pytest.mark.parametrize("constant", [0.5, 3])
def test_timing_does_not_depend_on_what_all_epochs_share(constant):
    gram = random_gram()
    assert timing_overlap(gram, gram + constant) == pytest.approx(1, abs=1e-9)


def test_steps_at_different_times_do_not_overlap():
    early, late = path([1, 2, 0, 0, 0]), path([0, 0, 0, 1, 3])
    assert timing_overlap(early, late) == 0


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 1),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5),
        ([1, 1, 1, 1], [0, 0, 0, 5], 0.25),
        # squared steps: shares 1/5, 4/5 and 4/5, 1/5
        ([1, 2], [2, 1], 0.4),
        # shares (1, 4, 9) / 14 and (1, 1, 1) / 3
        ([1, 2, 3], [1, 1, 1], 1 / 14 + 4 / 14 + 1 / 3),
    ],
)
def test_timing_overlap_is_the_sum_of_the_smaller_shares_of_squared_steps(one, other, expected):
    assert timing_overlap(path(one), path(other)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_timing_overlap_is_symmetric_and_between_zero_and_one(seed):
    one, other = random_gram(seed=seed), random_gram(seed=seed + 10)
    value = timing_overlap(one, other)
    assert value == pytest.approx(timing_overlap(other, one), abs=1e-15)
    assert 0 <= value < 1


def test_jitter_alone_does_not_make_timing():
    """White scatter moves every step a little; freed of it, the one real step remains."""
    rng = np.random.default_rng(1)
    values = []
    for _ in range(2):
        x = np.zeros((30, 300))
        x[15:, 0] = 2
        x = x + 0.4 * rng.normal(size=x.shape) / np.sqrt(300)
        values.append(x @ x.T)
    assert timing_overlap(*values) > 0.85


def test_layers_without_any_step_have_no_timing():
    still, moving = np.ones((6, 6)), path([1, 1, 1, 1, 1])
    assert np.isnan(timing_overlap(still, moving))
    assert np.isnan(timing_overlap(moving, still))
    assert np.isnan(timing_spread(still, moving, EPOCHS))
    assert np.isnan(half_progress(still, EPOCHS))


@pytest.mark.parametrize(
    "one, other, expected",
    [
        # one step at u 0-1, one at u 4-5: progress curves 1 apart from u = 1 to 4, and two ramps
        ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1], 4.0),
        ([1, 0, 0, 0, 0], [0, 1, 0, 0, 0], 1.0),
        ([0, 1, 0, 0, 0], [0, 0, 0, 1, 0], 2.0),
        # even pace against all at first: (1 - k/5) at u = k, trapezoid: 0.8/2+0.8...0.2
        ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0], (0.8 / 2 + (0.8 + 0.6) / 2 + 0.5 + 0.3 + 0.1)),
    ],
)
def test_timing_spread_is_the_area_between_the_progress_curves_in_octaves(one, other, expected):
    assert timing_spread(path(one), path(other), EPOCHS) == pytest.approx(expected, abs=1e-12)
    assert timing_spread(path(other), path(one), EPOCHS) == pytest.approx(expected, abs=1e-12)


def test_timing_spread_is_measured_on_octaves_not_on_epochs_or_records():
    one, other = path([1, 0, 0]), path([0, 0, 1])
    assert timing_spread(one, other, np.array([0, 1, 3, 7])) == pytest.approx(2, abs=1e-12)
    # u = 0, 1, 5, 6: the same steps, four octaves of rest between them
    assert timing_spread(one, other, np.array([0, 1, 31, 63])) == pytest.approx(5, abs=1e-12)


@pytest.mark.parametrize(
    "steps, expected",
    [
        ([1, 0, 0, 0, 0], 0.5),
        ([0, 0, 0, 0, 1], 4.5),
        ([1, 1, 1, 1, 1], 2.5),
        ([1, 1, 0, 0, 0], 1.0),
        ([0, 1, 1, 1, 1], 3.0),
        ([1, 0, 0, 0, 2], 4 + 3 / 8),  # shares 1/5 and 4/5: 0.3 / 0.8 into the last step
        ([2, 0, 0, 0, 1], 5 / 8),
    ],
)
def test_half_progress_is_where_the_progress_curve_crosses_one_half(steps, expected):
    assert half_progress(path(steps), EPOCHS) == pytest.approx(expected, abs=1e-12)


def test_half_progress_is_the_same_for_a_path_that_turns():
    steps = [2, 1, 1, 0.5, 0.2]
    curve = np.concatenate([[0], np.cumsum(np.square(steps)) / np.sum(np.square(steps))])
    at = np.interp(0.5, curve, np.arange(6))
    assert half_progress(turning(steps), EPOCHS) == pytest.approx(at, abs=1e-9)


def lin(x, y):
    """Lin 1989, eq. 2: 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2), by loops over pairs."""
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    sx = sum((a - mx) ** 2 for a in x) / n
    sy = sum((b - my) ** 2 for b in y) / n
    sxy = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / n
    return 2 * sxy / (sx + sy + (mx - my) ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_concordance_is_lins_of_the_upper_triangles(seed):
    one, other = random_gram(8, seed), random_gram(8, seed + 20)
    x = [one[i, j] for i in range(8) for j in range(i + 1, 8)]
    y = [other[i, j] for i in range(8) for j in range(i + 1, 8)]
    assert concordance(one, other) == pytest.approx(lin(x, y), abs=1e-12)


def test_concordance_by_hand():
    def gram(a, b, c):
        return np.array([[1, a, b], [a, 1, c], [b, c, 1]])

    # x = 1, 2, 3 and y = 2, 4, 6: s_xy = 4/3, s_x^2 = 2/3, s_y^2 = 8/3, means 2 apart
    assert concordance(gram(1, 2, 3), gram(2, 4, 6)) == pytest.approx((8 / 3) / (10 / 3 + 4))
    assert concordance(gram(1, 2, 3), gram(3, 2, 1)) == pytest.approx(-1)


def test_concordance_ignores_the_diagonal():
    gram, other = random_gram(), random_gram(seed=3)
    changed = other + np.diag(np.arange(12.0))
    assert concordance(gram, changed) == pytest.approx(concordance(gram, other), abs=1e-15)


def test_concordance_of_two_equal_constants_is_nan():
    assert np.isnan(concordance(np.ones((4, 4)), np.ones((4, 4))))


@pytest.mark.parametrize("measure", [timing_overlap, concordance])
def test_similarities_are_not_changed(measure):
    one, other = random_gram(), random_gram(seed=5)
    kept = one.copy(), other.copy()
    measure(one, other)
    np.testing.assert_array_equal(one, kept[0])
    np.testing.assert_array_equal(other, kept[1])

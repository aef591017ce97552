"""Progress of layers and synchronization of pairs, on constructed and simulated paths."""

import numpy as np
import pytest
from scipy import integrate

from repdyn_keras.measures.progress import area, noise_floor, progress
from repdyn_keras.measures.replicates import replicates
from repdyn_keras.measures.synchronization import (
    concordance,
    lag,
    spread,
    synchronization_by_layer,
    timing_overlap,
)
from repdyn_keras.measures.trajectory import noise_shares, octaves

pytestmark = [pytest.mark.without_keras, pytest.mark.filterwarnings("error")]

EPOCHS = np.array(sorted({0, 102} | {round(2 ** (i / 6)) for i in range(41)}))
U = octaves(EPOCHS)
PAIRS = ("synchronization", "spread", "lag", "timing_overlap", "concordance")


def turning(share, angle=1.2, noise=0.0, dimension=30, seed=0):
    """Similarities of a path that turns by `angle`, with white scatter.

    share: (t,) of the turn that is made. noise: share of the squared norm that is scatter.
    """
    share = np.asarray(share, float)
    rng = np.random.default_rng(seed)
    x = np.zeros((len(share), dimension))
    x[:, 0], x[:, 1] = np.cos(angle * share), np.sin(angle * share)
    scatter = rng.normal(size=x.shape) / np.sqrt(dimension)
    x = np.sqrt(1 - noise) * x + np.sqrt(noise) * scatter
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def step_at(u):
    return (U >= u) * 1.0


def ramp_at(u, width=0.6):
    return 1 / (1 + np.exp((u - U) / width))


def straight_path(steps):
    """Similarities of a straight path with these steps and without jitter."""
    at = np.concatenate([[0], np.cumsum(steps)])
    return np.outer(at, at)


def random_gram(t=12, seed=0):
    x = np.random.default_rng(seed).normal(size=(t, 30)).cumsum(axis=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


# --- progress -----------------------------------------------------------------------------------


def test_progress_of_a_clean_turn_is_the_share_of_the_turn_as_similarity_sees_it():
    """Similarity to the end less that to the start of an arc: sin(angle (share - 1/2))."""
    for share, tolerance in (
        (step_at(3.0), 1e-9),
        ((step_at(2.0) + step_at(4.0)) / 2, 0.02),
        (U / U[-1], 0.02),
        (ramp_at(3.0), 0.02),
    ):
        for angle in (0.6, 1.2):
            seen = np.sin(angle * (share - 0.5))
            expected = (seen - seen[0]) / (seen[-1] - seen[0])
            found = progress(turning(share, angle), U)
            np.testing.assert_allclose(found, expected, atol=tolerance)


def test_progress_rises_from_0_to_1_and_survives_scatter():
    for noise, tolerance in ((0.02, 0.1), (0.1, 0.2)):
        for seed in range(4):
            gram = turning(step_at(3.0), noise=noise, dimension=100, seed=seed)
            kept = gram.copy()
            found = progress(gram, U)
            np.testing.assert_array_equal(gram, kept)
            assert (found[0], found[-1]) == (0, 1) and (np.diff(found) >= 0).all()
            assert area(found, step_at(3.0), U) < tolerance * U[-1]


def test_layers_that_change_by_less_than_a_tenth_have_no_timing():
    for change, timed in ((0.0, False), (0.09, False), (0.11, True), (1.0, True)):
        gram = turning(step_at(3.0), angle=np.arccos(1 - change))
        assert np.isfinite(progress(gram, U)).all() == timed, change
        assert np.isnan(progress(gram, U)).all() != timed, change
    for seed in range(3):
        still = turning(0 * U, noise=0.1, dimension=200, seed=seed)
        assert np.isnan(progress(still, U)).all()
        assert np.isnan(noise_floor(still, U)), "no replicate of it has a timing"
    there_and_back = turning(step_at(3.0) - step_at(5.0))
    assert np.isnan(progress(there_and_back, U)).all()


def test_a_change_between_the_first_two_records_is_no_scatter():
    """Many real layers make half of their change in the first epoch."""
    for noise in (0.0, 0.05, 0.1):
        share = 0.6 * step_at(1.0) + 0.4 * U / U[-1]
        found = progress(turning(share, noise=noise, dimension=100), U)
        assert 0.4 < found[1] < 0.7, noise


def test_replicates_have_the_states_and_the_scatter_of_the_layer():
    rng = np.random.default_rng(0)
    for noise in (0.02, 0.1):
        gram = turning(step_at(3.0), noise=noise, dimension=100)
        made = replicates(gram, U, 40, rng)
        np.testing.assert_allclose(np.diagonal(made, 0, 1, 2), 1, atol=1e-12)
        assert noise_shares(made, U).mean() == pytest.approx(noise, rel=0.3)
        assert np.abs(made.mean(axis=0) - gram).mean() < 0.05
        # The scatter of either record, along the state of the other: variance n / d each.
        expected = np.sqrt(2 * noise / 100)
        assert made.std(axis=0)[0, -1] == pytest.approx(expected, rel=0.5)


def test_area_and_lag_are_integrals_over_octaves():
    rng = np.random.default_rng(0)
    one, other = np.sort(rng.uniform(size=(2, len(U))), axis=1)
    assert area(one, other, U) == pytest.approx(integrate.trapezoid(abs(one - other), U))
    assert lag(one, other, U) == pytest.approx(-lag(other, one, U))
    # The first curve rises from u = 1 to 2, the second from 3 to 4.
    early, late, u = np.array([0, 0, 1, 1, 1.0]), np.array([0, 0, 0, 0, 1.0]), np.arange(5.0)
    assert lag(early, late, u) == area(early, late, u) == area(late, early, u) == 2
    assert lag(late, early, u) == -2
    assert lag(one, other, U) == pytest.approx(integrate.trapezoid(one - other, U))


def test_spread_is_the_area_that_floors_do_not_explain():
    assert spread(5.0, 0.0, 0.0) == 5
    assert spread(5.0, 3.0, 3.0) == 4
    assert spread(5.0, 0.0, np.sqrt(18)) == pytest.approx(4)
    assert spread(1.0, 3.0, 3.0) == 0
    assert np.isnan(spread(1.0, np.nan, 1.0)) and np.isnan(spread(np.nan, 1.0, 1.0))


def test_the_floor_grows_with_scatter_and_is_the_same_each_time():
    floors = [noise_floor(turning(ramp_at(3.0), noise=n, seed=1), U) for n in (0, 0.02, 0.2)]
    assert 0 <= floors[0] < 0.05 < floors[1] < floors[2] < U[-1] / 2
    gram = turning(ramp_at(3.0), noise=0.1)
    assert noise_floor(gram, U) == noise_floor(gram, U) != noise_floor(gram, U, seed=1)


# --- pairs of layers ----------------------------------------------------------------------------


def test_synchronization_tells_layers_that_change_together_from_layers_an_octave_apart():
    angles, octave = (1.2, 0.9, 1.0), 1 / U[-1]
    for shape in (step_at, ramp_at):
        for noise in (0.005, 0.1):
            together, apart, lags = [], [], []
            for seed in range(4):
                shares = (shape(3.0), shape(3.0), shape(4.0))
                layers = enumerate(zip(shares, angles, strict=True))
                grams = [turning(s, a, noise, 100, seed=10 * seed + k) for k, (s, a) in layers]
                found = synchronization_by_layer(np.stack(grams), EPOCHS.tolist())
                together.append(found["synchronization"][0, 1])
                apart.append(found["synchronization"][:2, 2].mean())
                lags.append(found["lag"][:2, 2].mean())
            assert np.mean(together) > 0.97
            assert np.mean(apart) == pytest.approx(1 - octave, abs=0.05)
            assert np.mean(lags) == pytest.approx(1, abs=0.25), "the third layer is later"


def test_pairs_are_symmetric_and_do_not_depend_on_the_order_of_layers():
    shares = (step_at(2.0), ramp_at(3.0), U / U[-1], 0 * U)
    grams = np.stack([turning(s, noise=0.02, seed=k) for k, s in enumerate(shares)])
    kept = grams.copy()
    found = synchronization_by_layer(grams, EPOCHS.tolist())
    np.testing.assert_array_equal(grams, kept)
    for name in PAIRS:
        sign = -1 if name == "lag" else 1
        np.testing.assert_array_equal(found[name], sign * found[name].T, err_msg=name)
    np.testing.assert_array_equal(np.diagonal(found["synchronization"]), [1, 1, 1, np.nan])
    timed = np.isfinite(found["progress"]).all(axis=1)
    np.testing.assert_array_equal(timed, [True, True, True, False])
    for name in PAIRS[:3]:
        np.testing.assert_array_equal(np.isfinite(found[name]), np.outer(timed, timed))
    np.testing.assert_array_equal(np.isfinite(found["spread_floor"]), timed)
    order = [2, 0, 3, 1]
    again = synchronization_by_layer(grams[order], EPOCHS.tolist())
    for name, values in found.items():
        moved = values[np.ix_(order, order)] if name in PAIRS else values[order]
        np.testing.assert_allclose(again[name], moved, atol=1e-9, err_msg=name)


def test_undefined_records_are_left_out():
    grams = np.stack([turning(step_at(2.0)), turning(ramp_at(3.0)), turning(U / U[-1])])
    left_out, kept = [0, 7, 20], np.delete(np.arange(len(U)), [0, 7, 20])
    holes = grams.copy()
    holes[0, left_out] = holes[0, :, left_out] = np.nan
    found = synchronization_by_layer(holes, EPOCHS.tolist())
    whole = synchronization_by_layer(grams, EPOCHS.tolist())
    part = synchronization_by_layer(grams[:, kept][:, :, kept], EPOCHS[kept].tolist())
    for name in PAIRS:
        np.testing.assert_array_equal(found[name][0], part[name][0])
        np.testing.assert_array_equal(found[name][1:, 1:], whole[name][1:, 1:])
    assert np.isnan(found["progress"][0, left_out]).all()
    np.testing.assert_array_equal(found["progress"][0, kept], part["progress"][0])


def test_few_records_and_dead_layers_have_no_timing_and_nothing_fails():
    for t in (1, 2, 3, 4, 9):
        share = np.linspace(0, 1, t)
        grams = np.stack([turning(share), turning(share**2), np.full((t, t), np.nan)])
        found = synchronization_by_layer(grams, EPOCHS[:t].tolist())
        for name in PAIRS:
            assert np.isnan(found[name][2]).all() and np.isnan(found[name][:, 2]).all()
            assert np.isfinite(found[name][0, 1]) == (t >= 3), (name, t)
        assert np.isfinite(found["progress"][:2]).all() == (t >= 3)
        np.testing.assert_array_equal(np.isnan(found["settling_epoch"]), [False, False, True])


# --- timing overlap and concordance -------------------------------------------------------------


def test_timing_overlap_compares_steps_and_concordance_compares_amplitudes():
    for seed in range(4):
        gram = random_gram(seed=seed)
        for other in (gram, 0.01 * gram, 40 * gram, gram + 0.5, gram + 3):
            assert timing_overlap(gram, other) == pytest.approx(1, abs=1e-9)
            if other is gram:
                assert concordance(gram, other) == pytest.approx(1, abs=1e-12)
            else:
                assert concordance(gram, other) < 0.9
        unlike = random_gram(seed=seed + 10)
        value = timing_overlap(gram, unlike)
        assert value == pytest.approx(timing_overlap(unlike, gram), abs=1e-15)
        assert 0 <= value < 1


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
    still, moving = np.ones((6, 6)), straight_path([1, 1, 1, 1, 1])
    assert np.isnan(timing_overlap(still, moving))
    assert np.isnan(timing_overlap(moving, still))


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

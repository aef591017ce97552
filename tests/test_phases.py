"""Paths, surrogates and phases, compared with brute force and on simulated paths."""

import itertools
import warnings

import numpy as np
import pytest

from repdyn_keras.measures.phases import RESTLESSNESS, STATE, find_phases
from repdyn_keras.measures.trajectory import (
    jitter,
    noise_shares,
    octaves,
    settling_index,
    squared_steps,
    step_shares,
)

pytestmark = pytest.mark.without_keras

DIMENSION = 200
EPOCHS = np.array(sorted({0, 102} | {round(2 ** (i / 6)) for i in range(41)}))
U = np.log2(1 + EPOCHS)
SHARE = (U - U[0]) / (U[-1] - U[0])


def points(t, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(t, d))


def gram_of(x):
    return x @ x.T


def cosines_of(x):
    return gram_of(x / np.linalg.norm(x, axis=1, keepdims=True))


# --- trajectory -------------------------------------------------------------------------------


def test_octaves():
    np.testing.assert_allclose(octaves([0, 1, 3, 7, 127]), [0, 1, 2, 3, 7], atol=1e-12)


def jitter_by_loop(g):
    t = len(g)
    s = [0.0] * t
    for i in range(1, t - 1):
        s[i] = max(0.0, g[i, i] + g[i - 1, i + 1] - g[i - 1, i] - g[i, i + 1])
    s[0], s[-1] = s[1], s[-2]
    padded = [s[0], *s, s[-1]]
    return np.array([np.median(padded[i : i + 3]) for i in range(t)])


def test_jitter_is_the_size_of_the_scatter_and_zero_for_a_smooth_path():
    for t in (3, 4, 9, 30):
        gram = gram_of(points(t, seed=t))
        np.testing.assert_allclose(jitter(gram), jitter_by_loop(gram), atol=1e-12)
    x = 5 + 0.3 * points(2000, 50, seed=1) / np.sqrt(50)
    assert jitter(gram_of(x)).mean() == pytest.approx(0.09, rel=0.05)
    at = np.linspace(0, 1, 30)
    for turn in (0.0, 0.1):
        smooth = np.stack([at, turn * np.sin(3 * at)], axis=1)
        np.testing.assert_array_equal(jitter(gram_of(smooth)), 0)


def test_steps_are_squared_distances_less_the_jitter_of_both_ends():
    x = points(40, 50).cumsum(axis=0) + 3 * points(40, 50, seed=1)
    gram = gram_of(x)
    squares = [np.sum((b - a) ** 2) for a, b in itertools.pairwise(x)]
    np.testing.assert_allclose(squared_steps(gram), squares, rtol=1e-10)
    s = jitter_by_loop(gram)
    freed = np.maximum(0, squares - s[:-1] - s[1:])
    assert (freed == 0).any() and (s > 0).all()
    np.testing.assert_allclose(step_shares(gram), freed / freed.sum(), atol=1e-12)
    at = np.array([0, 1, 3, 4, 7.0])
    for size in (1e-9, 1, 1e9):
        shares = step_shares(size * np.outer(at, at))
        np.testing.assert_allclose(shares, np.array([1, 4, 1, 9]) / 15)
    gram = np.ones((4, 4))
    assert np.isnan(step_shares(gram)).all()
    gram[0, 1] = gram[1, 0] = 1 + 1e-12  # rounding
    assert squared_steps(gram).min() == 0


def test_settling_index_is_the_first_after_which_the_similarity_stays_above():
    for last_column, index in (
        ([0.2, 0.5, 0.96, 0.99, 1], 2),
        ([0.2, 0.97, 0.9, 0.99, 1], 3),
        ([0.99, 0.99, 0.99, 0.99, 1], 0),
        ([0, 0, 0, 0, 1], 4),
        ([0.2, 0.5, 0.95, 0.951, 1], 3),
    ):
        gram = np.eye(5)
        gram[:, -1] = last_column
        assert settling_index(gram) == index


# --- phases -----------------------------------------------------------------------------------


def scattered(path, shares, dimension=30, seed=0):
    """Similarities of a path of unit vectors whose records scatter by shares of their norm."""
    noise = points(len(path), dimension, seed) / np.sqrt(dimension)
    kept, shares = np.sqrt(1 - shares)[:, None], np.sqrt(shares)[:, None]
    return cosines_of(np.hstack([kept * path, shares * noise]))


def turning(angles):
    """(t, 2) unit vectors at angles."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_the_noise_share_is_that_of_a_known_scatter():
    u = np.arange(400) / 6
    for share in (0.02, 0.3):
        gram = scattered(turning(u / 40), np.full(400, share), 200)
        assert noise_shares(gram, u).mean() == pytest.approx(share, rel=0.1)
    np.testing.assert_allclose(noise_shares(scattered(turning(u / 40), 0 * u), u), 0, atol=1e-4)


def test_steps_and_freezes_are_found_and_smooth_change_is_one_phase():
    t = len(EPOCHS)
    after = np.arange(t) >= 22
    quiet, noisy = np.full(t, 0.02), np.full(t, 0.2)
    for path, shares, kind in (
        (turning(0.65 * after), quiet, STATE),
        (turning(0.0 * U), np.where(after, 0.005, noisy), RESTLESSNESS),
        (turning(0.8 * SHARE), quiet, None),
        (turning(0.0 * U), noisy, None),
    ):
        borders = find_phases(scattered(path, shares), EPOCHS).borders
        assert [border.kind for border in borders] == ([] if kind is None else [kind])
        assert all(abs(border.record - 22) <= 1 and border.p <= 0.05 for border in borders)


def test_phases_depend_only_on_the_seed():
    gram = scattered(turning(0.8 * (U > 4)), np.full(len(U), 0.2))
    np.random.seed(0)
    one = find_phases(gram, EPOCHS, seed=1)
    np.random.seed(5)
    assert find_phases(gram, EPOCHS, seed=1).p == one.p
    assert find_phases(gram, EPOCHS, seed=2).contrast_seen != one.contrast_seen


def test_fewer_than_eight_records_are_one_phase_without_numbers():
    for t in (0, 1, 2, 3, 7):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = find_phases(cosines_of(points(t, 9)), np.arange(t))
        assert found.labels.tolist() == [1] * t and found.borders == []
        for number in ("p", "distinguishability", "contrast_seen", "noise_dimension"):
            assert np.isnan(getattr(found, number))


def test_paths_that_do_not_move_are_one_phase():
    for x in (np.ones((12, DIMENSION)), 1 + 1e-15 * points(12, DIMENSION)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = find_phases(cosines_of(x), np.arange(12))
        assert found.labels.tolist() == [1] * 12
        numbers = (found.p, found.distinguishability, found.contrast_seen)
        assert numbers == pytest.approx((1, 0, 0), abs=1e-6)  # surrogates are float32


def test_degenerate_paths_neither_fail_nor_warn():
    at = np.arange(16)
    for name, x in {
        "alternating": np.eye(2)[at % 2],
        "one outlier": np.eye(2)[(at == 6).astype(int)],
        "one step": np.eye(2)[(at >= 8).astype(int)],
        "a step at the last record": np.eye(2)[(at == 15).astype(int)],
        "noise": points(16, 400),
        "opposites": np.where(at[:, None] >= 8, [[-1.0]], [[1.0]]),
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = find_phases(cosines_of(x), at)
        assert 0 < found.p <= 1, name
        assert np.isfinite([found.distinguishability, found.contrast_seen]).all(), name
        assert np.bincount(found.labels)[1:].min() >= 2, name

"""Paths, surrogates and phases, compared with brute force and on simulated paths."""

import itertools
import warnings

import numpy as np
import pytest

from repdyn_keras.measures.borders import effects, windows
from repdyn_keras.measures.phases import (
    RESTLESSNESS,
    STATE,
    distinguished,
    find_phases,
    phases_by_layer,
)
from repdyn_keras.measures.surrogates import surrogates
from repdyn_keras.measures.synchronization import synchronization_by_layer
from repdyn_keras.measures.trails import fit_trail, least_variation, local_linear
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


def scattered_layer(states, share, dimension, colour, seed=0):
    """Similarities of states with scatter that is correlated between successive records."""
    noise = points(len(states), dimension, seed) / np.sqrt(dimension)
    for record in range(1, len(noise)):
        noise[record] *= np.sqrt(1 - colour**2)
        noise[record] += colour * noise[record - 1]
    return cosines_of(np.hstack([np.sqrt(1 - share) * states, np.sqrt(share) * noise]))


def test_noise_share_colour_and_dimension_are_those_of_a_known_scatter():
    u = np.arange(60) / 6
    for states in (turning(0 * u), turning(u / 10), turning(0.65 * (u > 4))):
        for share, dimension, colour in ((0.1, 10, 0), (0.25, 30, 0.5), (0.05, 100, 0)):
            trail = fit_trail(scattered_layer(states, share, dimension, colour), u)
            assert trail.noise_shares.mean() == pytest.approx(share, rel=0.25)
            assert trail.dimension == pytest.approx(dimension, rel=0.4)
            assert trail.colour == pytest.approx(colour, abs=0.2)
            np.testing.assert_allclose(np.linalg.norm(trail.points, axis=1), 1)
    shares = noise_shares(scattered(turning(u / 40), np.full(60, 0.3), 200), u)
    assert shares.mean() == pytest.approx(0.3, rel=0.1)
    assert fit_trail(cosines_of(turning(u / 10)), u).noise_shares.max() < 1e-3


def test_the_trail_averages_scatter_away_and_keeps_a_step_sharp():
    u = np.arange(40) / 6
    trail = fit_trail(scattered_layer(turning(0.65 * (u > 3)), 0.1, 30, 0), u)
    changes = np.linalg.norm(np.diff(trail.points, axis=0), axis=1)
    assert np.argmax(changes) == np.searchsorted(u > 3, True) - 1
    assert changes.max() == pytest.approx(2 * np.sin(0.65 / 2), rel=0.3)
    assert np.median(changes) < 0.01


def test_local_linear_fits_keep_lines_and_records_far_from_all_others():
    for epochs in (EPOCHS, np.arange(0, 1000, 100), np.array([0, 10**6, 10**6 + 1])):
        u = octaves(epochs)
        for weights in (None, np.linspace(1e-4, 2e-4, len(u))):
            line = local_linear(u, 2 - 3 * u, 0.7, weights)
            np.testing.assert_allclose(line, 2 - 3 * u, atol=1e-6)


def test_least_variation_minimizes_its_cost():
    x, weights = points(12, 3), np.linspace(0.5, 2, 12)
    penalties = np.linspace(0.2, 1, 11)

    def cost(path, large):
        changes = np.linalg.norm(np.diff(path, axis=0), axis=1)
        penalty = penalties @ (large * np.log1p(changes / large))
        return (weights * ((path - x) ** 2).sum(axis=1)).sum() / 2 + penalty

    for large in (1e9, 5.0):
        path, hat = least_variation(x, weights, penalties, large)
        np.testing.assert_allclose(hat @ x, path, atol=1e-9)
        rng = np.random.default_rng(0)
        for size in (0.003, 0.1, 1):
            others = [path + size * rng.normal(size=x.shape) for _ in range(20)]
            assert min(cost(other, large) for other in others) > cost(path, large) - 1e-3


def test_surrogates_have_the_scatter_of_the_layer_and_its_ends():
    u = np.arange(40) / 6
    gram = scattered_layer(turning(0.65 * (u > 3)), 0.1, 30, 0)
    trail = fit_trail(gram, u)
    drawn = surrogates(trail, u, 200, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, drawn.swapaxes(1, 2), atol=1e-6)
    np.testing.assert_allclose(np.diagonal(drawn, axis1=1, axis2=2), 1, atol=1e-5)
    assert noise_shares(drawn, u).mean() == pytest.approx(0.1, rel=0.2)
    ends = gram[:3, -3:].mean()
    assert drawn.mean(axis=0)[:3, -3:].mean() == pytest.approx(ends, abs=0.05)
    np.testing.assert_array_equal(drawn, surrogates(trail, u, 200, np.random.default_rng(0)))


def effects_by_loop(gram, u, border, half):
    """Contrast and fall of restlessness of one window, from the definition."""
    t, middle = len(u), (u[border - 1] + u[border]) / 2
    before = [i for i in range(border) if u[i] >= middle - half or i >= border - 2]
    after = [i for i in range(border, t) if u[i] <= middle + half or i < border + 2]
    groups = [
        [(i, j) for i in a for j in b if i < j]
        for a, b in ((before, before), (after, after), (before, after))
    ]

    def means(groups, largest):
        bins = [{} for _ in groups]
        for group, binned in zip(groups, bins, strict=True):
            for i, j in group:
                lag = int(np.ceil((u[j] - u[i] - 0.25) * 3)) if u[j] - u[i] > 0.25 else 0
                binned.setdefault(lag, []).append(gram[i, j])
        common = [lag for lag in set.intersection(*map(set, bins)) if lag < largest]
        weights = np.array([1 / sum(1 / len(binned[lag]) for binned in bins) for lag in common])
        pairs = min(sum(len(binned[lag]) for lag in common) for binned in bins)
        if not common:
            return None, 0
        return [weights @ [np.mean(b[lag]) for lag in common] / weights.sum() for b in bins], pairs

    all_lags, _ = means(groups, 99)
    if all_lags is None:
        return None
    near, pairs = means(groups[:2], 3)
    contrast = (all_lags[0] + all_lags[1]) / 2 - all_lags[2]
    return border, contrast, near[1] - near[0] if pairs >= 3 else 0.0


def test_contrast_and_restlessness_are_those_of_their_definition():
    u = octaves(EPOCHS[:20])
    gram = cosines_of(points(20, 4))
    by_loop = [effects_by_loop(gram, u, b, half) for b in range(2, 19) for half in (1.0, 2.0)]
    expected = np.array([window for window in by_loop if window is not None])
    of_path = windows(tuple(u))
    numbers = (each[0] for each in effects(gram[None], of_path))
    found = np.stack([of_path.borders, *numbers], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 0 < (expected[:, 2] == 0).sum() < len(expected)


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


def test_without_testable_borders_there_is_one_phase_without_p():
    """Records octaves apart, and then close ones: no distance occurs on both sides."""
    epochs = np.array([0, 1, 5, 50, 1000, 20000, 20001, 20002])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_phases(cosines_of(points(8, 9)), epochs)
    assert found.labels.tolist() == [1] * 8 and np.isfinite(found.noise_share).all()
    assert np.isnan([found.p, found.distinguishability, found.contrast_seen]).all()


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


def test_phases_do_not_depend_on_the_order_of_layers_or_on_undefined_records():
    t = len(EPOCHS)
    step = scattered(turning(0.65 * (np.arange(t) >= 18)), np.full(t, 0.05))
    grams = np.stack([step, scattered(turning(0.8 * SHARE), np.full(t, 0.05), seed=1)])
    found, swapped = (phases_by_layer(g, list(EPOCHS)) for g in (grams, grams[::-1]))
    for name, values in found.items():
        np.testing.assert_array_equal(values, swapped[name][::-1], err_msg=name)
    assert found["phase"][0].tolist() == [1] * 18 + [2] * (t - 18)
    assert found["phase"][1].tolist() == [1] * t
    epochs = np.insert(EPOCHS, 10, EPOCHS[9])
    wider = np.insert(np.insert(grams, 10, np.nan, axis=1), 10, np.nan, axis=2)
    wider = phases_by_layer(wider, list(epochs))
    np.testing.assert_array_equal(np.delete(wider["phase"], 10, axis=1), found["phase"])
    assert (wider["phase"][:, 10] == 0).all() and (wider["border_kind"][:, 10] == 0).all()
    assert np.isnan(wider["noise_share"][:, 10]).all()
    np.testing.assert_array_equal(wider["phases_p"], found["phases_p"])


def test_early_records_change_neither_phases_nor_synchronization():
    path = turning(np.arccos(0.6) * (np.arange(len(EPOCHS)) >= 20))
    grams = np.stack([scattered(path, np.full(len(EPOCHS), 0.05), 50, seed) for seed in range(2)])
    # Records of other states after the first two epochs.
    place = [0, 1, 1, 1, 2, 2, *range(2, len(EPOCHS))]
    times = [0.0, 0.1, 0.4, *EPOCHS[1:2], 1.2, 1.7, *EPOCHS[2:]]
    whole = np.flatnonzero(np.floor(times) == times)
    more = grams[:, place][:, :, place]
    for function in (phases_by_layer, synchronization_by_layer):
        expected, found = function(grams, EPOCHS.tolist()), function(more, times)
        for name, values in expected.items():
            if name == "progress":
                continue
            of_whole = found[name][:, whole] if values.shape[1:] == (len(EPOCHS),) else found[name]
            np.testing.assert_array_equal(of_whole, values, err_msg=name)
    phase = phases_by_layer(more, times)["phase"]
    assert len(set(phase[0])) > 1 and np.array_equal(phase[:, :6], np.ones((2, 6)))


def test_distinguishability_is_the_contrast_beyond_surrogates():
    """With known surrogates of mean 0, whose largest contrasts have the mean square 0.01."""
    contrast = np.array([[0.5, 0], [0.1, -0.1], [-0.1, 0.1], [0, 0]])
    square = (0.1**2 + 0.1**2 + 0) / 3
    assert distinguished(contrast, contrast) == pytest.approx(np.sqrt(0.5**2 - square))
    assert distinguished(-contrast, -contrast) == 0


def test_a_step_keeps_its_contrast_where_records_scatter():
    t, seen = len(EPOCHS), []
    for share in (0.02, 0.25):
        path = turning(np.arccos(0.8) * (np.arange(t) >= 20))
        grams = [scattered(path, np.full(t, share), 100, seed) for seed in range(3)]
        seen.append(np.mean([find_phases(g, EPOCHS).distinguishability for g in grams]))
    assert 0.13 < seen[1] < seen[0] < 0.23


@pytest.mark.long
def test_smooth_change_is_rarely_divided():
    """Twelve layers of each kind: straight drift, white and coloured scatter, falling scatter."""
    t, divided = len(EPOCHS), []
    for seed in range(12):
        for share in (0.02, 0.1, 0.25):
            still, drift = turning(0 * SHARE), turning(0.8 * SHARE)
            divided += [
                len(find_phases(gram, EPOCHS).borders) > 0
                for gram in (
                    scattered_layer(still, share, 30, 0.5, seed),
                    scattered_layer(drift, share, 30, 0.0, seed),
                    scattered(drift, share * 0.05**SHARE, 90, seed),
                    scattered(still, np.full(t, share), 10, seed),
                )
            ]
    assert np.mean(divided) <= 0.08

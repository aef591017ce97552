"""Trajectories, surrogates and phases, compared with brute force and on simulated paths."""

import itertools
import warnings

import numpy as np
import pytest

from repdyn_keras.measures import phases as module
from repdyn_keras.measures import trajectory as surrogates_module
from repdyn_keras.measures.phases import (
    explained,
    find_phases,
    partition_costs,
    segment_costs,
    segmentation,
)
from repdyn_keras.measures.trajectory import (
    even_pace_surrogates,
    jitter,
    octaves,
    progress,
    settling_index,
    squared_steps,
    step_shares,
    trapezoid_widths,
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


def test_octaves_and_trapezoid_widths():
    np.testing.assert_allclose(octaves([0, 1, 3, 7, 127]), [0, 1, 2, 3, 7], atol=1e-12)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        u, f = np.sort(rng.uniform(0, 7, 20)), rng.normal(size=20)
        assert trapezoid_widths(u) @ f == pytest.approx(np.trapezoid(f, u), abs=1e-12)


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
    curve = progress(step_shares(gram))
    np.testing.assert_allclose(curve, [0, *np.cumsum(freed / freed.sum())], atol=1e-12)
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


# --- segments ---------------------------------------------------------------------------------


def segment_cost_by_hand(x, weights, start, end):
    """Weighted sum of squared distances from the weighted mean."""
    x, w = x[start:end], weights[start:end]
    if w.sum() == 0:
        return 0.0
    mean = w @ x / w.sum()
    return float(np.sum(w * np.sum((x - mean) ** 2, axis=1)))


def best_by_brute_force(x, weights, count):
    """The lowest cost of all divisions into segments of at least two records, and its borders."""
    costs = {}
    for cuts in itertools.combinations(range(1, len(x)), count - 1):
        edges = (0, *cuts, len(x))
        if min(np.diff(edges)) >= 2:
            parts = itertools.pairwise(edges)
            costs[edges] = sum(segment_cost_by_hand(x, weights, a, b) for a, b in parts)
    edges = min(costs, key=costs.get)
    return costs[edges], edges


def uneven_weights(t, seed=0):
    return trapezoid_widths(np.sort(np.random.default_rng(seed).uniform(0, 5, t)))


def test_segment_costs_are_weighted_variances_of_every_segment_of_many_paths():
    x = points(6 * 9).reshape(2, 3, 9, 5)
    weights = uneven_weights(9)
    weights[3] = 0
    found = segment_costs(x @ x.swapaxes(-1, -2), weights)
    assert found.shape == (2, 3, 10, 10)
    for *path, i, j in np.ndindex(*found.shape):
        expected = segment_cost_by_hand(x[tuple(path)], weights, i, j) if i < j else 0
        assert found[(*path, i, j)] == pytest.approx(expected, abs=1e-10)
    costs = partition_costs(found, 4)
    assert costs.shape == (2, 3, 4)
    np.testing.assert_allclose(costs[1, 2], partition_costs(found[1, 2], 4), atol=1e-12)


def test_partitions_are_optimal_with_at_least_two_records_per_segment():
    for t, seed in ((8, 0), (9, 1), (11, 2)):
        x, weights = points(t, 3, seed), uneven_weights(t, seed)
        x[t // 2] += 10  # an outlier that a separate segment would explain completely
        segments = segment_costs(gram_of(x), weights)
        costs = partition_costs(segments, t // 2)
        for count in range(1, t // 2 + 1):
            cost, edges = best_by_brute_force(x, weights, count)
            assert costs[count - 1] == pytest.approx(cost, abs=1e-10), (t, count)
            labels = segmentation(segments, count)
            assert labels[0] == 1 and set(np.diff(labels)) <= {0, 1}
            assert (0, *(np.flatnonzero(np.diff(labels)) + 1), t) == edges
    np.testing.assert_allclose(explained(np.array([[4.0, 2, 1], [10, 5, 0]]))[:, 1:],
                               [[0.5, 0.75], [0.5, 1]])  # fmt: skip


# --- surrogates -------------------------------------------------------------------------------


def all_surrogates(*arguments) -> np.ndarray:
    """All surrogates that `even_pace_surrogates` yields in chunks."""
    return np.concatenate(list(even_pace_surrogates(*arguments)))


def test_surrogates_follow_the_smoothed_path_with_permuted_jitter(monkeypatch):
    """Compared with a loop over points in space that uses the same random numbers."""
    t, count = len(U), 5
    x = np.stack([np.cos(SHARE * np.pi), np.sin(SHARE * np.pi)], axis=1)
    gram = gram_of(x) + np.diag(0.01 * np.abs(points(t, 1)[:, 0]))
    kept, scatter = gram.copy(), jitter_by_loop(gram)
    values, vectors = np.linalg.eigh(gram - np.diag(scatter))
    place = vectors * np.sqrt(values.astype(complex))  # complex, since the matrix is indefinite
    smooth = np.stack([place[0], *((place[:-2] + 2 * place[1:-1] + place[2:]) / 4), place[-1]])
    steps = np.array([np.sum((b - a) ** 2).real for a, b in itertools.pairwise(smooth)])
    length = np.concatenate([[0], np.cumsum(np.sqrt(np.maximum(0, steps)))])
    rng, du = np.random.default_rng(4), np.diff(U)
    pace = rng.gamma(2 * du / du.mean(), size=(count, t - 1))
    put_back = rng.permuted(np.tile(scatter, (count, 1)), axis=1)
    expected = []
    for increments, back in zip(pace, put_back, strict=True):
        at = np.concatenate([[0], np.cumsum(increments)]) / increments.sum() * length[-1]
        walked = np.stack([np.interp(at, length, column) for column in smooth.T], axis=1)
        expected.append((walked @ walked.T).real + np.diag(back))
    for at_once in (1, 2 * t**2, 10**6):  # one, two or all surrogates at a time
        monkeypatch.setattr(surrogates_module, "MAX_CHUNK_ENTRIES", at_once)
        found = all_surrogates(gram, U, count, np.random.default_rng(4))
        np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(gram, kept)


# --- phases -----------------------------------------------------------------------------------


def orthonormal(rng, count):
    return np.linalg.qr(rng.normal(size=(DIMENSION, count)))[0].T


def drift(turns, rng):
    """(t, d) path at even pace on u: an arc of this many half turns, or a straight line for 0."""
    axes, angle = orthonormal(rng, 2), turns * np.pi * SHARE[:, None]
    if not turns:
        return SHARE[:, None] * axes[0]
    return (np.cos(angle) * axes[0] + np.sin(angle) * axes[1]) / (turns * np.pi)


def states(starts, rng):
    """(t, d) path through orthogonal states at distance 1; each state begins at a record."""
    at = np.searchsorted(starts, np.arange(len(EPOCHS)), side="right")
    return (orthonormal(rng, len(starts) + 1) / np.sqrt(2))[at]


def scattered(path, size, rng):
    """Similarity matrix of the path with white jitter of this mean squared size."""
    noise = size * rng.normal(size=path.shape) / np.sqrt(DIMENSION)
    return cosines_of(path + noise + orthonormal(rng, 1))  # and with what does not change


def phases_by_definition(gram, epochs):
    """Candidate, p and distinguishability from surrogates drawn with seed 0."""
    u = np.log2(1 + epochs)
    most = min(6, len(u) // 2)

    def costs(g):
        return partition_costs(segment_costs(g, trapezoid_widths(u)), most)

    own = costs(gram)
    drawn = all_surrogates(gram, u, 199, np.random.default_rng(0))
    others = np.array([costs(one) for one in drawn])
    gain, gains = 1 - own / own[0], 1 - others / others[:, :1]
    z = [(np.append(gains[:, k], gain[k]) - gains[:, k].mean()) / np.std(gains[:, k], ddof=1)
         for k in range(1, most)]  # fmt: skip
    evidence = np.max(z, axis=0)
    gaps = [np.mean(np.log(others[:, k])) - np.log(own[k]) for k in range(1, most)]
    candidate = segmentation(segment_costs(gram, trapezoid_widths(u)), 2 + int(np.argmax(gaps)))
    p = (1 + sum(e >= evidence[-1] for e in evidence[:-1])) / 200
    return candidate, p, gain[2] - gains[:, 2].mean(), gain[2]


def test_phases_equal_their_definition():
    rng = np.random.default_rng(10)
    seen = []
    for path, epochs in (
        (states([11], rng), EPOCHS),
        (states([10, 20], rng), EPOCHS),
        (states([6, 12, 18, 24, 30, 36], rng), EPOCHS),
        (drift(1, rng), EPOCHS),
        (drift(2, rng), EPOCHS),
        (np.zeros((len(EPOCHS), DIMENSION)), EPOCHS),
        (states([4], rng)[:8], np.arange(8)),
        (states([4], rng)[:9], 3 * np.arange(9)),
    ):
        gram = scattered(path, 0.2, rng)
        kept = gram.copy()
        found = find_phases(gram, epochs)
        candidate, p, distinguishability, raw = phases_by_definition(gram, epochs)
        np.testing.assert_array_equal(found.candidate, candidate)
        assert found.p == pytest.approx(p, abs=1e-12)
        assert found.distinguishability == pytest.approx(distinguishability, abs=1e-9)
        assert found.distinguishability_raw == pytest.approx(raw, abs=1e-9)
        x, w = (
            np.linalg.cholesky(gram + 1e-12 * np.eye(len(gram))),
            trapezoid_widths(np.log2(1 + epochs)),
        )
        share = w @ jitter_by_loop(gram) / segment_cost_by_hand(x, w, 0, len(x))
        assert found.jitter_share == pytest.approx(share, abs=1e-6)
        expected = candidate if p <= 0.05 else np.ones(len(gram))
        np.testing.assert_array_equal(found.labels, expected)
        np.testing.assert_array_equal(gram, kept)
        seen.append((found.candidate.max(), bool(p <= 0.05)))
    assert {accepted for _, accepted in seen} == {True, False}
    assert {2, 3, 6} <= {count for count, _ in seen}


def test_sharp_transitions_are_phases_and_even_drift_is_one(monkeypatch):
    rng = np.random.default_rng(9)
    gram = scattered(states([12, 25], rng), 0.1, rng)
    found = find_phases(gram, EPOCHS)
    expected = 1 + np.searchsorted([12, 25], np.arange(len(EPOCHS)), side="right")
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_array_equal(found.candidate, expected)
    assert found.p == pytest.approx(1 / 200)
    # The significance level itself is included.
    for level, count in ((found.p, 3), (np.nextafter(found.p, 0), 1)):
        monkeypatch.setattr(module, "SIGNIFICANCE", level)
        assert find_phases(gram, EPOCHS).labels.max() == count
    monkeypatch.undo()
    for turns in (0, 0.5, 1):
        found = find_phases(scattered(drift(turns, rng), 0, rng), EPOCHS)
        assert found.labels.max() == 1 and found.candidate.max() >= 2
        assert found.p > 0.05
        assert abs(found.distinguishability) < 0.1
        assert found.jitter_share < 1e-6


def test_phases_depend_only_on_the_seed():
    rng = np.random.default_rng(13)
    gram = scattered(drift(1, rng), 0.2, rng)
    np.random.seed(0)
    one = find_phases(gram, EPOCHS, seed=1)
    np.random.seed(5)
    assert find_phases(gram, EPOCHS, seed=1).p == one.p
    assert find_phases(gram, EPOCHS, seed=2).distinguishability != one.distinguishability


def test_fewer_than_eight_records_are_one_phase_without_numbers():
    for t in (1, 2, 3, 7):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = find_phases(cosines_of(points(t, 9)), np.arange(t))
        assert found.labels.tolist() == found.candidate.tolist() == [1] * t
        for number in ("p", "distinguishability", "distinguishability_raw", "jitter_share"):
            assert np.isnan(getattr(found, number))


def test_paths_that_do_not_move_are_one_phase():
    for x in (np.ones((12, DIMENSION)), 1 + 1e-15 * points(12, DIMENSION)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = find_phases(cosines_of(x), np.arange(12))
        assert found.labels.tolist() == found.candidate.tolist() == [1] * 12
        assert (found.p, found.distinguishability, found.distinguishability_raw) == (1, 0, 0)
        assert np.isnan(found.jitter_share)
    # Only jitter: the surrogates do not move, and their cost is 0.
    share = np.sqrt([0.9, 0.1])
    a_b_c = np.array([[1, 0, 0], [share[0], share[1], 0], [share[0], 0, share[1]]])
    for visited in ("CBAAABAC", "CBACCACCBB", "AAAACABAA"):
        path = a_b_c[["ABC".index(state) for state in visited]]
        epochs = 7 * np.arange(len(visited))
        found = find_phases(gram_of(path), epochs)
        assert found.labels.tolist() == found.candidate.tolist() == [1] * len(visited)
        assert (found.p, found.distinguishability) == (1, 0)
        weights = trapezoid_widths(np.log2(1 + epochs))
        one, three = (best_by_brute_force(path, weights, count)[0] for count in (1, 3))
        assert found.distinguishability_raw == pytest.approx(1 - three / one, abs=1e-9)
        expected = weights @ jitter_by_loop(gram_of(path)) / one
        assert found.jitter_share == pytest.approx(expected, abs=1e-9)


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
        assert np.isfinite([found.distinguishability, found.distinguishability_raw]).all(), name
        assert np.bincount(found.candidate)[1:].min() >= 2, name

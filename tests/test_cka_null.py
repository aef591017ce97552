"""Null values of CKA, compared with permutations."""

import itertools

import numpy as np
import pytest
import xarray as xr

from repdyn_keras.measures.cka import cosines, fingerprint
from repdyn_keras.measures.cka_null import class_null, given_labels, null_deviation

pytestmark = pytest.mark.without_keras


def related(rng, n):
    """Features (n, 5) and (n, 30) that have much in common."""
    x = rng.normal(size=(n, 5))
    return x, rng.normal(size=(n, 30)) + 2 * x[:, :1]


def permuted(rng, groups):
    """A random order of samples that keeps each in its group."""
    order = np.arange(len(groups))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        order[members] = rng.permutation(members)
    return order


def permuted_cka(x, y, groups, b, draws, rng):
    """(draws,) CKA of x with permutations of y within groups."""
    one = fingerprint(x, batch_size=b)[None]
    other = [fingerprint(y[permuted(rng, groups)], batch_size=b) for _ in range(draws)]
    return cosines(one, np.stack(other))[0]


def test_null_deviation_equals_that_of_all_permutations_within_batches():
    x, y = np.random.default_rng(3).normal(size=(2, 8, 3))
    orders = [list(order) for order in itertools.permutations(range(4))]
    both = [a + [4 + i for i in b] for a, b in itertools.product(orders, orders)]
    one = np.stack([fingerprint(a, batch_size=4) for a in (x, np.tanh(x) ** 2)])
    other = np.stack([fingerprint(y[order], batch_size=4) for order in both])
    values = cosines(one, other)
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-12)
    found = null_deviation(one, other[:3], 4)
    np.testing.assert_allclose(found, np.tile(values.std(axis=1)[:, None], 3), atol=1e-12)


def test_class_null_equals_the_mean_of_all_permutations_within_classes_and_batches():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 2, 1, 1, 3, 3, 3, 3])
    x, y = (a + np.eye(5)[labels] @ rng.normal(size=(5, a.shape[1])) for a in related(rng, 12))
    groups = [[0, 1, 2], [3, 4], [5], [6, 7], [8, 9, 10, 11]]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    prints = [fingerprint(y[list(itertools.chain(*order))], batch_size=6) for order in orders]
    one = np.stack([fingerprint(a, batch_size=6) for a in (x, x**2)])
    other = np.stack(prints)
    assert len(other) == 6 * 2 * 2 * 24
    expected = cosines(one, other).mean(axis=1)
    assert (expected > 0.04).all()
    found = class_null(one, other[:3], labels, 6)
    np.testing.assert_allclose(found, np.tile(expected[:, None], 3), atol=1e-12)


def test_class_null_does_not_depend_on_the_order_or_names_of_classes():
    rng = np.random.default_rng(1)
    x, y = related(rng, 24)
    labels = rng.integers(0, 3, 24)
    prints = np.stack([fingerprint(y, batch_size=12) for y in (x, x**3)])
    found = class_null(prints, prints, labels, 12)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(class_null(prints, prints, 100 - 7 * labels, 12), found, atol=1e-12)
    order = permuted(rng, np.repeat([0, 1], 12))
    other = np.stack([fingerprint(a, batch_size=12) for a in (x[order], x[order] ** 3)])
    np.testing.assert_allclose(class_null(other, other, labels[order], 12), found, atol=1e-12)


def test_class_null_without_and_with_nothing_but_class_structure():
    x = np.random.default_rng(2).normal(size=(16, 4))
    prints = fingerprint(x, batch_size=8)[None]
    np.testing.assert_allclose(class_null(prints, prints, np.zeros(16, int), 8), 0, atol=1e-12)
    same = fingerprint(np.eye(4)[np.arange(16) % 4], batch_size=8)[None]
    np.testing.assert_allclose(class_null(same, same, np.arange(16) % 4, 8), 1, atol=1e-12)
    alone = np.tile(np.arange(8), 2)
    assert np.isnan(class_null(prints, prints, alone, 8)).all(), "nothing can be permuted"
    one_pair = np.where(np.arange(16) == 15, 0, alone)
    found = class_null(prints, prints, one_pair, 8).item()
    assert 0 < found < 1


def test_undefined_fingerprints_give_nan():
    rng = np.random.default_rng(4)
    prints = np.stack([fingerprint(x, batch_size=8) for x in rng.normal(size=(3, 16, 4))])
    prints[1] = np.nan
    labels = np.arange(16) % 3
    for found in (null_deviation(prints, prints, 8), class_null(prints, prints, labels, 8)):
        np.testing.assert_array_equal(np.isnan(found), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def test_labels_are_none_where_none_were_recorded():
    labels = np.array([0, 2, 1])
    for given, expected in ((labels, [0, 2, 1]), (np.full(3, -1), None)):
        found = given_labels(xr.Dataset({"label_given": ("image", given)}))
        assert expected is None and found is None or found.tolist() == expected
    assert given_labels(xr.Dataset()) is None


@pytest.mark.long
def test_999_permutations_within_5_percent():
    rng = np.random.default_rng(5)
    b, n = 32, 96
    x, y = related(rng, n)
    labels = rng.integers(0, 4, n)
    x, y = x + 0.7 * np.eye(5)[labels], y + np.eye(30)[labels]
    batches = np.repeat(np.arange(n // b), b)
    one, other = (fingerprint(a, batch_size=b)[None] for a in (x, y))
    found = permuted_cka(x, y, batches, b, 999, rng)
    exact = null_deviation(one, other, b).item()
    assert np.std(found) == pytest.approx(exact, rel=0.05)
    assert np.mean(found) == pytest.approx(0, abs=4 * exact / 999**0.5)
    found = permuted_cka(x, y, 10 * batches + labels, b, 999, rng)
    exact = class_null(one, other, labels, b).item()
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / 999**0.5)
    assert exact > 10 * np.std(found) / 999**0.5, "the test would notice 0"

"""Decision regions: agreement, kappa, fragments and boundaries, compared with simple code."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import cohen_kappa_score

from repdyn_keras.measures.regions import (
    agreements,
    boundary_lengths,
    class_shares,
    fragments,
    kappas,
    region_dtype,
    undefined_class,
)

pytestmark = pytest.mark.without_keras

U = 255


def map_from_text(text):
    """A map from rows of digits; x is undefined."""
    rows = [[U if c == "x" else int(c) for c in row] for row in text.split()]
    return np.array(rows, dtype=np.uint8)


def random_maps(lead, rows, columns, classes, dtype=np.uint8, undefined=0.0, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, classes, size=(*lead, rows, columns)).astype(dtype)
    maps[rng.random(maps.shape) < undefined] = np.iinfo(dtype).max
    return maps


# Fragments and boundary pairs, both counted by hand.
MAPS = {
    "one class": ("000 000 000", 1, 0),
    "two halves": ("0011 0011 0011", 2, 3),
    "touching at a corner is connected": ("100 010 001", 2, 8),
    "chessboard": ("0101 1010 0101", 2, 17),
    "a hole": ("0000 0110 0110 0000", 2, 8),
    "two islands of a class": ("1011 0000 1101", 5, 10),
    "three classes in stripes": ("012012 012012", 6, 10),
    "undefined left out": ("xxx xxx xxx", 0, 0),
    "undefined separates": ("0x0 0x0 0x0", 2, 6),
    "undefined points are no fragment": ("00x 0xx 0x1", 2, 6),
    "a ring round an island": ("00000 01110 01210 01110 00000", 3, 16),
    "one row": ("0010010", 5, 4),
}


def test_fragments_and_boundaries_counted_by_hand():
    for name, (text, count, pairs) in MAPS.items():
        one = map_from_text(text)
        rows, columns = one.shape
        total = rows * (columns - 1) + columns * (rows - 1)
        assert fragments(one) == count, name
        assert boundary_lengths(one) == pytest.approx(pairs / total, abs=1e-15), name
    assert fragments(map_from_text("3")) == 1
    assert fragments(np.zeros((5, 3, 3), np.uint8)).tolist() == [1] * 5  # not joined across maps


def fragments_by_scipy(one):
    """8-connected components of every class of one map."""
    classes = set(np.unique(one)) - {np.iinfo(one.dtype).max}
    return sum(ndimage.label(one == c, np.ones((3, 3)))[1] for c in classes)


def boundary_by_loop(one):
    """Share of neighbouring pairs that differ."""
    rows, columns = one.shape
    pairs = [((i, j), (i, j + 1)) for i in range(rows) for j in range(columns - 1)]
    pairs += [((i, j), (i + 1, j)) for i in range(rows - 1) for j in range(columns)]
    return np.mean([one[a] != one[b] for a, b in pairs])


def test_many_maps_equal_scipy_and_a_loop_map_by_map_and_are_not_changed():
    for classes, dtype in ((2, np.uint8), (10, np.uint8), (300, np.uint16)):
        for undefined in (0, 0.3):
            maps = random_maps((2, 3), 11, 7, classes, dtype, undefined)
            kept = maps.copy()
            found, boundaries = fragments(maps), boundary_lengths(maps)
            assert found.shape == boundaries.shape == (2, 3)
            for index in np.ndindex(2, 3):
                assert found[index] == fragments_by_scipy(maps[index]), (classes, undefined)
                assert boundaries[index] == pytest.approx(boundary_by_loop(maps[index]), abs=1e-15)
            np.testing.assert_array_equal(maps, kept)


def test_agreements_are_shares_of_equal_points():
    for classes in (2, 5, 10):
        maps = random_maps((6,), 9, 12, classes).reshape(6, -1)
        found = agreements(maps)
        for i, j in itertools.product(range(6), repeat=2):
            equal = sum(int(a == b) for a, b in zip(maps[i], maps[j], strict=True))
            assert found[i, j] == pytest.approx(equal / 108, abs=1e-15)
        np.testing.assert_array_equal(found, found.T)
        assert np.linalg.eigvalsh(found).min() > -1e-12


def test_the_agreement_of_a_map_with_undefined_points_is_nan():
    maps = random_maps((4,), 5, 5, 3).reshape(4, -1)
    maps[2, 7] = U
    expected = np.zeros((4, 4), bool)
    expected[2] = expected[:, 2] = True
    for found in (agreements(maps), kappas(maps, 3)):
        np.testing.assert_array_equal(np.isnan(found), expected)
    assert np.isnan(agreements(np.full((2, 10), U, np.uint8))).all()


def test_kappas_equal_those_of_scikit_learn():
    for classes in (2, 3, 10):
        maps = random_maps((5,), 8, 8, classes, seed=classes).reshape(5, -1)
        rng = np.random.default_rng(classes)
        maps[1] = np.where(rng.random(64) < 0.8, maps[0], maps[1])  # a related pair
        maps[2] = (maps[0] + 1) % classes  # no equal points
        found = kappas(maps, classes)
        for i, j in itertools.product(range(5), repeat=2):
            assert found[i, j] == pytest.approx(cohen_kappa_score(maps[i], maps[j]), abs=1e-12)
        assert found[0, 1] > 0.5
        assert found[0, 2] < 0


def test_kappa_of_maps_of_a_single_class_is_nan_where_they_agree_and_zero_elsewhere():
    for value, points in itertools.product((0, 3, 9), (4, 49, 1000)):
        assert np.isnan(kappas(np.full((2, points), value, np.uint8), 10)).all()
    assert kappas(np.array([[0] * 7, [1] * 7], np.uint8), 2)[0, 1] == 0
    # One point in a million differs, so chance agreement is below 1 by more than rounding.
    maps = np.zeros((2, 10**6), np.uint8)
    maps[0, 0] = maps[1, 1] = 1
    assert kappas(maps, 2)[0, 1] == pytest.approx(-1e-6, abs=1e-8)
    assert kappas(maps, 2)[0, 0] == pytest.approx(1, abs=1e-9)


def test_class_shares_do_not_count_undefined_points():
    maps = random_maps((4,), 6, 6, 10, undefined=0.2).reshape(4, -1)
    expected = [[np.mean(m == c) for c in range(10)] for m in maps]
    np.testing.assert_allclose(class_shares(maps, 10), expected, atol=1e-15)
    assert class_shares(np.array([[0, 0, 1, U]], np.uint8), 3).tolist() == [[0.5, 0.25, 0]]


def test_region_dtype_is_the_smallest_whose_maximum_is_not_a_class():
    for classes, dtype, undefined in (
        (2, np.uint8, 255),
        (255, np.uint8, 255),
        (256, np.uint16, 65535),
        (65535, np.uint16, 65535),
        (65536, np.uint32, 2**32 - 1),
    ):
        found = region_dtype(classes)
        assert found == dtype
        assert undefined_class(found) == undefined
        assert classes - 1 < undefined

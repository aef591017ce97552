"""Decision regions: agreement, kappa, fragments and boundaries, counted by hand and by loops."""

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


def drawn(text):
    """A map from rows of digits; x is undefined."""
    rows = [[U if c == "x" else int(c) for c in row] for row in text.split()]
    return np.array(rows, dtype=np.uint8)


# (map, fragments counted by hand)
MAPS = {
    "one class": ("000 000 000", 1),
    "two halves": ("0011 0011 0011", 2),
    "touching at a corner is connected": ("100 010 001", 2),
    "chessboard": ("0101 1010 0101", 2),
    "a hole": ("0000 0110 0110 0000", 2),
    "two islands of a class": ("1011 0000 1101", 5),
    "three classes in stripes": ("012012 012012", 6),
    "undefined left out": ("xxx xxx xxx", 0),
    "undefined separates": ("0x0 0x0 0x0", 2),
    "undefined is no fragment of its own": ("00x 0xx 0x1", 2),
    "a ring round an island": ("00000 01110 01210 01110 00000", 3),
    "one row": ("0010010", 5),
    "one point": ("3", 1),
}


@pytest.mark.parametrize("name", MAPS)
def test_fragments_are_those_counted_by_hand(name):
    text, count = MAPS[name]
    assert fragments(drawn(text)) == count


def by_ndimage(one):
    """8-connected components of every class of one map."""
    classes = set(np.unique(one)) - {np.iinfo(one.dtype).max}
    return sum(ndimage.label(one == c, np.ones((3, 3)))[1] for c in classes)


def random_maps(lead, rows, columns, classes, dtype=np.uint8, undefined=0.0, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, classes, size=(*lead, rows, columns)).astype(dtype)
    maps[rng.random(maps.shape) < undefined] = np.iinfo(dtype).max
    return maps


@pytest.mark.parametrize("classes, dtype", [(2, np.uint8), (10, np.uint8), (300, np.uint16)])
@pytest.mark.parametrize("undefined", [0, 0.3])
def test_fragments_of_many_maps_equal_scipy_map_by_map(classes, dtype, undefined):
    maps = random_maps((2, 3, 4), 11, 7, classes, dtype, undefined)
    found = fragments(maps)
    assert found.shape == (2, 3, 4)
    for index in np.ndindex(2, 3, 4):
        assert found[index] == by_ndimage(maps[index])


def test_fragments_do_not_join_across_maps():
    assert fragments(np.zeros((5, 3, 3), np.uint8)).tolist() == [1] * 5


def test_diagonal_neighbours_would_count_more_without_eight_connectivity():
    """The contrast: 4-connected, the diagonal falls apart."""
    one = drawn("100 010 001")
    assert sum(ndimage.label(one == c)[1] for c in (0, 1)) == 5
    assert fragments(one) == 2


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_agreements_are_shares_of_equal_points(classes):
    maps = random_maps((6,), 9, 12, classes).reshape(6, -1)
    found = agreements(maps)
    for i, j in itertools.product(range(6), repeat=2):
        equal = sum(int(a == b) for a, b in zip(maps[i], maps[j], strict=True))
        assert found[i, j] == pytest.approx(equal / 108, abs=1e-15)


def test_agreements_are_symmetric_one_with_themselves_and_positive_semidefinite():
    found = agreements(random_maps((9,), 6, 6, 4).reshape(9, -1))
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diagonal(found), 1)
    assert np.linalg.eigvalsh(found).min() > -1e-12


def test_agreement_on_a_hand_made_pair():
    maps = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [2, 2, 2, 2]], np.uint8)
    np.testing.assert_array_equal(agreements(maps)[0], [1, 0.75, 0])


@pytest.mark.parametrize("compare", [agreements, lambda maps: kappas(maps, 3)])
def test_a_map_with_undefined_points_is_compared_with_none(compare):
    maps = random_maps((4,), 5, 5, 3).reshape(4, -1)
    maps[2, 7] = U
    found = compare(maps)
    expected = np.zeros((4, 4), bool)
    expected[2] = expected[:, 2] = True
    np.testing.assert_array_equal(np.isnan(found), expected)


def test_undefined_points_do_not_agree_with_each_other():
    maps = np.full((2, 10), U, np.uint8)
    assert np.isnan(agreements(maps)).all()


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_kappas_are_those_of_scikit_learn(classes, seed):
    maps = random_maps((5,), 8, 8, classes, seed=seed).reshape(5, -1)
    rng = np.random.default_rng(seed)
    maps[1] = np.where(rng.random(64) < 0.8, maps[0], maps[1])  # a related pair
    maps[2] = (maps[0] + 1) % classes  # agrees nowhere
    found = kappas(maps, classes)
    for i, j in itertools.product(range(5), repeat=2):
        assert found[i, j] == pytest.approx(cohen_kappa_score(maps[i], maps[j]), abs=1e-12)
    assert found[0, 1] > 0.5
    assert found[0, 2] < 0


def test_kappa_of_the_pooled_points_is_not_the_mean_over_planes():
    one = np.array([[0, 0, 0, 1], [1, 1, 1, 0]], np.uint8)
    other = np.array([[0, 0, 1, 1], [1, 1, 1, 1]], np.uint8)
    pooled = kappas(np.stack([one.ravel(), other.ravel()]), 2)[0, 1]
    planes = [kappas(np.stack([a, b]), 2)[0, 1] for a, b in zip(one, other, strict=True)]
    assert pooled == pytest.approx(cohen_kappa_score(one.ravel(), other.ravel()), abs=1e-12)
    assert abs(pooled - np.mean(planes)) > 0.1


@pytest.mark.parametrize("value", [0, 3, 9])
@pytest.mark.parametrize("points", [4, 49, 1000])
def test_kappa_of_two_maps_of_one_and_the_same_class_is_nan(value, points):
    assert np.isnan(kappas(np.full((2, points), value, np.uint8), 10)).all()


def test_kappa_of_two_maps_of_different_single_classes_is_zero():
    maps = np.array([[0] * 7, [1] * 7], np.uint8)
    assert kappas(maps, 2)[0, 1] == 0


@pytest.mark.parametrize("classes", [3, 10])
def test_class_shares_are_counted_by_a_loop_and_sum_to_one(classes):
    maps = random_maps((4,), 6, 6, classes).reshape(4, -1)
    found = class_shares(maps, classes)
    expected = [[np.mean(m == c) for c in range(classes)] for m in maps]
    np.testing.assert_allclose(found, expected, atol=1e-15)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_class_shares_leave_undefined_points_to_no_class():
    assert class_shares(np.array([[0, 0, 1, U]], np.uint8), 3).tolist() == [[0.5, 0.25, 0]]


def by_loop(one):
    """Share of neighbouring pairs that differ."""
    rows, columns = one.shape
    pairs = [((i, j), (i, j + 1)) for i in range(rows) for j in range(columns - 1)]
    pairs += [((i, j), (i + 1, j)) for i in range(rows - 1) for j in range(columns)]
    return np.mean([one[a] != one[b] for a, b in pairs])


@pytest.mark.parametrize("rows, columns", [(5, 5), (3, 8), (9, 2)])
def test_boundary_lengths_equal_a_loop(rows, columns):
    maps = random_maps((2, 3), rows, columns, 3, undefined=0.1)
    found = boundary_lengths(maps)
    assert found.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert found[index] == pytest.approx(by_loop(maps[index]), abs=1e-15)


@pytest.mark.parametrize(
    "text, expected", [("000 000", 0), ("0101 1010", 1), ("0011 0011 0011 0011", 4 / 24)]
)
def test_boundary_lengths_of_hand_made_maps(text, expected):
    assert boundary_lengths(drawn(text)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    "classes, dtype, undefined",
    [
        (2, np.uint8, 255),
        (10, np.uint8, 255),
        (255, np.uint8, 255),
        (256, np.uint16, 65535),
        (1000, np.uint16, 65535),
        (65535, np.uint16, 65535),
        (65536, np.uint32, 2**32 - 1),
    ],
)
def test_the_smallest_dtype_whose_maximum_is_no_class(classes, dtype, undefined):
    found = region_dtype(classes)
    assert found == dtype
    assert undefined_class(found) == undefined
    assert classes - 1 < undefined_class(found)  # the last class is not undefined
    assert np.array(classes - 1).astype(found) == classes - 1


@pytest.mark.parametrize("measure", [fragments, boundary_lengths])
def test_maps_are_not_changed(measure):
    maps = random_maps((3,), 6, 6, 3)
    kept = maps.copy()
    measure(maps)
    np.testing.assert_array_equal(maps, kept)

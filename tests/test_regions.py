"""Decision regions: agreement, kappa, fragments and boundaries, compared with simple code."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import cohen_kappa_score

from repdyn_keras.measures.map_agreement import (
    agreement_intervals,
    agreements,
    class_shares,
    kappa_intervals,
    kappas,
    region_dtype,
    undefined_class,
)
from repdyn_keras.measures.regions import boundary_lengths, floors, fragments

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


def pooled(maps):
    """Agreement of maps (t, points) of one plane."""
    return agreements(maps[:, None])[..., 0]


def pooled_kappas(maps, classes):
    """Kappa of maps (t, points) of one plane."""
    return kappas(agreements(maps[:, None]), class_shares(maps[:, None], classes))


def test_agreements_are_shares_of_equal_points():
    for classes in (2, 5, 10):
        maps = random_maps((6,), 9, 12, classes).reshape(6, -1)
        found = pooled(maps)
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
    for found in (pooled(maps), pooled_kappas(maps, 3)):
        np.testing.assert_array_equal(np.isnan(found), expected)
    assert np.isnan(pooled(np.full((2, 10), U, np.uint8))).all()


def test_kappas_equal_those_of_scikit_learn():
    for classes in (2, 3, 10):
        maps = random_maps((5,), 8, 8, classes, seed=classes).reshape(5, -1)
        rng = np.random.default_rng(classes)
        maps[1] = np.where(rng.random(64) < 0.8, maps[0], maps[1])  # a related pair
        maps[2] = (maps[0] + 1) % classes  # no equal points
        found = pooled_kappas(maps, classes)
        for i, j in itertools.product(range(5), repeat=2):
            assert found[i, j] == pytest.approx(cohen_kappa_score(maps[i], maps[j]), abs=1e-12)
        assert found[0, 1] > 0.5
        assert found[0, 2] < 0


def test_kappa_of_maps_of_a_single_class_is_nan_where_they_agree_and_zero_elsewhere():
    for value, points in itertools.product((0, 3, 9), (4, 49, 1000)):
        assert np.isnan(pooled_kappas(np.full((2, points), value, np.uint8), 10)).all()
    assert pooled_kappas(np.array([[0] * 7, [1] * 7], np.uint8), 2)[0, 1] == 0
    # One point in a million differs, so chance agreement is below 1 by more than rounding.
    maps = np.zeros((2, 10**6), np.uint8)
    maps[0, 0] = maps[1, 1] = 1
    assert pooled_kappas(maps, 2)[0, 1] == pytest.approx(-1e-6, abs=1e-8)
    assert pooled_kappas(maps, 2)[0, 0] == pytest.approx(1, abs=1e-9)


def planes_of(t, planes, points, classes, change, seed=0):
    """(t, plane, points) related maps; the share of points that change differs between planes."""
    rng = np.random.default_rng(seed)
    maps = np.repeat(rng.integers(0, classes, (1, planes, points)), t, axis=0)
    share = rng.beta(2, 2 / change - 2, (1, planes, 1))
    changed = rng.random(maps.shape) < share
    return np.where(changed, rng.integers(0, classes, maps.shape), maps).astype(np.uint8)


def intervals(maps, classes=5):
    """Intervals of agreement and kappa of maps (t, plane, points), and both values."""
    by_plane, shares, points = agreements(maps), class_shares(maps, classes), maps.shape[-1]
    return (
        (by_plane.mean(axis=-1), agreement_intervals(by_plane, points)),
        (kappas(by_plane, shares), kappa_intervals(by_plane, shares, points)),
    )


def test_intervals_hold_their_value_and_shrink_with_the_number_of_planes():
    widths = []
    for planes in (2, 4, 16, 64, 256):
        for value, bounds in intervals(planes_of(4, planes, 50, 5, 0.3)):
            assert ((bounds[..., 0] <= value) & (value <= bounds[..., 1])).all()
            assert (bounds[..., 0] >= -1).all() and (bounds[..., 1] <= 1).all()
            np.testing.assert_array_equal(bounds, bounds.swapaxes(0, 1))
            np.testing.assert_array_equal(bounds[np.arange(4), np.arange(4)], 1)
            widths.append(np.ptp(bounds[0, 1]))
    for measure in (widths[::2], widths[1::2]):
        assert all(wide > narrow for wide, narrow in itertools.pairwise(measure))


def test_standard_errors_equal_those_of_the_jackknife_over_planes():
    """The jackknife leaves out one plane at a time, and needs no formula for the error."""
    maps = planes_of(2, 200, 40, 4, 0.4)
    rest = [np.delete(maps, plane, axis=1).reshape(2, -1) for plane in range(200)]
    left_out = [[pooled(m)[0, 1] for m in rest], [pooled_kappas(m, 4)[0, 1] for m in rest]]
    for values, (_, bounds) in zip(left_out, intervals(maps, 4), strict=True):
        error = np.sqrt(199 / 200 * np.sum((values - np.mean(values)) ** 2))
        assert np.ptp(bounds[0, 1]) / 2 == pytest.approx(1.972 * error, rel=0.02)


def test_points_repeated_within_planes_do_not_narrow_the_intervals():
    maps = planes_of(3, 12, 30, 5, 0.3)
    for (_, one), (_, other) in zip(
        intervals(maps), intervals(np.repeat(maps, 7, axis=2)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_intervals_of_full_agreement_are_those_of_one_differing_point():
    maps = np.repeat(planes_of(1, 10, 40, 5, 0.3), 3, axis=0)
    differing = maps.copy()
    differing[1, 0, 0] = (differing[1, 0, 0] + 1) % 5
    equal, almost = intervals(maps), intervals(differing)
    for (value, bounds), (_, near) in zip(equal, almost, strict=True):
        assert (value == 1).all()
        np.testing.assert_array_equal(bounds[..., 1], 1)
        assert 0.97 < bounds[0, 1, 0] < 1
        assert bounds[0, 1, 0] == pytest.approx(near[0, 1, 0], rel=0.01)


def test_intervals_are_nan_with_one_plane_and_where_the_value_is():
    for value, bounds in intervals(planes_of(3, 1, 30, 5, 0.3)):
        assert np.isfinite(value).all() and np.isnan(bounds).all()
    maps = planes_of(3, 6, 30, 5, 0.3)
    maps[1, 2, 3] = U
    for value, bounds in intervals(maps):
        expected = np.isnan(value)
        assert expected.sum() == 5
        np.testing.assert_array_equal(np.isnan(bounds), expected[..., None].repeat(2, -1))
    same = np.zeros((2, 6, 30), np.uint8)
    assert np.isnan(intervals(same)[1][1]).all()


def test_the_floor_is_the_agreement_of_both_probes_and_nan_for_the_output():
    maps = random_maps((3, 4), 5, 5, 3)
    resampled = maps.copy()
    resampled[0, 0, 0] = (resampled[0, 0, 0] + 1) % 3
    assert floors(maps, resampled)[:2].tolist() == [0.95, 1]
    assert np.isnan(floors(maps, resampled)[2])
    maps[1, 3, 4, 4] = U
    np.testing.assert_array_equal(np.isnan(floors(maps, maps)), [False, True, True])


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

"""Planes through three images: geometry, grids and seeded draws."""

import itertools

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.measures.planes import draw_planes, plane_through, planes_notice
from repdyn_keras.seeds import stratified_order

pytestmark = pytest.mark.without_keras


def images(n=3, shape=(5, 4, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


# --- one plane --------------------------------------------------------------------------------


def test_the_axes_of_a_plane_are_orthonormal_and_its_corners_are_the_images():
    for shape, seed in itertools.product([(2,), (3,), (64,), (8, 8, 1)], range(3)):
        three = images(shape=shape, seed=seed)
        kept = three.copy()
        plane = plane_through(three)
        np.testing.assert_array_equal(three, kept)
        flat = three.reshape(3, -1)
        np.testing.assert_array_equal(plane.origin, flat[0])
        np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(plane.origin + plane.corners @ plane.axes, flat, atol=1e-12)
        # The first axis points to the second image, and the third image is above it.
        np.testing.assert_array_equal(plane.corners[0], [0, 0])
        apart = np.linalg.norm(flat[1] - flat[0])
        np.testing.assert_allclose(plane.corners[1], [apart, 0], rtol=1e-12)
        assert plane.corners[2, 1] > 0


def test_extent_is_the_bounding_box_widened_by_the_margin_on_each_side():
    obtuse = np.array([[0.0, 0], [2, 0], [-3, 1]])
    for given, margin in itertools.product((images(), obtuse), (0, 0.1, 0.5, 2)):
        plane = plane_through(given, margin)
        low, high = plane.corners.min(axis=0), plane.corners.max(axis=0)
        np.testing.assert_allclose(plane.low, low - margin * (high - low), atol=1e-12)
        np.testing.assert_allclose(plane.high, high + margin * (high - low), atol=1e-12)
    plane = plane_through(obtuse)  # a tenth by default
    np.testing.assert_allclose([plane.low, plane.high], [[-3.5, -0.1], [2.5, 1.1]], atol=1e-12)


A, B = images(2)
DEGENERATE = {
    "first repeated as second": [A, A, B],
    "first repeated as third": [A, B, A],
    "second repeated": [A, B, B],
    "all the same": [A, A, A],
    "between": [A, B, 0.3 * A + 0.7 * B],
    "beyond": [A, B, 5 * B - 4 * A],
    "before": [A, B, 3 * A - 2 * B],
    "nearly on the line": [A, B, 2 * B - A + 1e-9 * np.eye(5, 4)[..., None]],
}


def test_repeated_and_collinear_images_have_no_plane():
    for (name, three), dtype in itertools.product(DEGENERATE.items(), (np.float64, np.float32)):
        assert plane_through(np.array(three, dtype)) is None, name


def test_degeneracy_depends_on_the_relative_height_of_the_triangle():
    for size in (1e-3, 1, 1e3):
        for height, flat in ((0.9e-5, True), (1.1e-5, False), (1e-3, False)):
            three = size * np.array([[0.0, 0, 0], [9, 0, 0], [1, 0, height]])
            plane = plane_through(three)
            assert (plane is None) == flat, (size, height)
            if not flat:
                np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
                np.testing.assert_allclose(plane.corners[2] / size, [1, height], atol=1e-12)


def test_grid_points_are_centres_of_equal_cells_and_positions_locate_the_corners():
    for resolution, margin in itertools.product((2, 3, 24), (0, 0.1, 1)):
        plane = plane_through(images(seed=4), margin)
        grid = plane.grid(resolution)
        assert grid.shape == (resolution, resolution, 2)
        for row, column in np.ndindex(resolution, resolution):
            part = (np.array([column, row]) + 0.5) / resolution
            expected = plane.low + part * (plane.high - plane.low)
            np.testing.assert_allclose(grid[row, column], expected, atol=1e-12)
        steps = np.arange(resolution)
        for (row, column), corner in zip(plane.positions(resolution), plane.corners, strict=True):
            assert -0.5 <= min(row, column) and max(row, column) <= resolution - 0.5
            for place, along, line in ((column, 0, grid[0, :, 0]), (row, 1, grid[:, 0, 1])):
                slope, offset = np.polyfit(steps, line, 1)
                assert slope * place + offset == pytest.approx(corner[along], abs=1e-9)
    # The cells of a grid with an odd multiple of its points hold its points at their centres.
    np.testing.assert_allclose(plane.grid(21)[1::3, 1::3], plane.grid(7), atol=1e-12)


# --- the draw of planes -----------------------------------------------------------------------


def labelled(n=60, classes=5, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4, 4, 1)), rng.permutation(np.arange(n) % classes)


def test_triplets_have_three_classes_and_do_not_repeat():
    x, y = labelled(n=12, classes=3)
    triplets, planes = draw_planes(x, y, 40, 0.3, seed=0)
    assert triplets.shape == (40, 3) and len(planes) == 40
    assert len({frozenset(t) for t in triplets.tolist()}) == 40
    for triplet, plane in zip(triplets, planes, strict=True):
        assert len(set(y[triplet])) == 3
        expected = plane_through(x[triplet], 0.3)
        np.testing.assert_array_equal(plane.origin, expected.origin)
        np.testing.assert_array_equal([plane.low, plane.high], [expected.low, expected.high])
    x, y = labelled()
    counts = np.bincount(y[draw_planes(x, y, 60, 0.1, seed=0)[0]].ravel(), minlength=5)
    assert counts.min() > 60 * 3 / 5 / 2, "every class is drawn"


def test_the_draw_depends_only_on_the_seed_and_more_planes_extend_fewer():
    x, y = labelled()
    np.random.seed(0)
    one = draw_planes(x, y, 8, 0.1, seed=3)[0]
    np.random.seed(1)
    np.testing.assert_array_equal(draw_planes(x, y, 12, 0.1, seed=3)[0][:8], one)
    assert not np.array_equal(draw_planes(x, y, 8, 0.1, seed=4)[0], one)


def test_degenerate_triplets_are_drawn_again():
    x, y = labelled(n=30, classes=3)
    repeated = np.flatnonzero(y == 1)[0]
    x[y == 0] = x[repeated]  # two classes share an image
    triplets, planes = draw_planes(x, y, 30, 0.1, seed=0)
    assert len(planes) == 30
    assert not (triplets == repeated).any()


def test_planes_of_fewer_than_three_classes_go_through_three_different_images():
    for classes, counts in ((2, [1, 2]), (1, [3])):
        x, y = labelled(classes=classes)
        triplets, planes = draw_planes(x, y, 30, 0.1, seed=0)
        assert len({frozenset(t) for t in triplets.tolist()}) == len(planes) == 30
        for triplet in triplets:
            assert len(set(triplet.tolist())) == 3
            assert sorted(np.unique(y[triplet], return_counts=True)[1]) == counts
        np.testing.assert_array_equal(draw_planes(x, y, 8, 0.1, seed=0)[0], triplets[:8])
        twice = [np.bincount(y[t], minlength=classes).argmax() for t in triplets]
        assert set(twice) == set(range(classes)), "each class has the two images of some planes"
        assert f"{'2 classes' if classes == 2 else 'one class'}:" in planes_notice(y)
    assert planes_notice(labelled(classes=3)[1]) == planes_notice(None) == ""
    # One image of a class is enough if the other has two.
    x, y = labelled(n=4, classes=1)
    y[0] = 1
    triplets = draw_planes(x, y, 3, 0.1, seed=0)[0]
    assert {tuple(sorted(t)) for t in triplets.tolist()} == {(0, 1, 2), (0, 1, 3), (0, 2, 3)}


def test_the_planes_of_a_seed_never_change():
    """Records of different versions have the same planes."""
    x, y = labelled()
    assert draw_planes(x, y, 3, 0.1, seed=3)[0].tolist() == [
        [42, 57, 27],
        [22, 26, 10],
        [19, 52, 27],
    ]


def test_too_few_triplets_are_rejected():
    x, y = labelled(n=3, classes=2)
    with pytest.raises(InputError, match="span 2 planes.*only 1:"):
        draw_planes(x, y, 2, 0.1, seed=0)
    assert draw_planes(x, y, 0, 0.1, seed=0)[0].shape == (0, 3)
    x, y = labelled(n=6, classes=3)  # 2 x 2 x 2 triplets
    assert len(draw_planes(x, y, 8, 0.1, seed=0)[1]) == 8
    with pytest.raises(InputError, match="span 9 planes.*only 8:"):
        draw_planes(x, y, 9, 0.1, seed=0)
    line = np.linspace(0, 1, 30)[:, None] * np.ones(7)
    with pytest.raises(InputError, match="span 2 planes.*only 0:"):
        draw_planes(line, np.arange(30) % 3, 2, 0.1, seed=0)


# --- stratified orders ------------------------------------------------------------------------


def test_every_prefix_of_a_stratified_order_has_the_shares_of_the_classes():
    for sizes in ([10, 10, 10], [70, 20, 10], [1, 1, 98], [100]):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
        order = stratified_order(labels, seed=5)
        np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
        for size in range(1, len(labels) + 1):
            counts = np.bincount(labels[order[:size]], minlength=len(sizes))
            wanted = size * np.array(sizes) / len(labels)
            # The k-th of n images of a class lies between the shares k / n and (k + 1) / n.
            assert np.abs(counts - wanted).max() <= len(sizes), (sizes, size)


def test_stratified_order_depends_only_on_the_seed_and_shuffles_within_a_class():
    labels = np.repeat([0, 1], 50)
    one = stratified_order(labels, seed=6)
    np.testing.assert_array_equal(stratified_order(labels, seed=6), one)
    assert not np.array_equal(stratified_order(labels, seed=7), one)
    zeros = one[labels[one] == 0]
    assert not np.array_equal(zeros, np.sort(zeros))
    firsts = [labels[stratified_order(labels, seed)[0]] for seed in range(20)]
    assert set(firsts) == {0, 1}, "the first class is not always first"

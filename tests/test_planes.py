"""Planes through three images, their grids and the seeded draw."""

import itertools

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.measures.planes import draw_planes, plane_through
from repdyn_keras.measures.sampling import stratified_order, stratified_sample

pytestmark = pytest.mark.without_keras


def images(n=3, shape=(5, 4, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


def on_plane(plane, coordinates):
    """Points of the image space at coordinates (..., 2)."""
    return plane.origin + np.asarray(coordinates) @ plane.axes


@pytest.mark.parametrize("shape", [(2,), (3,), (64,), (8, 8, 1), (16, 16, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_corners_at_their_coordinates_are_the_images(shape, seed):
    three = images(shape=shape, seed=seed)
    plane = plane_through(three)
    np.testing.assert_allclose(on_plane(plane, plane.corners), three.reshape(3, -1), atol=1e-12)


def test_axes_are_orthonormal_and_the_first_points_to_the_second_image():
    three = images()
    plane = plane_through(three)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
    first = (three[1] - three[0]).ravel()
    np.testing.assert_allclose(plane.axes[0], first / np.linalg.norm(first), atol=1e-12)
    np.testing.assert_array_equal(plane.corners[0], [0, 0])
    assert plane.corners[1, 1] == 0
    assert plane.corners[2, 1] > 0


def test_coordinates_keep_the_distances_between_the_images():
    three = images()
    plane = plane_through(three)
    for i, j in itertools.combinations(range(3), 2):
        apart = np.linalg.norm(three[i] - three[j])
        assert np.linalg.norm(plane.corners[i] - plane.corners[j]) == pytest.approx(
            apart, rel=1e-12
        )


@pytest.mark.parametrize("margin", [0, 0.1, 0.5, 2])
def test_extent_is_the_bounding_box_widened_by_the_margin_on_each_side(margin):
    plane = plane_through(images(), margin)
    for axis in range(2):
        low, high = plane.corners[:, axis].min(), plane.corners[:, axis].max()
        assert plane.low[axis] == pytest.approx(low - margin * (high - low), abs=1e-12)
        assert plane.high[axis] == pytest.approx(high + margin * (high - low), abs=1e-12)


def test_an_obtuse_third_image_widens_the_box_to_the_left():
    plane = plane_through(np.array([[0.0, 0], [2, 0], [-3, 1]]), 0)
    np.testing.assert_allclose([plane.low, plane.high], [[-3, 0], [2, 1]], atol=1e-12)


def test_default_margin_is_a_tenth():
    three = images()
    plane, wanted = plane_through(three), plane_through(three, 0.1)
    np.testing.assert_array_equal([plane.low, plane.high], [wanted.low, wanted.high])


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


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", DEGENERATE)
def test_repeated_and_collinear_images_have_no_plane(name, dtype):
    assert plane_through(np.array(DEGENERATE[name], dtype)) is None


@pytest.mark.parametrize("height", [1e-3, 1])
def test_a_flat_triangle_still_has_an_orthonormal_plane(height):
    plane = plane_through(np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 0, height]]))
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane.corners[2], [0.5, height], atol=1e-12)


def test_images_are_not_changed():
    three = images()
    kept = three.copy()
    plane_through(three).grid(4)
    np.testing.assert_array_equal(three, kept)


@pytest.mark.parametrize("resolution", [2, 3, 24])
def test_grid_spans_the_extent_evenly_with_rows_along_the_second_axis(resolution):
    plane = plane_through(images())
    grid = plane.grid(resolution)
    assert grid.shape == (resolution, resolution, 2)
    for row, column in itertools.product(range(resolution), repeat=2):
        part = np.array([column, row]) / (resolution - 1)
        expected = plane.low + part * (plane.high - plane.low)
        np.testing.assert_allclose(grid[row, column], expected, atol=1e-12)


@pytest.mark.parametrize("resolution", [2, 9, 24])
@pytest.mark.parametrize("margin", [0, 0.1, 1])
def test_positions_are_where_the_grid_holds_the_corners(resolution, margin):
    plane = plane_through(images(seed=4), margin)
    grid, positions = plane.grid(resolution), plane.positions(resolution)
    steps = np.arange(resolution)
    for (row, column), corner in zip(positions, plane.corners, strict=True):
        assert 0 <= row <= resolution - 1 and 0 <= column <= resolution - 1
        assert np.interp(column, steps, grid[0, :, 0]) == pytest.approx(corner[0], abs=1e-9)
        assert np.interp(row, steps, grid[:, 0, 1]) == pytest.approx(corner[1], abs=1e-9)


def test_without_a_margin_the_nearest_grid_points_of_a_fine_grid_are_the_images():
    three = images()
    plane = plane_through(three, 0)
    points = on_plane(plane, plane.grid(401)).reshape(-1, three[0].size)
    for image in three.reshape(3, -1):
        nearest = np.linalg.norm(points - image, axis=1).min()
        assert nearest <= np.linalg.norm(plane.high - plane.low) / 400


def labelled(n=60, classes=5, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4, 4, 1)), rng.permutation(np.arange(n) % classes)


def test_corners_are_of_three_distinct_classes_and_triplets_do_not_repeat():
    x, y = labelled(n=12, classes=3)
    triplets, planes = draw_planes(x, y, 40, 0.1, seed=0)
    assert triplets.shape == (40, 3) and len(planes) == 40
    assert all(len(set(y[t])) == 3 for t in triplets)
    assert len({frozenset(t) for t in triplets.tolist()}) == 40


def test_planes_are_those_of_their_triplets():
    x, y = labelled()
    for triplet, plane in zip(*draw_planes(x, y, 5, 0.3, seed=2), strict=True):
        expected = plane_through(x[triplet], 0.3)
        np.testing.assert_array_equal(plane.corners, expected.corners)
        np.testing.assert_array_equal([plane.low, plane.high], [expected.low, expected.high])


def test_the_draw_depends_on_the_seed_alone():
    x, y = labelled()
    np.random.seed(0)
    one = draw_planes(x, y, 8, 0.1, seed=3)[0]
    np.random.seed(1)
    np.random.random(5)
    np.testing.assert_array_equal(draw_planes(x, y, 8, 0.1, seed=3)[0], one)
    assert not np.array_equal(draw_planes(x, y, 8, 0.1, seed=4)[0], one)


def test_more_planes_begin_with_the_same_ones():
    x, y = labelled()
    few, many = (draw_planes(x, y, count, 0.1, seed=3)[0] for count in (4, 12))
    np.testing.assert_array_equal(many[:4], few)


def test_every_class_is_drawn():
    x, y = labelled(classes=5)
    triplets, _ = draw_planes(x, y, 60, 0.1, seed=0)
    counts = np.bincount(y[triplets].ravel(), minlength=5)
    assert counts.min() > 60 * 3 / 5 / 2


def test_degenerate_draws_are_redrawn():
    x, y = labelled(n=30, classes=3)
    x[y == 0] = x[np.flatnonzero(y == 1)[0]]  # one class repeats an image of another
    triplets, planes = draw_planes(x, y, 30, 0.1, seed=0)
    assert len(planes) == 30
    repeated = np.flatnonzero(y == 1)[0]
    assert not (triplets == repeated).any()


@pytest.mark.parametrize("classes", [1, 2])
def test_fewer_than_three_classes_are_refused(classes):
    x, y = labelled(classes=classes)
    with pytest.raises(InputError, match=f"hold {classes}.*planes=0"):
        draw_planes(x, y, 1, 0.1, seed=0)


def test_no_planes_need_no_classes():
    x, y = labelled(classes=1)
    triplets, planes = draw_planes(x, y, 0, 0.1, seed=0)
    assert triplets.shape == (0, 3) and planes == []


def test_more_planes_than_triplets_are_refused():
    x, y = labelled(n=6, classes=3)  # 2 x 2 x 2 triplets
    assert len(draw_planes(x, y, 8, 0.1, seed=0)[1]) == 8
    with pytest.raises(InputError, match="Only 8 of 9 planes"):
        draw_planes(x, y, 9, 0.1, seed=0)


def test_images_on_one_line_are_refused():
    y = np.arange(30) % 3
    x = np.linspace(0, 1, 30)[:, None] * np.ones(7)
    with pytest.raises(InputError, match="Only 0 of 2 planes"):
        draw_planes(x, y, 2, 0.1, seed=0)


@pytest.mark.parametrize("sizes", [[10, 10, 10], [70, 20, 10], [1, 1, 98], [100]])
def test_stratified_order_keeps_the_shares_in_every_beginning(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = stratified_order(labels, seed=5)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
    for size in range(1, len(labels) + 1):
        counts = np.bincount(labels[order[:size]], minlength=len(sizes))
        wanted = size * np.array(sizes) / len(labels)
        assert np.abs(counts - wanted).max() <= len(sizes)


def test_stratified_order_depends_on_the_seed_alone_and_mixes_within_a_class():
    labels = np.repeat([0, 1], 50)
    one = stratified_order(labels, seed=6)
    np.testing.assert_array_equal(stratified_order(labels, seed=6), one)
    assert not np.array_equal(stratified_order(labels, seed=7), one)
    zeros = one[labels[one] == 0]
    assert not np.array_equal(zeros, np.sort(zeros))


@pytest.mark.parametrize("size, expected", [(10, 10), (60, 60), (500, 60)])
def test_stratified_sample_is_the_beginning_of_the_order(size, expected):
    labels = np.arange(60) % 4
    sample = stratified_sample(labels, size, seed=8)
    np.testing.assert_array_equal(sample, stratified_order(labels, seed=8)[:size])
    assert len(sample) == expected

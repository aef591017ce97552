"""The confidence interval of CKA, and influential images."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import t as t_distribution

from repdyn_keras.measures.cka import cosines, fingerprint, normalized
from repdyn_keras.measures.cka_interval import Influences
from repdyn_keras.measures.cka_null import null_deviation
from repdyn_keras.measures.influential_images import (
    influence_notice,
    named,
    threshold,
    top_images,
)

pytestmark = pytest.mark.without_keras


def influences(representations, b):
    """The `Influences` of representations, and their CKA."""
    prints = np.stack([fingerprint(x, batch_size=b) for x in representations])
    c = cosines(prints)
    prints = prints / np.linalg.norm(prints, axis=1, keepdims=True)
    found = Influences(c, b)
    for part in np.split(prints, len(representations[0]) // b, axis=1):
        found.add_batch(part)
    return found, c


def related(rng, n, c):
    """x and y with CKA c in the population: half of y is a multiple of x."""
    x, w = rng.normal(size=(2, n, 10)) * np.geomspace(1, 0.2, 10)
    return [x, np.hstack([c**0.5 * x, (1 - c**2) ** 0.25 * w])]


def centred_grams(x, b):
    """U-centred Gram matrices (batch, b, b) of uncentred features, by their definition."""
    found = []
    for part in np.split(x, len(x) // b):
        gram = part @ part.T
        np.fill_diagonal(gram, 0)
        r = gram.sum(axis=0) / (b - 2)
        gram = gram - r - r[:, None] + r.sum() / (b - 1)
        np.fill_diagonal(gram, 0)
        found.append(gram)
    return found


def without(x, b, image):
    """Concatenated U-centred Gram matrices of features without one image."""
    parts = np.split(x, len(x) // b)
    parts[image // b] = np.delete(parts[image // b], image % b, axis=0)
    return np.concatenate([centred_grams(part, len(part))[0].ravel() for part in parts])


def test_bounds_follow_from_a_jackknife_of_recomputed_similarities():
    x = related(np.random.default_rng(0), 24, 0.6)
    for b in (24, 8):
        found, c = influences(x, b)
        left_out = np.stack(
            [
                normalized(grams @ grams.T)
                for grams in (np.stack([without(one, b, i) for one in x]) for i in range(24))
            ]
        )
        jackknife = 23 * left_out.var(axis=0)
        grams = [np.stack(centred_grams(one, b)) for one in x]
        u, v = (one / np.sqrt((one**2).sum() / 2) for one in grams)
        pairs = np.sum((u * v - c[0, 1] * (u**2 + v**2) / 2) ** 2) / 2
        single = max(jackknife[0, 1] - 2 * pairs, 0)
        np.testing.assert_allclose([v[0, 1] for v in found.variances()], [single, pairs], rtol=1e-6)
        change = left_out[:, 0, 1] - c[0, 1]
        freedom = 2 / (np.sum(change**4) / np.sum(change**2) ** 2 - 1 / 24)
        quantile = t_distribution.ppf(0.975, freedom) / (1 - c[0, 1] ** 2)
        assert c[0, 1] > 2 * pairs**0.5
        for bound in found.bounds()[0, 1]:
            distance = quantile * np.sqrt(pairs + single * max(bound, 0) / c[0, 1])
            assert abs(np.arctanh(bound) - np.arctanh(c[0, 1])) == pytest.approx(distance, rel=1e-6)
        share = np.concatenate([(one**2).sum(axis=2).ravel()[None] for one in (u, v)]) / 2
        np.testing.assert_allclose(found.shares, share.T, rtol=1e-6)


def test_bounds_are_symmetric_contain_the_value_and_are_1_on_the_diagonal():
    rng = np.random.default_rng(1)
    x = [*related(rng, 64, 0.7), rng.normal(size=(64, 3))]
    found, c = influences([*x, 3 * x[0]], 16)
    bounds = found.bounds()
    np.testing.assert_array_equal(bounds, bounds.swapaxes(0, 1))
    np.testing.assert_array_equal(bounds[np.diag_indices(4)], 1)
    np.testing.assert_array_equal(bounds[0, 3], 1)
    off = ~np.isclose(c, 1)
    assert (bounds[..., 0] < c)[off].all() and (c < bounds[..., 1])[off].all()
    assert (np.abs(bounds) <= 1).all()
    rotation = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    same, _ = influences([x[0] @ rotation * 5 - 2, x[1], x[2]], 16)
    np.testing.assert_allclose(same.bounds(), bounds[:3, :3], atol=1e-9)


def test_unrelated_representations_have_the_deviation_of_the_null():
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(20):
        x = related(rng, 128, 0)
        prints = np.stack([fingerprint(one, batch_size=64) for one in x])
        deviation = null_deviation(prints, prints, 64)[0, 1]
        ratios.append(influences(x, 64)[0].variances()[1][0, 1] / deviation**2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def coverage(c, n, b, draws, seed=0):
    """Share of draws whose interval contains the CKA of the population."""
    rng = np.random.default_rng(seed)
    bounds = [influences(related(rng, n, c), b)[0].bounds()[0, 1] for _ in range(draws)]
    return np.mean([low <= c <= high for low, high in bounds])


@pytest.mark.parametrize("c", [0, 0.3, 0.95])
def test_intervals_cover_the_value_of_the_population(c):
    """Of 300 draws, 95% +- 1.3% standard deviations."""
    assert 0.91 <= coverage(c, 64, 32, 300) <= 0.99


@pytest.mark.long
@pytest.mark.parametrize(
    ("n", "b", "c"),
    [*((256, 128, c) for c in (0, 0.3, 0.7, 0.95, 0.99)), (1024, 256, 0), (1024, 256, 0.95)],
)
def test_intervals_cover_the_value_of_the_population_at_full_size(n, b, c):
    assert 0.92 <= coverage(c, n, b, 500) <= 0.98


def test_intervals_of_few_images_are_wide_or_nan():
    rng = np.random.default_rng(3)
    for b, n in ((5, 5), (5, 20), (8, 8)):
        found, _ = influences(related(rng, n, 0.5), b)
        assert not (np.diff(found.bounds()[0, 1]) < 0.2).any(), (b, n)
    for n in (4, 8):
        found, _ = influences(related(rng, n, 0.5), 4)
        bounds = found.bounds()
        assert np.isnan(bounds[0, 1]).all(), "no image can be left out of four"
    nothing = Influences(np.zeros((0, 0)), 8)
    nothing.add_batch(np.zeros((0, 28), np.float32))
    assert nothing.bounds().shape == (0, 0, 2)


def test_top_images_are_those_with_the_largest_shares():
    shares = np.random.default_rng(4).dirichlet(np.ones(300), size=2).T
    share, index = top_images(shares)
    assert index.shape == (2, 3)
    for place in range(2):
        order = np.argsort(shares[:, place])[::-1][:3]
        assert index[place].tolist() == order.tolist()
        assert share[place] == pytest.approx(shares[order, place].sum())
    assert top_images(shares[:20])[1].shape == (2, 1), "at least one image"


def test_one_large_image_has_a_large_share():
    x = np.random.default_rng(5).normal(size=(128, 20))
    x[77] *= 8
    share, index = top_images(influences([x, x[::-1]], 64)[0].shares)
    assert share.min() > threshold(128) == 0.2
    assert index[:, 0].tolist() == [77, 50]


def test_the_threshold_grows_below_100_images():
    assert threshold(1024) == threshold(100) == 0.2
    assert threshold(25) == pytest.approx(0.4)
    assert threshold(4) == 1


def test_ids_of_every_kind():
    index = np.array([[1, 0], [-1, -1]])
    for ids, expected in (
        (np.array([7, 9]), [[9, 7], [-1, -1]]),
        (np.array([7, 9], np.uint8), [[9, 7], [-1, -1]]),
        (np.array(["seven", "nine"]), [["nine", "seven"], ["", ""]]),
    ):
        assert named(index, ids).tolist() == expected
    assert np.isnan(named(index, np.array([0.5, 1.5]))[1]).all()


def test_the_notice_names_layers_and_epochs_once():
    share = np.array([[0.1, 0.3, 0.4], [0.1, np.nan, 0.1], [0.25, 0.1, 0.1]])
    dynamics = xr.Dataset(
        {"influential_share": (("layer", "epoch"), share)},
        {"layer": ["stem", "block", "output"], "epoch": [0, 1, 5]},
        {"influence_threshold": 0.2},
    )
    notice = influence_notice(dynamics)
    assert notice.count("\n") == 0 and "20%" in notice and "40%" in notice
    assert "stem (epochs 1, 5), output (epoch 0)" in notice
    assert influence_notice(dynamics.isel(layer=[1])) is None
    assert influence_notice(xr.Dataset()) is None

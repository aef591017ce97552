"""Procrustes, SVCCA, PWCCA, RSA and mutual neighbours of two arrays."""

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from repdyn_keras import InputError, mutual_knn, procrustes, pwcca, rsa, svcca

pytestmark = pytest.mark.without_keras

EXACT = 1e-9
sample, feature = np.arange(40.0)[:, None], np.arange(6.0)
X = np.sin(0.7 * sample * (feature + 1) ** 0.5) + feature
Y = X[:, :4] ** 2 + np.cos(1.3 * sample + feature[:4])

# Values of other implementations for X and Y, computed once, outside of this environment: netrep
# 0.0.2 (commit 0186b8a), rsatoolbox 0.3.2, google/svcca (commit 1f3fbf1), minyoungg/platonic-rep
# (commit dcd76ba, torch 2.13.0), and js-d/sim_metric (commit 42953fb), the code of Ding et al.; all
# with numpy 2.4.6. The pwcca.py of google/svcca projects on directions that are not whitened, so
# that its value is not that of the paper.
GOLDEN = {
    "netrep, cos of the angle, alpha=1": (procrustes(X, Y), 0.6513606217335631),
    "sim_metric, 1 - procrustes / 2": (procrustes(X, Y), 1 - 0.6972787565328737 / 2),
    "netrep, cos of the angle, alpha=0": (svcca(X[:, :4], Y, variance=1), 0.7306673466599675),
    "svcca, all directions": (svcca(X, Y, variance=1), 0.7739201222017862),
    "svcca, 99%": (svcca(X, Y), 0.773920122201785),
    "svcca, 80%": (svcca(X, Y, variance=0.8), 0.8316628909706143),
    "sim_metric, 1 - pwcca_dist(Y, X)": (pwcca(Y, X), 0.8895563566290222),
    "sim_metric, 1 - pwcca_dist(X', Y)": (pwcca(X[:, :4], Y), 0.7612887939688837),
    "rsatoolbox, euclidean, spearman": (rsa(X, Y), 0.5265411982293503),
    "rsatoolbox, euclidean, corr": (rsa(X, Y, comparison="pearson"), 0.5653699166075563),
    "rsatoolbox, correlation, spearman": (
        rsa(X, Y, dissimilarity="correlation"),
        0.3942891222574457,
    ),
    "rsatoolbox, correlation, corr": (
        rsa(X, Y, dissimilarity="correlation", comparison="pearson"),
        0.385183833998233,
    ),
    "platonic-rep, topk=5": (mutual_knn(X, Y, k=5), 0.23),
    "platonic-rep, topk=10": (mutual_knn(X, Y), 0.4225),
}
MEASURES = {
    "procrustes": procrustes,
    "svcca": svcca,
    "pwcca": pwcca,
    "rsa": rsa,
    "rsa of correlations": partial(rsa, dissimilarity="correlation"),
    "mutual_knn": mutual_knn,
    "mutual_knn of distances": partial(mutual_knn, metric="euclidean"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_values_are_those_of_other_implementations(name):
    value, expected = GOLDEN[name]
    assert value == pytest.approx(expected, abs=EXACT)
    assert 0 < value < 1


def random_pair(n=60, d=7, other=5, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, 0.7 * x[:, :other] + draw.normal(size=(n, other))


def test_values_are_those_of_scipy_and_scikit_learn():
    x, y = random_pair()
    padded = np.pad(y, ((0, 0), (0, 2)))
    disparity = scipy.spatial.procrustes(x, padded)[2]
    assert procrustes(x, y) == pytest.approx((1 - disparity) ** 0.5, abs=EXACT)
    _, cosine = scipy.linalg.orthogonal_procrustes(x - x.mean(0), padded - padded.mean(0))
    norms = np.linalg.norm(x - x.mean(0)) * np.linalg.norm(y - y.mean(0))
    assert procrustes(x, y) == pytest.approx(cosine / norms, abs=EXACT)

    kept = [PCA(share, svd_solver="full").fit_transform(x) for share, x in ((0.8, x), (0.8, y))]
    assert kept[0].shape[1] < 7 and kept[1].shape[1] < 5, "something is left out"
    angles = scipy.linalg.subspace_angles(*kept)
    assert svcca(x, y, variance=0.8) == pytest.approx(np.cos(angles).mean(), abs=EXACT)

    for distance, metric in (("sqeuclidean", "squared_euclidean"), ("correlation",) * 2):
        values = [scipy.spatial.distance.pdist(each, distance) for each in (x, y)]
        expected = scipy.stats.spearmanr(*values).statistic
        assert rsa(x, y, dissimilarity=metric) == pytest.approx(expected, abs=EXACT)
        expected = scipy.stats.pearsonr(*values).statistic
        found = rsa(x, y, dissimilarity=metric, comparison="pearson")
        assert found == pytest.approx(expected, abs=EXACT)

    for metric in ("cosine", "euclidean"):
        graphs = [
            NearestNeighbors(n_neighbors=6, metric=metric).fit(each).kneighbors_graph()
            for each in (x, y)
        ]
        expected = graphs[0].multiply(graphs[1]).sum() / (6 * len(x))
        assert mutual_knn(x, y, k=6, metric=metric) == pytest.approx(expected, abs=EXACT)


def transformed(kind: str, x: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(3)
    n, d = x.shape
    return {
        "rotation": lambda: x @ np.linalg.qr(draw.normal(size=(d, d)))[0],
        "scale": lambda: -1e3 * x,
        "shift": lambda: x + 5 * draw.normal(size=d),
        "linear map": lambda: x @ (np.eye(d) + draw.uniform(0, 2, size=(d, d))),
        "squeeze": lambda: x * 0.03 ** np.arange(d),
        "scale of samples": lambda: x * draw.uniform(0.2, 3, size=(n, 1)),
        "order of features": lambda: x[:, draw.permutation(d)],
        "features of zeros": lambda: np.pad(x, ((0, 0), (2, 1))),
        "order of samples": lambda: x[draw.permutation(n)],
    }[kind]()


# What each measure ignores in either representation, and what it must not ignore.
SHAPE = ("rotation", "scale", "shift", "order of features", "features of zeros")
INVARIANCES = {
    "procrustes": (SHAPE, ("linear map", "scale of samples", "order of samples")),
    "svcca": (SHAPE, ("squeeze", "scale of samples", "order of samples")),
    "rsa": (SHAPE, ("linear map", "scale of samples", "order of samples")),
    "rsa of correlations": (
        ("scale", "order of features", "scale of samples"),
        ("rotation", "shift", "linear map", "order of samples"),
    ),
    "mutual_knn": (
        ("rotation", "scale", "order of features", "features of zeros", "scale of samples"),
        ("shift", "linear map", "order of samples"),
    ),
    "mutual_knn of distances": (SHAPE, ("linear map", "scale of samples", "order of samples")),
}


@pytest.mark.parametrize("name", INVARIANCES)
def test_invariances_and_their_contrasts(name):
    measure = MEASURES[name]
    x, y = random_pair()
    value = measure(x, y)
    ignored, seen = INVARIANCES[name]
    for kind in ignored:
        assert measure(transformed(kind, x), y) == pytest.approx(value, abs=EXACT), kind
        assert measure(x, transformed(kind, y)) == pytest.approx(value, abs=EXACT), kind
    for kind in seen:
        assert abs(measure(transformed(kind, x), y) - value) > 0.02, kind


def test_pwcca_ignores_linear_maps_of_the_second_representation_alone():
    x, y = random_pair()
    value = pwcca(x, y)
    for kind in (*SHAPE, "linear map", "squeeze"):
        assert pwcca(x, transformed(kind, y)) == pytest.approx(value, abs=EXACT), kind
    for kind in ("scale", "shift", "order of features", "features of zeros"):
        assert pwcca(transformed(kind, x), y) == pytest.approx(value, abs=EXACT), kind
    for kind in ("rotation", "squeeze", "order of samples"):
        assert abs(pwcca(transformed(kind, x), y) - value) > 1e-3, kind
    assert abs(pwcca(y, x) - value) > 1e-3


def test_svcca_of_all_directions_ignores_linear_maps():
    x, y = random_pair()
    value = svcca(x, y, variance=1)
    for kind in ("linear map", "squeeze"):
        assert svcca(transformed(kind, x), y, variance=1) == pytest.approx(value, abs=EXACT), kind


@pytest.mark.parametrize("name", MEASURES)
def test_1_is_identical_and_the_samples_have_no_order_of_their_own(name):
    measure = MEASURES[name]
    x, y = random_pair()
    assert measure(x, x) == pytest.approx(1, abs=EXACT)
    order = np.random.default_rng(1).permutation(len(x))
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y), abs=EXACT)
    images = x[:, None, :, None], y.reshape(len(y), 5, 1)
    assert measure(*images) == measure(x, y), "features are flattened"
    for factor in (1e-200, 1e200):
        assert measure(factor * x, y) == pytest.approx(measure(x, y), abs=EXACT), factor
    assert measure(x.astype(np.float32), y) == pytest.approx(measure(x, y), abs=1e-5)
    assert isinstance(measure(x, y), float)


@pytest.mark.parametrize("name", MEASURES)
def test_bad_input_is_one_clear_error_or_nan(name):
    measure, plain = MEASURES[name], name.split()[0]
    x, y = random_pair()
    with pytest.raises(InputError, match="Received: 60 samples in x and 59 in y"):
        measure(x, y[1:])
    with pytest.raises(InputError, match=r"Expected features .* Received: .* shape \(60,\)"):
        measure(x, y[:, 0])
    with pytest.raises(InputError, match="at least 3 samples. Received: n = 2"):
        measure(x[:2], y[:2])
    for number, reason in ((0.1, "y is constant over its 60 samples"), (np.nan, "y is not finite")):
        with pytest.warns(UserWarning, match=f"{reason}: {plain} is NaN") as caught:
            assert np.isnan(measure(x, np.full((60, 3), number, np.float32)))
        assert caught[0].filename == __file__


def test_arguments_out_of_range_are_rejected():
    x, y = random_pair(n=12)
    for k in (0, 11, 12, 2.5, True):
        with pytest.raises(InputError, match=rf"from 1 to n - 2 = 10.* Received: k={k}"):
            mutual_knn(x, y, k=k)
    assert mutual_knn(x, y, k=10) < 1
    for variance in (0, 1.1, np.nan):
        with pytest.raises(InputError, match="above 0 and at most 1. Received: variance="):
            svcca(x, y, variance=variance)
    for wrong in (
        partial(mutual_knn, metric="cosin"),
        partial(rsa, comparison="spearmen"),
        partial(rsa, dissimilarity="euclidean"),
    ):
        with pytest.raises(InputError, match="Unknown .* Expected"):
            wrong(x, y)


def test_cca_of_too_few_samples_is_an_error_or_a_warning():
    """Of n - 1 directions or more everything is a linear image, related or not."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 20, 30))
    for measure in (pwcca, partial(svcca, variance=1)):
        with pytest.raises(InputError, match="Received: n = 20, with 19 directions in x"):
            measure(x, y[:, :3])
        with pytest.warns(UserWarning, match="5 of 12 canonical correlations are 1 whatever"):
            assert measure(x[:, :12], y[:, :12]) > 0.6
    part = np.repeat(x[:, :3], 10, axis=1).astype(np.float32)
    assert pwcca(part, y[:, :3]) < 0.9, "directions of rounding errors do not count"


def test_undefined_dissimilarities_and_cosines_are_nan():
    x, y = random_pair()
    x[3] = 2.0
    with pytest.warns(UserWarning, match="x has samples that are constant .*: rsa is NaN"):
        assert np.isnan(rsa(x, y, dissimilarity="correlation"))
    x[3] = 0
    with pytest.warns(UserWarning, match="x has samples of zeros: mutual_knn is NaN"):
        assert np.isnan(mutual_knn(x, y))
    with pytest.warns(UserWarning, match="y has equal dissimilarities of all samples"):
        assert np.isnan(rsa(x[:5], np.eye(5)))


def test_ties_are_found_in_spite_of_rounding_errors():
    """The distances of one-hot rows are 0 or the same, also after a rotation."""
    labels = np.arange(60) % 3
    rows = np.eye(3)[labels]
    x, _ = random_pair()
    expected = scipy.stats.spearmanr(
        scipy.spatial.distance.pdist(rows, "sqeuclidean"),
        scipy.spatial.distance.pdist(x, "sqeuclidean"),
    ).statistic
    rotated = transformed("rotation", rows) + 3
    assert rsa(rotated, x) == pytest.approx(expected, abs=EXACT)
    assert mutual_knn(rotated, rows, metric="euclidean") == 1

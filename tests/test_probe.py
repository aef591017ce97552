"""Probes: at their optimum, whatever the features' scale, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from repdyn_keras.errors import InputError
from repdyn_keras.measures import probe as probe_module
from repdyn_keras.measures.probe import solve_probe

pytestmark = pytest.mark.without_keras

L2 = 1e-3


def blobs(n, d, classes, apart, seed=0, uneven=True):
    """Gaussian classes `apart` deviations from each other, in features of uneven size."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = apart * rng.normal(size=(classes, d))[y] / np.sqrt(d) + rng.normal(size=(n, d)) / np.sqrt(d)
    return x * (np.geomspace(0.1, 10, d) if uneven else 1), y


def scaled(x):
    """Features centred and divided by sqrt(mean |x - mu|^2), with both numbers."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    size = np.sqrt(np.mean(np.sum((x - mean) ** 2, axis=1))) or 1.0
    return (x - mean) / size, mean, size


def objective_and_gradient(kernel, bias, x, y, l2=L2):
    """Mean cross-entropy + l2/2 |W|^2 and its gradient, written out sample by sample."""
    value, by_kernel, by_bias = l2 / 2 * np.sum(kernel**2), l2 * kernel, np.zeros_like(bias)
    for row, label in zip(x, y, strict=True):
        logits = row @ kernel + bias
        peak = logits.max()
        share = np.exp(logits - peak) / np.exp(logits - peak).sum()
        value += (np.log(np.exp(logits - peak).sum()) + peak - logits[label]) / len(x)
        share[label] -= 1
        by_kernel = by_kernel + np.outer(row, share) / len(x)
        by_bias = by_bias + share / len(x)
    return value, by_kernel, by_bias


def unfolded(probe, x):
    """A probe's weights on the scaled features, in float64."""
    _, mean, size = scaled(x)
    return probe.kernel.astype(np.float64) * size, probe.bias + mean @ probe.kernel


def sklearn_optimum(x, y, l2=L2):
    """scikit-learn's objective and its logits of the classes that are there, at its optimum.

    Of two classes scikit-learn fits one vector v where softmax has +-v/2, so that |W|^2 = |v|^2/2.
    """
    features = scaled(x)[0]
    classes, index = np.unique(y, return_inverse=True)
    strength = (2 if len(classes) == 2 else 1) / (len(x) * l2)
    model = LogisticRegression(C=strength, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    model.fit(features, y)
    kernel, bias = model.coef_.T, model.intercept_
    if len(classes) == 2:
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.array([-bias[0], bias[0]]) / 2
    value = objective_and_gradient(kernel, bias, features, index, l2)[0]
    return value, classes[(features @ kernel + bias).argmax(axis=1)]


def missing_class():
    x, y = blobs(200, 8, 5, 3)
    return x, np.where(y == 2, 4, y), 5


def last_classes_missing():
    x, y = blobs(150, 6, 3, 2)
    return x, y, 6


def some_constant_features():
    x, y = blobs(200, 12, 4, 2)
    x[:, [0, 5, 11]] = 3.7
    return x, y, 4


def unbalanced():
    x, y = blobs(300, 6, 4, 3)
    y = np.where(np.random.default_rng(0).random(300) < 0.9, 0, y)
    return x, y, 4


def noisy():
    x, y = blobs(300, 10, 5, 4)
    rng = np.random.default_rng(1)
    return x, np.where(rng.random(300) < 0.3, rng.integers(0, 5, 300), y), 5


def repeated_features():
    x, y = blobs(150, 4, 3, 2)
    return np.repeat(x, 3, axis=1), y, 3


CASES = {
    "separable": lambda: (*blobs(240, 10, 4, 20), 4),
    "overlapping": lambda: (*blobs(300, 6, 3, 1), 3),
    "noisy labels": noisy,
    "two classes": lambda: (*blobs(160, 8, 2, 1.5), 2),
    "ten classes": lambda: (*blobs(500, 20, 10, 5), 10),
    "more features than samples": lambda: (*blobs(40, 60, 3, 3), 3),
    "one feature": lambda: (*blobs(100, 1, 3, 2), 3),
    "a class missing": missing_class,
    "the last classes missing": last_classes_missing,
    "some features constant": some_constant_features,
    "unbalanced": unbalanced,
    "repeated features": repeated_features,
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    return CASES[request.param]()


def test_objective_and_predictions_are_those_of_scikit_learn_at_its_optimum(case):
    x, y, classes = case
    found = solve_probe(x, y, classes)
    objective, predictions = sklearn_optimum(x, y)
    assert found.objective == pytest.approx(objective, rel=1e-3)
    assert np.mean(found.logits(x).argmax(axis=1) == predictions) >= 0.99


def test_stated_objective_and_gradient_are_those_of_the_stated_weights(case):
    x, y, classes = case
    found = solve_probe(x, y, classes)
    kernel, bias = unfolded(found, x)
    value, by_kernel, by_bias = objective_and_gradient(kernel, bias, scaled(x)[0], y)
    assert found.objective == pytest.approx(value, rel=1e-5)
    norm = np.sqrt(np.sum(by_kernel**2) + np.sum(by_bias**2))
    # The weights are handed out in float32.
    assert found.gradient_norm == pytest.approx(norm, rel=0.02, abs=1e-7)


@pytest.mark.parametrize("iterations", [1, 3, 8])
def test_gradient_norm_of_an_unsolved_probe_agrees_with_finite_differences(monkeypatch, iterations):
    monkeypatch.setattr(probe_module, "MOST_ITERATIONS", iterations)
    x, y = blobs(60, 4, 3, 2)
    found = solve_probe(x, y, 3)
    kernel, bias = unfolded(found, x)
    features = scaled(x)[0]
    step, total = 1e-5, 0.0
    for array in (kernel, bias):
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above = objective_and_gradient(kernel, bias, features, y)[0]
            array[index] = kept - step
            below = objective_and_gradient(kernel, bias, features, y)[0]
            array[index] = kept
            total += ((above - below) / (2 * step)) ** 2
    assert found.gradient_norm == pytest.approx(np.sqrt(total), rel=1e-3)
    assert found.gradient_norm > 1e-4


def test_gap_is_below_one_millionth(case):
    x, y, classes = case
    assert 0 <= solve_probe(x, y, classes).gap <= 1e-6


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("missing", [False, True])
def test_gap_bounds_how_far_the_objective_is_from_the_optimum(seed, missing):
    x, y = blobs(200, 3 + seed, 4, 1 + seed / 2, seed)
    y = np.where(y == 1, 3, y) if missing else y
    found = solve_probe(x, y, 4)
    excess = found.objective / sklearn_optimum(x, y)[0] - 1
    assert excess <= found.gap


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-4])
def test_other_penalties_have_their_own_optimum(l2):
    x, y = blobs(200, 8, 3, 2)
    found = solve_probe(x, y, 3, l2=l2)
    assert found.objective == pytest.approx(sklearn_optimum(x, y, l2)[0], rel=1e-3)


CHANGES = {
    "times 0.1": lambda x: 0.1 * x,
    "times 1000": lambda x: 1000 * x,
    "shifted": lambda x: x + np.linspace(-20, 20, x.shape[1]),
    "shrunk and shifted": lambda x: 0.1 * x - 30,
    "rotated": lambda x: x @ np.linalg.qr(np.random.default_rng(5).normal(size=(2, 2)))[0],
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_representation_in_other_units_has_the_same_regions(name):
    x, y = blobs(300, 2, 4, 4, seed=3, uneven=False)
    low, high = x.min(axis=0), x.max(axis=0)
    side = np.linspace(-0.2, 1.2, 50)
    grid = low + np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2) * (high - low)
    change = CHANGES[name]
    one = solve_probe(x, y, 4).logits(grid)
    other = solve_probe(change(x), y, 4).logits(change(grid))
    runner_up, best = np.sort(one, axis=1)[:, -2:].T
    clear = best - runner_up > 1e-2  # points off the borders themselves
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(one.argmax(axis=1)[clear], other.argmax(axis=1)[clear])
    assert len(np.unique(one.argmax(axis=1))) == 4


def test_a_fixed_penalty_without_scaling_would_change_the_regions():
    """The contrast to the test above: what the scaling is there for."""
    x, y = blobs(300, 2, 4, 4, seed=3, uneven=False)
    strength = 1 / (300 * L2)
    one = LogisticRegression(C=strength).fit(x, y).predict(x)
    other = LogisticRegression(C=strength).fit(0.01 * x, y).predict(0.01 * x)
    assert np.mean(one == other) < 0.9


def test_constant_features_predict_the_most_frequent_class():
    y = np.array([0, 1, 1, 1, 2, 2, 1, 0])
    found = solve_probe(np.full((8, 3), 2.5, np.float32), y, 4)
    shares = np.bincount(y, minlength=3) / 8
    assert found.objective == pytest.approx(-np.sum(shares * np.log(shares)), rel=1e-3)
    logits = found.logits(np.full((1, 3), 2.5))[0]
    assert logits.argmax() == 1
    np.testing.assert_allclose(np.exp(logits[:3]) / np.exp(logits[:3]).sum(), shares, atol=0.01)


def test_a_class_that_no_image_has_is_never_predicted():
    x, y, classes = missing_class()
    assert 2 not in solve_probe(x, y, classes).logits(x).argmax(axis=1)


def test_logits_of_float32_features_are_the_folded_dense():
    x, y = blobs(100, 5, 3, 2)
    found = solve_probe(x, y, 3)
    assert found.kernel.dtype == found.bias.dtype == np.float32
    assert (found.kernel.shape, found.bias.shape) == ((5, 3), (3,))
    np.testing.assert_array_equal(found.logits(x), x @ found.kernel + found.bias)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_are_not_changed(dtype):
    x, y = blobs(100, 5, 3, 2)
    x = x.astype(dtype)
    kept = x.copy()
    solve_probe(x, y, 3)
    np.testing.assert_array_equal(x, kept)


def test_the_same_data_gives_the_same_probe_bit_for_bit():
    x, y = blobs(100, 5, 3, 2)
    one, other = solve_probe(x, y, 3), solve_probe(x.copy(), y.copy(), 3)
    np.testing.assert_array_equal(one.kernel, other.kernel)
    np.testing.assert_array_equal(one.bias, other.bias)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_features_are_refused(bad):
    x, y = blobs(50, 4, 3, 2)
    x[7, 2] = bad
    with pytest.raises(InputError, match=r"\(50, 4\).*not finite"):
        solve_probe(x, y, 3)

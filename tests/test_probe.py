"""Probes at their optimum, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from repdyn_keras.errors import InputError
from repdyn_keras.measures import probe as module
from repdyn_keras.measures.probe import solve_probe

pytestmark = pytest.mark.without_keras

L2 = 1e-3


def blobs(n, d, classes, apart, seed=0, uneven=True):
    """Gaussian classes `apart` deviations from each other, with features of different scales."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = apart * rng.normal(size=(classes, d))[y] / np.sqrt(d) + rng.normal(size=(n, d)) / np.sqrt(d)
    return x * (np.geomspace(0.1, 10, d) if uneven else 1), y


def scaled(x):
    """Features centred and divided by sqrt(mean |x - mu|^2), with the mean and the divisor."""
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
    """Objective and logits of scikit-learn at its optimum, for the classes that occur.

    For two classes scikit-learn fits one vector v where softmax has +-v/2, so that |W|^2 = |v|^2/2.
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


def cases():
    """Name, features, labels and number of classes."""
    rng = np.random.default_rng(1)
    yield "separable", *blobs(240, 10, 4, 20), 4
    yield "overlapping", *blobs(300, 6, 3, 1), 3
    yield "two classes", *blobs(160, 8, 2, 1.5), 2
    yield "ten classes", *blobs(500, 20, 10, 5), 10
    yield "more features than samples", *blobs(40, 60, 3, 3), 3
    yield "one feature", *blobs(100, 1, 3, 2), 3
    yield "the last classes missing", *blobs(150, 6, 3, 2), 6
    x, y = blobs(300, 10, 5, 4)
    yield "noisy labels", x, np.where(rng.random(300) < 0.3, rng.integers(0, 5, 300), y), 5
    x, y = blobs(200, 8, 5, 3)
    yield "a class missing", x, np.where(y == 2, 4, y), 5
    x, y = blobs(200, 12, 4, 2)
    x[:, [0, 5, 11]] = 3.7
    yield "some features constant", x, y, 4
    yield "all features constant", np.full((200, 3), 2.5), np.minimum(y, 2), 4
    x, y = blobs(300, 6, 4, 3)
    yield "unbalanced", x, np.where(rng.random(300) < 0.9, 0, y), 4
    x, y = blobs(150, 4, 3, 2)
    yield "repeated features", np.repeat(x, 3, axis=1), y, 3


def test_probes_reach_the_optimum_of_scikit_learn_within_their_gap():
    for name, x, y, classes in cases():
        kept = x.copy()
        found = solve_probe(x, y, classes)
        objective, predictions = sklearn_optimum(x, y)
        assert 0 <= found.gap <= 1e-6, name
        assert found.objective / objective - 1 <= found.gap, name
        assert found.objective / objective - 1 >= -1e-9, name
        assert np.mean(found.logits(x).argmax(axis=1) == predictions) >= 0.99, name
        np.testing.assert_array_equal(x, kept)
        absent = np.setdiff1d(np.arange(classes), y)
        assert found.kernel.dtype == found.bias.dtype == np.float32
        assert (found.kernel.shape, found.bias.shape) == ((x.shape[1], classes), (classes,))
        assert (found.logits(1e6 * x)[:, absent] < -1e29).all(), name
        # The stated values belong to the returned float32 weights.
        value, *gradients = objective_and_gradient(*unfolded(found, x), scaled(x)[0], y)
        assert found.objective == pytest.approx(value, rel=1e-5), name
        norm = np.sqrt(sum(np.sum(part[..., np.unique(y)] ** 2) for part in gradients))
        assert found.gradient_norm == pytest.approx(norm, rel=0.02, abs=1e-7), name
        gap = found.gradient_norm**2 / (2 * L2) / found.objective
        assert found.gap == pytest.approx(gap, rel=1e-9), name


def test_other_penalties_and_precisions_reach_their_optimum():
    x, y = blobs(200, 8, 3, 2)
    for l2 in (1e-1, 1e-2, 1e-4):
        found = solve_probe(x, y, 3, l2=l2)
        assert -1e-9 <= found.objective / sklearn_optimum(x, y, l2)[0] - 1 <= found.gap <= 1e-6, l2
        assert found.gap == pytest.approx(found.gradient_norm**2 / (2 * l2) / found.objective)
    for dtype in (np.float32, np.float16):
        given = x.astype(dtype)
        kept = given.copy()
        optimum = sklearn_optimum(given, y)[0]
        assert solve_probe(given, y, 3).objective == pytest.approx(optimum, rel=1e-5)
        np.testing.assert_array_equal(given, kept)


def test_value_and_gradient_equal_a_sum_over_samples(monkeypatch):
    x, y = blobs(60, 4, 3, 2)
    x, equal = scaled(x)[0], np.full(60, 1 / 60)
    weights = 50 * np.random.default_rng(2).normal(
        size=(5, 3)
    )  # exp would overflow if the maximum were not subtracted
    value, *expected = objective_and_gradient(weights[:-1], weights[-1], x, y, l2=0.3)
    for dtype, share in ((np.float64, 1e-10), (np.float32, 1e-4)):
        found, gradient = module.value_and_gradient(x.astype(dtype), y, equal, 0.3, weights)
        assert found == pytest.approx(value, rel=share)
        np.testing.assert_allclose(gradient[:-1], expected[0], rtol=share, atol=10 * share)
        np.testing.assert_allclose(gradient[-1], expected[1], atol=share)
    # Finite differences at a point that is not the optimum.
    monkeypatch.setattr(module, "MAX_ITERATIONS", 3)
    x, y = blobs(60, 4, 3, 2)
    found = solve_probe(x, y, 3)
    kernel, bias = unfolded(found, x)
    step, total = 1e-5, 0.0
    for array in (kernel, bias):
        for index in np.ndindex(array.shape):
            kept, values = array[index], []
            for array[index] in (kept - step, kept + step):
                values.append(objective_and_gradient(kernel, bias, scaled(x)[0], y)[0])
            array[index] = kept
            total += ((values[1] - values[0]) / (2 * step)) ** 2
    assert found.gradient_norm == pytest.approx(np.sqrt(total), rel=1e-3)
    assert found.gradient_norm > 1e-4


def test_whitening_is_a_root_of_the_hessian_bound_and_its_inverse():
    x = scaled(blobs(40, 6, 3, 2)[0])[0]
    root, inverse = module.whitening(x, None, 0.1)
    np.testing.assert_allclose(root.T @ root, x.T @ x / 80 + 0.1 * np.eye(6), atol=1e-12)
    np.testing.assert_allclose(root @ inverse, np.eye(6), atol=1e-12)
    np.testing.assert_array_equal(root, np.triu(root))


CHANGES = {
    "times 0.1": lambda x: 0.1 * x,
    "times 1000": lambda x: 1000 * x,
    "shifted": lambda x: x + np.linspace(-20, 20, x.shape[1]),
    "shrunk and shifted": lambda x: 0.1 * x - 30,
    "rotated": lambda x: x @ np.linalg.qr(np.random.default_rng(5).normal(size=(2, 2)))[0],
}


def test_regions_are_invariant_to_scale_shift_and_rotation_of_features():
    x, y = blobs(300, 2, 4, 4, seed=3, uneven=False)
    grid = x.mean(axis=0) + 3 * np.random.default_rng(4).normal(size=(1000, 2)) * x.std(axis=0)
    one = solve_probe(x, y, 4).logits(grid)
    runner_up, best = np.sort(one, axis=1)[:, -2:].T
    clear = best - runner_up > 1e-2  # points that are not on a border
    assert clear.mean() > 0.99
    assert len(np.unique(one.argmax(axis=1))) == 4
    for name, change in CHANGES.items():
        other = solve_probe(change(x), y, 4).logits(change(grid))
        same = one.argmax(axis=1) == other.argmax(axis=1)
        assert same[clear].all(), name


def test_small_problems_use_one_blas_thread_with_identical_results(monkeypatch):
    x, y = blobs(100, 5, 3, 2)
    entered, one_thread = [], module.one_blas_thread
    monkeypatch.setattr(module, "one_blas_thread", lambda: entered.append(1) or one_thread())
    found = []
    for size, calls in ((501, 1), (500, 1), (1, 1), (501, 2)):
        monkeypatch.setattr(module, "THREADED_SIZE", size)
        found.append(solve_probe(x.copy(), y.copy(), 3))
        assert len(entered) == calls, size
    np.testing.assert_array_equal(found[0].kernel, found[-1].kernel)
    np.testing.assert_array_equal(found[0].bias, found[-1].bias)


def test_a_probe_of_counted_images_is_that_of_repeated_images_wherever_it_starts():
    for name, x, y, classes in cases():
        counts = np.bincount(np.random.default_rng(3).integers(0, len(x), len(x)), minlength=len(x))
        rows = np.repeat(np.arange(len(x)), counts)
        expected = solve_probe(x[rows], y[rows], classes)
        for start in (None, solve_probe(x, y, classes)):
            found = solve_probe(x, y, classes, counts=counts, start=start, tolerance=1e-4)
            assert found.gap <= 1e-4, name
            assert abs(found.objective / expected.objective - 1) <= 1.1e-4, name
            absent = np.setdiff1d(np.arange(classes), y[rows])
            assert (found.bias[absent] < -1e29).all(), name
        same = solve_probe(x, y, classes, counts=np.full(len(x), 3))
        assert same.objective == pytest.approx(solve_probe(x, y, classes).objective, rel=1e-5)


def test_non_finite_features_are_rejected():
    x, y = blobs(50, 4, 3, 2)
    for bad in (np.nan, np.inf, -np.inf):
        x[7, 2] = bad
        with pytest.raises(InputError, match=r"Expected finite.*NaN or infinite.*\(50, 4\)"):
            solve_probe(x, y, 3)

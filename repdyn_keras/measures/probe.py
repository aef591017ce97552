"""Linear classifier probes, solved to their optimum."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from repdyn_keras.errors import InputError

L2 = 1e-3
# Solved when the objective is proven to be within this share of its optimum.
TOLERANCE = 1e-6
MOST_ITERATIONS = 2000
# The logit of a class that no image has.
ABSENT = -1e30
# Entries of the features from which BLAS threads pay.
THREADED_SIZE = 1 << 22


@dataclass(frozen=True)
class Probe:
    """A linear softmax classifier with the scaling of its features folded in.

    Attributes:
        kernel: (d, classes) float32.
        bias: (classes,) float32.
        objective: mean cross-entropy + L2 / 2 |W|^2 at the solution, W on the scaled features.
        gradient_norm: Euclidean norm of the objective's gradient there.
        gap: share of the objective by which it may exceed the best kernel's at this bias, at most.
    """

    kernel: np.ndarray
    bias: np.ndarray
    objective: float
    gradient_norm: float
    gap: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, classes) logits of features (n, d)."""
        return features @ self.kernel + self.bias


def solve_probe(features: np.ndarray, labels: np.ndarray, n_classes: int, l2: float = L2) -> Probe:
    """The probe of a layer: multinomial logistic regression at its optimum.

    The features are centred and divided by one number, sqrt(mean |x - mu|^2), so that a
    representation and its multiples have the same regions. The objective, mean cross-entropy plus
    l2 / 2 |W|^2 with a free bias, is scikit-learn's with C = 1 / (n l2). It is strictly convex in
    W, hence |gradient|^2 / (2 l2) bounds its distance from the optimum. L-BFGS runs in coordinates
    that whiten the regularized features, in which the curvature is even at the start.

    Source: Alain and Bengio 2016 (arXiv 1610.01644) for probes; Boehning 1992 for the bound of the
    Hessian behind the whitening.

    Args:
        features: (n, d) finite features.
        labels: (n,) integers in [0, n_classes).
        n_classes: number of classes C.
        l2: strength of the penalty, lambda.

    Returns:
        The probe for unscaled features.

    Raises:
        InputError: features are not finite.
    """
    if not np.isfinite(features).all():
        raise InputError(f"Features {features.shape} of a probe are not finite. Expected numbers.")
    present, among = np.unique(labels, return_inverse=True)
    with few_threads(features.size):
        found = solve(features, among, len(present), l2)
    # The best logit of a class without images is minus infinity: the others are solved alone.
    kernel = np.zeros((features.shape[1], n_classes), np.float32)
    bias = np.full(n_classes, ABSENT, np.float32)
    kernel[:, present], bias[present] = found.kernel, found.bias
    return replace(found, kernel=kernel, bias=bias)


@contextmanager
def few_threads(size: int) -> Iterator[None]:
    """One BLAS thread for a small problem, which several would only wait for each other over."""
    if size >= THREADED_SIZE:
        yield
        return
    with blas().limit(limits=1, user_api="blas"):
        yield


@cache
def blas():
    """The controller of the BLAS libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def solve(features: np.ndarray, labels: np.ndarray, n_classes: int, l2: float) -> Probe:
    """The solution that `solve_probe` describes."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import minimize

    n, d = features.shape
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    scale = np.sqrt(np.mean(np.sum(np.square(x), axis=1)))
    if scale == 0:
        scale = 1.0
    x /= scale
    root = cholesky(x.T @ x / (2 * n) + l2 * np.eye(d), lower=False)
    inverse = solve_triangular(root, np.eye(d))
    white = x @ inverse
    rows = np.arange(n)
    latest = [None, None, None]

    def weights(parameters):
        whitened = parameters[: d * n_classes].reshape(d, n_classes)
        return inverse @ whitened, parameters[d * n_classes :]

    def value_and_gradient(parameters):
        whitened = parameters[: d * n_classes].reshape(d, n_classes)
        kernel, bias = weights(parameters)
        logits = white @ whitened + bias
        logits -= logits.max(axis=1, keepdims=True)
        of_label = logits[rows, labels].mean()
        exponentials = np.exp(logits, out=logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        value = np.log(sums).mean() - of_label + l2 / 2 * np.sum(np.square(kernel))
        residual = exponentials / sums
        residual[rows, labels] -= 1
        residual /= n
        by_kernel = white.T @ residual + l2 * (inverse.T @ kernel)
        gradient = np.concatenate([by_kernel.ravel(), residual.sum(axis=0)])
        latest[:] = parameters.copy(), value, gradient
        return value, gradient

    def certificate(parameters):
        if not np.array_equal(latest[0], parameters):
            value_and_gradient(parameters)
        _, value, gradient = latest
        by_kernel = root.T @ gradient[: d * n_classes].reshape(d, n_classes)
        norm = np.sqrt(np.sum(np.square(by_kernel)) + np.sum(np.square(gradient[-n_classes:])))
        return value, norm, norm**2 / (2 * l2) / max(value, np.finfo(float).tiny)

    def stop_when_solved(parameters):
        if certificate(parameters)[2] <= TOLERANCE:
            raise StopIteration

    start = np.zeros((d + 1) * n_classes)
    start[-n_classes:] = np.log(np.bincount(labels) / n)
    parameters = minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_solved,
        options={"maxiter": MOST_ITERATIONS, "maxcor": 20, "ftol": 0, "gtol": 0},
    ).x
    objective, norm, gap = certificate(parameters)
    kernel, bias = weights(parameters)
    kernel = kernel / scale
    return Probe(
        kernel=kernel.astype(np.float32),
        bias=(bias - mean @ kernel).astype(np.float32),
        objective=float(objective),
        gradient_norm=float(norm),
        gap=float(gap),
    )

"""Linear classifier probes, solved to their optimum."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures import Arrays, Measure, Series, State
from repdyn_keras.measures.accuracies import SUBSETS, output_accuracies, subset_accuracies
from repdyn_keras.measures.threads import one_blas_thread

L2 = 1e-3
# The solver stops when the objective is proven to be within this relative distance of its optimum.
TOLERANCE = 1e-6
MAX_ITERATIONS = 2000
# The logit of a class without images.
ABSENT = -1e30
# Number of features from which several BLAS threads are faster.
THREADED_SIZE = 1 << 22


@dataclass(frozen=True)
class Probe:
    """A linear softmax classifier with the scaling of its features folded in.

    Attributes:
        kernel: (d, classes) float32.
        bias: (classes,) float32.
        objective: mean cross-entropy + L2 / 2 |W|^2 at the solution, W on the scaled features.
        gradient_norm: Euclidean norm of the objective's gradient there.
        gap: upper bound on the relative distance of the objective from that of the best kernel at
            this bias.
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
    representation and its multiples give the same regions. The objective, mean cross-entropy plus
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
        raise InputError(
            "Expected finite features. Received: NaN or infinite values in features of shape "
            f"{features.shape}."
        )
    present, among = np.unique(labels, return_inverse=True)
    # For a small problem, threads cost more than they gain.
    with one_blas_thread() if features.size < THREADED_SIZE else nullcontext():
        found = solve(features, among, len(present), l2)
    # The optimal logit of a class without images is minus infinity: it is left out of the problem.
    kernel = np.zeros((features.shape[1], n_classes), np.float32)
    bias = np.full(n_classes, ABSENT, np.float32)
    kernel[:, present], bias[present] = found.kernel, found.bias
    return replace(found, kernel=kernel, bias=bias)


def solve(features: np.ndarray, labels: np.ndarray, n_classes: int, l2: float) -> Probe:
    """The solution that `solve_probe` describes."""
    x, mean, scale = scaled(features)
    start = np.zeros((x.shape[1] + 1, n_classes))
    start[-1] = np.log(np.bincount(labels) / len(labels))
    found = minimum(x, labels, l2, start)
    kernel = found.weights[:-1] / scale
    return Probe(
        kernel=kernel.astype(np.float32),
        bias=(found.weights[-1] - mean.astype(np.float64) @ kernel).astype(np.float32),
        objective=found.value,
        gradient_norm=found.gradient_norm,
        gap=found.gap,
    )


def scaled(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Features, centred and scaled to mean square norm 1; float64 stays float64, else float32.

    Returns:
        (n, d) scaled features, their (d,) mean, and the number by which they were divided.
    """
    features = features.astype(np.promote_types(features.dtype, np.float32), copy=False)
    mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    x = features - mean
    squares = np.einsum("ij,ij->", x, x, dtype=np.float64)
    scale = float(np.sqrt(squares / len(x))) or 1.0
    x /= scale
    return x, mean, scale


def whitening(x: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Upper triangular root (d, d) of Boehning's bound of the Hessian, and its inverse."""
    from scipy.linalg import cholesky, solve_triangular

    identity = np.eye(x.shape[1])
    root = cholesky((x.T @ x).astype(np.float64) / (2 * len(x)) + l2 * identity, lower=False)
    return root, solve_triangular(root, identity)


def value_and_gradient(
    x: np.ndarray, labels: np.ndarray, l2: float, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean cross-entropy + l2 / 2 |W|^2 and its gradient.

    Products are in the features' own precision, means over images in float64.

    Args:
        x: (n, d) scaled features.
        labels: (n,) classes.
        l2: strength of the penalty.
        weights: (d + 1, classes) float64: the kernel W and, in the last row, the bias.
    """
    kernel, bias = weights[:-1], weights[-1]
    images = np.arange(len(x))
    # Classes first: NumPy reduces a first axis many times faster than a short last axis.
    logits = kernel.T.astype(x.dtype) @ x.T
    logits += bias.astype(x.dtype)[:, None]
    logits -= logits.max(axis=0)
    of_label = logits[labels, images].mean(dtype=np.float64)
    residual = np.exp(logits, out=logits)
    sums = residual.sum(axis=0)
    value = np.log(sums).mean(dtype=np.float64) - of_label
    residual /= sums
    residual[labels, images] -= 1
    gradient = np.empty_like(weights)
    gradient[:-1] = (residual @ x).T.astype(np.float64) / len(x) + l2 * kernel
    gradient[-1] = residual.mean(axis=1, dtype=np.float64)
    return float(value + l2 / 2 * np.sum(np.square(kernel))), gradient


@dataclass(frozen=True)
class Minimum:
    """A state of the weights in a minimization.

    Attributes:
        weights: (d + 1, classes) kernel and, in the last row, bias.
        value: the objective.
        gradient: (d + 1, classes) its gradient.
        l2: strength of the penalty.
    """

    weights: np.ndarray
    value: float
    gradient: np.ndarray
    l2: float

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(np.sqrt(np.sum(np.square(self.gradient))))

    @property
    def gap(self) -> float:
        """Upper bound on the relative distance of the value from the best kernel's at this bias."""
        return self.gradient_norm**2 / (2 * self.l2) / max(self.value, np.finfo(float).tiny)


def minimum(x: np.ndarray, labels: np.ndarray, l2: float, start: np.ndarray) -> Minimum:
    """Minimizes the objective by L-BFGS from weights (d + 1, classes) until the gap is small.

    It runs in coordinates in which the bound of the Hessian is the identity.
    """
    from scipy.optimize import minimize

    root, inverse = whitening(x, l2)
    latest: list[tuple[np.ndarray, Minimum]] = []

    def changed(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.concatenate([matrix @ weights[:-1], weights[-1:]]).ravel()

    def state(parameters: np.ndarray) -> Minimum:
        if not latest or not np.array_equal(latest[0][0], parameters):
            weights = changed(parameters.reshape(start.shape), inverse).reshape(start.shape)
            found = Minimum(weights, *value_and_gradient(x, labels, l2, weights), l2)
            latest[:] = [(parameters.copy(), found)]
        return latest[0][1]

    def seen(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        found = state(parameters)
        return found.value, changed(found.gradient, inverse.T)

    def stop_when_solved(parameters: np.ndarray) -> None:
        if state(parameters).gap <= TOLERANCE:
            raise StopIteration

    found = minimize(
        seen,
        changed(start, root),
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_solved,
        options={"maxiter": MAX_ITERATIONS, "maxcor": 20, "ftol": 0, "gtol": 0},
    )
    return state(found.x)


def solved_probes(state: State) -> list[Probe | None]:
    """The probe of each hidden layer; None if its features are not finite."""
    if state.fitted is None:
        return []
    labels, classes = state.fitted.y, state.n_classes
    return [
        solve_probe(x, labels, classes) if np.isfinite(x).all() else None
        for x in state.fitted_features[:-1]
    ]


def probe_weights(state: State) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel (d, classes) and bias (classes,) of each hidden layer's probe; NaN without one."""
    weights = []
    for probe, x in zip(state.once(solved_probes), state.fitted_features, strict=False):
        if probe is None:
            undefined = np.full((x.shape[1] + 1, state.n_classes), np.nan, np.float32)
            weights.append((undefined[:-1], undefined[-1]))
        else:
            weights.append((probe.kernel, probe.bias))
    return weights


def on_state(state: State) -> Arrays:
    """The probes, their accuracies, and those of the output as the last layer's."""
    if state.fitted is None:
        return {}
    features, held_out = state.fitted_features, state.held_out_features
    accuracy = np.full((len(state.layers), len(SUBSETS)), np.nan)
    solution = np.full((len(state.layers), 3), np.nan)
    for index, probe in enumerate(state.once(solved_probes)):
        if probe is None:
            continue
        solution[index] = probe.objective, probe.gradient_norm, probe.gap
        held_out_logits = None if held_out is None else probe.logits(held_out[index])
        accuracy[index] = subset_accuracies(state, probe.logits(features[index]), held_out_logits)
    accuracy[-1] = state.once(output_accuracies)
    weights = [array.ravel() for pair in state.once(probe_weights) for array in pair]
    return {
        "probe_accuracy": accuracy,
        "probe_objective": solution[:, 0],
        "probe_gradient_norm": solution[:, 1],
        "probe_gap": solution[:, 2],
        "probe_weights": np.concatenate(weights),
    }


def over_epochs(series: Series) -> Arrays:
    """Accuracies and solutions of the probes at every epoch."""
    recorded = series.recorded("probe_accuracy", "probe_objective", "probe_gradient_norm")
    return {name: array.swapaxes(0, 1) for name, array in recorded.items()}


MEASURE = Measure(
    name="probes",
    title="probes",
    recorded={
        "probe_accuracy": ("layer", "subset"),
        "probe_objective": ("layer",),
        "probe_gradient_norm": ("layer",),
        "probe_gap": ("layer",),
        "probe_weights": ("parameter",),
    },
    computed={
        "probe_accuracy": ("layer", "epoch", "subset"),
        "probe_objective": ("layer", "epoch"),
        "probe_gradient_norm": ("layer", "epoch"),
    },
    on_state=on_state,
    over_epochs=over_epochs,
)

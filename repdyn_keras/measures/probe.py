"""Linear probes, solved to their optimum."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from repdyn_keras import seeds
from repdyn_keras.errors import InputError
from repdyn_keras.measures import Arrays, Measure, ProbeWeights, Series, State
from repdyn_keras.measures.accuracies import SUBSETS, output_accuracies, subset_accuracies
from repdyn_keras.measures.threads import one_blas_thread

L2 = 1e-3
# The solver stops when a bound shows that the objective is this close to its optimum (relative).
TOLERANCE = 1e-6
# The same for probes of resampled images, which differ much more from the probe than by this.
RESAMPLED_TOLERANCE = 1e-4
MAX_ITERATIONS = 2000
# The logit of a class without images.
ABSENT = -1e30
# Smallest size of the feature array for which several BLAS threads are faster than one.
THREADED_SIZE = 1 << 22


@dataclass(frozen=True)
class Probe:
    """A linear softmax classifier. Its weights include the scaling of the features.

    Attributes:
        kernel: (d, classes) float32.
        bias: (classes,) float32.
        objective: mean cross-entropy + L2 / 2 |W|^2 at the solution, where W is the kernel for the
            scaled features.
        gradient_norm: Euclidean norm of the gradient of the objective at the solution.
        gap: upper bound on the relative distance of the objective from its optimum for this bias.
    """

    kernel: np.ndarray
    bias: np.ndarray
    objective: float
    gradient_norm: float
    gap: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, classes) logits of features (n, d)."""
        return features @ self.kernel + self.bias


def solve_probe(
    features: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    l2: float = L2,
    *,
    counts: np.ndarray | None = None,
    start: Probe | None = None,
    tolerance: float = TOLERANCE,
) -> Probe:
    """Fits the probe of a layer: multinomial logistic regression, solved to its optimum.

    The features are centred and divided by a single number, sqrt(mean |x - mu|^2), so that a
    representation and its multiples give the same regions. The objective is mean cross-entropy plus
    l2 / 2 |W|^2 with an unregularized bias, as in scikit-learn with C = 1 / (n l2). It is strongly
    convex in W, so |gradient|^2 / (2 l2) bounds its distance from the optimum. L-BFGS runs in
    whitened coordinates, in which a bound of the Hessian is the identity.

    Source: Alain and Bengio 2016 (arXiv 1610.01644) for probes; Boehning 1992 for the bound of the
    Hessian.

    Args:
        features: (n, d) finite features.
        labels: (n,) integers in [0, n_classes).
        n_classes: number of classes.
        l2: strength of the penalty.
        counts: (n,) how often each image occurs, as in a bootstrap sample; None: once.
        start: a probe of similar features and labels, at which the solver starts; None: a zero
            kernel, with the logarithms of the class shares as bias.
        tolerance: upper bound on the relative distance of the objective from its optimum.

    Returns:
        The probe for unscaled features.

    Raises:
        InputError: the features are not finite.
    """
    if not np.isfinite(features).all():
        raise InputError(
            "Expected finite features. Received: NaN or infinite values in features of shape "
            f"{features.shape}."
        )
    shares = None
    if counts is not None:
        features, labels, counts = (array[counts > 0] for array in (features, labels, counts))
        shares = counts / counts.sum()
    present, class_positions = np.unique(labels, return_inverse=True)
    if start is not None:
        start = replace(start, kernel=start.kernel[:, present], bias=start.bias[present])
    # For small problems, one thread is faster.
    with one_blas_thread() if features.size < THREADED_SIZE else nullcontext():
        probe = solve(features, class_positions, shares, l2, start, tolerance)
    # Classes without images are left out, since their optimal logit is minus infinity.
    kernel = np.zeros((features.shape[1], n_classes), np.float32)
    bias = np.full(n_classes, ABSENT, np.float32)
    kernel[:, present], bias[present] = probe.kernel, probe.bias
    return replace(probe, kernel=kernel, bias=bias)


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    shares: np.ndarray | None,
    l2: float,
    start: Probe | None,
    tolerance: float,
) -> Probe:
    """Fits a probe as `solve_probe` does, for labels that include every class.

    Args:
        features: (n, d) features.
        labels: (n,) classes.
        shares: (n,) weights of the images in all means, which sum to 1; None for equal ones.
        l2: strength of the penalty.
        start, tolerance: as for `solve_probe`.
    """
    x, mean, scale = scaled(features, shares)
    if start is None:
        log_shares = np.log(np.bincount(labels, shares) / (len(labels) if shares is None else 1))
        weights = np.zeros((x.shape[1] + 1, len(log_shares)))
        weights[-1] = log_shares
    else:
        kernel = start.kernel.astype(np.float64)
        weights = np.concatenate([kernel * scale, (start.bias + mean @ kernel)[None]])
    solution = minimum(x, labels, shares, l2, weights, tolerance)
    kernel = solution.weights[:-1] / scale
    return Probe(
        kernel=kernel.astype(np.float32),
        bias=(solution.weights[-1] - mean.astype(np.float64) @ kernel).astype(np.float32),
        objective=solution.value,
        gradient_norm=solution.gradient_norm,
        gap=solution.gap,
    )


def scaled(
    features: np.ndarray, shares: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Features centred and scaled to mean squared norm 1, in float64 if they are, else float32.

    Args:
        features: (n, d) features.
        shares: (n,) weights of the images in both means, which sum to 1; None for equal ones.

    Returns:
        (n, d) scaled features, (d,) mean, and the divisor.
    """
    features = features.astype(np.promote_types(features.dtype, np.float32), copy=False)
    if shares is None:
        mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    else:
        mean = (shares @ features).astype(features.dtype)
    x = features - mean
    if shares is None:
        squares = np.einsum("ij,ij->", x, x, dtype=np.float64) / len(x)
    else:
        squares = shares @ np.einsum("ij,ij->i", x, x, dtype=np.float64)
    scale = float(np.sqrt(squares)) or 1.0
    x /= scale
    return x, mean, scale


def whitening(x: np.ndarray, shares: np.ndarray | None, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Upper triangular root (d, d) of Boehning's bound of the Hessian, and the root's inverse."""
    from scipy.linalg import cholesky, solve_triangular

    identity = np.eye(x.shape[1])
    moments = x.T @ x / len(x) if shares is None else (x.T * shares.astype(x.dtype)) @ x
    root = cholesky(moments.astype(np.float64) / 2 + l2 * identity, lower=False)
    return root, solve_triangular(root, identity)


def value_and_gradient(
    x: np.ndarray, labels: np.ndarray, shares: np.ndarray, l2: float, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean cross-entropy + l2 / 2 |W|^2 and its gradient.

    Products are computed in the precision of the features, means over images in float64.

    Args:
        x: (n, d) scaled features.
        labels: (n,) classes.
        shares: (n,) weights of the images in the mean, which sum to 1.
        l2: strength of the penalty.
        weights: (d + 1, classes) float64, the kernel W and, in the last row, the bias.
    """
    kernel, bias = weights[:-1], weights[-1]
    images = np.arange(len(x))
    # Classes are the first axis, which NumPy reduces many times faster than a short last axis.
    logits = kernel.T.astype(x.dtype) @ x.T
    logits += bias.astype(x.dtype)[:, None]
    logits -= logits.max(axis=0)
    label_logit = logits[labels, images] @ shares
    residual = np.exp(logits, out=logits)
    sums = residual.sum(axis=0)
    value = np.log(sums) @ shares - label_logit
    residual /= sums
    residual[labels, images] -= 1
    residual *= shares.astype(x.dtype)
    gradient = np.empty_like(weights)
    gradient[:-1] = (residual @ x).T.astype(np.float64) + l2 * kernel
    gradient[-1] = residual.sum(axis=1, dtype=np.float64)
    return float(value + l2 / 2 * np.sum(np.square(kernel))), gradient


@dataclass(frozen=True)
class Minimum:
    """The weights, the objective and its gradient during a minimization.

    Attributes:
        weights: (d + 1, classes) kernel and, in the last row, bias.
        value: the objective.
        gradient: (d + 1, classes) gradient of the objective.
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
        """Upper bound on the relative distance of the value from its optimum for this bias."""
        return self.gradient_norm**2 / (2 * self.l2) / max(self.value, np.finfo(float).tiny)


def minimum(
    x: np.ndarray,
    labels: np.ndarray,
    shares: np.ndarray | None,
    l2: float,
    start: np.ndarray,
    tolerance: float,
) -> Minimum:
    """Minimizes the objective by L-BFGS, starting at (d + 1, classes) weights, to a tolerance.

    It runs in coordinates in which the bound of the Hessian is the identity.
    """
    from scipy.optimize import minimize

    root, inverse = whitening(x, shares, l2)
    if shares is None:
        shares = np.full(len(x), 1 / len(x))
    latest: list[tuple[np.ndarray, Minimum]] = []

    def transformed(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.concatenate([matrix @ weights[:-1], weights[-1:]]).ravel()

    def state(parameters: np.ndarray) -> Minimum:
        if not latest or not np.array_equal(latest[0][0], parameters):
            weights = transformed(parameters.reshape(start.shape), inverse).reshape(start.shape)
            current = Minimum(weights, *value_and_gradient(x, labels, shares, l2, weights), l2)
            latest[:] = [(parameters.copy(), current)]
        return latest[0][1]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        current = state(parameters)
        return current.value, transformed(current.gradient, inverse.T)

    def stop_when_solved(parameters: np.ndarray) -> None:
        if state(parameters).gap <= tolerance:
            raise StopIteration

    result = minimize(
        objective,
        transformed(start, root),
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_solved,
        options={"maxiter": MAX_ITERATIONS, "maxcor": 20, "ftol": 0, "gtol": 0},
    )
    return state(result.x)


def solved_probes(state: State) -> list[Probe | None]:
    """The probe of each hidden layer; None if its features are not finite."""
    if state.fitted is None:
        return []
    labels, classes = state.fitted.y, state.n_classes
    return [
        solve_probe(x, labels, classes) if np.isfinite(x).all() else None
        for x in state.fitted_features[:-1]
    ]


def probe_weights(state: State) -> ProbeWeights:
    """Kernel (d, classes) and bias (classes,) of each hidden layer's probe; NaN if it has none."""
    weights = []
    for probe, x in zip(state.cached(solved_probes), state.fitted_features, strict=False):
        if probe is None:
            undefined = np.full((x.shape[1] + 1, state.n_classes), np.nan, np.float32)
            weights.append((undefined[:-1], undefined[-1]))
        else:
            weights.append((probe.kernel, probe.bias))
    return weights


def resampled_weights(state: State) -> ProbeWeights:
    """Kernels and biases as in `probe_weights`, of probes of a bootstrap sample of the images.

    The sample depends on the number of images only. The solver starts at the layer's probe.
    """
    labels = np.zeros(0, int) if state.fitted is None else state.fitted.y
    rows = np.random.default_rng(seeds.RESAMPLING).integers(0, len(labels), size=len(labels))
    counts = np.bincount(rows, minlength=len(labels))
    weights = list(state.cached(probe_weights))
    pairs = zip(state.cached(solved_probes), state.fitted_features, strict=False)
    for index, (probe, x) in enumerate(pairs):
        if probe is not None:
            resampled = solve_probe(
                x,
                labels,
                state.n_classes,
                counts=counts,
                start=probe,
                tolerance=RESAMPLED_TOLERANCE,
            )
            weights[index] = resampled.kernel, resampled.bias
    return weights


def on_state(state: State) -> Arrays:
    """The probes and their accuracies; the last layer has the accuracies of the output."""
    if state.fitted is None:
        return {}
    features, held_out = state.fitted_features, state.held_out_features
    accuracy = np.full((len(state.layers), len(SUBSETS)), np.nan)
    solution = np.full((len(state.layers), 3), np.nan)
    for index, probe in enumerate(state.cached(solved_probes)):
        if probe is None:
            continue
        solution[index] = probe.objective, probe.gradient_norm, probe.gap
        held_out_logits = None if held_out is None else probe.logits(held_out[index])
        accuracy[index] = subset_accuracies(state, probe.logits(features[index]), held_out_logits)
    accuracy[-1] = state.cached(output_accuracies)
    weights = [array.ravel() for pair in state.cached(probe_weights) for array in pair]
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
    meanings={
        "probe_accuracy": ("accuracy of the layer's probe, and of the network at the output", "1"),
        "probe_objective": ("objective of the probe at its solution", "nat"),
        "probe_gradient_norm": ("norm of the gradient at the probe's solution", "1"),
    },
    on_state=on_state,
    over_epochs=over_epochs,
)

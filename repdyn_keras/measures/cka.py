"""Centered kernel alignment as the cosine of fingerprints."""

import warnings
from collections.abc import Sequence

import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures import Arrays, Measure, State
from repdyn_keras.measures.threads import parallel_map

ESTIMATORS = ("unbiased", "biased")
# Number of columns that a matrix product sums in float32; chunks are summed in float64.
SUM_CHUNK = 16_384


def cka(x, y, *, batch_size: int | None = None, estimator: str = "unbiased") -> float:
    """Linear CKA of two representations of the same samples: similarity, 1 = identical.

    The unbiased estimate is near 0 for unrelated data of any dimension. Slightly negative values
    are kept, not clamped. CKA is invariant to rotation, isotropic scaling and shift of either
    representation and, with a single batch, to the order of the samples.

    Source: Kornblith et al. 2019 (arXiv 1905.00414) for CKA; Nguyen et al. 2021
    (arXiv 2010.15327, eq. 2-4) for the unbiased HSIC and its mean over batches.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.
        batch_size: samples in a batch, at least 4; samples after the last whole batch are left
            out, with a warning. None uses all samples as one batch.
        estimator: "unbiased", or "biased" (Kornblith's) for comparison with older papers.

    Returns:
        The similarity as a float; NaN, with a warning, if a representation is constant over the
        samples or not finite.

    Raises:
        InputError: the numbers of samples differ, a batch has fewer than 4 samples, or the
            estimator is unknown.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> round(cka(x, 3 * x + 1), 6)
        1.0
    """
    return float(cka_matrix([x, y], batch_size=batch_size, estimator=estimator)[0, 1])


def cka_matrix(
    representations: Sequence, *, batch_size: int | None = None, estimator: str = "unbiased"
) -> np.ndarray:
    """Linear CKA between all pairs of representations of the same samples.

    Each representation is reduced to a fingerprint once, and all pairs are computed by one matrix
    product. See `cka` for the source and the arguments.

    Args:
        representations: sequence of m arrays (n, ...).
        batch_size: as for `cka`.
        estimator: as for `cka`.

    Returns:
        (m, m) float64, symmetric; 1 = identical.

    Raises:
        InputError: as for `cka`.
    """
    if len(representations) == 0:
        raise InputError("Expected a sequence of arrays (n, ...). Received: an empty sequence.")
    for index, x in enumerate(representations):
        if len(x) != len(representations[0]):
            raise InputError(
                "Expected representations of the same samples in the same order. Received: "
                f"{len(representations[0])} samples in representation 0 and {len(x)} in "
                f"representation {index}."
            )
    first = np.asarray(representations[0])
    dtype = np.result_type(*(working_dtype(np.asarray(x)) for x in representations))
    b = batch_length(len(first), batch_size)
    size = (first[:b].size + 2 * b * b) * dtype.itemsize

    def fingerprint_at(index: int) -> tuple[np.ndarray, np.ndarray, float]:
        return fingerprint_and_norms(representations[index], b, estimator)

    indices = range(len(representations))
    fingerprints = np.empty((0, 0))
    for index, (vector, squares, epsilon) in enumerate(parallel_map(fingerprint_at, indices, size)):
        if index == 0:
            fingerprints = np.empty((len(representations), len(vector)), dtype)
        fingerprints[index] = nan_if_degenerate(
            vector, squares, epsilon, len(first), b, f"number {index}"
        )
    return cosines(fingerprints)


def fingerprint(x, *, batch_size: int | None = None, estimator: str = "unbiased") -> np.ndarray:
    """A vector whose cosine with another fingerprint is the CKA of the two representations.

    The features of each batch are centred. The fingerprint concatenates the upper triangles of the
    U-centred Gram matrices of all batches, scaled by sqrt(2 / (b (b - 3))). With the biased
    estimator, it consists of the double-centred Gram matrices with their diagonals, and
    off-diagonal entries are scaled by sqrt(2).

    Args:
        x: (n, ...) features.
        batch_size: samples in a batch; None uses all samples as one.
        estimator: "unbiased" or "biased".

    Returns:
        (n // b * b (b - 1) / 2,) in float32 for features of up to 32 bits, else float64. All NaN,
        with a warning, if x is constant or not finite.
    """
    b = batch_length(len(x), batch_size)
    vector, squares, epsilon = fingerprint_and_norms(x, b, estimator)
    return nan_if_degenerate(vector, squares, epsilon, len(x), b, "x")


def fingerprint_and_norms(x, b: int, estimator: str) -> tuple[np.ndarray, np.ndarray, float]:
    """The fingerprint of features in batches of b samples, and the arguments of `is_dead`."""
    if estimator not in ESTIMATORS:
        raise unknown("estimator", estimator, ESTIMATORS)
    x = np.asarray(x)
    if x.ndim < 2:
        raise InputError(
            "Expected features of shape (n, ...) with n samples. Received: features of shape "
            f"{x.shape}."
        )
    epsilon = float(np.finfo(x.dtype if is_floating(x) else np.float64).eps)
    x = x.reshape(len(x), -1).astype(working_dtype(x), copy=False)
    parts, norms = zip(
        *(
            batch_fingerprint(x[start : start + b], estimator)
            for start in range(0, len(x) - b + 1, b)
        ),
        strict=True,
    )
    return np.concatenate(parts), np.sum(norms, axis=0), epsilon


def nan_if_degenerate(
    vector: np.ndarray, squares: np.ndarray, epsilon: float, n: int, b: int, name: str
) -> np.ndarray:
    """The fingerprint, or all NaN, with a warning, if the features are constant or not finite."""
    left_out = n % b
    if left_out:
        warnings.warn(
            f"{left_out} of {n} samples are left out: {n} is not a multiple of the batch size {b}.",
            stacklevel=3,
        )
    if not np.isfinite(squares).all():
        warnings.warn(f"Representation {name} is not finite: its CKA is NaN.", stacklevel=3)
    elif is_dead(squares, epsilon):
        warnings.warn(
            f"Representation {name} is constant over its {n - left_out} samples (norm of the "
            f"centred Gram matrix {squares[0] ** 0.5:.3g}): its CKA is NaN.",
            stacklevel=3,
        )
    else:
        return vector
    return np.full_like(vector, np.nan)


def is_floating(x: np.ndarray) -> bool:
    """Whether an array holds floating-point numbers."""
    return np.issubdtype(x.dtype, np.floating)


def working_dtype(x: np.ndarray) -> np.dtype:
    """The dtype to compute in: float32 for floats of up to 32 bits, else float64."""
    return np.promote_types(x.dtype, np.float32) if is_floating(x) else np.dtype(np.float64)


def batch_length(n: int, batch_size: int | None) -> int:
    """Number of samples in a batch: the smaller of n and `batch_size`, or n if it is None."""
    b = n if batch_size is None else min(n, batch_size)
    if b < 4:
        raise InputError(
            "Expected CKA batches of at least 4 samples: the unbiased estimator divides by "
            f"b (b - 3). Received: n = {n}, batch_size = {batch_size}."
        )
    return b


def batch_fingerprint(
    x: np.ndarray, estimator: str
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The fingerprint of one batch (b, d), and its three squared norms, see `is_dead`."""
    b = len(x)
    with np.errstate(invalid="ignore", over="ignore"):
        # The rounding error of the mean is the same for every sample, so centring the Gram matrix
        # removes it.
        mean = x.mean(axis=0)
        x = x - mean
        gram = x @ x.T
        gram_norm = squared_norms(gram).sum()
        size = np.trace(gram) + b * np.vdot(mean, mean)
        is_unbiased = estimator == "unbiased"
        if is_unbiased:
            np.fill_diagonal(gram, 0)
        rows = gram.sum(axis=0, dtype=np.float64) / (b - 2 if is_unbiased else b)
        gram -= rows[:, None].astype(x.dtype)
        gram -= (rows - rows.sum() / (b - 1 if is_unbiased else b)).astype(x.dtype)
        vector = above_diagonal(gram)
        vector *= np.sqrt(2 / (b * (b - 3)) if is_unbiased else 2)
        if not is_unbiased:
            vector = np.concatenate([vector, np.diagonal(gram)])
        norm = squared_norms(vector[None])[0] * (b * (b - 3) if is_unbiased else 1)
    return vector, (norm, gram_norm, size)


def above_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The entries above the diagonal of a square matrix, row after row."""
    return np.concatenate([row[index + 1 :] for index, row in enumerate(matrix)])


def is_dead(squares: np.ndarray, epsilon: float) -> np.ndarray:
    """Whether a layer is constant over the samples, so that only rounding errors remain.

    Args:
        squares: (3, ...): |U|^2, |K|^2 and sum |x|^2 over all batches, where K is the Gram
            matrix of the centred features with its diagonal, U is K after U-centring, and x is
            uncentred.
        epsilon: machine epsilon of the activations' dtype.
    """
    centred, gram, size = squares
    return np.sqrt(centred) <= np.maximum(epsilon * np.sqrt(gram), epsilon**2 * size)


def cosines(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Cosines between the rows of `a` and those of `b` (of `a` itself when None).

    Args:
        a: (m, p) fingerprints.
        b: (k, p) fingerprints, or None.

    Returns:
        (m, k) float64; rows or columns of NaN where a fingerprint holds NaN, or values whose
        squares exceed the range of its dtype, see `in_range`.
    """
    if b is None:
        products = inner_products(a, a)
        outside = ~in_range(np.diagonal(products), a.dtype)
        products[outside] = products[:, outside] = np.nan
        return normalized(products)
    squares = [np.where(in_range(s, a.dtype), s, np.nan) for s in map(squared_norms, (a, b))]
    return inner_products(a, b) / np.sqrt(squares[0][:, None] * squares[1])


def in_range(squares: np.ndarray, dtype) -> np.ndarray:
    """(m,) whether fingerprints of these squared norms can be multiplied in the precision of dtype.

    The products of others overflow, or vanish.
    """
    info = np.finfo(dtype)
    return (squares > info.tiny / info.eps) & (squares < info.max / 4)


def normalized(products: np.ndarray) -> np.ndarray:
    """(m, m) cosines of fingerprints from their inner products."""
    products = (products + products.T) / 2
    squares = np.diagonal(products)
    return products / np.sqrt(squares[:, None] * squares[None])


def inner_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T; chunks are multiplied in the precision of the arrays and summed in float64."""
    total = np.zeros((len(a), len(b)))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, a.shape[1], SUM_CHUNK):
            columns = slice(start, start + SUM_CHUNK)
            total += a[:, columns] @ b[:, columns].T
    return total


def squared_norms(a: np.ndarray) -> np.ndarray:
    """(m,) sums of squares of the rows, in float64."""
    return np.einsum("ij,ij->i", a, a, dtype=np.float64)


def on_state(state: State) -> Arrays:
    """The fingerprint of every layer, and whether the layer is finite and dead."""
    fingerprints, norms = state.fingerprints, state.norms
    finite = np.isfinite(norms).all(axis=1) & np.isfinite(fingerprints).all(axis=1)
    with np.errstate(invalid="ignore"):
        dead = np.array(
            [is_dead(*arguments) for arguments in zip(norms, state.epsilons, strict=True)]
        )
    return {
        "fingerprint": fingerprints,
        "norm": norms,
        "finite": finite.astype(np.uint8),
        "dead": (dead & finite).astype(np.uint8),
    }


MEASURE = Measure(
    name="fingerprints",
    title="fingerprints",
    recorded={
        "fingerprint": ("layer", "pair"),
        "norm": ("layer", "square"),
        "finite": ("layer",),
        "dead": ("layer",),
    },
    on_state=on_state,
)

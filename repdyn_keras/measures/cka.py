"""Centered kernel alignment as the cosine of fingerprints."""

import warnings
from collections.abc import Sequence

import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures.threads import side_by_side

ESTIMATORS = ("unbiased", "biased")
# Columns of a matrix product that are summed in float32 before the sum goes on in float64.
SUM_CHUNK = 16_384


def cka(x, y, *, batch_size: int | None = None, estimator: str = "unbiased") -> float:
    """Linear CKA of two representations of the same samples: similarity, 1 = identical.

    Unbiased, it is near 0 for unrelated data whatever its dimension, and slightly negative values
    are information: nothing is clamped. Invariant to rotation, isotropic scale and shift of
    either representation, and full-batch also to the order of the samples.

    Source: Kornblith et al. 2019 (arXiv 1905.00414) for CKA; Nguyen et al. 2021
    (arXiv 2010.15327, eq. 2-4) for the unbiased HSIC and its mean over batches.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.
        batch_size: samples of a batch, at least 4; samples past the last whole batch are left
            out, with a warning. None takes all samples as one batch.
        estimator: "unbiased", or "biased" (Kornblith's) for comparison with older papers.

    Returns:
        The similarity as a float; NaN, with a warning, where a representation is constant over
        the samples or not finite.

    Raises:
        InputError: unequal n, fewer than 4 samples a batch, or an unknown estimator.

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

    Every representation is reduced to its fingerprint once; all pairs are one matrix product.
    See `cka` for the source and the arguments.

    Args:
        representations: sequence of m arrays (n, ...).
        batch_size: as for `cka`.
        estimator: as for `cka`.

    Returns:
        (m, m) float64, symmetric, similarity, 1 = identical.

    Raises:
        InputError: as for `cka`.
    """
    if len(representations) == 0:
        raise InputError("No representations came. Expected a sequence of arrays (n, ...).")
    for index, x in enumerate(representations):
        if len(x) != len(representations[0]):
            raise InputError(
                f"Representation 0 has {len(representations[0])} samples, number {index} has "
                f"{len(x)}. Expected the same samples in the same order."
            )
    first = np.asarray(representations[0])
    dtype = np.result_type(*(precision_of(np.asarray(x)) for x in representations))
    b = batch_length(len(first), batch_size)
    size = (first[:b].size + 2 * b * b) * dtype.itemsize

    def packed_at(index: int) -> tuple:
        return packed(representations[index], b, estimator)

    prints = None
    for index, found in enumerate(side_by_side(packed_at, range(len(representations)), size)):
        vector = judged(*found, len(first), b, f"number {index}")
        if prints is None:
            prints = np.empty((len(representations), len(vector)), dtype)
        prints[index] = vector
    return cosines(prints)


def fingerprint(x, *, batch_size: int | None = None, estimator: str = "unbiased") -> np.ndarray:
    """One vector whose cosine with another is the CKA of the two representations.

    For every batch the features are centred, and the upper triangle of the U-centred Gram matrix,
    scaled by sqrt(2 / (b (b - 3))), is laid end to end with those of the other batches. (Biased:
    the double-centred Gram matrix with its diagonal, off-diagonal entries scaled by sqrt(2).)

    Args:
        x: (n, ...) features.
        batch_size: samples of a batch; None takes all samples as one.
        estimator: "unbiased" or "biased".

    Returns:
        (n // b * b (b - 1) / 2,) in float32 for features of up to 32 bits, else float64;
        NaN everywhere, with a warning, where x is constant or not finite.
    """
    b = batch_length(len(x), batch_size)
    return judged(*packed(x, b, estimator), len(x), b, "x")


def packed(x, b: int, estimator: str) -> tuple[np.ndarray, np.ndarray, float]:
    """The fingerprint of features in batches of b samples, and what `is_dead` judges it by."""
    if estimator not in ESTIMATORS:
        raise unknown("estimator", estimator, ESTIMATORS)
    x = np.asarray(x)
    if x.ndim < 2:
        raise InputError(f"Features have shape {x.shape}. Expected (n, ...) with n samples.")
    epsilon = float(np.finfo(x.dtype if is_floating(x) else np.float64).eps)
    x = x.reshape(len(x), -1).astype(precision_of(x), copy=False)
    parts, norms = zip(
        *(pack(x[start : start + b], estimator) for start in range(0, len(x) - b + 1, b)),
        strict=True,
    )
    return np.concatenate(parts), np.sum(norms, axis=0), epsilon


def judged(
    vector: np.ndarray, squares: np.ndarray, epsilon: float, n: int, b: int, name: str
) -> np.ndarray:
    """What `packed` found of n samples, or NaN, with a warning, where it says nothing."""
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


def precision_of(x: np.ndarray) -> np.dtype:
    """What features are computed in: float32 for floats of up to 32 bits, else float64."""
    return np.promote_types(x.dtype, np.float32) if is_floating(x) else np.dtype(np.float64)


def batch_length(n: int, batch_size: int | None) -> int:
    """Samples of a batch: `batch_size`, or n where that is fewer or it is None."""
    b = n if batch_size is None else min(n, batch_size)
    if b < 4:
        raise InputError(
            f"CKA batches of {b} samples came (n = {n}, batch_size = {batch_size}). Expected at "
            "least 4: the unbiased estimator divides by b (b - 3)."
        )
    return b


def pack(x: np.ndarray, estimator: str) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The fingerprint of one batch (b, d), and the squared norms that tell whether it is dead."""
    b = len(x)
    with np.errstate(invalid="ignore", over="ignore"):
        # What a mean is off by is the same in every sample: the Gram matrix's centring removes it.
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
        packed = above_diagonal(gram)
        packed *= np.sqrt(2 / (b * (b - 3)) if is_unbiased else 2)
        if not is_unbiased:
            packed = np.concatenate([packed, np.diagonal(gram)])
        norm = squared_norms(packed[None])[0] * (b * (b - 3) if is_unbiased else 1)
    return packed, (norm, gram_norm, size)


def above_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The entries above the diagonal of a square matrix, row after row."""
    return np.concatenate([row[index + 1 :] for index, row in enumerate(matrix)])


def is_dead(squares: np.ndarray, epsilon: float) -> np.ndarray:
    """Whether a layer's Gram matrices hold nothing but rounding.

    Args:
        squares: (3, ...): |U|^2, |K|^2 and sum |x|^2 over all batches, with K the Gram matrix
            of the centred features with its diagonal and x uncentred.
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
        (m, k) float64; rows or columns of NaN where a fingerprint holds NaN.
    """
    if b is None:
        return normalized(inner_products(a, a))
    norms = squared_norms(a)[:, None] * squared_norms(b)[None]
    return inner_products(a, b) / np.sqrt(norms)


def normalized(products: np.ndarray) -> np.ndarray:
    """(m, m) cosines of fingerprints whose inner products with each other are given."""
    products = (products + products.T) / 2
    squares = np.diagonal(products)
    return products / np.sqrt(squares[:, None] * squares[None])


def null_deviation(a: np.ndarray, b: np.ndarray, batch: int) -> np.ndarray:
    """Standard deviation of CKA between representations that are unrelated; its mean is 0.

    Of the null in which the samples of one of them are permuted within each batch: exact, and
    almost the same whatever the representations.

    Args:
        a: (m, p) fingerprints, unbiased.
        b: (k, p) fingerprints of the same samples.
        batch: samples of a batch.

    Returns:
        (m, k) float64.
    """
    length = batch * (batch - 1) // 2
    left, right = (
        np.stack([squared_norms(part) for part in np.split(x, x.shape[1] // length, axis=1)], 1)
        for x in (a, b)
    )
    spread = left @ right.T * 2 / (batch * (batch - 3))
    return np.sqrt(spread / (left.sum(1)[:, None] * right.sum(1)[None]))


def inner_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b.T, summed in float64 over chunks that are multiplied in the arrays' own precision."""
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], SUM_CHUNK):
        columns = slice(start, start + SUM_CHUNK)
        total += a[:, columns] @ b[:, columns].T
    return total


def squared_norms(a: np.ndarray) -> np.ndarray:
    """(m,) float64 sums of squares of the rows."""
    return np.einsum("ij,ij->i", a, a, dtype=np.float64)

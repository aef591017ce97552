"""Representational similarity analysis: the correlation of two matrices of dissimilarities."""

import warnings

import numpy as np

from repdyn_keras.errors import unknown
from repdyn_keras.measures.cka import above_diagonal
from repdyn_keras.measures.paired_features import centred, paired_features

DISSIMILARITIES = ("squared_euclidean", "correlation")
COMPARISONS = ("spearman", "pearson")
# Relative to the largest one, dissimilarities that differ by less are tied: without this, rounding
# errors would rank them.
TIE = 1e-12


def rsa(x, y, *, dissimilarity: str = "squared_euclidean", comparison: str = "spearman") -> float:
    """Representational similarity of two representations: similarity, 1 = identical.

    Each representation is reduced to the dissimilarities D_ij of all pairs of samples i < j,

        squared_euclidean  D_ij = |x_i - x_j|^2,
        correlation        D_ij = 1 - the Pearson correlation of x_i and x_j over the features,

    and rsa(x, y) is the correlation of those of x with those of y over all pairs: by default that
    of their ranks (Spearman). Ties have their mean rank. It lies between -1 and 1.

    Squared Euclidean distances make it invariant to rotation, isotropic scaling and shift of either
    representation. With correlation distances, it is invariant to the scaling and shift of every
    single sample, but not to a rotation or a shift of all samples. Both are invariant to the order
    of the samples and of the features; neither is to other invertible linear maps. With Spearman,
    it is also invariant to monotonic changes of the dissimilarities.

    Source: Kriegeskorte et al. 2008 (doi 10.3389/neuro.06.004.2008), who use correlation distances.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.
        dissimilarity: "squared_euclidean" or "correlation".
        comparison: "spearman" or "pearson".

    Returns:
        The similarity, in float64; NaN, with a warning, if a representation is constant over the
        samples or not finite, if all its dissimilarities are equal, or if a sample whose
        correlations are asked for is constant over the features.

    Raises:
        InputError: the numbers of samples differ, or there are fewer than 3; or an argument is
            unknown.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> round(rsa(x, 3 * x[:, ::-1] + 1), 6)
        1.0
    """
    if dissimilarity not in DISSIMILARITIES:
        raise unknown("dissimilarity", dissimilarity, DISSIMILARITIES)
    if comparison not in COMPARISONS:
        raise unknown("comparison", comparison, COMPARISONS)
    pair = paired_features(x, y, "rsa")
    if pair is None:
        return float("nan")
    vectors = []
    for name, features in zip("xy", pair, strict=True):
        values = dissimilarities(features, dissimilarity)
        if values is None or np.ptp(values) == 0:
            reason = (
                "has samples that are constant over the features"
                if values is None
                else "has equal dissimilarities of all samples"
            )
            warnings.warn(f"{name} {reason}: rsa is NaN.", stacklevel=2)
            return float("nan")
        values = centred_ranks(values) if comparison == "spearman" else values - values.mean()
        vectors.append(values / np.linalg.norm(values))
    return float(vectors[0] @ vectors[1])


def dissimilarities(x: np.ndarray, kind: str) -> np.ndarray | None:
    """(n (n - 1) / 2,) dissimilarities of features (n, d), rounded so that ties are found.

    None if a sample is constant over the features, whose correlations are undefined.
    """
    if kind == "correlation":
        x = centred(x.T).T
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        if (norms == 0).any():
            return None
        x = x / norms
        gram = x @ x.T
        values = above_diagonal(1 - gram)
        largest = 2.0
    else:
        x = centred(x)
        gram = x @ x.T
        squares = np.diagonal(gram)
        values = above_diagonal(squares[:, None] + squares - 2 * gram)
        largest = values.max()
    return np.round(values / (largest * TIE)) * TIE


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of values along the last axis, minus their mean; ties have their mean rank."""
    if values.ndim > 1:
        return np.stack([centred_ranks(row) for row in values])
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ends - (counts + 1) / 2
    return ranks[place] - (len(values) - 1) / 2

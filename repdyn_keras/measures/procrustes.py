"""Procrustes similarity: how well one representation can be rotated onto another."""

import numpy as np

from repdyn_keras.measures.feature_epochs import feature_measure
from repdyn_keras.measures.paired_features import Prepared, centred, paired_features


def procrustes(x, y) -> float:
    """Procrustes similarity of two representations: similarity, 1 = identical.

    With X and Y the centred features, and ||.||_* the sum of the singular values,

        procrustes(x, y) = ||X^T Y||_* / (||X||_F ||Y||_F),

    which is the largest cosine of X and Y Q over all rotations and reflections Q. It lies between
    0 and 1. Other forms follow from it: its arccos is the angular distance of Williams et al., a
    metric, and 2 - 2 times it is the squared distance of Ding et al. for features of norm 1. The
    similarity is what this function returns because it reads as CKA does, on the same scale.

    It is invariant to rotation and reflection, isotropic scaling and shift of either
    representation, to features that are 0, and to the order of the samples. It is not invariant to
    other invertible linear maps. Unrelated features have a value above 0, which grows with d / n.

    Source: Williams et al. 2021 (arXiv 2110.14739), the angular distance with rotations; Ding et
    al. 2021 (arXiv 2108.01661), orthogonal Procrustes.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.

    Returns:
        The similarity, in float64; NaN, with a warning, if a representation is constant over the
        samples or not finite.

    Raises:
        InputError: the numbers of samples differ, or there are fewer than 3.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> round(procrustes(x, 3 * x[:, ::-1] + 1), 6)
        1.0
    """
    pair = paired_features(x, y, "procrustes")
    if pair is None:
        return float("nan")
    first, second = map(unit_shape, pair)
    return nuclear_norm(first.T @ second)


def unit_shape(x: np.ndarray) -> np.ndarray:
    """(n, min(n, d)) centred features of norm 1, up to a rotation."""
    x = centred(x)
    if x.shape[1] > len(x):
        x = np.transpose(np.linalg.qr(x.T, mode="r"))
    return x / np.linalg.norm(x)


def nuclear_norm(product: np.ndarray) -> float:
    """The sum of the singular values of the product of two unit shapes, at most 1."""
    return min(float(np.linalg.svd(product, compute_uv=False).sum()), 1.0)


MEASURE = feature_measure(
    "procrustes",
    "Procrustes similarities (procrustes)",
    lambda x, epsilon: Prepared(unit_shape(x)),
    lambda product, first, second: nuclear_norm(product),
)

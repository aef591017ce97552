"""PWCCA: canonical correlations, weighted by how much of a representation they account for."""

from typing import NamedTuple

import numpy as np

from repdyn_keras.measures.canonical import check_directions, directions
from repdyn_keras.measures.paired_features import centred, paired_features, resolution


def pwcca(x, y) -> float:
    """Projection weighted CCA of two representations: similarity, 1 = identical.

    With rho_i the canonical correlations of all directions of x and y, h_i the canonical variate of
    x that belongs to rho_i, of norm 1, and z_j the centred features of x,

        pwcca(x, y) = sum_i alpha_i rho_i / sum_i alpha_i,  alpha_i = sum_j |<h_i, z_j>|.

    The weights are those of x, so that pwcca(x, y) and pwcca(y, x) differ.

    It is invariant to every invertible linear map and shift of y; to isotropic scaling, shift,
    reflection and order of the features of x; and to the order of the samples. It is not invariant
    to a rotation of x, since the weights add up absolute values feature by feature. Unrelated
    features have a value above 0, which grows with the number of features.

    Source: Morcos et al. 2018 (arXiv 1806.05759), section 2.

    Args:
        x: (n, ...) features, flattened to (n, d); they give the weights.
        y: (n, ...) features of the same samples in the same order; d may differ.

    Returns:
        The similarity, in float64; NaN, with a warning, if a representation is constant over the
        samples or not finite. A warning also says how many canonical correlations are 1 whatever
        the data, because there are too few samples.

    Raises:
        InputError: the numbers of samples differ, or there are fewer than 3; or a representation
            has n - 1 directions, so that everything is similar to it.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> round(pwcca(x, 3 * x[:, ::-1] + 1), 6)
        1.0
    """
    pair = paired_features(x, y, "pwcca")
    if pair is None:
        return float("nan")
    given = np.asarray(x), np.asarray(y)
    first, second = (
        weighed(features, resolution(array)) for features, array in zip(pair, given, strict=True)
    )
    counts = first.basis.shape[1], second.basis.shape[1]
    check_directions(len(first.basis), *counts, ", or features with fewer dimensions")
    return weighted_correlations(first.basis.T @ second.basis, first, second)[0]


class Weighed(NamedTuple):
    """A representation, prepared for comparison.

    Attributes:
        basis: (n, k) orthonormal basis of its directions.
        loads: (k, d) inner products of the basis and the features.
    """

    basis: np.ndarray
    loads: np.ndarray


def weighed(x: np.ndarray, epsilon: float) -> Weighed:
    """Features (n, d), prepared for comparison; see `canonical.directions` for `epsilon`."""
    basis = directions(x, 1.0, epsilon)
    return Weighed(basis, basis.T @ centred(x))


def weighted_correlations(
    product: np.ndarray, first: Weighed, second: Weighed
) -> tuple[float, float]:
    """PWCCA with the weights of the first, and with those of the second representation.

    Args:
        product: (k, k_other) inner products of their bases.
        first, second: the representations.
    """
    left, values, right = np.linalg.svd(product, full_matrices=False)
    values = np.minimum(values, 1)
    weights = [
        np.abs(variates @ each.loads).sum(axis=1)
        for variates, each in ((left.T, first), (right, second))
    ]
    return float(np.average(values, weights=weights[0])), float(
        np.average(values, weights=weights[1])
    )

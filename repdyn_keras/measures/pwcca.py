"""PWCCA: canonical correlations, weighted by how much of a representation they account for."""

import numpy as np

from repdyn_keras.measures.canonical import check_directions, directions, is_saturated
from repdyn_keras.measures.feature_epochs import feature_measure
from repdyn_keras.measures.paired_features import Prepared, centred, paired_features, resolution


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
    counts = first.rows.shape[1], second.rows.shape[1]
    check_directions(len(first.rows), *counts, ", or features with fewer dimensions")
    return weighted_correlations(first.rows.T @ second.rows, first.loads, second.loads)[0]


def weighed(x: np.ndarray, epsilon: float) -> Prepared:
    """An orthonormal basis of all directions of features (n, d), with its loads."""
    basis = directions(x, 1.0, epsilon)
    return Prepared(basis, basis.T @ centred(x))


def weighted_correlations(product: np.ndarray, *loads: np.ndarray | None) -> tuple[float, float]:
    """PWCCA with the weights of the first, and with those of the second representation.

    Args:
        product: (k, k_other) inner products of their bases.
        loads: (k, d) and (k_other, d_other) loads of the bases.
    """
    left, values, right = np.linalg.svd(product, full_matrices=False)
    values = np.minimum(values, 1)
    first, second = (
        float(np.average(values, weights=np.abs(variates @ each).sum(axis=1)))
        for variates, each in zip((left.T, right), loads, strict=True)
    )
    return first, second


def symmetric_pwcca(product: np.ndarray, first: Prepared, second: Prepared) -> float:
    """The mean of PWCCA with the weights of either representation."""
    if is_saturated(len(first.rows), *product.shape):
        return float("nan")
    return sum(weighted_correlations(product, first.loads, second.loads)) / 2


MEASURE = feature_measure("pwcca", "projection weighted CCA (pwcca)", weighed, symmetric_pwcca)

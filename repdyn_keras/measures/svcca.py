"""SVCCA: mean canonical correlation of the directions that carry most of the variance."""

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures.canonical import (
    check_directions,
    correlations,
    directions,
    is_saturated,
)
from repdyn_keras.measures.feature_epochs import feature_measure
from repdyn_keras.measures.paired_features import Prepared, paired_features, resolution

# Share of the variance that the kept directions carry at least.
VARIANCE = 0.99


def svcca(x, y, *, variance: float = VARIANCE) -> float:
    """SVCCA of two representations: similarity, 1 = identical.

    Of each representation, centred, the fewest singular directions that carry 99% of the variance
    are kept. With rho_1, ..., rho_k their canonical correlations, k the smaller number of
    directions,

        svcca(x, y) = (rho_1 + ... + rho_k) / k.

    It is invariant to rotation, isotropic scaling and shift of either representation and to the
    order of the samples; with variance=1, to every invertible linear map. With less it is not,
    since a map that shrinks a direction removes it. Directions of y beyond those of x do not lower
    the value. That of unrelated features is above 0 and grows with the number of directions.

    Source: Raghu et al. 2017 (arXiv 1706.05806), section 2.1.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.
        variance: share of the variance that the kept directions carry at least, above 0 and at
            most 1. Directions below the precision of the features, as they were given, are always
            left out.

    Returns:
        The similarity, in float64; NaN, with a warning, if a representation is constant over the
        samples or not finite. A warning also says how many canonical correlations are 1 whatever
        the data, because there are too few samples.

    Raises:
        InputError: the numbers of samples differ, or there are fewer than 3; `variance` is out of
            range; or a representation has n - 1 directions, so that everything is similar to it.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> round(svcca(x, 3 * x[:, ::-1] + 1), 6)
        1.0
    """
    if not 0 < variance <= 1:
        raise InputError(
            "Expected a share of the variance above 0 and at most 1. Received: "
            f"variance={variance!r}."
        )
    pair = paired_features(x, y, "svcca")
    if pair is None:
        return float("nan")
    given = np.asarray(x), np.asarray(y)
    first, second = (
        directions(features, variance, resolution(array))
        for features, array in zip(pair, given, strict=True)
    )
    check_directions(len(first), first.shape[1], second.shape[1], ", or keep less variance")
    return float(correlations(first.T @ second).mean())


def mean_correlation(product: np.ndarray, first: Prepared, second: Prepared) -> float:
    """The mean canonical correlation; NaN if one representation spans all samples."""
    if is_saturated(len(first.rows), *product.shape):
        return float("nan")
    return float(correlations(product).mean())


MEASURE = feature_measure(
    "svcca",
    "canonical correlations (svcca)",
    lambda x, epsilon: Prepared(directions(x, VARIANCE, epsilon)),
    mean_correlation,
)

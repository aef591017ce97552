"""Canonical correlations of two representations, on which SVCCA and PWCCA are built."""

import warnings

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures.paired_features import centred


def directions(x: np.ndarray, variance: float, epsilon: float) -> np.ndarray:
    """An orthonormal basis (n, k) of the directions that carry most of the variance of features.

    Args:
        x: (n, d) features.
        variance: share of the variance that the directions carry at least; 1 keeps all of them.
        epsilon: machine epsilon of the features as they were given, which tells directions from
            rounding errors.
    """
    vectors, values, _ = np.linalg.svd(centred(x), full_matrices=False)
    rank = max(1, int((values > epsilon * max(x.shape) ** 0.5 * values[0]).sum()))
    shares = np.cumsum(values[:rank] ** 2) / np.sum(values[:rank] ** 2)
    # The last share is 1 up to rounding errors.
    kept = rank if variance == 1 else int(np.searchsorted(shares, variance - 1e-12)) + 1
    return vectors[:, : min(kept, rank)]


def correlations(product: np.ndarray) -> np.ndarray:
    """Canonical correlations from the product of two bases, descending, at most 1."""
    return np.minimum(np.linalg.svd(product, compute_uv=False), 1)


def is_saturated(n: int, *counts: int) -> bool:
    """Whether one basis spans all centred samples, so that it contains everything else."""
    return max(counts) >= n - 1


def check_directions(n: int, first: int, second: int, remedy: str) -> None:
    """Checks that two bases leave room for canonical correlations that mean something.

    Args:
        n: number of samples.
        first, second: numbers of directions of the two bases.
        remedy: what the user can do, beside giving more samples.

    Raises:
        InputError: one basis spans all n samples, so that every canonical correlation is 1.
    """
    if is_saturated(n, first, second):
        raise InputError(
            f"Expected fewer directions than samples - 1, since n - 1 directions can be mapped "
            f"onto anything. Received: n = {n}, with {first} directions in x and {second} in y. "
            f"Give more samples{remedy}."
        )
    common = first + second - (n - 1)
    if common > 0:
        warnings.warn(
            f"{common} of {min(first, second)} canonical correlations are 1 whatever the data: "
            f"{first} + {second} directions share a space of n - 1 = {n - 1}.",
            stacklevel=3,
        )

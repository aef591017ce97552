"""Features of the same samples, checked and brought into one form for measures on arrays."""

import warnings
from typing import NamedTuple

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures.cka import is_floating

# Fewer samples leave nothing to compare: two centred ones are always alike.
MIN_SAMPLES = 3


class Prepared(NamedTuple):
    """A representation, reduced to what a measure compares.

    Attributes:
        rows: (n, k) array of which the products with that of another representation are compared.
        loads: (k, d) inner products of the rows and the centred features, or None.
    """

    rows: np.ndarray
    loads: np.ndarray | None = None


def paired_features(x, y, measure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Two representations of the same samples as float64, each divided by a power of 2.

    Args:
        x, y: (n, ...) features, flattened to (n, d).
        measure: the measure, for messages.

    Returns:
        (n, d) and (n, d_other) arrays of values between -1 and 1; None, with a warning that names
        the representation, if one is constant over the samples or not finite.

    Raises:
        InputError: an array has no features, the numbers of samples differ, or there are fewer
            than 3.
    """
    arrays = np.asarray(x), np.asarray(y)
    for array in arrays:
        if array.ndim < 2 or array[:1].size == 0:
            raise InputError(
                "Expected features of shape (n, ...) with n samples. Received: features of shape "
                f"{array.shape}."
            )
    n = len(arrays[0])
    if len(arrays[1]) != n:
        raise InputError(
            "Expected two representations of the same samples in the same order. Received: "
            f"{n} samples in x and {len(arrays[1])} in y."
        )
    if n < MIN_SAMPLES:
        raise InputError(f"Expected at least {MIN_SAMPLES} samples. Received: n = {n}.")
    found = []
    for name, array in zip("xy", arrays, strict=True):
        features = scaled(array)
        if features is None or is_constant(features, resolution(array)):
            reason = "not finite" if features is None else f"constant over its {n} samples"
            warnings.warn(f"{name} is {reason}: {measure} is NaN.", stacklevel=3)
            return None
        found.append(features)
    return found[0], found[1]


def scaled(x: np.ndarray) -> np.ndarray | None:
    """(n, d) float64 features, divided by a power of 2; None if they are not finite.

    The division is exact. Without it, squares of very large or small features would overflow.
    """
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        return None
    return np.ldexp(x, -int(np.frexp(np.abs(x).max())[1]))


def resolution(x: np.ndarray) -> float:
    """Machine epsilon of features as they were given."""
    return float(np.finfo(x.dtype if is_floating(x) else np.float64).eps)


def is_constant(x: np.ndarray, epsilon: float) -> bool:
    """Whether features (n, d) are the same for all samples, up to rounding errors."""
    return bool(np.linalg.norm(centred(x)) <= epsilon * np.linalg.norm(x))


def centred(x: np.ndarray) -> np.ndarray:
    """Features (n, d) minus their mean over the samples."""
    # The first sample is subtracted before, so that a large common shift does not cost precision.
    x = x - x[0]
    return x - x.mean(axis=0)

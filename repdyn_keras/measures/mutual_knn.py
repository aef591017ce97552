"""Mutual nearest neighbours: the share of a sample's neighbours that two representations share."""

import warnings

import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures.paired_features import centred, paired_features

# Number of neighbours, that of the paper.
NEIGHBOURS = 10
METRICS = ("cosine", "euclidean")
# Similarities that differ by less, relative to the largest, are tied.
TIE = 1e-12
# Samples whose neighbours are found at a time, which limits the memory.
ROWS = 512


def mutual_knn(x, y, *, k: int = NEIGHBOURS, metric: str = "cosine") -> float:
    """Mutual nearest neighbours of two representations: similarity, 1 = identical.

    With S_i(x) the k nearest neighbours of sample i in x, without i itself,

        mutual_knn(x, y) = mean over i of |S_i(x) & S_i(y)| / k.

    It lies between 0 and 1; that of unrelated features is k / (n - 1) on average. Of samples that
    are equally near, those that come first are taken.

    With the cosine, it is invariant to rotation, and to scaling of every single sample, but not to
    a shift. With Euclidean distances, it is invariant to rotation, isotropic scaling and shift, but
    not to scaling of single samples. Both are invariant to the order of the samples, if there are
    no ties, and of the features; neither is to other invertible linear maps.

    Source: Huh et al. 2024 (arXiv 2405.07987), the mutual nearest-neighbour metric, whose features
    are normalized: the cosine.

    Args:
        x: (n, ...) features, flattened to (n, d).
        y: (n, ...) features of the same samples in the same order; d may differ.
        k: number of neighbours, from 1 to n - 2: with n - 1, everything is alike.
        metric: "cosine" or "euclidean".

    Returns:
        The similarity, in float64; NaN, with a warning, if a representation is constant over the
        samples or not finite, or if the cosine of a sample of zeros is asked for.

    Raises:
        InputError: the numbers of samples differ, or there are fewer than 3; k is out of range; or
            the metric is unknown.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 10))
        >>> mutual_knn(x, 3 * x[:, ::-1])
        1.0
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    pair = paired_features(x, y, "mutual_knn")
    n = len(np.asarray(x))
    require_neighbours(k, n)
    if pair is None:
        return float("nan")
    found = []
    for name, features in zip("xy", pair, strict=True):
        if metric == "cosine":
            norms = np.linalg.norm(features, axis=1, keepdims=True)
            if (norms == 0).any():
                warnings.warn(f"{name} has samples of zeros: mutual_knn is NaN.", stacklevel=2)
                return float("nan")
            features = features / norms
        else:
            features = centred(features)
        found.append(neighbours(features, k, metric))
    return float((found[0] & found[1]).sum() / (n * k))


def require_neighbours(k: int, n: int) -> None:
    """Raises InputError unless n samples have k neighbours among which two can differ."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= n - 2:
        raise InputError(
            f"Expected a number of neighbours from 1 to n - 2 = {n - 2}; with n - 1, all samples "
            f"are neighbours. Received: k={k!r} for n = {n} samples."
        )


def neighbours(x: np.ndarray, k: int, metric: str) -> np.ndarray:
    """(n, n) whether the sample of a column is among the k nearest of the sample of a row."""
    squares = np.einsum("ij,ij->i", x, x)
    found = np.zeros((len(x), len(x)), bool)
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        near = x[rows] @ x.T
        if metric == "euclidean":
            near = 2 * near - squares - squares[rows, None]
        near = np.round(near / (TIE * max(squares.max(), TIE)))
        itself = np.arange(len(near))
        near[itself, start + itself] = -np.inf
        found[rows] = nearest(near, k)
    return found


def nearest(near: np.ndarray, k: int) -> np.ndarray:
    """Whether entries of (..., n) are among the k largest; the first of equal ones."""
    order = np.argsort(-near, axis=-1, kind="stable")[..., :k]
    found = np.zeros(near.shape, bool)
    np.put_along_axis(found, order, True, axis=-1)
    return found

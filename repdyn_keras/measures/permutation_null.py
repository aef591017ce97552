"""Mean and deviation of a sum over pairs of samples when the samples are permuted, exactly."""

import numpy as np

# How the pairs (i, j) and (k, l) of two terms can coincide: both equal; crossed; the same first
# sample; the same second sample; the second of one is the first of the other (two ways); nothing in
# common.
COINCIDENCES = 7


def coincidence_sums(matrices: np.ndarray) -> np.ndarray:
    """(m, 7) sums of products of two entries of each matrix, by how their pairs coincide.

    Args:
        matrices: (m, b, b) with zeros on the diagonals.
    """
    matrices = matrices.astype(np.float64)
    rows, columns = matrices.sum(axis=2), matrices.sum(axis=1)
    equal = np.einsum("mij,mij->m", matrices, matrices)
    crossed = np.einsum("mij,mji->m", matrices, matrices)
    first = np.einsum("mi,mi->m", rows, rows) - equal
    second = np.einsum("mi,mi->m", columns, columns) - equal
    chained = np.einsum("mi,mi->m", rows, columns) - crossed
    found = [equal, crossed, first, second, chained, chained]
    return np.stack([*found, rows.sum(axis=1) ** 2 - sum(found)], axis=1)


def permutation_variance(sums: np.ndarray, means: np.ndarray, b: int) -> np.ndarray:
    """Variances of sum_ij A_ij B_(p(i) p(j)) over all permutations p of b samples.

    Pairs of entries that coincide in the same way are equally likely to meet, so that the mean of
    the square is exact: Mantel 1967 (Cancer Research 27), for matrices of any symmetry.

    Args:
        sums: (m, 7) `coincidence_sums` of the matrices A and B.
        means: (m, m) means of the sum, see `permutation_mean`.
        b: number of samples, at least 4.

    Returns:
        (m, m) variances.
    """
    pairs = b * (b - 1)
    counts = np.array([pairs, pairs, *[pairs * (b - 2)] * 4, pairs * (b - 2) * (b - 3)])
    return np.maximum(sums / counts @ sums.T - means**2, 0)


def permutation_mean(totals: np.ndarray, b: int) -> np.ndarray:
    """(m, m) means of sum_ij A_ij B_(p(i) p(j)) from the sums (m,) of the matrices' entries."""
    return totals[:, None] * totals / (b * (b - 1))

"""CKA of permuted samples: what remains without structure, and with that of the classes alone."""

import numpy as np

from repdyn_keras.measures.cka import squared_norms


def null_deviation(fingerprints: np.ndarray, other: np.ndarray, batch: int) -> np.ndarray:
    """Standard deviation of CKA between unrelated representations, whose mean is 0.

    Under the null hypothesis, the samples of one representation are permuted within each batch. The
    value is exact and depends little on the representations.

    Args:
        fingerprints: (m, pairs) unbiased fingerprints of whole batches.
        other: (k, pairs) those of the same samples.
        batch: samples in a batch.

    Returns:
        (m, k) float64; NaN where a fingerprint holds NaN.
    """
    return deviation(batch_squares(fingerprints, batch), batch_squares(other, batch), batch)


def deviation(squares: np.ndarray, other: np.ndarray, batch: int) -> np.ndarray:
    """(m, k) `null_deviation` from squared norms, (m, batches) and (k, batches)."""
    spread = squares @ other.T * 2 / (batch * (batch - 3))
    return np.sqrt(spread / (squares.sum(1)[:, None] * other.sum(1)[None]))


def batch_squares(fingerprints: np.ndarray, batch: int) -> np.ndarray:
    """(m, batches) squared norms of the parts of fingerprints (m, pairs) that belong to a batch."""
    parts = np.split(fingerprints, fingerprints.shape[1] // (batch * (batch - 1) // 2), axis=1)
    return np.stack([squared_norms(part) for part in parts], axis=1)


def class_null(
    fingerprints: np.ndarray, other: np.ndarray, labels: np.ndarray, batch: int
) -> np.ndarray:
    """CKA owed to class structure: its mean when samples are permuted within class and batch.

    The mean over all permutations is exact; none is drawn. With one class it is 0. A class of one
    sample in a batch cannot be permuted, so that classes with few samples in a batch give large
    values.

    Args:
        fingerprints: (m, pairs) unbiased fingerprints of whole batches.
        other: (k, pairs) those of the same samples.
        labels: (n,) class of each sample.
        batch: samples in a batch.

    Returns:
        (m, k) float64; NaN where a fingerprint holds NaN, and everywhere if no two samples of a
        batch have the same class, so that no permutation changes anything.
    """
    pairs = batch * (batch - 1) // 2
    products = np.zeros((len(fingerprints), len(other)))
    for index, own in enumerate(labels.reshape(-1, batch)):
        part = slice(index * pairs, (index + 1) * pairs)
        products += class_means(fingerprints[:, part], own) @ class_means(other[:, part], own).T
    norms = squared_norms(fingerprints)[:, None] * squared_norms(other)
    return products / np.sqrt(norms) if has_repeats(labels, batch) else np.full_like(norms, np.nan)


def class_means(part: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Means of one batch of fingerprints over the pairs of samples of the same two classes.

    Permutations of the samples within every class move these pairs among themselves, and each to
    every place equally often. The inner product of one fingerprint with another is therefore, in
    the mean over all permutations, the inner product of such means.

    Args:
        part: (m, b (b - 1) / 2) the part of unbiased fingerprints that belongs to a batch.
        labels: (b,) class of each sample.

    Returns:
        (m, means) float64, each mean times the root of its number of pairs.
    """
    row, column = np.triu_indices(len(labels), 1)
    code = np.unique(labels, return_inverse=True)[1]
    low, high = np.minimum(code[row], code[column]), np.maximum(code[row], code[column])
    _, place, count = np.unique(low * len(labels) + high, return_inverse=True, return_counts=True)
    sums = [np.bincount(place, each, len(count)) for each in part]
    return np.reshape(sums, (len(part), len(count))) / np.sqrt(count)


def has_repeats(labels: np.ndarray, batch: int) -> bool:
    """Whether two samples of any batch have the same class."""
    return any(len(np.unique(own)) < batch for own in labels.reshape(-1, batch))


def given_labels(constants) -> np.ndarray | None:
    """(n,) given labels of a recording's evaluation images; None if there are none."""
    labels = constants["label_given"].values if "label_given" in constants else np.array([-1])
    return None if (labels < 0).any() else labels

"""RSA between epochs: the rank correlation of the Gram entries that fingerprints hold."""

import numpy as np

from repdyn_keras.measures import Arrays, Series
from repdyn_keras.measures.gram_epochs import (
    similarities_of_grams,
    similarity_measure,
    symmetric,
    upper_pairs,
)
from repdyn_keras.measures.rsa import centred_ranks


def ranked(grams: np.ndarray) -> np.ndarray:
    """Symmetric matrices (m, b, b) whose entries off the diagonals are replaced by their ranks.

    The ranks are those among the pairs of the batch, centred, and divided by the number of pairs.
    """
    b = grams.shape[1]
    rows, columns = upper_pairs(b)
    return symmetric(centred_ranks(grams[:, rows, columns]) / len(rows), b)


def over_epochs(series: Series) -> Arrays:
    """Spearman correlation of the U-centred Gram entries of every layer between all epochs.

    CKA is the Pearson correlation of the same entries.
    """
    return similarities_of_grams(series, "rsa", ranked)


MEASURE = similarity_measure("rsa", "rank correlations (rsa)", over_epochs)

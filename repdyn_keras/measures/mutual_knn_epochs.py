"""Mutual nearest neighbours between epochs, by the Gram entries that fingerprints hold."""

from functools import partial

import numpy as np

from repdyn_keras.measures import Arrays, Series
from repdyn_keras.measures.gram_epochs import similarities_of_grams, similarity_measure
from repdyn_keras.measures.mutual_knn import NEIGHBOURS, nearest


def neighbour_flags(grams: np.ndarray, k: int) -> np.ndarray:
    """(m, b, b) whether the image of a column is among the k largest entries of a row."""
    itself = np.arange(grams.shape[1])
    grams = grams.copy()
    grams[:, itself, itself] = -np.inf
    return nearest(grams, k)


def over_epochs(series: Series) -> Arrays:
    """Share of the nearest neighbours that every layer has in common between all epochs.

    Neighbours are images of the same batch, by their U-centred Gram entries. There are 10, or as
    many as a small batch allows.
    """
    k = min(NEIGHBOURS, int(series.constants.attrs["batch"]) - 2)
    found = similarities_of_grams(series, "mutual_knn", partial(neighbour_flags, k=k))
    return {**found, "mutual_knn_k": k}


MEASURE = similarity_measure(
    "mutual_knn", "nearest neighbours (mutual_knn)", over_epochs, ("mutual_knn_k",)
)

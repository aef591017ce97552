"""Similarities between epochs that are computed from the Gram entries that fingerprints hold."""

from collections.abc import Callable
from functools import cache

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series
from repdyn_keras.measures.cka import inner_products, normalized
from repdyn_keras.measures.cka_epochs import MEMORY_BYTES, PAIR, Reader, readers
from repdyn_keras.measures.permutation_null import (
    COINCIDENCES,
    coincidence_sums,
    permutation_mean,
    permutation_variance,
)
from repdyn_keras.measures.threads import one_blas_thread, parallel_map

# Epochs whose matrices are in memory at a time.
EPOCHS_AT_A_TIME = 8

# Maps U-centred Gram matrices (m, b, b) of a batch to matrices (m, b, b) with zeros on the
# diagonals, of which the cosine is the similarity.
Transform = Callable[[np.ndarray], np.ndarray]


def similarity_measure(
    name: str,
    title: str,
    over_epochs: Callable[[Series], Arrays],
    attributes: tuple[str, ...] = (),
    *,
    needs_features: bool = False,
) -> Measure:
    """A measure that is computed on request: `similarity_NAME` and its null.

    Args:
        name: by which it is requested.
        title: for progress messages.
        over_epochs: computes the two variables.
        attributes: that it computes, too.
        needs_features: whether the records must hold features.
    """
    computed = {
        f"similarity_{name}": PAIR,
        f"similarity_{name}_null": (*PAIR, "statistic"),
    }
    meanings = {
        f"similarity_{name}": (f"{name} between two epochs", "1"),
        f"similarity_{name}_null": (f"{name} of permuted images: mean and deviation", "1"),
    }
    return Measure(
        name=name,
        title=title,
        computed=computed,
        meanings=meanings,
        attributes=attributes,
        over_epochs=over_epochs,
        is_on_request=True,
        needs_features=needs_features,
    )


def similarities_of_grams(series: Series, name: str, transform: Transform) -> Arrays:
    """A similarity of every layer between all epochs, and its null.

    The similarity of two epochs is the cosine of their transformed matrices, over all batches. Of
    the null, `statistic` holds the mean and the standard deviation over all permutations of the
    images of one epoch within their batches, both exact.

    Args:
        series: the records.
        name: of the similarity.
        transform: of the Gram matrices of a batch.
    """
    state = series.recorded("finite", "dead")
    defined = (state["finite"] > state["dead"]).T
    batch, length = int(series.constants.attrs["batch"]), series.fingerprint_length

    def results_of(layer: tuple[Reader, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return layer_similarities(*layer, transform, batch, length)

    found: list[tuple[np.ndarray, np.ndarray]] = []
    size = 4 * len(series.epochs) * batch**2 + MEMORY_BYTES // 2
    with one_blas_thread():
        for group in readers(series):
            items = list(zip(group, defined[len(found) :], strict=False))
            found += parallel_map(results_of, items, size)
    values, nulls = zip(*found, strict=True)
    return {f"similarity_{name}": np.stack(values), f"similarity_{name}_null": np.stack(nulls)}


def layer_similarities(
    read: Reader, defined: np.ndarray, transform: Transform, batch: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The similarities (epoch, epoch_other) of one layer, and (..., statistic) of their null."""
    records, pairs = np.flatnonzero(defined), batch * (batch - 1) // 2
    t, m = len(defined), len(records)
    products, means, variances = np.zeros((3, m, m))
    for start in range(0, length, pairs):
        part = read(slice(start, start + pairs))[records]
        vectors = np.empty((m, batch * batch), np.float32)
        sums, totals = np.empty((m, COINCIDENCES)), np.empty(m)
        for first in range(0, m, EPOCHS_AT_A_TIME):
            some = slice(first, first + EPOCHS_AT_A_TIME)
            matrices = transform(symmetric(part[some], batch))
            vectors[some] = matrices.reshape(len(matrices), -1)
            sums[some], totals[some] = coincidence_sums(matrices), matrices.sum(axis=(1, 2))
        mean = permutation_mean(totals, batch)
        products += inner_products(vectors, vectors)
        means += mean
        variances += permutation_variance(sums, mean, batch)
    squares = np.diagonal(products).copy()
    # All pairs of a representation may be alike, though it is not dead.
    squares[squares == 0] = np.nan
    norms = np.sqrt(squares[:, None] * squares)
    found = [normalized(np.where(np.isnan(norms), np.nan, products)), means / norms]
    values, mean, deviation = np.full((3, t, t), np.nan)
    both = np.ix_(records, records)
    values[both], mean[both] = found
    deviation[both] = np.sqrt(variances) / norms
    return values, np.stack([mean, deviation], axis=-1)


def symmetric(vectors: np.ndarray, b: int) -> np.ndarray:
    """(m, b, b) symmetric matrices with zeros on the diagonals, from the entries above them."""
    rows, columns = upper_pairs(b)
    matrices = np.zeros((len(vectors), b, b), vectors.dtype)
    matrices[:, rows, columns] = matrices[:, columns, rows] = vectors
    return matrices


@cache
def upper_pairs(b: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries above the diagonal of a (b, b) matrix."""
    return np.triu_indices(b, 1)

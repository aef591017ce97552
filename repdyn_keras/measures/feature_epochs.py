"""Similarities between epochs that are computed from recorded features."""

from collections.abc import Callable

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series
from repdyn_keras.measures.gram_epochs import similarity_measure
from repdyn_keras.measures.paired_features import Prepared, is_constant, scaled
from repdyn_keras.measures.threads import one_blas_thread, parallel_map

# Permutations of the images that are drawn for each pair of epochs.
NULL_DRAWS = 3

# Reduces features (n, d) of a machine epsilon to what is compared.
Prepare = Callable[[np.ndarray, float], Prepared]
# Compares two representations by the product of their rows.
Compare = Callable[[np.ndarray, Prepared, Prepared], float]


def feature_measure(name: str, title: str, prepare: Prepare, compare: Compare) -> Measure:
    """A measure that is computed on request from the features in the records.

    Args:
        name: by which it is requested.
        title: for progress messages.
        prepare: prepares the features of one epoch.
        compare: compares two epochs; symmetric.
    """

    def over_epochs(series: Series) -> Arrays:
        return similarities_of_features(series, name, prepare, compare)

    return similarity_measure(name, title, over_epochs, needs_features=True)


def similarities_of_features(
    series: Series, name: str, prepare: Prepare, compare: Compare
) -> Arrays:
    """A similarity of every layer between all epochs, and its null.

    Of the null, `statistic` holds the mean over three random permutations of the images of one
    epoch, for every pair of epochs, and the standard deviation over permutations, which is pooled
    over the pairs of epochs of the layer.

    Args:
        series: the records.
        name: of the similarity.
        prepare, compare: see `feature_measure`.
    """
    state = series.recorded("finite", "dead")
    defined = (state["finite"] > state["dead"]).T

    def results_of(layer: int) -> tuple[np.ndarray, np.ndarray]:
        draws = np.random.default_rng(layer)
        features = series.features(layer)
        prepared = [
            prepared_or_none(x, prepare) if usable else None
            for x, usable in zip(features, defined[layer], strict=True)
        ]
        return compared(prepared, compare, draws)

    widest = int(series.recorded("feature_width")["feature_width"].max())
    # A layer's features, their reduced form, and the loads, in float64.
    size = 3 * 8 * len(series.epochs) * widest * len(series.constants["sample"])
    with one_blas_thread():
        found = list(parallel_map(results_of, range(len(series.layers)), size))
    values, nulls = zip(*found, strict=True)
    return {f"similarity_{name}": np.stack(values), f"similarity_{name}_null": np.stack(nulls)}


def prepared_or_none(x: np.ndarray, prepare: Prepare) -> Prepared | None:
    """Features (n, d), prepared; None if they are not finite or constant."""
    features, epsilon = scaled(x), float(np.finfo(x.dtype).eps)
    if features is None or is_constant(features, epsilon):
        return None
    return prepare(features, epsilon)


def compared(
    prepared: list[Prepared | None], compare: Compare, draws: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(epoch, epoch_other) similarities, and (epoch, epoch_other, 2) their null."""
    t = len(prepared)
    values, null = np.full((t, t), np.nan), np.full((t, t, NULL_DRAWS), np.nan)
    for s, first in enumerate(prepared):
        for other in range(s, t):
            second = prepared[other]
            if first is None or second is None:
                continue
            values[s, other] = compare(first.rows.T @ second.rows, first, second)
            for draw in range(NULL_DRAWS):
                order = draws.permutation(len(first.rows))
                product = first.rows.T @ second.rows[order]
                null[s, other, draw] = compare(product, first, second)
            values[other, s], null[other, s] = values[s, other], null[s, other]
    mean = null.mean(axis=2)
    spread = null.var(axis=2, ddof=1)
    deviation = np.sqrt(spread[~np.isnan(spread)].mean()) if (~np.isnan(spread)).any() else np.nan
    return values, np.stack([mean, np.where(np.isnan(mean), np.nan, deviation)], axis=-1)

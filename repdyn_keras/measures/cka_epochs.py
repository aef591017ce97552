"""CKA between all recorded epochs, with its interval, its null values and influential images."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series
from repdyn_keras.measures.cka import SUM_CHUNK, in_range, inner_products, normalized
from repdyn_keras.measures.cka_interval import Influences
from repdyn_keras.measures.cka_null import (
    batch_squares,
    class_means,
    deviation,
    given_labels,
    has_repeats,
)
from repdyn_keras.measures.influential_images import named, threshold, top_images
from repdyn_keras.measures.threads import one_blas_thread, parallel_map

# Bytes of fingerprints that the analysis holds at a time. The fingerprints of a layer beyond that
# are read in parts, twice: for the similarities, and batch by batch for everything else.
MEMORY_BYTES = 1 << 27

# Reads a range of pairs of a layer's fingerprints: (epoch, pair).
Reader = Callable[[slice], np.ndarray]


def over_epochs(series: Series) -> Arrays:
    """CKA of every layer between all epochs, and the variables that say how far to trust it."""
    state = series.recorded("finite", "dead")
    defined = (state["finite"] > state["dead"]).T
    batch = int(series.constants.attrs["batch"])
    labels = given_labels(series.constants)
    length, t = series.fingerprint_length, len(series.epochs)
    columns = max(1, MEMORY_BYTES // (4 * t * len(series.layers) * SUM_CHUNK)) * SUM_CHUNK

    def results_of(layer: tuple[Reader, np.ndarray]) -> dict[str, np.ndarray]:
        read, records = layer
        products = layer_products(read, length, columns, t)
        return layer_results(read, products, records, batch, length, labels)

    found: list[dict[str, np.ndarray]] = []
    # The products of single images are too small to be worth several threads each.
    with one_blas_thread():
        for group in readers(series):
            items = list(zip(group, defined[len(found) :], strict=False))
            found += parallel_map(results_of, items, 6 * t * batch**2 + MEMORY_BYTES // 2)
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
    images = series.constants["sample"].values
    stacked["influential_image"] = named(stacked["influential_image"], images)
    return {**stacked, "influence_threshold": threshold(len(images))}


def readers(series: Series) -> Iterator[list[Reader]]:
    """Readers of the layers' fingerprints, for as many layers at a time as fit into memory."""
    length, layers = series.fingerprint_length, len(series.layers)
    fitting = MEMORY_BYTES // (4 * len(series.epochs) * length)
    for first in range(0, layers, max(1, fitting)):
        group = slice(first, min(first + max(1, fitting), layers))
        if fitting:
            held = series.fingerprints(group, slice(0, length)).swapaxes(0, 1)
            yield [partial(_columns, layer) for layer in held]
        else:
            yield [partial(_read_columns, series, group)]


def _columns(fingerprints: np.ndarray, pairs: slice) -> np.ndarray:
    return fingerprints[:, pairs]


def _read_columns(series: Series, layer: slice, pairs: slice) -> np.ndarray:
    return series.fingerprints(layer, pairs)[:, 0]


def layer_products(read: Reader, length: int, columns: int, t: int) -> np.ndarray:
    """(epoch, epoch_other) inner products of a layer's fingerprints, read in parts."""
    products = np.zeros((t, t))
    for start in range(0, length, columns):
        part = read(slice(start, min(start + columns, length)))
        products += inner_products(part, part)
    return products


def layer_results(
    read: Reader,
    products: np.ndarray,
    defined: np.ndarray,
    batch: int,
    length: int,
    labels: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """The variables of one layer, without the dim `layer`; NaN at epochs that are not defined.

    They are also NaN where activations are so large or small that products of fingerprints leave
    the range of float32, see `cka.in_range`.

    `influential_image` holds indices of images, and -1 where it is not defined.

    Args:
        read: reads the layer's fingerprints.
        products: (epoch, epoch_other) their inner products.
        defined: (epoch,) whether the layer is finite and not dead.
        batch: images in a batch.
        length: number of pairs in a fingerprint.
        labels: (n,) given labels of the images; None if there are none.
    """
    t, pairs = len(products), batch * (batch - 1) // 2
    defined = defined & in_range(np.diagonal(products), np.float32)
    products[~defined] = products[:, ~defined] = np.nan
    found = {"cka": normalized(products)}
    records = np.flatnonzero(defined)
    both = np.ix_(records, records)
    norms = np.sqrt(np.diagonal(products)[records, None]).astype(np.float32)
    c = found["cka"][both]
    influences = Influences(c, batch)
    squares, means = [], []
    for index in range(length // pairs):
        part = read(slice(index * pairs, (index + 1) * pairs))[records] / norms
        influences.add_batch(part)
        squares.append(batch_squares(part, batch))
        if labels is not None:
            own = labels[index * batch : (index + 1) * batch]
            means.append(class_means(part, own))

    def placed(values: np.ndarray, *dims: int) -> np.ndarray:
        full = np.full((*dims, *values.shape[len(dims) :]), np.nan)
        full[both if len(dims) == 2 else records] = values
        return full

    by_batch = np.concatenate(squares, axis=1)
    found["cka_interval"] = placed(influences.bounds(), t, t)
    found["cka_null"] = placed(deviation(by_batch, by_batch, batch), t, t)
    if labels is not None:
        by_class = np.concatenate(means, axis=1)
        null = by_class @ by_class.T if has_repeats(labels, batch) else np.full_like(c, np.nan)
        found["cka_null_class"] = placed(null, t, t)
    share, images = top_images(influences.shares)
    found["influential_share"] = placed(share, t)
    found["influential_image"] = np.full((t, images.shape[1]), -1)
    found["influential_image"][records] = images
    return found


PAIR = ("layer", "epoch", "epoch_other")
MEASURE = Measure(
    name="cka",
    title="similarities",
    computed={
        "cka": PAIR,
        "cka_interval": (*PAIR, "bound"),
        "cka_null": PAIR,
        "cka_null_class": PAIR,
        "influential_share": ("layer", "epoch"),
        "influential_image": ("layer", "epoch", "rank"),
    },
    meanings={
        "cka": ("minibatch unbiased CKA between two epochs", "1"),
        "cka_interval": ("95% interval of CKA over images", "1"),
        "cka_null": ("standard deviation of CKA for unrelated representations", "1"),
        "cka_null_class": ("mean CKA if only the class structure is common", "1"),
        "influential_share": ("share of the self-HSIC of the most influential 1% of images", "1"),
        "influential_image": ("ids of the most influential images", "1"),
    },
    attributes=("influence_threshold",),
    over_epochs=over_epochs,
)

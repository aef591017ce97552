"""How time grows with each size: four doublings, and the slope on logarithmic axes.

python benchmarks/bench_growth.py

A slope of 1 is linear; the last column is the theoretical order. Even the smallest numbers of
images and features exceed the cache of a core, since smaller sizes do not show the order. Slopes
below the order are caused by the constant cost of a call.
"""

import statistics
from collections.abc import Callable

import numpy as np
from measuring import print_table, seconds_of

DOUBLINGS, REPEATS = 4, 9


def fingerprints(n: int = 1024, d: int = 2048, layers: int = 1) -> Callable:
    """Fingerprints of `layers` layers of n images in batches of 256."""
    from repdyn_keras.measures.cka import fingerprint

    x = np.random.default_rng(0).standard_normal((n, d), np.float32)
    return lambda: [fingerprint(x, batch_size=256) for _ in range(layers)]


def similarities(epochs: int) -> Callable:
    """CKA of a layer between all epochs."""
    from repdyn_keras.measures.cka import cosines

    prints = np.random.default_rng(0).standard_normal((epochs, 4 * 256 * 255 // 2), np.float32)
    return lambda: cosines(prints)


def agreement(planes: int, epochs: int = 20) -> Callable:
    """Agreement of the regions of a layer between all epochs, and their fragments."""
    from repdyn_keras.measures.map_agreement import agreements
    from repdyn_keras.measures.regions import fragments

    maps = np.random.default_rng(0).integers(0, 10, (1, epochs, planes, 24, 24), dtype=np.uint8)

    def both():
        agreements(maps[0].reshape(epochs, planes, -1))
        fragments(maps)

    return both


def probe(classes: int, n: int = 8000, d: int = 256) -> Callable:
    """One probe with a fixed number of steps, which otherwise depends on the data."""
    from repdyn_keras.measures.probe import value_and_gradient

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), np.float32)
    labels = np.arange(n) % classes
    weights = 0.1 * rng.standard_normal((d + 1, classes))
    shares = np.full(n, 1 / n)
    return lambda: [value_and_gradient(x, labels, shares, 1e-3, weights) for _ in range(10)]


# Size: (name, function of the size, smallest size, theoretical order).
SIZES = {
    "n": ("fingerprint, batches of 256", lambda v: fingerprints(n=v), 1024, 1),
    "d": ("fingerprint", lambda v: fingerprints(d=v), 2048, 1),
    "layers": ("fingerprints", lambda v: fingerprints(layers=v), 1, 1),
    "epochs": ("CKA of all with all", similarities, 16, 2),
    "planes": ("agreement and fragments", agreement, 4, 1),
    "images of a probe": ("objective and gradient", lambda v: probe(10, n=v), 16_000, 1),
    "classes": ("objective and gradient", probe, 10, 1),
}


def row(size: str) -> list:
    """Seconds at each doubling, and the slope."""
    what, make, least, order = SIZES[size]
    values = [least * 2**step for step in range(DOUBLINGS + 1)]
    seconds = []
    for value in values:
        function = make(value)
        function()
        seconds.append(statistics.median(seconds_of(function) for _ in range(REPEATS)))
    slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
    ends = f"{values[0]} ... {values[-1]}"
    return [size, what, ends, *(1000 * s for s in seconds), float(slope), order]


if __name__ == "__main__":
    print_table(
        ["size", "of", "from ... to", *["ms"] * (DOUBLINGS + 1), "slope", "order"],
        [row(size) for size in SIZES],
        ["numpy"],
    )

"""Coverage of the intervals of CKA, its null values against permutations, influential images, cost.

python benchmarks/bench_intervals.py [coverage] [stratified] [nulls] [influential] [cost] [DRAWS]

Images are drawn from populations whose CKA is known. A representation x is compared with
[sqrt(c) x, (1 - c^2)^(1/4) w]. w has the distribution of x and is independent of it, except that
both have the same classes or digits. "first order" is the interval from the first-order influences
of the images, normal quantiles, and the deviation of the null below twice this deviation.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from measuring import in_process, peak_mib, print_table, seconds_of
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from repdyn_keras.measures import cka_epochs
from repdyn_keras.measures.cka import cosines, fingerprint
from repdyn_keras.measures.cka_interval import Influences
from repdyn_keras.measures.cka_null import class_null, null_deviation
from repdyn_keras.measures.influential_images import threshold, top_images

DRAWS, PERMUTATIONS, D = 400, 999, 30
SIZES = ((256, 128), (1024, 256))
LEVELS = (0.0, 0.3, 0.7, 0.95, 0.99)
CLASSES = 10
SCALES = np.geomspace(1, 0.1, D)
# Squared Frobenius norms of the covariances of x, of x with w, and of w, up to a common factor.
UNRELATED = (1.0, 0.0, 1.0)


@dataclass(frozen=True)
class Population:
    """Draws n images as x and w, with the `norms` of their covariances."""

    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    norms: tuple[float, float, float] = UNRELATED

    def cka(self, c: float) -> float:
        """CKA between x and [sqrt(c) x, (1 - c^2)^(1/4) w]."""
        x, both, w = self.norms
        t = np.sqrt(1 - c**2)
        y = c**2 * x + 2 * c * t * both + t**2 * w
        return float((c * x + t * both) / np.sqrt(x * y))


def independent(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Population:
    """x and w are drawn alike and independently."""
    return Population(lambda rng, n: (draw(rng, n), draw(rng, n)))


def unequal_norms(size: float) -> Population:
    """Gaussian features, each image scaled by a lognormal factor."""
    return independent(
        lambda rng, n: rng.normal(size=(n, D)) * SCALES * rng.lognormal(0, size, (n, 1))
    )


def fixed(seed: int, *shape: int) -> np.ndarray:
    """The same random numbers at every call."""
    return np.random.default_rng(seed).normal(size=shape)


def norms_of(x: np.ndarray, w: np.ndarray, noise: float = 0.0) -> tuple[float, float, float]:
    """Norms of the covariances of equally likely points, plus independent noise."""
    joint = np.cov(np.hstack([x, w]).T, bias=True) + noise**2 * np.eye(x.shape[1] + w.shape[1])
    own, other = slice(x.shape[1]), slice(x.shape[1], None)
    a, b, c = (float(np.sum(joint[i, j] ** 2)) for i, j in ((own,) * 2, (own, other), (other,) * 2))
    return a, b, c


def of_classes(noise: float) -> Population:
    """Ten classes with random centres, in x and in w."""
    x, w = fixed(0, 2, CLASSES, D)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        label, size = rng.integers(0, CLASSES, n), (n, D)
        return x[label] + noise * rng.normal(size=size), w[label] + noise * rng.normal(size=size)

    return Population(draw, norms_of(x, w, noise))


def digits() -> Population:
    """scikit-learn's digits, drawn with replacement, through two random ReLU layers."""
    images = load_digits().data / 16
    x, w = (np.maximum(images @ kernel, 0) for kernel in fixed(1, 2, 64, D))

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        index = rng.integers(0, len(x), n)
        return x[index], w[index]

    return Population(draw, norms_of(x, w))


RELU = fixed(2, D, D) / 5
POPULATIONS = {
    "Gaussian": independent(lambda rng, n: rng.normal(size=(n, D)) * SCALES),
    "Gaussian, one dimension": independent(lambda rng, n: rng.normal(size=(n, 1))),
    "t distribution, 5 degrees of freedom": independent(
        lambda rng, n: rng.standard_t(5, size=(n, D)) * SCALES
    ),
    "images of unequal norm": unequal_norms(0.5),
    "ReLU layer": independent(lambda rng, n: np.maximum(rng.normal(size=(n, D)) @ RELU - 0.5, 0)),
    "10 classes, overlapping": of_classes(3),
    "10 classes, apart": of_classes(1),
    "digits, two ReLU layers": digits(),
}


def prints_of(x: np.ndarray, w: np.ndarray, levels: Sequence[float], b: int) -> np.ndarray:
    """(1 + levels, pairs) fingerprints of length 1: of x, and of its mixtures with w."""
    one, other = (fingerprint(a, batch_size=b) for a in (x, w))
    prints = np.stack([one, *(c * one + np.sqrt(1 - c**2) * other for c in levels)])
    return prints / np.linalg.norm(prints, axis=1, keepdims=True)


def influences(prints: np.ndarray, b: int) -> Influences:
    """The `Influences` of fingerprints of length 1."""
    found = Influences(cosines(prints), b)
    for part in batches(prints, b):
        found.add_batch(part)
    return found


def batches(prints: np.ndarray, b: int) -> list[np.ndarray]:
    """The parts of fingerprints that belong to a batch."""
    return np.split(prints, prints.shape[1] // (b * (b - 1) // 2), axis=1)


def first_order(prints: np.ndarray, b: int) -> np.ndarray:
    """(level, 2) bounds from the first-order influences; from the null's deviation near 0."""
    c, null = cosines(prints)[0, 1:], null_deviation(prints, prints, b)[0, 1:]
    crossed, own = [], []
    for part in batches(prints, b):
        full = np.zeros((len(part), b, b))
        full[:, *np.triu_indices(b, 1)] = part
        full += full.swapaxes(1, 2)
        crossed.append(np.einsum("ij,kij->ik", full[0], full[1:]))
        own.append(np.einsum("kij,kij->ik", full, full))
    h, d = np.concatenate(crossed), np.concatenate(own)
    change = h - c / 2 * (d[:, :1] + d[:, 1:])
    first = np.sqrt(len(h) / (len(h) - 1) * (change**2).sum(axis=0))
    reach = 1.96 * np.where(np.abs(c) < 2 * null, null, first) / (1 - c**2)
    return np.tanh(np.arctanh(c)[:, None] + reach[:, None] * np.array([-1, 1]))


def covered(name: str, n: int, b: int, draws: int) -> np.ndarray:
    """(level, 2) share of draws whose interval covers the truth: by `first_order`, and ours."""
    population, rng = POPULATIONS[name], np.random.default_rng([n, *name.encode()])
    truth = np.array([population.cka(c) for c in LEVELS])[:, None]
    hits = []
    with threadpool_limits(1):
        for _ in range(draws):
            prints = prints_of(*population.draw(rng, n), LEVELS, b)
            ours = influences(prints, b).bounds()[0, 1:]
            both = np.stack([first_order(prints, b), ours], axis=1)
            hits.append((both[..., 0] <= truth) & (truth <= both[..., 1]))
    return np.mean(hits, axis=0)


def coverage_rows(draws: int) -> Iterator[list]:
    """Rows of the table of coverage."""
    with ProcessPoolExecutor() as pool:
        jobs = {
            name: [pool.submit(covered, name, n, b, draws) for n, b in SIZES]
            for name in POPULATIONS
        }
        for name, found in jobs.items():
            shares = np.hstack([job.result() for job in found])
            for c, row in zip(LEVELS, shares, strict=True):
                truth = f"{POPULATIONS[name].cka(c):.2f}"
                yield [name, truth, *(f"{share:.3f}" for share in row)]


def stratified(noise: float, b: int) -> Population:
    """Ten classes as in `of_classes`, with equal numbers of images in every batch."""
    centres = fixed(0, 2, CLASSES, D)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        batches = [rng.permutation(np.arange(b) % CLASSES) for _ in range(n // b)]
        x, w = centres[:, np.concatenate(batches)] + noise * rng.normal(size=(2, n, D))
        return x, w

    return Population(draw, of_classes(noise).norms)


def stratified_rows(draws: int) -> Iterator[list]:
    """Rows of the table of images that are stratified by class, n = 1024, b = 256."""
    n, b = SIZES[1]
    for name, noise in (("10 classes, overlapping", 3), ("10 classes, apart", 1)):
        population, rng = stratified(noise, b), np.random.default_rng(7)
        prints = (prints_of(*population.draw(rng, n), LEVELS, b) for _ in range(draws))
        found = [(cosines(one)[0, 1:], influences(one, b).bounds()[0, 1:]) for one in prints]
        values, bounds = map(np.array, zip(*found, strict=True))
        for index, c in enumerate(LEVELS):
            mean, truth = values[:, index].mean(), population.cka(c)
            low, high = bounds[:, index].T
            shares = [np.mean((low <= one) & (one <= high)) for one in (mean, truth)]
            yield [name, *(f"{number:.3f}" for number in (truth, mean, *shares[::-1]))]


def null_rows() -> Iterator[list]:
    """Rows of the table that compares null values with permutations, n = 1024, b = 256."""
    n, b = SIZES[1]
    rng = np.random.default_rng(4)
    labels = rng.integers(0, CLASSES, n)
    centres = 2 * fixed(5, 2, CLASSES, D)
    relu = np.maximum(rng.normal(size=(2, n, D)) @ RELU, 0)
    for name, (x, w) in {
        "Gaussian": rng.normal(size=(2, n, D)),
        "ReLU layer": relu,
        "10 classes": centres[:, labels] + rng.normal(size=(2, n, D)),
        "10 classes, ReLU layer": centres[:, labels] + 5 * relu,
    }.items():
        y = np.hstack([x, 2 * w])
        one, other = (fingerprint(a, batch_size=b)[None] for a in (x, y))
        for kind, groups in (("batch", np.zeros(n, int)), ("class and batch", labels)):
            values = permuted(one, y, np.arange(n) // b * CLASSES + groups, b, rng)
            row = [name, kind, f"{values.mean():.4f}"]
            row += [f"{class_null(one, other, groups, b).item():.4f}", f"{values.std():.5f}"]
            exact = null_deviation(one, other, b).item()
            yield row + (
                ["-", "-"] if groups.any() else [f"{exact:.5f}", float(values.std() / exact)]
            )


def permuted(
    one: np.ndarray, y: np.ndarray, groups: np.ndarray, b: int, rng: np.random.Generator
) -> np.ndarray:
    """CKA of a fingerprint (1, pairs) with permutations of y within groups."""
    values = []
    for _ in range(PERMUTATIONS):
        order = np.empty(len(y), int)
        # Members of a group in their order, and the same members in a random order.
        order[np.argsort(groups, kind="stable")] = np.lexsort((rng.random(len(y)), groups))
        values.append(cosines(one, fingerprint(y[order], batch_size=b)[None]).item())
    return np.array(values)


def influence_rows(draws: int) -> Iterator[list]:
    """Rows of the table of influential images: CKA 0.7, n = 1024, b = 256."""
    n, b = SIZES[1]
    base = None
    for size in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5):
        rng, shares, widths, hits = np.random.default_rng(6), [], [], []
        for _ in range(draws):
            found = influences(prints_of(*unequal_norms(size).draw(rng, n), [0.7], b), b)
            low, high = found.bounds()[0, 1]
            shares.append(top_images(found.shares)[0][0])
            widths.append(high - low)
            hits.append(low <= 0.7 <= high)
        base = base or statistics.median(widths)
        yield [
            f"{size:g}",
            f"{statistics.median(shares):.3f}",
            "yes" if statistics.median(shares) > threshold(n) else "no",
            f"{statistics.median(widths) / base:.2f}",
            f"{np.mean(hits):.3f}",
        ]


class Simulated:
    """Random fingerprints in the place of a run's records."""

    def __init__(self, epochs: int, layers: int, n: int, b: int):
        import xarray

        self.epochs, self.layers = list(range(epochs)), [f"layer{i}" for i in range(layers)]
        self.fingerprint_length = n // b * (b * (b - 1) // 2)
        labels = {name: ("image", np.arange(n) % CLASSES) for name in ("sample", "label_given")}
        self.constants = xarray.Dataset(labels, attrs={"batch": b})

    def recorded(self, *names: str) -> dict[str, np.ndarray]:
        """All layers are defined at every epoch."""
        shape = len(self.epochs), len(self.layers)
        return {"finite": np.ones(shape, np.uint8), "dead": np.zeros(shape, np.uint8)}

    def fingerprints(self, layers: slice, pairs: slice) -> np.ndarray:
        """(epoch, layer, pair) noise."""
        count = len(range(*layers.indices(len(self.layers))))
        length = len(range(*pairs.indices(self.fingerprint_length)))
        rng = np.random.default_rng(layers.start)
        return rng.standard_normal((len(self.epochs), count, length), np.float32)


def cost(epochs: int, layers: int) -> tuple[float, float]:
    """Seconds of all variables of CKA, without reading files, and growth of the peak in MiB."""
    before = peak_mib()
    series = Simulated(epochs, layers, 1024, 256)
    return seconds_of(lambda: cka_epochs.over_epochs(series)), peak_mib() - before


def cost_rows() -> Iterator[list]:
    """Rows of the table of time and memory."""
    for epochs, layers in ((36, 11), (200, 11)):
        yield [f"{epochs} epochs x {layers} layers", *in_process(cost, epochs, layers)]


def print_coverage(draws: int) -> None:
    """Prints the table of coverage."""
    sizes = [f"n = {n}, b = {b}{how}" for n, b in SIZES for how in (", first order", "")]
    print_table(["population", "CKA", *sizes], coverage_rows(draws), ["numpy"])


def print_stratified(draws: int) -> None:
    """Prints the table of images that are stratified by class."""
    header = ["population", "CKA", "mean of the estimates", "CKA covered", "mean covered"]
    print_table(header, stratified_rows(draws), ["numpy"])


def print_nulls(draws: int) -> None:
    """Prints the table of null values."""
    header = ["population", "permuted within", "mean", "closed form", "deviation", "closed form"]
    print_table([*header, "ratio"], null_rows(), ["numpy"])


def print_influential(draws: int) -> None:
    """Prints the table of influential images."""
    header = ["deviation of log norms", "share of the top 1%", "warned about", "width", "coverage"]
    print_table(header, influence_rows(draws), ["numpy"])


def print_cost(draws: int) -> None:
    """Prints the table of time and memory."""
    print_table(["what", "seconds", "MiB"], cost_rows(), ["numpy"])


TABLES = {
    "coverage": print_coverage,
    "stratified": print_stratified,
    "nulls": print_nulls,
    "influential": print_influential,
    "cost": print_cost,
}

if __name__ == "__main__":
    chosen = [name for name in sys.argv[1:] if not name.isdecimal()] or list(TABLES)
    counts = [int(count) for count in sys.argv[1:] if count.isdecimal()]
    for name in chosen:
        TABLES[name](counts[0] if counts else DRAWS)
        print()

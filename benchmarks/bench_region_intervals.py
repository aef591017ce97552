"""Coverage of the 95% intervals of region agreement and kappa, which take planes as the unit.

python benchmarks/bench_region_intervals.py
python benchmarks/bench_region_intervals.py RUN     # planes of a run, which needs many of them

The first table draws planes from simulated populations. The second takes the planes of a recorded
run for the population, and draws some of them with replacement.
"""

import sys
from pathlib import Path

import numpy as np
from measuring import print_table

from repdyn_keras.measures.map_agreement import (
    agreement_intervals,
    agreements,
    class_shares,
    kappa_intervals,
    kappas,
)

SEED, DRAWS, POPULATION = 7, 2000, 40_000
# Planes of 14 x 14 points and 10 classes.
SIDE, CLASSES = 14, 10
COUNTS = (8, 16, 100)
# Mean and deviation between planes of the share of points that keep their class.
POPULATIONS = ((0.3, 0.12), (0.6, 0.14), (0.85, 0.12), (0.95, 0.06), (0.985, 0.03))
RUN_COUNTS, RUN_DRAWS, MAX_EPOCHS = (8, 16, 50), 200, 8


def simulated(
    rng: np.random.Generator, count: int, mean: float, deviation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement (2, 2, plane) and class shares (2, plane, class) of planes of a population.

    A plane has its own mixture of classes and its own share of points that keep their class.
    """
    size = mean * (1 - mean) / deviation**2 - 1
    kept = rng.beta(mean * size, (1 - mean) * size, count)
    mixture = rng.dirichlet(np.full(CLASSES, 0.3), count)
    # Points of a plane in pairs of one class each, of which both or none keep the class.
    pairs = SIDE**2 // 2
    first = rng.multinomial(pairs, mixture)
    both = rng.binomial(first, kept[:, None])
    rest = first - both
    # The others are assigned to classes anew: (plane, class before, class after).
    anew = np.stack([rng.multinomial(rest[:, c], mixture) for c in range(CLASSES)], axis=1)
    again = np.diagonal(anew, axis1=1, axis2=2)
    equal = (both + again).sum(axis=1) / pairs
    by_plane = np.stack([[np.ones(count), equal], [equal, np.ones(count)]])
    return by_plane, np.stack([first, both + anew.sum(axis=1)]) / pairs


def covers(bounds: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether intervals (..., 2) hold the truth."""
    return (bounds[..., 0] <= truth) & (truth <= bounds[..., 1])


def simulations() -> None:
    """The table of simulated populations."""
    rows = []
    for mean, deviation in POPULATIONS:
        rng = np.random.default_rng([SEED, round(1000 * mean)])
        by_plane, shares = simulated(rng, POPULATION, mean, deviation)
        truth, true_kappa = by_plane.mean(axis=-1), kappas(by_plane, shares)
        for count in COUNTS:
            hits = np.zeros(2)
            width = np.zeros(2)
            for _ in range(DRAWS):
                chosen = rng.integers(0, POPULATION, count)
                found = (
                    agreement_intervals(by_plane[..., chosen], SIDE**2),
                    kappa_intervals(by_plane[..., chosen], shares[:, chosen], SIDE**2),
                )
                for index, value in enumerate((truth, true_kappa)):
                    bounds = found[index][0, 1]
                    hits[index] += covers(bounds, value[0, 1])
                    width[index] += np.ptp(bounds)
            coverage, width = hits / DRAWS, width / DRAWS
            rows.append(
                [f"{truth[0, 1]:.2f}", f"{true_kappa[0, 1]:.2f}", count]
                + [f"{coverage[0]:.3f}", f"{width[0]:.3f}", f"{coverage[1]:.3f}", f"{width[1]:.3f}"]
            )
    header = ["agreement", "kappa", "planes", "coverage, agreement", "width"]
    print_table([*header, "coverage, kappa", "width"], rows, ["numpy", "scipy"])


def of_run(path: Path) -> None:
    """The table of the planes of a recorded run."""
    from repdyn_keras.records import RunFolder

    folder = RunFolder(path)
    epochs = folder.epochs()
    epochs = [epochs[i] for i in np.linspace(0, len(epochs) - 1, MAX_EPOCHS).round().astype(int)]
    maps = folder.series(epochs, ["regions"])["regions"].swapaxes(0, 1)
    maps = maps.reshape(*maps.shape[:3], -1)
    classes, points = int(folder.constants().attrs["n_classes"]), maps.shape[-1]
    pairs = np.triu_indices(len(epochs), 1)
    rng = np.random.default_rng(SEED)
    rows = []
    for count in RUN_COUNTS:
        agreed, kappa, below, values = [], [], [], []
        for layer in maps:
            by_plane, shares = agreements(layer), class_shares(layer, classes)
            truth, true_kappa = by_plane.mean(axis=-1), kappas(by_plane, shares)
            for _ in range(RUN_DRAWS):
                chosen = rng.integers(0, layer.shape[1], count)
                bounds = agreement_intervals(by_plane[..., chosen], points)
                agreed.append(covers(bounds, truth)[pairs])
                below.append((bounds[..., 1] < truth)[pairs])
                bounds = kappa_intervals(by_plane[..., chosen], shares[:, chosen], points)
                kappa.append(covers(bounds, true_kappa)[pairs])
                values.append(truth[pairs])
        high = np.array(values) > 0.9
        agreed, kappa = np.array(agreed), np.array(kappa)
        rows.append(
            [count, f"{agreed.mean():.3f}", f"{agreed[high].mean():.3f}", f"{np.mean(below):.3f}"]
            + [f"{kappa.mean():.3f}", f"{kappa[high].mean():.3f}"]
        )
    print(f"{path.name}: {maps.shape[2]} planes, {maps.shape[0]} layers, epochs {epochs}\n")
    header = ["planes", "coverage, agreement", "where above 0.9", "truth above the interval"]
    print_table([*header, "coverage, kappa", "where above 0.9"], rows, ["numpy", "scipy"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        of_run(Path(sys.argv[1]))
    else:
        simulations()

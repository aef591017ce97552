"""How often the phases of simulated paths are detected.

python benchmarks/bench_phases.py

Paths of 42 records in 200 dimensions with white jitter. Even drift and pure noise should give one
phase. Sharp transitions between phases of at least 4 records should all be detected, each within
one record. `slow drift` adds up to a tenth of a transition; "-" marks known limitations.
"""

import sys
from collections.abc import Iterator

import numpy as np
from measuring import print_table

DRAWS, TARGET, DIMENSION = 40, 0.85, 200
EPOCHS = np.array(sorted({0, 102} | {round(2 ** (i / 6)) for i in range(41)}))
U = np.log2(1 + EPOCHS)
SHARE = (U - U[0]) / (U[-1] - U[0])
DRIFTS = ("straight", "quarter circle", "half circle", "helix", "wandering")
# Arrangement of the states, numbers of phases, sizes of the jitter, target.
TRANSITIONS = (
    ("equally far apart", (2, 3, 4), (0.02, 0.25), TARGET),
    ("a walk", (2, 3, 4), (0.02, 0.25), TARGET),
    ("equally far apart", (2, 3, 4), (0, 0.01), "-"),
    ("on one line", (3, 4), (0.02, 0.25), "-"),
)


def orthonormal(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, d) orthonormal vectors."""
    return np.linalg.qr(rng.normal(size=(DIMENSION, count)))[0].T


def cosines(x: np.ndarray) -> np.ndarray:
    """(t, t) cosines between the rows."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def scattered(path: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Similarities along a path with white jitter and a constant component."""
    noise = size * rng.normal(size=path.shape) / np.sqrt(DIMENSION)
    return cosines(path + noise + orthonormal(rng, 1))


def drift(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(t, d) smooth path of length 1 at constant speed."""
    at = np.linspace(0, 1, 2001)[:, None]
    axes = orthonormal(rng, 8)
    turns = {"quarter circle": 0.5, "half circle": 1, "helix": 2}.get(kind)
    if kind == "straight":
        curve = at * axes[0]
    elif turns:
        curve = np.cos(turns * np.pi * at) * axes[0] + np.sin(turns * np.pi * at) * axes[1]
        curve = curve + (3 * at * axes[2] if kind == "helix" else 0)
    else:
        order = np.arange(1, 9)
        curve = (np.cos(np.pi * order * at) / order) @ (axes * rng.normal(size=(8, 1)))
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return np.stack([np.interp(SHARE * arc[-1], arc, c) for c in curve.T], axis=1) / arc[-1]


def states(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, d) states, each at a distance of at least 1 from the next."""
    if kind == "equally far apart":
        return orthonormal(rng, count) / np.sqrt(2)
    if kind == "on one line":
        return np.arange(count)[:, None] * orthonormal(rng, 1)
    jumps = orthonormal(rng, count - 1) * rng.uniform(1, 2, size=(count - 1, 1))
    return np.concatenate([np.zeros((1, DIMENSION)), np.cumsum(jumps, axis=0)])


def transitions(kind: str, count: int, levels, rng: np.random.Generator) -> tuple:
    """Similarities along a path with sharp transitions, and the first record after each."""
    t = len(EPOCHS)
    starts = np.zeros(count - 1, int)
    while np.diff(np.concatenate([[0], starts, [t]])).min() < 4:
        starts = np.sort(rng.choice(np.arange(4, t - 3), count - 1, replace=False))
    level, slow = rng.uniform(*levels), rng.uniform(0, 0.1) * SHARE[:, None] * orthonormal(rng, 1)
    at = np.searchsorted(starts, np.arange(t), side="right")
    return scattered(states(kind, count, rng)[at] + slow, level, rng), starts


def found(gram: np.ndarray) -> np.ndarray:
    """The first record of every phase but the first."""
    from repdyn_keras.measures.phases import find_phases

    return np.flatnonzero(np.diff(find_phases(gram, EPOCHS).labels)) + 1


def rows(draws: int) -> Iterator[list]:
    """Rows of the table: simulation, share of draws with the right phases, target."""
    for kind in DRIFTS:
        rng = np.random.default_rng(0)
        grams = (scattered(drift(kind, rng), rng.uniform(0, 0.2), rng) for _ in range(draws))
        yield [f"even drift, {kind}", np.mean([len(found(g)) == 0 for g in grams]), TARGET]
    rng = np.random.default_rng(0)
    grams = (cosines(1 + rng.normal(size=(len(EPOCHS), 100))) for _ in range(draws))
    yield ["noise around one point", np.mean([len(found(g)) == 0 for g in grams]), TARGET]
    for kind, counts, levels, target in TRANSITIONS:
        for count in counts:
            rng, right = np.random.default_rng(count), []
            for _ in range(draws):
                gram, starts = transitions(kind, count, levels, rng)
                ours = found(gram)
                right.append(len(ours) == len(starts) and np.abs(ours - starts).max() <= 1)
            name = f"{count} phases, states {kind}, slow drift, jitter {levels[0]} to {levels[1]}"
            yield [name, np.mean(right), target]


if __name__ == "__main__":
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    print_table(
        ["what", f"found, share of {draws}", "target"],
        [[name, float(share), target] for name, share, target in rows(draws)],
        ["numpy", "scipy", "ruptures"],
    )

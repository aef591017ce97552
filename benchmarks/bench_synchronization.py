"""Whether layers that change together are told apart from layers one octave apart.

python benchmarks/bench_synchronization.py [PAIRS] [SEED]

Two simulated layers change from one state to another. The times at which half of the change is
made are equal, or one or two octaves apart. `gradual` changes take 2.6 octaves from 10 to 90%,
`sharp` ones a single record. `two steps` make half of the change an octave before that time, and
half an octave after. `early` changes are fastest at the start, as in many real layers; as the run
ends before they do, one octave between the times is an area of 0.8 octaves. The scatter has the
given share of the squared norm of every record, and 10, 30 or 100 dimensions; it is independent
between records, or AR(0.5). Runs have 31, 36 or 40 records. AUC is the probability that layers
together have a higher value than layers one octave apart, for single pairs and for means over ten.
"""

import sys

import numpy as np
from measuring import print_table

# Means are of so many pairs, drawn without replacement, so often.
PAIRS, SEED, GROUP, DRAWS = 50, 916, 10, 200
EPOCHS = np.unique(np.round(2 ** (np.arange(60) / 6)).astype(int))
COURSES = ("gradual", "sharp", "two steps", "early")
NOISES = (0.005, 0.1, 0.25)


def course(kind: str, u: np.ndarray, at: float) -> np.ndarray:
    """(t,) share of the change that is made at u, half of it at `at`."""
    if kind == "gradual":
        return 1 / (1 + np.exp((at - u) / 0.6))
    if kind == "sharp":
        return (u >= at) * 1.0
    if kind == "two steps":
        return ((u >= at - 1) * 0.5) + ((u >= at + 1) * 0.5)
    return 1 - 2 ** (-(u / at))


def layer(
    made: np.ndarray, noise: float, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """(t, t) similarities of a layer that turns from one state to another, with scatter.

    The two states have a similarity of 0.3 to 0.8; the path between them is bent at random.
    """
    t, dimension, states = len(made), int(rng.choice([10, 30, 100])), 8
    angle = np.arccos(1 - rng.uniform(0.2, 0.7))
    bend = rng.uniform(0, 0.3) * angle * np.sin(np.pi * made)
    path = np.stack([np.cos(angle * made), np.sin(angle * made), bend], axis=1)
    path = path @ np.linalg.qr(rng.normal(size=(states, 3)))[0].T
    scatter = rng.normal(size=(t, dimension)) / np.sqrt(dimension)
    for record in range(1, t):
        scatter[record] *= np.sqrt(1 - correlation**2)
        scatter[record] += correlation * scatter[record - 1]
    x = np.zeros((t, states + dimension))
    x[:, :states] = np.sqrt(1 - noise) * path / np.linalg.norm(path, axis=1, keepdims=True)
    # Half of the axes of the path have scatter.
    x[:, states // 2 : states // 2 + dimension] += np.sqrt(noise) * scatter
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def pairs(
    kind: str, octaves_apart: float, noise: float, correlation: float, count: int, seed: int
) -> np.ndarray:
    """(pair, 3) synchronization, octaves by which the first layer is earlier, timing overlap."""
    from repdyn_keras.measures.synchronization import synchronization_by_layer

    found = np.full((count, 3), np.nan)
    for index in range(count):
        key = [seed, COURSES.index(kind), int(10 * octaves_apart), int(1000 * noise), index]
        rng = np.random.default_rng(key)
        epochs = np.concatenate([[0], EPOCHS[: rng.choice([31, 36, 40]) - 1]])
        u = np.log2(1 + epochs)
        at = rng.uniform(0.8, 1.3) if kind == "early" else rng.uniform(0.3, 0.6) * u[-1]
        grams = [
            layer(course(kind, u, a), noise, correlation, rng) for a in (at, at + octaves_apart)
        ]
        values = synchronization_by_layer(np.stack(grams), epochs.tolist())
        found[index] = [values[name][0, 1] for name in ("synchronization", "lag", "timing_overlap")]
    return found


def area_under_curve(higher: np.ndarray, lower: np.ndarray) -> float:
    """Share of pairs of values of two groups in the right order; ties count half."""
    higher, lower = higher[np.isfinite(higher), None], lower[np.isfinite(lower)]
    return float(np.mean((higher > lower) + 0.5 * (higher == lower)))


def means(values: np.ndarray) -> np.ndarray:
    """(DRAWS,) means over groups of pairs, those without timing left out."""
    rng = np.random.default_rng(0)
    return np.array([np.nanmean(rng.permutation(values)[:GROUP]) for _ in range(DRAWS)])


def row(kind: str, noise: float, correlation: float, count: int, seed: int) -> list:
    """A row of the table."""
    found = [pairs(kind, apart, noise, correlation, count, seed) for apart in (0, 1, 2)]
    values = [each[:, 0] for each in found]
    return [
        kind,
        f"{noise:g}" + (", AR(0.5)" if correlation else ""),
        *(f"{np.nanmean(v):.3f} ± {np.nanstd(v):.3f}" for v in values),
        f"{np.quantile(means(values[0]), 0.05):.3f}",
        area_under_curve(means(values[0]), means(values[1])),
        area_under_curve(values[0], values[1]),
        float(np.nanmean(found[1][:, 1])),
        f"{np.isnan(values).sum()} of {3 * count}",
        *(float(np.nanmean(found[k][:, 2])) for k in (0, 2)),
    ]


CASES = [(k, n, c) for k in COURSES for n, c in (*((n, 0.0) for n in NOISES), (0.1, 0.5))]


if __name__ == "__main__":
    from repdyn_keras.measures.threads import one_blas_thread

    given = [int(word) for word in sys.argv[1:]]
    count, seed = (*given, *(PAIRS, SEED)[len(given) :])
    header = ["change", "noise", "together", "one octave", "two octaves"]
    header += [f"together, 5% quantile of means of {GROUP}", f"AUC, means of {GROUP}", "AUC, pairs"]
    header += ["lag, one octave", "no timing", "overlap, together", "overlap, two octaves"]
    with one_blas_thread():
        table = [row(*case, count, seed) for case in CASES]
    print_table(header, table, ["numpy", "scipy"])

"""Time of the probes of one recorded epoch, against scikit-learn's LogisticRegression.

python benchmarks/bench_probes.py

Features of the widths of a ResNet-18's ten layers, in host memory. scikit-learn (lbfgs) receives
scaled features, in the faster of float32 and float64, and the largest tolerance at which its
objective comes within 1e-5 of the optimum. repdyn scales the features itself and comes within 1e-6.
"""

import statistics

import numpy as np
from measuring import print_table, seconds_of

WIDTHS = (64, 64, 64, 128, 128, 256, 256, 512, 512, 512)
CLASSES, REPEATS, SHARE = 10, 3, 1e-5
TOLERANCES = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)


def features(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Rectified features with a decaying spectrum, and labels with 20% of them drawn again."""
    rng = np.random.default_rng(d)
    y = rng.integers(0, CLASSES, n)
    x = rng.standard_normal((n, d), np.float32) * (3 / np.sqrt(1 + np.arange(d, dtype=np.float32)))
    x = np.maximum(x + 0.3 * rng.standard_normal((CLASSES, d), np.float32)[y], 0)
    return x, np.where(rng.random(n) < 0.2, rng.integers(0, CLASSES, n), y)


def objective(x: np.ndarray, y: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> float:
    """Mean cross-entropy + L2 / 2 |W|^2 in float64."""
    from scipy.special import logsumexp

    from repdyn_keras.measures.probe import L2

    logits = x.astype(np.float64) @ kernel + bias
    loss = np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(y)), y])
    return float(loss + L2 / 2 * np.sum(np.square(kernel)))


def peer_seconds(x: np.ndarray, y: np.ndarray, optimum: float) -> float:
    """Median seconds of scikit-learn to the same objective, in its faster precision."""
    from sklearn.linear_model import LogisticRegression

    from repdyn_keras.measures.probe import L2, scaled

    small = scaled(x)[0]
    found = []
    for precision in (np.float32, np.float64):
        each = small.astype(precision)
        for tolerance in TOLERANCES:
            model = LogisticRegression(C=1 / (len(x) * L2), tol=tolerance, max_iter=2000)
            laps = [seconds_of(lambda m=model, e=each: m.fit(e, y))]
            reached = objective(each, y, model.coef_.T, model.intercept_)
            if reached <= optimum * (1 + SHARE):
                laps += [seconds_of(lambda m=model, e=each: m.fit(e, y)) for _ in range(2)]
                found.append(statistics.median(laps))
                break
    return min(found)


def row(n: int) -> list:
    """The row of the table for one number of images."""
    from repdyn_keras.measures.probe import solve_probe

    ours = theirs = 0.0
    times = {d: WIDTHS.count(d) for d in WIDTHS}
    for d, count in times.items():
        x, y = features(n, d)
        optimum = solve_probe(x, y, CLASSES).objective
        laps = [seconds_of(lambda x=x, y=y: solve_probe(x, y, CLASSES)) for _ in range(REPEATS)]
        ours += count * statistics.median(laps)
        theirs += count * peer_seconds(x, y, optimum)
    return [f"{n} images, {len(WIDTHS)} layers", ours, theirs, theirs / ours, ">= 1"]


if __name__ == "__main__":
    print_table(
        ["what", "ours, s", "scikit-learn, s", "ratio", "target"],
        [row(1400), row(50_000)],
        ["numpy", "scipy", "scikit-learn"],
    )

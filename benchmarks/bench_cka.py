"""Time and memory of CKA between all epochs, from records and from features.

Needs the extra `bench` and torch.
"""

import statistics

import numpy as np
from measuring import in_process, in_turn, peak_mib, print_table, ratio, seconds_of

from repdyn_keras.measures.cka import cka_matrix, cosines

EPOCHS, LAYERS, IMAGES, BATCH, FEATURES = 100, 10, 1024, 256, 4096
MEAN = 3.0
REPEATS = 5


def from_records() -> list[list]:
    """CKA of every layer between all epochs, against a BLAS product of the same shapes."""
    pairs = IMAGES // BATCH * BATCH * (BATCH - 1) // 2
    prints = np.random.default_rng(0).normal(size=(EPOCHS, LAYERS, pairs)).astype(np.float32)
    plain = [np.ascontiguousarray(prints[:, layer]) for layer in range(LAYERS)]
    other = [layer.copy() for layer in plain]
    seconds = in_turn(
        {
            "BLAS": lambda: [a @ b.T for a, b in zip(plain, other, strict=True)],
            "ours": lambda: [cosines(prints[:, layer]) for layer in range(LAYERS)],
        },
        REPEATS,
    )
    return [
        [
            f"records, {EPOCHS} epochs x {LAYERS} layers",
            "float32 BLAS product",
            statistics.median(seconds["ours"]),
            statistics.median(seconds["BLAS"]),
            ratio(seconds["ours"], seconds["BLAS"]),
            "<= 1.5",
        ]
    ]


def features() -> np.ndarray:
    """(epoch, image, feature) float32 features with mean 3 along a noisy path."""
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2, IMAGES, FEATURES)).astype(np.float32)
    x = np.empty((EPOCHS, IMAGES, FEATURES), np.float32)
    for epoch in range(EPOCHS):
        share = epoch / (EPOCHS - 1)
        x[epoch] = MEAN + (1 - share) * ends[0] + share * ends[1]
        x[epoch] += 0.1 * rng.standard_normal((IMAGES, FEATURES), np.float32)
    return x


def ours(x: np.ndarray) -> np.ndarray:
    """(epoch, epoch) CKA by repdyn-keras."""
    return cka_matrix(list(x))


def pytorch_cka(x: np.ndarray) -> np.ndarray:
    """(epoch, epoch) CKA by pytorch-cka."""
    import torch
    from cka import cka_from_features

    tensors = torch.from_numpy(x)
    with torch.no_grad():
        return cka_from_features(tensors, tensors).numpy()


def measured(function) -> tuple[float, float, np.ndarray]:
    """Median seconds, growth of the peak memory in MiB, and the matrix."""
    x = features()
    before = peak_mib()
    found = function(x)
    seconds = statistics.median(seconds_of(lambda: function(x)) for _ in range(3))
    return seconds, peak_mib() - before, found


def exact() -> np.ndarray:
    """(epoch, epoch) CKA in float64 by the unbiased HSIC of Song et al. 2012."""
    x = features()
    n = IMAGES
    grams, sums = [], []
    for each in x:
        each = each.astype(np.float64)
        gram = (each - each.mean(axis=0)) @ (each - each.mean(axis=0)).T
        np.fill_diagonal(gram, 0)
        grams.append(gram.ravel())
        sums.append(gram.sum(axis=0))
    grams, sums = np.stack(grams), np.stack(sums)
    totals = sums.sum(axis=1)
    hsic = grams @ grams.T + np.outer(totals, totals) / ((n - 1) * (n - 2))
    hsic -= 2 / (n - 2) * sums @ sums.T
    return hsic / np.sqrt(np.outer(np.diagonal(hsic), np.diagonal(hsic)))


def from_features() -> list[list]:
    """CKA of features in memory with the full batch, each package in a separate process."""
    truth = in_process(exact)
    ours_seconds, ours_mib, ours_matrix = in_process(measured, ours)
    peer_seconds, peer_mib, peer_matrix = in_process(measured, pytorch_cka)
    ours_error, peer_error = (np.abs(m - truth).max() for m in (ours_matrix, peer_matrix))
    what = f"features, {EPOCHS} x {IMAGES} x {FEATURES}"
    peer = "pytorch-cka cka_from_features"
    return [
        [what, peer, ours_seconds, peer_seconds, peer_seconds / ours_seconds, ">= 3"],
        [f"{what}: MiB", peer, ours_mib, peer_mib, ours_mib / peer_mib, "<= 0.333"],
        [f"{what}: largest error", peer, ours_error, peer_error, peer_error / ours_error, ">= 100"],
    ]


if __name__ == "__main__":
    print_table(
        ["what", "against", "ours", "theirs", "ratio", "target"],
        from_records() + from_features(),
        ["numpy", "torch", "pytorch-cka"],
    )

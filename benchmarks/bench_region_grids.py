"""What coarse grids do to the agreement, the kappa and the fragments of decision regions.

repdyn run --set planes=40 --set resolution=96 --set drawn_planes=0 --out fine
python benchmarks/bench_region_grids.py fine

Grids of fewer points are taken from the recorded ones: those whose points are the centres of equal
cells, as they are recorded, and those that begin and end at the edges of the extent. Everything is
compared with all recorded points, each weighted by its area.
"""

import sys
from pathlib import Path

import numpy as np
from measuring import print_table
from scipy.stats import spearmanr

from repdyn_keras.measures.map_agreement import agreements, class_shares, kappas
from repdyn_keras.measures.regions import fragments
from repdyn_keras.records import RunFolder

GRIDS = [("edge", 24), ("edge", 12), *(("centre", n) for n in (48, 45, 24, 16, 14, 12, 8))]
PLANES, EVERY = 16, 2


def fine_grid(folder: RunFolder, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the recorded points along an axis, in 0..1, and the share that each stands for."""
    constants = folder.constants()
    span = np.ptp(constants["plane_position"].values[0, :, 0])
    if round(span * (1 + 2 * constants.attrs["margin"])) == side:
        return (np.arange(side) + 0.5) / side, np.full(side, 1 / side)
    shares = np.ones(side)
    shares[[0, -1]] = 0.5
    return np.linspace(0, 1, side), shares / shares.sum()


def weighted(maps: np.ndarray, weights: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Agreement (t, t, plane) and class shares (t, plane, class) of maps (t, plane, points)."""
    agreed = np.stack([(maps == reference) @ weights for reference in maps])
    return agreed, np.stack([(maps == c) @ weights for c in range(classes)], axis=-1)


def main(path: Path) -> None:
    """Prints the table of one run."""
    folder = RunFolder(path)
    epochs = folder.epochs()[::EVERY]
    maps = folder.series(epochs, ["regions"])["regions"].swapaxes(0, 1)
    classes, side = int(folder.constants().attrs["n_classes"]), maps.shape[-1]
    places, shares = fine_grid(folder, side)
    weights = np.outer(shares, shares).astype(np.float32).ravel()
    pairs = np.triu_indices(len(epochs), 1)
    found: dict[tuple[str, int], list[list[float]]] = {grid: [] for grid in GRIDS}
    for layer in maps:
        flat = layer.reshape(*layer.shape[:2], -1)
        exact, exact_shares = weighted(flat, weights, classes)
        exact_kappa, parts = kappas(exact, exact_shares), fragments(layer).mean(axis=1)
        for kind, n in GRIDS:
            wanted = (np.arange(n) + 0.5) / n if kind == "centre" else np.linspace(0, 1, n)
            at = np.abs(places[:, None] - wanted).argmin(axis=0)
            coarse = layer[..., at[:, None], at]
            points = coarse.reshape(*coarse.shape[:2], -1)
            by_plane = agreements(points)
            error = (by_plane - exact)[pairs]
            kappa = (kappas(by_plane, class_shares(points, classes)) - exact_kappa)[pairs]
            count = fragments(coarse).mean(axis=1)
            found[kind, n].append(
                [
                    error.mean(),
                    error.var(axis=-1, ddof=1).mean() / PLANES,
                    by_plane[pairs].var(axis=-1, ddof=1).mean() / PLANES,
                    np.square(kappa).mean(),
                    count.mean() / parts.mean(),
                    spearmanr(count, parts)[0] if np.ptp(count) and np.ptp(parts) else np.nan,
                ]
            )
    rows = []
    for (kind, n), layers in found.items():
        bias, noise, planes, kappa, ratio, _ = np.mean(layers, axis=0)
        largest = max((values[0] for values in layers), key=abs)
        rank = np.nanmedian([values[-1] for values in layers])
        cells = [f"{bias:+.4f}", f"{largest:+.4f}", f"{noise**0.5:.4f}", f"{planes**0.5:.4f}"]
        rows.append(
            [f"{kind} {n}", n**2, *cells, f"{kappa**0.5:.4f}", f"{ratio:.2f}", f"{rank:.2f}"]
        )
    print(f"{path.name}: {maps.shape[2]} planes of {side} x {side}, {len(epochs)} epochs\n")
    header = ["grid", "points", "agreement, bias", "in the worst layer", "noise", "error of planes"]
    header += ["kappa, rms error", "fragments", "their rank correlation over epochs"]
    print_table(header, rows, ["numpy", "scipy"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

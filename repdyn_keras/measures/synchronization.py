"""How far two layers change at the same times."""

import numpy as np

from repdyn_keras.measures.trajectory import octaves, progress, step_shares


def timing_overlap(gram: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two paths' step shares: similarity, 1 = identical timing.

    Sum over steps of the smaller of the two shares.

    Args:
        gram, other: (t, t) similarities of two layers over the same epochs.
    """
    return float(np.minimum(step_shares(gram), step_shares(other)).sum())


def timing_spread(gram: np.ndarray, other: np.ndarray, epochs: np.ndarray) -> float:
    """Area between two progress curves on u = log2(1 + epoch), in octaves; 0 = identical timing."""
    apart = np.abs(progress(step_shares(gram)) - progress(step_shares(other)))
    return float(np.trapezoid(apart, octaves(epochs)))


def half_progress(gram: np.ndarray, epochs: np.ndarray) -> float:
    """The u = log2(1 + epoch) at which a path has made half of its steps."""
    curve = progress(step_shares(gram))
    if np.isnan(curve).any():
        return float("nan")
    after = int(np.searchsorted(curve, 0.5))
    u = octaves(epochs)[after - 1 : after + 1]
    return float(np.interp(0.5, curve[after - 1 : after + 1], u))


def concordance(gram: np.ndarray, other: np.ndarray) -> float:
    """Lin's concordance of two matrices' upper triangles: similarity, 1 = identical.

    It compares the matrices, mostly their amplitude, not the timing.

    Source: Lin 1989, Biometrics 45.

    Args:
        gram, other: (t, t) similarities, t >= 3.
    """
    upper = np.triu_indices(len(gram), 1)
    x, y = gram[upper], other[upper]
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / spread) if spread > 0 else float("nan")

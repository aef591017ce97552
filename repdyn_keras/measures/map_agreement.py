"""Agreement and kappa of region maps, with intervals for which planes are the unit."""

import numpy as np

LEVEL = 0.95


def undefined_class(dtype) -> int:
    """The class index of undefined points: the maximum of the dtype."""
    return int(np.iinfo(dtype).max)


def region_dtype(n_classes: int) -> np.dtype:
    """The smallest unsigned integer dtype for all class indices and the undefined class."""
    return np.min_scalar_type(n_classes)


def map_similarities(
    maps: np.ndarray, class_shares: np.ndarray, are_chosen: bool = False
) -> dict[str, np.ndarray]:
    """Agreement and kappa between all pairs of maps, with intervals; similarity, 1 = identical.

    Args:
        maps: (t, plane, points) class indices of an unsigned dtype.
        class_shares: (t, plane, class) share of points of each plane that belong to each class.
        are_chosen: whether the planes were chosen. An interval over planes that were not drawn at
            random says nothing about others.

    Returns:
        `region_agreement` and `region_kappa` (t, t), `region_agreement_interval` and
        `region_kappa_interval` (t, t, 2); the intervals of chosen planes are NaN.
    """
    by_plane, points = agreements(maps), maps.shape[-1]
    if are_chosen:
        none = np.full((*by_plane.shape[:2], 2), np.nan)
        return {
            "region_agreement": by_plane.mean(axis=-1),
            "region_agreement_interval": none,
            "region_kappa": kappas(by_plane, class_shares),
            "region_kappa_interval": none.copy(),
        }
    return {
        "region_agreement": by_plane.mean(axis=-1),
        "region_agreement_interval": agreement_intervals(by_plane, points),
        "region_kappa": kappas(by_plane, class_shares),
        "region_kappa_interval": kappa_intervals(by_plane, class_shares, points),
    }


def agreements(maps: np.ndarray) -> np.ndarray:
    """Share of points with equal class in each plane, for all pairs of maps: 1 = identical.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility score, which is the mean over
    planes.

    Args:
        maps: (t, plane, points) class indices of an unsigned dtype.

    Returns:
        (t, t, plane) float64; NaN where a map has undefined points in any plane.
    """
    undefined = (maps == undefined_class(maps.dtype)).any(axis=(1, 2))
    shares = np.stack([(maps == reference).mean(axis=2) for reference in maps])
    shares[undefined] = np.nan
    shares[:, undefined] = np.nan
    return shares


def kappas(by_plane: np.ndarray, class_shares: np.ndarray) -> np.ndarray:
    """Cohen's kappa between all pairs of maps, pooled over all points: 1 = identical, 0 = chance.

    Source: Cohen 1960.

    Args:
        by_plane: (t, t, plane) share of points of each plane with equal class.
        class_shares: (t, plane, class) share of points of each plane that belong to each class.

    Returns:
        (t, t) float64; NaN where both maps consist of the same single class (0 / 0), and where a
        map has undefined points.
    """
    observed, expected, rest = _chance(by_plane, class_shares)
    return (observed - expected) / rest


def class_shares(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """(..., n_classes) share of the points of maps (..., points) that belong to each class."""
    flat = maps.reshape(-1, maps.shape[-1])
    counts = np.stack([np.bincount(m, minlength=n_classes)[:n_classes] for m in flat])
    return counts.reshape(*maps.shape[:-1], n_classes) / maps.shape[-1]


def agreement_intervals(by_plane: np.ndarray, points: int) -> np.ndarray:
    """Intervals of the mean agreement over planes, on the logit scale.

    Grid points of one plane are not independent, but planes are: they are drawn at random. The
    standard error is the deviation between planes over sqrt(planes), with Student's t for planes -
    1 degrees of freedom. The interval is about the choice of planes: it says what other planes
    would give for the same states of the network, not what another seed of the training would.

    Where all points of all planes agree, or none, there is no deviation. The interval is then that
    of one differing point, widened to the value itself. A map agrees with itself by definition:
    the interval is [1, 1].

    Source: Liang and Zeger 1986 for clustered standard errors.

    Args:
        by_plane: (t, t, plane) share of points of each plane with equal class.
        points: number of points of a plane.

    Returns:
        (t, t, 2) lower and upper bound of the 95% interval, within 0..1; NaN for fewer than two
        planes and where the agreement is NaN.
    """
    count = by_plane.shape[-1]
    if count < 2:
        return np.full((*by_plane.shape[:-1], 2), np.nan)
    mean = by_plane.mean(axis=-1)
    one_point = 1 / (points * count)
    inside = np.clip(mean, one_point, 1 - one_point)
    error = np.maximum(_standard_error(by_plane - mean[..., None]), one_point)
    half = _quantile(count) * error / (inside * (1 - inside))
    logit = np.log(inside / (1 - inside))
    bounds = _logistic(np.stack([logit - half, logit + half], axis=-1))
    return _around(mean, bounds, 0.0)


def kappa_intervals(by_plane: np.ndarray, class_shares: np.ndarray, points: int) -> np.ndarray:
    """Intervals of the pooled kappa, on the scale of atanh.

    The standard error is that of the influences of the planes on the pooled kappa, which follow
    from the delta method. Otherwise as `agreement_intervals`.

    Source: Fleiss, Cohen and Everitt 1969 for the delta method of kappa.

    Args:
        by_plane: (t, t, plane) share of points of each plane with equal class.
        class_shares: (t, plane, class) share of points of each plane that belong to each class.
        points: number of points of a plane.

    Returns:
        (t, t, 2) lower and upper bound of the 95% interval, within -1..1; NaN for fewer than two
        planes and where kappa is NaN.
    """
    count = by_plane.shape[-1]
    if count < 2:
        return np.full((*by_plane.shape[:-1], 2), np.nan)
    agreed, chance, rest = _chance(by_plane, class_shares)
    kappa = (agreed - chance) / rest
    shares = class_shares.mean(axis=1)
    # Each plane's contribution to the linearized agreement by chance, sum_c (a_jc b_c + a_c b_jc).
    one_side = np.einsum("spc,tc->stp", class_shares, shares)
    by_chance = one_side + one_side.swapaxes(0, 1) - 2 * chance[..., None]
    slope = (1 - agreed) / rest**2
    influence = (by_plane - agreed[..., None]) / rest[..., None] - slope[..., None] * by_chance
    one_point = 1 / (points * count) / rest
    inside = np.clip(kappa, -1 + one_point, 1 - one_point)
    error = np.maximum(_standard_error(influence), one_point)
    half = _quantile(count) * error / (1 - inside**2)
    centre = np.arctanh(inside)
    bounds = np.tanh(np.stack([centre - half, centre + half], axis=-1))
    return _around(kappa, bounds, -1.0)


def _chance(by_plane, class_shares):
    """(t, t) agreement, agreement by chance, and 1 - the latter, NaN where it is 0."""
    shares = class_shares.mean(axis=1)
    expected = shares @ shares.T
    # Because of rounding, a sum of shares that is 1 may be 1 - 2e-16.
    return by_plane.mean(axis=-1), expected, np.where(1 - expected > 1e-12, 1 - expected, np.nan)


def _standard_error(deviations):
    """(..., plane) deviations from a mean, or influences on a value, to its standard error."""
    count = deviations.shape[-1]
    return np.sqrt(np.sum(deviations**2, axis=-1) / (count * (count - 1)))


def _quantile(planes):
    """The two-sided quantile of Student's t."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, planes - 1))


def _logistic(x):
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(x / 2))


def _around(value, bounds, minimum):
    """Bounds that include the value, within [minimum, 1]; [1, 1] for a map with itself."""
    bounds[..., 0] = np.clip(np.minimum(bounds[..., 0], value), minimum, 1)
    bounds[..., 1] = np.clip(np.maximum(bounds[..., 1], value), minimum, 1)
    itself = np.arange(len(value))
    bounds[itself, itself] = np.where(np.isnan(value[itself, itself]), np.nan, 1.0)[:, None]
    return bounds

"""Decision regions: agreement, kappa and fragmentation of region maps."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series, State
from repdyn_keras.measures.probe import probe_weights

EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
EIGHT_NEIGHBOURS[1] = True


def undefined_class(dtype) -> int:
    """The class index of undefined points: the maximum of the dtype."""
    return int(np.iinfo(dtype).max)


def region_dtype(n_classes: int) -> np.dtype:
    """The smallest unsigned integer dtype for all class indices and the undefined class."""
    return np.min_scalar_type(n_classes)


def agreements(maps: np.ndarray) -> np.ndarray:
    """Share of points with equal class, for all pairs of maps: similarity, 1 = identical.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility score.

    Args:
        maps: (t, points) class indices of an unsigned dtype, over all planes.

    Returns:
        (t, t) float64; NaN where a map has undefined points.
    """
    undefined = (maps == undefined_class(maps.dtype)).any(axis=1)
    shares = np.stack([(maps == reference).mean(axis=1) for reference in maps])
    shares[undefined] = np.nan
    shares[:, undefined] = np.nan
    return shares


def kappas(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """Cohen's kappa between all pairs of maps, pooled over all points: 1 = identical, 0 = chance.

    Source: Cohen 1960.

    Args:
        maps: (t, points) class indices, over all planes.
        n_classes: number of classes.

    Returns:
        (t, t) float64; NaN where both maps consist of the same single class (0 / 0), and where a
        map has undefined points.
    """
    observed = agreements(maps)
    shares = class_shares(maps, n_classes)
    expected = shares @ shares.T
    with np.errstate(invalid="ignore", divide="ignore"):
        # Because of rounding, a sum of shares that is 1 may be 1 - 2e-16.
        possible = np.where(1 - expected > 1e-12, 1 - expected, np.nan)
        return (observed - expected) / possible


def class_shares(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """(t, n_classes) share of the points of each map that belong to each class."""
    return np.stack([np.bincount(m, minlength=n_classes)[:n_classes] / len(m) for m in maps])


def fragments(maps: np.ndarray) -> np.ndarray:
    """Number of 8-connected components of equal class in each map, summed over classes.

    Undefined points are left out.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), fragmentation.

    Args:
        maps: (..., rows, columns) class indices of an unsigned dtype.

    Returns:
        (...) int64.
    """
    from scipy.ndimage import label

    batch_shape = maps.shape[:-2]
    stack = maps.reshape(-1, *maps.shape[-2:])
    count = np.zeros(len(stack), dtype=np.int64)
    plane = np.broadcast_to(np.arange(len(stack))[:, None, None], stack.shape)
    for value in np.unique(stack):
        if value == undefined_class(maps.dtype):
            continue
        components, n_components = label(stack == value, EIGHT_NEIGHBOURS)
        plane_of_component = np.zeros(n_components + 1, dtype=np.int64)
        plane_of_component[components] = plane
        count += np.bincount(plane_of_component[1:], minlength=len(stack))
    return count.reshape(batch_shape)


def boundary_lengths(maps: np.ndarray) -> np.ndarray:
    """Share of horizontally or vertically neighbouring points with different classes.

    Args:
        maps: (..., rows, columns) class indices.

    Returns:
        (...) float64 between 0 and 1.
    """
    across = (maps[..., :, 1:] != maps[..., :, :-1]).sum(axis=(-2, -1))
    down = (maps[..., 1:, :] != maps[..., :-1, :]).sum(axis=(-2, -1))
    rows, columns = maps.shape[-2:]
    return (across + down) / (rows * (columns - 1) + columns * (rows - 1))


def on_state(state: State) -> Arrays:
    """The classes that the probes and the network predict at the grid points of all planes."""
    if not state.has_planes:
        return {}
    return {"regions": state.classify_planes(state.cached(probe_weights))}


def over_epochs(series: Series) -> Arrays:
    """Region maps of every epoch, their agreement and kappa between epochs, and their shape."""
    recorded = series.recorded("regions")
    if "regions" not in recorded or "plane_sample" not in series.constants:
        return {}
    maps = recorded["regions"].swapaxes(0, 1)
    flat = maps.reshape(*maps.shape[:2], -1)
    n_classes = int(series.constants.attrs["n_classes"])
    return {
        "regions": maps,
        "region_agreement": np.stack([agreements(layer) for layer in flat]),
        "region_kappa": np.stack([kappas(layer, n_classes) for layer in flat]),
        "fragments": fragments(maps),
        "boundary_length": boundary_lengths(maps),
        "class_share": np.stack([class_shares(layer, n_classes) for layer in flat]),
    }


PAIR, PLANE = ("layer", "epoch", "epoch_other"), ("layer", "epoch", "plane")
MEASURE = Measure(
    name="regions",
    title="decision regions",
    recorded={"regions": ("layer", "plane", "row", "column")},
    computed={
        "regions": ("layer", "epoch", "plane", "row", "column"),
        "region_agreement": PAIR,
        "region_kappa": PAIR,
        "fragments": PLANE,
        "boundary_length": PLANE,
        "class_share": ("layer", "epoch", "class"),
    },
    on_state=on_state,
    over_epochs=over_epochs,
)

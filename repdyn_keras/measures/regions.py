"""Decision regions: class indices on grids, the agreement of two maps, and their fragmentation."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series, State
from repdyn_keras.measures.probe import probe_weights

EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
EIGHT_NEIGHBOURS[1] = True


def undefined_class(dtype) -> int:
    """The class index that means undefined: the dtype's maximum."""
    return int(np.iinfo(dtype).max)


def region_dtype(n_classes: int) -> np.dtype:
    """The smallest unsigned integer type for the class indices and the index of undefined."""
    return np.min_scalar_type(n_classes)


def agreements(maps: np.ndarray) -> np.ndarray:
    """Share of points of equal class, for all pairs of maps: similarity, 1 = identical.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility score.

    Args:
        maps: (t, points) class indices of an unsigned dtype, over all planes.

    Returns:
        (t, t) float64, NaN where a map holds undefined points.
    """
    undefined = (maps == undefined_class(maps.dtype)).any(axis=1)
    shares = np.stack([(maps == one).mean(axis=1) for one in maps])
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
        (t, t) float64; NaN for 0 / 0 (both maps hold one and the same class) and where a map holds
        undefined points.
    """
    observed = agreements(maps)
    shares = class_shares(maps, n_classes)
    expected = shares @ shares.T
    with np.errstate(invalid="ignore", divide="ignore"):
        # Sums of shares are exact but for rounding: 1 may be 1 - 2e-16.
        possible = np.where(1 - expected > 1e-12, 1 - expected, np.nan)
        return (observed - expected) / possible


def class_shares(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """(t, n_classes) share of each map's points that each class holds."""
    return np.stack([np.bincount(m, minlength=n_classes)[:n_classes] / len(m) for m in maps])


def fragments(maps: np.ndarray) -> np.ndarray:
    """Number of 8-connected components of equal class of each map, summed over classes.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), fragmentation; undefined points are left out.

    Args:
        maps: (..., rows, columns) class indices of an unsigned dtype.

    Returns:
        (...) int64.
    """
    from scipy.ndimage import label

    lead = maps.shape[:-2]
    stack = maps.reshape(-1, *maps.shape[-2:])
    count = np.zeros(len(stack), dtype=np.int64)
    plane = np.broadcast_to(np.arange(len(stack))[:, None, None], stack.shape)
    for value in np.unique(stack):
        if value == undefined_class(maps.dtype):
            continue
        components, found = label(stack == value, EIGHT_NEIGHBOURS)
        owner = np.zeros(found + 1, dtype=np.int64)
        owner[components] = plane
        count += np.bincount(owner[1:], minlength=len(stack))
    return count.reshape(lead)


def boundary_lengths(maps: np.ndarray) -> np.ndarray:
    """Share of neighbouring pairs of points, across and down, whose classes differ.

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
    """The classes that the probes and the network give to the points of all planes."""
    if not state.has_planes:
        return {}
    return {"regions": state.classify_planes(state.once(probe_weights))}


def over_epochs(series: Series) -> Arrays:
    """Regions of every epoch, their agreement and kappa between all epochs, and their shape."""
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

"""Decision regions: the region maps, their agreement with its floor, and their fragmentation."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, Series, State
from repdyn_keras.measures.map_agreement import class_shares, map_similarities, undefined_class
from repdyn_keras.measures.probe import probe_weights, resampled_weights

EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
EIGHT_NEIGHBOURS[1] = True


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


def floors(maps: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    """Agreement of each layer's regions with those of a probe of resampled training images.

    Two probes of the same features differ because the training images are a sample: an agreement
    between epochs that is below this floor is beyond that noise. The bootstrap sample is the same
    at every epoch and in every layer.

    Args:
        maps: (layer, ...) class indices by the probes of the training images; the output last.
        resampled: the same by probes of a bootstrap sample of these images.

    Returns:
        (layer,) share of points with equal class; NaN for the output, which has no probe, and
        where a layer has undefined points.
    """
    flat = maps.reshape(len(maps), -1)
    floor = (flat == resampled.reshape(flat.shape)).mean(axis=1)
    floor[(flat == undefined_class(maps.dtype)).any(axis=1)] = np.nan
    floor[-1] = np.nan
    return floor


def on_state(state: State) -> Arrays:
    """The classes that the probes and the network predict at grid points, and the floor."""
    if not state.has_planes:
        return {}
    probes = [state.cached(probe_weights), state.cached(resampled_weights)]
    (maps, resampled), drawn = state.classify_planes(probes)
    arrays = {"regions": maps, "region_agreement_floor": floors(maps, resampled)}
    if drawn.size:
        arrays["regions_drawn"] = drawn
    return arrays


def over_epochs(series: Series) -> Arrays:
    """Region maps of every epoch, their agreement and kappa between epochs, and their shape."""
    recorded = series.recorded("regions", "regions_drawn", "region_agreement_floor")
    if "regions" not in recorded or "plane_sample" not in series.constants:
        return {}
    maps = recorded["regions"].swapaxes(0, 1)
    points = maps.shape[-1] * maps.shape[-2]
    n_classes = int(series.constants.attrs["n_classes"])
    are_chosen = bool(series.constants.attrs.get("planes_chosen", 0))
    shares = class_shares(maps.reshape(*maps.shape[:3], points), n_classes)
    similar: dict[str, list[np.ndarray]] = {}
    for of_layer, shares_of_layer in zip(maps, shares, strict=True):
        flat = of_layer.reshape(*of_layer.shape[:2], points)
        found = map_similarities(flat, shares_of_layer, are_chosen)
        for name, matrix in found.items():
            similar.setdefault(name, []).append(matrix)
    optional = ("regions_drawn", "region_agreement_floor")
    return {
        **{name: np.stack(matrices) for name, matrices in similar.items()},
        **{name: recorded[name].swapaxes(0, 1) for name in optional if name in recorded},
        "regions": maps,
        "fragments": fragments(maps),
        "boundary_length": boundary_lengths(maps),
        "class_share": shares.mean(axis=2),
    }


PAIR, PLANE = ("layer", "epoch", "epoch_other"), ("layer", "epoch", "plane")
DRAWN = ("plane_drawn", "row_drawn", "column_drawn")
MEASURE = Measure(
    name="regions",
    title="decision regions",
    recorded={
        "regions": ("layer", "plane", "row", "column"),
        "regions_drawn": ("layer", *DRAWN),
        "region_agreement_floor": ("layer",),
    },
    computed={
        "regions": ("layer", "epoch", "plane", "row", "column"),
        "regions_drawn": ("layer", "epoch", *DRAWN),
        "region_agreement": PAIR,
        "region_agreement_interval": (*PAIR, "bound"),
        "region_agreement_floor": ("layer", "epoch"),
        "region_kappa": PAIR,
        "region_kappa_interval": (*PAIR, "bound"),
        "fragments": PLANE,
        "boundary_length": PLANE,
        "class_share": ("layer", "epoch", "class"),
    },
    meanings={
        "regions": ("class predicted at each grid point", "class"),
        "regions_drawn": ("class predicted at each point of the finer grids", "class"),
        "region_agreement": ("share of grid points with the same class at two epochs", "1"),
        "region_agreement_interval": ("95% interval of the agreement over planes", "1"),
        "region_agreement_floor": ("agreement with the regions of a bootstrap's probe", "1"),
        "region_kappa": ("Cohen's kappa of the regions at two epochs", "1"),
        "region_kappa_interval": ("95% interval of kappa over planes", "1"),
        "fragments": ("number of connected components of equal class", "1"),
        "boundary_length": ("share of neighbouring grid points of different classes", "1"),
        "class_share": ("share of grid points of each class", "1"),
    },
    on_state=on_state,
    over_epochs=over_epochs,
)

"""Decision regions of different runs on the same planes."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.measures.map_agreement import class_shares, map_similarities
from repdyn_keras.text import format_names

if TYPE_CHECKING:
    import xarray

# Why regions are not compared where nobody wants them.
NOT_ASKED = "they were not asked for"


@dataclass(frozen=True)
class Planes:
    """The planes of a run and the classes of its regions.

    Attributes:
        n_classes: number of classes.
        class_names: names of the classes; empty if they have none.
        resolution: points along each side of a grid.
        margin: margin around a plane's three images, relative to their extent.
        count: number of planes.
        corners: ids of the three images of each plane; empty if they have none.
        digest: hash of the pixels of these images.
        are_chosen: whether the images were chosen, not drawn at random.
    """

    n_classes: int
    class_names: tuple[str, ...]
    resolution: int
    margin: float
    count: int
    corners: tuple[tuple[object, ...], ...]
    digest: str
    are_chosen: bool

    @classmethod
    def of(cls, dynamics: "xarray.Dataset") -> "Planes | None":
        """The planes of a run from its dynamics; None if it has no decision regions."""
        if not {"regions", "plane_image"} <= set(dynamics):
            return None
        # h5netcdf returns a list of one name as text.
        names = np.ravel(np.asarray(dynamics.attrs.get("class_names", []), dtype=object)).tolist()
        corners = dynamics["plane_sample"].values.tolist() if "plane_sample" in dynamics else []
        images = np.ascontiguousarray(dynamics["plane_image"].values)
        return cls(
            n_classes=int(dynamics.attrs["n_classes"]),
            class_names=tuple(map(str, names)),
            resolution=dynamics.sizes["row"],
            margin=float(dynamics.attrs["margin"]),
            count=dynamics.sizes["plane"],
            corners=tuple(map(tuple, corners)),
            digest=hashlib.sha256(f"{images.shape}".encode() + images.tobytes()).hexdigest(),
            are_chosen=bool(dynamics.attrs.get("planes_chosen", 0)),
        )


def regions_differ(
    one: Planes | None, other: Planes | None, name: str = "A", other_name: str = "B"
) -> str:
    """Why the regions of two runs cannot be compared; empty if they can.

    Args:
        one, other: the planes of the runs; None for a run without.
        name, other_name: of the runs, for the text.
    """
    named = {name: one, other_name: other}
    without = [name for name, planes in named.items() if planes is None]
    if one is None or other is None:
        return f"{' and '.join(without)} recorded no decision regions (planes = 0, or no labels)"
    pairs = (
        ("number of classes", one.n_classes, other.n_classes),
        ("planes", one.count, other.count),
        ("resolution", one.resolution, other.resolution),
        ("margin", one.margin, other.margin),
    )
    for setting, value, other_value in pairs:
        if value != other_value:
            return f"{name} has {setting} = {value:g}, {other_name} has {other_value:g}"
    if one.class_names and other.class_names and one.class_names != other.class_names:
        names = [format_names(planes.class_names) for planes in (one, other)]
        return f"{name} has the classes {names[0]}; {other_name} has {names[1]}"
    if one.corners != other.corners:
        return f"{name} and {other_name} have {corners_differ(one, other)}"
    if one.digest != other.digest:
        return f"the images of the planes of {name} and {other_name} have other pixels"
    return ""


def corners_differ(one: Planes, other: Planes) -> str:
    """How planes with different corners differ."""
    planes = [sorted(sorted(map(repr, plane)) for plane in each.corners) for each in (one, other)]
    if planes[0] == planes[1]:
        return "planes through the same images in another order"
    if one.are_chosen or other.are_chosen:
        return "planes through other images"
    return "planes through other images (another seed of planes)"


def regions_at(dynamics: "xarray.Dataset", epoch: float) -> np.ndarray:
    """(layer, plane, points) classes at a recorded epoch."""
    found = dynamics["regions"].sel(epoch=epoch).transpose("layer", "plane", "row", "column")
    return flat_maps(found.values)


def regions_of(dynamics: "xarray.Dataset", layer: str) -> np.ndarray:
    """(epoch, plane, points) classes of a layer."""
    found = dynamics["regions"].sel(layer=layer).transpose("epoch", "plane", "row", "column")
    return flat_maps(found.values)


def flat_maps(maps: np.ndarray) -> np.ndarray:
    """Maps (..., row, column) as (..., points)."""
    return maps.reshape(*maps.shape[:-2], -1)


def region_similarities(
    one: np.ndarray, other: np.ndarray, n_classes: int, are_chosen: bool = False
) -> dict[str, np.ndarray]:
    """Agreement and kappa of each map of one run with each of another, with intervals.

    Source: Somepalli et al. 2022 (arXiv 2203.08124), reproducibility score: the share of points of
    a plane with equal class, in the mean over planes.

    Args:
        one, other: (m, plane, points) and (k, plane, points) classes on the same planes.
        n_classes: number of classes.
        are_chosen: whether the planes were chosen, so that there are no intervals.

    Returns:
        By name of a variable of `dynamics.nc`: `region_agreement` and `region_kappa` (m, k),
        `region_agreement_interval` and `region_kappa_interval` (m, k, 2), see
        `measures.map_agreement`; the intervals of chosen planes are NaN.
    """
    maps = np.concatenate([one, other])
    found = map_similarities(maps, class_shares(maps, n_classes), are_chosen)
    return {name: values[: len(one), len(one) :] for name, values in found.items()}

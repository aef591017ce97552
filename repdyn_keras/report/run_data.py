"""Everything that the page of a run shows, as a header and arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repdyn_keras.dynamics.phase_descriptions import KINDS
from repdyn_keras.dynamics.story import most_changed, window
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import log_position, thinned
from repdyn_keras.figures.parts.lookup import shortened
from repdyn_keras.figures.parts.maps import displayable, plane_corners, plane_maps
from repdyn_keras.figures.parts.other_similarities import OTHERS, PREFIX
from repdyn_keras.figures.parts.similarity_floors import floors
from repdyn_keras.report.events import events
from repdyn_keras.report.payload import Payload, class_indices, float32, triangle
from repdyn_keras.report.suspects import png_url
from repdyn_keras.text import format_epochs

if TYPE_CHECKING:
    import xarray

# Letters of a layer's name above a panel, beside which there is a number.
MAX_PANEL_NAME = 22
# What one page holds at most; the rest is in `dynamics.nc`.
MAX_LAYERS, MAX_EPOCHS, MAX_PLANES, MAX_CLASSES = 40, 60, 4, 1 << 16
# Pixels of a side of a plane's image.
MAX_PICTURE = 96
# By variable: name, unit, suffix of the variables of its phases (None: it has none), its floors.
SIMILARITIES: dict[str, tuple[str, str, str | None, tuple[str, ...]]] = {
    "cka": (
        "CKA",
        "1 = same representation, 0 = unrelated",
        "",
        ("cka_null", "cka_null_class"),
    ),
    "region_agreement": (
        "Region agreement",
        "share of plane points with the same class at both epochs",
        "_regions",
        ("region_agreement_floor", "region_chance"),
    ),
    "region_kappa": (
        "Region kappa",
        "Cohen's kappa: 1 = same regions, 0 = chance",
        None,
        (),
    ),
} | {
    f"{PREFIX}{key}": (name, f"{about}: {scale}", None, (f"{PREFIX}{key}_null",))
    for key, (name, about, scale) in OTHERS.items()
}
SUBSETS = {
    "train": "training images, labels as given",
    "clean": "correctly labelled training images",
    "mislabeled_given": "wrongly labelled images: given label (memorized)",
    "mislabeled_true": "wrongly labelled images: true label (resisted)",
    "test": "test images",
}


def run_data(
    dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]
) -> tuple[dict[str, Any], str]:
    """The header of a page and its packed block.

    Args:
        dynamics: the Dataset of the run.
        history: the rows of `history.csv`; may be empty.

    Returns:
        The header, and the block, see `payload`.
    """
    shown = shown_part(dynamics)
    payload = Payload()
    has_regions = "regions" in shown and shown["regions"].size > 0
    header: dict[str, Any] = {
        "layers": shortened(shown["layer"].values, MAX_PANEL_NAME),
        "epochs": shown["epoch"].values.tolist(),
        "epochTexts": format_epochs(shown["epoch"].values),
        "events": events(dynamics, history),
        "measures": add_similarities(payload, shown, dynamics),
        "subsets": add_accuracies(payload, shown),
        "hasProgress": add_progress(payload, shown),
        "start": start(shown, dynamics),
        "planes": [],
        "classes": [],
    }
    if has_regions:
        header["planes"], used = add_planes(payload, shown)
        header["classes"] = classes(dynamics, used)
    payload.add("viridis", viridis())
    header = without_nan(header)
    return header, payload.packed(header)


def without_nan(value: Any) -> Any:
    """A value of JSON with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def start(shown: "xarray.Dataset", dynamics: "xarray.Dataset") -> dict[str, int]:
    """What the page shows first: the layer that changed most, at the ends of that time."""
    found = window(dynamics)
    if found is None:
        return {"layer": shown.sizes["layer"] - 1, "epoch": 0, "other": 0}
    first, last, _ = found
    most = most_changed(dynamics.sel(layer=shown["layer"].values), first, last)
    layer = shown.sizes["layer"] - 1 if most is None else most
    epoch, other = (shown_index(shown, dynamics["epoch"].values[at]) for at in (first, last))
    return {"layer": layer, "epoch": epoch, "other": other}


def shown_index(shown: "xarray.Dataset", epoch: float) -> int:
    """The index of the first record that is shown at an epoch or after it."""
    return min(int(np.searchsorted(shown["epoch"].values, epoch)), shown.sizes["epoch"] - 1)


def shown_part(dynamics: "xarray.Dataset") -> "xarray.Dataset":
    """The Dataset of the layers and epochs that the page shows.

    Of many layers, they are evenly spread, with the first and the last; of many epochs, they are
    evenly spread by log2(1 + epoch), with the epoch of perfect fit.
    """
    layers, epochs = dynamics.sizes["layer"], dynamics["epoch"].values
    rows = np.unique(np.linspace(0, layers - 1, min(layers, MAX_LAYERS)).round().astype(int))
    columns = np.arange(len(epochs))
    if len(epochs) > MAX_EPOCHS:
        columns = thinned(log_position(epochs), MAX_EPOCHS - 1)
        fit = style.perfect_fit_epoch(dynamics)
        columns = np.unique([*columns, *np.flatnonzero(epochs == fit)]).astype(int)
    chosen = {"layer": rows, "layer_other": rows, "epoch": columns, "epoch_other": columns}
    return dynamics.isel({name: index for name, index in chosen.items() if name in dynamics.dims})


def add_similarities(
    payload: Payload, shown: "xarray.Dataset", dynamics: "xarray.Dataset"
) -> list[dict[str, Any]]:
    """Adds the similarities between epochs; returns their names, floors and borders."""
    found = []
    for variable, (name, unit, suffix, floor_names) in SIMILARITIES.items():
        if variable not in shown or not shown[variable].notnull().any():
            continue
        dims = ("layer", "epoch", "epoch_other")
        payload.add(variable, triangle(shown[variable].transpose(*dims).values))
        interval = f"{variable}_interval"
        if interval in shown:
            values = shown[interval].transpose("bound", *dims).values
            payload.add(interval, triangle(values))
        found.append(
            {
                "key": variable,
                "name": name,
                "unit": unit,
                "hasInterval": interval in shown,
                "floors": [
                    {"middle": each.middle, "text": each.text}
                    for each in floors(shown, *floor_names)
                ],
                "borders": borders(shown, dynamics, suffix),
            }
        )
    return found


def borders(
    shown: "xarray.Dataset", dynamics: "xarray.Dataset", suffix: str | None
) -> list[list[list[Any]]]:
    """For each layer its borders: the index of the first record after it, and its kind.

    Borders of records that are not shown are at the next one that is.
    """
    name = f"border_kind{suffix}"
    if suffix is None or name not in dynamics:
        return [[] for _ in shown["layer"].values]
    found = []
    for layer in shown["layer"].values:
        row = dynamics[name].sel(layer=layer)
        places = {
            shown_index(shown, epoch): KINDS[int(kind)]
            for epoch, kind in zip(dynamics["epoch"].values, row.values, strict=True)
            if int(kind) in KINDS
        }
        found.append([[index, kind] for index, kind in sorted(places.items())])
    return found


def add_accuracies(payload: Payload, shown: "xarray.Dataset") -> list[dict[str, str]]:
    """Adds the accuracies of the probes; returns the subsets on which they are known."""
    if "probe_accuracy" not in shown:
        return []
    accuracy = shown["probe_accuracy"].transpose("subset", "layer", "epoch")
    drawn = style.meanings(shown)
    known = [
        str(name)
        for name in accuracy["subset"].values
        if accuracy.sel(subset=name).notnull().any() and str(name) in drawn
    ]
    if known:
        payload.add("probe_accuracy", float32(accuracy.sel(subset=known).values))
    return [{"key": name, "name": SUBSETS[name]} for name in known]


def add_progress(payload: Payload, shown: "xarray.Dataset") -> bool:
    """Adds the progress of the layers and their synchronization; returns whether any is known."""
    if "progress" not in shown or not shown["progress"].notnull().any():
        return False
    payload.add("progress", float32(shown["progress"].transpose("layer", "epoch").values))
    matrix = shown["synchronization"].transpose("layer", "layer_other").values
    payload.add("synchronization", float32(matrix))
    return True


def add_planes(payload: Payload, shown: "xarray.Dataset") -> tuple[list[dict[str, Any]], int]:
    """Adds the region maps of the first planes.

    Returns:
        The images and places of each plane, and the largest class among maps and labels. True
        labels of planes, and classes in damaged maps, may be beyond those of the output.
    """
    found, used = [], 0
    for index, number in enumerate(shown["plane"].values[:MAX_PLANES].tolist()):
        maps = plane_maps(shown, number).values
        used = max(used, int(maps[maps != np.iinfo(maps.dtype).max].max(initial=0)))
        payload.add(f"regions{index}", class_indices(maps))
        rows, columns = maps.shape[-2:]
        corners = plane_corners(shown, index, rows)
        used = max(used, int(corners.true.max()), int(corners.given.max()))
        pictures = shown["plane_image"].values[index] if "plane_image" in shown else np.array(0)
        found.append(
            {
                "number": number,
                "corners": [
                    {
                        # In shares of the map, from its left and its lower side.
                        "x": (float(position[1]) + 0.5) / columns,
                        "y": (float(position[0]) + 0.5) / rows,
                        "true": int(true),
                        "given": int(given),
                        "image": picture_url(pictures[corner]) if pictures.ndim == 4 else None,
                    }
                    for corner, (position, true, given) in enumerate(zip(*corners, strict=True))
                ],
            }
        )
    return found, used


def picture_url(image: np.ndarray) -> str:
    """An image (height, width, channel) as the address of a PNG file that it holds."""
    return png_url(np.rint(255 * np.nan_to_num(displayable(image))).astype(np.uint8), MAX_PICTURE)


def classes(dynamics: "xarray.Dataset", used: int) -> list[dict[str, str]]:
    """The names and colours of all classes, at least up to the largest one that is used."""
    count = min(max(int(dynamics.attrs["n_classes"]), 1 + used), MAX_CLASSES)
    return [
        {"name": style.class_name(dynamics, index), "color": hexadecimal(style.class_color(index))}
        for index in range(count)
    ]


def hexadecimal(color: style.Color) -> str:
    """A colour as in `#0077bb`."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)


def viridis() -> np.ndarray:
    """(256, 3) red, green and blue of the colour map of all similarities."""
    import matplotlib

    return (255 * matplotlib.colormaps["viridis"](np.arange(256))[:, :3]).round().astype(np.uint8)

"""The history of one image: its classes at the output and at every probe, and its margin."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import label_axis
from repdyn_keras.figures.parts.films import (
    NO_HISTORIES,
    described_labels,
    draw_film,
    draw_picture,
    entries,
    film,
    image_index,
    image_name,
    require_films,
)
from repdyn_keras.figures.parts.lookup import layer_names, require, shortened
from repdyn_keras.figures.parts.page import (
    PictureFile,
    new_page,
    picture,
    quiet_frame,
    settle,
    text_width,
)
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.records.run_folder import file_name_part
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches of height: of the margin, and of a layer of the film. Inches of width: of the page at
# most, and between the picture and the names of layers.
CURVE, LAYER = 1.4, 0.22
MAX_WIDTH, BESIDE = 9.0, 0.4
# Inches of a page on which the legend is one row.
MIN_ONE_ROW = 7.0
RECORD_AXIS = "recorded epoch (0 = before training)"


def draw_image_history(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `image_ID.png` of each image that is asked for; if ids look alike, with its number."""
    names = [file_name_part(image) for image in selection.images]
    for image, name in zip(selection.images, names, strict=True):
        if not name or names.count(name) > 1:
            name = str(image_index(dynamics, image))
        yield picture(f"image_{name}", image_history(dynamics, image))


@style.as_it_is
def image_history(dynamics: xr.Dataset, image: object) -> "Figure":
    """What the output and every probe said of one image at every record, and its margin.

    Args:
        dynamics: of a run with histories of images.
        image: id of the image.

    Returns:
        The Figure.

    Raises:
        InputError: the run holds no histories of images, or not of this one.
    """
    require_films(dynamics)
    index = image_index(dynamics, image)
    margin = require(dynamics, "image_margin", NO_HISTORIES).transpose("image", "epoch").values
    epochs, names = dynamics["epoch"].values, shortened(layer_names(dynamics))
    figure, body = new_page(min(sheet().width, MAX_WIDTH), *heading(dynamics, index))
    heights = [LAYER * len(names), CURVE]
    grid = body.add_gridspec(2, 2, height_ratios=heights, width_ratios=[1, 4])
    draw_picture(body.add_subplot(grid[0, 0]), dynamics, index)
    strip = body.add_subplot(grid[0, 1])
    colors = film(dynamics, index)
    draw_film(strip, colors)
    strip.set_yticks(np.arange(len(names)), names, **style.PLAIN)
    strip.tick_params(labelsize=sheet().name, length=2, labelbottom=False)
    strip.set_ylabel("layer", size=sheet().label)
    curve = body.add_subplot(grid[1, 1], sharex=strip)
    curve.axhline(0, color=style.FAINT, linewidth=0.8)
    curve.plot(np.arange(len(epochs)), margin[index], color=style.INK, marker="o", markersize=3)
    curve.set_ylabel("margin of the\ngiven label (logit)", size=sheet().label)
    curve.set_xlabel(RECORD_AXIS, size=sheet().label)
    curve.tick_params(which="both", labelsize=sheet().small)
    quiet_frame(curve)
    parts = entries(bool((colors[..., 3] == 0).any()))
    columns = len(parts) if figure.get_figwidth() >= MIN_ONE_ROW else 1
    look = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(parts.values(), parts.keys(), fontsize=sheet().small, **look)
    beside = max(text_width(name, sheet().name) for name in names) / 72 + BESIDE * sheet().scale
    across = 0.8 * figure.get_figwidth() - beside
    settle(figure, [strip], LAYER * sheet().scale * len(names) / across)
    strip.tick_params(labelbottom=False)
    label_axis(curve.xaxis, np.arange(len(epochs)), epochs)
    return figure


def heading(dynamics: xr.Dataset, index: int) -> tuple[str, str]:
    """The title and the subtitle of the history of an image."""
    names = ("area_under_margin", "confidence", "variability", "correctness")
    learned, lost, suspicion, area, *shares = (
        float(dynamics[name].values[index])
        for name in ("learned_epoch", "forgetting_events", "suspicion", *names)
    )
    parts = [] if np.isnan(suspicion) else [f"suspicion {suspicion:.2f}"]
    if style.has_class_scores(dynamics):
        when = (
            "the given label is not predicted at the last record"
            if np.isnan(learned)
            else f"the given label is predicted from epoch {format_epoch(learned)} on"
        )
        times = f", after it was forgotten {lost:.0f} time{'s' if lost > 1 else ''}"
        described = zip(names[1:], shares, strict=True)
        parts = [
            when + (times if lost else ""),
            *parts,
            f"area under the margin {area:.1f}",
            ", ".join(f"{name} {value:.2f}" for name, value in described),
        ]
    title = f"Image {image_name(dynamics, index)}: {described_labels(dynamics, index)}"
    return title, style.subtitle(dynamics, *parts)

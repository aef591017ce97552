"""The images whose labels are the most suspicious, with the film of each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.films import (
    NO_HISTORIES,
    described_labels,
    draw_film,
    draw_picture,
    entries,
    film,
    image_name,
    require_films,
)
from repdyn_keras.figures.parts.lookup import require
from repdyn_keras.figures.parts.page import (
    PictureFile,
    beside,
    panel_page,
    panel_room,
    picture,
    settle_with_legend,
    title_panel,
    wrapped,
)
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import format_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SUSPECTS, MAX_ROWS = 24, 6
# Columns of a wide page, and inches of each.
COLUMNS, MIN_COLUMN = 4, 1.9
# Parts of a panel's width: the picture, and the film from its left to the right end.
PICTURE, FILM = 0.32, 0.38
ASPECT = 0.33


def draw_suspects(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `suspects.png`."""
    yield picture("suspects", suspects(dynamics))


@style.as_it_is
def suspects(dynamics: xr.Dataset, most: int = MAX_SUSPECTS) -> "Figure":
    """The images with the most suspicious labels, each with its film.

    A film has layers upwards and records to the right.

    Args:
        dynamics: of a run with histories of images.
        most: number of images at most.

    Returns:
        The Figure.

    Raises:
        InputError: the run holds no histories of images.
    """
    require_films(dynamics)
    suspicion = require(dynamics, "suspicion", NO_HISTORIES).values
    columns = int(np.clip(sheet().width / MIN_COLUMN, 1, COLUMNS))
    order = most_suspicious(dynamics, min(most, MAX_ROWS * columns))
    above = int((suspicion > 0).sum())
    heading = (
        "The most suspicious labels",
        style.subtitle(
            dynamics,
            f"the {len(order)} most suspicious of {len(suspicion)} images; "
            f"for {above}, another class has more votes than the label (suspicion above 0)",
            "beside each image, the predictions of the probe of each layer (upwards; the output on "
            "top) at every record (to the right)",
        ),
    )
    columns = max(1, min(columns, len(order)))
    figure, axes = panel_page(len(order), heading, "", "", columns)
    # These panels have no labels of axes beside them.
    room = panel_room(figure, axes) + 60 * beside() / columns
    has_undefined = False
    for index, ax in zip(order.tolist(), axes, strict=True):
        ax.set_axis_off()
        ax.set(xticks=[], yticks=[])
        draw_picture(ax.inset_axes((0, 0, PICTURE, 1)), dynamics, index)
        colors = film(dynamics, index)
        has_undefined |= bool((colors[..., 3] == 0).any())
        strip = ax.inset_axes((FILM, 0, 1 - FILM, 1))
        draw_film(strip, colors)
        strip.set(xticks=[], yticks=[])
        lines = caption(dynamics, index).splitlines()
        title_panel(ax, "\n".join(wrapped(line, sheet().panel_title, room) for line in lines))
    settle_with_legend(figure, axes, ASPECT, entries(has_undefined))
    return figure


def most_suspicious(dynamics: xr.Dataset, most: int) -> np.ndarray:
    """Indices of the images with the most suspicious labels, the most suspicious first."""
    suspicion = np.nan_to_num(dynamics["suspicion"].values, nan=-np.inf)
    return np.argsort(-suspicion, kind="stable")[:most]


def caption(dynamics: xr.Dataset, index: int) -> str:
    """The id of an image, its labels and when it was learned, on two lines."""
    suspicion = float(dynamics["suspicion"].values[index])
    history = [] if np.isnan(suspicion) else [f"suspicion {suspicion:.2f}"]
    if style.has_class_scores(dynamics):
        learned = float(dynamics["learned_epoch"].values[index])
        when = "never learned" if np.isnan(learned) else f"learned at epoch {format_epoch(learned)}"
        history.insert(0, when)
    labels = f"{image_name(dynamics, index)}: {described_labels(dynamics, index)}"
    return f"{labels}\n{', '.join(history)}"

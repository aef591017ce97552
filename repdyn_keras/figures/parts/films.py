"""The film of an image: the predictions of the output and of every probe at every record."""

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import require
from repdyn_keras.figures.parts.maps import FRAME
from repdyn_keras.text import format_names, quoted, visible

NO_HISTORIES = "Histories of images exist only where labels were recorded."
# Red as memorized labels in curves of accuracy, and a blue that no kind of vision confuses with it.
GIVEN, BEFORE, OTHER = "#CC3311", "#0077BB", "#D9D9D9"
MEANINGS = {
    "the given label": GIVEN,
    "the class predicted most before it was learned": BEFORE,
    "another class": OTHER,
}
# Letters of an id, and ids that an error names.
MAX_ID, MAX_EXAMPLES = 24, 3


def film(dynamics: xr.Dataset, image: int) -> np.ndarray:
    """Predictions for one image as colours: given label, class before, or another.

    Args:
        dynamics: of a run; holds `image_probe_class`, `label_given` and `label_before`.
        image: index of the image.

    Returns:
        (layer, epoch, 4) red, green, blue and opacity; transparent where undefined.
    """
    from matplotlib.colors import to_rgba

    variable = require(dynamics, "image_probe_class", NO_HISTORIES)
    classes = variable.transpose("image", "layer", "epoch").values[image]
    given, before = (int(dynamics[name].values[image]) for name in ("label_given", "label_before"))
    colors = np.empty((*classes.shape, 4))
    colors[:] = to_rgba(OTHER)
    colors[classes == before] = to_rgba(BEFORE)
    colors[classes == given] = to_rgba(GIVEN)
    colors[classes == np.iinfo(classes.dtype).max] = 0
    return colors


def draw_film(ax, colors: np.ndarray) -> None:
    """Draw a film into Axes, the first layer at the bottom."""
    style.draw_grid(ax, colors, bool((colors[..., 3] == 0).any()), aspect="auto")
    ax.spines[:].set(**FRAME)


def draw_picture(ax, dynamics: xr.Dataset, image: int) -> None:
    """Draw the picture of an image into Axes, or a note where the run holds none."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(**FRAME)
    if "image_picture" not in dynamics:
        ax.text(0.5, 0.5, "no\npicture", ha="center", va="center", transform=ax.transAxes)
        return
    dims = ("image", "pixel_row", "pixel_column", "pixel_channel")
    pixels = dynamics["image_picture"].transpose(*dims).values[image]
    pixels = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")


def entries(undefined: bool):
    """Labels and patches of the colours of films, for a legend."""
    from matplotlib.patches import Patch

    found = {text: Patch(color=color) for text, color in MEANINGS.items()}
    return found | ({"undefined": Patch(**style.UNDEFINED)} if undefined else {})


def image_index(dynamics: xr.Dataset, image: object) -> int:
    """The index of an image by its id, which may be given as text; InputError if it is absent."""
    ids = [str(each) for each in require(dynamics, "image_id", NO_HISTORIES).values]
    if str(image) not in ids:
        raise InputError(
            f"Unknown image. Expected the id of one of the run's {len(ids)} images, such as "
            f"{format_names(ids, MAX_EXAMPLES)}. Received: {quoted(str(image))}. `repdyn images` "
            "lists them."
        )
    return ids.index(str(image))


def require_films(dynamics: xr.Dataset) -> None:
    """Raises InputError unless a run holds the classes of every probe for every image."""
    if "image_id" in dynamics and "image_probe_class" not in dynamics:
        raise InputError(
            "Expected a run whose dynamics.nc holds image_probe_class. Received: one of "
            f"{dynamics.sizes['image']} images, for which it would be too large. Record fewer "
            "(probe_images)."
        )
    require(dynamics, "image_probe_class", NO_HISTORIES)


def class_of(dynamics: xr.Dataset, label: int) -> str:
    """A class by its name, or by its number if classes have none; a dash for none."""
    if label < 0:
        return "-"
    return style.class_name(dynamics, label) if style.has_class_names(dynamics) else str(label)


def described_labels(dynamics: xr.Dataset, index: int) -> str:
    """The given label of an image, the class predicted before, and the true one if it is known."""
    names = {"given": "label_given", "before": "label_before", "truly": "label_true"}
    return ", ".join(
        f"{word} {class_of(dynamics, int(dynamics[name].values[index]))}"
        for word, name in names.items()
        if name in dynamics
    )


def image_name(dynamics: xr.Dataset, image: int) -> str:
    """The id of an image as text."""
    return visible(dynamics["image_id"].values[image], MAX_ID)

"""Colours, line styles, sizes and titles that all figures share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import visible

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")
# Red, green and blue in 0..1.
Color = tuple[float, float, float]
# Keyword arguments of matplotlib.
Look = dict[str, Any]

# Mostly colours of Paul Tol and of Okabe and Ito, at most one of each common name (one pink, one
# yellow, ...). An exchange search maximized the OKLab distance of the closest pair, for normal
# vision and, after Machado et al. (2009), for protanopia, deuteranopia and tritanopia. That pair is
# 0.113 apart in the worst case; that of matplotlib's tab10 is 0.007. Grey and white are reserved
# for "undefined".
FIRST_COLORS: tuple[str, ...] = ("#332288", "#E69F00", "#44AA99", "#AA3377", "#88CCEE")
FIRST_COLORS += ("#663300", "#F0E442", "#7B68EE", "#D55E00", "#AAFFC3")
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
INK, FAINT = "#222222", "#6B6B6B"
UNDEFINED: Look = {"facecolor": "#F4F4F4", "edgecolor": "#ABABAB"}
UNDEFINED |= {"hatch": "//////", "linewidth": 0}

# Keyword arguments of text that is drawn as it is.
PLAIN: Look = {"parse_math": False, "usetex": False}
DPI, GIF_DPI = 150, 100
# Of the pixels inside of vector graphics.
VECTOR_DPI = 600
MAX_TITLE, MAX_CLASS_NAME = 200, 18

# Line styles and markers differ too, for prints without colour.
SUBSETS: dict[str, Look] = {
    "train": {"color": "#222222", "linestyle": "-", "linewidth": 1.6},
    "clean": {"color": "#33BBEE", "linestyle": (0, (5, 1.6)), "linewidth": 1.8},
    "mislabeled_given": {"color": "#CC3311", "linestyle": "-", "marker": "o"},
    "mislabeled_true": {"color": "#009E73", "linestyle": "-.", "marker": "s", "mfc": "white"},
    "test": {"color": "#332288", "linestyle": (0, (1, 1.1)), "linewidth": 2.4},
}
MEANING = {
    "train": "training images,\nlabels as given",
    "clean": "correctly labelled\ntraining images",
    "mislabeled_given": "wrongly labelled images,\ngiven label = memorized",
    "mislabeled_true": "wrongly labelled images,\ntrue label = resisted",
    "test": "test images,\nnever trained on",
}
# Without wrongly labelled images, the correctly labelled ones are all training images.
PLAIN_MEANING = {"train": "training images", "test": MEANING["test"]}


def class_color(index: int) -> Color:
    """The colour of a class, which depends on its index only.

    The first ten are `FIRST_COLORS`. From then on hues advance by the golden angle, lightness and
    chroma along van der Corput sequences: consecutive classes differ most, and no two of the first
    thousand have the same colour.
    """
    if index < len(FIRST_COLORS):
        red, green, blue = bytes.fromhex(FIRST_COLORS[index][1:])
        return red / 255, green / 255, blue / 255
    lightness = 0.45 + 0.42 * _van_der_corput(index, 2)
    chroma = 0.08 + 0.10 * _van_der_corput(index, 3)
    while True:
        rgb = _oklch_to_srgb(lightness, chroma, index * GOLDEN_ANGLE)
        if rgb.min() >= 0 and rgb.max() <= 1:
            red, green, blue = rgb.tolist()
            return red, green, blue
        chroma *= 0.9


def class_name(dynamics: xr.Dataset, index: int, max_length: int = MAX_CLASS_NAME) -> str:
    """The name of a class, or `class INDEX` if it has none. Draw it with `parse_math=False`.

    A name of more than `max_length` letters ends with an ellipsis.
    """
    names = _class_names(dynamics)
    name = visible(names[index]) if index < len(names) else ""
    if not name:
        return f"class {index}"
    return name if len(name) <= max_length else name[: max_length - 1].rstrip() + "…"


def has_class_names(dynamics: xr.Dataset) -> bool:
    """Whether any class has a name."""
    return any(_class_names(dynamics))


def _class_names(dynamics):
    # h5netcdf returns a list of one string as a string, and an empty list as an array of floats.
    stored = dynamics.attrs.get("class_names")
    values = [] if stored is None else np.ravel(np.asarray(stored, dtype=object)).tolist()
    names = [v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for v in values]
    return [" ".join(str(name).split()) for name in names]


def class_image(classes: np.ndarray) -> np.ndarray:
    """Red, green, blue and opacity in 0..1 of class indices, (..., 4).

    The maximum of the indices' dtype, "undefined", is transparent.
    """
    undefined = np.iinfo(classes.dtype).max
    present, where = np.unique(classes, return_inverse=True)
    table = [(1.0, 1, 1, 0) if c == undefined else (*class_color(int(c)), 1.0) for c in present]
    return np.array(table)[where.reshape(classes.shape)]


def ink_on(color: Color) -> str:
    """Black or white, whichever has more contrast with a colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.18 else "white"


def has_wrong_labels(dynamics: xr.Dataset) -> bool:
    """Whether there are wrongly labelled images, which can be memorized or resisted."""
    accuracy = dynamics["probe_accuracy"]
    wrong = [name for name in accuracy["subset"].values if str(name).startswith("mislabeled")]
    return bool(np.isfinite(accuracy.sel(subset=wrong).values).any())


def meanings(dynamics: xr.Dataset) -> dict[str, str]:
    """The text for each subset of images that is drawn, in the order of drawing."""
    return MEANING if has_wrong_labels(dynamics) else PLAIN_MEANING


def subset_line(name):
    """Keyword arguments of `Axes.plot` for the accuracy on a subset of images."""
    look = {"linewidth": 1.6, "markersize": 3.8, "markeredgewidth": 1.1, **SUBSETS[name]}
    scaled = ("linewidth", "markersize", "markeredgewidth")
    return look | {each: look[each] * sheet().scale for each in scaled}


def draw_grid(ax, cells, undefined, **look):
    """Draw values (row, column) or colours (row, column, 4), row 0 at the bottom, as an image.

    With `undefined` there is a grey hatch below, visible where the image is transparent.
    """
    from matplotlib.patches import Rectangle

    rows, columns = cells.shape[:2]
    image = ax.imshow(cells, origin="lower", interpolation="nearest", zorder=1, **look)
    if undefined:
        ax.add_patch(Rectangle((-0.5, -0.5), columns, rows, zorder=0, **UNDEFINED))
    # What is drawn later must not change the limits.
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
    return image


def subtitle(dataset: xr.Dataset, *parts: str) -> str:
    """The run's title, or those of both, and non-empty parts. Draw it with `parse_math=False`."""
    titles = {"": dataset.attrs.get("title")}
    titles |= {f"{run}: ": dataset.attrs.get(f"title_{run.lower()}") for run in "AB"}
    named = [prefix + visible(title, MAX_TITLE) for prefix, title in titles.items() if title]
    return " · ".join(part for part in (*named, *parts) if part)


def has_class_scores(dynamics: xr.Dataset) -> bool:
    """Whether the network's output holds class scores, so that it has an accuracy and regions."""
    return dynamics.attrs.get("output_classes") != 0


def perfect_fit_epoch(dynamics: xr.Dataset, run: str = "") -> float | None:
    """The epoch of perfect fit (of run "a" or "b" of a comparison), or None if not reached."""
    epoch = dynamics.attrs.get(f"perfect_fit_epoch_{run}" if run else "perfect_fit_epoch")
    return float(epoch) if epoch is not None and np.isfinite(epoch) else None


@contextmanager
def without_tex() -> Iterator[None]:
    """A context in which no text is typeset by LaTeX, whatever the user's settings are.

    LaTeX would read files named in text such as `\\input{...}`. No other setting is restored at the
    end: one of them is whether pyplot shows figures by itself, which its import may change.
    """
    import matplotlib

    before = matplotlib.rcParams["text.usetex"]
    matplotlib.rcParams["text.usetex"] = False
    try:
        yield
    finally:
        matplotlib.rcParams["text.usetex"] = before


def as_it_is(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """A function that draws with `without_tex`."""

    @wraps(draw)
    def drawn(*args: Given.args, **more: Given.kwargs) -> Drawn:
        with without_tex():
            return draw(*args, **more)

    return drawn


def _van_der_corput(index, base):
    """The digits of an index, mirrored at the decimal point."""
    return (index % base + _van_der_corput(index // base, base)) / base if index else 0.0


def _oklch_to_srgb(lightness, chroma, hue):
    """Ottosson's OKLab to sRGB (2020); values outside 0..1 are outside the gamut."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = [
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ]
    to_linear = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = np.array(to_linear) @ np.array(cones) ** 3
    curved = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)

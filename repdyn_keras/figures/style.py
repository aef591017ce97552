"""Colours, line styles and sizes: one look for every figure."""

import numpy as np
import xarray as xr

from repdyn_keras.text import visible

# From the colours of Paul Tol and of Okabe and Ito. Exchange searches for the most distinct closest
# pair (OKLab distance; normal sight and, after Machado 2009, protanopia, deuteranopia, tritanopia)
# proposed several tens; this one was picked among them by eye for its variety of hues. Its closest
# pair is 0.069 apart in the worst sight; matplotlib's tab10 has 0.007. The search's best number,
# 0.098, needs four blues and no red. No gray and no white, which are kept for "undefined".
TEN = (
    "#0077BB",
    "#EE7733",
    "#009E73",
    "#CC79A7",
    "#66CCEE",
    "#882255",
    "#EEDD88",
    "#332288",
    "#FFAABB",
    "#CC3311",
)
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))

SIMILARITY_MAP = "viridis"
UNDEFINED_FACE = "#F4F4F4"
UNDEFINED_EDGE = "#ABABAB"
UNDEFINED_HATCH = "//////"
INK = "#222222"
FAINT = "#6B6B6B"

DPI = 150
WIDTH = 12.0
TITLE = 13.0
PANEL_TITLE = 9.5
LABEL = 9.5
SMALL = 8.5
MOST_OF_TITLE = 200

# Each differs from the others by line style or marker as well, so that they survive grayscale.
SUBSETS = {
    "train": {"color": "#222222", "linestyle": "-", "linewidth": 1.6},
    "clean": {"color": "#33BBEE", "linestyle": (0, (5, 1.6)), "linewidth": 1.8},
    "mislabeled_given": {"color": "#CC3311", "linestyle": "-", "marker": "o"},
    "mislabeled_true": {
        "color": "#009E73",
        "linestyle": "-.",
        "marker": "s",
        "markerfacecolor": "white",
    },
    "test": {"color": "#332288", "linestyle": (0, (1, 1.1)), "linewidth": 2.4},
}
MEANING = {
    "train": "training images,\nlabels as given",
    "clean": "correctly labelled\ntraining images",
    "mislabeled_given": "wrongly labelled images,\ngiven label = memorized",
    "mislabeled_true": "wrongly labelled images,\ntrue label = resisted",
    "test": "test images,\nnever trained on",
}


def class_color(index: int) -> tuple[float, float, float]:
    """The colour of a class, red, green and blue in 0..1: a function of its index alone.

    The first ten are `TEN`. Later ones walk the hues by the golden angle while lightness and
    chroma follow van der Corput sequences, so that neighbours in number differ most and no two of
    a thousand are equal; which is which must then be read from a legend.
    """
    if index < len(TEN):
        code = TEN[index]
        return tuple(int(code[start : start + 2], 16) / 255 for start in (1, 3, 5))
    lightness = 0.45 + 0.42 * _van_der_corput(index, 2)
    chroma = 0.08 + 0.10 * _van_der_corput(index, 3)
    hue = index * GOLDEN_ANGLE
    while True:
        rgb = _oklch_to_srgb(lightness, chroma, hue)
        if rgb.min() >= 0 and rgb.max() <= 1:
            return tuple(float(value) for value in rgb)
        chroma *= 0.9


def class_name(dynamics: xr.Dataset, index: int, most: int = 18) -> str:
    """What a class is called: its name in the attribute `class_names`, or its number.

    Args:
        dynamics: may have the attribute, as any form in which NetCDF gives back a list of strings.
        index: of the class.
        most: letters; a longer name ends with an ellipsis. Draw it with `parse_math=False`.
    """
    names = _class_names(dynamics)
    name = visible(names[index]) if index < len(names) else ""
    if not name:
        return f"class {index}"
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def has_class_names(dynamics: xr.Dataset) -> bool:
    """Whether any class has a name."""
    return any(_class_names(dynamics))


def _class_names(dynamics: xr.Dataset) -> list[str]:
    # h5netcdf gives a list of one string back as a string, and an empty one as an array of floats.
    names = dynamics.attrs.get("class_names")
    names = [] if names is None else np.ravel(np.asarray(names, dtype=object)).tolist()
    names = [
        name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
        for name in names
    ]
    return [" ".join(name.split()) for name in names]


def class_image(classes: np.ndarray) -> np.ndarray:
    """Colours of a map of class indices; the dtype's maximum, "undefined", is left transparent.

    Args:
        classes: (row, column) unsigned integers.

    Returns:
        (row, column, 4) red, green, blue and opacity in 0..1.
    """
    undefined = np.iinfo(classes.dtype).max
    present, where = np.unique(classes, return_inverse=True)
    table = [(1.0, 1, 1, 0) if c == undefined else (*class_color(int(c)), 1.0) for c in present]
    return np.array(table)[where.reshape(classes.shape)]


def ink_on(color: tuple[float, float, float]) -> str:
    """Black or white, whichever is read more easily on a colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.18 else "white"


def subset_line(name: str) -> dict:
    """Keyword arguments of `Axes.plot` for a subset's line."""
    return {"linewidth": 1.6, "markersize": 3.8, "markeredgewidth": 1.1, **SUBSETS[name]}


def hatch_undefined(ax, columns: int, rows: int):
    """Lay a gray hatch under a grid of cells: it shows wherever the picture on top is empty."""
    from matplotlib.patches import Rectangle

    patch = Rectangle((-0.5, -0.5), columns, rows, zorder=0, **undefined_look())
    ax.add_patch(patch)
    return patch


def undefined_look() -> dict:
    """Keyword arguments of a patch that stands for "undefined"."""
    return {
        "facecolor": UNDEFINED_FACE,
        "edgecolor": UNDEFINED_EDGE,
        "hatch": UNDEFINED_HATCH,
        "linewidth": 0,
    }


def run_title(dynamics: xr.Dataset) -> str:
    """The words that name the run, or nothing where the Dataset holds none."""
    return title_of(dynamics.attrs.get("title"))


def title_of(words: object) -> str:
    """A run's title on one line that fits a heading; draw it with `parse_math=False`."""
    return visible(words or "", MOST_OF_TITLE)


def perfect_fit_epoch(dynamics: xr.Dataset) -> float | None:
    """The epoch of perfect fit, or None where it was not reached."""
    return reached(dynamics.attrs.get("perfect_fit_epoch"))


def reached(epoch: float | None) -> float | None:
    """An epoch at which something happened, or None where it is absent or NaN: it did not."""
    return float(epoch) if epoch is not None and np.isfinite(epoch) else None


def without_tex():
    """A context in which no text goes through LaTeX, whatever the user's settings are.

    LaTeX would read files that a name such as `\\input{...}` tells it to.
    """
    import matplotlib

    return matplotlib.rc_context({"text.usetex": False})


def _van_der_corput(index: int, base: int) -> float:
    value, part = 0.0, 1.0
    while index:
        part /= base
        index, digit = divmod(index, base)
        value += digit * part
    return value


def _oklch_to_srgb(lightness: float, chroma: float, hue: float) -> np.ndarray:
    """Ottosson's OKLab to sRGB (2020); values outside 0..1 are outside the gamut."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = to_linear @ cones**3
    curved = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)

"""Similarities as a grid of coloured cells: the cells, what is written in them, and their scale."""

from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import cell_position
from repdyn_keras.figures.parts.page import place_of, size_inches, text_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

VALUE_SIZES = (7.5, 7.0, 6.5, 6.0)
# Height of a panel of two runs over its width, beyond which cells are not square.
MIN_ASPECT, MAX_ASPECT = 0.75, 1.4
PAIR_SCALE = "CKA of A with B (1 = same\nrepresentation, 0 = unrelated)"
# Length of the colour bar, in heights of a panel.
BAR = 1.5


def draw_cells(
    ax: "Axes",
    values: np.ndarray,
    low: float,
    high: float,
    aspect: Literal["equal", "auto"] = "auto",
) -> "AxesImage":
    """Draw similarities as coloured cells, row 0 at the bottom. NaN is hatched.

    Args:
        ax: Axes to draw into.
        values: (row, column).
        low, high: ends of the colour scale.
        aspect: "equal" for square cells, "auto" to fill the Axes.
    """
    image = ax.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        aspect=aspect,
        cmap=style.SIMILARITY_MAP,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        zorder=1,
    )
    if np.isnan(values).any():
        rows, columns = values.shape
        style.hatch_undefined(ax, columns, rows)
    return image


def color_range(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale for similarities: the minimum, rounded down to tenths, and 1.

    Values above -0.1 do not extend it below 0: unbiased estimates scatter around 0.
    """
    finite = values[np.isfinite(values)]
    minimum = float(finite.min()) if finite.size else 0.0
    if -0.1 < minimum < 0:
        return 0.0, 1.0
    return min(0.9, float(np.floor(minimum * 10 + 1e-9) / 10)), 1.0


def pair_aspect(rows: Sized, columns: Sized) -> float:
    """Height over width of a panel of two runs, for square cells as far as possible."""
    return float(np.clip(len(rows) / len(columns), MIN_ASPECT, MAX_ASPECT))


def mark_epoch(ax: "Axes", epochs: np.ndarray, epoch: float | None, marker: str) -> None:
    """Draw a triangle at an epoch, if it lies within the recorded ones.

    Args:
        ax: Axes of the cells.
        epochs: the recorded ones.
        epoch: to mark.
        marker: "v" above a column, "<" to the right of a row.
    """
    if epoch is None or not epochs[0] <= epoch <= epochs[-1]:
        return
    x, y, transform = cell_position(epochs, epoch), 1.018, ax.get_xaxis_transform()
    if marker == "<":
        x, y, transform = y, x, ax.get_yaxis_transform()
    ax.plot(x, y, transform=transform, gid="perfect fit", clip_on=False, **triangle(marker))


def triangle(marker: str) -> style.Look:
    """Keyword arguments of a line that is a triangle pointing at an epoch."""
    return {"marker": marker, "linestyle": "none", "color": style.INK, "markersize": 5.0}


def outlined(width: float, rim: float, **look: Any) -> style.Look:
    """Keyword arguments of a white line with a dark rim, visible on all colours of the scale."""
    from matplotlib.patheffects import Normal, Stroke

    effects = [Stroke(linewidth=rim, foreground="#1A1A1A"), Normal()]
    return {"color": "white", "linewidth": width, "path_effects": effects, **look}


def write_cells(ax: "Axes", values: np.ndarray, crossed: np.ndarray) -> None:
    """Write values into the cells if they fit, and cross some cells out.

    Args:
        ax: Axes of the cells, laid out.
        values: (row, column) similarities; NaN is left out.
        crossed: (row, column) which cells get a cross in place of their value.
    """
    across, down = (
        72 * side / cells for side, cells in zip(size_inches(ax), values.T.shape, strict=True)
    )
    look: style.Look = {"marker": "x", "markeredgewidth": 0.7, "gid": "cross"}
    for row, column in np.argwhere(crossed):
        size = min(5.0, 0.4 * across, 0.4 * down)
        ax.plot(column, row, color=_ink(ax, values[row, column]), markersize=size, **look)
    texts = {
        (row, column): short_number(values[row, column])
        for row, column in np.argwhere(np.isfinite(values) & ~crossed)
    }
    widest = max((text_width(text, 1.0) for text in set(texts.values())), default=0.0)
    fitting = (s for s in VALUE_SIZES if s * widest <= 0.9 * across and 1.3 * s <= down)
    size = next(fitting, 0.0)
    if size:
        look = {"ha": "center", "va": "center_baseline", "size": size}
        for (row, column), text in texts.items():
            ax.text(column, row, text, color=_ink(ax, values[row, column]), **look)


def short_number(value: float) -> str:
    """Two decimals without the leading zero: .97, -.03, 1.0."""
    text = f"{value:.2f}"
    return {"0.00": "0", "-0.00": "0", "1.00": "1.0"}.get(text, text.replace("0.", ".", 1))


def _ink(ax: "Axes", value: float) -> str:
    red, green, blue, _ = ax.images[0].to_rgba(np.array([value]))[0].tolist()
    return style.ink_on((red, green, blue))


def add_bar(axes: Sequence["Axes"], values: np.ndarray, label: str, **place: Any) -> "Colorbar":
    """Add the colour bar of one or several panels, at the right of them all.

    Args:
        axes: the panels, the first with an image.
        values: everything that is drawn; the bar ends in an arrow if some lie below the scale.
        label: of the scale.
        place: keyword arguments of `Figure.colorbar`.
    """
    image = axes[0].images[0]
    below = np.nanmin(values, initial=np.inf) < image.norm.vmin
    bar = axes[0].figure.colorbar(image, ax=axes, extend="min" if below else "neither", **place)
    bar.set_label(label, size=style.LABEL)
    bar.ax.yaxis.labelpad = 8
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.outline.set_visible(False)
    return bar


def add_page_bar(axes: Sequence["Axes"], values: np.ndarray, label: str) -> "Colorbar":
    """Add the colour bar of a page of panels, beside the upper ones; see `add_bar`."""
    length = min(1.0, BAR / place_of(axes[0]).get_gridspec().nrows)
    return add_bar(
        axes,
        values,
        label,
        shrink=length,
        anchor=(0.0, 1.0),
        aspect=22,
        pad=0.02,
        use_gridspec=False,
    )


def add_legend(figure: "Figure", lines: Mapping[str, style.Look], values: np.ndarray) -> None:
    """Add a legend below the panels, if there is anything to explain.

    Args:
        figure: of `panel_page`.
        lines: labels, and keyword arguments of their lines.
        values: (panel, row, column) everything that is drawn; NaN is explained.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], label=label, **look) for label, look in lines.items()]
    if np.isnan(values).any():
        handles.append(Patch(label="undefined (dead layer)", **style.undefined_look()))
    if handles:
        columns = 2 if len(values) > 1 else 1
        look = {"frameon": False, "fontsize": style.SMALL, "handlelength": 2.6}
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, **look)

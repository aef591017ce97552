"""Similarities as a grid of coloured cells: the cells, what is written in them, and their scale."""

import numpy as np

from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.page import settle_with_legend, size_inches, text_width
from repdyn_keras.figures.parts.sheet import sheet

# Similarities have the same colours in every picture, so that runs can be compared by colour.
SCALE = (0.0, 1.0)
MIN_ZOOM = 1e-3
# The ends of the colour bar where each panel has a scale of its own.
OWN_SCALES = ("see each\npanel", "1")

VALUE_SIZES = (7.5, 7.0, 6.5, 6.0)
# Height of a panel over its width, beyond which cells are not square.
MIN_ASPECT, MAX_ASPECT = 0.75, 1.4
# Points: the triangle at an epoch, and the distance of its centre from the panel.
MARK, MARK_GAP = 5.0, 3.6
# Points: the mark of a floor on the colour bar.
FLOOR_MARK = 4.6
# Length of the colour bar, in heights of a panel.
BAR = 1.5


def draw_cells(ax, values, scale=SCALE, aspect="auto"):
    """Draw similarities (row, column) in colours between the ends of a scale. NaN is hatched."""
    look = {"cmap": "viridis", "vmin": scale[0], "vmax": scale[1], "aspect": aspect}
    style.draw_grid(ax, values, np.isnan(values).any(), **look)


def zoomed_scale(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale that fits some similarities: their minimum, rounded down, and 1.

    Values above -0.1 do not extend it below 0: unbiased estimates scatter around 0.
    """
    finite = values[np.isfinite(values)]
    minimum = float(finite.min()) if finite.size else 0.0
    if -0.1 < minimum < 0:
        return SCALE
    extent = max(1 - minimum, MIN_ZOOM)
    step = 10.0 ** min(-1, np.floor(np.log10(extent) + 1e-9))
    return float(1 - step * np.ceil(extent / step - 1e-9)), 1.0


def zoom_note(scale: tuple[float, float]) -> str:
    """The text for a zoomed colour scale."""
    return f"colours zoomed: {scale[0]:.6g} to {scale[1]:g}"


def mark_epoch(ax, epochs, epoch, marker):
    """Draw a triangle, "v" above a column or "<" at the right of a row, at a recorded epoch.

    Nothing is drawn if the epoch is None or not within the recorded `epochs`.
    """
    if epoch is None or not epochs[0] <= epoch <= epochs[-1]:
        return
    from matplotlib.transforms import ScaledTranslation

    at, gap = np.interp(epoch, epochs, np.arange(len(epochs))), MARK_GAP / 72
    inches = ax.figure.dpi_scale_trans
    if marker == "<":
        x, y = 1, at
        transform = ax.get_yaxis_transform() + ScaledTranslation(gap, 0, inches)
    else:
        x, y = at, 1
        transform = ax.get_xaxis_transform() + ScaledTranslation(0, gap, inches)
    ax.plot(x, y, transform=transform, gid="perfect fit", clip_on=False, **symbol(marker))


def symbol(marker):
    """Keyword arguments of a line that is one marker."""
    return {
        "marker": marker,
        "linestyle": "none",
        "color": style.INK,
        "markersize": MARK * sheet().scale,
    }


def outlined(width, rim, **look):
    """Keyword arguments of a white line with a dark rim, visible on all colours of the scale."""
    from matplotlib.patheffects import Normal, Stroke

    effects = [Stroke(linewidth=rim, foreground="#1A1A1A"), Normal()]
    return {"color": "white", "linewidth": width, "path_effects": effects, **look}


def outlined_symbol(marker, size):
    """Keyword arguments of a line that is one white marker with a dark rim."""
    look = {"marker": marker, "linestyle": "none", "markersize": size, "markeredgewidth": 1.0}
    return look | {"markerfacecolor": "white", "markeredgecolor": "#1A1A1A"}


def write_cells(ax, values, crossed):
    """Write values (row, column) into the cells if they fit at the final size; NaN is left out.

    Cells that are `crossed` (row, column) get a cross in place of their value.
    """
    across, down = 72 * size_inches(ax) / values.T.shape
    written = values[np.isfinite(values) & ~crossed]
    widest = max((text_width(text, 1.0) for text in set(map(short_number, written))), default=0.0)
    fitting = [s for s in VALUE_SIZES if s * widest <= 0.9 * across and 1.3 * s <= down]
    cross = {"marker": "x", "markeredgewidth": 0.7, "markersize": min(5, 0.4 * across, 0.4 * down)}
    colors = ax.images[0].to_rgba(values)
    for row, column in np.argwhere(crossed | (np.isfinite(values) & bool(fitting))):
        ink = style.ink_on(colors[row, column])
        if crossed[row, column]:
            ax.plot(column, row, color=ink, gid="cross", **cross)
        else:
            look = {"ha": "center", "va": "center_baseline", "size": fitting[0]}
            ax.text(column, row, short_number(values[row, column]), color=ink, **look)


def short_number(value: float) -> str:
    """Two decimals without the leading zero: .97, -.03, 1.0."""
    text = f"{value:.2f}"
    return {"0.00": "0", "-0.00": "0", "1.00": "1.0"}.get(text, text.replace("0.", ".", 1))


def add_bar(axes, values, label, floors=(), **place):
    """Add the colour bar of one or several panels, at the right of them all, with its floors.

    It ends in an arrow if some of the values lie below the scale.
    """
    image = axes[0].images[0]
    has_own_scales = len({ax.images[0].get_clim() for ax in axes}) > 1
    below = not has_own_scales and np.nanmin(values, initial=np.inf) < image.norm.vmin
    bar = axes[0].figure.colorbar(image, ax=axes, extend="min" if below else "neither", **place)
    bar.set_label(label, size=sheet().label)
    bar.ax.yaxis.labelpad = 8
    bar.ax.tick_params(labelsize=sheet().small)
    bar.outline.set_visible(False)
    if has_own_scales:
        bar.set_ticks(image.get_clim(), labels=OWN_SCALES)
    for floor in floors:
        _mark_floor(bar, floor)


def _mark_floor(bar, floor):
    """Mark a floor on a colour bar, as far as it lies on its scale."""
    place = {"transform": bar.ax.get_yaxis_transform(), "clip_on": False, "gid": "floor"}
    lowest, highest = bar.vmin, bar.vmax
    low, high = np.clip((floor.low, floor.high), lowest, highest)
    if low < high:
        bar.ax.plot([floor.across] * 2, [low, high], **outlined(1.4, 2.8), **place)
    if lowest <= floor.middle <= highest:
        look = outlined_symbol(floor.marker, FLOOR_MARK)
        bar.ax.plot([floor.across], [floor.middle], **look, **place)


def settle_cells(figure, axes, values, scale, lines, undefined="dead layer", floors=()):
    """Add the colour bar and the legend of a page of cells, square if possible, and lay it out.

    Args:
        figure, axes: of `panel_page`.
        values: (panel, row, column) everything that is drawn; NaN is explained.
        scale: label of the colour bar.
        lines: labels in the legend, and keyword arguments of their lines.
        undefined: why a cell may be NaN.
        floors: levels of the similarity, which are marked on the colour bar.
    """
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    _, rows, columns = values.shape
    length = min(1.0, BAR / axes[0].get_subplotspec().get_gridspec().nrows)
    place = {"shrink": length, "anchor": (0.0, 1.0), "aspect": 22, "pad": 0.02}
    add_bar(axes, values, scale, floors, use_gridspec=False, **place)
    for floor in floors:
        look = outlined_symbol(floor.marker, FLOOR_MARK)
        lines = lines | {f"colour bar: {floor.text}": look}
    entries: dict[str, Artist] = {label: Line2D([], [], **look) for label, look in lines.items()}
    if np.isnan(values).any():
        entries[f"undefined ({undefined})"] = Patch(**style.UNDEFINED)
    aspect = np.clip(rows / columns, MIN_ASPECT, MAX_ASPECT)
    settle_with_legend(figure, axes, aspect, entries)

"""Decision regions as an animation: one frame a recorded epoch."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.figures import style
from repdyn_keras.figures.choose import pick_layer, pick_plane, require
from repdyn_keras.figures.epochs import EPOCH_AXIS, label_axis, log_position, most_labels
from repdyn_keras.figures.files import write_whole
from repdyn_keras.figures.gif import common_palette, write_gif
from repdyn_keras.figures.maps import (
    SIDE,
    class_handles,
    draw_discs,
    draw_map,
    draw_side,
    side_height,
)
from repdyn_keras.figures.names import MOST_LETTERS, shortened
from repdyn_keras.figures.panels import heading, heading_height, new_figure, place

DPI = 100
# What a GIF can say: hundredths of a second in two bytes; viewers take less than 2 for 10.
SHORTEST, LONGEST = 0.02, 600.0
HOLD = 2.5


def animate_regions(
    dynamics: xr.Dataset,
    layers: Iterable[str] | None = None,
    plane: int = 0,
    path: str | os.PathLike = "regions.gif",
    seconds_per_frame: float = 0.4,
    write: Callable[[Path, bytes], None] = write_whole,
) -> Path:
    """Write decision regions on one plane as an endless GIF, one frame a recorded epoch.

    A bar under the maps shows the time, log2(1 + epoch), and a triangle on it the epoch of
    perfect fit. All frames have one palette; the last stays for at least 2.5 s.

    Args:
        dynamics: holds `regions` (layer, epoch, plane, row, column), `plane_position`,
            `plane_label`, and `plane_image` where the inputs are pictures.
        layers: names in the order of drawing; None: all.
        plane: its number.
        path: file that ends with .gif, in a folder that exists; one of the same name is replaced.
        seconds_per_frame: 0.02 to 600.
        write: writes the file.

    Returns:
        The path.

    Raises:
        InputError: no planes were recorded, a layer or the plane is absent, no layer came, or the
            path's ending or the seconds cannot be used.

    Example:
        >>> animate_regions(repdyn_keras.open_run("runs/a").dynamics, ["output"])  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise unknown("ending of an animation", path.suffix, [".gif"], f"Its path is {path}.")
    if not SHORTEST <= seconds_per_frame <= LONGEST:
        raise InputError(
            f"seconds_per_frame = {seconds_per_frame} came. Expected {SHORTEST} to {LONGEST:g}."
        )
    regions = require(dynamics, "regions")
    plane_at = pick_plane(dynamics, plane)
    names = [str(name) for name in dynamics["layer"].values] if layers is None else list(layers)
    if not names:
        raise InputError("No layers came. Expected at least one name, or None for all.")
    rows = [pick_layer(dynamics, name) for name in names]
    maps = regions.isel(layer=rows, plane=plane_at).transpose("layer", "epoch", "row", "column")
    maps = maps.values

    count = maps.shape[1]
    each = round(seconds_per_frame * 100) * 10
    last = max(each, round(HOLD * 1000))
    with style.without_tex():
        scene = _Scene.draw(dynamics, names, maps, plane_at)
        samples = [scene.frame(at) for at in sorted({0, count // 2, count - 1})]
        palette = common_palette(samples, _flat_colors(maps))
        frames = (scene.frame(at) for at in range(count))
        return write_gif(frames, palette, [each] * (count - 1) + [last], path, write)


@dataclass(frozen=True)
class _Scene:
    """A drawn figure and those of its parts that change from frame to frame."""

    figure: object
    still: object
    moving: list
    maps: np.ndarray
    epochs: np.ndarray
    images: list
    counter: object
    elapsed: object
    now: object

    @classmethod
    def draw(cls, dynamics: xr.Dataset, names: list[str], maps: np.ndarray, plane_at: int):
        """Draw the first frame.

        Args:
            dynamics: of the run.
            names: of the layers.
            maps: (layer, epoch, row, column) classes.
            plane_at: place of the plane along its dimension.
        """
        epochs = dynamics["epoch"].values
        position = dynamics["plane_position"].values[plane_at]
        labels = dynamics["plane_label"].values[plane_at]
        handles = class_handles(dynamics, maps, labels)
        title = "Decision regions over training"
        explained = (
            style.run_title(dynamics),
            f"plane {int(dynamics['plane'].values[plane_at])}, through the three images at the "
            "left; discs mark their places in the colours of their true classes",
            _what_is_drawn(names),
        )
        subtitle = " · ".join(part for part in explained if part)

        columns = len(names) if len(names) <= 4 else round((1.6 * len(names)) ** 0.5)
        lines = -(-len(names) // columns)
        gap, name_height = 0.14, 0.27
        side = min(4.4, (style.WIDTH - SIDE - 0.2) / columns - gap)
        wide = columns * (side + gap) - gap
        width = SIDE + wide + 0.3
        top = heading_height(width, title, subtitle) + 0.5
        bar_top = top + lines * (side + name_height) + 0.45
        height = max(bar_top + 0.62, top + name_height + side_height(handles))
        figure = new_figure(width, height)
        figure.set_dpi(DPI)

        any_undefined = bool((maps == np.iinfo(maps.dtype).max).any())
        images = []
        for index, name in enumerate(shortened(names, MOST_LETTERS)):
            line, column = divmod(index, columns)
            left = SIDE + column * (side + gap)
            ax = place(figure, left, top + name_height + line * (side + name_height), side, side)
            images.append(draw_map(ax, maps[index, 0], any_undefined))
            large = side > 2.6
            draw_discs(
                ax,
                position,
                labels,
                size=17 if large else 6.5,
                numbers=large and not style.has_class_names(dynamics),
            )
            shown = f"{name} (the network itself)" if name == "output" and side > 2 else name
            ax.set_title(shown, size=style.PANEL_TITLE, loc="left", pad=4, parse_math=False)
        counter = figure.text(
            SIDE / width,
            1 - (top - 0.04) / height,
            "",
            size=style.TITLE + 3,
            weight="bold",
            color=style.INK,
        )
        draw_side(figure, dynamics, plane_at, handles, top + name_height)
        bar = place(figure, SIDE, bar_top, wide, 0.1)
        elapsed, now = _draw_bar(bar, dynamics, epochs)
        heading(figure, title, subtitle)
        moving = [*(image.axes for image in images), elapsed, now, counter]
        for part in moving:
            part.set_animated(True)
        figure.canvas.draw()
        still = figure.canvas.copy_from_bbox(figure.bbox)
        return cls(figure, still, moving, maps, epochs, images, counter, elapsed, now)

    def frame(self, at: int) -> np.ndarray:
        """(height, width, 3) uint8 pixels at a place along the epochs."""
        for image, classes in zip(self.images, self.maps[:, at], strict=True):
            image.set_data(style.class_image(classes))
        epoch = int(self.epochs[at])
        self.counter.set_text(f"epoch {epoch}" + (" (before training)" if epoch == 0 else ""))
        start, position = log_position(self.epochs[[0, at]])
        self.elapsed.set_xdata([start, position])
        self.now.set_xdata([position])
        canvas = self.figure.canvas
        canvas.restore_region(self.still)
        for part in self.moving:
            self.figure.draw_artist(part)
        return np.array(canvas.buffer_rgba())[..., :3]


def _draw_bar(ax, dynamics: xr.Dataset, epochs: np.ndarray) -> tuple:
    """Draw the time bar; returns its two lines that move: the time elapsed, and the present."""
    position = log_position(epochs)
    low, high = position[0], position[-1]
    if low == high:
        low, high = low - 0.5, high + 0.5
    ax.set(xlim=(low, high), ylim=(-1, 1), yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    look = {"solid_capstyle": "butt", "clip_on": False}
    ax.plot([low, high], [0, 0], color="#DDDDDD", linewidth=6, **look)
    (elapsed,) = ax.plot([low, low], [0, 0], color=style.FAINT, linewidth=6, **look)
    (now,) = ax.plot([low], [0], marker="o", color=style.INK, markersize=9, clip_on=False)
    inches = ax.get_position().width * ax.figure.get_size_inches()[0]
    label_axis(ax.xaxis, position, epochs, most_labels(epochs, inches, style.SMALL))
    ax.tick_params(which="both", color=style.FAINT, labelsize=style.SMALL)
    ax.set_xlabel(EPOCH_AXIS, size=style.SMALL, labelpad=2)
    fit = style.perfect_fit_epoch(dynamics)
    if fit is not None and low <= (x := float(log_position(fit))) <= high:
        ax.plot([x], [2.3], marker="v", color=style.INK, markersize=6, clip_on=False)
        share = (x - low) / (high - low)
        ax.annotate(
            f"perfect fit of the given labels: epoch {fit:g}",
            (x, 2.3),
            xytext=(0, 5),
            textcoords="offset points",
            annotation_clip=False,
            ha="left" if share < 0.3 else "right" if share > 0.7 else "center",
            size=style.SMALL,
        )
    return elapsed, now


def _what_is_drawn(names: list[str]) -> str:
    if names == ["output"]:
        return "map: the class that the network gives"
    probes = "map: the class that a linear probe on the layer gives"
    return f"{probes}; output: the network's own" if "output" in names else probes


def _flat_colors(maps: np.ndarray) -> np.ndarray:
    """(color, 3) uint8 colours that fill areas: of the page, of the classes, largest area first."""
    from matplotlib.colors import to_rgb

    values, counts = np.unique(maps, return_counts=True)
    undefined = np.iinfo(maps.dtype).max
    classes = [int(value) for value in values[np.argsort(-counts)] if value != undefined]
    page = ("white", style.INK, style.FAINT, style.UNDEFINED_FACE, style.UNDEFINED_EDGE)
    colors = [to_rgb(name) for name in page] + [style.class_color(index) for index in classes]
    return np.round(np.array(colors) * 255).astype(np.uint8)

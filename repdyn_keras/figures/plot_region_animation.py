"""Decision regions as an animation, a frame for each recorded epoch."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import EPOCH_AXIS, label_axis, label_fit, log_position
from repdyn_keras.figures.parts.lookup import layer_index, layer_names, number_index
from repdyn_keras.figures.parts.maps import (
    SIDE,
    draw_discs,
    draw_map,
    map_grid,
    plane_corners,
    plane_maps,
    settle_maps,
)
from repdyn_keras.figures.parts.page import (
    PictureFile,
    fitted,
    new_page,
    title_panel,
    write_file,
)
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import SCREEN, on_sheet, sheet
from repdyn_keras.text import format_epochs

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

# The format holds hundredths of a second in two bytes; viewers replace less than 2 of them by 10.
MIN_SECONDS, MAX_SECONDS = 0.02, 600.0
SECONDS, LAST_SECONDS = 0.4, 2.5
# Inches: largest side of a map, and from which on discs are large and names are explained.
MAX_SIDE, LARGE = 4.4, 2.6


def draw_region_animation(dynamics: xr.Dataset, selection: Selection) -> Iterator[PictureFile]:
    """Draw `regions_planeN.gif` on the first plane, of the output or else of the last layer."""
    plane = dynamics["plane"].values[0].item()
    names = list(selection.layers or layer_names(dynamics))
    if not style.has_class_scores(dynamics):
        names = [name for name in names if name != "output"] or names
    data = _animation(dynamics, names[-1:], plane, SECONDS)
    yield PictureFile(f"regions_plane{plane}.gif", data)


def animate_regions(
    dynamics: xr.Dataset,
    layers: Iterable[str] | None = None,
    plane: int | str = 0,
    path: str | os.PathLike[str] = "regions.gif",
    seconds_per_frame: float = SECONDS,
    write: Callable[[Path, bytes], None] = write_file,
) -> Path:
    """Write decision regions on one plane as an endless GIF, one frame for each recorded epoch.

    A bar below the maps shows the time as log2(1 + epoch), with a triangle at the epoch of perfect
    fit. All frames have one palette. The last one is shown for at least 2.5 s.

    Args:
        dynamics: as for `film_strip`.
        layers: names in the order of drawing; None: all.
        plane: its number; its name if `plane` is a coordinate of names.
        path: ends with .gif; a file of the same name is replaced.
        seconds_per_frame: 0.02 to 600.
        write: writes the file.

    Returns:
        The path.

    Raises:
        InputError: no planes were recorded, a layer or the plane is absent, `layers` is empty, or
            the path's suffix or `seconds_per_frame` is invalid.
        StorageError: the file cannot be written.

    Example:
        >>> animate_regions(repdyn_keras.open_run("runs/a").dynamics, ["output"])  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise unknown("suffix of an animation", path.suffix, [".gif"], f"Its path is {path}.")
    if not MIN_SECONDS <= seconds_per_frame <= MAX_SECONDS:
        raise InputError(
            f"Expected seconds_per_frame between {MIN_SECONDS} and {MAX_SECONDS:g}. "
            f"Received: seconds_per_frame = {seconds_per_frame}."
        )
    names = None if layers is None else list(layers)
    if names == []:
        raise InputError(
            "Expected at least one name of a layer, or None for all. Received: layers = []."
        )
    with style.without_tex():
        write(path, _animation(dynamics, names, plane, seconds_per_frame))
    return path


def _animation(dynamics, layers, plane, seconds):
    """The GIF file."""
    regions = plane_maps(dynamics, plane)
    index = number_index(dynamics, "plane", plane)
    names = layer_names(dynamics) if layers is None else layers
    maps = regions.values[[layer_index(dynamics, name) for name in names]]
    count = maps.shape[1]
    duration = round(seconds * 100) * 10
    durations = [duration] * (count - 1) + [max(duration, round(LAST_SECONDS * 1000))]
    # An animation is for a screen, whatever the sheet of the other figures is.
    with on_sheet(SCREEN):
        scene = Scene.draw(dynamics, names, maps, index)
    samples = [scene.frame(at) for at in sorted({0, count // 2, count - 1})]
    palette = common_palette(samples, _flat_colors(maps))
    return encode_gif((scene.frame(at) for at in range(count)), palette, durations)


@dataclass(frozen=True)
class Scene:
    """A drawn figure, and the parts of it that change from frame to frame."""

    figure: "Figure"
    canvas: "FigureCanvasAgg"
    background: Any
    maps: np.ndarray
    epochs: np.ndarray
    images: list["AxesImage"]
    counter: "Text"
    elapsed: "Line2D"
    now: "Line2D"

    @classmethod
    def draw(cls, dynamics: xr.Dataset, names: list[str], maps: np.ndarray, plane: int) -> "Scene":
        """Draw what does not change.

        Args:
            dynamics: of the run.
            names: of the layers.
            maps: (layer, epoch, row, column) classes.
            plane: index of the plane.
        """
        columns = len(names) if len(names) <= 4 else round((1.6 * len(names)) ** 0.5)
        lines = -(-len(names) // columns)
        side = min(MAX_SIDE, (sheet().width - SIDE) / columns - 0.15)
        corners = plane_corners(dynamics, plane, maps.shape[-1])
        subtitle = style.subtitle(
            dynamics,
            f"plane {dynamics['plane'].values[plane]}, through the three images at the left; "
            f"discs mark their places (colour: {corners.meaning})",
            _about(names),
        )
        width = min(sheet().width, SIDE + columns * (side + 0.15) + 0.1)
        figure, body = new_page(width, "Decision regions over training", subtitle)
        figure.set_dpi(style.GIF_DPI)
        # A row for the epoch, the maps, and the time bar.
        heights = [0.3 / side, *[1.0] * lines, 0.1 / side]
        grid, key = map_grid(body, columns * side, columns, heights)
        any_undefined = bool((maps == np.iinfo(maps.dtype).max).any())
        images = []
        for index, name in enumerate(fitted(names, 70 * side, sheet().panel_title)):
            line, column = divmod(index, columns)
            ax = body.add_subplot(grid[1 + line, column])
            images.append(draw_map(ax, maps[index, 0], any_undefined, "auto"))
            large = side > LARGE
            numbers = large and not style.has_class_names(dynamics)
            draw_discs(ax, corners, size=17 if large else 6.5, numbers=numbers)
            shown = f"{name} (the network itself)" if name == "output" and side > 2 else name
            title_panel(ax, shown)
        top = body.add_subplot(grid[0, :])
        top.set_axis_off()
        counter = top.text(0, 0, "", size=sheet().title + 3, weight="bold", color=style.INK)
        bar = body.add_subplot(grid[1 + lines, :])
        epochs = dynamics["epoch"].values
        elapsed, now = _draw_bar(bar, dynamics, epochs)
        settle_maps(figure, images[0].axes, 1.0, dynamics, {plane: key}, maps)
        label_axis(bar.xaxis, log_position(epochs), epochs)
        for part in (*(image.axes for image in images), elapsed, now, counter):
            part.set_animated(True)
        figure.canvas.draw()
        background = figure.canvas.copy_from_bbox(figure.bbox)
        return cls(figure, figure.canvas, background, maps, epochs, images, counter, elapsed, now)

    def frame(self, at: int) -> np.ndarray:
        """(height, width, 3) uint8 pixels of the epoch with this index."""
        for image, classes in zip(self.images, self.maps[:, at], strict=True):
            image.set_data(style.class_image(classes))
        text = f"epoch {format_epochs(self.epochs)[at]}"
        self.counter.set_text(text + (" (before training)" if self.epochs[at] == 0 else ""))
        start, position = log_position(self.epochs[[0, at]])
        self.elapsed.set_xdata([start, position])
        self.now.set_xdata([position])
        self.canvas.restore_region(self.background)
        moving = (*(image.axes for image in self.images), self.elapsed, self.now, self.counter)
        for part in moving:
            self.figure.draw_artist(part)
        return np.array(self.canvas.buffer_rgba())[..., :3]


def _draw_bar(ax, dynamics, epochs):
    """Draw the time bar; returns the lines that move: the time elapsed, and the present."""
    position = log_position(epochs)
    low, high = float(position[0]), float(position[-1])
    if low == high:
        low, high = low - 0.5, high + 0.5
    ax.set(xlim=(low, high), ylim=(-1, 1), yticks=[])
    ax.spines[:].set_visible(False)
    look = {"linewidth": 6, "solid_capstyle": "butt", "clip_on": False}
    ax.plot([low, high], [0, 0], color="#DDDDDD", **look)
    (elapsed,) = ax.plot([low, low], [0, 0], color=style.FAINT, **look)
    dot = {"color": style.INK, "clip_on": False}
    (now,) = ax.plot([low], [0], marker="o", markersize=9, **dot)
    label_axis(ax.xaxis, position, epochs, ends=True)
    ax.tick_params(which="both", color=style.FAINT, labelsize=sheet().small)
    ax.set_xlabel(EPOCH_AXIS, size=sheet().small, labelpad=2)
    fit = style.perfect_fit_epoch(dynamics)
    if fit is not None and low <= (x := float(log_position(fit))) <= high:
        ax.plot([x], [2.3], marker="v", markersize=6, in_layout=False, **dot)
        label_fit(ax, fit, x, offset=13)
    return elapsed, now


def _about(names: list[str]) -> str:
    if names == ["output"]:
        return "map: the class that the network gives"
    probes = "map: the class that a linear probe on the layer gives"
    return f"{probes}; output: the network's own" if "output" in names else probes


def _flat_colors(maps):
    """(color, 3) uint8 colours of areas: of the page, and of the classes, largest area first."""
    from matplotlib.colors import to_rgb

    values, counts = np.unique(maps, return_counts=True)
    undefined = np.iinfo(maps.dtype).max
    classes = [int(value) for value in values[np.argsort(-counts)] if value != undefined]
    hatch = (style.UNDEFINED["facecolor"], style.UNDEFINED["edgecolor"])
    page = [to_rgb(name) for name in ("white", style.INK, style.FAINT, *hatch)]
    colors = page + [style.class_color(index) for index in classes]
    return np.round(np.array(colors) * 255).astype(np.uint8)


# The encoder uses one of 256 colours for pixels that a frame does not change.
MAX_COLORS, MAX_EXACT = 255, 200


def encode_gif(frames, palette, milliseconds) -> bytes:
    """Frames (height, width, 3) as an endless GIF with one palette (color, 3), both uint8.

    Each has a duration in milliseconds, of which the format keeps multiples of 10.
    """
    from PIL import Image

    pictures = [Image.fromarray(palette_indices(pixels, palette)) for pixels in frames]
    for picture in pictures:
        picture.putpalette(palette.tobytes())
    data = io.BytesIO()
    options = {"append_images": pictures[1:], "duration": milliseconds, "loop": 0}
    pictures[0].save(data, "GIF", save_all=True, optimize=False, **options)
    return data.getvalue()


def common_palette(samples, exact) -> np.ndarray:
    """A palette (color, 3) of at most 255 colours for all frames.

    It begins with the first 200 of the `exact` colours (color, 3), most important first. The other
    ones are the median cut of sample frames (height, width, 3).
    """
    from PIL import Image

    _, first = np.unique(_codes(exact), return_index=True)
    exact = exact[np.sort(first)][:MAX_EXACT]
    pixels = np.concatenate([sample.reshape(-1, 3) for sample in samples])
    others = pixels[~np.isin(_codes(pixels), _codes(exact))]
    if len(others) == 0:
        return exact
    limit = MAX_COLORS - len(exact)
    # By default, Pillow uses the median cut for RGB, without dithering.
    cut = Image.fromarray(others[None]).quantize(limit)
    colors = np.array(cut.getpalette(), np.uint8).reshape(-1, 3)
    return np.concatenate([exact, colors[:limit]])


def palette_indices(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(height, width) uint8 index of the palette's nearest colour for each pixel.

    Pillow compares colours in steps of four levels, which would merge similar classes.
    """
    codes, where = np.unique(_codes(pixels), return_inverse=True)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)
    table = palette.astype(np.int32)
    # |p - q|^2 without |p|^2, which is the same for every q.
    distance = (table**2).sum(-1) - 2 * colors @ table.T
    return distance.argmin(-1).astype(np.uint8)[where.reshape(pixels.shape[:-1])]


def _codes(pixels):
    """One integer for each colour."""
    return pixels.astype(np.int32) @ [1 << 16, 1 << 8, 1]

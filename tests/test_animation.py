"""Animations of decision regions: frames, colours and times read back from the file."""

import os

import numpy as np
import pytest
import xarray as xr
from helpers import assert_input_error, fake_dynamics, words_in
from PIL import Image

from repdyn_keras.figures import animate_regions
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.epochs import log_position
from repdyn_keras.figures.parts.sheet import SCREEN
from repdyn_keras.figures.plot_region_animation import (
    MAX_COLORS,
    Scene,
    common_palette,
    encode_gif,
    palette_indices,
)

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]

EPOCHS = (0, 10, 57, 102)
LAYERS = ("stem", "block", "output")
SHOWN = ["output", "stem"]


@pytest.fixture(scope="module")
def small():
    return fake_dynamics(EPOCHS, LAYERS, planes=2, grid=12)


@pytest.fixture(scope="module")
def clip(small, coarse_figures, tmp_path_factory):
    """A file of two layers on plane 1 with a quarter of a second per frame, and its scene."""
    path = tmp_path_factory.mktemp("clip") / "r.gif"
    assert animate_regions(small, SHOWN, 1, path, seconds_per_frame=0.25) == path
    return path, scene_of(small, SHOWN, 1)


def decoded(path):
    """Frames (frame, height, width, 3), milliseconds and the number of loops of a GIF."""
    with Image.open(path) as file:
        frames, times = [], []
        for index in range(file.n_frames):
            file.seek(index)
            frames.append(np.array(file.convert("RGB")))
            times.append(file.info["duration"])
        return np.stack(frames), times, file.info["loop"]


def scene_of(dynamics, layers, plane=0):
    at = [dynamics["layer"].values.tolist().index(name) for name in layers]
    maps = dynamics["regions"].isel(plane=plane, layer=at).values
    return Scene.draw(dynamics, list(layers), maps, plane)


def cells(scene, layer, frames):
    """(frame, row, column, 3) colours at the centres of a map's cells."""
    box = scene.images[layer].axes.get_window_extent()
    rows, columns = scene.maps.shape[2:]
    x = (box.x0 + (np.arange(columns) + 0.5) / columns * box.width).astype(int)
    y = frames.shape[1] - 1 - (box.y0 + (np.arange(rows) + 0.5) / rows * box.height).astype(int)
    return frames[:, y[:, None], x[None]]


def test_every_recorded_epoch_is_a_frame_of_its_maps(small, clip):
    path, scene = clip
    frames, times, loop = decoded(path)
    assert times == [250] * (len(EPOCHS) - 1) + [2500]
    assert loop == 0, "endless"
    for index, name in enumerate(SHOWN):
        maps = small["regions"].sel(layer=name, plane=1).values
        wanted = np.array([style.class_image(classes)[..., :3] for classes in maps])
        error = np.abs(cells(scene, index, frames) / 255 - wanted).max(-1)
        # The discs hide the cells of the corners and some of their neighbours.
        assert np.mean(error < 0.005) > 0.85
        assert np.mean(error < 0.005, (0, 2)).max() == 1


def test_all_frames_share_one_palette_and_unchanged_pixels_do_not_flicker(small, clip):
    path, scene = clip
    frames, _, _ = decoded(path)
    colors = {tuple(color) for color in np.unique(frames.reshape(-1, 3), axis=0).tolist()}
    assert len(colors) <= MAX_COLORS
    for index in np.unique(small["regions"].sel(layer=SHOWN, plane=1)):
        assert tuple(np.round(np.array(style.class_color(int(index))) * 255)) in colors
    changed = (frames != frames[0]).any((0, 3))
    box = scene.images[0].axes.get_window_extent()
    height = frames.shape[1]
    assert not changed[:, : int(box.x0) - 8].any(), "the images and the legend do not change"
    assert changed[height - int(box.y1) : height - int(box.y0)].any()


def test_the_dataset_is_unchanged_and_the_file_is_reproducible(small, clip, tmp_path):
    before = small.copy(deep=True)
    again = animate_regions(small, SHOWN, 1, tmp_path / "b.gif", 0.25)
    assert again.read_bytes() == clip[0].read_bytes()
    xr.testing.assert_identical(small, before)


def test_epoch_progress_bar_and_perfect_fit_follow_the_frames(small):
    for fit, shown in ((57.0, True), (np.nan, False), (500.0, False)):
        scene = scene_of(small.assign_attrs(perfect_fit_epoch=fit), ["output"])
        marks = [line for line in scene.now.axes.lines if line.get_marker() == "v"]
        assert [line.get_xdata()[0] for line in marks] == ([log_position(57)] if shown else [])
        assert ("perfect fit" in words_in(scene.figure)) == shown
    for at, epoch in enumerate(EPOCHS):
        scene.frame(at)
        assert scene.counter.get_text().split(" (")[0] == f"epoch {epoch}"
        assert scene.now.get_xdata() == pytest.approx([log_position(epoch)])
        assert scene.elapsed.get_xdata() == pytest.approx([0, log_position(epoch)])
    assert scene.counter.get_fontsize() > SCREEN.title


def test_discs_have_the_positions_of_the_figure_and_names_are_drawn(small):
    names = [f"$kind_{index}" for index in range(10)]
    one, many = scene_of(small, ["output"]), scene_of(small.assign_attrs(class_names=names), LAYERS)
    for scene in (one, many):
        for image in scene.images:
            discs = image.axes.collections[-1].get_offsets()
            np.testing.assert_allclose(discs[:, ::-1], small["plane_position"][0])
    numbers = [str(label) for label in small["plane_label"].values[0]]
    assert [text.get_text() for text in one.images[0].axes.texts] == numbers
    named = scene_of(small.assign_attrs(class_names=["cat"]), ["output"])
    assert not named.images[0].axes.texts
    many.frame(0)
    legend = {text.get_text() for text in many.figure.legends[0].get_texts()}
    assert legend <= set(names) and legend
    titles = [image.axes.get_title("left").split(" (")[0] for image in many.images]
    assert titles == list(LAYERS)


def test_undefined_points_are_hatched_in_their_frames(small, tmp_path):
    holed = small.copy(deep=True)
    holed["regions"].loc[{"layer": "stem", "epoch": 10}] = np.iinfo(np.uint8).max
    scene = scene_of(holed, ["stem"])
    assert any(p.get_hatch() for p in scene.images[0].axes.patches)
    frames, times, _ = decoded(animate_regions(holed, ["stem"], 0, tmp_path / "r.gif", 4))
    assert times == [4000] * len(EPOCHS)
    middle = cells(scene, 0, frames)[EPOCHS.index(10)].reshape(-1, 3)
    assert (np.ptp(middle.astype(int), axis=-1) < 12).mean() > 0.85


@pytest.mark.long
def test_few_epochs_and_many_layers_and_classes_fit(tmp_path):
    for epochs, channels in (((0,), 1), ((5,), 3), ((0, 300), 3)):
        few = fake_dynamics(epochs, ("stem", "output"), planes=1, grid=8, channels=channels)
        frames, times, _ = decoded(animate_regions(few, None, 0, tmp_path / "r.gif"))
        assert len(frames) == len(epochs) and times[-1] == 2500
    layers = [f"encoder_block{index:02d}_attention" for index in range(17)]
    many = fake_dynamics((0, 9), layers, classes=300, planes=1, grid=8)
    scene = scene_of(many, layers)
    assert scene.frame(1).shape[1] <= 40 * SCREEN.width + 2
    boxes = [image.axes.get_window_extent() for image in scene.images]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_invalid_arguments_are_rejected_and_nothing_is_written(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = small.drop_vars("regions")
    assert_input_error("no regions", "planes were recorded", animate_regions, bare)
    for given, words in (
        ((["blok"],), "stem, block, output"),
        (([],), "at least one name"),
        ((None, 7), "planes: 0, 1"),
        ((None, 0, "r.png"), r"\.gif.*'\.png'"),
        ((None, 0, "r.gif", 0), r"0\.02.*seconds_per_frame = 0\."),
        ((None, 0, "r.gif", np.nan), "seconds_per_frame = nan"),
        ((None, 0, "r.gif", 1e9), "600"),
    ):
        assert_input_error(given, words, animate_regions, small, *given)
    assert os.listdir(tmp_path) == []

    def fail(*args, **kwargs):
        raise OSError("disk full")

    (tmp_path / "r.gif").write_bytes(b"old")
    monkeypatch.setattr("PIL.Image.Image.save", fail)
    with pytest.raises(OSError, match="disk full"):
        animate_regions(small, ["stem"], 0, tmp_path / "r.gif")
    assert os.listdir(tmp_path) == ["r.gif"]
    assert (tmp_path / "r.gif").read_bytes() == b"old"


def test_a_palette_keeps_exact_colours_and_approximates_the_others(tmp_path):
    sample = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    exact = np.array([[1, 2, 3], [200, 10, 7], [1, 2, 3]], np.uint8)
    palette = common_palette([sample], exact)
    assert palette[:2].tolist() == [[1, 2, 3], [200, 10, 7]]
    assert len(palette) <= MAX_COLORS
    places = palette_indices(sample, palette)[..., None].astype(int)
    distance = ((sample[:, :, None].astype(int) - palette) ** 2).sum(-1)
    found = np.take_along_axis(distance, places, -1)[..., 0]
    np.testing.assert_array_equal(found, distance.min(-1))
    assert np.array_equal(palette[palette_indices(exact[None], palette)][0], exact)
    close = np.array([[40, 40, 40], [41, 40, 40], [43, 43, 43], [44, 44, 44]], np.uint8)
    assert palette_indices(close[None], close).tolist() == [[0, 1, 2, 3]]
    assert common_palette([exact[None]], exact).tolist() == [[1, 2, 3], [200, 10, 7]]

    frames = [np.full((4, 5, 3), color, np.uint8) for color in palette[[2, 0, 1]]]
    (tmp_path / "r.gif").write_bytes(encode_gif(iter(frames), palette, [20, 30, 40]))
    shown, times, _ = decoded(tmp_path / "r.gif")
    np.testing.assert_array_equal(shown, frames)
    assert times == [20, 30, 40]

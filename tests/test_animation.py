"""Animations of decision regions: frames, colours and times read back from the file."""

import os

import numpy as np
import pytest
import xarray as xr
from helpers import fake_dynamics
from PIL import Image

from repdyn_keras.errors import InputError
from repdyn_keras.figures import animate_regions, animation, style
from repdyn_keras.figures.epochs import log_position
from repdyn_keras.figures.gif import MOST_COLORS, common_palette, nearest_colors, write_gif

pytestmark = pytest.mark.without_keras

EPOCHS = (0, 10, 57, 102)
LAYERS = ("stem", "block", "output")


@pytest.fixture(scope="module")
def small():
    return fake_dynamics(EPOCHS, LAYERS, planes=2, grid=12)


@pytest.fixture(scope="module", autouse=True)
def coarse():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(animation, "DPI", 40)
        yield


@pytest.fixture(scope="module")
def clip(small, coarse, tmp_path_factory):
    """An animation of the output on plane 0, a quarter of a second a frame."""
    path = tmp_path_factory.mktemp("clip") / "r.gif"
    return animate_regions(small, ["output"], path=path, seconds_per_frame=0.25)


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
    return animation._Scene.draw(dynamics, list(layers), maps, plane)


def cells(scene, layer, frames):
    """(frame, row, column, 3) colours at the middles of a map's cells."""
    box = scene.images[layer].axes.get_window_extent()
    rows, columns = scene.maps.shape[2:]
    x = (box.x0 + (np.arange(columns) + 0.5) / columns * box.width).astype(int)
    y = frames.shape[1] - 1 - (box.y0 + (np.arange(rows) + 0.5) / rows * box.height).astype(int)
    return frames[:, y[:, None], x[None]]


@pytest.mark.parametrize("layers", [["output", "stem"], None])
def test_every_recorded_epoch_is_a_frame_of_its_maps(small, tmp_path, layers):
    path = animate_regions(small, layers, 1, tmp_path / "r.gif")
    frames, _, _ = decoded(path)
    assert path == tmp_path / "r.gif"
    assert len(frames) == len(EPOCHS)
    names = list(layers or LAYERS)
    scene = scene_of(small, names, 1)
    for index, name in enumerate(names):
        maps = small["regions"].sel(layer=name, plane=1).values
        wanted = np.array([style.class_image(classes)[..., :3] for classes in maps])
        error = np.abs(cells(scene, index, frames) / 255 - wanted).max(-1)
        # The discs hide the cells of the corners and some of their neighbours.
        assert np.mean(error < 0.005) > 0.85
        assert np.mean(error < 0.005, (0, 2)).max() == 1


def test_colours_of_classes_are_exact_and_one_palette_serves_all_frames(small, clip):
    frames, _, _ = decoded(clip)
    colors = np.unique(frames.reshape(-1, 3), axis=0)
    assert len(colors) <= MOST_COLORS
    present = {tuple(color) for color in colors.tolist()}
    for index in np.unique(small["regions"].sel(layer="output", plane=0)):
        assert tuple(np.round(np.array(style.class_color(int(index))) * 255)) in present


def test_what_does_not_change_does_not_flicker(small, clip):
    frames, _, _ = decoded(clip)
    height, width = frames.shape[1:3]
    changed = (frames != frames[0]).any((0, 3))
    scene = scene_of(small, ["output"])
    box = scene.images[0].axes.get_window_extent()
    assert not changed[:, : int(box.x0) - 8].any(), "the images and the legend stand still"
    assert changed[height - int(box.y1) : height - int(box.y0)].any()


def test_frames_stay_as_long_as_asked_and_the_last_longer(small, clip, tmp_path):
    _, times, loop = decoded(clip)
    assert times == [250] * (len(EPOCHS) - 1) + [2500]
    assert loop == 0, "endless"
    _, times, _ = decoded(animate_regions(small, ["stem"], 0, tmp_path / "r.gif", 4))
    assert times == [4000] * len(EPOCHS)


def test_the_number_of_the_epoch_and_the_bar_follow_the_frames(small):
    scene = scene_of(small, ["output"])
    for at, epoch in enumerate(EPOCHS):
        scene.frame(at)
        assert scene.counter.get_text().split(" (")[0] == f"epoch {epoch}"
        assert scene.now.get_xdata() == pytest.approx([log_position(epoch)])
        assert scene.elapsed.get_xdata() == pytest.approx([0, log_position(epoch)])
    assert scene.counter.get_fontsize() > style.TITLE


def words(scene):
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in scene.figure.findobj(Text))


@pytest.mark.parametrize(("fit", "shown"), [(57.0, True), (np.nan, False), (500.0, False)])
def test_perfect_fit_is_marked_where_it_is_among_the_epochs(small, fit, shown):
    scene = scene_of(small.assign_attrs(perfect_fit_epoch=fit), ["output"])
    bar = scene.now.axes
    marks = [line for line in bar.lines if line.get_marker() == "v"]
    assert [line.get_xdata()[0] for line in marks] == ([log_position(57)] if shown else [])
    assert ("perfect fit" in words(scene)) == shown


def test_discs_stand_as_in_the_picture_and_carry_numbers_where_there_is_room(small):
    one, many = scene_of(small, ["output"]), scene_of(small, LAYERS)
    for scene in (one, many):
        for image in scene.images:
            discs = image.axes.collections[-1].get_offsets()
            np.testing.assert_allclose(discs[:, ::-1], small["plane_position"][0])
    numbers = [str(label) for label in small["plane_label"].values[0]]
    assert [text.get_text() for text in one.images[0].axes.texts] == numbers
    named = scene_of(small.assign_attrs(class_names=["cat"]), ["output"])
    assert not named.images[0].axes.texts


def test_names_of_classes_and_layers_are_drawn(small):
    names = [f"$kind_{index}" for index in range(10)]
    scene = scene_of(small.assign_attrs(class_names=names), LAYERS)
    scene.frame(0)
    legend = {text.get_text() for text in scene.figure.legends[0].get_texts()}
    assert legend <= set(names) and legend
    titles = [image.axes.get_title("left").split(" (")[0] for image in scene.images]
    assert titles == list(LAYERS)


def test_undefined_points_are_hatched_in_their_frames(small, tmp_path):
    holed = small.copy(deep=True)
    holed["regions"].loc[{"layer": "stem", "epoch": 10}] = np.iinfo(np.uint8).max
    assert any(p.get_hatch() for p in scene_of(holed, ["stem"]).images[0].axes.patches)
    frames, _, _ = decoded(animate_regions(holed, ["stem"], 0, tmp_path / "r.gif"))
    middle = cells(scene_of(holed, ["stem"]), 0, frames)[EPOCHS.index(10)].reshape(-1, 3)
    gray = np.ptp(middle.astype(int), axis=-1) < 12
    assert gray.mean() > 0.85


@pytest.mark.parametrize(("epochs", "channels"), [((0,), 1), ((5,), 3), ((0, 300), 3)])
def test_few_epochs_and_coloured_pictures(tmp_path, epochs, channels):
    few = fake_dynamics(epochs, ("stem", "output"), planes=1, grid=8, channels=channels)
    frames, times, _ = decoded(animate_regions(few, None, 0, tmp_path / "r.gif"))
    assert len(frames) == len(epochs) and times[-1] == 2500


def test_seventeen_layers_and_many_classes_fit():
    layers = [f"encoder_block{index:02d}_attention" for index in range(17)]
    many = fake_dynamics((0, 9), layers, classes=300, planes=1, grid=8)
    scene = scene_of(many, layers)
    assert scene.frame(1).shape[1] <= 40 * style.WIDTH + 2
    boxes = [image.axes.get_window_extent() for image in scene.images]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda d: animate_regions(d.drop_vars("regions")), "planes were recorded"),
        (lambda d: animate_regions(d, ["blok"]), "stem, block, output"),
        (lambda d: animate_regions(d, []), "at least one name"),
        (lambda d: animate_regions(d, None, 7), "planes: 0, 1"),
        (lambda d: animate_regions(d, None, 0, "r.png"), r"'\.png'.*\.gif"),
        (lambda d: animate_regions(d, None, 0, "r.gif", 0), "seconds_per_frame = 0 .*0.02"),
        (lambda d: animate_regions(d, None, 0, "r.gif", np.nan), "seconds_per_frame = nan"),
        (lambda d: animate_regions(d, None, 0, "r.gif", 1e9), "600"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_written(
    small, call, named, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=named):
        call(small)
    assert os.listdir(tmp_path) == []


def test_a_failed_save_leaves_the_old_file_and_no_other(small, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    (tmp_path / "r.gif").write_bytes(b"old")
    monkeypatch.setattr("PIL.Image.Image.save", fail)
    with pytest.raises(OSError, match="disk full"):
        animate_regions(small, ["stem"], 0, tmp_path / "r.gif")
    assert os.listdir(tmp_path) == ["r.gif"]
    assert (tmp_path / "r.gif").read_bytes() == b"old"


def test_the_dataset_is_left_alone_and_the_bytes_are_the_same_again(small, clip, tmp_path):
    before = small.copy(deep=True)
    again = animate_regions(small, ["output"], 0, tmp_path / "b.gif", 0.25)
    assert again.read_bytes() == clip.read_bytes()
    xr.testing.assert_identical(small, before)


def test_a_palette_keeps_the_exact_colours_and_comes_near_the_others():
    rng = np.random.default_rng(0)
    sample = rng.integers(0, 256, (60, 60, 3)).astype(np.uint8)
    exact = np.array([[1, 2, 3], [200, 10, 7], [1, 2, 3]], np.uint8)
    palette = common_palette([sample], exact)
    assert palette[:2].tolist() == [[1, 2, 3], [200, 10, 7]]
    assert len(palette) <= MOST_COLORS
    places = nearest_colors(sample, palette)
    distance = ((sample[:, :, None].astype(int) - palette) ** 2).sum(-1)
    np.testing.assert_array_equal(
        np.take_along_axis(distance, places[..., None].astype(int), -1)[..., 0], distance.min(-1)
    )
    assert np.array_equal(palette[nearest_colors(exact[None], palette)][0], exact)
    assert common_palette([exact[None]], exact).tolist() == [[1, 2, 3], [200, 10, 7]]


def test_a_file_gives_back_the_palettes_colours(tmp_path):
    palette = np.array([[0, 0, 0], [255, 255, 255], [204, 51, 17]], np.uint8)
    frames = [np.full((4, 5, 3), color, np.uint8) for color in palette[[2, 0, 1]]]
    path = write_gif(iter(frames), palette, [20, 30, 40], tmp_path / "r.gif")
    shown, times, _ = decoded(path)
    np.testing.assert_array_equal(shown, frames)
    assert times == [20, 30, 40]

"""Figures: what they show can be read back from them, whatever the Dataset lacks."""

import itertools
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr
from helpers import DRAWN_EPOCHS as EPOCHS
from helpers import DRAWN_LAYERS as LAYERS
from helpers import SUBSETS, fake_dynamics
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from repdyn_keras.errors import InputError
from repdyn_keras.figures import (
    decision_regions,
    draw_all,
    film_strip,
    learning_curves,
    probe_curves,
    similarity_heatmap,
    similarity_heatmaps,
    style,
)
from repdyn_keras.figures.cells import color_range
from repdyn_keras.figures.epochs import log_position, thinned
from repdyn_keras.figures.thumbnails import displayable

pytestmark = pytest.mark.without_keras


@pytest.fixture(scope="module")
def dynamics():
    return fake_dynamics()


@pytest.fixture(scope="module")
def small():
    return fake_dynamics(epochs=EPOCHS[::3], layers=("stem", "block", "output"), planes=2, grid=12)


@pytest.fixture(autouse=True)
def no_figure_left_open(monkeypatch):
    monkeypatch.setattr(style, "DPI", 40)
    yield
    assert plt.get_fignums() == []


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def simulated(colors, matrix):
    """OKLab of colours as seen through a matrix on linear RGB, by published constants."""
    colors = np.array(colors)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    to_cones = [[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]]
    to_lab = [
        [0.21045, 0.79362, -0.00407],
        [1.978, -2.42859, 0.45059],
        [0.0259, 0.78277, -0.80868],
    ]
    return np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)


MACHADO = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("sight", MACHADO)
def test_ten_classes_are_told_apart_by_every_sight(sight):
    def closest(colors):
        lab = simulated(colors, MACHADO[sight])
        return min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))

    tab10 = [color[:3] for color in matplotlib.colormaps["tab10"].colors]
    ours = closest([style.class_color(i) for i in range(10)])
    assert ours > 0.065
    assert ours > closest(tab10)


def test_a_thousand_classes_have_a_thousand_colors():
    colors = [style.class_color(i) for i in range(1000)]
    assert len({to_hex(color) for color in colors}) == 1000
    assert np.min(colors) >= 0 and np.max(colors) <= 1


def test_the_color_of_a_class_does_not_depend_on_the_others():
    few = style.class_image(np.array([[3, 7]], np.uint8))
    many = style.class_image(np.array([[3, *range(250)]], np.uint16))
    np.testing.assert_array_equal(few[0, 0], many[0, 0])
    assert tuple(few[0, 1, :3]) == style.class_color(7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_undefined_is_transparent_and_hatched(small, dtype):
    image = style.class_image(np.array([[0, np.iinfo(dtype).max]], dtype))
    assert image[0, :, 3].tolist() == [1, 0]
    holed = small.copy(deep=True)
    holed["regions"] = holed["regions"].astype(dtype)
    holed["regions"][0, 0, 0, :2] = np.iinfo(dtype).max
    ax = decision_regions(holed, "stem", 0, 0)
    assert any(patch.get_hatch() for patch in ax.patches)
    assert "undefined" in texts(ax.figure)
    assert not any(patch.get_hatch() for patch in decision_regions(holed, "block", 0).patches)


@pytest.mark.parametrize("most", [2, 5, 8])
def test_thinned_keeps_the_ends_and_is_spread(most):
    for positions in (np.arange(40.0), log_position(np.array(EPOCHS))):
        kept = positions[thinned(positions, most)]
        assert kept[0] == positions[0] and kept[-1] == positions[-1]
        assert len(kept) <= most
        assert np.diff(kept).min() >= 0.7 * (positions[-1] - positions[0]) / (most - 1)
    assert thinned(np.array([0.0]), most).tolist() == [0]


def test_labels_are_the_true_epochs_at_their_places(small):
    ax = similarity_heatmap(small, "cka", "block")
    epochs = small["epoch"].values
    for axis in (ax.xaxis, ax.yaxis):
        at = axis.get_ticklocs().astype(int)
        assert [text.get_text() for text in axis.get_ticklabels()] == [str(epochs[i]) for i in at]
    curve = learning_curves(small)
    for x, text in zip(curve.get_xticks(), curve.get_xticklabels(), strict=True):
        assert np.isclose(x, np.log2(1 + int(text.get_text())))


@pytest.mark.parametrize("epochs", [EPOCHS, (*range(30), *range(1000, 20000, 1000))])
def test_epoch_numbers_do_not_overlap(epochs):
    figure = similarity_heatmaps(
        fake_dynamics(epochs, [*"abcdefg", "output"], regions=False), "cka"
    )
    figure.draw_without_rendering()
    labels = [t.get_window_extent() for t in figure.axes[4].get_xticklabels() if t.get_text()]
    assert len(labels) > 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(labels))


def test_learning_curves_show_the_output(small):
    ax = learning_curves(small)
    for index, line in enumerate(ax.lines[:5]):
        np.testing.assert_array_equal(line.get_ydata(), small["probe_accuracy"][-1, :, index])
    assert "memorized" in texts(ax.figure) and "resisted" in texts(ax.figure)
    assert "epoch 57" in texts(ax.figure)
    assert small.attrs["title"] in texts(ax.figure)


def test_absent_subsets_are_left_out_and_no_perfect_fit_is_said(small):
    clean = small.copy(deep=True)
    clean["probe_accuracy"].loc[{"subset": ["mislabeled_given", "mislabeled_true"]}] = np.nan
    clean.attrs = {"perfect_fit_epoch": np.nan}
    ax = learning_curves(clean)
    assert len(ax.lines) == 3
    assert "memorized" not in " ".join(t.get_text() for t in ax.get_legend().get_texts())
    assert "not reached" in texts(ax.figure)
    clean["probe_accuracy"][:] = np.nan
    assert "no accuracy recorded" in texts(learning_curves(clean).figure)
    assert "no accuracy recorded" in texts(probe_curves(clean))


def test_subsets_survive_grayscale():
    looks = [style.subset_line(name) for name in SUBSETS]
    assert len({(str(look["linestyle"]), look.get("marker")) for look in looks}) == len(SUBSETS)


def test_given_axes_are_used(small):
    figure = Figure()
    one, two, three = figure.subplots(1, 3)
    assert learning_curves(small, one) is one
    assert similarity_heatmap(small, "cka", "stem", two) is two
    assert decision_regions(small, "stem", 0, 1, three) is three
    assert figure.axes == [one, two, three]


def test_probe_curves_have_a_panel_a_layer(dynamics):
    figure = probe_curves(dynamics)
    assert [ax.get_title("left").split(" ")[0] for ax in figure.axes] == list(LAYERS)
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


@pytest.mark.parametrize("variable", ["cka", "region_agreement", "region_kappa"])
def test_similarities_share_one_scale(small, variable):
    figure = similarity_heatmaps(small, variable)
    *panels, bar = figure.axes
    assert len(panels) == small.sizes["layer"]
    assert len({ax.images[0].get_clim() for ax in panels}) == 1
    assert "1 = same" in bar.get_ylabel()
    for ax, values in zip(panels, small[variable].values, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), values)


def test_color_range_holds_the_values():
    assert color_range(np.array([0.43, 1.0, np.nan])) == (0.4, 1.0)
    assert color_range(np.array([-0.01, 1.0])) == (0.0, 1.0)
    assert color_range(np.array([-0.35, 1.0])) == (-0.4, 1.0)
    assert color_range(np.array([0.99, 1.0])) == (0.9, 1.0)
    assert color_range(np.array([np.nan])) == (0.0, 1.0)


def test_borders_are_solid_when_distinguished_and_dotted_otherwise(small):
    for layer, gid, other in (
        ("stem", "phase border", "candidate border"),
        ("block", "candidate border", "phase border"),
    ):
        ax = similarity_heatmap(small, "cka", layer)
        drawn = lines(ax, gid)
        assert not lines(ax, other)
        assert {line.get_linestyle() for line in drawn} == {"-" if layer == "stem" else "--"}
        changes = np.flatnonzero(np.diff(small["phase_candidate"].sel(layer=layer))) + 0.5
        upright = [line.get_xdata()[0] for line in drawn if len(set(line.get_xdata())) == 1]
        np.testing.assert_array_equal(upright, changes)
        low, high = -0.5, small.sizes["epoch"] - 0.5
        ends = [(*line.get_xdata(), *line.get_ydata()) for line in drawn]
        assert np.min(ends) == low and np.max(ends) == high
    text = texts(similarity_heatmaps(small, "cka"))
    assert "not distinguished from even drift" in text
    assert "K = 3 phases, p = 0.005" in text and "K = 3 (dotted), p = 0.31" in text


def test_without_a_test_no_border_is_drawn(small):
    untested = small.assign(phases_p=small["phases_p"] * np.nan)
    ax = similarity_heatmap(untested, "cka", "stem")
    assert not lines(ax, "phase border") and not lines(ax, "candidate border")
    assert "not tested" in ax.get_title("left")


def test_a_dead_layer_is_hatched_and_the_scale_is_that_of_the_others():
    dead = fake_dynamics(EPOCHS[::3], ("stem", "block", "output"), dead=("block", 99), planes=1)
    figure = similarity_heatmaps(dead, "cka")
    hatched = [any(patch.get_hatch() for patch in ax.patches) for ax in figure.axes[:3]]
    assert hatched == [False, True, False]
    assert "dead layer" in texts(figure) and "undefined at every epoch" in texts(figure)
    assert np.isfinite(figure.axes[0].images[0].get_clim()).all()


def test_perfect_fit_is_marked_at_its_epoch(small):
    epochs = small["epoch"].values
    reached = small.assign_attrs(perfect_fit_epoch=float(epochs[4]))
    across, up = lines(similarity_heatmap(reached, "cka", "stem"), "perfect fit")
    assert across.get_xdata()[0] == up.get_ydata()[0] == 4
    never = small.assign_attrs(perfect_fit_epoch=np.nan)
    assert not lines(similarity_heatmap(never, "cka", "stem"), "perfect fit")


def test_a_map_is_drawn_with_row_0_at_the_bottom(small):
    ax = decision_regions(small, "block", 3, 1)
    image = ax.images[0]
    assert image.origin == "lower"
    wanted = small["regions"].sel(layer="block", epoch=3, plane=1).values
    np.testing.assert_array_equal(image.get_array(), style.class_image(wanted))
    discs = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(discs[:, ::-1], small["plane_position"][1])
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == [str(label) for label in small["plane_label"].values[1]]


def test_film_strip_shows_first_and_last_of_evenly_picked_epochs(small):
    figure = film_strip(small, plane=1, most=4)
    count = small.sizes["layer"] * 4
    maps = figure.axes[:count]
    shown = [int(ax.get_title()) for ax in maps[:4]]
    assert shown[0] == small["epoch"][0] and shown[-1] == small["epoch"][-1]
    assert [ax.get_ylabel() for ax in maps[::4]] == list(small["layer"].values)
    for ax, (layer, epoch) in zip(
        maps, itertools.product(small["layer"].values, shown), strict=True
    ):
        wanted = small["regions"].sel(layer=layer, epoch=epoch, plane=1).values
        np.testing.assert_array_equal(ax.images[0].get_array(), style.class_image(wanted))
    names = [ax.get_label() for ax in figure.axes]
    for label in small["plane_label"].values[1]:
        assert f"image of class {label}" in names


def test_film_strip_of_chosen_layers_and_epochs(small):
    figure = film_strip(small, 0, layers=["output", "stem"], epochs=[3, 0])
    assert [ax.get_ylabel() for ax in figure.axes[:4:2]] == ["output", "stem"]
    assert [ax.get_title() for ax in figure.axes[:2]] == ["3", "0"]


def test_inputs_that_are_no_pictures_show_their_classes():
    plain = fake_dynamics((0, 1, 10), ("stem", "output"), planes=1, grid=8, pictures=False)
    label = int(plain["plane_label"][0, 0])
    assert f"class {label}" in texts(film_strip(plain))


def test_the_legend_of_many_classes_is_cut_but_keeps_the_corners():
    many = fake_dynamics((0, 1, 10), ("stem", "output"), classes=300, planes=1)
    figure = film_strip(many)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) == 21 and "more" in words[-1]
    assert {f"class {int(label)}" for label in many["plane_label"][0]} <= set(words)


@pytest.mark.parametrize("channels, shape", [(1, (4, 5)), (2, (4, 5)), (3, (4, 5, 3)), (6, None)])
def test_pictures_are_stretched_to_0_1(channels, shape):
    image = np.random.default_rng(0).normal(3, 9, (4, 5, channels))
    shown = displayable(image)
    assert shown.shape == (shape or (4, 5, 3))
    assert shown.min() == 0 and shown.max() == 1
    assert np.all(displayable(np.full((2, 2, 1), 7.0)) == 0.5)


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda d: similarity_heatmap(d, "cka", "blok"), "block"),
        (lambda d: similarity_heatmap(d, "ckaa", "block"), "cka"),
        (lambda d: similarity_heatmaps(d, "phase"), "region_agreement"),
        (lambda d: decision_regions(d, "blok", 0, 0), "stem, block, output"),
        (lambda d: decision_regions(d, "block", 99, 0), "0, 3, 6, 9"),
        (lambda d: decision_regions(d, "block", 0, 7), "planes: 0, 1"),
        (lambda d: film_strip(d, 7), "planes: 0, 1"),
        (lambda d: film_strip(d, layers=["nowhere"]), "stem, block, output"),
        (lambda d: film_strip(d, epochs=[0, 99]), "0, 3, 6, 9"),
        (lambda d: film_strip(d.drop_vars("regions")), "planes were recorded"),
        (lambda d: learning_curves(d.drop_vars("probe_accuracy")), "probe_accuracy"),
    ],
)
def test_errors_list_what_exists(small, call, named):
    with pytest.raises(InputError, match=named):
        call(small)


def test_draw_all_writes_every_figure_and_says_so(small, tmp_path):
    said = []
    before = small.copy(deep=True)
    files = draw_all(small, tmp_path / "new" / "figures", said.append)
    names = ["learning_curves.png", "probe_curves.png", "cka.png", "region_agreement.png"]
    names += ["regions_plane0.png", "regions_plane1.png", "regions_plane0.gif"]
    assert [file.name for file in files] == names
    assert sorted(os.listdir(tmp_path / "new" / "figures")) == sorted(names)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[:-1])
    assert files[-1].read_bytes().startswith(b"GIF89a")
    assert len(said) == len(names)
    xr.testing.assert_identical(small, before)


@pytest.mark.parametrize(
    "epochs, layers",
    [((0,), ("output",)), (range(40), ("output",))],
)
def test_draw_all_without_regions_and_with_few_or_many_records(epochs, layers, tmp_path):
    plain = fake_dynamics(tuple(epochs), layers, regions=False)
    names = [file.name for file in draw_all(plain, tmp_path)]
    assert names == ["learning_curves.png", "probe_curves.png", "cka.png"]


def test_a_failed_save_leaves_the_old_file_and_no_other(small, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    (tmp_path / "learning_curves.png").write_bytes(b"old")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_all(small, tmp_path)
    assert os.listdir(tmp_path) == ["learning_curves.png"]
    assert (tmp_path / "learning_curves.png").read_bytes() == b"old"


def test_importing_figures_loads_no_backend_and_no_matplotlib():
    code = (
        "import repdyn_keras.figures, sys; print({'keras', 'jax', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_figures_are_drawn_without_a_display_whatever_backend_is_asked_for(small, tmp_path):
    small.drop_vars(["cka", "region_agreement", "regions"]).to_netcdf(tmp_path / "d.nc")
    code = (
        "import sys, xarray; from repdyn_keras.figures import draw_all\n"
        "print(len(draw_all(xarray.load_dataset(sys.argv[1]), sys.argv[2])))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "d.nc"), str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MPLBACKEND": "tkagg"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["2", "False"]

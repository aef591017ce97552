"""Figures of the comparison of two runs; their content is read back from the figures."""

import itertools
import os

import numpy as np
import pytest
import xarray as xr
from helpers import assert_input_error, words_in

from repdyn_keras.figures import draw_comparison, epoch_comparison, layer_comparison
from repdyn_keras.figures.parts.lookup import shortened
from repdyn_keras.figures.parts.sheet import SCREEN

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]

EPOCHS_A = (0, 1, 2, 4, 8, 16, 32)
EPOCHS_B = (0, 1, 3, 9, 27)
LAYERS_A = ("stem", "block", "output")
LAYERS_B = ("stem", "one", "two", "output")
MATCHES = (("stem", "stem"), ("block", "two"), ("block", "one"), ("output", "output"))
LONG = [f"encoder_block_{index:02d}_multi_head_attention" for index in range(17)]
BOTH = ((layer_comparison, "cka_layers"), (epoch_comparison, "cka_epochs"))


def fake_comparison(
    layers_a=LAYERS_A,
    layers_b=LAYERS_B,
    moments=2,
    matches=MATCHES[:2],
    epochs_a=EPOCHS_A,
    epochs_b=EPOCHS_B,
):
    """CKA of random walks with the same start."""
    rng = np.random.default_rng(0)
    shape = (moments, len(layers_a), len(layers_b))
    depth = np.linspace(0, 1, shape[1])[:, None] - np.linspace(0, 1, shape[2])
    layers = np.exp(-4 * depth**2) + 0.01 * rng.uniform(-1, 0, shape)
    epochs = rng.uniform(0.2, 0.99, (len(matches), len(epochs_a), len(epochs_b)))
    data = {
        "cka_layers": (("moment", "layer_a", "layer_b"), layers),
        "cka_epochs": (("match", "recorded_a", "recorded_b"), epochs),
    }
    coords = {
        "layer_a": list(layers_a),
        "layer_b": list(layers_b),
        "recorded_a": list(epochs_a),
        "recorded_b": list(epochs_b),
        "epoch_a": ("moment", list(epochs_a)[:moments]),
        "epoch_b": ("moment", list(epochs_b)[:moments]),
        "match_a": ("match", [a for a, _ in matches]),
        "match_b": ("match", [b for _, b in matches]),
    }
    attrs = {f"title_{run}": f"digits, resnet, {run}, seed 0" for run in "ab"}
    attrs |= {"perfect_fit_epoch_a": 1.0, "perfect_fit_epoch_b": np.nan}
    return xr.Dataset(data, coords, attrs)


@pytest.fixture(scope="module")
def comparison():
    return fake_comparison()


def names_at(axis):
    """The labels of an axis, which are only drawn at outer panels."""
    label = axis.get_major_formatter()
    return [str(label(at, index)) for index, at in enumerate(axis.get_ticklocs())]


def marked(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def test_layers_of_a_are_rows_and_layers_of_b_are_columns(comparison):
    for moments in (1, 2, 3):
        made = fake_comparison(moments=moments)
        figure = layer_comparison(made)
        *panels, bar = figure.axes
        for ax, values in zip(panels, made["cka_layers"].values, strict=True):
            image = ax.images[0]
            assert image.origin == "lower"
            np.testing.assert_array_equal(image.get_array(), values)
            assert names_at(ax.yaxis) == list(LAYERS_A)
            assert names_at(ax.xaxis) == list(LAYERS_B)
            shown = bool(ax.xaxis.get_ticklabels()), bool(ax.yaxis.get_ticklabels())
            assert shown == (True, ax is panels[0])
            assert len(ax.texts) == values.size
            for text in ax.texts:
                column, row = (int(at) for at in text.get_position())
                assert float(text.get_text()) == pytest.approx(values[row, column], abs=0.00501)
        titles = [ax.get_title("left") for ax in panels[:2]]
        expected = ["A: epoch 0\nB: epoch 0", "A: epoch 1 (perfect fit)\nB: epoch 1"]
        assert titles == expected[:moments]
    for words in ("layers of A", "layers of B", "A: digits, resnet, a, seed 0", "B: digits"):
        assert words in words_in(figure)
    assert "1 = same" in bar.get_ylabel()


def test_epochs_of_a_are_rows_and_epochs_of_b_are_columns():
    for count in (1, 2, 4):
        made = fake_comparison(matches=MATCHES[:count])
        figure = epoch_comparison(made)
        panels = figure.axes[:-1]
        for ax, values, (a, b) in zip(panels, made["cka_epochs"].values, MATCHES, strict=False):
            np.testing.assert_array_equal(ax.images[0].get_array(), values)
            assert ax.get_title("left") == (a if a == b else f"A: {a}\nB: {b}")
            for axis, epochs in ((ax.yaxis, EPOCHS_A), (ax.xaxis, EPOCHS_B)):
                at = axis.get_ticklocs().astype(int)
                assert names_at(axis) == [str(epochs[i]) for i in at]
        assert len(panels) == count
    assert "epoch of A" in words_in(figure) and "epoch of B" in words_in(figure)


def test_the_figure_does_not_depend_on_the_order_of_dimensions_or_a_file(comparison, tmp_path):
    turned = comparison.transpose("layer_b", "moment", "recorded_b", "layer_a", "match", ...)
    turned.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    read = xr.load_dataset(tmp_path / "c.nc", engine="h5netcdf")
    for draw, _ in BOTH:
        one, other = draw(comparison), draw(read)
        assert words_in(one) == words_in(other)
        for ax, again in zip(one.axes[:2], other.axes[:2], strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), again.images[0].get_array())


@pytest.mark.long
def test_values_are_written_where_they_fit_into_their_cells():
    for count in (3, 17):
        figure = layer_comparison(fake_comparison(LONG[:count], LONG[:count], 3))
        figure.draw_without_rendering()
        ax = figure.axes[1]
        width = ax.get_window_extent().width / count
        assert ax.texts
        assert max(text.get_window_extent().width for text in ax.texts) < width
    layers = [str(index) for index in range(40)]
    assert not layer_comparison(fake_comparison(layers, layers, 1)).axes[0].texts


@pytest.mark.long
@pytest.mark.parametrize("moments", [1, 3])
def test_seventeen_long_names_are_readable(moments):
    figure = layer_comparison(fake_comparison(LONG, LONG, moments))
    figure.draw_without_rendering()
    first, last = figure.axes[0], figure.axes[moments - 1]
    page = figure.bbox
    for axis, side in ((first.yaxis, "y"), (last.xaxis, "x")):
        names = names_at(axis)
        assert len(set(names)) == 17
        assert all(f"{index:02d}" in name for index, name in enumerate(names))
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        for a, b in itertools.pairwise(boxes):
            assert getattr(a, f"{side}1") <= getattr(b, f"{side}0") + 0.5
        assert all(page.x0 <= box.x0 and page.y0 <= box.y0 for box in boxes)
    assert figure.subfigs[0]._supxlabel.get_window_extent().y1 <= min(box.y0 for box in boxes)


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 4])
def test_long_names_of_matches_stay_above_their_panels(count):
    figure = epoch_comparison(fake_comparison(matches=list(itertools.pairwise(LONG))[:count]))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    titles = [ax._left_title.get_window_extent(renderer) for ax in figure.axes[:-1]]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(titles))
    assert len({ax.get_title("left") for ax in figure.axes[:-1]}) == count


def test_colours_go_from_0_to_1_whatever_the_values(comparison):
    for (draw, variable), least in itertools.product(BOTH, (0.3, -0.02, -0.25)):
        changed = comparison.copy(deep=True)
        changed[variable] = np.abs(changed[variable]).clip(least, 1)
        changed[variable][0, 0, 0] = least
        figure = draw(changed)
        assert {ax.images[0].get_clim() for ax in figure.axes[:-1]} == {(0.0, 1.0)}
        assert figure.axes[-1]._colorbar.extend == ("min" if least < 0 else "neither")


def test_floors_are_marked_on_the_colour_bar(comparison):
    for draw, variable in BOTH:
        assert "colour bar" not in words_in(draw(comparison))
        floors = {
            f"{variable}_null": xr.full_like(comparison[variable], 0.005),
            f"{variable}_null_class": xr.full_like(comparison[variable], 0.3),
        }
        figure = draw(comparison.assign(floors))
        marks = [line.get_ydata() for line in marked(figure.axes[-1], "floor")]
        np.testing.assert_allclose(marks, [[0.01], [0.3]])
        for words in ("unrelated representations, 0 ± 0.01", "the classes alone"):
            assert words in " ".join(words_in(figure).split())


@pytest.mark.parametrize(("draw", "variable"), BOTH)
def test_a_dead_layer_is_hatched_and_named_in_the_legend(comparison, draw, variable):
    assert "undefined" not in words_in(draw(comparison))
    dead = comparison.copy(deep=True)
    dead[variable][1, 2] = np.nan
    figure = draw(dead)
    hatched = [any(patch.get_hatch() for patch in ax.patches) for ax in figure.axes[:2]]
    assert hatched == [False, True]
    assert "undefined (dead layer)" in words_in(figure)
    assert "nan" not in words_in(figure)
    dead[variable][:] = np.nan
    assert draw(dead).axes[0].images[0].get_clim() == (0.0, 1.0)


def test_similarities_not_distinguished_from_unrelated_are_crossed_out(comparison):
    null = comparison.assign(cka_layers_null=xr.full_like(comparison["cka_layers"], 0.01))
    null["cka_layers"] = xr.full_like(comparison["cka_layers"], 0.5)
    null["cka_layers"][0, 1, 2] = 0.019
    null["cka_layers"][0, 0, 3] = -0.019
    null["cka_layers"][0, 2, 0] = 0.021
    ax, other = (figure := layer_comparison(null)).axes[:2]
    crosses = {(int(line.get_ydata()[0]), int(line.get_xdata()[0])) for line in marked(ax, "cross")}
    assert crosses == {(1, 2), (0, 3)}
    assert not marked(other, "cross") and len(other.texts) == 12
    written = {tuple(int(at) for at in text.get_position()[::-1]) for text in ax.texts}
    assert not written & crosses and len(written) == 12 - 2
    assert "not distinguished from unrelated" in words_in(figure)
    assert "not distinguished" not in words_in(layer_comparison(comparison))


def test_each_perfect_fit_is_marked_on_its_axis(comparison):
    for fits, expected in (
        ({"a": 4.0, "b": 9.0}, {"<": 3, "v": 3}),
        ({"a": np.nan, "b": 9.0}, {"v": 3}),
        ({"a": 2.5, "b": 99.0}, {"<": 2.25}),
        ({}, {}),
    ):
        changed = comparison.copy()
        changed.attrs = {f"perfect_fit_epoch_{run}": fit for run, fit in fits.items()}
        ax = (figure := epoch_comparison(changed)).axes[0]
        found = {line.get_marker(): line for line in marked(ax, "perfect fit")}
        data = {m: (x.get_ydata() if m == "<" else x.get_xdata())[0] for m, x in found.items()}
        assert data == expected
        for mark, run in (("<", "a"), ("v", "b")):
            shown = f"in {run.upper()}: epoch {fits.get(run, 0):g}" in words_in(figure)
            assert shown or mark not in expected


def test_the_line_of_equal_epochs_joins_equal_epochs(comparison):
    (line,) = marked(epoch_comparison(comparison).axes[0], "same epoch")
    across = np.interp(line.get_xdata(), range(len(EPOCHS_B)), EPOCHS_B)
    upwards = np.interp(line.get_ydata(), range(len(EPOCHS_A)), EPOCHS_A)
    np.testing.assert_allclose(across, upwards, atol=1e-9)
    assert across[0] == 0 and across[-1] == 27
    apart = fake_comparison(epochs_a=(0, 1, 2), epochs_b=(5, 6, 7))
    assert not marked(epoch_comparison(apart).axes[0], "same epoch")


@pytest.mark.long
def test_very_unequal_numbers_of_epochs_are_drawn():
    for a, b in (((0,), (0,)), (range(60), (0, 5)), ((3, 7), range(60))):
        figure = epoch_comparison(fake_comparison(epochs_a=a, epochs_b=b, moments=1))
        width, height = figure.get_size_inches()
        assert width <= SCREEN.width + 0.1 and height < 12
        figure.draw_without_rendering()


def test_shortened_names_fit_and_stay_distinct():
    x = "x" * 30
    for names, most in (
        (LONG, 28),
        ([f"{x}{index}{'y' * 30}" for index in range(12)], 20),
        ([f"a{index}_{x}" for index in range(12)], 16),
        (["short", 2 * x, f"{x}y{x[1:]}"], 14),
        (["same", "same"], 12),
    ):
        short = shortened(names, most)
        assert all(len(name) <= most for name in short)
        assert len(set(short)) == len(set(names))
        assert all(s == n for s, n in zip(short, names, strict=True) if len(n) <= most)


def test_draw_comparison_writes_the_possible_figures_and_reports_the_others(comparison, tmp_path):
    said, before = [], comparison.copy(deep=True)
    files = draw_comparison(comparison, tmp_path / "new" / "figures", said.append)
    assert files == [tmp_path / "new" / "figures" / name for name in ("layers.png", "epochs.png")]
    assert sorted(os.listdir(files[0].parent)) == ["epochs.png", "layers.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert len(said) == 2
    xr.testing.assert_identical(comparison, before)
    no_layers, no_epochs = (comparison.drop_vars(variable) for _, variable in BOTH)
    no_match, no_moment = comparison.isel(match=[]), comparison.isel(moment=[])
    assert [file.name for file in draw_comparison(no_match, tmp_path)] == ["layers.png"]
    assert draw_comparison(no_epochs.isel(moment=[]), tmp_path) == []
    for draw, given, words in (
        (layer_comparison, no_layers, "cka_layers.*two runs"),
        (epoch_comparison, no_epochs, "cka_epochs.*two runs"),
        (layer_comparison, no_moment, "at least one.*moment = 0"),
        (epoch_comparison, no_match, "at least one.*match = 0"),
    ):
        assert_input_error(words, words, draw, given)

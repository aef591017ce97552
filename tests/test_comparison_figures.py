"""Pictures of two runs compared: what they show can be read back from them."""

import itertools
import os

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.text import Text

from repdyn_keras.errors import InputError
from repdyn_keras.figures import draw_comparison, epoch_comparison, layer_comparison, style
from repdyn_keras.figures.names import shortened

pytestmark = pytest.mark.without_keras

EPOCHS_A = (0, 1, 2, 4, 8, 16, 32)
EPOCHS_B = (0, 1, 3, 9, 27)
LONG = [f"encoder_block_{index:02d}_multi_head_attention" for index in range(17)]


def fake_comparison(
    layers_a=("stem", "block", "output"),
    layers_b=("stem", "one", "two", "output"),
    moments=2,
    matches=(("stem", "stem"), ("block", "two")),
    epochs_a=EPOCHS_A,
    epochs_b=EPOCHS_B,
    null=None,
):
    """CKA of random walks that share their start."""
    rng = np.random.default_rng(0)
    shape = (moments, len(layers_a), len(layers_b))
    depth = np.linspace(0, 1, shape[1])[:, None] - np.linspace(0, 1, shape[2])
    layers = np.exp(-4 * depth**2) + 0.01 * rng.uniform(-1, 0, shape)
    epochs = rng.uniform(0.2, 0.99, (len(matches), len(epochs_a), len(epochs_b)))
    data = {
        "cka_layers": (("moment", "layer_a", "layer_b"), layers),
        "cka_epochs": (("match", "recorded_a", "recorded_b"), epochs),
    }
    if null is not None:
        data["cka_layers_null"] = (data["cka_layers"][0], np.full(shape, null))
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
    attrs = {
        "title_a": "digits, resnet, sgd, seed 0",
        "title_b": "digits, resnet, adam, seed 0",
        "perfect_fit_epoch_a": 1.0,
        "perfect_fit_epoch_b": np.nan,
        "images_hash": "ab",
    }
    return xr.Dataset(data, coords, attrs)


@pytest.fixture(scope="module")
def comparison():
    return fake_comparison()


@pytest.fixture(autouse=True)
def no_figure_left_open(monkeypatch):
    monkeypatch.setattr(style, "DPI", 40)
    yield
    assert plt.get_fignums() == []


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def names_at(axis):
    """The labels of an axis, drawn at the outer panels only."""
    return [
        str(axis.get_major_formatter()(at, index)) for index, at in enumerate(axis.get_ticklocs())
    ]


def marked(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def test_layers_of_a_go_upwards_and_those_of_b_across(comparison):
    figure = layer_comparison(comparison)
    *panels, bar = figure.axes
    assert len(panels) == comparison.sizes["moment"]
    for ax, values in zip(panels, comparison["cka_layers"].values, strict=True):
        image = ax.images[0]
        assert image.origin == "lower"
        np.testing.assert_array_equal(image.get_array(), values)
        assert names_at(ax.yaxis) == ["stem", "block", "output"]
        assert names_at(ax.xaxis) == ["stem", "one", "two", "output"]
        shown = bool(ax.xaxis.get_ticklabels()), bool(ax.yaxis.get_ticklabels())
        assert shown == (True, ax is panels[0])
    words = texts(figure)
    assert "layers of A" in words and "layers of B" in words
    assert "A: digits, resnet, sgd, seed 0" in words and "B: digits, resnet, adam" in words
    assert "1 = same" in bar.get_ylabel()


def test_the_order_of_dimensions_does_not_matter(comparison):
    turned = comparison.transpose("layer_b", "moment", "recorded_b", "layer_a", "match", ...)
    for draw in (layer_comparison, epoch_comparison):
        for ax, again in zip(draw(comparison).axes[:2], draw(turned).axes[:2], strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), again.images[0].get_array())


def test_each_moment_is_named_with_its_perfect_fit(comparison):
    titles = [ax.get_title("left") for ax in layer_comparison(comparison).axes[:2]]
    assert titles == ["A: epoch 0\nB: epoch 0", "A: epoch 1 (perfect fit)\nB: epoch 1"]


@pytest.mark.parametrize("moments", [1, 3])
def test_values_are_written_into_the_cells(moments):
    figure = layer_comparison(fake_comparison(moments=moments))
    for ax in figure.axes[:-1]:
        values = ax.images[0].get_array()
        assert len(ax.texts) == values.size
        for text in ax.texts:
            column, row = (int(at) for at in text.get_position())
            assert float(text.get_text()) == pytest.approx(values[row, column], abs=0.00501)


def test_values_are_left_out_where_they_do_not_fit():
    layers = [str(index) for index in range(40)]
    figure = layer_comparison(fake_comparison(layers, layers, 1))
    assert not figure.axes[0].texts


@pytest.mark.parametrize("count", [3, 17])
def test_values_stay_inside_their_cells(count):
    figure = layer_comparison(fake_comparison(LONG[:count], LONG[:count], 3))
    figure.draw_without_rendering()
    ax = figure.axes[1]
    width = ax.get_window_extent().width / count
    assert ax.texts
    assert max(text.get_window_extent().width for text in ax.texts) < width


@pytest.mark.parametrize("moments", [1, 3])
def test_seventeen_long_names_can_be_read(moments):
    figure = layer_comparison(fake_comparison(LONG, LONG, moments))
    figure.draw_without_rendering()
    first, last = figure.axes[0], figure.axes[moments - 1]
    for axis, side in ((first.yaxis, "y"), (last.xaxis, "x")):
        names = names_at(axis)
        assert len(set(names)) == 17
        assert all(f"{index:02d}" in name for index, name in enumerate(names))
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        for a, b in itertools.pairwise(boxes):
            assert getattr(a, f"{side}1") <= getattr(b, f"{side}0") + 0.5
        page = figure.bbox
        assert all(page.x0 <= box.x0 and page.y0 <= box.y0 for box in boxes)
    low = min(label.get_window_extent().y0 for label in last.xaxis.get_ticklabels())
    assert figure._supxlabel.get_window_extent().y1 <= low


def test_names_are_never_interpreted():
    odd = ["$a$", r"\frac{", "_x_", "100%"]
    matches = [(name, name) for name in odd]
    comparison = fake_comparison(odd, odd, 1, matches)
    for figure in (layer_comparison(comparison), epoch_comparison(comparison)):
        figure.draw_without_rendering()
        assert all(name in texts(figure) for name in odd)


@pytest.mark.parametrize(
    ("least", "low"), [(0.3, 0.0), (-0.02, 0.0), (-0.25, -0.3)], ids=["above", "scatter", "below"]
)
@pytest.mark.parametrize(
    ("draw", "variable"), [(layer_comparison, "cka_layers"), (epoch_comparison, "cka_epochs")]
)
def test_one_scale_from_0_or_below_to_1(comparison, draw, variable, least, low):
    changed = comparison.copy(deep=True)
    changed[variable] = np.abs(changed[variable]).clip(least, 1)
    changed[variable][0, 0, 0] = least
    figure = draw(changed)
    (limits,) = {ax.images[0].get_clim() for ax in figure.axes[:-1]}
    assert limits == pytest.approx((low, 1.0))
    assert -0.05 < low or figure.axes[-1].get_ylim()[0] == pytest.approx(low)


@pytest.mark.parametrize(
    ("draw", "variable"), [(layer_comparison, "cka_layers"), (epoch_comparison, "cka_epochs")]
)
def test_a_dead_layer_is_hatched_and_said(comparison, draw, variable):
    assert "undefined" not in texts(draw(comparison))
    dead = comparison.copy(deep=True)
    dead[variable][1, 2] = np.nan
    figure = draw(dead)
    hatched = [any(patch.get_hatch() for patch in ax.patches) for ax in figure.axes[:2]]
    assert hatched == [False, True]
    assert "undefined (dead layer)" in texts(figure)
    assert "nan" not in texts(figure)
    dead[variable][:] = np.nan
    assert draw(dead).axes[0].images[0].get_clim() == (0.0, 1.0)


def test_what_is_not_distinguished_from_unrelated_is_crossed_out():
    null = fake_comparison(null=0.01)
    null["cka_layers"][:] = 0.5
    null["cka_layers"][0, 1, 2] = 0.019
    null["cka_layers"][0, 0, 3] = -0.019
    null["cka_layers"][0, 2, 0] = 0.021
    ax, other = (figure := layer_comparison(null)).axes[:2]
    crosses = {(int(line.get_ydata()[0]), int(line.get_xdata()[0])) for line in marked(ax, "cross")}
    assert crosses == {(1, 2), (0, 3)}
    assert not marked(other, "cross") and len(other.texts) == 12
    written = {tuple(int(at) for at in text.get_position()[::-1]) for text in ax.texts}
    assert not written & crosses and len(written) == 12 - 2
    assert "not distinguished from unrelated" in texts(figure)
    assert "not distinguished" not in texts(layer_comparison(fake_comparison()))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_epochs_of_a_go_upwards_and_those_of_b_across(count):
    matches = [("stem", "stem"), ("block", "two"), ("block", "one"), ("output", "output")][:count]
    made = fake_comparison(matches=matches)
    figure = epoch_comparison(made)
    *panels, _ = figure.axes
    assert len(panels) == count
    for ax, values, (a, b) in zip(panels, made["cka_epochs"].values, matches, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), values)
        assert ax.get_title("left") == (a if a == b else f"A: {a}\nB: {b}")
        for axis, epochs in ((ax.yaxis, EPOCHS_A), (ax.xaxis, EPOCHS_B)):
            at = axis.get_ticklocs().astype(int)
            assert names_at(axis) == [str(epochs[i]) for i in at]
    assert "epoch of A" in texts(figure) and "epoch of B" in texts(figure)


@pytest.mark.parametrize(
    ("fit_a", "fit_b"), [(4.0, 9.0), (np.nan, 9.0), (4.0, np.nan), (2.5, 99.0), (None, None)]
)
def test_perfect_fits_are_marked_each_on_its_own_axis(comparison, fit_a, fit_b):
    attrs = {"perfect_fit_epoch_a": fit_a, "perfect_fit_epoch_b": fit_b}
    changed = comparison.assign_attrs(attrs)
    if fit_a is None:
        changed.attrs = {}
    ax = (figure := epoch_comparison(changed)).axes[0]
    found = {line.get_marker(): line for line in marked(ax, "perfect fit")}
    up = {4.0: 3, 2.5: 2.25}.get(fit_a)
    across = {9.0: 3}.get(fit_b)
    assert set(found) == {mark for mark, at in (("<", up), ("v", across)) if at is not None}
    if up is not None:
        assert found["<"].get_ydata()[0] == up
        assert f"in A: epoch {fit_a:g}" in texts(figure)
    if across is not None:
        assert found["v"].get_xdata()[0] == across
        assert f"in B: epoch {fit_b:g}" in texts(figure)


def test_the_line_of_equal_epochs_joins_equal_epochs(comparison):
    (line,) = marked(epoch_comparison(comparison).axes[0], "same epoch")
    across = np.interp(line.get_xdata(), range(len(EPOCHS_B)), EPOCHS_B)
    upwards = np.interp(line.get_ydata(), range(len(EPOCHS_A)), EPOCHS_A)
    np.testing.assert_allclose(across, upwards, atol=1e-9)
    assert across[0] == 0 and across[-1] == 27
    apart = fake_comparison(epochs_a=(0, 1, 2), epochs_b=(5, 6, 7))
    assert not marked(epoch_comparison(apart).axes[0], "same epoch")


@pytest.mark.parametrize(("a", "b"), [((0,), (0,)), (range(60), (0, 5)), ((3, 7), range(60))])
def test_very_unequal_numbers_of_epochs_are_drawn(a, b):
    figure = epoch_comparison(fake_comparison(epochs_a=a, epochs_b=b, moments=1))
    width, height = figure.get_size_inches()
    assert width <= style.WIDTH + 0.1 and height < 12
    figure.draw_without_rendering()


@pytest.mark.parametrize("count", [1, 4])
def test_long_names_of_matches_stay_over_their_panels(count):
    matches = [(LONG[index], LONG[index + 1]) for index in range(count)]
    figure = epoch_comparison(fake_comparison(matches=matches))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    titles = [ax._left_title.get_window_extent(renderer) for ax in figure.axes[:-1]]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(titles))
    assert len({ax.get_title("left") for ax in figure.axes[:-1]}) == count


@pytest.mark.parametrize(
    ("names", "most"),
    [
        (LONG, 28),
        ([f"{'x' * 30}{index}{'y' * 30}" for index in range(12)], 20),
        ([f"a{index}_{'x' * 40}" for index in range(12)], 16),
        (["short", "x" * 60, f"{'x' * 30}y{'x' * 29}"], 14),
        (["same", "same"], 12),
    ],
)
def test_shortened_names_fit_and_stay_apart(names, most):
    short = shortened(names, most)
    assert all(len(name) <= most for name in short)
    assert len(set(short)) == len(set(names))
    assert all(s == n for s, n in zip(short, names, strict=True) if len(n) <= most)


def test_draw_comparison_writes_both_and_says_so(comparison, tmp_path):
    said, before = [], comparison.copy(deep=True)
    files = draw_comparison(comparison, tmp_path / "new" / "figures", said.append)
    assert files == [tmp_path / "new" / "figures" / name for name in ("layers.png", "epochs.png")]
    assert sorted(os.listdir(files[0].parent)) == ["epochs.png", "layers.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert len(said) == 2
    xr.testing.assert_identical(comparison, before)


def test_draw_comparison_draws_what_there_is(comparison, tmp_path):
    layers = comparison.drop_vars("cka_epochs")
    assert [file.name for file in draw_comparison(layers, tmp_path)] == ["layers.png"]
    no_match = comparison.isel(match=[])
    assert [file.name for file in draw_comparison(no_match, tmp_path)] == ["layers.png"]


def test_a_file_read_back_gives_the_same_picture(comparison, tmp_path):
    comparison.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    read = xr.load_dataset(tmp_path / "c.nc", engine="h5netcdf")
    for draw in (layer_comparison, epoch_comparison):
        assert texts(draw(read)) == texts(draw(comparison))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda c: layer_comparison(c.drop_vars("cka_layers")), "cka_layers.*two runs"),
        (lambda c: epoch_comparison(c.drop_vars("cka_epochs")), "cka_epochs.*two runs"),
        (lambda c: layer_comparison(c.isel(moment=[])), "moment = 0.*at least one"),
        (lambda c: epoch_comparison(c.isel(match=[])), "match = 0.*at least one"),
    ],
)
def test_what_is_not_there_is_refused(comparison, call, named):
    with pytest.raises(InputError, match=named):
        call(comparison)

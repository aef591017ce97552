"""Figures: their content is read back from them, also for incomplete Datasets."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from helpers import DRAWN_EPOCHS as EPOCHS
from helpers import SUBSETS, assert_input_error, fake_dynamics, words_in
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from repdyn_keras import figures
from repdyn_keras.figures import (
    Selection,
    draw_all,
    film_strip,
    learning_curves,
    plot_curves,
    plot_progress,
    plot_regions,
    plot_similarity,
    probe_curves,
    similarity_heatmaps,
)
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.cells import zoomed_scale
from repdyn_keras.figures.parts.epochs import log_position, thinned
from repdyn_keras.figures.parts.maps import displayable
from repdyn_keras.figures.parts.phase_borders import FREEZE, MIN_RECORDS, STATE
from repdyn_keras.figures.parts.similarity_floors import floors
from repdyn_keras.figures.plot_film_strip import spread
from repdyn_keras.measures import phases

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]

LAYERS = ("stem", "block", "output")


@pytest.fixture(scope="module")
def small():
    return fake_dynamics(epochs=EPOCHS[::3], layers=LAYERS, planes=2, grid=12)


@pytest.fixture(scope="module")
def heatmaps(small):
    return similarity_heatmaps(small, "cka")


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def is_hatched(ax):
    return any(patch.get_hatch() for patch in ax.patches)


# Matrices of colour blindness on linear RGB and of OKLab, with published constants.
MACHADO = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_CONES = [[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]]
TO_LAB = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]


def closest(colors, matrix):
    """The smallest distance of colours in OKLab after a colour-blindness matrix."""
    colors = np.array(colors)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    lab = np.cbrt(linear @ np.transpose(TO_CONES)) @ np.transpose(TO_LAB)
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))


def test_class_colours_are_distinguishable_with_colour_blindness_and_fixed():
    tab10 = [color[:3] for color in matplotlib.colormaps["tab10"].colors]
    ten = [style.class_color(i) for i in range(10)]
    for sight, matrix in MACHADO.items():
        assert closest(ten, matrix) > max(0.065, closest(tab10, matrix)), sight
    colors = [style.class_color(i) for i in range(1000)]
    assert len({to_hex(color) for color in colors}) == 1000
    assert np.min(colors) >= 0 and np.max(colors) <= 1
    few = style.class_image(np.array([[3, 7]], np.uint8))
    many = style.class_image(np.array([[3, *range(250)]], np.uint16))
    np.testing.assert_array_equal(few[0, 0], many[0, 0])
    assert tuple(few[0, 1, :3]) == style.class_color(7)
    looks = [style.subset_line(name) for name in SUBSETS]
    assert len({(str(look["linestyle"]), look.get("marker")) for look in looks}) == len(SUBSETS)


def test_undefined_is_transparent_and_hatched(small):
    for dtype in (np.uint8, np.uint16):
        image = style.class_image(np.array([[0, np.iinfo(dtype).max]], dtype))
        assert image[0, :, 3].tolist() == [1, 0]
        holed = small.copy(deep=True)
        holed["regions"] = holed["regions"].astype(dtype)
        holed["regions"][0, 0, 0, :2] = np.iinfo(dtype).max
        ax = plot_regions(holed, "stem", 0, 0)
        assert is_hatched(ax)
        assert "undefined" in words_in(ax.figure)
    assert not is_hatched(plot_regions(holed, "block", 0))
    for plane, expected in ((0, True), (1, False)):
        figure = film_strip(holed, plane, most=2)
        assert is_hatched(figure.axes[0]) == expected == ("undefined" in words_in(figure))


def test_images_are_stretched_to_0_1():
    for channels, shape in ((1, (4, 5)), (2, (4, 5)), (3, (4, 5, 3)), (6, (4, 5, 3))):
        shown = displayable(np.random.default_rng(0).normal(3, 9, (4, 5, channels)))
        assert shown.shape == shape
        assert shown.min() == 0 and shown.max() == 1
    assert np.all(displayable(np.full((2, 2, 1), 7.0)) == 0.5)


def test_a_zoomed_scale_holds_the_values():
    for values, low in (
        ([0.43, 1.0, np.nan], 0.4),
        ([0.4, 1.0], 0.4),
        ([-0.01, 1.0], 0.0),
        ([-0.35, 1.0], -0.4),
        ([0.987, 1.0], 0.98),
        ([0.9952, 1.0], 0.995),
        ([1.0], 0.999),
        ([np.nan], 0.0),
    ):
        assert zoomed_scale(np.array(values)) == pytest.approx((low, 1.0))


def test_zoomed_colours_fit_each_layer_and_the_picture_says_so(small):
    zoomed = similarity_heatmaps(small, "cka", zoom=True)
    for ax, values in zip(zoomed.axes[:-1], small["cka"].values, strict=True):
        lowest, highest = ax.images[0].get_clim()
        assert highest == 1 and 0 < lowest <= values.min() < lowest + 0.1
        assert f"zoomed: {lowest:.6g} to 1" in ax.get_title("left")
    assert plot_similarity(small, "stem").images[0].get_clim() == (0, 1)
    ax = plot_similarity(small, "stem", zoom=True)
    assert ax.images[0].get_clim() == zoomed.axes[0].images[0].get_clim()
    assert "colours zoomed" in ax.get_title("left")


def test_thinned_keeps_the_ends_and_is_evenly_spread():
    for most in (2, 5, 8):
        for positions in (np.arange(40.0), log_position(np.array(EPOCHS))):
            kept = positions[thinned(positions, most)]
            assert kept[0] == positions[0] and kept[-1] == positions[-1]
            assert len(kept) <= most
            assert np.diff(kept).min() >= 0.7 * (positions[-1] - positions[0]) / (most - 1)
        assert thinned(np.array([0.0]), most).tolist() == [0]


def test_curves_show_the_output_and_one_panel_per_layer(small):
    ax = learning_curves(small).axes[0]
    for index, line in enumerate(ax.lines[:5]):
        np.testing.assert_array_equal(line.get_ydata(), small["probe_accuracy"][-1, :, index])
    for words in ("memorized", "resisted", "epoch 57", small.attrs["title"], "1 of 10 classes"):
        assert words in words_in(ax.figure)
    for probed in (ax, *probe_curves(small).axes[:3], plot_curves(small, "stem")):
        assert [set(line.get_ydata()) for line in lines(probed, "chance")] == [{0.1}]
    for x, text in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True):
        assert np.isclose(x, np.log2(1 + int(text.get_text())))
    figure = probe_curves(small)
    assert [ax.get_title("left").split(" ")[0] for ax in figure.axes[:3]] == list(LAYERS)
    assert len({ax.get_ylim() for ax in figure.axes[:3]}) == 1


def test_absent_subsets_are_left_out_and_a_missing_perfect_fit_is_reported(small):
    clean = small.copy(deep=True)
    clean["probe_accuracy"].loc[{"subset": ["mislabeled_given", "mislabeled_true"]}] = np.nan
    clean.attrs = {"perfect_fit_epoch": np.nan}
    ax = learning_curves(clean).axes[0]
    assert len(ax.lines) == 2, "correctly labelled images are all training images"
    assert "not reached" in words_in(ax.figure)
    for figure in (ax.figure, probe_curves(clean)):
        for word in ("memorized", "resisted", "given", "labelled"):
            assert word not in words_in(figure)
    clean["probe_accuracy"][:] = np.nan
    assert "no accuracy recorded" in words_in(learning_curves(clean))
    assert "no accuracy recorded" in words_in(probe_curves(clean))


def test_similarities_have_colours_from_0_to_1_and_are_labelled_with_their_epochs(small, heatmaps):
    low = small.assign(region_kappa=small["region_kappa"] - 0.9)
    others = {name: similarity_heatmaps(low, name) for name in ("region_agreement", "region_kappa")}
    for variable, figure in {"cka": heatmaps, **others}.items():
        *panels, bar = figure.axes
        assert {ax.images[0].get_clim() for ax in panels} == {(0.0, 1.0)}
        assert bar._colorbar.extend == ("min" if variable == "region_kappa" else "neither")
        assert "zoomed" not in words_in(figure)
        assert "1 = same" in bar.get_ylabel()
        for ax, values in zip(panels, low[variable].values, strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), values)
    epochs = small["epoch"].values
    for axis in (heatmaps.axes[0].xaxis, heatmaps.axes[0].yaxis):
        at = axis.get_ticklocs().astype(int)
        assert [text.get_text() for text in axis.get_ticklabels()] == [str(epochs[i]) for i in at]


@pytest.mark.long
@pytest.mark.parametrize("epochs", [EPOCHS, (*range(30), *range(1000, 20000, 1000))])
def test_epoch_numbers_do_not_overlap(epochs):
    many = fake_dynamics(epochs, [*"abcdefg", "output"], regions=False)
    probe_curves(many)
    figure = similarity_heatmaps(many, "cka")
    figure.draw_without_rendering()
    labels = [t.get_window_extent() for t in figure.axes[4].get_xticklabels() if t.get_text()]
    assert len(labels) > 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(labels))


def test_borders_are_drawn_where_phases_begin_and_marked_by_their_kind(small, heatmaps):
    epochs = small["epoch"].values
    first, second = np.flatnonzero(small["border_kind"][0])
    panel, undivided = heatmaps.axes[:2]
    for gid, at, line_style in (("state border", first, "-"), ("freeze border", second, "--")):
        drawn = lines(panel, gid)
        assert {line.get_linestyle() for line in drawn} == {line_style}
        for line, other in zip(drawn, ("y", "x"), strict=True):
            place, ends = line.get_xdata(), line.get_ydata()
            place, ends = (place, ends) if other == "y" else (ends, place)
            assert set(place) == {at - 0.5}
            assert tuple(ends) == (-0.5, len(epochs) - 0.5)
    (symbol,) = lines(panel, "freeze")
    assert symbol.get_xdata()[0] == symbol.get_ydata()[0] == second - 0.5
    assert not lines(undivided, "state border") and not lines(undivided, "freeze border")
    name, text = panel.get_title("left").replace("\N{NO-BREAK SPACE}", " ").split("\n", 1)
    spans = [(0, epochs[first - 1]), (epochs[first], epochs[second - 1]), (epochs[second], 102)]
    spans = ", ".join(f"{begin}–{end}" for begin, end in spans)
    assert (name, " ".join(text.split())) == (
        "stem",
        f"phases {spans} (freeze at {epochs[second]})",
    )
    assert undivided.get_title("left") == "block\none phase"
    assert "a change of state: the representation differs before and after" in words_in(heatmaps)
    assert "restless before, still after" in words_in(heatmaps)
    assert (STATE, FREEZE) == (phases.STATE, phases.RESTLESSNESS)


def test_too_few_records_for_phases_are_said_once(small):
    assert MIN_RECORDS == phases.MIN_RECORDS
    few = fake_dynamics(EPOCHS[:5], LAYERS, dead=("block", 99), planes=1)
    figure = similarity_heatmaps(few, "cka")
    assert " ".join(words_in(figure).split()).count("fewer than 8 records") == 1
    assert [ax.get_title("left") for ax in figure.axes[:2]] == ["stem", "output"]
    asked = similarity_heatmaps(few, "cka", ["output", "block"]).axes
    assert asked[0].get_title("left") == "output"
    assert asked[1].get_title("left") == "block\nundefined at every epoch"
    late = small.copy(deep=True)
    late["phase"][0, 5:] = late["border_kind"][0, 5:] = 0
    assert "fewer than 8 records" in plot_similarity(late, "stem").get_title("left")
    without = small.drop_vars("border_kind")
    assert plot_similarity(without, "stem").get_title("left") == "stem"


def test_floors_are_marked_on_the_colour_bar_and_explained(small, heatmaps):
    assert "colour bar" not in words_in(heatmaps) and not lines(heatmaps.axes[-1], "floor")
    small = small.isel(layer=[0])
    levels = xr.full_like(small["cka"], np.nan)
    levels[0, 0] = np.linspace(0.2, 0.6, small.sizes["epoch"])
    floor = xr.full_like(small["phase"], 0.9, dtype=float)
    chance = xr.full_like(small["region_agreement"], 0.2)
    chance.values[0, 0, 1:3] = 0.1, 0.3
    kappa = 1 - (1 - small["region_agreement"]) / (1 - chance)
    with_floors = small.assign(
        region_kappa=kappa,
        cka_null=xr.full_like(levels, 0.004),
        cka_null_class=levels,
        region_agreement_floor=floor,
    )
    for variable, expected, words in (
        ("cka", [0.008, (0.2, 0.6), 0.4], ["0 ± 0.008", ".20 to .60, median .40"]),
        (
            "region_agreement",
            [0.9, (0.1, 0.3), 0.2],
            [".90", "fitted on resampled images", "by chance, .10 to .30, median .20"],
        ),
    ):
        figure = similarity_heatmaps(with_floors, variable)
        marks = [line.get_ydata() for line in lines(figure.axes[-1], "floor")]
        assert len(marks) == len(expected)
        for mark, at in zip(marks, expected, strict=True):
            np.testing.assert_allclose(mark, np.ravel(at), atol=1e-9)
        for text in words:
            assert text in " ".join(words_in(figure).split())
    zoomed = similarity_heatmaps(with_floors, "cka", zoom=True)
    assert not lines(zoomed.axes[-1], "floor") and "colour bar" not in words_in(zoomed)
    assert floors(with_floors.assign(cka_null=levels * np.nan), "cka_null") == []


def extent(line):
    """The extent of a line of one marker in pixels."""
    at = line.get_transform().transform(line.get_xydata())[0]
    half = line.get_markersize() / 2 * line.figure.dpi / 72
    return Bbox([at - half, at + half])


LONG = [pytest.param(n, at, marks=pytest.mark.long) for n, at in ((1, -1), (3, -1), (11, 0))]


@pytest.mark.parametrize(("count", "at"), [(1, 0), (3, 0), *LONG])
def test_triangles_and_titles_do_not_touch(count, at):
    names = [f"pyjq_block_{index}" for index in range(count)]
    many = fake_dynamics(EPOCHS, names, regions=False)
    figure = similarity_heatmaps(many.assign_attrs(perfect_fit_epoch=EPOCHS[at]), "cka")
    figure.draw_without_rendering()
    marks = [extent(line) for ax in figure.axes for line in lines(ax, "perfect fit")]
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    panels = [ax.get_window_extent() for ax in figure.axes]
    assert len(marks) == 2 * count
    assert not any(mark.overlaps(box) for mark in marks for box in [*boxes, *panels])
    titles = [ax._left_title.get_window_extent() for ax in figure.axes[:-1]]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))


def test_a_dead_layer_is_hatched_and_does_not_affect_the_scale():
    dead = fake_dynamics(EPOCHS[::3], LAYERS, dead=("block", 99), planes=1)
    figure = similarity_heatmaps(dead, "cka")
    assert "undefined at every epoch: block" in words_in(figure)
    figure = similarity_heatmaps(dead, "cka", LAYERS)
    assert [is_hatched(ax) for ax in figure.axes[:3]] == [False, True, False]
    assert "dead layer" in words_in(figure) and "undefined at every epoch" in words_in(figure)
    assert np.isfinite(figure.axes[0].images[0].get_clim()).all()


def test_perfect_fit_is_marked_at_its_epoch_on_the_given_axes(small):
    one, two, three, four = Figure().subplots(1, 4)
    reached = small.assign_attrs(perfect_fit_epoch=float(small["epoch"][4]))
    assert plot_similarity(reached, "stem", ax=one) is one
    across, up = lines(one, "perfect fit")
    assert across.get_xdata()[0] == up.get_ydata()[0] == 4
    never = small.assign_attrs(perfect_fit_epoch=np.nan)
    assert not lines(plot_similarity(never, "stem", ax=two), "perfect fit")
    assert plot_curves(small, ax=three) is three
    assert plot_progress(reached, "block", four) is four
    shown = [ax for ax in one.figure.axes if not ax.get_ylabel().startswith("CKA")]
    assert shown == [one, two, three, four]
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in shown)


def test_a_map_is_drawn_with_row_0_at_the_bottom(small):
    given = Figure().subplots()
    ax = plot_regions(small, "block", 3, 1, given)
    assert ax is given and ax.figure.axes == [ax]
    image = ax.images[0]
    assert image.origin == "lower"
    wanted = small["regions"].sel(layer="block", epoch=3, plane=1).values
    np.testing.assert_array_equal(image.get_array(), style.class_image(wanted))
    discs = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(discs[:, ::-1], small["plane_position"][1])
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == [str(label) for label in small["plane_label"].values[1]]


def test_film_strip_shows_evenly_spaced_or_given_epochs(small):
    chosen = {"layers": ["output", "stem"], "epochs": [3, 0]}
    for plane, options in ((1, {"most": 4}), (0, chosen)):
        figure = film_strip(small, plane, **options)
        ax = figure.axes[0]
        layers = [text.get_text() for text in ax.get_yticklabels()]
        epochs = [int(text.get_text()) for text in ax.get_xticklabels()]
        assert layers == options.get("layers", list(LAYERS))
        assert epochs == options.get("epochs", small["epoch"].values[[0, 3, 7, 10]].tolist())
        image, discs = ax.images[0].get_array(), []
        assert ax.images[0].origin == "lower" and not ax.yaxis_inverted()
        for (y, layer), (x, epoch) in itertools.product(
            zip(ax.get_yticks(), layers, strict=True), zip(ax.get_xticks(), epochs, strict=True)
        ):
            low, left = round(y - 5.5), round(x - 5.5)
            found = image[low : low + 12, left : left + 12]
            wanted = small["regions"].sel(layer=layer, epoch=epoch, plane=plane).values
            np.testing.assert_array_equal(found, style.class_image(wanted))
            discs.append(small["plane_position"].values[plane] + [low, left])
        drawn = ax.collections[-1].get_offsets()[:, ::-1]
        np.testing.assert_allclose(drawn, np.concatenate(discs))
        names = [ax.get_label() for ax in figure.axes]
        for label in small["plane_label"].values[plane]:
            assert f"image of class {label}" in names


def with_wrong_label(dynamics, plane=0, corner=1, given=4):
    """The Dataset with a wrongly labelled corner."""
    labels = dynamics["plane_label"].copy(deep=True)
    labels[plane, corner] = given
    true = dynamics["plane_label"].copy(deep=True)
    true[plane, corner] = (given + 1) % 10
    return dynamics.assign(plane_label_given=labels, plane_label=true)


def test_given_labels_are_drawn_and_described_only_where_they_differ(small):
    same = small.assign(plane_label_given=small["plane_label"])
    wrong = with_wrong_label(small)
    for dynamics, plane, expected in ((small, 0, 0), (same, 0, 0), (wrong, 1, 0), (wrong, 0, 1)):
        maps = plot_regions(dynamics, "output", 0, plane)
        strip = film_strip(dynamics, plane, most=3)
        for ax, figure, count in ((maps, maps.figure, 1), (strip.axes[0], strip, 9)):
            *_, rings, discs = [None, *ax.collections]
            is_ring = rings.get_gid() == "true class"
            assert is_ring == bool(expected)
            words = words_in(figure)
            for word in ("labelled 4", "truly 5", "given label"):
                assert (word in words) == bool(expected), (word, plane)
            if expected:
                assert len(rings.get_offsets()) == count
                color = tuple(rings.get_facecolor()[0, :3])
                assert color == pytest.approx(style.class_color(5))
                at = discs.get_offsets()[1::3]
                np.testing.assert_array_equal(rings.get_offsets(), at)
                assert tuple(discs.get_facecolor()[1, :3]) == pytest.approx(style.class_color(4))
    named = wrong.assign_attrs(class_names=[f"kind_{i} $x$" for i in range(10)])
    figure = film_strip(named, 0, most=3)
    figure.draw_without_rendering()
    assert "labelled kind_4 $x$,\ntruly kind_5 $x$" in words_in(figure)


def test_the_epoch_of_perfect_fit_is_a_marked_column_and_the_others_are_spread(small):
    epochs = small["epoch"].values
    for index in (0, 4, 9):
        fit = small.assign_attrs(perfect_fit_epoch=float(epochs[index]))
        ax = film_strip(fit, 0, ["output"], most=4).axes[0]
        shown = [int(text.get_text()) for text in ax.get_xticklabels()]
        (mark,) = (text for text in ax.texts if text.get_gid() == "perfect fit")
        assert shown[ax.get_xticks().tolist().index(mark.xy[0])] == epochs[index]
        assert len(shown) == 4
    never = film_strip(small.assign_attrs(perfect_fit_epoch=np.nan), 0, ["output"], most=3)
    assert "perfect fit" not in words_in(never)
    for count, most, included in itertools.product((1, 2, 5, 31), (2, 3, 6, 10), (None, 0, 2, 4)):
        if included is not None and included >= count:
            continue
        chosen = spread(count, most, included)
        assert chosen[0] == 0 and chosen[-1] == count - 1
        assert len(chosen) == min(count, max(most, 2 if included is None else 3)) or count == 1
        assert included is None or included in chosen
    for included in range(5, 26):
        gaps = np.diff(spread(31, 10, included))
        assert gaps.max() - gaps.min() <= 2, included


def test_planes_with_a_drawn_grid_are_drawn_on_it_and_others_on_the_coarse_one(small):
    fine = small["regions"].isel(plane=[0]).values.repeat(3, axis=-1).repeat(3, axis=-2)
    fine[..., 1, 1] = 9
    dims = ("layer", "epoch", "plane_drawn", "row_drawn", "column_drawn")
    drawn = small.assign(regions_drawn=(dims, fine))
    for plane, expected in ((0, fine[1, 2, 0]), (1, small["regions"].values[1, 2, 1])):
        ax = plot_regions(drawn, "block", int(small["epoch"][2]), plane)
        np.testing.assert_array_equal(ax.images[0].get_array(), style.class_image(expected))
        # Both grids fill the same extent, so the discs are at the same places of the picture.
        coarse = plot_regions(small, "block", int(small["epoch"][2]), plane)
        at = [
            a.transAxes.inverted().transform(a.transData.transform(a.collections[-1].get_offsets()))
            for a in (ax, coarse)
        ]
        np.testing.assert_allclose(*at, atol=1e-9)
    both = film_strip(drawn.assign_attrs(perfect_fit_epoch=float(small["epoch"][2])), [0, 1])
    (mark,) = (text for text in both.axes[0].texts if text.get_gid() == "perfect fit")
    assert mark.xy[0] in both.axes[0].get_xticks()
    strip = film_strip(drawn, 0, ["block"], [int(small["epoch"][2])])
    np.testing.assert_array_equal(
        strip.axes[0].images[0].get_array(), style.class_image(fine[1, 2, 0])
    )


def test_inputs_that_are_not_images_and_many_classes_are_described_in_text():
    many = fake_dynamics((0, 10), ("stem", "output"), classes=300, planes=1, pictures=False)
    figure = film_strip(many)
    corners = {f"class {int(label)}" for label in many["plane_label"][0]}
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) == 21 and "more" in words[-1]
    assert corners <= set(words) and corners <= {ax.get_xlabel() for ax in figure.axes}


def test_errors_list_valid_values(small):
    for draw, given, words in (
        (plot_similarity, ("blok",), "block"),
        (plot_similarity, ("block", "ckaa"), "cka"),
        (similarity_heatmaps, ("cka", ["blok"]), "block"),
        (plot_progress, ("blok",), "block"),
        (similarity_heatmaps, ("phase",), "region_agreement"),
        (plot_regions, ("blok", 0, 0), "stem, block, output"),
        (plot_regions, ("block", 99, 0), "0, 3, 6, 9"),
        (plot_regions, ("block", 0, 7), "planes: 0, 1"),
        (film_strip, (7,), "planes: 0, 1"),
        (film_strip, (0, ["nowhere"]), "stem, block, output"),
        (film_strip, (0, None, [0, 99]), "0, 3, 6, 9"),
    ):
        assert_input_error(given, words, draw, small, *given)
    bare = small.drop_vars(["regions", "probe_accuracy"])
    assert_input_error("regions", "planes were recorded", film_strip, bare)
    assert_input_error("accuracy", "probe_accuracy", learning_curves, bare)


def test_draw_all_writes_all_figures_atomically_and_reports_them(small, tmp_path, monkeypatch):
    few = small.isel(epoch=[0, 4, 8], epoch_other=[0, 4, 8])
    said, before = [], few.copy(deep=True)
    folder = tmp_path / "new" / "figures"
    files = draw_all(few, folder, said.append)
    names = ["learning_curves.png", "probe_curves.png", "cka.png", "region_agreement.png"]
    names += ["progress.png", "synchronization.png"]
    names += ["regions_plane0.png", "regions_plane1.png", "regions_plane0.gif"]
    assert [file.name for file in files] == names
    assert sorted(os.listdir(folder)) == sorted(names)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[:-1])
    assert files[-1].read_bytes().startswith(b"GIF89a")
    assert len(said) == len(names)
    xr.testing.assert_identical(few, before)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    files[0].write_bytes(b"old")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_all(few, folder)
    assert sorted(os.listdir(folder)) == sorted(names)
    assert files[0].read_bytes() == b"old"


def test_every_module_of_a_picture_has_its_entry():
    modules = {path.stem for path in Path(figures.__file__).parent.glob("plot_*.py")}
    drawing = [getattr(entry.draw, "func", entry.draw).__name__ for entry in figures.FIGURES]
    assert {name.replace("draw_", "plot_") for name in drawing} == modules
    assert len({entry.name for entry in figures.FIGURES}) == len(figures.FIGURES)
    text = (Path(__file__).parents[1] / "docs" / "files.md").read_text("utf-8")
    section = text.partition("\n## figures/\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    rows = [tuple(line.strip("| ").split(" | ")) for line in table[2:]]
    entries = [(f"`{entry.name}`", entry.source, entry.about) for entry in figures.FIGURES]
    assert rows == entries, "docs/files.md lists every figure"
    assert {source for _, source, _ in entries} == {"run", "comparison", "findings"}


def test_draw_all_draws_a_single_epoch_and_layer_without_regions(tmp_path):
    plain = fake_dynamics((0,), ("output",), regions=False)
    names = [file.name for file in draw_all(plain, tmp_path)]
    curves = ["learning_curves.png", "probe_curves.png", "cka.png", "progress.png"]
    assert names == [*curves, "synchronization.png"]
    similarity = plain[["cka"]]
    zoomed = Selection(zoom=True)
    names = [file.name for file in draw_all(similarity, tmp_path, selection=zoomed)]
    assert names == ["cka.png", "cka_zoomed.png"]


@pytest.mark.long
def test_figures_are_imported_without_matplotlib_and_drawn_without_a_display(small, tmp_path):
    small.drop_vars(["cka", "region_agreement", "regions"]).to_netcdf(tmp_path / "d.nc")
    code = (
        "import sys, repdyn_keras.figures as figures\n"
        "print(len({'keras', 'jax', 'matplotlib'} & set(sys.modules)))\n"
        "import xarray\n"
        "print(len(figures.draw_all(xarray.load_dataset(sys.argv[1]), sys.argv[2])))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "d.nc"), str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MPLBACKEND": "tkagg"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["0", "4", "False"]

"""Class names: read in any form, shortened, and never interpreted."""

import numpy as np
import pytest
import xarray
from helpers import fake_dynamics
from matplotlib.text import Text

from repdyn_keras.figures import film_strip, plot_regions
from repdyn_keras.figures.parts import style

pytestmark = pytest.mark.without_keras

LONG = "greater spotted woodpecker"
ODD = ["$a$ & b_c", "_background_", r"\frac{", "cat", "<b>", "100%", "$", "{}", "^", "#"]


@pytest.fixture(scope="module")
def plain():
    return fake_dynamics((0, 1, 10), ("stem", "output"), planes=1, grid=8)


def test_class_names_are_read_in_any_form_or_are_numbers(plain, tmp_path):
    both, none = ["cat", "dog", "class 2"], ["class 0", "class 1", "class 2"]
    for names, expected in (
        (["cat", "dog"], both),
        (("cat", "dog"), both),
        (np.array(["cat", "dog"]), both),
        (np.array([b"cat", b"dog"], object), both),
        ("cat", ["cat", "class 1", "class 2"]),
        (["cat", "", " ", "\n"], ["cat", "class 1", "class 2"]),
        ([" a\n b", "dog\t"], ["a b", "dog", "class 2"]),
        (["$x$", "né", "_"], ["$x$", "né", "_"]),
        ([], none),
        (np.array([]), none),
        (None, none),
        ([LONG, "x" * 18, "x" * 19], ["greater spotted w…", "x" * 18, "x" * 17 + "…"]),
    ):
        held = [plain.assign_attrs(class_names=names)]
        if isinstance(names, list):
            held[0].to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
            held.append(xarray.load_dataset(tmp_path / "d.nc", engine="h5netcdf"))
        for dynamics in held:
            assert [style.class_name(dynamics, index) for index in range(3)] == expected
            assert style.has_class_names(dynamics) == (expected != none)
            assert len(style.class_name(dynamics, 0, 8)) <= 8


def test_names_are_drawn_literally_in_the_order_and_colours_of_the_classes(plain):
    dynamics = plain.assign_attrs(class_names=ODD)
    labels = {ODD[label] for label in plain["plane_label"].values.flat}
    regions = plot_regions(dynamics, "output", 10)
    assert not regions.texts, "discs show numbers only if there are no names"
    for figure in (film_strip(dynamics), regions.figure):
        # Invalid mathematical text would raise an error here.
        figure.draw_without_rendering()
        legend = figure.legends[0] if figure.legends else regions.get_legend()
        shown = [text.get_text() for text in legend.get_texts()]
        assert labels <= set(shown) <= set(ODD)
        for name, patch in zip(shown, legend.get_patches(), strict=True):
            assert patch.get_facecolor()[:3] == style.class_color(ODD.index(name))
        odd = [text for text in figure.findobj(Text) if text.get_text() in ODD]
        assert odd and not any(text.get_parse_math() for text in odd)
    numbers = [str(label) for label in plain["plane_label"].values[0]]
    assert [text.get_text() for text in plot_regions(plain, "stem", 0).texts] == numbers


def test_thumbnails_are_captioned_and_named():
    dynamics = fake_dynamics((0, 1, 10), ("stem", "output"), planes=1)
    names = [f"{LONG} {index}" for index in range(10)]
    figure = film_strip(dynamics.assign_attrs(class_names=names))
    keys = [ax for ax in figure.axes if ax.get_label().startswith("image of ")]
    assert [ax.get_xlabel() for ax in keys] == ["greater sp…"] * 3
    assert not any(ax.xaxis.label.get_parse_math() for ax in keys)
    figure.draw_without_rendering()
    boxes = [ax.xaxis.label.get_window_extent() for ax in keys]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_legend_entry_for_further_classes_is_not_a_class_name():
    many = fake_dynamics((0, 1, 10), ("stem", "output"), classes=300, planes=1)
    figure = film_strip(many.assign_attrs(class_names=[f"kind {index}" for index in range(300)]))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) == 21 and "more, less frequent" in words[-1]
    assert all(word.startswith("kind ") for word in words[:-1])

"""Names of classes: read from whatever the file gives back, shortened, never interpreted."""

import numpy as np
import pytest
from helpers import fake_dynamics
from matplotlib.text import Text

from repdyn_keras.figures import decision_regions, film_strip, style

pytestmark = pytest.mark.without_keras

LONG = "greater spotted woodpecker"


@pytest.fixture(scope="module")
def plain():
    return fake_dynamics((0, 1, 10), ("stem", "output"), planes=1, grid=8)


def named(dynamics, names):
    return dynamics.assign_attrs(class_names=names)


def legend_of(figure):
    legend = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog", "class 2"]),
        (("cat", "dog"), ["cat", "dog", "class 2"]),
        (np.array(["cat", "dog"]), ["cat", "dog", "class 2"]),
        (np.array([b"cat", b"dog"], object), ["cat", "dog", "class 2"]),
        ("cat", ["cat", "class 1", "class 2"]),
        (["cat", "", " ", "\n"], ["cat", "class 1", "class 2"]),
        ([" a\n b", "dog\t"], ["a b", "dog", "class 2"]),
        ([], ["class 0", "class 1", "class 2"]),
        (np.array([]), ["class 0", "class 1", "class 2"]),
        (None, ["class 0", "class 1", "class 2"]),
    ],
)
def test_a_name_is_found_in_any_form_or_is_the_number(plain, names, expected):
    dynamics = named(plain, names)
    assert [style.class_name(dynamics, index) for index in range(3)] == expected
    assert style.has_class_names(dynamics) == (expected[0] != "class 0")


@pytest.mark.parametrize("names", [[], ["cat"], ["cat", "dog"], ["$x$", "né", "_"]])
def test_names_survive_a_file(plain, names, tmp_path):
    import xarray

    named(plain, names).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    read = xarray.load_dataset(tmp_path / "d.nc", engine="h5netcdf")
    for index, name in enumerate(names):
        assert style.class_name(read, index) == name
    assert style.class_name(read, len(names)) == f"class {len(names)}"


def test_a_long_name_is_cut(plain):
    dynamics = named(plain, [LONG, "x" * 18, "x" * 19])
    short = style.class_name(dynamics, 0)
    assert short == "greater spotted w…" and len(short) == 18
    assert style.class_name(dynamics, 1) == "x" * 18
    assert style.class_name(dynamics, 2) == "x" * 17 + "…"
    assert len(style.class_name(dynamics, 0, 8)) <= 8


ODD = ["$a$ & b_c", "_background_", r"\frac{", "cat", "<b>", "100%", "$", "{}", "^", "#"]


@pytest.mark.parametrize("draw", [film_strip, lambda d: decision_regions(d, "stem", 0).figure])
def test_names_are_drawn_as_they_are(plain, draw):
    dynamics = named(plain, ODD)
    figure = draw(dynamics)
    # Mathematics that cannot be parsed would raise here.
    figure.draw_without_rendering()
    shown = legend_of(figure)
    labels = {int(label) for label in plain["plane_label"].values.flat}
    assert {ODD[label] for label in labels} <= set(shown) <= set(ODD)
    assert not any("class" in word for word in shown)
    odd = [text for text in figure.findobj(Text) if text.get_text() in ODD]
    assert odd and not any(text.get_parse_math() for text in odd)


def test_the_order_and_colours_are_those_of_the_classes(plain):
    names = [f"kind {index}" for index in range(10)][::-1]
    legend = decision_regions(named(plain, names), "output", 10).get_legend()
    for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True):
        index = names.index(text.get_text())
        assert patch.get_facecolor()[:3] == style.class_color(index)


def test_thumbnails_are_captioned_and_named():
    names = [f"{LONG} {index}" for index in range(10)]
    figure = film_strip(named(fake_dynamics((0, 1, 10), ("stem", "output"), planes=1), names))
    keys = [ax for ax in figure.axes if ax.get_label().startswith("image of ")]
    assert [ax.get_xlabel() for ax in keys] == ["greater sp…"] * 3
    assert not any(ax.xaxis.label.get_parse_math() for ax in keys)
    figure.draw_without_rendering()
    boxes = [ax.xaxis.label.get_window_extent() for ax in keys]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_discs_keep_numbers_only_where_there_are_no_names(plain):
    numbers = [str(label) for label in plain["plane_label"].values[0]]
    assert [text.get_text() for text in decision_regions(plain, "stem", 0).texts] == numbers
    assert not decision_regions(named(plain, ["cat"]), "stem", 0).texts


def test_the_legend_of_the_rest_of_many_classes_is_no_name():
    many = fake_dynamics((0, 1, 10), ("stem", "output"), classes=300, planes=1)
    words = legend_of(film_strip(named(many, [f"kind {index}" for index in range(300)])))
    assert len(words) == 21 and "more, less frequent" in words[-1]
    assert all(word.startswith("kind ") for word in words[:-1])

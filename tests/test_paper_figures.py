"""Figures for papers: the width that was asked for, sizes of text, formats, and what is shown."""

import io
import re

import matplotlib
import numpy as np
import pytest
import xarray as xr
from helpers import DRAWN_EPOCHS as EPOCHS
from helpers import (
    assert_input_error,
    assert_rejected,
    contents,
    fake_dynamics,
    repdyn,
    with_histories,
    words_in,
    write_run,
)
from matplotlib.figure import Figure
from matplotlib.text import Text

from repdyn_keras import figures
from repdyn_keras.figures import FIGURES, Selection, Sheet, draw_all, film_strip
from repdyn_keras.figures.parts import page
from repdyn_keras.figures.parts.selection import MAX_PANELS, matching_layers
from repdyn_keras.figures.parts.sheet import on_sheet
from repdyn_keras.figures.parts.style import FIRST_COLORS, class_color

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]
LONG = pytest.mark.long

# Points below which nobody can read a printed figure.
MIN_TEXT = 6.0
LAYERS = ("stem", *(f"block{k}" for k in range(6)), "output")


@pytest.fixture(scope="module")
def run():
    made = fake_dynamics(EPOCHS, LAYERS, planes=2, grid=10).assign_attrs(perfect_fit_epoch=57.0)
    still = made["layer"] == "stem"
    for name in ("cka", "region_agreement"):
        made[name] = made[name].where(~still, 0.99)
    made["synchronization_mean"] = 0.9
    null = xr.DataArray([0.04, 0.002], {"statistic": ["mean", "deviation"]}, "statistic")
    made["similarity_mutual_knn"] = made["cka"]
    made["similarity_mutual_knn_null"] = xr.ones_like(made["cka"]) * null
    return with_histories(made)


def drawn(run, monkeypatch, selection, sheet):
    """The figures that `draw_all` draws, by name."""
    found: dict[str, Figure] = {}

    def keep(stem, figure):
        found[stem] = figure
        figure.draw_without_rendering()
        return page.PictureFile(stem, b"")

    for entry in FIGURES:
        function = getattr(entry.draw, "func", entry.draw)
        monkeypatch.setitem(function.__globals__, "picture", keep)
    with on_sheet(sheet):
        for entry in FIGURES:
            present = all(name in run for name in entry.requires)
            if entry.source != "run" or entry.name.endswith(".gif") or entry.zoomed:
                continue
            if present or not entry.measure.startswith("similarity_"):
                list(entry.draw(run, selection))
    return found


@pytest.mark.parametrize(
    "width", [pytest.param(3.25, marks=LONG), 5.5, pytest.param(12.0, marks=LONG)]
)
def test_all_text_is_large_enough_and_inside_of_the_page(run, monkeypatch, width):
    sheet = Sheet(width, heading=width > 4)
    pages = drawn(run, monkeypatch, Selection(layers=("block5", "output"), images=("7",)), sheet)
    assert len(pages) == 12
    for name, figure in pages.items():
        assert figure.get_figwidth() <= width + 1e-9, name
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        assert texts
        for text in texts:
            assert text.get_fontsize() >= MIN_TEXT, (name, text.get_text())
            box = text.get_window_extent()
            edge = 0.02 * figure.bbox.width
            inside = box.x0 > -edge and box.x1 < figure.bbox.width + edge and box.y0 > -edge
            assert inside, (name, text.get_text())
        titled = any(text.get_text() == figure.get_suptitle() for text in texts)
        if name != "learning_curves":
            assert titled == sheet.heading


def test_pages_show_what_changes_or_what_is_asked_for(run):
    heat = figures.similarity_heatmaps(run, "cka")
    titles = [ax.get_title("left").split("\n")[0] for ax in heat.axes if ax.get_title("left")]
    assert titles == list(LAYERS[1:])
    words = " ".join(words_in(heat).split())
    assert "not shown: stem, with CKA of at least 0.9 between all epochs" in words
    asked = figures.similarity_heatmaps(run, "cka", ["stem"])
    assert asked.axes[0].get_title("left").startswith("stem")
    strip = film_strip(run).axes[0]
    rows = [text.get_text() for text in strip.get_yticklabels()]
    columns = [text.get_text() for text in strip.get_xticklabels()]
    assert len(rows) == 5 and "stem" not in rows and rows[-1] == "output"
    assert columns[0] == "0" and columns[-1] == "102" and "57" in columns and len(columns) == 6
    still = run.assign(cka=run["cka"] * 0 + 0.97)
    assert len(figures.similarity_heatmaps(still, "cka").axes) == 2, "one panel and its bar"
    many = fake_dynamics(EPOCHS[:3], [f"l{k}" for k in range(60)], regions=False)
    panels = [ax for ax in figures.probe_curves(many).axes if ax.get_title("left")]
    assert len(panels) == MAX_PANELS
    assert panels[0].get_title("left") == "l0" and panels[-1].get_title("left") == "l59"


@LONG
def test_edge_cases_of_what_is_shown(run):
    one = run.isel(epoch=[0], epoch_other=[0])
    strip = film_strip(one).axes[0]
    assert [text.get_text() for text in strip.get_yticklabels()][::7] == ["stem"]
    assert strip.get_yticklabels()[-1].get_text() == "output", "one epoch tells nothing of changes"
    many = fake_dynamics(EPOCHS[:6], [f"l{k}" for k in range(40)], planes=1, grid=4)
    words = " ".join(words_in(film_strip(many)).split())
    assert re.search(r"also change: 3\d more", words) and "evenly spaced" not in words
    named = run.assign_coords(layer=[*LAYERS[:-1], "x" * 60], layer_other=[*LAYERS[:-1], "x" * 60])
    with on_sheet(Sheet(3.25)):
        figure = film_strip(named)
        figure.draw_without_rendering()
        assert figure.axes[0].get_window_extent().width > 0.2 * figure.bbox.width
        many_epochs = run["epoch"].values.tolist()
        assert_input_error("room", "at most \\d+ epochs", film_strip, run, 0, None, many_epochs)
    for draw, given in (
        (film_strip, ([],)),
        (film_strip, (0, [])),
        (film_strip, (0, None, [])),
        (figures.similarity_heatmaps, ("cka", [])),
        (figures.progress_curves, ([],)),
        (figures.probe_curves, ([],)),
    ):
        assert_input_error(given, "at least one", draw, run, *given)
    assert len(film_strip(run, np.int64(1)).axes) > 1
    levels = run["cka"].isel(epoch=0).drop_vars("epoch") * 0 + np.arange(8)[:, None] / 10
    with_levels = run.assign(cka_null_class=levels)
    assert ", .10 to .10," in " ".join(
        words_in(figures.similarity_heatmaps(with_levels, "cka", ["block0"])).split()
    )


def test_the_animation_without_class_scores_shows_the_last_layer_asked_for(run, monkeypatch):
    shown = []
    module = figures.plot_region_animation
    monkeypatch.setattr(module, "_animation", lambda data, names, *given: shown.append(names))
    none = run.assign_attrs(output_classes=0)
    for layers in (None, ("stem", "block1"), ("output",)):
        list(module.draw_region_animation(none, Selection(layers=layers)))
    assert shown == [["block5"], ["block1"], ["output"]]


@LONG
def test_names_of_a_run_are_never_typeset_by_latex(run):
    hostile = "\\input{/etc/passwd}"
    named = run.assign_coords(layer=[hostile, *LAYERS[1:]], layer_other=[hostile, *LAYERS[1:]])
    with matplotlib.rc_context({"text.usetex": True}):
        drawn_figures = [
            figures.plot_similarity(named, hostile).figure,
            figures.plot_progress(named, hostile).figure,
            figures.plot_regions(named, hostile).figure,
            figures.plot_curves(named, hostile).figure,
            film_strip(named, 0, [hostile]),
            figures.synchronization_matrix(named),
        ]
    for figure in drawn_figures:
        texts = [text for text in figure.findobj(Text) if "input{" in text.get_text()]
        assert texts and not any(text.get_usetex() for text in texts)


def test_legends_fill_empty_cells(run):
    for count in (5, 7):
        figure = figures.probe_curves(run, LAYERS[:count])
        assert not figure.legends
        (free,) = [ax for ax in figure.axes if ax.get_legend()]
        assert "chance" in free.get_legend().get_texts()[-2].get_text()
    assert figures.probe_curves(run, LAYERS).legends, "a full grid has its legend below"


def test_several_planes_share_a_sheet(run):
    figure = film_strip(run, [1, 0], ["block2", "output"], [0, 57])
    maps = [ax for ax in figure.axes if len(ax.get_yticklabels()) == 2]
    for ax in maps:
        assert [text.get_text() for text in ax.get_yticklabels()] == ["block2", "output"]
    assert len(maps) == 2
    keys = [ax for ax in figure.axes if ax.get_title("left") == "the three images"]
    assert len(keys) == 2 and len(figure.legends) == 1
    assert "planes 1, 0: each through" in words_in(figure)
    one = film_strip(run, 0, ["output"], [102])
    figure.draw_without_rendering(), one.draw_without_rendering()
    side = one.axes[0].get_window_extent().width / one.bbox.width
    assert side > 0.6, "one map is as large as the page"
    lowest = min(figure.legends[0].get_window_extent().y0, maps[-1].get_window_extent().y0)
    assert 0 < lowest < 0.05 * figure.bbox.height, "nothing is empty below"


@pytest.mark.parametrize(
    "file_format", ["pdf", *(pytest.param(f, marks=LONG) for f in ("png", "svg"))]
)
def test_files_hold_their_fonts_and_have_the_width(run, tmp_path, file_format):
    selection = Selection(layers=("output",), measures=("cka",))
    sheet = Sheet(5.5, False, file_format)
    (file,) = draw_all(run, tmp_path, selection=selection, sheet=sheet)
    assert file.name == f"cka.{file_format}"
    data = file.read_bytes()
    assert data == draw_all(run, tmp_path / "b", selection=selection, sheet=sheet)[0].read_bytes()
    if file_format == "pdf":
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", data)
        assert float(box[1]) == pytest.approx(5.5 * 72)
        assert b"/FontFile2" in data and b"/Type3" not in data
    elif file_format == "svg":
        assert re.search(rb'width="396(\.0+)?pt"', data) and b"<text" not in data
    else:
        import PIL.Image

        assert PIL.Image.open(io.BytesIO(data)).width == pytest.approx(5.5 * 40, abs=1)


def test_measures_and_sheets_are_checked(run, tmp_path):
    on_request = [entry.name for entry in FIGURES if entry.on_request]
    assert on_request == ["region_kappa.png", "region_kappa_zoomed.png"]
    asked = draw_all(run, tmp_path, selection=Selection(measures=("region_kappa",)))
    assert [path.name for path in asked] == ["region_kappa.png"]
    for measures, words in ((("ckaa",), "cka"), (("region_kappa",), "planes")):
        bare = run.drop_vars("region_kappa")
        selection = Selection(measures=measures)
        assert_input_error(measures, words, draw_all, bare, tmp_path, selection=selection)
    assert_input_error("width", "between 2.5 and 60", Sheet, 1.0)
    assert_input_error("format", "nearest: png", Sheet, 5.0, True, "jpg")
    assert_input_error("pattern", "matches none", matching_layers, ["x"], LAYERS)
    assert_input_error("pattern", "regular expression", matching_layers, ["("], LAYERS)
    assert matching_layers(["output", "block[01]"], LAYERS) == ["block0", "block1", "output"]


@LONG
def test_the_command_draws_what_it_is_asked_for_or_says_what_it_expects(tmp_path):
    folder, out = tmp_path / "run", tmp_path / "paper"
    write_run(folder)
    before = contents(folder)
    given = ("--measure", "cka", "--layer", "output", "--width", "85mm", "--format", "svg")
    done = repdyn("figures", folder, *given, "--no-title", "--out", out)
    assert done.exit_code == 0 and done.stdout.split() == [str(out / "cka.svg")]
    assert 'width="240.9' in (out / "cka.svg").read_text("utf-8")
    assert contents(folder) == before, "the figures of the run are as they were"
    for words, expected in (
        (("--width", "5"), ["5.5in", "'5'"]),
        (("--width", "1in"), ["between 2.5 and 60 inches"]),
        (("--format", "jpg"), ["png", "jpg"]),
        (("--layer", "nowhere"), ["output", "nowhere"]),
        (("--epoch", "99"), ["recorded epochs", "99"]),
        (("--measure", "ckka"), ["cka", "ckka"]),
        (("--measure", "cka", "--epoch", "0"), ["--measure and --epoch"]),
    ):
        assert_rejected(repdyn("figures", folder, *words, "--out", out), expected)


def test_a_figure_shows_itself_in_a_notebook(run):
    figure = figures.progress_curves(run)
    assert figure._repr_png_().startswith(b"\x89PNG")
    from matplotlib import pyplot

    ax = figures.plot_similarity(run, "output")
    assert ax.figure.number in pyplot.get_fignums(), "the inline backend shows figures of pyplot"


# Machado, Oliveira and Fernandes (2009), table of severity 1.0.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


@pytest.mark.parametrize("vision", VISION)
def test_the_first_classes_differ_for_every_vision(vision):
    colors = np.array([class_color(index) for index in range(len(FIRST_COLORS))])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    lab = np.cbrt(seen @ np.transpose(CONES)) @ np.transpose(OKLAB)
    distance = np.linalg.norm(lab[:, None] - lab, axis=-1)
    assert distance[~np.eye(len(lab), dtype=bool)].min() > 0.11
    assert matplotlib.colors.to_hex(colors[0]) == FIRST_COLORS[0].lower()

"""Figures of regions between runs, and of several runs; their content is read back from them."""

import numpy as np
import pytest
import xarray as xr
from helpers import assert_input_error, words_in

from repdyn_keras.figures import (
    epoch_comparison,
    layer_comparison,
    run_comparison,
    similarity_by_layer,
)

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]

LAYERS_A, LAYERS_B = ("stem", "block", "pooled", "output"), ("stem", "other", "pooled", "output")
COMMON = ("stem", "pooled", "output")
RUNS = ("clean", "noisy", "another-seed-of-a-long-name")
CHANCE = 0.2


def between(dims, sizes, kind):
    """CKA, agreement and kappa, with intervals of the latter two; agreement by chance is CHANCE."""
    rng = np.random.default_rng(4)
    kappa = rng.uniform(0.1, 0.8, sizes)
    agreement = CHANCE + (1 - CHANCE) * kappa
    found = {f"cka{kind}": (dims, rng.uniform(0.2, 1, sizes))}
    for name, values in (("region_agreement", agreement), ("region_kappa", kappa)):
        bounds = np.stack([values - 0.05, values + 0.02], axis=-1)
        found[f"{name}{kind}"] = dims, values
        found[f"{name}{kind}_interval"] = (*dims, "bound"), bounds
    return found


@pytest.fixture(scope="module")
def comparison():
    found = between(("moment", "layer_a", "layer_b"), (2, 4, 4), "_layers")
    found |= between(("match", "recorded_a", "recorded_b"), (2, 3, 4), "_epochs")
    coords = {
        "layer_a": list(LAYERS_A),
        "layer_b": list(LAYERS_B),
        "recorded_a": [0, 0.5, 8],
        "recorded_b": [0, 1, 2, 4],
        "epoch_a": ("moment", [0, 8.0]),
        "epoch_b": ("moment", [0, 4.0]),
        "match_a": ("match", ["stem", "output"]),
        "match_b": ("match", ["stem", "output"]),
        "bound": ["lower", "upper"],
    }
    fits = {"perfect_fit_epoch_a": np.nan, "perfect_fit_epoch_b": 4.0}
    return xr.Dataset(found, coords, {"title_a": "digits (clean)", "title_b": "vit", **fits})


@pytest.fixture(scope="module")
def several():
    found = between(("moment", "layer", "run", "run_other"), (2, 3, 3, 3), "")
    coords = {
        "moment": ["perfect fit", "last"],
        "layer": list(COMMON),
        "run": list(RUNS),
        "run_other": list(RUNS),
        "epoch": (("moment", "run"), [[6, 40.0, np.nan], [102.0] * 3]),
        "bound": ["lower", "upper"],
    }
    return xr.Dataset(found, coords)


def test_every_measure_of_every_common_layer_is_a_point_with_its_interval(comparison):
    turned = comparison.transpose("bound", "layer_b", ...)
    for figure in map(similarity_by_layer, (comparison, turned)):
        for moment, ax in enumerate(figure.axes[:2]):
            lines = {line.get_gid(): line for line in ax.lines}
            for measure in ("cka", "region_agreement", "region_kappa"):
                values = comparison[f"{measure}_layers"].isel(moment=moment)
                wanted = [values.sel(layer_a=name, layer_b=name).item() for name in COMMON]
                assert lines[measure].get_ydata().tolist() == wanted
                assert np.round(lines[measure].get_xdata()).tolist() == [0, 1, 2]
            ends = [segment[:, 1] for bars in ax.collections for segment in bars.get_segments()]
            assert len(ends) == 2 * len(COMMON)
            agreement = comparison["region_agreement_layers"].isel(moment=moment)
            middle = agreement.sel(layer_a="stem", layer_b="stem").item()
            np.testing.assert_allclose(ends[0], [middle - 0.05, middle + 0.02])
            names = [label.get_text() for label in ax.get_xticklabels()]
            assert names == list(COMMON), "the layers that both runs have"
        words = " ".join(words_in(figure).split())
        for text in ("A: digits (clean)", "B: epoch 4 (perfect fit)", "Cohen's kappa", "95%"):
            assert text in words
    without = comparison.drop_vars("region_agreement_layers")
    assert_input_error("absent", "region_agreement_layers", similarity_by_layer, without)


def test_matrices_of_regions_have_the_look_of_those_of_cka(comparison):
    for draw, kind in ((layer_comparison, "layers"), (epoch_comparison, "epochs")):
        for measure in ("region_agreement", "region_kappa"):
            figure = draw(comparison, measure)
            *panels, bar = figure.axes
            values = comparison[f"{measure}_{kind}"].values
            for ax, cells in zip(panels, values, strict=False):
                np.testing.assert_array_equal(ax.images[0].get_array(), cells)
                assert ax.images[0].get_clim() == (0.0, 1.0)
            floors = [line for line in bar.lines if line.get_gid() == "floor"]
            marks = [line.get_ydata()[0] for line in floors if len(line.get_ydata()) == 1]
            np.testing.assert_allclose(marks, [CHANCE] if measure == "region_agreement" else [])
            assert "same regions" in bar.get_ylabel() and "CKA" not in words_in(figure)
        message = "Unknown similarity between runs.*Received: 'agreement'"
        assert_input_error("measure", message, draw, comparison, "agreement")
        undefined = comparison.copy(deep=True)
        undefined[f"region_agreement_{kind}"][1] = np.nan
        assert "output without class scores" in words_in(draw(undefined, "region_agreement"))


def test_several_runs_are_rows_and_columns_of_a_panel_for_each_layer(several):
    for measure in ("cka", "region_agreement", "region_kappa"):
        figure = run_comparison(several, measure)
        for ax, layer in zip(figure.axes, COMMON, strict=False):
            expected = several[measure].sel(moment="last", layer=layer)
            np.testing.assert_array_equal(ax.images[0].get_array(), expected)
            assert ax.get_title("left") == layer and len(ax.texts) == 9
        assert "last epochs: 102" in words_in(figure)
    assert "6, 40" in words_in(run_comparison(several, moment="perfect fit"))
    for words, options in (
        ("moment.*'first'", {"moment": "first"}),
        ("between runs.*'kappa'", {"measure": "kappa"}),
    ):
        assert_input_error(words, words, run_comparison, several, **options)


def test_a_legend_beside_panels_leaves_the_names_below_the_panel_above_free(several):
    undefined = several.isel(layer=[0, 1, 2, 0, 1]).assign_coords(layer=list("abcde"))
    undefined["region_agreement"][1, 1, 0, 1] = np.nan
    figure = run_comparison(undefined, "region_agreement")
    figure.draw_without_rendering()
    (legend,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()] or figure.legends
    names = [label for ax in figure.axes[:5] for label in ax.get_xticklabels()]
    box = legend.get_window_extent()
    shown = [name.get_window_extent() for name in names if name.get_visible() and name.get_text()]
    assert shown and not any(box.overlaps(name) for name in shown)

"""Figures of progress and synchronization: their content is read back from them."""

import numpy as np
import pytest
from helpers import DRAWN_EPOCHS as EPOCHS
from helpers import assert_input_error, fake_dynamics, words_in

from repdyn_keras.figures import progress_curves, synchronization_matrix
from repdyn_keras.figures.parts.epochs import log_position

pytestmark = [pytest.mark.without_keras, pytest.mark.usefixtures("coarse_figures")]

LAYERS = ("stem", "block1", "block2", "output")


@pytest.fixture
def dynamics():
    """The stem has no timing; the output is undefined at epochs 0 and 1."""
    made = fake_dynamics(epochs=EPOCHS, layers=LAYERS, regions=False)
    made["progress"].values[0] = np.nan
    made["progress"].values[3, :2] = np.nan
    synchronization = np.full((4, 4), 0.87)
    np.fill_diagonal(synchronization, 1)
    synchronization[0] = synchronization[:, 0] = np.nan
    made["synchronization"].values[:] = synchronization
    made.attrs["synchronization_mean"] = 0.87
    return made


def test_progress_is_drawn_layer_by_layer_with_its_half_and_the_fit(dynamics):
    values, position = dynamics["progress"].values, log_position(np.array(EPOCHS))
    figure = progress_curves(dynamics)
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == list(LAYERS[1:])
    assert "without a timing: stem" in words_in(figure)
    figure = progress_curves(dynamics, LAYERS)
    for curve, layer, ax in zip(values, LAYERS, figure.axes, strict=True):
        title = ax.get_title(loc="left")
        texts = [text.get_text() for text in ax.texts]
        drawn = [line for line in ax.lines if line.get_linewidth() > 2]
        assert title == layer
        if layer == "stem":
            assert "no timing" in texts[0] and not ax.lines
            continue
        defined = np.isfinite(curve)
        half = next(e for e, y in zip(EPOCHS, curve, strict=True) if y >= 0.5)
        assert texts == [f"half by epoch {half}"] and len(drawn) == 1
        np.testing.assert_array_equal(drawn[0].get_xdata()[:-1], position[defined])
        np.testing.assert_array_equal(drawn[0].get_ydata()[:-1], curve[defined])
        (dot,) = [line for line in ax.lines if line.get_marker() == "o"]
        assert dot.get_xdata()[0] == log_position(half) and dot.get_ydata()[0] >= 0.5
        fits = [line for line in ax.lines if set(line.get_xdata()) == {log_position(57)}]
        assert fits, "the perfect fit is marked"
    words = words_in(figure)
    assert "perfect fit: epoch 57" in words and "seed 0" in words


def test_synchronization_is_written_into_the_cells_and_missing_timing_is_explained(dynamics):
    figure = synchronization_matrix(dynamics)
    ax = figure.axes[0]
    values = dynamics["synchronization"].values
    np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), values)
    assert ax.images[0].get_clim() == (0.5, 1), "the same scale for every run"
    written = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts}
    assert written == {(j, i): ".87" if i != j else "1.0" for i in range(1, 4) for j in range(1, 4)}
    assert [label.get_text() for label in ax.get_yticklabels()] == list(LAYERS)
    words = words_in(figure).replace("\n", " ")
    assert "mean over pairs of blocks: 0.87" in words and "one octave apart: 0.85" in words
    assert "first and last states are alike" in words


def test_runs_of_one_record_one_layer_or_without_any_timing_are_drawn():
    for epochs, count in ((EPOCHS[:1], 1), (EPOCHS[:2], 3), (EPOCHS, 9)):
        layers = [f"a_layer_with_a_long_name_{k}" for k in range(count)]
        made = fake_dynamics(epochs=epochs, layers=layers, regions=False)
        del made.attrs["perfect_fit_epoch"]
        titles = [ax.get_title("left") for ax in progress_curves(made).axes]
        assert len([title for title in titles if title]) == count
        made["progress"].values[:] = made["synchronization"].values[:] = np.nan
        assert len(synchronization_matrix(made).axes) == 2
        assert "no timing" in words_in(progress_curves(made))


@pytest.mark.parametrize("count", [1, 4, 9, 11])
def test_the_note_of_a_layer_without_timing_fits_its_panel(count):
    layers = [f"layer{k}" for k in range(count)]
    made = fake_dynamics(epochs=EPOCHS, layers=layers, regions=False)
    made["progress"].values[0] = np.nan
    ax = progress_curves(made, layers).axes[0]
    note, panel = ax.texts[0].get_window_extent(), ax.get_window_extent()
    assert panel.x0 < note.x0 and note.x1 < panel.x1


def test_absent_variables_are_rejected(dynamics):
    bare = dynamics[["cka"]]
    assert_input_error("progress", "progress", progress_curves, bare)
    assert_input_error("synchronization", "synchronization", synchronization_matrix, bare)

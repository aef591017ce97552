"""What a notebook shows: a training, a run and pictures, without a magic line."""

import pytest

pytestmark = [pytest.mark.long, pytest.mark.one_backend, pytest.mark.needs("notebook")]

CELLS = (
    """
import keras, numpy as np
from repdyn_keras import RepresentationRecorder, open_run, plot_curves, plot_similarity
from repdyn_keras.dynamics import analyze
from repdyn_keras.figures import similarity_heatmaps
rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 6)).astype("float32"), rng.integers(0, 4, 64)
layers = [keras.layers.Dense(8, "relu", name="first"), keras.layers.Dense(4)]
model = keras.Sequential([keras.Input((6,)), *layers])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
recorder = RepresentationRecorder("run", x, y, planes=0, batch_size=16, log=True, layers=["first"])
""",
    "history = model.fit(x, y, epochs=3, verbose=1, callbacks=[recorder])",
    "open_run('run')",
    "dynamics = open_run('run').dynamics\nax = plot_similarity(dynamics, 'first')",
    "similarity_heatmaps(dynamics, layers=['first', 'output'])",
    "plot_curves(dynamics);",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell, as a kernel sends them."""
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        # Other tests draw without a display; the kernel is to choose by itself.
        patch.delenv("MPLBACKEND")
        client.execute()
    return [cell.outputs for cell in notebook.cells]


def shown(outputs, kind):
    """What the outputs of a cell hold in a format."""
    return [each["data"][kind] for each in outputs if kind in each.get("data", {})]


def test_one_line_on_the_last_record_is_updated_beside_the_bar_of_keras(outputs):
    (line,) = [text for text in shown(outputs[1], "text/plain") if "recorded" in text]
    assert line.startswith("repdyn: epoch 3 recorded · train 0.")
    assert "changed most: " in line
    streamed = "".join(each["text"] for each in outputs[1] if each["output_type"] == "stream")
    assert "Epoch 3/3" in streamed and "recorded ·" not in streamed


def test_a_run_shows_what_it_was_and_a_picture(outputs):
    (html,) = shown(outputs[2], "text/html")
    assert "4 recorded epochs from 0 to 3, 2 layers" in html
    assert "<li>The network did not reach its perfect fit" in html
    assert html.count("<img alt=") == 1 and 'src="data:image/png;base64,iVBOR' in html


@pytest.mark.parametrize("cell", [3, 4, 5])
def test_pictures_appear_without_a_magic_line(outputs, cell):
    assert len(shown(outputs[cell], "image/png")) == 1

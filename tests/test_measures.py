"""The registry of measures: custom measures, and invalid ones."""

import numpy as np
import pytest
from helpers import (
    WRITTEN_EPOCHS,
    WRITTEN_LAYERS,
    assert_input_error,
    small_model,
    write_run,
)

from repdyn_keras import RepresentationRecorder, measures
from repdyn_keras.dynamics import compute_dynamics
from repdyn_keras.measures import Measure, labelled, register, registered
from repdyn_keras.measures.synchronization import synchronization_mean
from repdyn_keras.recording.network.recorded_model import RecordedModel

pytestmark = pytest.mark.one_backend

DIMS = ("layer", "epoch")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A copy of the registry, to which a test may add measures."""
    held = {measure.name: measure for measure in registered()}
    monkeypatch.setattr(measures, "_registry", lambda: held)


def extent(state):
    """The root mean square of each layer's pooled features."""
    return {"extent": [np.sqrt(np.mean(np.square(x))) for x in state.fitted_features]}


def growth(series):
    """The extent at every epoch, and its largest growth."""
    values = series.recorded("extent")["extent"].T
    return {"extent": values, "largest_growth": float(np.diff(values).max())}


SPREAD = Measure(
    name="extent",
    title="extent of the features",
    recorded={"extent": ("layer",)},
    computed={"extent": DIMS},
    meanings={"extent": ("root mean square of the features", "1")},
    attributes=("largest_growth",),
    on_state=extent,
    over_epochs=growth,
)


def recorded(folder, epochs=(0, 1)):
    """Records a model with three layers of zeros and a growing bias at these epochs."""
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    recorder = RepresentationRecorder(folder, x, np.arange(16) % 3, planes=0, batch_size=8)
    model = small_model()
    for epoch in epochs:
        for layer in model.layers:
            layer.bias.assign(np.full(layer.bias.shape, float(epoch)))
        recorder.record(model, epoch)
    return recorder.folder


def test_a_registered_measure_is_recorded_and_computed(tmp_path):
    register(SPREAD)
    dynamics = compute_dynamics(recorded(tmp_path, (0, 1, 3)))
    assert dynamics["extent"].dims == DIMS
    described = {"long_name": "root mean square of the features", "units": "1"}
    assert dynamics["extent"].attrs == described
    np.testing.assert_allclose(dynamics["extent"].values, [[0, 1, 3]] * 3)
    assert dynamics.attrs["largest_growth"] == 2.0
    assert "extent" in {measure.name for measure in registered()}


def test_names_that_clash_are_rejected_when_a_measure_is_registered():
    register(SPREAD)
    taken = {
        "recorded": {"extent": ()},
        "computed": {"cka": ()},
        "attributes": ("memorized_share",),
    }
    owners = {"recorded": "extent", "computed": "cka", "attributes": "accuracies"}
    for kind, table in taken.items():
        other = Measure(name="other", title="", **{kind: table})
        words = f"'other'.*Received: '{[*table][0]}', which the measure '{owners[kind]}'"
        assert_input_error(kind, words, register, other)
    again = Measure(name="extent", title="")
    assert_input_error("name", "Received: 'extent', which is already registered", register, again)
    for meaning in ({}, {"size": ("size",)}, {"size": ("size", "")}, {"sise": ("size", "1")}):
        other = Measure(name="other", title="", computed={"size": ()}, meanings=meaning)
        words = r"meanings=\(long name, unit\).*'other'.*Received: .* for 'size'"
        assert_input_error(meaning, words, register, other)
    assert [measure.name for measure in registered()].count("extent") == 1
    assert "other" not in {measure.name for measure in registered()}


def test_arrays_that_do_not_fit_their_dims_are_rejected_by_name():
    sizes = {"layer": 3, "epoch": 2}
    fitting = labelled(SPREAD, {"extent": np.zeros((3, 2))}, SPREAD.computed, sizes)
    assert fitting["extent"][0] == DIMS
    for case, array in {
        "size": np.zeros((3, 4)),
        "transposed": np.zeros((2, 3)),
        "too few dims": np.zeros(3),
        "a number": 1.0,
    }.items():
        words = r"'extent'.*'extent'.*layer=3, epoch=2.*Received: an array of shape"
        given = {"extent": array}
        assert_input_error(case, words, labelled, SPREAD, given, SPREAD.computed, sizes)
    words = "among: extent. Received: 'spraed'"
    assert_input_error(
        "name", words, labelled, SPREAD, {"spraed": np.zeros((3, 2))}, SPREAD.computed, sizes
    )
    free = {"a": np.zeros((3, 7)), "b": np.zeros(8)}
    table = {"a": ("layer", "new"), "b": ("new",)}
    assert_input_error(
        "a new dim", r"'b'.*new=7.*shape \(8,\)", labelled, SPREAD, free, table, sizes
    )


def test_undeclared_or_misshapen_results_of_a_measure_are_rejected(tmp_path):
    wrong = Measure(
        name="wrong", title="", recorded={"wrong": ("layer",)}, on_state=lambda s: {"wrong": [0.0]}
    )
    register(wrong)
    assert_input_error("recorded", r"'wrong'.*layer=3.*shape \(1,\)", recorded, tmp_path / "a")
    assert not list((tmp_path / "a" / "records").glob("epoch*")), "nothing is written"
    measures._registry().pop("wrong")
    folder = write_run(tmp_path / "b", WRITTEN_LAYERS, WRITTEN_EPOCHS[:3])
    register(
        Measure(
            name="late",
            title="",
            computed={"late": ("epoch",)},
            meanings={"late": ("a single number", "1")},
            over_epochs=lambda s: {"late": 1},
        )
    )
    assert_input_error("computed", "'late'.*epoch=3", compute_dynamics, folder)


def test_a_state_computes_only_what_measures_read_and_only_once(tmp_path, monkeypatch):
    calls = []
    features = RecordedModel.features

    def counted(self, values, x, places=None):
        calls.append(len(x))
        return features(self, values, x, places)

    monkeypatch.setattr(RecordedModel, "features", counted)
    shared = []
    reads = [lambda state: {} if state.cached(shared.append) is None else {}] * 2
    for place, read in enumerate(reads):
        register(Measure(name=f"reads {place}", title="", on_state=read))
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    labels = np.arange(16) % 3
    recorder = RepresentationRecorder(
        tmp_path, x, labels, planes=0, batch_size=8, train=(x[:12] + 1, labels[:12])
    )
    recorder.record(small_model(), 0)
    assert calls == [12], "one pass for probes, accuracies and other measures"
    assert len(shared) == 1
    without = RepresentationRecorder(tmp_path / "without", x, planes=0, batch_size=8)
    calls.clear()
    without.record(small_model(), 0)
    assert calls == []


def test_blocks_are_recorded_as_a_flag_of_each_layer(tmp_path):
    folder = recorded(tmp_path)
    assert folder.constants()["is_block"].values.tolist() == [1, 1, 0], "all hidden layers"
    overlap = np.arange(16.0).reshape(4, 4)
    assert synchronization_mean(overlap, np.array([True, False, True, False])) == overlap[0, 2]
    assert np.isnan(synchronization_mean(overlap, np.array([True, False, False, False])))


def test_folders_of_earlier_versions_have_the_blocks_of_their_network(tmp_path):
    folder = write_run(tmp_path / "run", WRITTEN_LAYERS, WRITTEN_EPOCHS[:4])
    constants = folder.constants()
    means = {}
    for model in ("resnet", "vit", None):
        if model is not None:
            folder.config_file.write_text(f'model = "{model}"\n', encoding="utf-8")
        else:
            folder.config_file.unlink()
        means[model] = compute_dynamics(folder).attrs["synchronization_mean"]
    assert np.isfinite(means["resnet"]) and np.isnan(means["vit"]), "no layer is one of a ViT"
    flags = [name.startswith("stage") for name in WRITTEN_LAYERS]
    folder.write_constants(constants.assign(is_block=("layer", np.array(flags, np.uint8))))
    assert compute_dynamics(folder).attrs["synchronization_mean"] == means["resnet"]
    assert means[None] != means["resnet"], "without a network every hidden layer is a block"


def test_every_measure_of_the_package_has_a_module_and_a_title():
    assert len(registered()) == len(measures.MODULES)
    for measure in registered():
        assert measure.title and (measure.on_state or measure.over_epochs), measure.name

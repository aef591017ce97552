"""Dynamics of simulated records: every result is compared with its definition."""

import os

import numpy as np
import pytest
import xarray as xr
from helpers import (
    ACCURACY,
    BATCH,
    CLASSES,
    PLANES,
    SUBSETS,
    N,
    accuracies,
    assert_input_error,
    features,
    region_maps,
    write_run,
)
from helpers import WRITTEN_EPOCHS as EPOCHS
from helpers import WRITTEN_LAYERS as LAYERS
from scipy import ndimage
from sklearn.metrics import cohen_kappa_score

from repdyn_keras.dynamics import analyze, compute_dynamics, open_run
from repdyn_keras.dynamics.analysis import RecordSeries
from repdyn_keras.measures import cka as cka_module
from repdyn_keras.measures import cka_epochs
from repdyn_keras.measures.accuracies import memorized_share, perfect_fit_epoch
from repdyn_keras.measures.cka import cka_matrix
from repdyn_keras.measures.phases import find_phases, phases_by_layer
from repdyn_keras.measures.progress import area, noise_floor, progress
from repdyn_keras.measures.regions import boundary_lengths
from repdyn_keras.measures.synchronization import (
    PAIRWISE,
    concordance,
    lag,
    spread,
    synchronization_mean,
    timing_overlap,
)
from repdyn_keras.measures.trajectory import octaves
from repdyn_keras.records import RunFolder, write_netcdf

# Undefined results are NaN, without warnings of NumPy or xarray.
pytestmark = [pytest.mark.without_keras, pytest.mark.filterwarnings("error")]

BAD = (
    (0, "stage1_block1", "dead"),
    (3, "stage2_block1", "not finite"),
    (32, "stage2_block1", "not finite"),
    *((epoch, "stem", "dead") for epoch in EPOCHS),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def dynamics(folder):
    return compute_dynamics(folder)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return compute_dynamics(write_run(tmp_path_factory.mktemp("runs") / "damaged", bad=BAD))


def defined(layer, bad):
    """Indices of the epochs at which a layer is finite and not dead."""
    gone = {epoch for epoch, name, _ in bad if name == layer}
    return [e for e, epoch in enumerate(EPOCHS) if epoch not in gone]


def test_given_labels_of_corners_belong_to_their_images_and_may_be_unknown(tmp_path):
    folder = write_run(tmp_path / "run", LAYERS[-2:], EPOCHS[:2])
    constants = folder.constants()
    # Ids in another order, and given labels that differ from the true ones.
    ids = np.random.default_rng(0).permutation(1000)[:N]
    given = (constants["label_true"].values + np.arange(N) % 2) % CLASSES
    corners = np.random.default_rng(1).integers(0, N, size=(PLANES, 3))
    constants["sample"] = ("image", ids)
    constants["label_given"] = ("image", given)
    constants["plane_sample"] = (("plane", "corner"), ids[corners])
    folder.write_constants(constants)
    found = compute_dynamics(folder)["plane_label_given"]
    assert found.dims == ("plane", "corner")
    np.testing.assert_array_equal(found, given[corners])
    constants["label_given"] = ("image", np.full(N, -1))
    folder.write_constants(constants)
    assert "plane_label_given" not in compute_dynamics(folder)


# --- variables --------------------------------------------------------------------------------

DOCUMENTED = {
    "cka region_agreement region_kappa": "layer epoch epoch_other",
    "region_agreement_interval region_kappa_interval": "layer epoch epoch_other bound",
    "cka_null cka_null_class": "layer epoch epoch_other",
    "cka_interval": "layer epoch epoch_other bound",
    "influential_share": "layer epoch",
    "influential_image": "layer epoch rank",
    "regions": "layer epoch plane row column",
    "fragments boundary_length": "layer epoch plane",
    "class_share": "layer epoch class",
    "plane_image": "plane corner height width channel",
    "plane_position": "plane corner axis",
    "plane_sample plane_label plane_label_given": "plane corner",
    "probe_accuracy": "layer epoch subset",
    "probe_objective probe_gradient_norm": "layer epoch",
    "phase border_kind border_z border_p contrast restlessness noise_share": "layer epoch",
    "progress": "layer epoch",
    "phase_regions border_kind_regions border_z_regions border_p_regions": "layer epoch",
    "contrast_regions restlessness_regions noise_share_regions": "layer epoch",
    "accuracy_inference accuracy_training": "epoch",
    "phases_p distinguishability contrast_seen noise_dimension settling_epoch": "layer",
    "spread_floor": "layer",
    "phases_p_regions distinguishability_regions contrast_seen_regions": "layer",
    "noise_dimension_regions": "layer",
    "synchronization spread lag timing_overlap concordance": "layer layer_other",
}


def test_the_dataset_has_the_documented_variables(folder, dynamics):
    for names, dims in DOCUMENTED.items():
        for name in names.split():
            assert dynamics[name].dims == tuple(dims.split()), name
    for name in ("layer", "layer_other"):
        assert tuple(dynamics[name].values.tolist()) == LAYERS
    for name in ("epoch", "epoch_other"):
        assert tuple(dynamics[name].values.tolist()) == EPOCHS
    assert tuple(dynamics["subset"].values.tolist()) == SUBSETS
    assert dynamics["bound"].values.tolist() == ["lower", "upper"]
    constants = folder.constants()
    for name in ("plane_sample", "plane_position", "plane_image", "plane_label"):
        np.testing.assert_array_equal(dynamics[name].values, constants[name].values)
    for name in ("batch", "n_classes", "margin", "resolution", "pooling", "images_hash"):
        assert dynamics.attrs[name] == constants.attrs[name]
    assert dynamics.attrs["title"] == folder.path.name
    assert dynamics.attrs["schema_version"] == constants.attrs["schema_version"]


def test_the_title_and_class_names_are_those_of_the_run(tmp_path):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:2], planes=False)
    words = 'dataset = "digits"\nmodel = "resnet"\noptimizer = "sgd"\nseed = 3\n'
    folder.config_file.write_text(words, encoding="utf-8")
    folder.write_constants(folder.constants().assign(class_name=("class", list("abcd"))))
    found = compute_dynamics(folder)
    assert found.attrs["title"] == "digits, resnet, sgd, seed 3"
    assert list(found.attrs["class_names"]) == list("abcd")


# --- similarities -----------------------------------------------------------------------------


def test_cka_between_epochs_is_minibatch_cka_where_a_layer_is_defined(dynamics, damaged):
    x = features().astype(np.float64)
    for found, bad in ((dynamics, ()), (damaged, BAD)):
        values = found["cka"].values
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, values.swapaxes(1, 2))
        for i, layer in enumerate(LAYERS):
            alive = np.isin(np.arange(len(EPOCHS)), defined(layer, bad))
            expected = cka_matrix(list(x[:, i]), batch_size=BATCH)
            expected[~alive] = expected[:, ~alive] = np.nan
            np.testing.assert_allclose(values[i], expected, atol=1e-5, err_msg=layer)


def test_similarities_computed_in_parts_are_the_same(folder, dynamics, monkeypatch):
    """A layer's 11 fingerprints of length 240 have 10560 bytes, and those of a batch 5280."""
    read, held = RunFolder.fingerprints, []

    def spied(self, *arguments):
        found = read(self, *arguments)
        held.append(found.nbytes)
        return found

    monkeypatch.setattr(RunFolder, "fingerprints", spied)
    for module in (cka_module, cka_epochs):
        monkeypatch.setattr(module, "SUM_CHUNK", 64)
    for memory, reads in ((1, 36), (10560, 6), (2 * 10560 + 5, 3), (4 * 10560, 2), (10**6, 1)):
        held.clear()
        monkeypatch.setattr(cka_epochs, "MEMORY_BYTES", memory)
        found = cka_epochs.over_epochs(RecordSeries(folder))
        for name in cka_epochs.MEASURE.computed:
            expected = dynamics[name].values
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5, err_msg=name)
        assert len(held) == reads
        assert max(held) <= max(memory, 5280)


def test_regions_and_their_measures_equal_those_of_the_records(dynamics, damaged):
    maps = region_maps(len(LAYERS)).swapaxes(0, 1)
    assert dynamics["regions"].dtype == np.uint8
    np.testing.assert_array_equal(dynamics["regions"].values, maps)
    for i, a, b in ((0, 0, 1), (3, 2, 9), (5, 4, 4), (5, 10, 0)):
        one, other = maps[i, a].ravel(), maps[i, b].ravel()
        agreement = dynamics["region_agreement"].values[i, a, b]
        assert agreement == pytest.approx(np.mean(one == other), abs=1e-12)
        kappa = dynamics["region_kappa"].values[i, a, b]
        assert kappa == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
        for name, value in (("agreement", agreement), ("kappa", kappa)):
            low, high = dynamics[f"region_{name}_interval"].values[i, a, b]
            assert low < value < high or a == b
        shares = np.bincount(one, minlength=CLASSES) / len(one)
        np.testing.assert_allclose(dynamics["class_share"].values[i, a], shares, atol=1e-12)
        for plane, drawn in enumerate(maps[i, a]):
            parts = sum(ndimage.label(drawn == c, np.ones((3, 3)))[1] for c in range(CLASSES))
            assert dynamics["fragments"].values[i, a, plane] == parts
    np.testing.assert_array_equal(dynamics["boundary_length"].values, boundary_lengths(maps))
    # Maps of layers that are not finite agree with none and have no fragments.
    at = {"layer": "stage2_block1", "epoch": 3}
    assert (damaged["regions"].sel(at) == 255).all()
    assert (damaged["fragments"].sel(at) == 0).all()
    for name in ("region_agreement", "region_kappa", "probe_accuracy"):
        assert np.isnan(damaged[name].sel(at)).all()
    assert np.isfinite(damaged["region_agreement"].sel(layer="stage1_block2")).all()


def test_accuracies_equal_those_of_the_records(dynamics):
    expected = accuracies(len(LAYERS)).swapaxes(0, 1)
    np.testing.assert_array_equal(dynamics["probe_accuracy"].values, expected)
    np.testing.assert_array_equal(dynamics["accuracy_inference"].values, ACCURACY)
    assert dynamics.attrs["perfect_fit_epoch"] == 16
    given = SUBSETS.index("mislabeled_given")
    assert dynamics.attrs["memorized_share"] == expected[-1, -1, given]


# --- milestones -------------------------------------------------------------------------------


def test_perfect_fit_is_the_first_of_three_records_in_a_row():
    for accuracy, expected in (
        ([0.1, 0.5, 0.9, 0.99, 0.994], None),
        ([0.1, 0.995, 0.996, 0.997, 1.0], 1),
        ([0.1, 1.0, 0.9, 1.0, 1.0, 1.0], 3),
        ([0.1, 1.0, 1.0, 0.9, 1.0, 1.0, 1.0, 0.2], 4),
        ([1.0, 1.0, 1.0, 0.1], 0),
        ([1.0, 1.0, 0.1], None),
        ([0.1, 0.2, 1.0], 2),  # fewer than three at the end of a run
        ([0.1, 1.0, 1.0], 1),
        ([0.1, 1.0, 0.99, 1.0], 3),
        ([0.1, 1.0, 1.0, 1.0, 0.3, 0.2], 1),
        ([0.1, 1.0, np.nan, 1.0, 0.9], None),
        ([np.nan, np.nan], None),
        ([0.99499999, 0.99499999, 0.99499999], None),
        ([1.0], 0),
        ([0.2], None),
    ):
        epochs = [0, 1, 2, 4, 8, 16, 32, 64][: len(accuracy)]
        found = perfect_fit_epoch(epochs, np.array(accuracy))
        assert isinstance(found, float)
        np.testing.assert_equal(found, np.nan if expected is None else epochs[expected])
    assert np.isnan(perfect_fit_epoch([], np.zeros(0)))


def test_memorized_share_is_unknown_without_mislabeled_images(dynamics):
    without = dynamics["probe_accuracy"].copy(deep=True)
    without.loc[{"subset": "mislabeled_given"}] = np.nan
    assert np.isnan(memorized_share(without.values))


# --- timing -----------------------------------------------------------------------------------


def test_timing_uses_the_epochs_at_which_both_layers_are_defined(dynamics, damaged):
    times = np.array(EPOCHS)
    for found, bad in ((dynamics, ()), (damaged, BAD)):
        grams = found["cka"].values
        for i, layer in enumerate(LAYERS):
            alive = defined(layer, bad)
            settled, made = np.nan, np.full(len(EPOCHS), np.nan)
            if alive:
                above = grams[i, alive, alive[-1]] > 0.95
                settled = EPOCHS[alive[next(k for k in range(len(alive)) if above[k:].all())]]
                made[alive] = progress(grams[i][np.ix_(alive, alive)], octaves(times[alive]))
            np.testing.assert_equal(found["settling_epoch"].values[i], settled)
            np.testing.assert_array_equal(found["progress"].values[i], made)
            for j, other in enumerate(LAYERS):
                both = [e for e in alive if e in defined(other, bad)]
                expected = [np.nan] * 5
                if both:
                    a, b = (grams[k][np.ix_(both, both)] for k in (i, j))
                    u = octaves(times[both])
                    curves = progress(a, u), progress(b, u)
                    apart = spread(area(*curves, u), noise_floor(a, u), noise_floor(b, u))
                    together = 1 - apart / (u[-1] - u[0])
                    expected = [together, apart, lag(*curves, u)]
                    expected += [timing_overlap(a, b), concordance(a, b)]
                values = [found[name].values[i, j] for name in PAIRWISE]
                np.testing.assert_allclose(values, expected, atol=1e-9, err_msg=f"{layer} {other}")
    assert dynamics["lag"].values[1, 3] > 0.5  # stage2_block1 turns 1.2 octaves after stage1_block1
    assert dynamics["spread"].values[1, 3] > 0.5


def test_mean_synchronization_uses_only_pairs_of_blocks(dynamics, damaged):
    for names, blocks in (
        (["stem", "stage1_block1", "stage1_block2", "pooled", "output"], [1, 2]),
        (["patch_embedding", "block01", "block02", "block03", "class_token", "output"], [1, 2, 3]),
        (["stem_block", "output_block", "conv2d", "output"], [0, 1, 2]),
        (["stem", "block01", "output"], [1]),
        (LAYERS, [1, 2, 3]),
    ):
        values = np.random.default_rng(0).uniform(size=(len(names), len(names)))
        values[blocks[0], blocks[-1]] = np.nan  # two layers that never changed together
        found = synchronization_mean(values, np.isin(np.arange(len(names)), blocks))
        pairs = [values[i, j] for i in blocks for j in blocks if i < j]
        pairs = [pair for pair in pairs if np.isfinite(pair)]
        np.testing.assert_allclose(found, np.mean(pairs) if pairs else np.nan, atol=1e-12)
    for held in (dynamics, damaged):
        assert held.attrs["synchronization_mean"] == synchronization_mean(
            held["synchronization"].values, np.arange(len(LAYERS)) < len(LAYERS) - 1
        )
        assert np.isfinite(held.attrs["synchronization_mean"])


# --- phases -----------------------------------------------------------------------------------


def test_phases_use_the_epochs_at_which_a_layer_is_defined(dynamics, damaged):
    for found, bad in ((dynamics, ()), (damaged, BAD)):
        for of, suffix in (("cka", ""), ("region_agreement", "_regions")):
            for i, layer in enumerate(LAYERS):
                # A dead layer has regions, a layer that is not finite has none.
                gone = [b for b in bad if not suffix or b[2] == "not finite"]
                alive = defined(layer, gone)
                labels, numbers, noise = np.zeros(11, int), [np.nan] * 4, np.full(11, np.nan)
                if alive:
                    gram = found[of].values[i][np.ix_(alive, alive)]
                    wanted = find_phases(gram, np.array(EPOCHS)[alive])
                    labels[alive], noise[alive] = wanted.labels, wanted.noise_share
                    numbers = [wanted.p, wanted.distinguishability, wanted.contrast_seen]
                    numbers += [wanted.noise_dimension]
                np.testing.assert_array_equal(found[f"phase{suffix}"].values[i], labels)
                np.testing.assert_array_equal(found[f"noise_share{suffix}"].values[i], noise)
                by_layer = "phases_p distinguishability contrast_seen noise_dimension".split()
                held = [found[name + suffix].values[i] for name in by_layer]
                np.testing.assert_allclose(held, numbers, atol=1e-12, err_msg=layer)


def test_a_layer_with_two_states_has_two_phases_and_a_constant_one_has_one():
    x = np.repeat(np.eye(2, 100), 8, axis=0)
    x = x + 0.01 * np.random.default_rng(4).normal(size=x.shape)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = phases_by_layer(np.stack([x @ x.T, np.ones((16, 16))]), list(range(16)))
    np.testing.assert_array_equal(found["phase"], [[1] * 8 + [2] * 8, [1] * 16])
    at_border = np.zeros((2, 16), bool)
    at_border[0, 8] = True
    np.testing.assert_array_equal(found["border_kind"], at_border)
    for name in ("border_z", "border_p", "contrast", "restlessness"):
        np.testing.assert_array_equal(np.isfinite(found[name]), at_border)
    assert found["border_p"][0, 8] == found["phases_p"][0] <= 0.05
    assert found["phases_p"][1] == 1


def test_few_records_are_one_phase_and_nothing_fails(tmp_path):
    for count in (1, 2, 3, 7):
        folder = write_run(tmp_path / str(count), LAYERS[-3:], EPOCHS[:count])
        found = compute_dynamics(folder)
        for name in ("phase", "phase_regions"):
            assert (found[name] == 1).all()
        for name in ("phases_p", "distinguishability", "contrast_seen", "noise_dimension"):
            assert np.isnan(found[name]).all()
        assert np.isfinite(found["cka"]).all()
        assert np.isfinite(found["synchronization"]).any() == (count >= 3)
        assert np.isfinite(found["settling_epoch"]).all()


def test_without_labels_or_planes_dependent_variables_are_left_out(tmp_path):
    for labels in (False, True):
        folder = write_run(
            tmp_path / str(labels), LAYERS[-2:], EPOCHS[:3], labels=labels, planes=False
        )
        found = compute_dynamics(folder)
        for name in ("cka", "phase", "synchronization", "concordance"):
            assert name in found
        for name in ("regions", "region_agreement", "phase_regions", "plane_sample"):
            assert name not in found
        assert ("probe_accuracy" in found) == ("subset" in found.coords) == labels
        assert np.isnan(found.attrs["perfect_fit_epoch"])
        assert np.isnan(found.attrs["memorized_share"]) != labels


# --- opening a run ----------------------------------------------------------------------------


def test_analyzing_writes_what_it_returns_and_the_same_again(tmp_path):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:8], bad=BAD[:2])
    steps = []
    found = analyze(folder, steps.append)
    first = ["similarities", "probes", "accuracies", "histories of images"]
    assert steps == [*first, "decision regions", "phases", "synchronization"]
    read = open_run(tmp_path / "run").dynamics
    assert set(read.variables) == set(found.variables)
    for name in found.variables:
        assert read[name].dtype.kind == found[name].dtype.kind
        np.testing.assert_array_equal(read[name].values, found[name].values)
    assert read["regions"].dtype == np.uint8
    for name in ("perfect_fit_epoch", "memorized_share", "synchronization_mean", "title"):
        np.testing.assert_equal(read.attrs[name], found.attrs[name])
    assert compute_dynamics(folder).identical(found)


def test_dynamics_are_read_if_current_and_otherwise_computed_in_memory(tmp_path):
    epochs = EPOCHS[:3]
    folder = write_run(tmp_path / "run", LAYERS[-2:], epochs)
    run = open_run(str(tmp_path / "run"))
    assert run.dynamics is run.dynamics
    assert tuple(run.dynamics["epoch"].values) == tuple(run.epochs) == epochs
    assert not folder.dynamics_file.exists()
    assert run.config == {} and run.history == []
    folder.history_file.write_text("epoch,loss,val_loss\n0,0.5,\n", encoding="utf-8")
    np.testing.assert_equal(run.history, [{"epoch": 0.0, "loss": 0.5, "val_loss": np.nan}])
    assert str(folder.path) in repr(run)
    # The epochs and the time of the file, and whether it is read.
    for written, seconds, current in (
        (epochs, 10**10, True),
        (epochs, 1, False),
        (EPOCHS[:4], 10**10, False),
    ):
        marked = xr.Dataset(coords={"epoch": list(written)}, attrs={"mark": 1})
        write_netcdf(marked, folder.dynamics_file)
        os.utime(folder.dynamics_file, (seconds, seconds))
        found = open_run(tmp_path / "run").dynamics
        assert ("mark" in found.attrs) == ("cka" not in found) == current


def test_missing_folders_and_folders_without_records_are_rejected(tmp_path):
    assert_input_error("no folder", "No folder", open_run, tmp_path / "none")
    assert_input_error("no records", "no records", open_run, tmp_path)
    assert_input_error("no records", "no records", compute_dynamics, RunFolder(tmp_path))


def test_damaged_records_and_records_of_other_recordings_are_rejected_by_name(tmp_path):
    layers, epochs = LAYERS[-2:], EPOCHS[:4]
    folder = write_run(tmp_path / "run", layers, epochs)
    sound = folder.record(2)
    for name, record, message in (
        ("a layer less", sound.isel(layer=slice(1, None)), "holds output. "),
        ("another layer", sound.assign_coords(layer=["conv", "output"]), "holds conv, output. "),
        ("other images", sound.assign_attrs(images_hash="x"), "has other images"),
    ):
        folder.write_record(2, record)
        assert_input_error(name, rf"epoch-000002\.nc.*{message}", compute_dynamics, folder)
    folder.record_file(2).write_bytes(folder.record_file(2).read_bytes()[:2000])
    assert_input_error("broken", r"epoch-000002\.nc", compute_dynamics, folder)
    folder.record_file(2).unlink()
    assert compute_dynamics(folder)["epoch"].values.tolist() == [0, 1, 3]


def test_variables_of_an_older_file_get_their_long_names_and_units(tmp_path):
    folder = write_run(tmp_path / "run")
    written = analyze(folder)
    bare = written.copy(deep=True)
    for name in bare.variables:
        bare[name].attrs = {}
    bare["cka"].attrs = {"units": "its own"}
    folder.write_dynamics(bare)
    found = open_run(folder.path).dynamics
    assert found["cka"].attrs == {**written["cka"].attrs, "units": "its own"}
    others = found.drop_vars("cka").variables
    assert all(each.attrs == written[name].attrs for name, each in others.items())
    assert found["layer"].attrs and not bare["layer"].attrs

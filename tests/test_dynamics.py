"""Dynamics of a folder whose records these tests write: every result against its definition."""

import os
import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import ACCURACY, BATCH, CLASSES, SUBSETS, accuracies, features, region_maps, write_run
from helpers import WRITTEN_EPOCHS as EPOCHS
from helpers import WRITTEN_LAYERS as LAYERS
from scipy import ndimage
from sklearn.metrics import cohen_kappa_score

from repdyn_keras.dynamics import analyze, compute_dynamics, open_run
from repdyn_keras.dynamics import similarities as similarities_module
from repdyn_keras.dynamics.milestones import memorized_share, perfect_fit_epoch
from repdyn_keras.dynamics.paths import path_variables
from repdyn_keras.dynamics.timing import synchronization_mean, timing_variables
from repdyn_keras.errors import InputError
from repdyn_keras.measures import surrogates as surrogates_module
from repdyn_keras.measures.cka import cka
from repdyn_keras.records import write_netcdf

pytestmark = pytest.mark.without_keras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def dynamics(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compute_dynamics(folder)


# --- the contract -----------------------------------------------------------------------------

CONTRACT = {
    "cka": ("layer", "epoch", "epoch_other"),
    "region_agreement": ("layer", "epoch", "epoch_other"),
    "region_kappa": ("layer", "epoch", "epoch_other"),
    "regions": ("layer", "epoch", "plane", "row", "column"),
    "fragments": ("layer", "epoch", "plane"),
    "plane_image": ("plane", "corner", "height", "width", "channel"),
    "plane_position": ("plane", "corner", "axis"),
    "plane_sample": ("plane", "corner"),
    "probe_accuracy": ("layer", "epoch", "subset"),
    "phase": ("layer", "epoch"),
    "phase_regions": ("layer", "epoch"),
    "phases_p": ("layer",),
    "distinguishability": ("layer",),
    "distinguishability_raw": ("layer",),
    "jitter_share": ("layer",),
    "synchronization": ("layer", "layer_other"),
    "concordance": ("layer", "layer_other"),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_variable_of_the_contract_is_there_with_its_dimensions(dynamics, name):
    assert dynamics[name].dims == CONTRACT[name]


def test_coordinates_name_layers_epochs_and_subsets(dynamics):
    assert tuple(dynamics["layer"].values.tolist()) == LAYERS
    assert tuple(dynamics["layer_other"].values.tolist()) == LAYERS
    assert dynamics["layer"].values[-1] == "output"
    assert tuple(dynamics["epoch"].values.tolist()) == EPOCHS
    assert tuple(dynamics["epoch_other"].values.tolist()) == EPOCHS
    assert tuple(dynamics["subset"].values.tolist()) == SUBSETS


@pytest.mark.parametrize(
    "name", ["perfect_fit_epoch", "memorized_share", "synchronization_mean", "schema_version"]
)
def test_the_attributes_of_the_contract_are_there(dynamics, name):
    assert name in dynamics.attrs


# --- similarities -----------------------------------------------------------------------------


def test_cka_between_epochs_is_minibatch_cka_of_the_features(dynamics):
    x = features().astype(np.float64)
    for i, layer in enumerate(LAYERS):
        for a, b in ((0, 1), (0, len(EPOCHS) - 1), (5, 7)):
            expected = cka(x[a, i], x[b, i], batch_size=BATCH)
            found = dynamics["cka"].sel(layer=layer, epoch=EPOCHS[a], epoch_other=EPOCHS[b])
            assert float(found) == pytest.approx(expected, abs=1e-5)


def test_cka_is_symmetric_one_with_itself_and_positive_semidefinite(dynamics):
    values = dynamics["cka"].values
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, values.swapaxes(1, 2))
    np.testing.assert_allclose(np.diagonal(values, axis1=1, axis2=2), 1, atol=1e-12)
    assert np.linalg.eigvalsh(values).min() > -1e-6


@pytest.mark.parametrize("memory", [1, 30_000])
@pytest.mark.parametrize("chunk", [7, 64, 16_384])
def test_little_memory_gives_the_same_similarities(folder, dynamics, monkeypatch, memory, chunk):
    """Layer after layer, and a part of the fingerprints after the other."""
    monkeypatch.setattr(similarities_module, "MEMORY_BYTES", memory)
    monkeypatch.setattr(similarities_module, "SUM_CHUNK", chunk)
    found = similarities_module.cka_by_layer(folder, list(EPOCHS), len(LAYERS))
    np.testing.assert_allclose(found, dynamics["cka"].values, rtol=0, atol=1e-6)


def test_surrogates_held_a_few_at_a_time_are_the_same(monkeypatch):
    gram = np.exp(-np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0))) / 4)
    found = []
    for at_once in (1, 1000, 10**6):
        monkeypatch.setattr(surrogates_module, "NUMBERS_AT_ONCE", at_once)
        drawn = surrogates_module.even_pace_surrogates(
            gram, np.arange(12.0), 9, np.random.default_rng(0)
        )
        found.append(np.concatenate(list(drawn)))
    assert found[0].shape == (9, 12, 12)
    np.testing.assert_allclose(found[0], found[2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], found[2], rtol=0, atol=1e-12)


def test_regions_are_those_of_the_records_as_bytes(dynamics):
    expected = region_maps(len(LAYERS)).swapaxes(0, 1)
    assert dynamics["regions"].dtype == np.uint8
    np.testing.assert_array_equal(dynamics["regions"].values, expected)


def test_agreement_and_kappa_are_pooled_over_all_points_of_all_planes(dynamics):
    maps = region_maps(len(LAYERS))
    for i, layer in enumerate(LAYERS):
        for a, b in ((0, 1), (2, 9), (4, 4)):
            one, other = maps[a, i].ravel(), maps[b, i].ravel()
            at = {"layer": layer, "epoch": EPOCHS[a], "epoch_other": EPOCHS[b]}
            agreement, kappa = dynamics["region_agreement"], dynamics["region_kappa"]
            assert float(agreement.sel(at)) == pytest.approx(np.mean(one == other), abs=1e-12)
            expected = cohen_kappa_score(one, other)
            assert float(kappa.sel(at)) == pytest.approx(expected, abs=1e-12)


def test_fragments_are_eight_connected_components_by_plane(dynamics):
    maps = region_maps(len(LAYERS))
    for index in ((0, 0, 0), (3, 5, 2), (10, 1, 1)):
        one = maps[index]
        expected = sum(ndimage.label(one == c, np.ones((3, 3)))[1] for c in range(CLASSES))
        epoch, layer, plane = index
        assert int(dynamics["fragments"][layer, epoch, plane]) == expected


def test_accuracies_are_those_of_the_records(dynamics):
    expected = accuracies(len(LAYERS)).swapaxes(0, 1)
    np.testing.assert_array_equal(dynamics["probe_accuracy"].values, expected)
    np.testing.assert_array_equal(dynamics["accuracy_inference"].values, ACCURACY)


def test_plane_constants_are_carried_over(folder, dynamics):
    constants = folder.constants()
    for name in ("plane_sample", "plane_position", "plane_image", "plane_label"):
        np.testing.assert_array_equal(dynamics[name].values, constants[name].values)


# --- milestones -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accuracy, expected",
    [
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
    ],
)
def test_perfect_fit_is_the_first_of_three_records_in_a_row(accuracy, expected):
    epochs = np.array([0, 1, 2, 4, 8, 16, 32, 64])[: len(accuracy)]
    data = xr.Dataset({"accuracy_inference": (("epoch",), accuracy)}, coords={"epoch": epochs})
    found = perfect_fit_epoch(data)
    assert isinstance(found, float)
    if expected is None:
        assert np.isnan(found)
    else:
        assert found == epochs[expected]


def test_perfect_fit_is_unknown_without_accuracies():
    assert np.isnan(perfect_fit_epoch(xr.Dataset(coords={"epoch": [0, 1]})))


def test_perfect_fit_and_memorized_share_of_a_run(dynamics):
    assert dynamics.attrs["perfect_fit_epoch"] == 16
    expected = accuracies(len(LAYERS))[-1, -1, SUBSETS.index("mislabeled_given")]
    assert dynamics.attrs["memorized_share"] == expected


def test_memorized_share_is_that_of_the_output_at_the_end_or_nan():
    values = np.zeros((2, 3, 5))
    values[1, :, 2] = [0.1, 0.4, 0.7]
    data = xr.Dataset(
        {"probe_accuracy": (("layer", "epoch", "subset"), values)},
        coords={"layer": ["stem", "output"], "epoch": [0, 1, 2], "subset": list(SUBSETS)},
    )
    assert memorized_share(data) == 0.7
    data["probe_accuracy"].values[1, -1, 2] = np.nan
    assert np.isnan(memorized_share(data))
    assert np.isnan(memorized_share(xr.Dataset()))


# --- timing -----------------------------------------------------------------------------------


def shares_by_hand(gram):
    """Squared steps less the jitter of both ends, as shares."""
    t = len(gram)
    s = [
        max(0, gram[i, i] + gram[i - 1, i + 1] - gram[i - 1, i] - gram[i, i + 1])
        for i in range(1, t - 1)
    ]
    s = [s[0], *s, s[-1]]
    padded = [s[0], *s, s[-1]]
    s = [float(np.median(padded[i : i + 3])) for i in range(t)]
    q = [gram[i, i] + gram[i + 1, i + 1] - 2 * gram[i, i + 1] for i in range(t - 1)]
    steps = np.array([max(0, max(0, q[i]) - s[i] - s[i + 1]) for i in range(t - 1)])
    return steps / steps.sum()


def test_synchronization_is_timing_overlap_of_every_pair(dynamics):
    shares = [shares_by_hand(gram) for gram in dynamics["cka"].values]
    expected = [[np.minimum(a, b).sum() for b in shares] for a in shares]
    np.testing.assert_allclose(dynamics["synchronization"].values, expected, atol=1e-9)
    np.testing.assert_allclose(np.diagonal(expected), 1, atol=1e-12)


def test_the_models_synchronization_is_the_mean_over_pairs_of_blocks(dynamics):
    blocks = [1, 2, 3]  # no stem, no pooled features, no output
    pairs = [dynamics["synchronization"].values[i, j] for i in blocks for j in blocks if i < j]
    assert dynamics.attrs["synchronization_mean"] == pytest.approx(np.mean(pairs), abs=1e-12)
    everything = dynamics["synchronization"].values[np.triu_indices(len(LAYERS), 1)]
    assert abs(np.mean(everything) - np.mean(pairs)) > 1e-3


@pytest.mark.parametrize(
    "names, blocks",
    [
        (["stem", "stage1_block1", "stage1_block2", "pooled", "output"], [1, 2]),
        (["patch_embedding", "block01", "block02", "block03", "class_token", "output"], [1, 2, 3]),
        (["stem_block", "output_block", "conv2d", "output"], [0, 1, 2]),
    ],
)
def test_only_blocks_count_in_the_models_synchronization(names, blocks):
    values = np.random.default_rng(0).uniform(size=(len(names), len(names)))
    data = xr.Dataset(
        {"synchronization": (("layer", "layer_other"), values)}, coords={"layer": names}
    )
    pairs = [values[i, j] for i in blocks for j in blocks if i < j]
    assert synchronization_mean(data) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_fewer_than_two_blocks_have_no_synchronization():
    data = xr.Dataset(
        {"synchronization": (("layer", "layer_other"), np.ones((3, 3)))},
        coords={"layer": ["stem", "block01", "output"]},
    )
    assert np.isnan(synchronization_mean(data))


def test_lag_is_positive_where_the_layer_is_later_and_antisymmetric(dynamics):
    lag = dynamics["lag"].values
    np.testing.assert_allclose(lag, -lag.T, atol=1e-12)
    assert lag[3, 1] > 0.5  # stage2_block1 turns 1.2 octaves after stage1_block1
    spread = dynamics["timing_spread"].values
    np.testing.assert_allclose(spread, spread.T, atol=1e-12)
    assert spread[3, 1] > 0.5


def test_settling_epoch_is_read_off_the_last_column(dynamics):
    for i in range(len(LAYERS)):
        above = dynamics["cka"].values[i][:, -1] > 0.95
        index = next(k for k in range(len(EPOCHS)) if above[k:].all())
        assert float(dynamics["settling_epoch"][i]) == EPOCHS[index]


# --- phases -----------------------------------------------------------------------------------


def test_phases_run_from_one_upwards_without_gaps(dynamics):
    for name in ("phase", "phase_regions", "phase_candidate"):
        for labels in dynamics[name].values:
            assert labels[0] == 1
            assert set(np.diff(labels)) <= {0, 1}


def test_phases_of_regions_are_those_of_the_agreement(dynamics):
    expected = path_variables(dynamics["region_agreement"].values, list(EPOCHS), "_regions")
    np.testing.assert_array_equal(dynamics["phase_regions"].values, expected["phase_regions"][1])
    np.testing.assert_array_equal(
        dynamics["phases_p_regions"].values, expected["phases_p_regions"][1]
    )


def test_a_layer_of_two_states_has_two_phases_and_its_neighbour_of_one_has_one():
    rng = np.random.default_rng(4)
    states = np.repeat(np.eye(2, 100), 8, axis=0)
    still = np.ones((16, 100))
    grams = []
    for x in (states, still):
        x = x + 0.1 * rng.normal(size=x.shape) / 10
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        grams.append(x @ x.T)
    grams[1] = np.ones((16, 16))
    found = path_variables(np.stack(grams), list(range(16)))
    np.testing.assert_array_equal(found["phase"][1], [[1] * 8 + [2] * 8, [1] * 16])
    assert found["phases_p"][1][0] <= 0.05
    assert found["phases_p"][1][1] == 1


# --- dead layers, few records, few labels -----------------------------------------------------

BAD = (
    (0, "stage1_block1", "dead"),
    (3, "stage2_block1", "not finite"),
    (32, "stage2_block1", "not finite"),
    *((epoch, "stem", "dead") for epoch in EPOCHS),
)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "damaged", bad=BAD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compute_dynamics(folder)


def test_a_dead_or_not_finite_layer_is_nan_at_that_epoch_and_nowhere_else(damaged, dynamics):
    undefined = np.zeros(damaged["cka"].shape, bool)
    for epoch, layer, _ in BAD:
        i, e = LAYERS.index(layer), EPOCHS.index(epoch)
        undefined[i, e] = undefined[i, :, e] = True
    np.testing.assert_array_equal(np.isnan(damaged["cka"].values), undefined)
    kept = damaged["cka"].values[~undefined]
    np.testing.assert_allclose(kept, dynamics["cka"].values[~undefined], atol=1e-12)


def test_undefined_epochs_are_phase_zero_and_the_others_are_numbered(damaged):
    phases = damaged["phase"].sel(layer="stage2_block1").values
    gone = [EPOCHS.index(3), EPOCHS.index(32)]
    assert (phases[gone] == 0).all()
    assert (np.delete(phases, gone) >= 1).all()
    assert (damaged["phase"].sel(layer="stem").values == 0).all()
    assert np.isnan(damaged["phases_p"].sel(layer="stem"))


def test_phases_of_a_layer_with_gaps_are_those_of_the_epochs_that_are_left(damaged, dynamics):
    left = [e for e in EPOCHS if e not in (3, 32)]
    at = {"layer": "stage2_block1", "epoch": left}
    gram = dynamics["cka"].sel({**at, "epoch_other": left}).values
    expected = path_variables(gram[None], left)
    np.testing.assert_array_equal(damaged["phase"].sel(at), expected["phase"][1][0])
    found = float(damaged["distinguishability"].sel(layer="stage2_block1"))
    assert found == pytest.approx(expected["distinguishability"][1][0], abs=1e-9)


def test_synchronization_is_over_the_epochs_that_both_layers_have(damaged, dynamics):
    names = ["stage1_block1", "stage2_block1"]
    both = [e for e in EPOCHS if e not in (0, 3, 32)]
    part = dynamics["cka"].sel(layer=names, epoch=both, epoch_other=both).values
    expected = np.minimum(*(shares_by_hand(gram) for gram in part)).sum()
    found = float(damaged["synchronization"].sel(layer=names[0], layer_other=names[1]))
    assert found == pytest.approx(expected, abs=1e-9)
    assert np.isnan(damaged["synchronization"].sel(layer="stem")).all()
    assert np.isnan(damaged["synchronization"].sel(layer_other="stem")).all()
    assert np.isnan(damaged["settling_epoch"].sel(layer="stem"))
    assert np.isfinite(damaged.attrs["synchronization_mean"])


def test_undefined_regions_agree_with_nothing_and_have_no_fragments(damaged):
    at = {"layer": "stage2_block1", "epoch": 3}
    assert (damaged["regions"].sel(at) == 255).all()
    assert (damaged["fragments"].sel(at) == 0).all()
    assert np.isnan(damaged["region_agreement"].sel(at)).all()
    assert np.isnan(damaged["region_kappa"].sel(at)).all()
    assert np.isnan(damaged["probe_accuracy"].sel(at)).all()
    others = damaged["region_agreement"].sel(layer="stage1_block2")
    assert np.isfinite(others).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_records_are_one_phase_and_nothing_fails(tmp_path, count):
    folder = write_run(tmp_path / "run", LAYERS[1:], EPOCHS[:count])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compute_dynamics(folder)
    for name in ("phase", "phase_regions"):
        assert (found[name] == 1).all()
    for name in ("phases_p", "distinguishability", "distinguishability_raw", "jitter_share"):
        assert np.isnan(found[name]).all()
    assert np.isfinite(found["cka"]).all()
    assert np.isfinite(found["synchronization"]).any() == (count >= 3)
    assert np.isfinite(found["settling_epoch"]).all()


def test_no_labels_leave_out_what_needs_them(tmp_path):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:4], labels=False, planes=False)
    found = compute_dynamics(folder)
    for name in ("cka", "phase", "synchronization", "concordance"):
        assert name in found
    for name in ("probe_accuracy", "regions", "region_agreement", "phase_regions"):
        assert name not in found
    assert np.isnan(found.attrs["perfect_fit_epoch"])
    assert np.isnan(found.attrs["memorized_share"])


def test_no_planes_leave_out_regions_alone(tmp_path):
    found = compute_dynamics(write_run(tmp_path / "run", epochs=EPOCHS[:4], planes=False))
    assert "probe_accuracy" in found
    assert "regions" not in found and "phase_regions" not in found


def test_a_layer_that_never_moves_has_no_timing():
    still = np.ones((1, 9, 9))
    moving = np.outer(np.arange(9.0), np.arange(9.0))[None]
    found = timing_variables(np.concatenate([still, moving]), list(range(9)))
    np.testing.assert_array_equal(np.isnan(found["synchronization"][1]), [[1, 1], [1, 0]])
    assert found["settling_epoch"][1][0] == 0


# --- opening a run ----------------------------------------------------------------------------


def test_analyzing_writes_what_it_returns(tmp_path):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:8], bad=BAD[:2])
    steps = []
    found = analyze(folder, steps.append)
    assert len(steps) >= 4
    run = open_run(tmp_path / "run")
    read = run.dynamics
    assert set(read.variables) == set(found.variables)
    for name in found.variables:
        assert read[name].dtype.kind == found[name].dtype.kind
        np.testing.assert_array_equal(read[name].values, found[name].values)
    assert read["regions"].dtype == np.uint8
    for name in ("perfect_fit_epoch", "memorized_share", "synchronization_mean", "title"):
        np.testing.assert_equal(read.attrs[name], found.attrs[name])


def test_the_same_records_give_the_same_dynamics(folder, dynamics):
    assert compute_dynamics(folder).identical(dynamics)


def test_missing_dynamics_are_computed_in_memory_and_not_written(tmp_path):
    epochs = EPOCHS[:4]
    folder = write_run(tmp_path / "run", epochs=epochs)
    run = open_run(tmp_path / "run")
    assert tuple(run.dynamics["epoch"].values) == epochs
    assert not folder.dynamics_file.exists()
    assert run.dynamics is run.dynamics


@pytest.mark.parametrize("outdated", [False, True])
def test_dynamics_are_read_where_they_are_current_and_recomputed_where_not(tmp_path, outdated):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:4])
    marked = xr.Dataset(coords={"epoch": list(EPOCHS[:4])}, attrs={"mark": 1})
    write_netcdf(marked, folder.dynamics_file)
    os.utime(folder.dynamics_file, (1, 1) if outdated else (10**10, 10**10))
    found = open_run(tmp_path / "run").dynamics
    assert ("cka" in found) == outdated
    assert ("mark" in found.attrs) != outdated


def test_a_run_tells_its_epochs_and_is_opened_from_text(folder):
    run = open_run(str(folder.path))
    assert tuple(run.epochs) == EPOCHS
    assert run.config == {} and run.history == []
    assert str(folder.path) in repr(run)


def test_no_folder_and_no_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="No folder"):
        open_run(tmp_path / "none")
    with pytest.raises(InputError, match="no records"):
        open_run(tmp_path)


def test_a_broken_record_is_refused_by_name_and_the_rest_can_be_analyzed(tmp_path):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:5])
    folder.record_file(2).write_bytes(folder.record_file(2).read_bytes()[:2000])
    with pytest.raises(InputError, match=r"epoch-000002\.nc"):
        compute_dynamics(folder)
    folder.record_file(2).unlink()
    found = compute_dynamics(folder)
    assert found["epoch"].values.tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("layers", [LAYERS[2:], ("conv", *LAYERS[1:])])
def test_a_record_of_another_recording_is_refused_by_name(tmp_path, layers):
    folder = write_run(tmp_path / "run", epochs=EPOCHS[:4])
    other = write_run(tmp_path / "other", layers, epochs=EPOCHS[:4])
    folder.record_file(2).write_bytes(other.record_file(2).read_bytes())
    with pytest.raises(InputError, match=r"epoch-000002\.nc"):
        compute_dynamics(folder)

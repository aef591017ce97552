"""Comparison of two runs: CKA of known features, and invalid input."""

import itertools
import re

import numpy as np
import pytest
import xarray
from helpers import (
    BATCH,
    CLASSES,
    WRITTEN_EPOCHS,
    N,
    assert_input_error,
    features,
    repdyn,
    write_run,
)

from repdyn_keras import cka, compare, open_run
from repdyn_keras.dynamics import check_same_images
from repdyn_keras.measures.cka import fingerprint
from repdyn_keras.measures.cka_null import class_null, null_deviation

pytestmark = pytest.mark.one_backend

ONE = (("stem", "block", "pooled", "output"), WRITTEN_EPOCHS, 0)
OTHER = (("embedding", "pooled", "output"), (0, 1, 2, 3, 5, 7, 9, 12, 18), 7)
LABELS = np.arange(N) % CLASSES
BAD = [(2, "stem", "dead"), (32, "pooled", "not finite")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with different layers and epochs; the first has undefined layers at one epoch."""
    base = tmp_path_factory.mktemp("compare")
    for name, (layers, epochs, seed), bad in (("one", ONE, BAD), ("other", OTHER, [])):
        write_run(base / name, layers, epochs, planes=False, bad=bad, seed=seed)
    return open_run(base / "one"), open_run(base / "other")


def test_a_comparison_equals_the_cka_of_the_features_of_both_runs(runs):
    found = compare(*runs, epochs=[(0, 0), (3, 12)], layers=[("stem", "pooled")])
    x, y = (features(*run) for run in (ONE, OTHER))
    for name, suffix in itertools.product(("cka_layers", "cka_epochs"), ("_null", "_null_class")):
        assert found[name].dims == found[name + suffix].dims
    assert found["cka_layers"].dims == ("moment", "layer_a", "layer_b")
    assert found["cka_epochs"].dims == ("match", "recorded_a", "recorded_b")
    for moment, (e, f) in enumerate([(0, 0), (3, 7)]):
        wanted = [[cka(a, b, batch_size=BATCH) for b in y[f]] for a in x[e]]
        assert found["cka_layers"].values[moment] == pytest.approx(np.array(wanted), abs=1e-6)
        prints = [
            np.stack([fingerprint(one, batch_size=BATCH) for one in layers])
            for layers in (x[e], y[f])
        ]
        null = found["cka_layers_null"].values[moment]
        assert null == pytest.approx(null_deviation(*prints, BATCH), rel=1e-5)
        null = found["cka_layers_null_class"].values[moment]
        assert null == pytest.approx(class_null(*prints, LABELS, BATCH), rel=1e-5)
    wanted = np.array([[cka(a, b, batch_size=BATCH) for b in y[:, 1]] for a in x[:, 0]])
    wanted[WRITTEN_EPOCHS.index(2)] = np.nan
    assert found["cka_epochs"].values[0] == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    prints = [
        np.stack([fingerprint(one, batch_size=BATCH) for one in layer])
        for layer in (x[:, 0], y[:, 1])
    ]
    for name, values in (
        ("cka_epochs_null", null_deviation(*prints, BATCH)),
        ("cka_epochs_null_class", class_null(*prints, LABELS, BATCH)),
    ):
        values[WRITTEN_EPOCHS.index(2)] = np.nan
        assert found[name].values[0] == pytest.approx(values, rel=1e-5, nan_ok=True)
    assert [found.attrs[f"title_{run}"] for run in "ab"] == ["one", "other"]
    assert found["epoch_b"].values.tolist() == [0, 12]
    assert found["match_b"].values.tolist() == ["pooled"]


def test_the_default_compares_first_fit_and_last_epochs_and_common_names(runs, tmp_path):
    def moments(found):
        return list(zip(found["epoch_a"].values, found["epoch_b"].values, strict=True))

    found = compare(*runs)
    assert moments(found) == [(0, 0), (16, 18), (32, 18)]
    assert [found.attrs[f"perfect_fit_epoch_{run}"] for run in "ab"] == [16, 18]
    assert found["match_a"].values.tolist() == ["pooled", "output"]
    assert found["recorded_a"].values.tolist() == list(ONE[1])
    assert found["recorded_b"].values.tolist() == list(OTHER[1])
    short = open_run(write_run(tmp_path / "short", epochs=(0, 1, 2), planes=False).path)
    assert moments(compare(runs[0], short)) == [(0, 0), (32, 2)], "a run without a fit"
    begun = open_run(write_run(tmp_path / "begun", epochs=(0,), planes=False).path)
    assert moments(compare(begun, begun)) == [(0, 0)]


def test_a_run_compared_with_itself_repeats_its_own_matrices(runs):
    itself, turned = compare(runs[0], runs[0]), compare(*runs[::-1])
    own = runs[0].dynamics["cka"].values
    assert itself["cka_epochs"].values == pytest.approx(own, abs=1e-6, nan_ok=True)
    first = np.diagonal(itself["cka_layers"].values[0])
    assert first == pytest.approx(np.ones(4), abs=1e-6)
    straight = compare(*runs)["cka_layers"].values[0]
    assert turned["cka_layers"].values[0].T == pytest.approx(straight, abs=1e-6)


def test_only_layers_that_are_dead_or_not_finite_are_nan(runs):
    found = compare(*runs, epochs=[(0, 0), (2, 2), (32, 18)])["cka_layers"]
    missing = np.isnan(found).all("layer_b")
    assert (missing == np.isnan(found).any("layer_b")).all()
    at = [(moment, ONE[0][layer]) for moment, layer in np.argwhere(missing.values)]
    assert at == [(1, "stem"), (2, "pooled")]


def test_similarity_owed_to_classes_needs_the_same_labels_in_both_runs(tmp_path, monkeypatch):
    one = open_run(write_run(tmp_path / "one", OTHER[0], (0, 1), planes=False).path)
    run = write_run(tmp_path / "other", OTHER[0], (0, 1), planes=False)
    constants = run.constants()
    for given in (np.full(N, -1), (LABELS + 1) % 2):
        run.write_constants(constants.assign(label_given=("image", given)))
        found = compare(one, open_run(run.path))
        assert "cka_layers_null" in found and "cka_layers_null_class" not in found
    monkeypatch.setattr("repdyn_keras.figures.draw_comparison", lambda *given: [])
    done = repdyn("compare", one.folder.path, run.path, "--out", tmp_path / "out")
    assert "do not have the same labels" in " ".join(done.stdout.split())


def test_epochs_and_layers_that_were_not_recorded_are_rejected(runs):
    for options, message in (
        ({"epochs": [(0, 4), (7, 0)]}, "recorded epochs of .*one: 0, 1, 2, 3, .*Received: epoch 7"),
        ({"epochs": [(0, 4)]}, "recorded epochs of .*other: .*Received: epoch 4"),
        ({"layers": [("stem", "poled")]}, "Unknown layer of .*other. .*pooled.*Received: 'poled'"),
        ({"layers": [("sten", "pooled")]}, "Unknown layer of .*one. .*stem.*Received: 'sten'"),
        ({"epochs": []}, "Expected at least one pair.*Received: 0 pairs of epochs"),
        ({"layers": []}, "Expected at least one pair.*Received: .* 0 pairs of layers"),
    ):
        assert_input_error(options, message, compare, *runs, **options)


def test_runs_with_different_images_are_rejected():
    def constants(ids, digest="a", batch=8):
        attributes = {"images_hash": digest, "batch": batch}
        return xarray.Dataset({"sample": ("image", ids)}, attrs=attributes)

    one = constants([1, 2, 3, 4])
    for other, message in (
        (constants([1, 2, 3, 5]), "4 and 4 images with 3 ids in common"),
        (constants([1, 2, 3]), "4 and 3 images with 3"),
        (constants([2, 1, 3, 4]), "the same images in a different order"),
        (constants([1, 2, 3, 4], "b"), "the same ids but different pixels"),
        (constants([1, 2, 3, 4], batch=4), "batches of 8 and 4 images"),
    ):
        pattern = f"Expected A and B to have the same .*Received: .*{message}"
        assert_input_error(message, pattern, check_same_images, one, other, "A", "B")
    check_same_images(one, one.copy(), "A", "B")


def test_the_command_prints_a_table_and_writes_netcdf(runs, tmp_path, monkeypatch):
    draw = "repdyn_keras.figures.draw_comparison"
    monkeypatch.setattr(draw, lambda comparison, folder: [folder / "drawn.png"])
    paths = [opened.folder.path for opened in runs]
    options = ["--epoch", "3:12", "--epoch", "0", "--layer", "stem:pooled"]
    done = repdyn("compare", *paths, *options, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "A at epoch 3, B at epoch 12" in done.stdout
    caption = (
        r"unrelated layers: 0 ± 0\.\d{4} with only the classes in common: -?0\.\d\d on average"
    )
    assert re.search(caption, " ".join(done.stdout.split()))
    for words in ("block", str(tmp_path / "out" / "drawn.png")):
        assert words in done.stdout.replace("\n", "")
    with xarray.open_dataset(tmp_path / "out" / "comparison.nc", engine="h5netcdf") as written:
        expected = compare(*runs, [(3, 12), (0, 0)], [("stem", "pooled")])
        xarray.testing.assert_equal(written.load(), expected)
    assert repdyn("compare", *paths[::-1]).exit_code == 0
    assert (paths[1].parent / "compare-other-one" / "comparison.nc").is_file(), (
        "next to the first run"
    )

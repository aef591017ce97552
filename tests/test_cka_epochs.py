"""CKA between all recorded epochs, its interval and null values: undefined layers, few records."""

import warnings

import numpy as np
import pytest
from helpers import BATCH, CLASSES, WRITTEN_EPOCHS, WRITTEN_LAYERS, N, features, write_run

from repdyn_keras.dynamics.analysis import RecordSeries
from repdyn_keras.measures.cka import cosines, fingerprint
from repdyn_keras.measures.cka_epochs import over_epochs
from repdyn_keras.measures.cka_null import class_null, null_deviation

pytestmark = pytest.mark.without_keras

LABELS = np.arange(N) % CLASSES
PAIRS = ("cka", "cka_null", "cka_null_class", "cka_interval")


def computed(folder) -> dict:
    """The variables of a folder; a warning of NumPy is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return dict(over_epochs(RecordSeries(folder)))


def relabelled(folder, labels):
    """The folder with other given labels of the evaluation images."""
    constants = folder.constants()
    folder.write_constants(constants.assign(label_given=("image", labels)))
    return folder


def test_null_values_equal_those_of_the_fingerprints(tmp_path):
    found = computed(write_run(tmp_path / "run", planes=False))
    for index in (0, 3):
        x = features()[:, index]
        prints = np.stack([fingerprint(one, batch_size=BATCH) for one in x])
        for name, expected in (
            ("cka_null", null_deviation(prints, prints, BATCH)),
            ("cka_null_class", class_null(prints, prints, LABELS, BATCH)),
        ):
            np.testing.assert_allclose(found[name][index], expected, atol=1e-6, err_msg=name)
        low, high = np.moveaxis(found["cka_interval"][index], -1, 0)
        assert (low <= found["cka"][index] + 1e-6).all()
        assert (found["cka"][index] <= high + 1e-6).all()
        assert (high - low)[0, 5] > 0.1
    names = WRITTEN_LAYERS, WRITTEN_EPOCHS
    assert found["influential_share"].shape == tuple(map(len, names))
    assert found["influential_image"].shape == (*map(len, names), 1)
    assert (1 / N < found["influential_share"]).all() and (found["influential_share"] < 0.5).all()


def test_dead_and_not_finite_layers_are_nan_alone(tmp_path):
    bad = [(e, "stem", "dead") for e in WRITTEN_EPOCHS]
    bad += [(2, "pooled", "not finite"), (4, "pooled", "dead")]
    whole = computed(write_run(tmp_path / "whole", planes=False))
    found = computed(write_run(tmp_path / "damaged", planes=False, bad=bad))
    pooled = WRITTEN_LAYERS.index("pooled")
    gone = np.zeros((len(WRITTEN_LAYERS), len(WRITTEN_EPOCHS)), bool)
    gone[0] = gone[pooled, [2, 4]] = True
    for name in PAIRS:
        missing = np.isnan(found[name]).reshape(*gone.shape, gone.shape[1], -1)
        expected = gone[:, :, None, None] | gone[:, None, :, None]
        np.testing.assert_array_equal(missing, np.broadcast_to(expected, missing.shape))
        kept = ~np.isnan(found[name])
        np.testing.assert_allclose(found[name][kept], whole[name][kept], atol=1e-9)
    np.testing.assert_array_equal(np.isnan(found["influential_share"]), gone)
    np.testing.assert_array_equal(found["influential_image"][..., 0] == -1, gone)


@pytest.mark.parametrize("scale", [1e21, 1e-26])
def test_fingerprints_beyond_the_range_of_float32_are_nan_alone(tmp_path, scale):
    whole = computed(write_run(tmp_path / "whole", planes=False))
    folder = write_run(tmp_path / "run", planes=False)
    record = folder.record(3)
    record["fingerprint"][0] *= scale
    folder.write_record(3, record.astype(np.float32))
    found = computed(folder)
    here = np.arange(len(WRITTEN_EPOCHS)) == 3
    for name in PAIRS:
        missing = np.isnan(found[name][0]).reshape(len(here), len(here), -1)
        np.testing.assert_array_equal(missing.any(axis=2), here[:, None] | here)
        np.testing.assert_array_equal(found[name][1:], whole[name][1:])
    np.testing.assert_array_equal(np.isnan(found["influential_share"][0]), here)
    rows = np.ones((2, 6), np.float32) * np.float32([[scale], [1]])
    for similarities in (cosines(rows), cosines(rows, rows)):
        np.testing.assert_allclose(similarities, [[np.nan, np.nan], [np.nan, 1]])
    assert np.isfinite(cosines(rows.astype(float))).all()


@pytest.mark.parametrize("epochs", [(0,), (0, 1)])
def test_one_and_two_records(tmp_path, epochs):
    found = computed(write_run(tmp_path / "run", epochs=epochs, planes=False))
    for name in PAIRS:
        assert np.isfinite(found[name]).all()
    np.testing.assert_array_equal(found["cka_interval"][:, 0, 0], 1)


def test_labels_without_structure(tmp_path):
    folder = write_run(tmp_path / "run", epochs=(0, 1), planes=False)
    assert "cka_null_class" not in computed(relabelled(folder, np.full(N, -1)))
    one_class = computed(relabelled(folder, np.zeros(N, int)))["cka_null_class"]
    np.testing.assert_allclose(one_class, 0, atol=1e-6)
    one_image_each = computed(relabelled(folder, np.arange(N)))["cka_null_class"]
    assert np.isnan(one_image_each).all()
    some_single = np.where(np.arange(N) < 4, np.arange(N), 5)
    found = computed(relabelled(folder, some_single))["cka_null_class"]
    assert np.isfinite(found).all() and found.max() < 0.9

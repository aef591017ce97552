"""What histories of images amount to: an example by hand, and properties."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from repdyn_keras.measures import image_histories
from repdyn_keras.measures.image_histories import label_probabilities, margins, predicted
from repdyn_keras.measures.image_scores import prediction_depth
from repdyn_keras.measures.suspicion import add_votes, record_weights, rivals, suspicion

pytestmark = pytest.mark.without_keras

# Three images, two hidden layers and the output, four epochs. The weights of the trapezoidal rule
# are 1/2, 1, 5/2 and 2 epochs of 6.
EPOCHS = [0, 1, 2, 6]
GIVEN = np.array([0, 1, 2])
MARGIN = np.array([[-1.0, 1, 2, 4], [-2, -2, -1, 1], [0.5, -0.5, 0.5, -1]])
PROBABILITY = np.array([[0.0, 0.5, 1, 1], [0, 0, 0, 1], [0.5, 0.5, 0.5, 0.5]])
# (epoch, layer, image): the output is the last layer.
CLASSES = np.array(
    [
        [[0, 0, 2], [1, 0, 0], [1, 0, 2]],
        [[0, 0, 2], [0, 1, 1], [0, 0, 0]],
        [[0, 0, 2], [1, 0, 2], [0, 0, 2]],
        [[0, 0, 2], [0, 1, 2], [0, 1, 0]],
    ],
    np.uint8,
)
EXPECTED = {
    "prediction_depth": [[1, 0, 2, 0], [0, 2, 0, 1], [2, 2, 0, 2]],
    "area_under_margin": [
        (-0.5 + 1 + 5 + 8) / 6,
        (-1 - 2 - 2.5 + 2) / 6,
        (0.25 - 0.5 + 1.25 - 2) / 6,
    ],
    "confidence": [(0 + 0.5 + 2.5 + 2) / 6, 2 / 6, 0.5],
    "correctness": [(1 + 2.5 + 2) / 6, 2 / 6, (0.5 + 2.5) / 6],
    "first_learned_epoch": [1, 6, 0],
    "learned_epoch": [1, 6, np.nan],
    "forgetting_events": [0, 0, 2],
    "label_before": [1, 0, 0],
}


class Records:
    """Records of the example as `measures.Series`."""

    layers = ["a", "b", "output"]
    epochs = EPOCHS
    constants = xr.Dataset(
        {
            "probe_sample": ("probe_image", [7, 8, 9]),
            "probe_label_given": ("probe_image", GIVEN),
        },
        attrs={"n_classes": 3},
    )

    def recorded(self, *names):
        return {"image_margin": MARGIN.T, "image_probability": PROBABILITY.T}

    def each(self, name, part):
        return (classes[part] for classes in CLASSES)


def test_the_example_by_hand_is_exact():
    found = image_histories.over_epochs(Records())
    for name, values in EXPECTED.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-15, err_msg=name)
    mean = EXPECTED["confidence"][0]
    squares = np.array([0, 0.5, 1, 1] - np.float64(mean)) ** 2
    variance = squares @ [0.5, 1, 2.5, 2] / 6
    assert found["variability"] == pytest.approx([variance**0.5, (2 / 9) ** 0.5, 0])
    assert found["image_id"].tolist() == [7, 8, 9] and "label_true" not in found


def test_suspicion_is_the_share_of_votes_against_minus_that_for_the_label():
    u = np.log2([1, 2, 3, 7])
    weights = np.array([u[1] - u[0], u[2] - u[0], u[3] - u[1], u[3] - u[2]]) / (2 * u[3])
    assert record_weights(np.array(EPOCHS)) == pytest.approx(weights)
    found = image_histories.over_epochs(Records())
    for image, given in enumerate(GIVEN):
        shares = [
            sum(w * np.mean(c[:, image] == k) for w, c in zip(weights, CLASSES, strict=True))
            for k in range(3)
        ]
        rival = max(share for k, share in enumerate(shares) if k != given)
        assert found["suspicion"][image] == pytest.approx(rival - shares[given])


def test_many_images_are_counted_in_blocks_and_too_many_classes_are_left_out(monkeypatch):
    whole = image_histories.over_epochs(Records())
    monkeypatch.setattr(image_histories, "MAX_BLOCK_BYTES", 2 * 8 * 3)
    monkeypatch.setattr(image_histories, "MAX_CLASS_BYTES", CLASSES.size - 1)
    blocks = image_histories.over_epochs(Records())
    assert whole.keys() - blocks.keys() == {"image_probe_class"}
    assert whole["image_probe_class"].tolist() == CLASSES.transpose(1, 2, 0).tolist()
    for name, values in blocks.items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_undefined_classes_have_no_vote_and_no_depth():
    votes = np.zeros((2, 3))
    add_votes(votes, np.array([[255, 255], [2, 255]], np.uint8), 1.0)
    given = np.array([0, 0])
    assert votes.tolist() == [[0, 0, 0.5], [0, 0, 0]]
    found = suspicion(votes, given)
    assert found[0] == 1 and np.isnan(found[1]) and rivals(votes, given)[0].tolist() == [2, -1]
    assert votes.tolist() == [[0, 0, 0.5], [0, 0, 0]]
    depth = prediction_depth(np.array([[1, 255, 1], [255, 1, 1], [1, 1, 255]], np.uint8))
    assert depth.tolist() == [2, 1, 255]
    assert predicted(np.array([[0.0, np.inf], [1, 2]]), 2).tolist() == [255, 1]
    assert prediction_depth(np.array([[1, 0]], np.uint8)).tolist() == [0, 0]


def test_margins_and_probabilities_of_logits():
    logits = np.array([[2.0, 5, 1], [3, -1, 3], [1000, 0, 0], [np.nan, 0, 0]])
    labels = np.array([1, 1, 0, 0])
    assert margins(logits, labels)[:3].tolist() == [3, -4, 1000]
    shares = np.exp(logits[:2]) / np.exp(logits[:2]).sum(1, keepdims=True)
    assert label_probabilities(logits, labels)[:3] == pytest.approx([*shares[[0, 1], [1, 1]], 1])
    for function in (margins, label_probabilities):
        assert np.isnan(function(logits, labels)[3])
        constant = function(logits[:2] + 7, labels[:2])
        assert constant == pytest.approx(function(logits[:2], labels[:2]))
    assert np.isnan(margins(np.ones((2, 1)), np.array([0, 0]))).all()


def test_records_without_images_have_no_histories():
    without = SimpleNamespace(constants=xr.Dataset())
    assert image_histories.over_epochs(without) == {}
    earlier = SimpleNamespace(constants=Records.constants, recorded=lambda *names: {})
    assert image_histories.over_epochs(earlier) == {}

"""A sample of the training images (`n_train`): its classes, its seed, and what it leaves alone."""

import numpy as np
import pytest
from helpers import assert_input_error
from scipy import stats

from repdyn_keras.config import Config
from repdyn_keras.datasets import load
from repdyn_keras.seeds import TRAINING_IMAGES, derived, stratified_order

pytestmark = pytest.mark.without_keras

UNEVEN = np.repeat(np.arange(4), (400, 200, 90, 10))


@pytest.fixture
def archive(tmp_path):
    """Writes an archive of images that hold their own position; returns the data set's name."""

    def write(labels=UNEVEN, name="a.npz", parts=True) -> str:
        x = np.arange(len(labels), dtype=np.float64)[:, None, None, None] + np.zeros((1, 2, 2, 1))
        images, classes = ("x_train", "y_train") if parts else ("x", "y")
        test = {"x_test": x[:20], "y_test": labels[:20]} if parts else {}
        np.savez(tmp_path / name, **{images: x, classes: labels}, **test)
        return f"npz:{tmp_path / name}"

    return write


def loaded(dataset, n_train=None, **options):
    options = {"label_noise": 0, "standardize": False, **options}
    return load(Config(dataset=dataset, n_train=n_train, **options))


def positions(data) -> np.ndarray:
    """The positions of the training images in the data set."""
    return data.x_train[:][:, 0, 0, 0].astype(int)


def test_the_sample_has_the_shares_of_the_classes_without_repetition(archive):
    dataset = archive()
    for n_train in (35, 70, 350, 699):
        for seed in range(20):
            data = loaded(dataset, n_train, seed=seed)
            chosen = positions(data)
            assert len(np.unique(chosen)) == len(chosen) == len(data.y_train) == n_train
            np.testing.assert_array_equal(data.true_train, UNEVEN[chosen])
            expected = np.bincount(UNEVEN) * n_train / len(UNEVEN)
            assert np.abs(np.bincount(data.y_train, minlength=4) - expected).max() < 2.5
            assert data.n_available == len(UNEVEN) and data.n_classes == 4
            assert np.all(np.diff(chosen) > 0), "images keep their order"


def test_every_image_of_a_class_is_as_likely_to_be_chosen(archive):
    dataset, labels = archive(np.arange(40) % 2), np.arange(40) % 2
    counts = np.zeros(40)
    for seed in range(400):
        counts[positions(loaded(dataset, 10, seed=seed))] += 1
    for value in (0, 1):
        assert stats.chisquare(counts[labels == value]).pvalue > 1e-3


def test_the_data_seed_alone_determines_the_sample_and_samples_are_nested(archive):
    dataset = archive()
    one = positions(loaded(dataset, 100, seed=3))
    np.random.seed(1)
    for options in ({"seed": 3}, {"seed": 8, "data_seed": 3}, {"seed": 3, "label_noise": 0.5}):
        np.testing.assert_array_equal(positions(loaded(dataset, 100, **options)), one)
    order = stratified_order(UNEVEN, derived(3, TRAINING_IMAGES))
    np.testing.assert_array_equal(one, np.sort(order[:100]))
    assert not np.array_equal(positions(loaded(dataset, 100, seed=4)), one)
    assert set(one) < set(positions(loaded(dataset, 101, seed=3)))


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_test_images_are_those_of_the_whole_data_set(name):
    options = {"synthetic_train": 200, "synthetic_size": 4} if name == "synthetic" else {}
    whole = loaded(name, seed=2, **options)
    part = loaded(name, 100, seed=2, **options)
    np.testing.assert_array_equal(part.x_test[:], whole.x_test[:])
    np.testing.assert_array_equal(part.y_test, whole.y_test)
    rows = {image.tobytes() for image in whole.x_train[:]}
    assert all(image.tobytes() in rows for image in part.x_train[:])
    assert len(part.x_train.pixels) == part.n_available == len(whole.x_train), "no copy of pixels"


def test_without_a_sample_or_with_all_images_the_data_is_the_same():
    whole = load(Config(seed=5, label_noise=0.3))
    assert whole.n_available == len(whole.x_train) == 1437 and whole.notes == ()
    every = load(Config(seed=5, label_noise=0.3, n_train=1437))
    for name in ("x_train", "x_test", "y_train", "true_train", "y_test", "pixel_mean", "notes"):
        np.testing.assert_array_equal(getattr(every, name)[:], getattr(whole, name)[:])


def test_pixels_are_standardized_by_the_sample(archive):
    dataset = archive()
    raw, data = (loaded(dataset, 50, standardize=value) for value in (False, True))
    sample = raw.x_train[:].astype(np.float64)
    np.testing.assert_allclose(data.pixel_mean, [sample.mean()], rtol=1e-6)
    np.testing.assert_allclose(data.pixel_deviation, [sample.std()], rtol=1e-6)
    expected = (raw.x_test[:] - sample.mean()) / sample.std()
    np.testing.assert_allclose(data.x_test[:], expected, rtol=1e-5)
    assert not np.allclose(data.pixel_mean, loaded(dataset, standardize=True).pixel_mean)


def test_label_noise_has_its_share_of_the_sample(archive):
    dataset = archive(np.arange(5000) % 10)
    data = loaded(dataset, 1000, label_noise=0.2)
    wrong = int((data.y_train != data.true_train).sum())
    assert stats.binomtest(wrong, 1000, 0.2).pvalue > 1e-3
    np.testing.assert_array_equal(data.true_train, positions(data) % 10)


def test_a_sample_of_a_split_data_set_is_drawn_from_its_training_images(archive):
    dataset = archive(parts=False)
    whole, part = loaded(dataset, test_share=0.3), loaded(dataset, 90, test_share=0.3)
    assert set(positions(part)) < set(positions(whole)) and len(part.x_train) == 90
    np.testing.assert_array_equal(part.true_train, UNEVEN[positions(part)])
    np.testing.assert_array_equal(part.x_test[:], whole.x_test[:])
    assert part.n_available == len(whole.x_train) == 490


def test_notes_name_the_sample_and_classes_that_it_lacks(archive):
    dataset = archive()
    notes = loaded(dataset, 100).notes
    assert len(notes) == 1
    assert "100 of the 700 training images" in notes[0] and "label" not in notes[0]
    words = np.array(["ant", "bee", "cat", "owl"])
    named = loaded(archive(words[UNEVEN], "b.npz"), 4).notes[-1]
    missing = set(words) - set(words[UNEVEN[positions(loaded(dataset, 4))]])
    assert missing and named.endswith(f"has the label {', '.join(sorted(missing))}.")


def test_invalid_numbers_are_rejected(archive):
    message = "Expected at most 700, .*training images of npz:.*Received: n_train = 701"
    assert_input_error("too many", message, loaded, archive(), 701)
    for value in (3, 0, -1, 4.5, "all", True):
        assert_input_error(value, "n_train", Config, n_train=value)

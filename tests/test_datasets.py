"""Data sets: the split, label noise, standardization, and invalid archives."""

import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers import assert_input_error
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from repdyn_keras.config import Config
from repdyn_keras.datasets import load
from repdyn_keras.datasets.load import with_label_noise
from repdyn_keras.errors import InputError

# numpy.load does not close the file of some truncated archives.
truncated = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = [truncated, pytest.mark.without_keras]

CLEAN = {"label_noise": 0}
SMALL = {
    "dataset": "synthetic",
    "synthetic_train": 120,
    "synthetic_test": 40,
    "synthetic_size": 8,
    "synthetic_classes": 4,
}


def same(one, other):
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in vars(one))


def raw_pixels(images, data):
    return images[:] * data.pixel_deviation + data.pixel_mean


def test_digits_are_split_in_two_stratified_without_loss_or_overlap():
    raw = load_digits()
    expected = np.column_stack([raw.data, raw.target])
    for share, test in ((0.2, 360), (0.5, 899), (0.01, 18)):
        data = load(Config(test_share=share, **CLEAN))
        assert (len(data.x_train), len(data.x_test)) == (1797 - test, test)
        assert data.x_train.shape[1:] == data.x_test.shape[1:] == (8, 8, 1)
        assert data.n_classes == 10
        assert np.abs(np.bincount(data.y_test) - share * np.bincount(raw.target)).max() <= 1
        pixels = np.concatenate([raw_pixels(x, data) for x in (data.x_train, data.x_test)])
        labels = np.concatenate([data.y_train, data.y_test])
        rows = np.column_stack([pixels.reshape(1797, -1).round(), labels])
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_data_depends_only_on_the_data_seed_and_data_keys(name):
    options = {**SMALL, "dataset": name}
    one = load(Config(seed=3, **options))
    np.random.seed(1)
    assert same(one, load(Config(seed=3, **options)))
    backends = [{"backend": backend} for backend in ("jax", "tensorflow", "torch")]
    for option in [{"model": "vit", "optimizer": "adam", "epochs": 3}, *backends]:
        assert same(one, load(Config(seed=3, **options, **option))), option
    assert same(one, load(Config(seed=4, data_seed=3, **options)))
    other = load(Config(seed=4, **options))
    assert not np.array_equal(one.x_test, other.x_test)
    assert not np.array_equal(one.y_train != one.true_train, other.y_train != other.true_train)
    assert load(Config(seed=2**32 - 1, **options)).n_classes == one.n_classes


@pytest.mark.long
def test_loading_needs_no_backend():
    code = (
        "import sys; from repdyn_keras.config import Config; "
        "from repdyn_keras.datasets import load; load(Config()); "
        "print(sorted({'keras','jax','torch','tensorflow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("options", [{}, SMALL], ids=["digits", "synthetic"])
def test_arrays_have_documented_types_and_noise_changes_only_given_labels(options):
    noisy = load(Config(**{**options, "label_noise": 0.4}))
    assert noisy.x_train.dtype == noisy.x_test.dtype == np.float32
    assert noisy.y_train.dtype == noisy.true_train.dtype == noisy.y_test.dtype == np.int64
    assert noisy.y_train.shape == noisy.true_train.shape == (len(noisy.x_train),)
    assert noisy.y_test.shape == (len(noisy.x_test),)
    flat = noisy.x_train[:].reshape(-1, noisy.x_train.shape[3]).astype(np.float64)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(flat.std(axis=0), 1, atol=1e-5)
    assert noisy.pixel_mean.shape == noisy.pixel_deviation.shape == flat.shape[1:]

    clean = load(Config(**{**options, **CLEAN}))
    np.testing.assert_array_equal(clean.y_train, clean.true_train)
    np.testing.assert_array_equal(noisy.true_train, clean.y_train)
    np.testing.assert_array_equal(noisy.x_train[:], clean.x_train[:])
    np.testing.assert_array_equal(noisy.y_test, clean.y_test)
    wrong = int((noisy.y_train != noisy.true_train).sum())
    assert stats.binomtest(wrong, len(noisy.y_train), 0.4).pvalue > 1e-3


def test_synthetic_images_have_the_configured_size_channels_and_classes():
    keys = [f"synthetic_{name}" for name in ("size", "channels", "classes", "train", "test")]
    few = (4, 3, 10, 8, 1)
    for wanted in ((2, 1, 2, 101, 37), (3, 4, 3, 101, 37), (17, 2, 4, 101, 37), few):
        size, channels, classes, train, test = wanted
        data = load(Config(dataset="synthetic", **dict(zip(keys, wanted, strict=True))))
        assert data.x_train.shape == (train, size, size, channels)
        assert data.x_test.shape == (test, size, size, channels)
        assert data.n_classes == classes
        counts = np.bincount(np.concatenate([data.true_train, data.y_test]), minlength=classes)
        assert counts.max() - counts.min() <= 1
        assert np.isfinite(data.x_train[:]).all()


@pytest.mark.parametrize("classes", [3, pytest.param(10, marks=pytest.mark.long)])
def test_synthetic_classes_can_be_learned_despite_noise(classes):
    sizes = {"synthetic_train": 600, "synthetic_test": 300, "synthetic_size": 8}
    data = load(Config(dataset="synthetic", synthetic_classes=classes, **sizes, **CLEAN))
    images = data.x_train[:].reshape(600, -1)
    model = LogisticRegression(C=0.01, max_iter=500).fit(images, data.y_train)
    right = model.predict(data.x_test[:].reshape(300, -1)) == data.y_test
    assert stats.binomtest(int(right.sum()), 300, 1 / classes, "greater").pvalue < 1e-12
    assert right.mean() > 2 / classes or right.mean() > 0.8
    members = images[data.y_train == 0]
    assert len(np.unique(members, axis=0)) == len(members)
    assert 0.3 < members.std(axis=0).mean() < 1


def test_noise_replaces_its_share_of_every_class_by_all_other_classes():
    # A replaced label is never the true one, so the share of changed labels is the share of noise.
    for share, classes in ((0.1, 2), (0.3, 6), (0.5, 10), (0.9, 10)):
        labels = np.arange(60_000) % classes
        given = with_label_noise(labels, share, classes, seed=9)
        wrong = given != labels
        assert given.dtype.kind == "i" and given.min() >= 0 and given.max() < classes
        assert stats.binomtest(int(wrong.sum()), len(labels), share).pvalue > 1e-3, (share, classes)
        assert stats.chisquare(np.bincount(labels[wrong])).pvalue > 1e-3, (share, classes)
    labels = np.arange(60_000) % 6
    given = with_label_noise(labels, 0.5, 6, seed=8)
    for value in range(6):
        counts = np.bincount(given[(labels == value) & (given != value)], minlength=6)
        assert stats.chisquare(np.delete(counts, value)).pvalue > 1e-3


def test_noise_depends_on_the_seed_and_a_larger_share_includes_a_smaller_one():
    labels = np.arange(2000) % 10
    kept = labels.copy()
    few, many = (with_label_noise(labels, share, 10, seed=1) for share in (0.1, 0.4))
    np.random.seed(3)
    np.testing.assert_array_equal(with_label_noise(labels, 0.4, 10, seed=1), many)
    assert not np.array_equal(with_label_noise(labels, 0.4, 10, seed=2), many)
    np.testing.assert_array_equal(labels, kept)
    changed = few != labels
    np.testing.assert_array_equal(many[changed], few[changed])
    assert (many != labels).sum() > changed.sum()


def archive(folder, name="data.npz", save=np.savez, **changes):
    """A valid archive of 30 + 12 images of 3 classes, with changes; None omits an array."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.uniform(size=(30, 5, 4, 2)),
        "y_train": np.arange(30) % 3,
        "x_test": rng.uniform(size=(12, 5, 4, 2)),
        "y_test": np.arange(12) % 3,
    } | changes
    path = folder / name
    save(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def loaded(path, **options):
    return load(Config(dataset=f"npz:{path}", **{**CLEAN, **options}))


def test_test_images_are_standardized_by_the_training_images(tmp_path):
    rng = np.random.default_rng(1)
    train = rng.normal(5, 3, size=(30, 5, 4, 2))
    test = rng.normal(100, 50, size=(12, 5, 4, 2))
    data = loaded(archive(tmp_path, x_train=train, x_test=test))
    mean, deviation = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))
    np.testing.assert_allclose(data.x_test[:], (test - mean) / deviation, rtol=1e-5)
    np.testing.assert_allclose(data.pixel_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(data.pixel_deviation, deviation, rtol=1e-6)
    other = loaded(archive(tmp_path, x_train=train, x_test=-test))
    np.testing.assert_array_equal(other.x_train[:], data.x_train[:])


GRAY = np.random.default_rng(0).integers(0, 256, (30, 5, 4))
COLUMN = {"y_train": np.arange(30)[:, None] % 3, "y_test": np.ones((12, 1), int)}
VALID = {
    "as it is": {},
    "compressed": {"save": np.savez_compressed},
    "gray images": {"x_train": GRAY, "x_test": GRAY[:12]},
    "bytes": {"x_train": GRAY.astype(np.uint8), "x_test": GRAY[:12].astype(np.uint8)},
    "half precision": {"x_train": GRAY.astype(np.float16), "x_test": GRAY[:12].astype(np.float16)},
    "labels in a column": COLUMN,
    "whole numbers as floats": {"y_train": np.arange(30) % 3.0},
    "labels as bytes": {"y_train": (np.arange(30) % 3).astype(np.uint8)},
    "an array more": {"extra": np.arange(3)},
    "truth values": {"x_train": GRAY > 99, "x_test": GRAY[:12] > 99},
    "16 bits": {
        "x_train": (GRAY * 257).astype(np.uint16),
        "x_test": (GRAY[:12] * 257).astype(np.uint16),
    },
    "one class in the test images": {"y_test": np.ones(12, int)},
    "a class only in the test images": {"y_test": np.arange(12) % 4},
}


def test_archives_of_every_valid_form_are_read(tmp_path, monkeypatch):
    for name, changes in VALID.items():
        path = archive(tmp_path, **changes)
        data = loaded(path)
        with np.load(path) as raw:
            pixels = raw["x_train"].reshape(data.x_train.shape).astype(float)
            found = raw_pixels(data.x_train, data)
            np.testing.assert_allclose(found, pixels, atol=1e-6 * pixels.max(), err_msg=name)
            np.testing.assert_array_equal(data.y_test, raw["y_test"].ravel(), err_msg=name)
        np.testing.assert_array_equal(data.y_train, np.arange(30) % 3, err_msg=name)
        assert data.y_train.dtype == np.int64, name
        assert data.n_classes == (4 if "only in the test" in name else 3), name
    assert loaded(path, label_noise=0.9).y_train.max() == 3
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded("~/data.npz").n_classes == 4


X, Y = np.random.default_rng(0).uniform(size=(30, 5, 4, 2)), np.arange(30) % 3


def named(x_train, y_train, x_test=None, y_test=None, /, **more):
    """Renames the arrays of `archive`; None leaves the array out."""
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:12], "y_test": Y[:12]}
    names = dict(zip(arrays, (x_train, y_train, x_test, y_test), strict=True))
    renamed = {new: arrays[old] for old, new in names.items() if new}
    return dict.fromkeys(arrays) | renamed | more


# Arrays by the names of others, and parts of the notes.
NAMES = {
    "MedMNIST": (
        named(
            *("train_images", "train_labels", "test_images", "test_labels"),
            val_images=X[:3],
            val_labels=Y[:3],
        ),
        "ignored: val_images, val_labels",
    ),
    "capitals": (named("X_train", "Y_train", "X_test", "Y_test"), "X_train, .* are used"),
    "one word": (named("Xtrain", "ytrain", "Xtest", "ytest"), "Xtrain, .* are used"),
    "parts last": (named("trainX", "trainY", "testX", "testY"), "trainX, .* are used"),
    "no test": (named("x_train", "y_train", "x_val", "y_val"), "x_val, y_val are used"),
    "test images without labels": (
        named("x_train", "y_train", "x_val", "y_val", x_test=X[:5]),
        "ignored: x_test",
    ),
    "no name for training": (named("x", "y", "x_test", "y_test"), "x, y, x_test, y_test are used"),
}


def test_arrays_of_other_names_are_recognized(tmp_path):
    for name, (arrays, words) in NAMES.items():
        data = loaded(archive(tmp_path, **arrays))
        assert (len(data.x_train), len(data.x_test)) == (30, 12), name
        np.testing.assert_allclose(raw_pixels(data.x_test, data), X[:12], atol=1e-6, err_msg=name)
        assert re.search(words, " ".join(data.notes)), name
    for images, labels in (("x", "y"), ("images", "labels"), ("data", "target")):
        path = archive(tmp_path, **named(images, labels))
        data = loaded(path, test_share=0.3, data_seed=1)
        assert np.bincount(data.y_train).tolist() == [7, 7, 7]
        both = np.concatenate([raw_pixels(x, data) for x in (data.x_train, data.x_test)])
        np.testing.assert_allclose(np.sort(both.ravel()), np.sort(X.ravel()), atol=1e-6)
        assert same(data, loaded(path, test_share=0.3, data_seed=1))
        assert "9 of 30 were split off" in " ".join(data.notes)


def test_an_axis_of_channels_that_comes_first_is_moved_with_a_note(tmp_path):
    for shape, moved in {
        (3, 8, 9): True,
        (1, 5, 5): True,
        (4, 6, 7): True,
        (3, 3, 3): False,
        (3, 32, 3): False,
        (8, 8, 12): False,
        (4, 4, 2): False,
        (9, 8, 3): None,
        (5, 5, 1): None,
    }.items():
        x = np.random.default_rng(0).uniform(size=(30, *shape))
        data = loaded(archive(tmp_path, x_train=x, x_test=x[:12]))
        assert len(data.notes) == (moved is not None), shape
        if moved:
            assert "the channels are moved to the end" in data.notes[0]
            last = np.moveaxis(x, 1, -1)
            expected = loaded(archive(tmp_path, x_train=last, x_test=last[:12]))
            np.testing.assert_array_equal(data.x_train[:], expected.x_train[:])
        else:
            assert data.x_train.shape == (30, *shape)
            assert moved is None or "height x width x channels" in data.notes[0]


def test_labels_may_be_text_or_one_hot(tmp_path):
    words = np.array(["owl", "ant", "cat"])
    text = loaded(archive(tmp_path, y_train=words[Y], y_test=words[Y[:12]].astype("S")))
    assert text.class_names == ("ant", "cat", "owl")
    np.testing.assert_array_equal(np.array(text.class_names)[text.y_test], words[Y[:12]])
    hot = loaded(archive(tmp_path, y_train=np.eye(4)[Y], y_test=np.eye(4, dtype=bool)[Y[:12]]))
    np.testing.assert_array_equal(hot.y_train, Y)
    assert hot.n_classes == 4
    assert "labels are one-hot" in " ".join(hot.notes)
    assert "no training image has the label 3" in " ".join(hot.notes)
    from_one = loaded(archive(tmp_path, y_train=Y + 1, y_test=Y[:12] + 1))
    assert "no training image has the label 0, of 4" in " ".join(from_one.notes)


def with_label(value, dtype=int):
    y = Y.astype(dtype)
    y[4] = value
    return y


NOT_NUMERIC = "Expected whole numbers.*other values"
# Changes to a valid archive, and parts of the message.
INVALID = {
    "no x_train": ({"x_train": None}, "lacks x_train.*Received: y_train, x_test, y_test"),
    "nothing": (dict.fromkeys(["x_train", "y_train", "x_test", "y_test"]), "Received: none"),
    "flat images": (
        {"x_train": X.reshape(30, -1)},
        r"x_train.*float64 of shape \(30, 40\)",
    ),
    "no channels": (
        {"x_train": X[..., :0]},
        r"x_train.*float64 of shape \(30, 5, 4, 0\)",
    ),
    "complex images": ({"x_train": X + 1j}, "x_train.*complex128"),
    "infinite pixels": (
        {"x_test": np.full((12, 5, 4, 2), np.inf)},
        "x_test.*NaN, infinite",
    ),
    "pixels beyond float32": ({"x_train": X * 1e300}, "x_train.*beyond"),
    "test images of another size": ({"x_test": X[:12, :4]}, r"\(5, 4, 2\).*\(4, 4, 2\)"),
    "more labels": ({"y_test": Y}, r"y_test does.*shape \(30,\) for 12 images"),
    "several labels": ({"y_train": 1 - np.eye(3)[Y]}, r"y_train does.*shape \(30, 3\)"),
    "one-hot labels of other widths": (
        {"y_train": np.eye(3)[Y], "y_test": np.eye(4)[Y[:12]]},
        "different widths.*Received: 3, 4 columns",
    ),
    "two names": ({"train_images": X}, "several arrays of train images.*x_train, train_images"),
    "images alone": (named("images", None), "lacks y.*Received: images"),
    "no test part": (named("x_train", "y_train"), "lacks x_test, y_test"),
    "axes in another order": ({"x_train": X.transpose(0, 3, 1, 2)}, r"\(2, 5, 4\).*\(5, 4, 2\)"),
    "little contrast": ({"x_train": X + 1e7}, "too little for float32.*Subtract a constant"),
    "negative labels": ({"y_train": with_label(-1)}, "y_train.*Received: -1 to 2"),
    "fractions": (
        {"y_train": with_label(1.5, float)},
        f"y_train.*{NOT_NUMERIC}",
    ),
    "NaN labels": ({"y_train": with_label(np.nan, float)}, NOT_NUMERIC),
    "text and numbers": ({"y_train": Y.astype(str)}, "different kinds.*<U.*int"),
    "complex labels": ({"y_train": Y + 0j}, NOT_NUMERIC),
    "text that is not UTF-8": (
        {"y_train": np.array([b"\xe9", b"a"])[Y % 2], "y_test": np.array([b"a"] * 12)},
        "cannot be decoded.*UTF-8",
    ),
    "too many classes": ({"y_train": with_label(65_535)}, "Received: 0 to 65535"),
    "one class": ({"y_train": 0 * Y, "y_test": 0 * Y[:12]}, "one class"),
    "pickled labels": ({"y_train": np.array([None] * 30)}, "plain number arrays"),
}


@pytest.mark.filterwarnings("error")
def test_an_invalid_archive_is_rejected_with_the_reason(tmp_path):
    for name, (changes, words) in INVALID.items():
        path = archive(tmp_path, **changes)
        assert str(path) in assert_input_error(name, words, loaded, path)


def test_pickled_objects_are_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = archive(tmp_path, x_train=np.array([Trap()] * 30, dtype=object))
    assert_input_error("trap", "plain number arrays", loaded, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_always_raises_input_error(tmp_path, save):
    path = archive(tmp_path, save=save)
    whole = path.read_bytes()
    for part in (0, 1, 10, int(0.3 * len(whole)), int(0.9 * len(whole)), -1):
        path.write_bytes(whole[:part])
        assert str(path) in assert_input_error(part, "Cannot read", loaded, path)
    n_rejected = 0
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            loaded(path)
        except InputError:
            n_rejected += 1
    assert n_rejected > 100


def test_other_files_than_archives_are_rejected(tmp_path):
    path = tmp_path / "data.npz"
    for name, data in {
        "text": b"these are no arrays",
        "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07nothing\x94.",
        "zeros": bytes(1000),
        "a part": archive(tmp_path).read_bytes()[:-1],
    }.items():
        path.write_bytes(data)
        message = assert_input_error(name, "Cannot read.*whole NumPy archive", loaded, path)
        assert str(path) in message, name
    with zipfile.ZipFile(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(name, "no array")
    assert_input_error("other files", "data.npz", loaded, path)
    np.save(tmp_path / "data.npy", X)
    assert_input_error("one array", r"\.npz.*data\.npy, a single", loaded, tmp_path / "data.npy")
    assert_input_error("nothing", r"No file .*none\.npz", loaded, tmp_path / "none.npz")
    assert_input_error("a folder", "Cannot read", loaded, tmp_path)

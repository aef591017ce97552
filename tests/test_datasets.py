"""Data sets: the split, the noise and the scaling, and every archive that cannot be used."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from repdyn_keras.config import Config
from repdyn_keras.datasets import load
from repdyn_keras.datasets.images import pixel_moments, standardize
from repdyn_keras.datasets.load import with_label_noise
from repdyn_keras.errors import InputError

# numpy.load leaves the file of some truncated archives to the garbage collector.
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


# --- digits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share, test", [(0.2, 360), (0.5, 899), (0.01, 18)])
def test_digits_are_split_in_two_without_loss_or_overlap(share, test):
    data = load(Config(test_share=share, **CLEAN))
    assert (len(data.x_train), len(data.x_test)) == (1797 - test, test)
    assert data.x_train.shape[1:] == data.x_test.shape[1:] == (8, 8, 1)
    assert data.n_classes == 10
    raw = load_digits()
    both = np.concatenate([data.x_train[:], data.x_test[:]])
    pixels = both * data.pixel_deviation + data.pixel_mean
    labels = np.concatenate([data.y_train, data.y_test])
    rows = np.column_stack([pixels.reshape(1797, -1).round(), labels])
    expected = np.column_stack([raw.data, raw.target])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_digits_are_stratified():
    data = load(Config(**CLEAN))
    whole = np.bincount(load_digits().target)
    assert np.abs(np.bincount(data.y_test) - 0.2 * whole).max() <= 1


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_the_seed_fixes_the_data_and_another_seed_changes_it(name):
    options = {**SMALL, "dataset": name}
    one = load(Config(seed=3, **options))
    np.random.seed(1)
    assert same(one, load(Config(seed=3, **options)))
    other = load(Config(seed=4, **options))
    assert not np.array_equal(one.x_test, other.x_test)
    assert not np.array_equal(one.y_train != one.true_train, other.y_train != other.true_train)


def test_the_largest_seeds_can_be_used():
    assert load(Config(seed=2**32 - 1)).n_classes == 10


@pytest.mark.parametrize("option", [{"model": "vit"}, {"optimizer": "adam"}, {"epochs": 3}])
def test_nothing_but_the_seed_and_the_data_keys_decides_the_data(option):
    assert same(load(Config(seed=5)), load(Config(seed=5, **option)))


def test_the_data_is_the_same_on_every_backend():
    one = load(Config(backend="jax"))
    for backend in ("tensorflow", "torch"):
        assert same(one, load(Config(backend=backend)))


def test_loading_needs_no_backend():
    code = (
        "import sys; from repdyn_keras.config import Config; "
        "from repdyn_keras.datasets import load; load(Config()); "
        "print(sorted({'keras','jax','torch','tensorflow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("options", [{}, SMALL])
def test_dtypes_and_shapes_are_those_of_the_contract(options):
    data = load(Config(**options))
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.dtype == data.true_train.dtype == data.y_test.dtype == np.int64
    assert data.y_train.shape == data.true_train.shape == (len(data.x_train),)
    assert data.y_test.shape == (len(data.x_test),)
    assert len(data.x_train.shape) == 4
    assert data.pixel_mean.shape == data.pixel_deviation.shape == data.x_train.shape[-1:]


# --- noise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_noise_replaces_about_its_share_by_another_class(share, classes):
    labels = np.arange(20_000) % classes
    given = with_label_noise(labels, share, classes, seed=7)
    changed = int((given != labels).sum())
    # A replaced label is never the true one, so the share changed is the share itself.
    assert stats.binomtest(changed, len(labels), share).pvalue > 1e-3
    assert given.min() >= 0 and given.max() < classes
    assert given.dtype.kind == "i"


def test_noise_is_uniform_over_the_other_classes():
    labels = np.arange(60_000) % 6
    given = with_label_noise(labels, 0.5, 6, seed=8)
    for value in range(6):
        wrong = given[(labels == value) & (given != value)]
        counts = np.bincount(wrong, minlength=6)
        assert counts[value] == 0
        assert stats.chisquare(np.delete(counts, value)).pvalue > 1e-3


def test_noise_falls_on_all_classes_alike():
    labels = np.arange(60_000) % 6
    given = with_label_noise(labels, 0.3, 6, seed=9)
    assert stats.chisquare(np.bincount(labels[given != labels])).pvalue > 1e-3


def test_noise_is_drawn_once_per_seed_and_leaves_its_input():
    labels = np.arange(500) % 5
    kept = labels.copy()
    one = with_label_noise(labels, 0.4, 5, seed=1)
    np.random.seed(3)
    np.testing.assert_array_equal(with_label_noise(labels, 0.4, 5, seed=1), one)
    assert not np.array_equal(with_label_noise(labels, 0.4, 5, seed=2), one)
    np.testing.assert_array_equal(labels, kept)


def test_more_noise_keeps_the_labels_that_less_noise_replaced():
    labels = np.arange(2000) % 10
    few, many = (with_label_noise(labels, share, 10, seed=1) for share in (0.1, 0.4))
    changed = few != labels
    np.testing.assert_array_equal(many[changed], few[changed])
    assert (many != labels).sum() > changed.sum()


@pytest.mark.parametrize("options", [{}, SMALL])
def test_true_labels_images_and_test_labels_are_those_without_noise(options):
    clean = load(Config(**{**options, **CLEAN}))
    noisy = load(Config(**{**options, "label_noise": 0.4}))
    np.testing.assert_array_equal(clean.y_train, clean.true_train)
    np.testing.assert_array_equal(noisy.true_train, clean.y_train)
    np.testing.assert_array_equal(noisy.x_train[:], clean.x_train[:])
    np.testing.assert_array_equal(noisy.y_test, clean.y_test)
    share = np.mean(noisy.y_train != noisy.true_train)
    assert stats.binomtest(int(share * len(noisy.y_train)), len(noisy.y_train), 0.4).pvalue > 1e-3


# --- scaling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, SMALL])
def test_training_images_are_standardized_by_channel(options):
    data = load(Config(**options))
    flat = data.x_train[:].reshape(-1, data.x_train.shape[-1]).astype(np.float64)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(flat.std(axis=0), 1, atol=1e-5)


def archive(folder, name="data.npz", save=np.savez, **changes):
    """A good archive of 30 + 12 images of 3 classes, with changes; None leaves an array out."""
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


def test_test_images_are_scaled_by_the_training_images_alone(tmp_path):
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


def test_a_constant_channel_stays_finite():
    x = np.zeros((6, 4, 4, 2), np.uint8)
    x[..., 0] = np.random.default_rng(0).integers(0, 255, (6, 4, 4))
    x[..., 1] = 255
    mean, deviation = pixel_moments(x)
    assert (mean[1], deviation[1]) == (255, 1)
    np.testing.assert_array_equal(standardize(x, mean, deviation)[..., 1], 0)


def test_moments_of_bytes_do_not_overflow():
    x = np.full((50, 8, 8, 1), 200, np.uint8)
    x[::2] = 100
    mean, deviation = pixel_moments(x)
    assert mean[0] == pytest.approx(150)
    assert deviation[0] == pytest.approx(50)


# --- synthetic --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, channels, classes", [(2, 1, 2), (3, 4, 3), (8, 1, 10), (16, 3, 5), (17, 2, 4)]
)
def test_synthetic_images_have_the_wanted_size_channels_and_classes(size, channels, classes):
    data = load(
        Config(
            dataset="synthetic",
            synthetic_size=size,
            synthetic_channels=channels,
            synthetic_classes=classes,
            synthetic_train=101,
            synthetic_test=37,
        )
    )
    assert data.x_train.shape == (101, size, size, channels)
    assert data.x_test.shape == (37, size, size, channels)
    assert data.n_classes == classes
    counts = np.bincount(np.concatenate([data.true_train, data.y_test]), minlength=classes)
    assert counts.max() - counts.min() <= 1
    assert np.isfinite(data.x_train[:]).all()


def test_synthetic_classes_are_as_many_as_wanted_even_if_images_are_few():
    few = {"synthetic_train": 8, "synthetic_test": 1, "synthetic_classes": 10}
    assert load(Config(dataset="synthetic", **few)).n_classes == 10


@pytest.mark.parametrize("classes", [3, 10])
def test_synthetic_classes_can_be_learned(classes):
    sizes = {"synthetic_train": 600, "synthetic_test": 300, "synthetic_size": 8}
    data = load(Config(dataset="synthetic", synthetic_classes=classes, **sizes, **CLEAN))
    model = LogisticRegression(C=0.01, max_iter=500)
    model.fit(data.x_train[:].reshape(600, -1), data.y_train)
    right = model.predict(data.x_test[:].reshape(300, -1)) == data.y_test
    assert stats.binomtest(int(right.sum()), 300, 1 / classes, "greater").pvalue < 1e-12
    assert right.mean() > 2 / classes or right.mean() > 0.8


def test_synthetic_images_are_not_all_alike_nor_free_of_noise():
    data = load(Config(**SMALL, **CLEAN))
    members = data.x_train[np.flatnonzero(data.y_train == 0)].reshape(-1, 8 * 8 * 3)
    assert len(np.unique(members, axis=0)) == len(members)
    within = members.std(axis=0).mean()
    assert 0.3 < within < 1


# --- archives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read(tmp_path, save):
    data = loaded(archive(tmp_path, save=save))
    with np.load(tmp_path / "data.npz") as raw:
        pixels = data.x_train[:] * data.pixel_deviation + data.pixel_mean
        np.testing.assert_allclose(pixels, raw["x_train"], atol=1e-6)
        np.testing.assert_array_equal(data.y_train, raw["y_train"])
        np.testing.assert_array_equal(data.y_test, raw["y_test"])
    assert data.n_classes == 3


GRAY = np.random.default_rng(0).integers(0, 256, (30, 5, 4))
GOOD = {
    "gray images": {"x_train": GRAY, "x_test": GRAY[:12]},
    "bytes": {"x_train": GRAY.astype(np.uint8), "x_test": GRAY[:12].astype(np.uint8)},
    "half precision": {"x_train": GRAY.astype(np.float16), "x_test": GRAY[:12].astype(np.float16)},
    "labels in a column": {"y_train": np.arange(30)[:, None] % 3, "y_test": np.ones((12, 1), int)},
    "whole numbers as floats": {"y_train": np.arange(30) % 3.0},
    "labels as bytes": {"y_train": (np.arange(30) % 3).astype(np.uint8)},
    "an array more": {"extra": np.arange(3)},
    "a class only in the test images": {"y_test": np.arange(12) % 4},
}


@pytest.mark.parametrize("name", GOOD)
def test_other_good_forms_are_read_the_same_way(tmp_path, name):
    data = loaded(archive(tmp_path, **GOOD[name]))
    assert len(data.x_train.shape) == 4
    assert data.y_train.dtype == np.int64
    np.testing.assert_array_equal(data.y_train, np.arange(30) % 3)
    assert data.n_classes == (4 if "only in the test" in name else 3)
    assert np.isfinite(data.x_train[:]).all()


def test_noise_of_an_archive_knows_all_its_classes(tmp_path):
    data = loaded(archive(tmp_path, y_test=np.arange(12) % 4), label_noise=0.9)
    assert data.y_train.max() == 3


X, Y = np.random.default_rng(0).uniform(size=(30, 5, 4, 2)), np.arange(30) % 3


def with_pixel(value):
    x = X.copy()
    x[3, 1, 2, 0] = value
    return x


def with_label(value, dtype=None):
    y = Y.astype(dtype) if dtype else Y.copy()
    y[4] = value
    return y


BAD = {
    "no x_train": ({"x_train": None}, "lacks x_train.*holds y_train, x_test, y_test"),
    "no y_test": ({"y_test": None}, "lacks y_test"),
    "nothing": (dict.fromkeys(["x_train", "y_train", "x_test", "y_test"]), "holds none"),
    "flat images": ({"x_train": X.reshape(30, -1)}, r"x_train is float64 of shape \(30, 40\)"),
    "five dimensions": ({"x_train": X[..., None]}, r"shape \(30, 5, 4, 2, 1\)"),
    "no images": ({"x_train": X[:0], "y_train": Y[:0]}, r"shape \(0, 5, 4, 2\)"),
    "images without pixels": (
        {"x_train": X[:, :0], "x_test": X[:12, :0]},
        r"x_train is float64 of shape \(30, 0, 4, 2\)",
    ),
    "images without channels": (
        {"x_train": X[..., :0], "x_test": X[:12, ..., :0]},
        r"x_train is float64 of shape \(30, 5, 4, 0\)",
    ),
    "images of text": ({"x_train": X.astype(str)}, "x_train is <U"),
    "complex images": ({"x_train": X + 1j}, "x_train is complex128"),
    "NaN pixels": ({"x_train": with_pixel(np.nan)}, "x_train holds NaN or infinite"),
    "infinite pixels": ({"x_test": with_pixel(np.inf)[:12]}, "x_test holds NaN or infinite"),
    "pixels beyond float32": ({"x_train": X * 1e300}, "x_train"),
    "test images of another size": ({"x_test": X[:12, :4]}, r"\(5, 4, 2\).*\(4, 4, 2\)"),
    "test images of other channels": ({"x_test": X[:12, ..., :1]}, r"\(5, 4, 2\).*\(5, 4, 1\)"),
    "fewer labels": ({"y_train": Y[:29]}, r"y_train has shape \(29,\) for 30 images"),
    "more labels": ({"y_test": Y}, r"y_test has shape \(30,\) for 12 images"),
    "one-hot labels": ({"y_train": np.eye(3)[Y]}, r"y_train has shape \(30, 3\)"),
    "negative labels": ({"y_train": with_label(-1)}, "y_train run from -1 to 2"),
    "fractions": ({"y_train": with_label(1.5, float)}, "y_train holds other than whole numbers"),
    "NaN labels": ({"y_train": with_label(np.nan, float)}, "other than whole numbers"),
    "infinite labels": ({"y_train": with_label(np.inf, float)}, "other than whole numbers"),
    "labels of text": ({"y_train": Y.astype(str)}, "other than whole numbers"),
    "labels of booleans": ({"y_train": Y > 0}, "other than whole numbers"),
    "complex labels": ({"y_train": Y + 0j}, "other than whole numbers"),
    "too many classes": ({"y_train": with_label(65_535)}, "run from 0 to 65535"),
    "one class": ({"y_train": 0 * Y, "y_test": 0 * Y[:12]}, "one class"),
    "pickled labels": ({"y_train": np.array([None] * 30)}, "plain number arrays"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused_with_what_is_wrong(tmp_path, name):
    changes, words = BAD[name]
    path = archive(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as caught:
        loaded(path)
    assert str(path) in str(caught.value)


def test_pickled_objects_are_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = archive(tmp_path, x_train=np.array([Trap()] * 30, dtype=object))
    with pytest.raises(InputError, match="plain number arrays"):
        loaded(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [0, 1, 10, 0.3, 0.9, -1])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_truncated_archive_is_refused(tmp_path, part, save):
    path = archive(tmp_path, save=save)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole)) if isinstance(part, float) else part])
    with pytest.raises(InputError, match="Cannot read") as caught:
        loaded(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_never_anything_but_an_input_error(tmp_path, save):
    path = archive(tmp_path, save=save)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            loaded(path)
        except InputError:
            refused += 1
    assert refused > 100


FILES = {
    "text": b"these are no arrays",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07nothing\x94.",
    "zeros": bytes(1000),
    "a line of CSV": b"1,2,3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_archive_is_refused(tmp_path, name):
    path = tmp_path / "data.npz"
    path.write_bytes(FILES[name])
    with pytest.raises(InputError, match="Cannot read") as caught:
        loaded(path)
    assert str(path) in str(caught.value)
    assert ".npz" in str(caught.value)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(InputError, match=r"data\.npy.*\.npz"):
        loaded(tmp_path / "data.npy")


def test_a_zip_of_other_files_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(name, "no array")
    with pytest.raises(InputError, match="data.npz"):
        loaded(path)


def test_a_missing_archive_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"No file .*none\.npz"):
        loaded(tmp_path / "none.npz")
    with pytest.raises(InputError, match="Cannot read"):
        loaded(tmp_path)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    archive(tmp_path)
    assert loaded("~/data.npz").n_classes == 3

"""Folders of images, and images of one shape made of files of any: pixel by pixel."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from repdyn_keras.config import Config
from repdyn_keras.datasets import Images, load, reading, store
from repdyn_keras.datasets.images import AT_ONCE, pixel_moments, standardize
from repdyn_keras.datasets.store import FilePixels
from repdyn_keras.errors import InputError

CLASSES = ("bee", "cat", "owl")


def noise(seed, height=6, width=5, channels=3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(*arguments) -> Image.Image:
    return Image.fromarray(noise(*arguments))


def fill(root, images: dict, **options):
    """Saves images by their paths; returns the root."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    return root


def some(count=5, classes=CLASSES, make=picture, suffix="png", part="") -> dict:
    """`count` images of each class, by path."""
    return {
        f"{part}{name}/{i}.{suffix}": make([i, label, len(part)])
        for label, name in enumerate(classes)
        for i in range(count)
    }


def loaded(root, **options):
    return load(Config(dataset=f"folder:{root}", label_noise=0, **options))


def pixels(images, data) -> np.ndarray:
    """The bytes that images had before they were standardized."""
    back = images[:].astype(np.float64) * data.pixel_deviation + data.pixel_mean
    assert np.abs(back - back.round()).max() < 1e-3
    return back.round().astype(np.uint8)


def split_in_two(root, images: dict, **options):
    """The same images in `train` and `test`, so that their order is known."""
    for part in ("train", "test"):
        fill(root / part, images, **options)
    return loaded(root)


def said(data, pattern) -> bool:
    return any(re.search(pattern, note) for note in data.notes)


# --- layouts ----------------------------------------------------------------------------------


def test_class_folders_are_split_stratified_by_the_data_seed(tmp_path):
    images = some(10)
    fill(tmp_path, images)
    data = loaded(tmp_path, test_share=0.3, data_seed=1)
    assert data.class_names == CLASSES
    assert np.bincount(data.y_train).tolist() == [7, 7, 7]
    assert np.bincount(data.y_test).tolist() == [3, 3, 3]
    both = np.concatenate([pixels(data.x_train, data), pixels(data.x_test, data)])
    labels = np.concatenate([data.y_train, data.y_test])
    found = {(image.tobytes(), int(label)) for image, label in zip(both, labels, strict=True)}
    expected = {
        (np.asarray(image).tobytes(), CLASSES.index(name.split("/")[0]))
        for name, image in images.items()
    }
    assert found == expected
    again, other = (loaded(tmp_path, test_share=0.3, data_seed=s) for s in (1, 2))
    np.testing.assert_array_equal(again.x_train[:], data.x_train[:])
    assert not np.array_equal(other.x_train[:], data.x_train[:])
    assert said(data, "9 of 30 were split off")


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_a_split_of_its_own_is_used(tmp_path, test):
    train, other = some(4, part="train/"), some(2, part=f"{test}/")
    fill(tmp_path, train | other)
    data = loaded(tmp_path)
    for images, labels, files in (
        (data.x_train, data.y_train, train),
        (data.x_test, data.y_test, other),
    ):
        expected = np.stack([np.asarray(files[name]) for name in sorted(files)])
        np.testing.assert_array_equal(pixels(images, data), expected)
        np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], len(files) // 3))
    assert said(data, f"split of .* is used: train and {test}")


def test_test_wins_over_val_and_that_is_said(tmp_path):
    fill(tmp_path, some(2, part="train/") | some(3, part="test/") | some(1, part="val/"))
    data = loaded(tmp_path)
    assert len(data.x_test) == 9
    assert said(data, "ignored beside them: val")


def test_other_files_are_ignored_and_said_hidden_ones_are_ignored(tmp_path):
    fill(tmp_path, some(4))
    for name in ("notes.txt", "bee/a.TXT", "bee/thumbs.db", "cat/.hidden.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".git" / "x").mkdir(parents=True)
    (tmp_path / "owl" / ".cache").mkdir()
    data = loaded(tmp_path)
    assert len(data.x_train) + len(data.x_test) == 12
    assert said(data, r"3 files in .* ignored: .txt, .db\.")


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "WebP", "JPG"])
def test_files_are_known_by_their_ending_in_any_case(tmp_path, suffix):
    data = split_in_two(tmp_path, some(2, suffix=suffix))
    with Image.open(tmp_path / "train" / "bee" / f"0.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels(data.x_train, data)[0], expected)


def test_noise_and_scaling_are_those_of_every_data_set(tmp_path):
    fill(tmp_path, some(20))
    clean, noisy = loaded(tmp_path), load(Config(dataset=f"folder:{tmp_path}", label_noise=0.5))
    np.testing.assert_array_equal(noisy.true_train, clean.y_train)
    assert 0.25 < np.mean(noisy.y_train != noisy.true_train) < 0.75
    raw = pixels(clean.x_train, clean)
    mean, deviation = raw.mean(axis=(0, 1, 2)), raw.std(axis=(0, 1, 2))
    np.testing.assert_allclose(clean.pixel_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(clean.pixel_deviation, deviation, rtol=1e-6)


# --- layouts that cannot be used --------------------------------------------------------------


def nested(root):
    fill(root, {f"deep/{name}": image for name, image in some(2).items()})
    return fill(root, some(2))


def without_images(root):
    fill(root, some(2))
    (root / "dog").mkdir()
    (root / "dog" / "readme.txt").write_text("soon")
    return root


def in_other_classes(root):
    fill(root, some(2, part="train/"))
    return fill(root, some(2, classes=("bee", "cat", "dog"), part="test/"))


def in_a_file(root):
    (root / "file").write_text("x")
    return root / "file"


LAYOUTS = {
    "missing": (lambda root: root / "none", "does not exist"),
    "a file": (in_a_file, "is a file"),
    "empty": (lambda root: root, "holds no class folders"),
    "flat": (lambda root: fill(root, {"a.png": picture(1)}), "holds no class folders"),
    "one class": (lambda root: fill(root, some(3, classes=("bee",))), "one class folder, 'bee'"),
    "one class in train": (
        lambda root: fill(root, some(2, ("bee",), part="train/") | some(2, part="test/")),
        "one class folder, 'bee'",
    ),
    "nested": (nested, "deep holds folders, such as 'bee'.*too deep"),
    "no images": (without_images, "dog holds no images.*webp"),
    "train alone": (lambda root: fill(root, some(2, part="train/")), "not both a training"),
    "no classes in train and test": (
        lambda root: fill(root, {"train/a.png": picture(1), "test/b.png": picture(2)}),
        "holds test, train, but not both",
    ),
    "other classes": (in_other_classes, r"only in train: owl; only in test: dog"),
    "a single image of a class": (
        lambda root: fill(root, some(5) | {"dog/0.png": picture(9)}),
        "'dog' has 1. Expected at least 2",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_cannot_be_used_is_refused(tmp_path, name):
    make, words = LAYOUTS[name]
    root = make(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        loaded(root)
    assert str(root) in str(caught.value)
    assert "Expected" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 6


def test_broken_images_are_named_together(tmp_path):
    fill(tmp_path, some(4))
    whole = (tmp_path / "bee" / "0.png").read_bytes()
    (tmp_path / "bee" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bee" / "1.png").write_bytes(b"")
    for i in range(3):
        (tmp_path / "cat" / f"{i}.png").write_bytes(b"no image at all")
    with pytest.raises(
        InputError, match=r"5 of 12 images.*bee/0\.png.*bee/1\.png.*2 more"
    ) as caught:
        loaded(tmp_path)
    assert len(str(caught.value).splitlines()) < 6
    assert len(str(caught.value)) < 700


def test_a_folder_of_broken_images_alone_is_refused(tmp_path):
    fill(tmp_path, some(2))
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="6 of 6 images"):
        loaded(tmp_path)


def test_broken_images_among_mixed_sizes_are_named(tmp_path):
    images = some(3) | {"owl/9.png": picture(9, 20, 30)}
    fill(tmp_path, images)
    (tmp_path / "cat" / "1.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"1 of 10 images.*cat/1\.png"):
        loaded(tmp_path)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_modes_without_8_or_16_bits_are_refused_by_name(tmp_path, mode):
    fill(tmp_path, some(3))
    Image.fromarray(noise(1, channels=1)).convert(mode).save(tmp_path / "cat" / "1.png", "TIFF")
    with pytest.raises(InputError, match=rf"cat/1\.png \(pixels of mode {mode}"):
        loaded(tmp_path)


# --- modes ------------------------------------------------------------------------------------


def palette(seed):
    return picture(seed).convert("P", palette=Image.Palette.ADAPTIVE)


def with_alpha(seed):
    return picture(seed, 6, 5, 4)


def grey(seed):
    return picture(seed, 6, 5, 1)


MODES = {
    "grey": (grey, lambda image: np.asarray(image)[..., None]),
    "bits": (
        lambda s: grey(s).convert("1"),
        lambda image: np.asarray(image.convert("L"))[..., None],
    ),
    "grey with alpha": (
        lambda seed: grey(seed).convert("LA"),
        lambda image: np.asarray(image)[..., :1],
    ),
    "alpha": (with_alpha, lambda image: np.asarray(image)[..., :3]),
    "palette": (palette, lambda image: np.asarray(image.convert("RGB"))),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_grey_or_rgb_bytes(tmp_path, name):
    make, expected = MODES[name]
    images = some(2, make=make)
    data = split_in_two(tmp_path, images)
    wanted = np.stack([expected(images[key]) for key in sorted(images)])
    np.testing.assert_array_equal(pixels(data.x_train, data), wanted)
    assert said(data, "alpha channel, which is dropped") == ("alpha" in name)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    values = np.random.default_rng(0).integers(0, 65_536, (6, 6, 5), dtype=np.uint16)
    values[0, 0, 0], values[0, 0, 1] = 0, 65_535
    images = {
        f"{name}/{i}.png": Image.fromarray(values[3 * k + i])
        for k, name in enumerate(("a", "b"))
        for i in range(3)
    }
    data = split_in_two(tmp_path, images)
    expected = np.round(values / 257).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(pixels(data.x_train, data), expected)
    assert said(data, "12 of 12 images have 16 bits")


def test_grey_among_colour_is_read_as_rgb_and_said(tmp_path):
    images = some(2, make=grey) | {"owl/9.png": picture(9)}
    data = split_in_two(tmp_path, images)
    expected = np.stack([np.asarray(images[name].convert("RGB")) for name in sorted(images)])
    np.testing.assert_array_equal(pixels(data.x_train, data), expected)
    assert said(data, "12 of 14 images are grey")


def test_a_palette_of_greys_is_grey(tmp_path):
    flat = Image.fromarray(noise(1, channels=1))
    one = flat.copy()
    one.putpalette(bytes(v for g in range(256) for v in (g, g, g)))
    assert one.mode == "P"
    data = split_in_two(tmp_path, {"a/0.png": one, "b/0.png": flat, "b/1.png": grey(3)})
    assert data.x_train.shape[-1] == 1
    np.testing.assert_array_equal(pixels(data.x_train, data)[0, ..., 0], np.asarray(flat))


def test_the_orientation_of_a_jpeg_is_applied(tmp_path):
    fill(tmp_path / "plain", some(2, suffix="jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = split_in_two(tmp_path / "turned", some(2, suffix="jpg"), exif=exif)
    assert data.x_train.shape[1:] == (5, 6, 3)
    with Image.open(tmp_path / "turned/train/bee/0.jpg") as image:
        upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(pixels(data.x_train, data)[0], upright)


# --- sizes ------------------------------------------------------------------------------------

SIZES = [(20, 30), (10, 40), (16, 16), (12, 11), (30, 9), (14, 50)]


def sized() -> dict:
    return {
        f"{name}/{i}.png": picture([i, k], *SIZES[3 * k + i])
        for k, name in enumerate(("a", "b"))
        for i in range(3)
    }


@pytest.mark.parametrize("side", [None, 8, 24])
def test_mixed_sizes_are_cropped_and_resized_by_pillow_and_said(tmp_path, side):
    images = sized()
    for part in ("train", "test"):
        fill(tmp_path / part, images)
    data = loaded(tmp_path, image_size=side)
    # The shorter sides are 20, 10, 16, 11, 9, 14.
    wanted = side or round((11 + 14) / 2)
    expected = np.stack(
        [np.asarray(ImageOps.fit(images[name], (wanted, wanted))) for name in sorted(images)]
    )
    np.testing.assert_array_equal(pixels(data.x_train, data), expected)
    assert said(data, rf"6 sizes, from 11x12 to 50x14 .* resized to {wanted}x{wanted}\.")


def test_equal_sizes_stay_as_they_are_though_not_square(tmp_path):
    data = split_in_two(tmp_path, some(2))
    assert data.x_train.shape == (6, 6, 5, 3)
    assert not said(data, "resized")


def test_equal_sizes_are_brought_to_an_image_size(tmp_path):
    images = some(2)
    for part in ("train", "test"):
        fill(tmp_path / part, images)
    data = loaded(tmp_path, image_size=4)
    expected = np.stack([np.asarray(ImageOps.fit(images[n], (4, 4))) for n in sorted(images)])
    np.testing.assert_array_equal(pixels(data.x_train, data), expected)
    assert said(data, "images of 5x6 pixels .* resized to 4x4")


def test_threads_keep_the_order(tmp_path, monkeypatch):
    images = some(6)
    alone = split_in_two(tmp_path, images)
    monkeypatch.setattr(reading, "LEAST_PIXELS", 1)
    monkeypatch.setattr(reading, "IMAGES_AT_ONCE", 4)
    threaded = loaded(tmp_path)
    np.testing.assert_array_equal(threaded.x_train[:], alone.x_train[:])
    np.testing.assert_array_equal(threaded.y_train, alone.y_train)


# --- memory -----------------------------------------------------------------------------------


def test_images_in_a_file_are_those_in_memory(tmp_path, monkeypatch):
    fill(tmp_path, some(10))
    memory = loaded(tmp_path)
    monkeypatch.setattr(store, "MEMORY_LIMIT", 100)
    file = loaded(tmp_path)
    assert isinstance(memory.x_train.pixels, np.ndarray)
    assert isinstance(file.x_train.pixels, FilePixels)
    rng = np.random.default_rng(0)
    keys = [slice(None), slice(3, 9, 2), slice(5, 2, -1), slice(4, 4), np.array([5]), -1]
    keys += [rng.integers(0, 24, 40), np.array([2, 3, 4, 9, 8, 7, 7]), np.array([], int)]
    for key in keys:
        for one, other in ((memory.x_train, file.x_train), (memory.x_test, file.x_test)):
            if isinstance(key, np.ndarray):
                key = key % len(one)
            np.testing.assert_array_equal(one[key], other[key])
            assert other[key].dtype == np.float32
    np.testing.assert_array_equal(memory.pixel_mean, file.pixel_mean)
    np.testing.assert_array_equal(memory.pixel_deviation, file.pixel_deviation)


def test_the_file_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path))
    pixels = FilePixels((3, 2, 2, 1))
    assert list(tmp_path.iterdir()) == []
    pixels[1] = np.full((2, 2, 1), 7, np.uint8)
    assert pixels[1].sum() == 28
    pixels.file.close()
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    fill(tmp_path, some(4))
    monkeypatch.setattr(store, "MEMORY_LIMIT", 100)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=50))
    with pytest.raises(InputError, match="TMPDIR.*image_size"):
        loaded(tmp_path)


STREAM = """
import resource, sys
import numpy as np
from repdyn_keras.datasets import Images, store
from repdyn_keras.datasets.images import pixel_moments
store.MEMORY_LIMIT = 2**20
pixels = store.room_for((2000, 256, 256, 3))
image = np.zeros((256, 256, 3), np.uint8)
for row in range(len(pixels)):
    image[0, 0] = row % 256
    pixels[row] = image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = Images(pixels, *pixel_moments(pixels))
rng = np.random.default_rng(0)
for _ in range(8):
    images[rng.integers(0, 2000, 16)]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_reading_from_a_file_does_not_fill_the_memory():
    result = subprocess.run(
        [sys.executable, "-c", STREAM], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(result.stdout) < 200, "393 MB of images passed through"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_moments_in_parts_are_those_of_all_at_once(monkeypatch, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50, 7, 6, 3)).astype(dtype)
    whole = x.astype(np.float64)
    rows = rng.permutation(50)[:33]
    monkeypatch.setattr("repdyn_keras.datasets.images.AT_ONCE", 2000)
    for chosen in (None, rows):
        mean, deviation = pixel_moments(x, chosen)
        used = whole if chosen is None else whole[chosen]
        np.testing.assert_allclose(mean, used.mean(axis=(0, 1, 2)), rtol=1e-7)
        np.testing.assert_allclose(deviation, used.std(axis=(0, 1, 2)), rtol=1e-6)
    assert AT_ONCE > 2000


def test_images_are_standardized_when_they_are_taken():
    x = noise(0, 8, 8, 3)[None].repeat(4, axis=0)
    mean, deviation = pixel_moments(x)
    images = Images(x, mean, deviation, np.array([3, 1]))
    assert (len(images), images.shape, images.dtype) == (2, (2, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(images[:], standardize(x[[3, 1]], mean, deviation))
    np.testing.assert_array_equal(images[0], standardize(x[3], mean, deviation))


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_folder_is_trained_on_from_its_files_to_its_dynamics(tmp_path, monkeypatch):
    import keras

    from repdyn_keras import run
    from repdyn_keras.experiment.watching import Watcher

    monkeypatch.chdir(tmp_path)
    # Pictures take most of a tiny run's time.
    monkeypatch.setattr("repdyn_keras.figures.draw_all", lambda *args, **more: [])
    heard = []

    class Listener(Watcher):
        def started(self, folder, config, plan):
            heard.append("started")

        def said(self, text):
            heard.append(text)

    fill(tmp_path / "set", some(20) | {"owl/big.png": picture(9, 12, 14)})
    options = {"epochs": 1, "planes": 3, "resolution": 4, "n_eval": 16, "cka_batch": 8}
    finished = run(
        {
            "backend": keras.backend.backend(),
            "dataset": f"folder:{tmp_path / 'set'}",
            "model": "resnet",
            "width": 2,
            "blocks": (1,),
            "batch_size": 16,
            "probe_images": 20,
            "image_size": 8,
            **options,
        },
        watcher=Listener(),
    )
    assert finished.folder.path.name == "set-resnet-sgd-s0"
    assert finished.dynamics.sizes["epoch"] == 2
    constants = finished.folder.constants()
    assert constants["plane_image"].shape[2:] == (8, 8, 3)
    assert heard[0] == "started"
    assert any("resized to 8x8" in text for text in heard)
    assert any("were split off" in text for text in heard)

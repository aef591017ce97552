"""Image folders: splits, and the conversion of files of any format to images of one shape."""

import io
import re
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import BACKEND, Watcher, assert_input_error, contents, run
from PIL import Image, ImageOps

from repdyn_keras.config import Config
from repdyn_keras.datasets import Images, load, reading
from repdyn_keras.datasets import images as store
from repdyn_keras.datasets.folder import find_files
from repdyn_keras.datasets.images import FilePixels, pixel_moments

pytestmark = pytest.mark.one_backend

CLASSES = ("bee", "cat", "owl")


def noise(seed, height=6, width=5, channels=3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(*arguments) -> Image.Image:
    return Image.fromarray(noise(*arguments))


def grey(seed) -> Image.Image:
    return picture(seed, 6, 5, 1)


def save_images(root, images: dict, **options):
    """Saves images, or the bytes of files, under their paths; returns the root."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, **options)
    return root


def images_of(count=5, classes=CLASSES, make=picture, suffix="png", part="") -> dict:
    """`count` images of each class, by path."""
    return {
        f"{part}{name}/{i}.{suffix}": make([i, label, len(part)])
        for label, name in enumerate(classes)
        for i in range(count)
    }


def loaded(root, **options):
    return load(Config(dataset=f"folder:{root}", label_noise=0, **options))


def pixels(images, data) -> np.ndarray:
    """The pixels that images had before they were standardized."""
    back = images[:].astype(np.float64) * data.pixel_deviation + data.pixel_mean
    assert np.abs(back - back.round()).max() < 1e-2
    return back.round().astype(images.pixels.dtype)


def split_in_two(root, images: dict, **options):
    """The same images in `train` and `test`, so that their order is known."""
    for part in ("train", "test"):
        save_images(root / part, images)
    return loaded(root, **options)


def in_order(images: dict, convert=np.asarray) -> np.ndarray:
    return np.stack([convert(images[name]) for name in sorted(images)])


def notes_matching(data, pattern) -> bool:
    return any(re.search(pattern, note) for note in data.notes)


def test_class_folders_are_split_stratified_by_the_data_seed(tmp_path):
    images = images_of(10)
    save_images(tmp_path, images)
    data = loaded(tmp_path, test_share=0.3, data_seed=1)
    assert data.class_names == CLASSES
    assert np.bincount(data.y_train).tolist() == [7, 7, 7]
    assert np.bincount(data.y_test).tolist() == [3, 3, 3]
    both = np.concatenate([pixels(data.x_train, data), pixels(data.x_test, data)])
    labels = np.concatenate([data.y_train, data.y_test])
    found = {(image.tobytes(), int(label)) for image, label in zip(both, labels, strict=True)}
    assert found == {
        (np.asarray(image).tobytes(), CLASSES.index(name.split("/")[0]))
        for name, image in images.items()
    }
    again, other = (loaded(tmp_path, test_share=0.3, data_seed=s) for s in (1, 2))
    np.testing.assert_array_equal(again.x_train[:], data.x_train[:])
    assert not np.array_equal(other.x_train[:], data.x_train[:])
    assert notes_matching(data, "9 of 30 were split off")
    raw = pixels(data.x_train, data)
    np.testing.assert_allclose(data.pixel_mean, raw.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.pixel_deviation, raw.std(axis=(0, 1, 2)), rtol=1e-6)
    noisy = load(Config(dataset=f"folder:{tmp_path}", data_seed=1, test_share=0.3, label_noise=0.5))
    np.testing.assert_array_equal(noisy.true_train, data.y_train)
    assert 0.1 < np.mean(noisy.y_train != noisy.true_train) < 0.9


def test_an_existing_split_is_used_and_other_folders_are_ignored(tmp_path):
    for test, more in (("validation", {}), ("val", {}), ("test", images_of(1, part="val/"))):
        train, other = images_of(4, part="train/"), images_of(2, part=f"{test}/")
        data = loaded(save_images(tmp_path / test, train | other | more))
        for images, labels, files in (
            (data.x_train, data.y_train, train),
            (data.x_test, data.y_test, other),
        ):
            np.testing.assert_array_equal(pixels(images, data), in_order(files), err_msg=test)
            np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], len(files) // 3))
        assert notes_matching(data, f"split of .* is used: train and {test}")
        assert notes_matching(data, "ignored: val") == bool(more)


def test_image_files_are_recognized_by_suffix_and_others_are_ignored(tmp_path):
    suffixes = ("png", "jpg", "JPEG", "bmp", "WebP", "gif", "TIF", "tiff", "ppm")
    for number, suffix in enumerate(suffixes):
        for part in ("train", "test"):
            save_images(tmp_path / part, images_of(1, suffix=f"{number}.{suffix}"))
    hidden = ("bee/Thumbs.db", "cat/desktop.ini", "cat/.hidden.png", ".DS_Store")
    for name in ("notes.txt", "bee/a.TXT", "owl/a.HEIC", "owl/b.svg", "bee/b.heic", *hidden):
        (tmp_path / "train" / name).write_bytes(b"no image")
    (tmp_path / "train" / ".git" / "x").mkdir(parents=True)
    (tmp_path / "train" / "owl" / ".cache").mkdir()
    (tmp_path / "train" / "__MACOSX").mkdir()
    data = loaded(tmp_path)
    assert len(data.x_train) == 3 * len(suffixes)
    for number, suffix in enumerate(suffixes):
        with Image.open(tmp_path / f"train/bee/0.{number}.{suffix}") as image:
            found = pixels(data.x_train, data)[number]
            np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
    assert notes_matching(data, r"2 files in .* are not images and were ignored: .txt\.")
    assert notes_matching(data, r"kinds that are not read were left out: 2 .heic, 1 .svg\.")


TWO, OTHER = images_of(2), images_of(2, ("bee", "cat", "dog"), part="test/")
TRAIN, TEST = images_of(2, part="train/"), images_of(2, part="test/")
# Files, and parts of the message.
LAYOUTS = {
    "empty": ({}, "holds no class folders"),
    "flat": ({"a.png": picture(1)}, "holds no class folders"),
    "one class": (images_of(3, ("bee",)), "one class folder, 'bee'"),
    "one class in train": (images_of(2, ("bee",), part="train/") | TEST, "one class folder, 'bee'"),
    "nested": (TWO | {"deep/bee/1.png": picture(1)}, "too deep.*holds folders, such as 'bee'"),
    "no images": (TWO | {"dog/0.txt": b"a"}, "gif.*dog holds no images, but 1 .txt.*Remove"),
    "other images": (TWO | {"dog/0.dcm": b"a"}, "but 1 .dcm files. Convert its .dcm files"),
    "train alone": (TRAIN, "not both a training.*To split off test images"),
    "val alone": (images_of(2, part="Val/"), "holds Val, but not both a training"),
    "train and test images": (TRAIN | {"test/0.png": picture(1)}, "not both a training"),
    "two training parts": (TRAIN | TEST | images_of(1, part="Training/"), "several parts"),
    "no classes": ({f"{part}/a.png": picture(1) for part in ("train", "test")}, "but not both"),
    "other classes": (TRAIN | OTHER, r"only in test: dog; only in train: owl"),
    "a class of one image": (TWO | {"dog/0.png": picture(9)}, "Expected at least 2.*'dog' has 1"),
}


def test_a_layout_that_cannot_be_used_is_rejected(tmp_path):
    for number, (name, (images, words)) in enumerate(LAYOUTS.items()):
        root = tmp_path / str(number)
        root.mkdir()
        message = assert_input_error(name, words, loaded, save_images(root, images))
        assert str(root) in message and "Expected" in message, name
        assert len(message.splitlines()) < 6, name
    assert_input_error("missing", "Expected.*does not exist", loaded, tmp_path / "none")
    assert_input_error("a file", "Expected.*is a file", loaded, tmp_path / "1" / "a.png")


def parts(train, test) -> dict:
    """One image of each class, three in training, by path."""
    return images_of(3, part=train) | images_of(1, part=test)


# Files, the folders of the training and the test images, and the other folders at the top.
SPLITS = {
    "test before val": (parts("train/", "test/") | images_of(1, part="val/"), "train", "test"),
    "no test": (parts("training/", "validation/"), "training", "validation"),
    "other case": (parts("TRAIN/", "Testing/"), "TRAIN", "Testing"),
    "common prefix": (
        parts("seg_train/seg_train/", "seg_test/seg_test/") | {"seg_pred/0.png": picture(1)},
        "seg_train/seg_train",
        "seg_test/seg_test",
    ),
    "words without meaning": (parts("train_set/", "test-images/"), "train_set", "test-images"),
    "an extra folder": (parts("a/b/Train/", "a/b/Valid/"), "a/b/Train", "a/b/Valid"),
    "images beside others": (
        parts("images/train/", "images/test/") | {"labels/train/a.txt": b"x"},
        "images/train",
        "images/test",
    ),
    "test images without classes": (
        parts("train/", "val/") | {"test/0.png": picture(1)},
        "train",
        "val",
    ),
    "test images of one other folder": (
        parts("train/", "val/") | {"test/all/0.png": picture(1)},
        "train",
        "val",
    ),
    "masks": (
        parts("train/", "test/") | parts("train_masks/", "test_masks/"),
        "train",
        "test",
    ),
}


def test_splits_of_other_names_and_depths_are_recognized(tmp_path):
    for number, (name, (images, train, test)) in enumerate(SPLITS.items()):
        root = save_images(tmp_path / str(number), images)
        files = find_files(str(root))
        for part, found, count in ((train, files.train, 9), (test, files.test, 3)):
            assert len(found) == count, name
            for image in found:
                path = root / part / CLASSES[image.label]
                assert image.data.startswith(f"{path}/"), name
        # A note gives the folder of the parts and their paths in it.
        said = [note for note in files.notes if note.startswith(f"the split of {root}")]
        assert len(said) == 1, name
        assert all(part.rpartition("/")[2] in said[0] for part in (train, test)), name
        used = {part.partition("/")[0] for part in (train, test)}
        others = {path.partition("/")[0] for path in images} - used
        assert all(any(other in note for note in files.notes) for other in others), name


def test_classes_may_be_called_like_parts_and_be_absent_from_the_test_images(tmp_path):
    vehicles = images_of(2, ("train", "bus", "test", "car"))
    assert find_files(str(save_images(tmp_path / "vehicles", vehicles))).classes == (
        *("bus", "car", "test", "train"),
    )
    few = images_of(2, part="train/") | images_of(1, ("cat",), part="test/")
    data = loaded(save_images(tmp_path / "few", few))
    assert (data.n_classes, data.y_test.tolist()) == (3, [1])
    assert notes_matching(data, "test has no images of bee, owl")


def test_all_unreadable_images_are_named_in_one_error(tmp_path):
    broken = b"no image at all"
    half = (save_images(tmp_path / "source", images_of(1)) / "bee/0.png").read_bytes()[:60]
    several = {"bee/0.png": half, "bee/1.png": b"", "bee/2.png": b"<!DOCTYPE html>"}
    several |= {f"cat/{i}.png": broken for i in range(4)}
    reasons = (
        r"7 of 12 images.*bee/1\.png \(an empty file\); bee/2\.png \(an HTML page\); cat/0\.png, "
        r"cat/1\.png.*\(not an image that Pillow can read\)\. Repair"
    )
    many = {f"owl/{i}.png": broken for i in range(30)}
    wide = {"owl/9.png": picture(9, 20, 30)}
    for name, images, bad, words in (
        ("several", images_of(4), several, reasons),
        ("many", TWO | dict.fromkeys(many, picture(1)), many, r"30 of 34.*owl/26\.png.*10 more"),
        ("all", TWO, dict.fromkeys(TWO, broken), "6 of 6 images"),
        ("sizes", images_of(3) | wide, {"cat/1.png": broken}, r"1 of 10 images.*cat/1\.png"),
    ):
        save_images(tmp_path / name, images)
        for file, data in bad.items():
            (tmp_path / name / file).write_bytes(data)
        message = assert_input_error(name, words, loaded, tmp_path / name)
        assert len(message.splitlines()) < 6 and len(message) < 700, name
    for mode in ("F", "I"):
        grey(1).convert(mode).save(save_images(tmp_path / mode, TWO) / "cat/1.png", "TIFF")
        assert_input_error(mode, rf"cat/1\.png \(pixels of mode {mode}", loaded, tmp_path / mode)


def deep(seed) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 65_536, (6, 5), dtype=np.uint16)
    values[0, :2] = 0, 65_535
    return Image.fromarray(values)


def grey_palette(seed) -> Image.Image:
    image = grey(seed)
    image.putpalette(bytes(v for g in range(256) for v in (g, g, g)))
    assert image.mode == "P"
    return image


def palette(seed) -> Image.Image:
    return picture(seed).convert("P", palette=Image.Palette.ADAPTIVE)


def as_rgb(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def as_grey(image) -> np.ndarray:
    return np.asarray(image.convert("L"))[..., None]


def without_alpha(image) -> np.ndarray:
    return np.asarray(image)[..., :-1]


def one_channel(image) -> np.ndarray:
    return np.asarray(image)[..., None]


def test_every_mode_becomes_grey_or_rgb_bytes(tmp_path):
    dropped = "images have an alpha channel, which is dropped"
    for name, make, more, convert, note in (
        ("grey", grey, {}, as_grey, None),
        ("bits", lambda s: grey(s).convert("1"), {}, as_grey, None),
        ("grey with alpha", lambda s: grey(s).convert("LA"), {}, without_alpha, dropped),
        ("alpha", lambda s: picture(s, 6, 5, 4), {}, without_alpha, dropped),
        ("palette", palette, {}, as_rgb, None),
        ("palette of greys", grey, {"owl/9.png": grey_palette(3)}, as_grey, None),
        ("16 bits", deep, {}, one_channel, "12 of 12 .* 16 bits per channel, values 0 to 65535"),
        ("grey among colour", grey, {"owl/9.png": picture(9)}, as_rgb, "12 of 14 images are grey"),
    ):
        images = images_of(2, make=make) | more
        data = split_in_two(tmp_path / name, images)
        expected = in_order(images, convert)
        np.testing.assert_array_equal(pixels(data.x_train, data), expected, err_msg=name)
        notes = [n for n in data.notes if re.search(r"of \d+ images|resized", n)]
        assert len(notes) == (note is not None), name
        assert note is None or notes_matching(data, note), name


def deep_png(values: np.ndarray) -> bytes:
    """A PNG file of 16 bits; values (height, width, 2: grey and alpha, 3: RGB or 4: RGBA)."""
    height, width, channels = values.shape
    colour = {2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    packed = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")):
        file += (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )
    return file


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_16_bits_keeps_all_bits(tmp_path, channels):
    drawn = {
        name: np.random.default_rng([i, channels]).integers(0, 65_536, (6, 5, channels), np.uint16)
        for i, name in enumerate(images_of(2))
    }
    data = split_in_two(tmp_path, {name: deep_png(values) for name, values in drawn.items()})
    kept = in_order(drawn)[..., : 1 if channels == 2 else 3]
    np.testing.assert_array_equal(pixels(data.x_train, data), kept)


def test_scans_of_16_bits_equal_the_same_scans_as_an_archive(tmp_path, monkeypatch):
    scans = np.random.default_rng(0).integers(1000, 1192, (12, 6, 5), dtype=np.uint16)
    images = dict(zip(sorted(images_of(4)), map(Image.fromarray, scans), strict=True))
    labels = np.repeat([0, 1, 2], 4)
    archive = tmp_path / "scans.npz"
    np.savez(archive, x_train=scans, y_train=labels, x_test=scans, y_test=labels)
    expected = load(Config(dataset=f"npz:{archive}", label_noise=0))
    for limit in (store.MEMORY_LIMIT, 100):
        monkeypatch.setattr(store, "MEMORY_LIMIT", limit)
        data = split_in_two(tmp_path / str(limit), images)
        np.testing.assert_allclose(data.x_train[:], expected.x_train[:], rtol=1e-6, atol=1e-6)
        assert notes_matching(data, "values 1000 to 1192|values 1000 to 1191")
        raw = loaded(tmp_path / str(limit), standardize=False)
        np.testing.assert_array_equal(raw.x_test[:][..., 0], scans)


def test_images_of_8_bits_among_16_are_scaled_in_any_order(tmp_path):
    for name in ("bee/9.png", "owl/9.png"):
        images = images_of(2, make=grey) | {name: deep(1)}
        data = split_in_two(tmp_path / name[:3], images)
        expected = in_order(
            images, lambda image: one_channel(image) * np.uint16(1 if image.mode == "I;16" else 257)
        )
        np.testing.assert_array_equal(pixels(data.x_train, data), expected)
        assert notes_matching(data, "2 of 14 images have 16 bits.*of 8 bits are multiplied by 257")


def test_images_of_16_bits_are_resized_like_those_of_8(tmp_path):
    def doubled(image):
        return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)

    small = {f"{'ab'[i % 2]}/{i}.png": picture(i, 9 + i, 14, 1) for i in range(6)}
    bytes_, words = (
        split_in_two(tmp_path / name, {n: make(image) for n, image in small.items()}, image_size=8)
        for name, make in (("8", lambda image: image), ("16", doubled))
    )
    difference = pixels(words.x_train, words) / 257 - pixels(bytes_.x_train, bytes_)
    # Pillow rounds bytes after each of two passes.
    assert np.abs(difference).max() < 2


def glyph(value, image_id=0, mode="RGBA") -> Image.Image:
    """A glyph of one grey value; only its alpha channel has content."""
    image = Image.new(mode, (5, 6), (*(value,) * (len(mode) - 1), 0))
    alpha = noise(image_id, channels=1)
    alpha[0, :2] = 0, 255
    image.putalpha(Image.fromarray(alpha))
    return image


def test_images_with_content_in_alpha_alone_are_composited_on_one_background(tmp_path):
    def alike(value):
        return lambda seed: glyph(value, seed)

    def different(seed):
        return glyph(255 * (seed[0] % 2), seed)

    def behind(value):
        def composited(image):
            base = Image.new("RGBA", image.size, (value, value, value, 255))
            return np.asarray(Image.alpha_composite(base, image.convert("RGBA")).convert("RGB"))

        return composited

    photo = {"owl/9.png": picture(9)}
    varied = images_of(3, make=lambda seed: picture(seed, 6, 5, 4)) | {"owl/9.png": glyph(0)}
    for name, images, convert, words in (
        ("black", images_of(2, make=alike(0)), behind(255), "content of 12 .* on white"),
        ("white", images_of(2, make=alike(255)), behind(0), "content of 12 .* on black"),
        ("both", images_of(2, make=different), behind(128), "content of 12 .* on grey"),
        ("photo", images_of(2, make=alike(0)) | photo, behind(255), "12 of 14 .* on white"),
        ("varied", varied, lambda image: np.asarray(image)[..., :3], "dropped, although .* of 2"),
    ):
        data = split_in_two(tmp_path / name, images)
        found, expected = pixels(data.x_train, data).astype(int), in_order(images, convert)
        assert np.abs(found - expected).max() <= 1, name
        assert notes_matching(data, words), name


def test_the_first_of_several_frames_is_read_with_a_note(tmp_path):
    def frames(kind):
        def make(seed):
            file = io.BytesIO()
            grey(seed).save(file, kind, save_all=True, append_images=[grey([*seed, 1])])
            return file.getvalue()

        return make

    for suffix in ("gif", "tiff", "png"):
        images = images_of(1, make=frames(suffix), suffix=suffix)
        data = split_in_two(tmp_path / suffix, images)
        expected = in_order(images_of(1, make=grey, suffix=suffix), one_channel)
        np.testing.assert_array_equal(pixels(data.x_train, data), expected)
        assert notes_matching(data, r"6 of 6 images have several frames.*train/bee/0")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("make", [grey, deep, picture])
def test_the_orientation_of_other_files_is_applied(tmp_path, make, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    images = images_of(1, make=make, suffix=suffix)
    for part in ("train", "test"):
        save_images(tmp_path / part, images, exif=exif)
    data = loaded(tmp_path)
    turned = np.rot90(in_order(images), -1, axes=(1, 2))
    np.testing.assert_array_equal(pixels(data.x_train, data), turned.reshape(3, 5, 6, -1))
    assert notes_matching(data, "6 of 6 images are rotated by their EXIF orientation")


def test_the_orientation_of_a_jpeg_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for part in ("train", "test"):
        save_images(tmp_path / part, images_of(2, suffix="jpg"), exif=exif)
    data = loaded(tmp_path)
    assert data.x_train.shape[1:] == (5, 6, 3)
    with Image.open(tmp_path / "train/bee/0.jpg") as image:
        upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(pixels(data.x_train, data)[0], upright)


def test_images_of_mixed_sizes_are_cropped_and_resized_with_a_note(tmp_path):
    sizes = [(20, 30), (10, 40), (16, 16), (12, 11), (30, 9), (14, 50)]
    mixed = {f"{'ab'[i // 3]}/{i}.png": picture(i, *size) for i, size in enumerate(sizes)}
    six = "6 sizes, from 11x12 to 50x14 .* resized to"
    # The shorter sides are 20, 10, 16, 11, 9, 14.
    median = round((11 + 14) / 2)
    for name, images, side, wanted, note in (
        ("mixed", mixed, None, (median, median), f"{six} {median}x{median}"),
        ("smaller", mixed, 8, (8, 8), f"{six} 8x8"),
        ("larger", mixed, 24, (24, 24), f"{six} 24x24"),
        ("equal", images_of(2), None, (5, 6), None),
        ("equal and smaller", images_of(2), 4, (4, 4), "images of 5x6 pixels .* resized to 4x4"),
    ):
        data = split_in_two(tmp_path / name, images, image_size=side)
        fitted = in_order(images, lambda image, to=wanted: np.asarray(ImageOps.fit(image, to)))
        np.testing.assert_array_equal(pixels(data.x_train, data), fitted, err_msg=name)
        assert notes_matching(data, note or "resized") == (note is not None), name


def test_threads_keep_the_order(tmp_path, monkeypatch):
    images = images_of(6)
    monkeypatch.setattr(reading, "MIN_THREADED_PIXELS", 1)
    monkeypatch.setattr(reading, "MAX_CHUNK_IMAGES", 4)
    data = split_in_two(tmp_path, images)
    np.testing.assert_array_equal(pixels(data.x_train, data), in_order(images))
    np.testing.assert_array_equal(data.y_train, np.repeat([0, 1, 2], 6))


def test_images_in_a_temporary_file_equal_those_in_memory(tmp_path, monkeypatch):
    save_images(tmp_path, images_of(10))
    memory = loaded(tmp_path)
    monkeypatch.setattr(store, "MEMORY_LIMIT", 100)
    monkeypatch.setattr(store.tempfile, "tempdir", str(tmp_path / "bee"))
    before = contents(tmp_path)
    file = loaded(tmp_path)
    assert contents(tmp_path) == before, "the file has no name"
    assert isinstance(memory.x_train.pixels, np.ndarray)
    assert isinstance(file.x_train.pixels, FilePixels)
    rng = np.random.default_rng(0)
    keys = [slice(None), slice(3, 9, 2), slice(5, 2, -1), slice(4, 4), np.array([5]), -1]
    keys += [rng.integers(0, 24, 40), np.array([2, 3, 4, 9, 8, 7, 7]), np.array([], int)]
    for key in keys:
        for one, other in ((memory.x_train, file.x_train), (memory.x_test, file.x_test)):
            at = key % len(one) if isinstance(key, np.ndarray) else key
            np.testing.assert_array_equal(one[at], other[at])
            assert other[at].dtype == np.float32
    np.testing.assert_array_equal(memory.pixel_mean, file.pixel_mean)
    np.testing.assert_array_equal(memory.pixel_deviation, file.pixel_deviation)

    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=50))
    assert_input_error("no room", "TMPDIR.*image_size", loaded, tmp_path)


STREAM = """
import resource
import numpy as np
from repdyn_keras.datasets import Images, images as store
from repdyn_keras.datasets.images import pixel_moments
store.MEMORY_LIMIT = 2**20
pixels = store.allocate_pixels((2000, 256, 256, 3))
for row in range(len(pixels)):
    pixels[row] = np.full((256, 256, 3), row % 256, np.uint8)
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
    assert int(result.stdout) < 200, "393 MB of images were read"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_moments_computed_in_chunks_and_at_once_standardize_images(monkeypatch, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50, 7, 6, 3)).astype(dtype)
    x[..., 2] = 255
    for at_once, rows in ((2**25, None), (2000, None), (2000, rng.permutation(50)[:33])):
        monkeypatch.setattr("repdyn_keras.datasets.images.MAX_CHUNK", at_once)
        mean, deviation = pixel_moments(x, rows)
        used = (x if rows is None else x[rows]).astype(np.float64)
        np.testing.assert_allclose(mean, used.mean(axis=(0, 1, 2)), rtol=1e-7)
        np.testing.assert_allclose(deviation[:2], used.std(axis=(0, 1, 2))[:2], rtol=1e-6)
        assert deviation[2] == 1, "a constant channel stays finite"
    images = Images(x, mean, deviation, np.array([3, 1]))
    assert (len(images), images.shape, images.dtype) == (2, (2, 7, 6, 3), np.float32)
    expected = (x[[3, 1]].astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(images[:], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(images[0], images[:][0])


@pytest.mark.long
def test_a_run_on_an_image_folder(tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    heard = []

    class Listener(Watcher):
        def message(self, text):
            heard.append(text)

    save_images(tmp_path / "set", images_of(20) | {"owl/big.png": picture(9, 12, 14)})
    sizes = {"width": 2, "blocks": (1,), "batch_size": 16, "image_size": 8, "epochs": 1}
    recorded = {"planes": 3, "resolution": 4, "n_eval": 16, "cka_batch": 8, "probe_images": 20}
    config = {"backend": BACKEND, "dataset": f"folder:{tmp_path / 'set'}", **sizes, **recorded}
    finished = run(config, watcher=Listener())
    assert finished.folder.path.name == "set-resnet-sgd-s0"
    assert [each for each in finished.epochs if each.is_integer()] == [0, 1]
    # The images are known by the names of their files.
    given = finished.images()
    assert set(given.index) < {*images_of(20), "owl/big.png"} and len(given) == 20
    classes = {name: index for index, name in enumerate(finished.dynamics.attrs["class_names"])}
    assert all(classes[name.split("/")[0]] == row.label_true for name, row in given.iterrows())
    assert finished.folder.constants()["plane_image"].shape[2:] == (8, 8, 3)
    assert any("resized to 8x8" in text for text in heard)
    assert any("were split off" in text for text in heard)

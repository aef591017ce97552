"""IDX files: their names, headers, conversions, and invalid files."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_input_error

from repdyn_keras.config import Config
from repdyn_keras.datasets import images as store
from repdyn_keras.datasets import load
from repdyn_keras.datasets.idx import find_idx_files, idx
from repdyn_keras.datasets.images import FilePixels
from repdyn_keras.errors import InputError

pytestmark = pytest.mark.without_keras

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
X = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)
Y = (np.arange(30) % 3).astype(np.uint8)
TRAIN = {"train-images-idx3-ubyte": X, "train-labels-idx1-ubyte": Y}
TEST = {"t10k-images-idx3-ubyte": X[:12], "t10k-labels-idx1-ubyte": Y[:12]}


def as_idx(array: np.ndarray, value_type: int = 0x08) -> bytes:
    """An array of bytes as an IDX file, written independently of the package."""
    return struct.pack(f">HBB{array.ndim}I", 0, value_type, array.ndim, *array.shape) + (
        array.tobytes()
    )


def write(folder: Path, files: dict) -> Path:
    """Writes arrays as IDX files, and bytes as they are; names in .gz are compressed."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else as_idx(content)
        packs = name.endswith(".gz") and not isinstance(content, bytes)
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if packs else data)
    return folder


def raw(folder: Path, **options):
    return idx(str(folder), **{"seed": 0, "test_share": 0.3, **options})


def renamed(change, files=None) -> dict:
    return {change(name): array for name, array in (files or TRAIN | TEST).items()}


def assert_whole(data, case=""):
    """The images are those of the four files, unchanged."""
    np.testing.assert_array_equal(data.train, X[..., None], err_msg=case)
    np.testing.assert_array_equal(data.test, X[:12, ..., None], err_msg=case)
    np.testing.assert_array_equal(data.y_train, Y, err_msg=case)
    np.testing.assert_array_equal(data.y_test, Y[:12], err_msg=case)
    assert data.train.dtype == np.uint8 and data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.n_classes == 3 and data.train_rows is None and data.notes == (), case


NAMES = {
    "plain": lambda name: name,
    "compressed": lambda name: f"{name}.gz",
    "one of them compressed": lambda name: name + ".gz" * ("train-images" in name),
    "dots": lambda name: name.replace("-idx", ".idx"),
    "underscores": lambda name: name.replace("-", "_"),
    "test": lambda name: name.replace("t10k", "test"),
    "EMNIST": lambda name: f"emnist-letters-{name.replace('t10k', 'test')}.gz",
    "capitals": str.upper,
}


def test_files_of_every_usual_name_are_read_unchanged(tmp_path):
    for index, (case, change) in enumerate(NAMES.items()):
        assert_whole(raw(write(tmp_path / str(index), renamed(change))), case)


def test_other_files_hidden_files_and_copies_are_ignored(tmp_path):
    folder = write(tmp_path / "set", TRAIN | TEST)
    write(folder, {"readme.txt": b"", ".train-images-idx3-ubyte": b"", "x_train.npy": b""})
    write(folder, {f"{name}.gz": b"a damaged copy" for name in TRAIN})
    (folder / "train-images.idx3-ubyte").mkdir()
    write(folder, {"emnist-train-images-idx3-ubyte": b"without labels"})
    assert_whole(raw(folder))


def test_content_decides_whether_a_file_is_compressed(tmp_path):
    files = {f"{name}.gz": as_idx(array) for name, array in TRAIN.items()}
    files |= {name: gzip.compress(as_idx(array)) for name, array in TEST.items()}
    assert_whole(raw(write(tmp_path / "set", files)))


def test_without_test_files_a_stratified_share_is_split_off(tmp_path):
    folder = write(tmp_path / "set", TRAIN)
    data = load(Config(dataset=f"idx:{folder}", test_share=0.3, label_noise=0, standardize=False))
    assert np.bincount(data.y_train).tolist() == [7, 7, 7]
    assert "9 of 30 were split off" in " ".join(data.notes)
    both = np.concatenate([data.x_train[:], data.x_test[:]])
    labels = np.concatenate([data.y_train, data.y_test])
    found = {(image.tobytes(), label) for image, label in zip(both, labels, strict=True)}
    assert found == {(x.tobytes(), y) for x, y in zip(X.astype(np.float32), Y, strict=True)}
    same, other = (raw(folder, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(same.train_rows, raw(folder).train_rows)
    assert not np.array_equal(same.train_rows, other.train_rows)


def test_images_of_four_axes_have_channels_which_are_moved_to_the_end(tmp_path):
    for shape, moved in (((6, 5, 3), False), ((3, 6, 5), True), ((6, 5, 7), False)):
        x = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
        files = {"train-images-idx4-ubyte": x, "train-labels-idx1-ubyte": Y}
        data = raw(write(tmp_path / str(shape), files))
        expected = np.moveaxis(x, 1, -1) if moved else x
        np.testing.assert_array_equal(data.train, expected)
        assert ("channels are moved" in " ".join(data.notes)) == moved


def test_labels_that_begin_at_one_have_an_unused_class_as_in_archives(tmp_path):
    folder = write(tmp_path / "set", TRAIN | TEST | {"train-labels-idx1-ubyte": Y + 1})
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y + 1, x_test=X[:12], y_test=Y[:12])
    ours = load(Config(dataset=f"idx:{folder}"))
    archive = load(Config(dataset=f"npz:{tmp_path / 'a.npz'}"))
    assert ours.n_classes == archive.n_classes == 4
    assert "no training image has the label 0, of 4" in " ".join(ours.notes)
    for name in ("x_train", "x_test"):
        np.testing.assert_array_equal(getattr(ours, name)[:], getattr(archive, name)[:])
    for name in ("y_train", "y_test", "true_train", "pixel_mean"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(archive, name))


def test_large_images_are_kept_in_a_file(tmp_path, monkeypatch):
    folder = write(tmp_path / "set", renamed(NAMES["compressed"]))
    monkeypatch.setattr(store, "MEMORY_LIMIT", 300)
    data = raw(folder)
    assert isinstance(data.train, FilePixels) and isinstance(data.test, np.ndarray)
    np.testing.assert_array_equal(data.train[:], X[..., None])


def packed(array) -> bytes:
    return gzip.compress(as_idx(array), mtime=0)


def bad_checksum(array) -> bytes:
    data = bytearray(packed(array))
    data[-6] ^= 1
    return bytes(data)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
CUT = as_idx(X)[:-5]
# Changes to the four files, None for a missing one, and parts of the message.
INVALID = {
    "no labels": ({LABELS: None}, "lacks train labels.*Received: t10k-images-idx3-ubyte, t10k"),
    "no training": ({IMAGES: None, LABELS: None}, "lacks train images and train labels.*t10k"),
    "half a test part": ({"t10k-images-idx3-ubyte": None}, "lacks test images"),
    "nothing": (dict.fromkeys(TRAIN | TEST), "lacks train.*Received: no files"),
    "truncated": ({IMAGES: CUT}, "is truncated.*Expected 616 bytes.*Received: 611 bytes"),
    "too long": ({IMAGES: as_idx(X) + b"x"}, "is too long.*Expected 616 bytes.*Received: more"),
    "half a header": ({IMAGES: as_idx(X)[:9]}, "truncated.*at least 16 bytes.*Received: 9 bytes"),
    "an empty file": ({IMAGES: b""}, "not an IDX file of images.*a file of 0 bytes"),
    "labels as images": ({IMAGES: Y}, "0x00000803 or 0x00000804.*0x00000801, unsigned"),
    "images as labels": ({LABELS: X}, "of labels.*magic 0x00000801. Received: magic 0x00000803"),
    "floats": ({IMAGES: as_idx(X, 0x0D)}, "0x00000d03, 32-bit floats of 3 axes"),
    "a web page": ({IMAGES: b"<!DOCTYPE html>"}, "magic 0x3c21444f, which is no IDX file"),
    "little endian": ({IMAGES: b"\x03\x08\0\0" + bytes(12)}, "0x03080000, which is no IDX"),
    "no images": ({IMAGES: X[:0], LABELS: Y[:0]}, "is empty.*Received: shape 0 x 5 x 4"),
    "images of no size": ({IMAGES: X[:, :0]}, "is empty.*Received: shape 30 x 0 x 4"),
    "fewer labels": ({LABELS: Y[:29]}, "Expected one label per image.*29 labels of 30 images"),
    "other sizes": ({"t10k-images-idx3-ubyte": X[:12, :3]}, "same size.*5 x 4 and 3 x 4"),
    "truncated gzip": ({IMAGES: packed(X)[:-20]}, "Cannot read.*compressed by gzip.*ended"),
    "damaged gzip": ({IMAGES: bad_checksum(X)}, "Cannot read.*compressed by gzip.*CRC"),
    "truncated inside gzip": ({IMAGES: gzip.compress(CUT)}, "truncated.*616 bytes.*611 bytes"),
    "two names": ({"train_images.idx3_ubyte": X}, "several files of train images.*Remove"),
    "two sets": (renamed(lambda n: f"a-{n}") | {}, "several data sets.*Received: a-train-images"),
    "one class": ({LABELS: 0 * Y, "t10k-labels-idx1-ubyte": 0 * Y[:12]}, "one class"),
}


def test_an_invalid_folder_is_rejected_with_the_reason(tmp_path):
    for index, (case, (changes, words)) in enumerate(INVALID.items()):
        files = {name: each for name, each in (TRAIN | TEST | changes).items() if each is not None}
        folder = write(tmp_path / str(index), files)
        config = Config(dataset=f"idx:{folder}")
        assert str(folder) in assert_input_error(case, words, load, config), case
    assert_input_error("no folder", "does not exist", raw, tmp_path / "none")
    assert_input_error("a file", "which is a file", raw, folder / IMAGES)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_hostile_header_allocates_nothing(tmp_path, pack):
    for shape in ((2**31, 28, 28), (2**32 - 1,) * 3, (30, 2**31, 2**31)):
        header = struct.pack(">HBB3I", 0, 0x08, 3, *shape)
        folder = write(tmp_path / "set", TRAIN | {IMAGES: pack(header + bytes(1000))})
        expected = 16 + shape[0] * shape[1] * shape[2]
        tracemalloc.start()
        words = f"truncated.*Expected {expected} bytes.*Received: 1016 bytes"
        assert_input_error(shape, words, raw, folder)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * 2**20


def test_damaged_files_are_read_or_rejected(tmp_path):
    """Whatever byte is wrong: never another exception, and never images of another number."""
    n_rejected = 0
    for whole in (as_idx(X), packed(X)):
        for at in range(0, len(whole), max(1, len(whole) // 60)):
            damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
            folder = write(tmp_path / "set", TRAIN | TEST | {IMAGES: damaged})
            try:
                assert raw(folder).train.shape == (30, 5, 4, 1)
            except InputError:
                n_rejected += 1
    assert n_rejected > 55


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_files_of_fashion_mnist_are_read():
    assert len(find_idx_files(str(DEBIAN))) == 4
    data = raw(DEBIAN)
    assert data.train.shape == (60_000, 28, 28, 1) and data.test.shape == (10_000, 28, 28, 1)
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    with gzip.open(DEBIAN / "train-images-idx3-ubyte.gz") as file:
        expected = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    np.testing.assert_array_equal(data.train[..., 0], expected)

"""TFDS data sets: read from their files alone, without the network, and without TensorFlow."""

import dataclasses
import re
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from repdyn_keras.config import Config
from repdyn_keras.datasets import keep_tensorflow_off_gpus, load
from repdyn_keras.datasets.prepared import find_prepared, list_prepared
from repdyn_keras.errors import InputError

pytest.importorskip("tensorflow_datasets")
# Preparing the sets takes it, reading some of them does not.
pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs tensorflow")

# Makes every data set of these tests, in a process of its own: their code is not importable here.
MAKER = """
import sys
import numpy as np
import tensorflow_datasets as tfds
import tensorflow as tf

out, PNG = sys.argv[1], {"encoding_format": "png"}
rng = np.random.default_rng(0)

def make(name, shape, splits, image="image", label="label", supervised=True, configs=(),
         images=None, file_format="array_record", label_feature=None,
         classes=("owl", "cat", "bee")):
    def info(self):
        features = {
            "id": tfds.features.Text(),
            image: tfds.features.Image(shape=shape, **PNG),
            label: label_feature or tfds.features.ClassLabel(names=list(classes)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=(image, label) if supervised else None,
        )

    def generate(self, split):
        count, unlabelled = splits[split]
        for i in range(count):
            value = -1 if unlabelled else i % len(classes)
            yield f"{i:04d}", {"id": f"{split}{i}", image: images(i, split), label: value}

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "RELEASE_NOTES": {"1.0.0": "test"},
        "_info": info,
        "_split_generators": lambda self, dl: {s: self._generate_examples(s) for s in splits},
        "_generate_examples": generate,
        "__module__": "made_for_the_test",
    }
    if configs:
        body["BUILDER_CONFIGS"] = [
            tfds.core.BuilderConfig(name=c, version="1.0.0", description=c) for c in configs
        ]
    cls = type(name, (tfds.core.GeneratorBasedBuilder,), body)
    cls.pkg_dir_path = None
    for config in configs or (None,):
        builder = cls(data_dir=out, config=config, file_format=file_format)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )

def noise(height, width, channels):
    return lambda i, split: np.random.default_rng([i, len(split)]).integers(
        0, 256, (height, width, channels), dtype=np.uint8)

def mixed(i, split):
    return noise(8 + i % 3, 9, 3)(i, split)

both = {"train": (30, False), "test": (12, False)}
make("Arrays", (6, 5, 3), both, images=noise(6, 5, 3))
make("Records", (6, 5, 3), both, images=noise(6, 5, 3), file_format="tfrecord")
make("Grey", (4, 4, 1), {"train": (30, False)}, images=noise(4, 4, 1))
make("Mixed", (None, None, 3), {"train": (30, False), "validation": (9, False)}, images=mixed)
make("Unlabelled", (4, 4, 3), {"train": (30, False), "test": (6, True), "validation": (9, False)},
     images=noise(4, 4, 3))
make("Named", (4, 4, 3), both, image="picture", label="kind", images=noise(4, 4, 3))
make("Plain", (4, 4, 3), both, supervised=False, images=noise(4, 4, 3))
make("Strange", (4, 4, 3), both, image="picture", supervised=False, images=noise(4, 4, 3))
make("Numbers", (4, 4, 3), both, images=noise(4, 4, 3),
     label_feature=tfds.features.Scalar(np.int64))
make("Heldout", (4, 4, 3), {"test": (9, False)}, images=noise(4, 4, 3))
make("Old", (4, 4, 3), both, images=noise(4, 4, 3))
make("Choices", (4, 4, 3), both, configs=("small", "large"), images=noise(4, 4, 3))
"""


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tfds")
    made = subprocess.run(
        [sys.executable, "-c", MAKER, str(out)], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-3000:]
    (out / "old" / "1.0.0" / "features.json").unlink()
    return out


def noise(i: int, split: str, shape) -> np.ndarray:
    """The image that the maker drew."""
    return np.random.default_rng([i, len(split)]).integers(0, 256, shape, dtype=np.uint8)


def loaded(data_dir, name, **options):
    return load(Config(dataset=f"tfds:{name}", data_dir=str(data_dir), label_noise=0, **options))


def pixels(images, data) -> np.ndarray:
    """The bytes that images had before they were standardized."""
    back = images[:].astype(np.float64) * data.pixel_deviation + data.pixel_mean
    assert np.abs(back - back.round()).max() < 1e-3
    return back.round().astype(np.uint8)


def in_order(images: np.ndarray, labels: np.ndarray):
    """Images and labels, sorted by the images' bytes."""
    order = sorted(range(len(images)), key=lambda i: images[i].tobytes())
    return images[order], np.asarray(labels)[order]


def assert_drawn(images, labels, split, count, shape):
    """They are the images that the maker drew, each with its label."""
    drawn = np.stack([noise(i, split, shape) for i in range(count)])
    expected = in_order(drawn, np.arange(count) % 3)
    found = in_order(images, labels)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.fixture
def offline(monkeypatch):
    """Every use of the network fails the test."""

    def refuse(*arguments, **options):
        raise AssertionError(f"the network was touched: {arguments}")

    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arrays", "arrays:1.0.0", "arrays:1.*.*", "records"])
def test_images_and_labels_are_those_that_were_written(data_dir, offline, name):
    data = loaded(data_dir, name)
    assert data.x_train.shape == (30, 6, 5, 3)
    assert_drawn(pixels(data.x_train, data), data.y_train, "train", 30, (6, 5, 3))
    assert_drawn(pixels(data.x_test, data), data.y_test, "test", 12, (6, 5, 3))
    assert data.class_names == ("owl", "cat", "bee")
    assert data.n_classes == 3
    assert any("test is used" in note for note in data.notes)


def test_both_file_formats_and_every_reading_give_the_same_order(data_dir):
    first = loaded(data_dir, "records")
    again = loaded(data_dir, "records")
    np.testing.assert_array_equal(first.x_train[:], again.x_train[:])
    np.testing.assert_array_equal(first.y_train, again.y_train)
    arrays = loaded(data_dir, "arrays")
    np.testing.assert_array_equal(arrays.x_train[:], loaded(data_dir, "arrays").x_train[:])


def test_a_set_of_one_split_is_split_by_its_shares_and_the_data_seed(data_dir):
    data = loaded(data_dir, "grey", data_seed=4)
    assert data.x_train.shape == (24, 4, 4, 1)
    assert np.bincount(data.y_test).tolist() == [2, 2, 2]
    both = np.concatenate([pixels(data.x_train, data), pixels(data.x_test, data)])
    labels = np.concatenate([data.y_train, data.y_test])
    assert_drawn(both, labels, "train", 30, (4, 4, 1))
    same, other = (loaded(data_dir, "grey", data_seed=s) for s in (4, 5))
    np.testing.assert_array_equal(same.x_test[:], data.x_test[:])
    assert not np.array_equal(other.x_test[:], data.x_test[:])
    assert any("test_share = 0.2" in note for note in data.notes)


def test_mixed_sizes_are_brought_to_one_and_that_is_said(data_dir):
    data = loaded(data_dir, "mixed")
    assert data.x_train.shape == (30, 9, 9, 3)
    assert data.x_test.shape == (9, 9, 9, 3)
    said = "3 sizes, from 9x8 to 9x10 pixels.*resized to 9x9"
    assert any(re.search(said, note) for note in data.notes)


def test_a_test_split_without_labels_is_left_for_the_next(data_dir):
    data = loaded(data_dir, "unlabelled")
    assert_drawn(pixels(data.x_test, data), data.y_test, "validation", 9, (4, 4, 3))
    assert any("test has no labels" in note for note in data.notes)


@pytest.mark.parametrize("name", ["named", "plain"])
def test_supervised_keys_count_else_image_and_label(data_dir, name):
    data = loaded(data_dir, name)
    assert_drawn(pixels(data.x_train, data), data.y_train, "train", 30, (4, 4, 3))


def test_image_size_resizes(data_dir):
    assert loaded(data_dir, "arrays", image_size=4).x_train.shape == (30, 4, 4, 3)


def test_a_config_is_read(data_dir):
    assert len(loaded(data_dir, "choices/small").x_train) == 30
    assert len(loaded(data_dir, "choices/large:1.0.0").x_train) == 30


# --- what is found ----------------------------------------------------------------------------


def test_the_newest_version_that_fits_is_found(tmp_path):
    for name in (
        "a/1.2.0",
        "a/1.10.0",
        "a/2.0.0",
        "b/x/1.0.0",
        "b/y/1.0.0",
        "c/1.0.0",
        "c/x/3.0.0",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")
    (tmp_path / "a" / "incomplete.X_3.0.0").mkdir()
    found = {
        text: str(find_prepared(text, tmp_path))
        for text in ("a", "a:1.*.*", "a:1.2.0", "a:9.0.0", "b/x", "c", "c/x", "none")
    }
    assert found == {
        "a": "a:2.0.0",
        "a:1.*.*": "a:1.10.0",
        "a:1.2.0": "a:1.2.0",
        "a:9.0.0": "None",
        "b/x": "b/x:1.0.0",
        "c": "c:1.0.0",
        "c/x": "c/x:3.0.0",
        "none": "None",
    }
    assert len(list_prepared(tmp_path)) == 7
    with pytest.raises(InputError, match="2 configs.*tfds:b/x, tfds:b/y"):
        find_prepared("b", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "arrays:2.0.0", "arrays/other"])
def test_a_set_that_is_not_on_disk_says_where_it_looked(data_dir, offline, name):
    with pytest.raises(InputError, match="not on disk.*--download") as caught:
        loaded(data_dir, name)
    assert str(data_dir) in str(caught.value)
    assert "arrays:1.0.0" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 6


def test_an_empty_or_missing_folder_of_sets_is_said(tmp_path, offline):
    with pytest.raises(InputError, match="holds no data set"):
        loaded(tmp_path / "none", "mnist")


@pytest.mark.parametrize("variable", [True, False])
def test_the_folder_is_that_of_tfds_by_default(data_dir, monkeypatch, tmp_path, variable):
    home = tmp_path / "tensorflow_datasets"
    shutil.copytree(data_dir / "grey", home / "grey")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if variable:
        monkeypatch.setenv("HOME", "/nowhere")
        monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    assert len(load(Config(dataset="tfds:grey")).x_train) == 24


BAD = {
    "choices": "2 configs.*tfds:choices/large",
    "strange": "'image' is missing.*id, label, picture",
    "numbers": "'label' is Scalar",
    "heldout": "splits test. Expected one called train",
    "old": "cannot be opened.*TFDS 4 or newer",
    "kaggle:arrays": "no name of a TFDS data set",
    "a b": "no name of a TFDS data set",
}


@pytest.mark.parametrize("name", BAD)
def test_a_set_that_cannot_be_used_is_refused(data_dir, offline, name):
    with pytest.raises(InputError, match=BAD[name]) as caught:
        loaded(data_dir, name)
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) < 6


@pytest.mark.parametrize("name", ["arrays", "records"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_files_are_refused(data_dir, tmp_path, name, damage):
    shutil.copytree(data_dir / name, tmp_path / name)
    shard = next((tmp_path / name / "1.0.0").glob("*-train.*"))
    if damage == "missing":
        shard.unlink()
    else:
        whole = shard.read_bytes()
        shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"tfds:{name}"):
        loaded(tmp_path, name)


# --- packages and downloads -------------------------------------------------------------------

WITHOUT = """
import importlib.machinery as machinery
import sys
find = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name in sys.argv[3:] else find(name, *rest)
)
from repdyn_keras.config import Config
from repdyn_keras.datasets import load
try:
    data = load(Config(dataset=sys.argv[2], data_dir=sys.argv[1], label_noise=0))
    print(len(data.x_train), len(data.x_test), data.y_train.sum(), "tensorflow" in sys.modules)
except ValueError as error:
    print(type(error).__name__, error)
"""


def without(data_dir, name, *packages) -> str:
    """What loading says in a process where these packages cannot be imported."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(data_dir), f"tfds:{name}", *packages],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_array_record_needs_no_tensorflow(data_dir):
    assert without(data_dir, "arrays", "tensorflow", "keras", "jax", "torch") == "30 12 30 False"


def test_tfrecord_without_tensorflow_names_the_extra(data_dir):
    said = without(data_dir, "records", "tensorflow")
    assert said.startswith("InputError")
    assert "repdyn-keras[tensorflow]" in said
    assert "array_record" in said


def test_tfds_that_is_not_installed_names_the_extra(data_dir):
    assert "repdyn-keras[tfds]" in without(data_dir, "arrays", "tensorflow_datasets")


def test_tensorflow_beside_another_backend_sees_no_gpu(data_dir, monkeypatch):
    import tensorflow as tf

    calls = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *a: calls.append(a))
    loaded(data_dir, "records", backend="jax")
    assert calls and set(map(str, calls)) == {"([], 'GPU')"}
    calls.clear()
    loaded(data_dir, "records", backend="tensorflow")
    assert calls == []


def test_tensorflow_that_has_run_before_keeps_its_devices(monkeypatch):
    import tensorflow as tf

    def refuse(*arguments):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    keep_tensorflow_off_gpus("jax")


def test_a_download_that_fails_is_an_input_error(tmp_path, offline):
    with pytest.raises(InputError, match="tfds:nosuchset could not be downloaded"):
        loaded(tmp_path, "nosuchset", download=True)


def test_a_set_is_prepared_where_it_is_missing_and_asked_for(tmp_path, offline):
    import tensorflow_datasets as tfds

    class PreparedHere(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "test"}
        pkg_dir_path = None

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(4, 4, 1)),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(30):
                yield i, {"image": noise(i, "train", (4, 4, 1)), "label": i % 3}

    with pytest.raises(InputError, match="not on disk"):
        loaded(tmp_path, "prepared_here")
    data = loaded(tmp_path, "prepared_here", download=True)
    assert len(data.x_train) == 24
    assert list((tmp_path / "prepared_here" / "1.0.0").glob("*array_record*"))
    again = loaded(tmp_path, "prepared_here")
    for field in dataclasses.fields(data):
        one, other = (getattr(each, field.name) for each in (data, again))
        assert np.array_equal(one, other)


@pytest.mark.long
def test_a_runs_folder_is_named_after_its_set(data_dir, tmp_path, monkeypatch):
    import keras

    from repdyn_keras import run
    from repdyn_keras.experiment.watching import Watcher

    started, heard = [], []

    class Listener(Watcher):
        def started(self, folder, config, plan):
            started.append(folder.path.name)

        def said(self, text):
            heard.append(text)

    monkeypatch.chdir(tmp_path)
    config = {
        "backend": keras.backend.backend(),
        "dataset": "tfds:choices/small:1.0.0",
        "data_dir": str(data_dir),
        "width": 2,
        "blocks": (1,),
        "batch_size": 8,
        "n_eval": 8,
        "cka_batch": 8,
        "planes": 0,
        "probe_images": 10,
    }
    run(config, watcher=Listener(), dry_run=True)
    assert started == ["choices-small-1.0.0-resnet-sgd-s0"]
    assert any("test is used" in text for text in heard)
    assert any("10 of the 12 test images" in text for text in heard)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "record"])
def test_the_commands_take_the_folder_of_sets_and_the_download(monkeypatch, command):
    from typer.testing import CliRunner

    from repdyn_keras.cli import app

    configs = []

    def instead(*given, **options):
        configs.append(Config(**given[-1]) if command == "record" else given[-1])
        raise InputError("nothing is trained or recorded")

    monkeypatch.setattr(f"repdyn_keras.experiment.{command}", instead)
    arguments = ["weights"] if command == "record" else []
    dataset = ["--dataset", "tfds:mnist/x:1.0.0", "--data-dir", "sets"]
    for more in ([], ["--download"]):
        CliRunner().invoke(app, [command, *arguments, "--quiet", *dataset, *more])
    assert [config.dataset for config in configs] == ["tfds:mnist/x:1.0.0"] * 2
    assert [config.data_dir for config in configs] == ["sets"] * 2
    assert [config.download for config in configs] == [False, True]

"""TFDS data sets: read from their files, without network access and without TensorFlow."""

import dataclasses
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import BACKEND, Watcher, assert_input_error, repdyn, run

from repdyn_keras.config import Config
from repdyn_keras.datasets import keep_tensorflow_off_gpus, load
from repdyn_keras.datasets.tfds import find_prepared, list_prepared
from repdyn_keras.errors import InputError

pytestmark = pytest.mark.one_backend


def needs_data_sets(test):
    """Preparing the data sets needs TensorFlow; reading some of them does not."""
    return pytest.mark.long(pytest.mark.needs("tfds", "tensorflow")(test))


BUILDER = """
import sys
import numpy as np
import tensorflow_datasets as tfds

CLASSES = ["owl", "cat", "bee"]
BOTH = {"train": (30, False), "test": (12, False)}

def builder(name, shape, splits=BOTH, image="image", label="label", supervised=True, configs=(),
            numbers=False):
    kind = tfds.features.Scalar(np.int64) if numbers else tfds.features.ClassLabel(names=CLASSES)

    def info(self):
        features = {
            "id": tfds.features.Text(),
            image: tfds.features.Image(shape=shape, encoding_format="png"),
            label: kind,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=(image, label) if supervised else None,
        )

    def generate(self, split):
        count, unlabelled = splits[split]
        for i in range(count):
            size = (8 + i % 3, 9, 3) if shape[0] is None else shape
            drawn = np.random.default_rng([i, len(split)]).integers(0, 256, size, dtype=np.uint8)
            value = -1 if unlabelled else i % len(CLASSES)
            yield f"{i:04d}", {"id": f"{split}{i}", image: drawn, label: value}

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "RELEASE_NOTES": {"1.0.0": "test"},
        "BUILDER_CONFIGS": [
            tfds.core.BuilderConfig(name=c, version="1.0.0", description=c) for c in configs
        ],
        "_info": info,
        "_split_generators": lambda self, dl: {s: self._generate_examples(s) for s in splits},
        "_generate_examples": generate,
        "__module__": "made_for_the_test",
    }
    cls = type(name, (tfds.core.GeneratorBasedBuilder,), body)
    cls.pkg_dir_path = None
    return cls
"""
# Prepares the data sets in a separate process, so that their code cannot be imported here.
MAKER = f"""{BUILDER}
def make(*given, configs=(), file_format="array_record", **more):
    cls = builder(*given, configs=configs, **more)
    for config in configs or (None,):
        cls(data_dir=sys.argv[1], config=config, file_format=file_format).download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )

train, validation = ("train", (30, False)), ("validation", (9, False))
make("Arrays", (6, 5, 3))
make("Records", (6, 5, 3), file_format="tfrecord")
make("Grey", (4, 4, 1), dict([train]))
make("Mixed", (None, None, 3), dict([train, validation]))
make("Unlabelled", (4, 4, 3), dict([train, ("test", (6, True)), validation]))
make("Named", (4, 4, 3), image="picture", label="kind")
make("Plain", (4, 4, 3), supervised=False)
make("Strange", (4, 4, 3), image="picture", supervised=False)
make("Numbers", (4, 4, 3), numbers=True)
make("Heldout", (4, 4, 3), dict(test=(9, False)))
make("Old", (4, 4, 3))
make("Choices", (4, 4, 3), configs=("small", "large"))
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tfds")
    made = subprocess.run(
        [sys.executable, "-c", MAKER, str(out)], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-3000:]
    (out / "old" / "1.0.0" / "features.json").unlink()
    return out


def noise(i: int, split: str, shape) -> np.ndarray:
    """The image that MAKER wrote."""
    return np.random.default_rng([i, len(split)]).integers(0, 256, shape, dtype=np.uint8)


def loaded(data_dir, name, **options):
    return load(Config(dataset=f"tfds:{name}", data_dir=str(data_dir), label_noise=0, **options))


def same(one, other) -> bool:
    fields = [field.name for field in dataclasses.fields(one)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def assert_drawn(data, parts, split, count, shape):
    """The images of these parts are those that MAKER wrote, each with its label."""
    labels = np.concatenate([getattr(data, f"y_{part}") for part in parts])
    images = np.concatenate([getattr(data, f"x_{part}")[:] for part in parts])
    pixels = images.astype(np.float64) * data.pixel_deviation + data.pixel_mean
    assert np.abs(pixels - pixels.round()).max() < 1e-3
    found = zip(pixels.round().astype(np.uint8), labels.tolist(), strict=True)
    expected = [(noise(i, split, shape).tobytes(), i % 3) for i in range(count)]
    assert sorted((image.tobytes(), label) for image, label in found) == sorted(expected)


@pytest.fixture
def offline(monkeypatch):
    """Any network access fails the test."""

    def fail(*arguments, **options):
        raise AssertionError(f"the network was touched: {arguments}")

    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, fail)
    monkeypatch.setattr(socket.socket, "connect", fail)


@needs_data_sets
def test_images_and_labels_are_those_that_were_written(data_dir, offline):
    for name in ("arrays", "arrays:1.0.0", "arrays:1.*.*", "records"):
        data = loaded(data_dir, name)
        assert data.x_train.shape == (30, 6, 5, 3)
        assert_drawn(data, ["train"], "train", 30, (6, 5, 3))
        assert_drawn(data, ["test"], "test", 12, (6, 5, 3))
        assert data.class_names == ("owl", "cat", "bee") and data.n_classes == 3
        assert any("test is used" in note for note in data.notes)
        assert same(data, loaded(data_dir, name)), f"{name} has another order"


@needs_data_sets
def test_a_data_set_with_one_split_is_split_by_the_data_seed(data_dir):
    data = loaded(data_dir, "grey", data_seed=4)
    assert data.x_train.shape == (24, 4, 4, 1)
    assert np.bincount(data.y_test).tolist() == [2, 2, 2]
    assert_drawn(data, ["train", "test"], "train", 30, (4, 4, 1))
    assert same(data, loaded(data_dir, "grey", data_seed=4))
    assert not np.array_equal(loaded(data_dir, "grey", data_seed=5).x_test[:], data.x_test[:])
    assert any("test_share = 0.2" in note for note in data.notes)


@needs_data_sets
def test_data_sets_of_every_form_are_read(data_dir):
    mixed = loaded(data_dir, "mixed")
    assert (mixed.x_train.shape, mixed.x_test.shape) == ((30, 9, 9, 3), (9, 9, 9, 3))
    resized = "3 sizes, from 9x8 to 9x10 pixels.*resized to 9x9"
    assert any(re.search(resized, note) for note in mixed.notes)
    # A test split without labels is skipped.
    unlabelled = loaded(data_dir, "unlabelled")
    assert_drawn(unlabelled, ["test"], "validation", 9, (4, 4, 3))
    assert any("test has no labels" in note for note in unlabelled.notes)
    # The supervised keys, else the features image and label.
    for name in ("named", "plain", "choices/small", "choices/large:1.0.0"):
        assert_drawn(loaded(data_dir, name), ["train"], "train", 30, (4, 4, 3))
    assert loaded(data_dir, "arrays", image_size=4).x_train.shape == (30, 4, 4, 3)


def test_the_newest_matching_version_is_found(tmp_path):
    below_c = ("c/1.0.0", "c/x/3.0.0")
    for name in ("a/1.2.0", "a/1.10.0", "a/2.0.0", "b/x/1.0.0", "b/y/1.0.0", *below_c):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")
    (tmp_path / "a" / "incomplete.X_3.0.0").mkdir()
    expected = {
        "a": "a:2.0.0",
        "a:1.*.*": "a:1.10.0",
        "a:1.2.0": "a:1.2.0",
        "a:9.0.0": "None",
        "b/x": "b/x:1.0.0",
        "c": "c:1.0.0",
        "c/x": "c/x:3.0.0",
        "none": "None",
    }
    assert {text: str(find_prepared(text, tmp_path)) for text in expected} == expected
    assert len(list_prepared(tmp_path)) == 7
    assert_input_error("b", "2 configs.*tfds:b/x, tfds:b/y", find_prepared, "b", tmp_path)


@needs_data_sets
def test_missing_and_unsuitable_data_sets_are_rejected(data_dir, tmp_path, offline):
    absent = r"not on disk.*--download.*arrays:1\.0\.0"
    for name, words in {
        "mnist": absent,
        "arrays:2.0.0": absent,
        "arrays/other": absent,
        "choices": "2 configs.*tfds:choices/large",
        "strange": "id, label, picture.*'image' is missing",
        "numbers": "'label' is Scalar",
        "heldout": "Expected a split called train.*splits test",
        "old": "cannot be opened.*TFDS 4 or newer",
        "kaggle:arrays": "Not the name of a TFDS data set",
        "a b": "Not the name of a TFDS data set",
    }.items():
        message = assert_input_error(name, words, loaded, data_dir, name)
        assert name in message and len(message.splitlines()) < 6
        assert words != absent or str(data_dir) in message
    assert_input_error("empty", "holds no data set", loaded, tmp_path / "none", "mnist")
    for name, cut in (("arrays", 0), ("arrays", 2), ("records", 0), ("records", 2)):
        place = tmp_path / f"{name}{cut}"
        shutil.copytree(data_dir / name, place / name)
        shard = next((place / name / "1.0.0").glob("*-train.*"))
        whole = shard.read_bytes()
        shard.unlink() if cut == 0 else shard.write_bytes(whole[: len(whole) // cut])
        assert_input_error(shard, f"tfds:{name}", loaded, place, name)


@needs_data_sets
def test_the_default_folder_is_that_of_tfds(data_dir, monkeypatch, tmp_path):
    home = tmp_path / "tensorflow_datasets"
    shutil.copytree(data_dir / "grey", home / "grey")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert len(load(Config(dataset="tfds:grey")).x_train) == 24
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    assert len(load(Config(dataset="tfds:grey")).x_train) == 24


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


@needs_data_sets
def test_array_record_needs_no_tensorflow_and_missing_packages_are_named(data_dir):
    """Each in a separate process in which some packages cannot be imported."""
    extra = r"^InputError.*repdyn-keras\[tensorflow\].*array_record"
    for name, packages, output in (
        ("arrays", ["tensorflow", "keras", "jax", "torch"], "^30 12 30 False$"),
        ("records", ["tensorflow"], extra),
        ("arrays", ["tensorflow_datasets"], r"^InputError.*repdyn-keras\[tfds\]"),
    ):
        command = [sys.executable, "-c", WITHOUT, str(data_dir), f"tfds:{name}", *packages]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        assert re.search(output, result.stdout.strip()), result.stdout


@needs_data_sets
def test_tensorflow_sees_no_gpu_if_keras_uses_another_backend(data_dir, monkeypatch):
    import tensorflow as tf

    calls = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *a: calls.append(a))
    loaded(data_dir, "records", backend="jax")
    assert calls and set(map(str, calls)) == {"([], 'GPU')"}
    calls.clear()
    loaded(data_dir, "records", backend="tensorflow")
    assert calls == []


def test_an_initialized_tensorflow_keeps_its_devices(monkeypatch):
    asked = []

    def fail(*arguments):
        asked.append(arguments)
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    config = SimpleNamespace(set_visible_devices=fail)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    keep_tensorflow_off_gpus("tensorflow")
    assert asked == []
    keep_tensorflow_off_gpus("jax")
    assert asked == [([], "GPU")]


@needs_data_sets
def test_a_missing_data_set_is_prepared_on_request(tmp_path, offline):
    here = {}
    exec(BUILDER, here)
    here["builder"]("PreparedHere", (4, 4, 1), {"train": (30, False)})
    assert_input_error("not asked", "not on disk", loaded, tmp_path, "prepared_here")
    data = loaded(tmp_path, "prepared_here", download=True)
    assert len(data.x_train) == 24
    assert list((tmp_path / "prepared_here" / "1.0.0").glob("*array_record*"))
    assert same(data, loaded(tmp_path, "prepared_here"))
    failed = "tfds:nosuchset could not be downloaded"
    assert_input_error("unknown", failed, loaded, tmp_path, "nosuchset", download=True)


@needs_data_sets
def test_the_run_folder_is_named_after_the_data_set(data_dir, tmp_path, monkeypatch):
    started, heard = [], []

    class Listener(Watcher):
        def started(self, folder, config, plan):
            started.append(folder.path.name)

        def message(self, text):
            heard.append(text)

    monkeypatch.chdir(tmp_path)
    sizes = {"width": 2, "blocks": (1,), "batch_size": 8, "n_eval": 8, "cka_batch": 8}
    data = {"dataset": "tfds:choices/small:1.0.0", "data_dir": str(data_dir), "probe_images": 10}
    run({"backend": BACKEND, "planes": 0, **sizes, **data}, watcher=Listener(), dry_run=True)
    assert started == ["choices-small-1.0.0-resnet-sgd-s0"]
    assert any("test is used" in text for text in heard)
    assert any("10 of the 12 test images" in text for text in heard)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "record"])
def test_the_commands_accept_data_dir_and_download(monkeypatch, command):
    configs = []

    def instead(*given, **options):
        configs.append(Config(**given[-1]) if command == "record" else given[-1])
        raise InputError("nothing is trained or recorded")

    monkeypatch.setattr(f"repdyn_keras.experiment.{command}", instead)
    arguments = ["weights"] if command == "record" else []
    dataset = ["--dataset", "tfds:mnist/x:1.0.0", "--data-dir", "sets"]
    for more in ([], ["--download"]):
        repdyn(command, *arguments, "--quiet", *dataset, *more)
    found = [(config.dataset, config.data_dir, config.download) for config in configs]
    assert found == [("tfds:mnist/x:1.0.0", "sets", False), ("tfds:mnist/x:1.0.0", "sets", True)]

"""Checkpoints recorded after the training: the same arrays as the callback recorded during it."""

import shutil
import sys

import keras
import numpy as np
import pytest
from helpers import BACKEND, TINY, repdyn
from keras import layers

import repdyn_keras
from repdyn_keras import InputError, RepresentationRecorder, open_run, record
from repdyn_keras.config import Config, load_config, resolve
from repdyn_keras.datasets import load
from repdyn_keras.experiment import Watcher
from repdyn_keras.experiment.evaluation import ConfiguredRecorder
from repdyn_keras.models import build_model, recorded_layers
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")


def assert_same_records(a: RunFolder, b: RunFolder) -> None:
    assert a.epochs() == b.epochs()
    assert a.constants().identical(b.constants())
    for epoch in a.epochs():
        assert a.record(epoch).identical(b.record(epoch)), epoch


class Heard(Watcher):
    def __init__(self):
        self.words = []

    def said(self, text):
        self.words.append(text)


def test_recorded_checkpoints_are_what_the_callback_recorded(tiny_run, tmp_path):
    weights = tiny_run.folder.weights
    after = record(weights, like=tiny_run.folder.path, out=tmp_path / "after")
    assert_same_records(after.folder, tiny_run.folder)
    for name, array in after.dynamics.data_vars.items():
        assert array.identical(tiny_run_dynamics(tiny_run)[name]), name


def tiny_run_dynamics(tiny_run):
    return open_run(tiny_run.folder.path).dynamics


def test_so_are_states_recorded_by_hand(tiny_run, tmp_path):
    config = resolve(Config(**load_config(tiny_run.folder.config_file)))
    data = load(config)
    model = build_model(config, data.x_train.shape[1:], data.n_classes)
    recorder = ConfiguredRecorder(
        config, data, tmp_path / "hand", recorded_layers(config), Watcher()
    )
    for epoch in reversed(tiny_run.folder.epochs()):
        model.load_weights(tiny_run.folder.weights / f"epoch-{epoch:06d}.weights.h5")
        recorder.record(model, epoch)
    assert_same_records(recorder.folder, tiny_run.folder)


def test_the_command_records_checkpoints_and_says_which(tiny_run, tmp_path):
    weights = tmp_path / "weights"
    shutil.copytree(tiny_run.folder.weights, weights)
    (weights / "epoch-000002.weights.h5").unlink()
    (weights / "epoch-000000.weights.h5").unlink()
    (weights / "best.keras").write_bytes(b"")
    out = tmp_path / "out"
    done = repdyn("record", weights, "--like", tiny_run.folder.path, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "no epoch in the names of best.keras: left out." in done.stdout
    assert "2 checkpoints of epochs 1 to 3; between them 1 without one." in done.stdout
    assert "epoch 0, the initialization, is not among them." in done.stdout
    assert "epoch 3: epoch-000003.weights.h5" in done.stdout
    assert "stage2_block1" in done.stdout
    recorded, whole = RunFolder(out), tiny_run.folder
    assert recorded.epochs() == [1, 3]
    assert all(recorded.record(epoch).identical(whole.record(epoch)) for epoch in (1, 3))
    # It was not trained by `repdyn run`, and can lend its configuration all the same.
    assert not recorded.config_file.exists()
    again = record(weights, like=out, out=tmp_path / "again")
    assert_same_records(again.folder, recorded)
    assert repdyn("doctor", out).exit_code == 0


# --- a network of the user's own, with dropout ---------------------------------------------------

MODULE = """
import keras
from keras import layers


def build(image_shape, n_classes):
    images = keras.Input(image_shape)
    z = layers.Conv2D(4, 3, name="early")(images)
    z = layers.BatchNormalization(momentum=0.5, name="norm")(z)
    z = layers.Dropout(0.4)(layers.Flatten()(z))
    z = layers.Dense(8, activation="relu", name="late")(z)
    return keras.Model(images, layers.Dense(n_classes, activation="softmax", name="head")(z))


def build_single(image_shape):
    images = keras.Input(image_shape)
    z = layers.Dense(8, activation="relu", name="late")(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(1, activation="sigmoid")(z))


def needs_more(image_shape, depth):
    return None


def returns_nothing(**options):
    return None


def seeded(seed, **options):
    build.seed = seed
    return build(options["image_shape"], options["n_classes"])


def wrapped(*arguments, **options):
    return returns_nothing(**options)


number = 3
builtin = int
"""
OWN = {k: v for k, v in TINY.items() if k not in ("width", "blocks")} | {"backend": BACKEND}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The current folder holds a module of the user's own; gives its name."""
    name = f"own_models_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def test_a_network_of_the_users_own_is_trained_and_recorded_again(own, tmp_path, capsys):
    from repdyn_keras import run

    model = f"{own}:build"
    trained = run({**OWN, "model": model}, out=tmp_path / "run")
    assert trained.dynamics["layer"].values.tolist() == ["early", "norm", "late", "output"]
    history = trained.history
    assert float(history[-1]["loss"]) < float(history[1]["loss"])
    again = run({**OWN, "model": model}, out=tmp_path / "again")
    assert_same_records(trained.folder, again.folder)
    weights, like = trained.folder.weights, trained.folder.path
    with pytest.raises(InputError, match="names code to run"):
        record(weights, like=like, out=tmp_path / "after")
    after = record(weights, {"model": model}, like=like, out=tmp_path / "after")
    assert_same_records(after.folder, trained.folder)


def test_keras_files_bring_their_model_and_module_functions_may_name_it(own, tmp_path):
    from repdyn_keras.models.own import built_by

    data = load(resolve(Config(**OWN)))
    model = built_by(f"{own}:build", data.x_train.shape[1:], data.n_classes, 3)
    saved, weights = tmp_path / "saved", tmp_path / "weights"
    saved.mkdir(), weights.mkdir()
    for epoch in (0, 5):
        model.save(saved / f"net-{epoch:02d}.keras")
        model.save_weights(weights / f"net-{epoch:02d}.weights.h5")
        for weight in model.weights:
            weight.assign(weight * 1.5 + 0.01)
    first = record(saved, OWN, out=tmp_path / "a")
    second = record(weights, {**OWN, "model": f"{own}:build"}, out=tmp_path / "b")
    third = record(weights, {**OWN, "model": str(saved / "net-00.keras")}, out=tmp_path / "c")
    assert first.epochs == [0, 5]
    assert_same_records(first.folder, second.folder)
    assert_same_records(first.folder, third.folder)


def test_a_single_sigmoid_unit_is_trained_with_binary_crossentropy(own, tmp_path):
    from repdyn_keras import run

    config = {**OWN, "model": f"{own}:build_single", "synthetic_classes": 2, "planes": 0}
    trained = run(config, out=tmp_path / "run")
    losses = [float(row["loss"]) for row in trained.history[1:]]
    assert losses[-1] < losses[0]
    assert 0 <= float(trained.history[-1]["accuracy"]) <= 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("needs_more", "needs the arguments depth. Expected one that takes any of image_shape"),
        ("returns_nothing", "returned a NoneType. Expected a keras.Model"),
        ("biuld", "Unknown function of .* 'biuld'.*build"),
        ("number", "Unknown function of .* 'number'"),
        ("wrapped", "returned a NoneType. Expected a keras.Model"),
        ("builtin", "is no function of Python"),
    ],
)
def test_functions_that_build_no_model_are_refused(own, tmp_path, function, message):
    from repdyn_keras import run

    with pytest.raises(InputError, match=message):
        run({**OWN, "model": f"{own}:{function}"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_module_and_one_that_needs_another_are_told_apart(own, tmp_path):
    from repdyn_keras.models.own import built_by

    with pytest.raises(InputError, match="No module 'no_such_models'.*no_such_models.py"):
        built_by("no_such_models:build", (8, 8, 1), 4, 0)
    (tmp_path / "needy_models.py").write_text("import no_such_package\n")
    with pytest.raises(InputError, match="needs 'no_such_package', which is not installed"):
        built_by("needy_models:build", (8, 8, 1), 4, 0)


def test_the_seed_decides_a_users_network_and_leaves_global_generators_alone(own):
    import random

    from repdyn_keras.models.own import built_by

    def weights(seed):
        model = built_by(f"{own}:seeded", (8, 8, 1), 4, seed)
        return keras.ops.convert_to_numpy(model.get_layer("late").kernel.value)

    before = random.getstate(), np.random.get_state()[1].copy()
    one, same, other = weights(1), weights(1), weights(2)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert sys.modules[own].build.seed == 2


def test_a_file_that_names_code_needs_the_command_lines_word(own, tmp_path):
    config = tmp_path / "strange.toml"
    config.write_text(f'model = "{own}:build"\n')
    refused = repdyn("run", config, "--dry-run", "--backend", BACKEND)
    assert refused.exit_code == 2
    assert f"if you trust it: --model {own}:build" in refused.stderr
    with pytest.raises(InputError, match="names code to run"):
        repdyn_keras.run(config, dry_run=True)
    assert own not in sys.modules
    small = [f"--set={k}={v}" for k, v in OWN.items() if k not in ("dataset", "backend")]
    options = ["--dry-run", "--backend", BACKEND, "--dataset", "synthetic", *small]
    allowed = repdyn("run", config, "--model", f"{own}:build", *options)
    assert allowed.exit_code == 0, allowed.stderr


@pytest.fixture
def two_headed(tmp_path):
    """A saved model with two outputs, `digit` and `parity`."""
    images = keras.Input((8, 8, 1))
    z = layers.Dense(8, activation="relu", name="late")(layers.Flatten()(images))
    outputs = [layers.Dense(4, name="digit")(z), layers.Dense(1, name="parity")(z)]
    folder = tmp_path / "two"
    folder.mkdir()
    keras.Model(images, outputs).save(folder / "epoch-0.keras")
    return folder


def test_one_of_two_outputs_of_a_saved_model_is_recorded(two_headed, tmp_path):
    with pytest.raises(InputError, match="has 2 outputs: digit, parity"):
        record(two_headed, OWN, out=tmp_path / "out")
    after = record(two_headed, {**OWN, "output": "digit"}, out=tmp_path / "out")
    assert after.dynamics["layer"].values.tolist() == ["late", "parity", "output"]


def test_a_network_with_two_outputs_is_not_trained(two_headed, tmp_path):
    from repdyn_keras import run

    with pytest.raises(InputError, match="has 2 outputs. Expected one.*RepresentationRecorder"):
        run({**OWN, "model": str(two_headed / "epoch-0.keras")}, out=tmp_path / "out")


def test_labels_are_as_they_are_read_unless_noise_is_asked_for(checkpoints, tmp_path):
    folder, config = checkpoints
    del config["label_noise"]
    heard = Heard()
    clean = record(folder, config, out=tmp_path / "clean", watcher=heard).folder.constants()
    assert np.array_equal(clean["label_given"].values, clean["label_true"].values)
    assert "synthetic: labels as read; pixels standardized, which the network is given." in (
        heard.words
    )
    options = {**config, "label_noise": 0.4, "standardize": False}
    noisy = record(folder, options, out=tmp_path / "noisy", watcher=heard).folder.constants()
    assert not np.array_equal(noisy["label_given"].values, noisy["label_true"].values)
    assert "synthetic: label noise 0.4; pixels as read, which the network is given." in heard.words


# --- what is refused before anything is written ---------------------------------------------------


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints of a small model, and the keys to record them by."""
    config = {**OWN, "model": "resnet", "width": 1, "blocks": (1,), "planes": 0}
    model = build_model(resolve(Config(**config)), (8, 8, 1), 4)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for epoch in (1, 2):
        model.save_weights(folder / f"epoch-{epoch}.weights.h5")
    return folder, config


@pytest.mark.parametrize("place", [1, 2])
def test_a_damaged_checkpoint_is_found_before_anything_is_recorded(checkpoints, tmp_path, place):
    folder, config = checkpoints
    file = folder / f"epoch-{place}.weights.h5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match=f"epoch-{place}.weights.h5 cannot be read"):
        record(folder, config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_another_model_name_the_layer_and_the_shapes(checkpoints, tmp_path):
    folder, config = checkpoints
    with pytest.raises(InputError, match="layer 'stem' it holds shapes 3x3x1x1. Expected 3x3x1x2"):
        record(folder, {**config, "width": 2}, out=tmp_path / "out")


def test_weights_without_a_model_ask_for_one(checkpoints, tmp_path):
    folder, _ = checkpoints
    with pytest.raises(InputError, match="weights without their model. Expected --model"):
        record(folder, {"backend": BACKEND}, out=tmp_path / "out")


def test_a_run_of_a_callback_cannot_lend_its_configuration(checkpoints, tmp_path):
    folder, _ = checkpoints
    x, y = np.random.default_rng(0).normal(size=(16, 4)).astype("float32"), np.arange(16) % 2
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="head")]
    )
    recorder = RepresentationRecorder(tmp_path / "mine", x, y, planes=0, batch_size=8)
    recorder.record(model, 0)
    with pytest.raises(InputError, match="has no run.toml: it was recorded by a callback"):
        record(folder, like=tmp_path / "mine", out=tmp_path / "out")


def test_images_that_are_not_those_of_the_other_run_are_refused(tiny_run, tmp_path):
    with pytest.raises(InputError, match="recorded .* images, of which .*Expected the same"):
        record(
            tiny_run.folder.weights,
            {"data_seed": 5},
            like=tiny_run.folder.path,
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused(checkpoints, tmp_path):
    folder, config = checkpoints
    with pytest.raises(InputError, match="exists. Expected a new folder"):
        record(folder, config, out=tmp_path)


def test_one_checkpoint_is_enough(checkpoints, tmp_path):
    folder, config = checkpoints
    (folder / "epoch-2.weights.h5").unlink()
    once = record(folder, config, out=tmp_path / "out")
    assert once.epochs == [1]
    assert once.dynamics["cka"].sel(layer="output").item() == pytest.approx(1)

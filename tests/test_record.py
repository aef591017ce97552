"""Recording of saved weights: the same arrays as recorded by the callback during training."""

import random
import shutil
import sys

import keras
import numpy as np
import pytest
from helpers import BACKEND, MODEL, TINY, assert_input_error, repdyn, write_run
from keras import layers

from repdyn_keras import InputError, open_run, record, run
from repdyn_keras.config import Config, resolve
from repdyn_keras.experiment import Watcher
from repdyn_keras.models import build_model
from repdyn_keras.models.user_models import build_by_function
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")

USER_MODULE_KEYS = {k: v for k, v in TINY.items() if k not in ("width", "blocks")} | {
    "backend": BACKEND
}
SMALL = {**USER_MODULE_KEYS, "model": "resnet", "width": 1, "blocks": (1,), "planes": 0}
# A user's module.
MODULE = """
import keras
from keras import layers

def build(image_shape, n_classes, units=8):
    images = keras.Input(image_shape)
    z = layers.Dropout(0.4)(layers.Flatten()(images))
    z = layers.BatchNormalization(name="norm")(layers.Dense(8, "relu", name="late")(z))
    return keras.Model(images, layers.Dense(n_classes, "softmax", name="head")(z))

def build_single(image_shape):
    images = keras.Input(image_shape)
    z = layers.Dense(8, "relu", name="late")(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(1, "sigmoid")(z))

def seeded(seed, **options):
    build.seed = seed
    return build(options["image_shape"], options["n_classes"])

def needs_more(image_shape, depth):
    return None

def returns_nothing(**options):
    return None

def wrapped(*arguments, **options):
    return returns_nothing(**options)

number = 3
builtin = int
"""


def assert_same_records(a: RunFolder, b: RunFolder) -> None:
    assert a.epochs() == b.epochs()
    assert a.constants().identical(b.constants())
    for epoch in a.epochs():
        assert a.record(epoch).identical(b.record(epoch)), epoch


def test_recorded_checkpoints_equal_the_records_of_the_callback(tiny_run, tmp_path):
    folder = tiny_run.folder
    after = record(folder.weights, like=folder.path, out=tmp_path / "after")
    assert_same_records(after.folder, folder)
    held = open_run(folder.path).dynamics
    for name, array in after.dynamics.data_vars.items():
        assert array.identical(held[name]), name


@pytest.mark.long
@pytest.mark.one_backend
def test_the_command_records_checkpoints_and_lists_them(tiny_run, tmp_path):
    weights = shutil.copytree(tiny_run.folder.weights, tmp_path / "weights")
    for epoch in (0, 2):
        (weights / f"epoch-00000{epoch}.weights.h5").unlink()
    (weights / "best.keras").write_bytes(b"")
    out, whole = tmp_path / "out", tiny_run.folder
    done = repdyn("record", weights, "--like", whole.path, "--out", out)
    assert done.exit_code == 0, done.stderr
    for printed in (
        "ignored, no epoch read from the name: best.keras.",
        "epochs are read from the names as epoch-{epoch}.",
        "2 checkpoints of epochs 1 to 3; missing between them: 1.",
        "epoch 0, the initialization, is not among them.",
        "epoch 3: epoch-000003.weights.h5",
        "stage2_block1",
    ):
        assert printed in done.stdout
    recorded = RunFolder(out)
    assert recorded.epochs() == [1, 3]
    assert all(recorded.record(epoch).identical(whole.record(epoch)) for epoch in (1, 3))
    # A folder of `repdyn record` can also be used with --like.
    assert not recorded.config_file.exists()
    (weights / "best.keras").unlink()
    for epoch in (1, 3):
        folder = weights / f"{epoch}-9{epoch}"
        folder.mkdir()
        (weights / f"epoch-00000{epoch}.weights.h5").rename(folder / "model.weights.h5")
    options, again = ("--like", out, "--out", tmp_path / "again"), RunFolder(tmp_path / "again")
    for pattern, message in (
        ((), "--epoch-pattern (epoch_pattern in Python), such as '{epoch}-*/model'"),
        (("--epoch-pattern", "*/model"), "Expected a pattern of file names with {epoch} once"),
    ):
        done = repdyn("record", weights, *options, *pattern)
        assert done.exit_code == 2 and message in done.output, done.output
    done = repdyn("record", weights, *options, "--epoch-pattern", "{epoch}-*/model.weights.h5")
    assert "epoch 3: 3-93/model.weights.h5" in done.stdout
    assert_same_records(again, recorded)
    assert repdyn("doctor", out).exit_code == 0


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Creates a user's module in the current folder; returns its name."""
    name = f"own_models_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.long
@pytest.mark.one_backend
def test_the_model_of_keras_files_and_of_module_functions_is_used(user_module, tmp_path):
    """Labels are unchanged unless label noise is requested."""
    model = build_by_function(f"{user_module}:build", (8, 8, 1), 4, 3)
    saved, weights, printed, watcher = tmp_path / "saved", tmp_path / "weights", [], Watcher()
    saved.mkdir(), weights.mkdir()
    watcher.message = printed.append
    for epoch in (0, 5):
        model.save(saved / f"net-{epoch:02d}.keras")
        model.save_weights(weights / f"net-{epoch:02d}.weights.h5")
        for weight in model.weights:
            weight.assign(weight * 1.5 + 0.01)
    config = {k: v for k, v in USER_MODULE_KEYS.items() if k != "label_noise"}
    first = record(saved, config, out=tmp_path / "a", watcher=watcher)
    assert first.epochs == [0, 5]
    assert first.dynamics["layer"].values.tolist() == ["late", "norm", "output"]
    for out, named in (("b", f"{user_module}:build"), ("c", str(saved / "net-00.keras"))):
        other = record(weights, {**config, "model": named}, out=tmp_path / out)
        assert_same_records(first.folder, other.folder)

    (saved / "net-00.keras").unlink()
    once = record(
        saved, USER_MODULE_KEYS | {"standardize": False}, out=tmp_path / "d", watcher=watcher
    )
    assert once.epochs == [5]
    assert once.dynamics["cka"].sel(layer="output").item() == pytest.approx(1)
    for opened, as_read in ((first, True), (once, False)):
        held = opened.folder.constants()
        assert np.array_equal(held["label_given"], held["label_true"]) == as_read
    for words in ("labels unchanged; pixels standardized", "label noise 0.4; pixels unchanged"):
        assert f"synthetic, as the network receives it: {words}." in printed


@pytest.mark.long
@pytest.mark.one_backend
def test_user_networks_are_recorded_again_and_one_of_two_outputs(user_module, whole, tmp_path):
    """A network with two outputs cannot be trained; a single unit uses binary cross-entropy."""
    after = record(whole.weights, {"model": MODEL}, like=whole.path, out=tmp_path / "after")
    assert_same_records(after.folder, whole)

    config = {
        **USER_MODULE_KEYS,
        "model": f"{user_module}:build_single",
        "synthetic_classes": 2,
        "planes": 0,
    }
    config["keep_weights"] = False
    losses = [float(row["loss"]) for row in run(config, out=tmp_path / "run").history[1:]]
    assert losses[-1] < losses[0]

    images = keras.Input((8, 8, 1))
    z = layers.Dense(8, activation="relu", name="late")(layers.Flatten()(images))
    outputs = [layers.Dense(4, name="digit")(z), layers.Dense(1, name="parity")(z)]
    two, out = tmp_path / "two", tmp_path / "out"
    two.mkdir()
    keras.Model(images, outputs).save(two / "epoch-0.keras")
    with pytest.raises(InputError, match="Expected output=.* has 2 outputs: digit, parity"):
        record(two, USER_MODULE_KEYS, out=out)
    with pytest.raises(
        InputError, match="with one output.* with 2 outputs.*RepresentationRecorder"
    ):
        run({**USER_MODULE_KEYS, "model": str(two / "epoch-0.keras")}, out=out)
    after = record(two, {**USER_MODULE_KEYS, "output": "digit"}, out=out)
    assert after.dynamics["layer"].values.tolist() == ["late", "parity", "output"]


@pytest.mark.one_backend
def test_functions_that_do_not_build_a_model_are_rejected(user_module, tmp_path):
    (tmp_path / "needy_models.py").write_text("import no_such_package\n")
    for function, message in (
        (
            f"{user_module}:needs_more",
            "arguments are among image_s.*also requires depth",
        ),
        (f"{user_module}:returns_nothing", "Expected a keras.Model.*Received: a NoneType"),
        (f"{user_module}:biuld", "Unknown function of .*build.*'biuld'"),
        (f"{user_module}:number", "Unknown function of .* 'number'"),
        (f"{user_module}:wrapped", "Expected a keras.Model.*Received: a NoneType"),
        (f"{user_module}:builtin", "Expected a Python function"),
        ("no_such_models:build", "No module 'no_such_models'.*no_such_models.py"),
        ("needy_models:build", "'no_such_package' is not installed"),
    ):
        config = {**USER_MODULE_KEYS, "model": function}
        assert_input_error(function, message, run, config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_seed_determines_a_user_network_and_global_generators_are_restored(user_module):
    def weights(seed):
        model = build_by_function(f"{user_module}:seeded", (8, 8, 1), 4, seed)
        assert sys.modules[user_module].build.seed == seed
        return keras.ops.convert_to_numpy(model.get_layer("late").kernel.value)

    before = random.getstate(), np.random.get_state()[1].copy()
    one, same, other = weights(1), weights(1), weights(2)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.one_backend
def test_invalid_checkpoints_are_rejected_before_anything_is_written(tiny_run, tmp_path):
    out, mine, checkpoints = (tmp_path / name for name in ("out", "mine", "checkpoints"))
    whole = tiny_run.folder
    checkpoints.mkdir()
    model = build_model(resolve(Config(**SMALL)), (8, 8, 1), 4)
    for epoch in (1, 2):
        model.save_weights(checkpoints / f"epoch-{epoch}.weights.h5")
    write_run(mine, epochs=(0,), planes=False)  # as a callback leaves it
    like, wider = {"like": whole.path}, {**SMALL, "width": 2}
    other_shape = "shapes 3 x 3 x 1 x 2 for the layer 'stem'. Received: 3 x 3 x 1 x 1"
    other_images = "to have the same evaluation images .*Received: .* images with "
    for folder, config, options, message in (
        (checkpoints, wider, {}, other_shape),
        (
            checkpoints,
            {"backend": BACKEND},
            {},
            "Expected --model .*Received: no model, .* holds only weights",
        ),
        (checkpoints, None, {"like": mine}, "which a callback recorded: it has no run.toml"),
        (whole.weights, {"data_seed": 5}, like, other_images),
        (checkpoints, SMALL, {"out": tmp_path}, "exists. Expected a new folder"),
    ):
        assert_input_error(message, message, record, folder, config, **{"out": out, **options})
    for epoch in (2, 1):
        file = checkpoints / f"epoch-{epoch}.weights.h5"
        held = file.read_bytes()
        file.write_bytes(held[:3000])
        with pytest.raises(InputError, match=f"epoch-{epoch}.weights.h5, which cannot be read"):
            record(checkpoints, SMALL, out=out)
        file.write_bytes(held)
    assert not out.exists()

"""Saved weights: the epoch of each file, and files that do not fit the model."""

import random
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import assert_input_error
from keras import layers

from repdyn_keras.recording.checkpoints.saved_weights import WeightLoader
from repdyn_keras.recording.checkpoints.weight_files import (
    EpochPattern,
    epochs_of,
    find_weight_files,
)

NAMES = {
    "epoch-000000.weights.h5 epoch-000012.weights.h5": [0, 12],
    "resnet18-007-0.53.keras resnet18-010-0.48.keras": [7, 10],
    "01-0.5000.weights.h5 02-0.5000.weights.h5": [1, 2],
    "run3.Epoch_4.keras run3.Epoch_5.keras": [4, 5],
    "vit16_b2_9.keras vit16_b2_10.keras": [9, 10],
    "ckpt.3.keras": [3],
    "resnet18-007.keras": [7],
    "net-1-88.keras net-2-91.keras net-3-91.keras": [1, 2, 3],
    "model.weights.h5": [],
    "best.keras m-5.keras m-6.keras": [5, 6],
    "epoch5-of-100.keras epoch6-of-100.keras": [5, 6],
    "weights.01.1.23.keras weights.02.0.98.keras weights.03.nan.keras": [1, 2, 3],
    "001_2.5e-01.weights.h5 002_1e-05.weights.h5": [1, 2],
    "loss3_1.keras loss2_2.keras": [1, 2],
    "e100_5.keras e100_10.keras": [5, 10],
    "20240102-101530_ep01.h5 20240102-103012_ep02.h5": [1, 2],
    "best_e-3.keras e-1.keras e-2.keras e-3.keras last_e-4.keras": [1, 2, 3, 4],
    "checkpoint-500.hdf5 checkpoint-1000.hdf5": [500, 1000],
    "01-0500.keras 02-1000.keras 03-1500.keras": [1, 2, 3],
    "epoch_3/model.weights.h5 epoch_12/model.weights.h5": [3, 12],
    "model_10_epochs.keras model_20_epochs.keras": [10, 20],
    "resnet18.keras": [],
    "best-0.81.keras best-0.85.keras": [],
    "epoch0.5.keras epoch1.0.keras epoch1.5.keras": [],
    "20240102-101530.keras 20240102-103012.keras": [],
    "acc_5_87.keras acc_10_91.keras": [],
}
REJECTED = {
    "epoch-3.keras epoch-03.h5 epoch-4.keras": "number 3 after 'epoch' in 2 names",
    "b2-3-9.keras b2-3-9.weights.h5 b2-4-9.weights.h5": "in their ending.*'b2-{epoch}-9.weights",
    "m-3-a.keras m-3-b.keras m-4-a.keras": "2 forms, such as m-3-a, m-3-b.*'m-{epoch}-a' or",
    "7-91.keras 7-92.keras 8-93.keras": "number 7 in 2 names.*'{epoch}-[*]' or '[*]-{epoch}'",
    "net-1-81.keras net-2-85.keras net-9-90.keras": "2 numbers that differ in every name",
    "fold1_05.keras fold1_10.keras fold2_05.keras": "several numbers after 'fold'",
    "e1-s500.keras e1-s1000.keras e2-s1500.keras": "number 1 after 'e' in 2 names",
    "step500.keras step1000.keras": "numbers of steps, after 'step'.*'step{epoch}'",
    "epoch=0-step=99.keras epoch=1-step=198.keras": r"count from 0.*'epoch={epoch\+1}-step=\*'",
    "c_01_00000.weights.h5 c_01_00001.weights.h5 c_02_00000.weights.h5": "index c_01.weights.json",
    "best.keras": "have the epoch in their names.* such as best.keras",
    "epoch-3.pt notes.txt": "PyTorch or safetensors files in .*save_weights",
    "ckpt-1.index ckpt-1.data-00000-of-00001": "TensorFlow checkpoints in ",
    "": "epoch-012.weights.h5.*no such file",
}
# Constant parts of names, and words before metrics.
CONSTANT = ("", "", "model", "resnet18", "vit_b16", "ckpt", "v1.2", "run3", "seed42", "20240102")
CONSTANT += ("2024-01-02_10-15-30", "bs32", "lr1e-3", "224", "unet_256x256", "my model", "best_m")
METRICS = ("val_loss", "acc", "val_accuracy=", "f1_", "", "", "")


def files(folder, names: str):
    folder.mkdir()
    for name in names.split():
        (folder / name).write_bytes(b"")
    return folder


def test_epochs_are_read_from_names_and_files_are_sorted_by_epoch(tmp_path):
    for names, epochs in NAMES.items():
        assert sorted(epochs_of(names.split()).values()) == epochs, names
    names = "e-10.keras e-9.weights.h5 last.keras notes.txt .e-8.keras e-2.pt"
    found = find_weight_files(files(tmp_path / "c", names))
    assert found.foreign == ["e-2.pt"] and found.pattern == "e-{epoch}"
    held = [(epoch, path.name) for epoch, path in found.files.items()]
    assert held == [(9, "e-9.weights.h5"), (10, "e-10.keras")]
    assert found.ignored == ["last.keras"]


def test_folders_without_exactly_one_file_per_epoch_are_rejected(tmp_path):
    for number, (names, message) in enumerate(REJECTED.items()):
        folder = files(tmp_path / str(number), names)
        assert_input_error(names, message, find_weight_files, folder)
    assert_input_error(
        "missing",
        "Expected a folder .*none, which is not a folder",
        find_weight_files,
        tmp_path / "none",
    )


def drawn_names(draw: random.Random) -> dict[str, int]:
    """Names as one training writes them, with metrics, dates and constants, and their epochs."""
    count = draw.choice((1, 2, 2, 3, 4, 8, 20))
    epochs = draw.choice(
        (
            range(1, count + 1),
            range(count),
            range(10, 10 * count + 10, 10),
            sorted(draw.sample(range(1, 5 * count), count)),
        )
    )
    width = draw.choice((0, 2, 3, 4, 6))
    word = draw.choice(("", "", "", "epoch", "epoch_", "ep", "e", "Epoch-", "epoch="))
    fields = [[draw.choice(CONSTANT)] * count, [f"{word}{e:0{width}d}" for e in epochs]]
    for _ in range(draw.choice((0, 1, 1, 2))):
        form, name = draw.choice((".2f", ".4f", ".1e", "")), draw.choice(METRICS)
        values = [draw.uniform(0.01, 1) if draw.random() < 0.98 else np.nan for _ in epochs]
        place = draw.choice((1, len(fields), len(fields)))
        fields.insert(place, [f"{name}{value:{form}}" for value in values])
    if draw.random() < 0.1:
        fields.insert(1, [f"20240102-10{7 * i % 60:02d}{11 * i % 60:02d}" for i in range(count)])
    separator = draw.choice("--__. ")
    names = [separator.join(filter(None, parts)) + ".keras" for parts in zip(*fields, strict=True)]
    return dict(zip(names, epochs, strict=True))


@pytest.mark.one_backend
def test_drawn_names_are_read_rightly_or_not_at_all():
    draw, right, total = random.Random(1), 0, 2000
    for _ in range(total):
        truth = drawn_names(draw)
        names = draw.sample(list(truth), len(truth))
        found = epochs_of(names)
        assert found in ({}, truth), truth
        assert list(found.values()) == sorted(found.values())
        right += found == truth
        # Two trainings in one folder cannot be told apart by their epochs.
        folds = [f"fold{fold}-{name}" for fold in (1, 2) for name in names]
        assert epochs_of(folds) == {}, folds
    assert right >= 0.95 * total


@pytest.mark.one_backend
def test_patterns_state_where_the_epoch_is():
    """They are those of ModelCheckpoint, with wildcards."""
    for pattern, name, epoch in (
        ("weights.{epoch:02d}-{val_loss:.2f}.keras", "weights.07-0.53.keras", 7),
        ("weights.{epoch:02d}-{val_loss:.2f}", "weights.107-nan.weights.h5", 107),
        ("*-{epoch}.keras", "a-1-2.keras", 2),
        ("{epoch+1}_*", "0_10.keras", 1),
        ("m[1]({epoch}", "m[1](3.keras", 3),
        ("m-{epoch}", "m-3-best.keras", None),
        ("m-{epoch}.keras", "m-3.h5", None),
    ):
        assert EpochPattern(pattern).epoch(name) == epoch, pattern
    names = ["m-1-81.keras", "m-2-85.keras", "m-9-90.keras", "best.keras"]
    assert epochs_of(names) == {}
    assert list(epochs_of(names, "m-{epoch}-*").values()) == [1, 2, 9]
    assert list(epochs_of(names, "m-*-{epoch}").values()) == [81, 85, 90]
    for pattern, message in (
        ("model-*.keras", "with {epoch} once.*Received: 'model-"),
        ("{epoch}-{epoch}", "with {epoch} once"),
        ("net-{epoch}", "match the pattern 'net-{epoch}'.*Received: m-1-81.keras, .* 1 more"),
        ("*{epoch}*", "in one way.*'m-1-81.keras' is 1 or 81"),
    ):
        assert_input_error(pattern, message, epochs_of, names, pattern)
    twice = ["e-1.keras", "e-1.h5"]
    assert_input_error(
        "twice", "epoch 1 in the names e-1.keras, e-1.h5", epochs_of, twice, "e-{epoch}"
    )


def model(width=4, extra=False, name="net"):
    images = keras.Input((8, 8, 1))
    z = layers.Conv2D(width, 3, name="early")(images)
    z = layers.BatchNormalization(name="norm")(z)
    inner = keras.Sequential([keras.Input((6, 6, width)), layers.Conv2D(2, 3, name="deep")])
    z = layers.Dropout(0.3, seed=1)(inner(z))
    z = layers.Flatten()(z)
    if extra:
        z = layers.Dense(5, name="extra")(z)
    return keras.Model(images, layers.Dense(3, name="head")(z), name=name)


def saved(folder, source) -> list:
    """The model, saved in both file formats."""
    paths = folder / "epoch-1.weights.h5", folder / "epoch-1.keras"
    source.save_weights(paths[0])
    source.save(paths[1])
    return paths


@pytest.fixture(scope="module")
def loader() -> WeightLoader:
    return WeightLoader(model(name="other"))


def test_weights_are_loaded_bit_for_bit_from_both_file_formats(loader, tmp_path):
    source, target = model(), loader.model
    source.set_weights([weight + 1 for weight in source.get_weights()])
    others = target.get_weights()
    for compiled in (False, True):
        if compiled:
            source.compile("adam", "mse")
            source.optimizer.build(source.trainable_variables)
        for path in saved(tmp_path, source):
            target.set_weights(others)
            assert not any(map(np.array_equal, source.get_weights(), others))
            loader.load(path)
            assert all(map(np.array_equal, source.get_weights(), target.get_weights())), path.name


def test_mismatched_or_truncated_files_are_rejected_and_not_loaded(loader, tmp_path):
    before = loader.model.get_weights()
    for other, message in (
        ({"width": 5}, "shapes 3 x 3 x 1 x 4, 4 for the layer 'early'. Received: 3 x 3 x 1 x 5, 5"),
        ({"extra": True}, "shapes .* for the layer 'head'"),
    ):
        paths = saved(tmp_path, model(**other))
        for path in paths:
            assert_input_error((other, path.name), message, loader.load, path)
    for path in paths:
        whole = path.read_bytes()
        for keep in (0, 100, len(whole) // 2, len(whole) * 9 // 10):
            path.write_bytes(whole[:keep])
            message = f"{path.name}, which cannot be read .*damaged"
            assert_input_error(keep, message, loader.load, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert_input_error("no weights", "epoch-1.keras, which cannot be read", loader.load, path)
    assert all(map(np.array_equal, before, loader.model.get_weights()))


def test_missing_and_additional_layers_are_named(tmp_path):
    short, long = (
        keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in chosen)])
        for chosen in (["first"], ["first", "second"])
    )
    short.save_weights(tmp_path / "short.weights.h5")
    long.save_weights(tmp_path / "long.weights.h5")
    for case, model, file, message in (
        ("missing", long, "short", "no weights for the layer 'second' of shapes 4 x 4, 4"),
        ("additional", short, "long", "layers that the model lacks: second"),
    ):
        load = WeightLoader(model).load
        assert_input_error(case, message, load, tmp_path / f"{file}.weights.h5")


def test_sharded_weights_are_one_checkpoint_and_are_loaded_bit_for_bit(loader, tmp_path):
    source, target = model(), loader.model
    for epoch in (1, 2):
        source.set_weights([weight + epoch for weight in source.get_weights()])
        source.save_weights(tmp_path / f"e_{epoch:02d}.weights.json", max_shard_size=7e-7)
    shards = sorted(tmp_path.glob("*.h5"))
    assert len(shards) >= 4
    found = find_weight_files(tmp_path)
    assert list(found.files) == [1, 2] and found.ignored == []
    loader.load(found.files[2])
    assert all(map(np.array_equal, source.get_weights(), target.get_weights()))

    wide = WeightLoader(model(width=5))
    assert_input_error("shape", "shapes .*e_01|e_01.*shapes", wide.check, found.files[1])
    index, text = found.files[1], found.files[1].read_text()
    for damage in (
        "{",
        "[]",
        text.replace("e_01_", "../e_01_"),
        text.replace(".weights.h5", ".h5"),
    ):
        index.write_text(damage)
        assert_input_error(damage, "index of sharded .*cannot be read", find_weight_files, tmp_path)
    index.write_text(text)
    shards[1].rename(tmp_path / "away")
    assert_input_error("shard", "all shards .*no e_01_00001", find_weight_files, tmp_path)
    (tmp_path / "away").rename(shards[1])
    index.unlink()
    message = "Expected the index e_01.weights.json .*e_01_00000.weights.h5 without it"
    assert_input_error("index", message, find_weight_files, tmp_path)
    assert_input_error("shard", "shard, copy its index e_01", loader.check, shards[0])


@pytest.mark.filterwarnings("ignore:.*HDF5 file.*legacy")
def test_legacy_files_are_loaded_by_name_and_order_or_rejected(loader, tmp_path):
    source, target = model(), loader.model
    source.set_weights([weight + 1 for weight in source.get_weights()])
    source.save(tmp_path / "e-1.h5")
    with h5py.File(tmp_path / "e-1.h5") as whole, h5py.File(tmp_path / "e.weights.h5", "w") as only:
        weights = whole["model_weights"]
        only.attrs.update(weights.attrs)
        for name in weights:
            weights.copy(name, only)
    for name in ("e-1.h5", "e.weights.h5"):
        target.set_weights([weight * 0 for weight in target.get_weights()])
        loader.load(tmp_path / name)
        assert all(map(np.array_equal, source.get_weights(), target.get_weights())), name

    def dense(*names, trainable=True):
        made = [layers.Dense(4, name=name, trainable=trainable) for name in names]
        return keras.Sequential([keras.Input((4,)), *made])

    first = dense("a", "b")
    first.save(tmp_path / "ab.h5")
    swapped = dense("b", "a")
    WeightLoader(swapped).load(tmp_path / "ab.h5")
    for name in "ab":  # Keras would swap them
        own, other = (m.get_layer(name).get_weights() for m in (swapped, first))
        assert all(map(np.array_equal, own, other))
    other_session = dense("dense_7", "dense_8")
    other_session.save(tmp_path / "session.h5")
    again = dense("dense", "dense_7")
    WeightLoader(again).load(tmp_path / "session.h5")
    assert all(map(np.array_equal, again.get_weights(), other_session.get_weights()))
    frozen = keras.Sequential(
        [keras.Input((4,)), keras.Sequential([layers.BatchNormalization() for _ in "ab"], name="n")]
    )
    frozen.save(tmp_path / "norms.h5")
    frozen.layers[0].trainable = False
    plain = tmp_path / "plain.h5"
    first.save_weights(tmp_path / "plain.weights.h5")
    (tmp_path / "plain.weights.h5").rename(plain)
    for made, file, message in (
        (dense("b", "c"), "ab", "in its order: b, c. .*with a, b"),
        (dense("a"), "ab", "Expected the 1 layers .*additional: b"),
        (model(width=5), "e-1", "shapes 3 x 3 x 1 x 5, 5 for the layer 'early'"),
        (frozen, "norms", "in this order. .*norms.h5, with gamma, beta, gamma"),
        (first, "plain", "legacy HDF5 file, .*ends in .weights.h5"),
    ):
        assert_input_error(message, message, WeightLoader(made).load, tmp_path / f"{file}.h5")


def test_decimals_are_read_as_epochs_only_in_names_of_early_records():
    whole = {f"epoch-{epoch:06d}.weights.h5": epoch for epoch in (0, 1, 2, 12)}
    early = {"epoch-000000.03125.weights.h5": 0.03125, "epoch-000001.5.weights.h5": 1.5}
    found = epochs_of([*whole, *early])
    assert found == whole | early and list(found.values()) == sorted(found.values())
    losses = {f"epoch-{epoch:06d}.{90 - epoch}.weights.h5": epoch for epoch in (1, 2, 3)}
    assert epochs_of(list(losses)) == losses

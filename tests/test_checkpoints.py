"""Saved weights: the epoch of each file, and files that do not fit the model."""

import zipfile

import keras
import numpy as np
import pytest
from helpers import assert_input_error
from keras import layers

from repdyn_keras.recording.saved_weights import WeightLoader, epochs_of, find_weight_files

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
}
REJECTED = {
    "epoch-3.keras epoch-03.weights.h5 epoch-4.keras": "one file per epoch .*two files for epoch 3",
    "m-3-a.keras m-3-b.keras m-4-a.keras": "two .*, m-3-a.keras and m-3-b.keras",
    "7-91.keras 7-92.keras 8-93.keras": "epoch 7, 7-91.keras and 7-92.keras",
    "best.keras": "have the epoch in their names.*1 files without .*, such as best.keras",
    "epoch-3.h5 notes.txt": "epoch-012.weights.h5.*no such file",
    "": "no such file",
}


def files(folder, names: str):
    folder.mkdir()
    for name in names.split():
        (folder / name).write_bytes(b"")
    return folder


def test_epochs_are_read_from_names_and_files_are_sorted_by_epoch(tmp_path):
    for names, epochs in NAMES.items():
        assert sorted(epochs_of(names.split()).values()) == epochs, names
    names = "e-10.keras e-9.weights.h5 last.keras notes.txt .e-8.keras e-2.h5"
    found = find_weight_files(files(tmp_path / "c", names))
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

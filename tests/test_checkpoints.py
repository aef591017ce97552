"""Saved weights: which file is which epoch, and what does not fit the model."""

import keras
import numpy as np
import pytest
from keras import layers

from repdyn_keras import InputError
from repdyn_keras.recording.checkpoints import WeightLoader, epochs_of, find_checkpoints


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


def arrays(network):
    return [keras.ops.convert_to_numpy(weight.value).copy() for weight in network.weights]


@pytest.mark.parametrize(
    ("names", "epochs"),
    [
        (["epoch-000000.weights.h5", "epoch-000012.weights.h5"], [0, 12]),
        (["resnet18-007-0.53.keras", "resnet18-010-0.48.keras"], [7, 10]),
        (["01-0.5000.weights.h5", "02-0.5000.weights.h5"], [1, 2]),
        (["run3.Epoch_4.keras", "run3.Epoch_5.keras"], [4, 5]),
        (["vit16_b2_9.keras", "vit16_b2_10.keras"], [9, 10]),
        (["ckpt.3.keras"], [3]),
        (["resnet18-007.keras"], [7]),
        (["net-1-88.keras", "net-2-91.keras", "net-3-91.keras"], [1, 2, 3]),
        (["model.weights.h5"], []),
        (["best.keras", "m-5.keras", "m-6.keras"], [5, 6]),
        (["epoch5-of-100.keras", "epoch6-of-100.keras"], [5, 6]),
    ],
)
def test_epochs_are_read_from_names(names, epochs):
    assert sorted(epochs_of(names).values()) == epochs


def files(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_checkpoints_come_in_the_order_of_their_epochs(tmp_path):
    names = ["e-10.keras", "e-9.weights.h5", "last.keras", "notes.txt", ".e-8.keras", "e-2.h5"]
    found = find_checkpoints(files(tmp_path / "c", *names))
    assert {e: path.name for e, path in found.files.items()} == {
        9: "e-9.weights.h5",
        10: "e-10.keras",
    }
    assert list(found.files) == [9, 10]
    assert found.ignored == ["last.keras"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["epoch-3.keras", "epoch-03.weights.h5", "epoch-4.keras"], "Two checkpoints of epoch 3"),
        (["m-3-a.keras", "m-3-b.keras", "m-4-a.keras"], "Two .*: m-3-a.keras and m-3-b.keras"),
        (["7-91.keras", "7-92.keras", "8-93.keras"], "epoch 7 in .*: 7-91.keras and 7-92.keras"),
        (["best.keras"], "no epoch could be told by the names of its 1, such as best.keras"),
        (["epoch-3.h5", "notes.txt"], "no such file.*epoch-012.weights.h5"),
        ([], "no such file"),
    ],
)
def test_folders_without_one_checkpoint_an_epoch_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        find_checkpoints(files(tmp_path / "c", *names))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="No folder .*nowhere"):
        find_checkpoints(tmp_path / "nowhere")


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize("compiled", [False, True])
def test_weights_are_loaded_bit_for_bit_from_both_kinds_of_files(tmp_path, ending, compiled):
    source, target = model(), model(name="other")
    if compiled:
        source.compile("adam", "mse")
        source.fit(np.zeros((4, 8, 8, 1)), np.zeros((4, 3)), verbose=0)
    path = tmp_path / f"epoch-1{ending}"
    (source.save_weights if ending == ".weights.h5" else source.save)(path)
    assert not all(
        np.array_equal(a, b) for a, b in zip(arrays(source), arrays(target), strict=True)
    )
    WeightLoader(target).load(path)
    assert all(np.array_equal(a, b) for a, b in zip(arrays(source), arrays(target), strict=True))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 5}, "layer 'early' it holds shapes 3x3x1x5, 5. Expected 3x3x1x4, 4"),
        ({"extra": True}, "layer 'head' .*shapes"),
    ],
)
@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_of_another_model_are_refused_by_layer_and_shapes(tmp_path, ending, other, message):
    path = tmp_path / f"epoch-1{ending}"
    source = model(**other)
    (source.save_weights if ending == ".weights.h5" else source.save)(path)
    target = model()
    before = arrays(target)
    with pytest.raises(InputError, match=message):
        WeightLoader(target).load(path)
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays(target), strict=True))


def test_missing_and_additional_layers_are_named(tmp_path):
    names = ["first"], ["first", "second"]
    short, long = (
        keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in chosen)])
        for chosen in names
    )
    short.save_weights(tmp_path / "short.weights.h5")
    long.save_weights(tmp_path / "long.weights.h5")
    with pytest.raises(InputError, match="nothing for the layer 'second'.* shapes 4x4, 4"):
        WeightLoader(long).load(tmp_path / "short.weights.h5")
    with pytest.raises(InputError, match="layers that the model lacks: second"):
        WeightLoader(short).load(tmp_path / "long.weights.h5")


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_a_cut_file_is_refused_by_name(tmp_path, ending, keep):
    path = tmp_path / f"epoch-1{ending}"
    source = model()
    (source.save_weights if ending == ".weights.h5" else source.save)(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep in (0, 100) else int(len(whole) * keep)])
    with pytest.raises(InputError, match=f"epoch-1{ending} cannot be read .*damaged"):
        WeightLoader(model()).load(path)


def test_a_keras_archive_without_weights_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "epoch-1.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match="epoch-1.keras cannot be read"):
        WeightLoader(model()).load(path)

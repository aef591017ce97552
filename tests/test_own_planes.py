"""Planes through given triplets of images: in the recorder, the configuration and recordings."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, TINY, assert_input_error
from keras import layers

from repdyn_keras import RepresentationRecorder, open_run, record
from repdyn_keras.config import Config, load_config, parse_value, resolve, to_toml
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.configured_recorder import plane_settings

N = 70
SETTINGS = {"batch_size": 32, "resolution": 6, "drawn_planes": 1, "drawn_resolution": 9}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(N, 4, 4, 1)), "place": rng.normal(size=(N, 3))}
    true = rng.permutation(np.arange(N) % 5)
    return x, np.where(np.arange(N) % 4 == 0, (true + 1) % 5, true), true


@pytest.fixture(scope="module")
def model():
    image, place = keras.Input((4, 4, 1), name="image"), keras.Input((3,), name="place")
    z = layers.Concatenate()([layers.Flatten()(image), place])
    z = layers.Dense(8, activation="relu", name="early")(z)
    outputs = layers.Dense(5, name="head")(layers.Dense(8, activation="relu", name="late")(z))
    return keras.Model({"image": image, "place": place}, outputs)


@pytest.fixture
def recorder(data, tmp_path):
    """Creates a recorder of the data in a folder of this name."""

    def create(folder, **options):
        x, given, true = data
        options = {"images_true_labels": true, "plane_input": "image", **SETTINGS, **options}
        return RepresentationRecorder(tmp_path / folder, x, given, **options)

    return create


def test_the_ids_of_drawn_planes_give_the_same_records(recorder, model):
    """Triplets are nothing but a choice of planes: images, order and grids are the same."""
    ids = np.array([f"image {number}" for number in range(N)])
    for name, sample_ids in (("numbers", 7 * np.arange(N) - 100), ("texts", ids)):
        drawn = recorder(f"drawn {name}", planes=4, sample_ids=sample_ids)
        drawn.record(model, 0)
        constants = drawn.folder.constants()
        triplets = constants["plane_sample"].values
        own = recorder(name, planes=triplets, sample_ids=sample_ids)
        own.record(model, 0)
        held = own.folder.constants()
        assert held.attrs.pop("planes_chosen") == 1 and "planes_chosen" not in constants.attrs
        assert held.identical(constants)
        assert own.folder.record(0).identical(drawn.folder.record(0))
        for form in (triplets.tolist(), [tuple(each) for each in triplets], list(triplets)):
            again = recorder(name, planes=form, sample_ids=sample_ids)
            assert again.settings.planes == own.settings.planes


def test_any_image_may_be_a_corner_and_keeps_its_labels(recorder, model, data, capsys):
    x, given, true = data
    few = recorder("few", planes=0)
    left_out = np.setdiff1d(np.arange(N), few.evaluation.ids)
    assert len(left_out) == N % 32
    alike = np.flatnonzero(true == 2)[:3]
    triplets = [left_out[:3].tolist(), [int(left_out[5]), 1, 0], alike.tolist()]
    own = recorder("own", planes=triplets)
    own.record(model, 0)
    np.testing.assert_array_equal(own.evaluation.ids, few.evaluation.ids)
    analyze(own.folder)
    dynamics = open_run(own.folder.path).dynamics
    np.testing.assert_array_equal(dynamics["plane_sample"], triplets)
    np.testing.assert_array_equal(dynamics["plane_label"], true[triplets])
    np.testing.assert_array_equal(dynamics["plane_label_given"], given[triplets])
    assert (dynamics["plane_label"] != dynamics["plane_label_given"]).any()
    images = x["image"][triplets].astype("float32")
    np.testing.assert_array_equal(dynamics["plane_image"].values.reshape(images.shape), images)
    printed = capsys.readouterr().out
    fewer = [each for each in triplets if len(set(true[each])) < 3]
    assert f"{len(fewer)} of 3 planes go through images of fewer than three true" in printed
    assert str(tuple(alike.tolist())) in printed


def test_other_planes_do_not_continue_a_recording(recorder, model):
    recorder("run", planes=[(1, 2, 3)]).record(model, 0)
    recorder("run", planes=[(1, 2, 3)]).record(model, 1)
    for planes in ([(1, 2, 4)], [(1, 3, 2)], [(1, 2, 3), (4, 5, 6)], 1):
        other = recorder("run", planes=planes)
        assert_input_error(planes, "different .*plane_sample", other.record, model, 2)
    assert recorder("run", planes=0).folder.epochs() == [0, 1]


FORM = "a whole number, or triplets of image ids, such as"
BAD = [
    ([], "at least one triplet in planes. Received: planes=\\[\\]. Use 0"),
    ((), "at least one triplet"),
    (True, "Received: planes=True"),
    (None, f"{FORM}.*planes=None"),
    ("3,17,42", f"{FORM}.*planes='3,17,42'"),
    (2.0, f"{FORM}.*planes=2.0"),
    ({1, 2, 3}, FORM),
    ([1, 2, 3], f"{FORM}.*Received: 1 in place of a triplet"),
    ([(1, 2, 3), 4], "Received: 4 in place of a triplet"),
    ([(1, 2)], "three image ids for each plane.*\\(1, 2\\), with 2"),
    ([(1, 2, 3, 4)], "with 4"),
    ([()], "with 0"),
    ([(1, 2, None)], "whole numbers or texts"),
    ([(1, 2, True)], "whole numbers or texts"),
    ([(1, 2, 3.0)], "whole numbers or texts"),
    ([[[1, 2, 3]]], "whole numbers or texts"),
    ([(1, 2, 1)], "three different images.*\\(1, 2, 1\\), which repeats an id"),
    ([(1, 2, 3), (3, 1, 2)], "different triplets.*\\(3, 1, 2\\), whose images .*\\(1, 2, 3\\)"),
]


def test_planes_that_are_none_are_rejected(recorder, model, data):
    unknown = [
        ([(1, 2, N)], f"one of {N} image ids from 0 to {N - 1}. Received: {N}. .*\\(1, 2, {N}\\)"),
        ([(1, 2, -1)], "Received: -1. It is one of the triplet"),
        ([(1, 2, "3")], "from 0 to .*Received: '3'"),
    ]
    for planes, message in [*BAD, *unknown]:
        assert_input_error(planes, message, recorder, "run", planes=planes)
    odd = {"sample_ids": 10 * np.arange(N)}
    words = "from 0 to 690, nearest: 10, 20, 30. Received: 22"
    assert_input_error("odd", words, recorder, "run", planes=[(10, 20, 22)], **odd)
    texts = {"sample_ids": [f"cat-{number}" for number in range(N)]}
    words = "Unknown image id. .*nearest: .*'cat-700'"
    assert_input_error(
        "text", words, recorder, "run", planes=[("cat-1", "cat-2", "cat-700")], **texts
    )
    x, given, _ = data
    line = {"image": x["image"].copy(), "place": x["place"]}
    line["image"][8] = (line["image"][6] + line["image"][7]) / 2
    line["image"][9] = line["image"][6]
    for triplet in ((6, 7, 8), (6, 9, 1)):
        planes = [(1, 2, 3), triplet]
        options = {"planes": planes, "plane_input": "image", **SETTINGS}
        own = RepresentationRecorder("run", line, given, **options)
        words = f"not on one line.*Received: \\({', '.join(map(str, triplet))}\\)"
        assert_input_error(triplet, words, own.build, model)


# --- the configuration ------------------------------------------------------------------------


def test_triplets_are_values_of_the_key_planes(tmp_path):
    planes = ((3, 17, 42), (5, 6, 7))
    for text in ("[[3,17,42],[5,6,7]]", " [ [3, 17, 42], [5, 6, 7] ] "):
        assert parse_value("planes", text) == planes
    config = Config(planes=[[3, 17, 42], (5, 6, 7)], resolution=10, drawn_planes=1)
    assert config.planes == planes and config.plane_count == 2
    assert Config(planes=4).plane_count == 4 and hash(config)
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config, {}), encoding="utf-8")
    assert Config(**load_config(file)) == config
    drawn = plane_settings(resolve(Config(planes=2, resolution=10, drawn_planes=1)))
    assert plane_settings(resolve(config)).points == drawn.points == 2 * 100 + 45**2


def test_other_values_of_the_key_are_rejected():
    many = [[index, index + 1, index + 2] for index in range(10_001)]
    cases = [case for case in BAD if case[0] is not True and isinstance(case[0], list | tuple)]
    cases += [([(1, 2, -3)], "training images in planes, numbered from 0.*-3")]
    cases += [([("1", "2", "3")], "indices of training images in planes")]
    cases += [([(1, 2, 2**63)], "indices of training images"), (many, "at most 10000 triplets")]
    cases += [(value, "planes has the wrong type.*triplets") for value in (True, None, {})]
    for value, message in cases:
        assert_input_error(value, message, Config, planes=value)
    for text, message in (
        ("[[3,17,42]", "such as \\[\\[3,17,42\\],\\[5,6,7\\]\\]"),
        ("[[3,17,x]]", "such as"),
        ("[" * 100_000, "such as"),
        ("[]", "at least one triplet"),
        ("[3,17,42]", "3 in place of a triplet"),
        ("3,17,42", "planes has the wrong type"),
        ("[[1.5,2,3]]", "whole numbers"),
    ):
        assert_input_error(text, message, parse_value, "planes", text)


# --- recordings of a run ------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_saved_weights_are_recorded_on_other_planes_of_the_same_images(tiny_run, tmp_path):
    folder = tiny_run.folder
    held = folder.constants()
    triplets = held["plane_sample"].values[[2, 0]].tolist()
    outside = np.setdiff1d(np.arange(TINY["synthetic_train"]), held["sample"])[:3].tolist()
    keys = {"planes": [*triplets, outside], "drawn_planes": 3}
    after = record(folder.weights, keys, like=folder.path, out=tmp_path / "after")
    constants = after.folder.constants()
    assert constants["sample"].identical(held["sample"])
    assert constants["plane_sample"].values.tolist() == [*triplets, outside]
    for epoch in folder.epochs():
        maps = [each.record(epoch)["regions"].values for each in (folder, after.folder)]
        np.testing.assert_array_equal(maps[1][:, :2], maps[0][:, [2, 0]])
    stored = load_config(after.folder.replay_file)
    assert stored["planes"] == tuple(map(tuple, keys["planes"]))
    count = TINY["synthetic_train"]
    with pytest.raises(InputError, match=f"ids from 0 to {count - 1}. Received: {count}"):
        keys = {"planes": [[0, 1, count]], "backend": BACKEND}
        record(folder.weights, keys, like=folder.path, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()

"""Features that `measures=` records, and the similarities between epochs computed from them."""

import keras
import numpy as np
import pytest
from helpers import assert_rejected, repdyn
from keras import layers

from repdyn_keras import InputError, RepresentationRecorder, procrustes, pwcca, svcca
from repdyn_keras.config import Config
from repdyn_keras.config.measure_names import ON_REQUEST
from repdyn_keras.dynamics import analyze
from repdyn_keras.measures import on_request
from repdyn_keras.study.study_file import study_of

N, EPOCHS = 64, (0, 1, 3)
LAYERS = ["map", "narrow", "output"]


def model_and_images():
    draw = np.random.default_rng(0)
    images = keras.Input((4, 4, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="map")(images)
    x = layers.Dense(4, activation="tanh", name="narrow")(layers.Flatten()(x))
    model = keras.Model(images, layers.Dense(3, name="head")(x))
    return model, draw.normal(size=(N, 4, 4, 3)).astype("float32"), draw.integers(0, 3, N)


def states(model):
    """Weights of several epochs; at the last one, a layer is dead."""
    for epoch in EPOCHS:
        draw = np.random.default_rng(epoch)
        for weight in model.weights:
            weight.assign(draw.normal(size=weight.shape))
        if epoch == EPOCHS[-1]:
            model.get_layer("narrow").kernel.assign(np.zeros((20, 4)))
        yield epoch


def recorded(path, measures=(), labelled=True, **options):
    """A folder with three records, and the features of every layer at each."""
    model, images, labels = model_and_images()
    recorder = RepresentationRecorder(
        path,
        images,
        labels if labelled else None,
        layers=LAYERS[:2],
        planes=0,
        batch_size=32,
        measures=measures,
        **options,
    )
    taps = keras.Model(model.inputs, [model.get_layer(name).output for name in LAYERS[:2]])
    found = []
    for epoch in states(model):
        recorder.record(model, epoch)
        outputs = [*taps(recorder.evaluation.x), model(recorder.evaluation.x)]
        outputs = [keras.ops.convert_to_numpy(output) for output in outputs]
        found.append([outputs[0].mean(axis=(1, 2)), *outputs[1:]])
    return recorder.folder, found


@pytest.fixture(scope="module")
def with_features(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("run") / "run", ("procrustes", "svcca", "pwcca"))


def test_records_hold_the_pooled_features_of_every_layer(with_features, tmp_path):
    folder, features = with_features
    for epoch, of_layers in zip(EPOCHS, features, strict=True):
        record = folder.record(epoch)
        assert record["feature_width"].values.tolist() == [5, 4, 3]
        expected = np.concatenate([x.T for x in of_layers])
        assert record["features"].dtype == np.float32
        np.testing.assert_allclose(record["features"].values, expected, atol=1e-5)
    plain, _ = recorded(tmp_path / "plain")
    for epoch in EPOCHS:
        record, bare = folder.record(epoch), plain.record(epoch)
        added = set(record.variables) - set(bare.variables)
        assert added == {"features", "feature_width"}
        np.testing.assert_allclose(record["fingerprint"], bare["fingerprint"], rtol=1e-5)
        assert record.attrs.keys() == bare.attrs.keys()
    assert "measures" not in plain.constants().attrs
    assert not [name for name in plain.record(0).variables if "feature" in str(name)]


def test_similarities_between_epochs_are_those_of_the_arrays(with_features):
    folder, _ = with_features
    # The recorder was asked for the measures: every analysis computes them.
    found = analyze(folder)
    assert found.attrs["measures"] == "procrustes pwcca svcca"
    for layer, name in enumerate(LAYERS):
        for s, t in ((0, 0), (0, 1), (1, 0)):
            records = [folder.record(EPOCHS[at])["features"].values for at in (s, t)]
            x, y = (np.split(each, [5, 9])[layer].T for each in records)
            for measure, expected in (
                ("procrustes", procrustes(x, y)),
                ("svcca", svcca(x, y)),
                ("pwcca", (pwcca(x, y) + pwcca(y, x)) / 2),
            ):
                value = found[f"similarity_{measure}"].values[layer, s, t]
                assert value == pytest.approx(expected, abs=1e-9), (name, measure)
    for measure in ("procrustes", "svcca", "pwcca"):
        values = found[f"similarity_{measure}"].sel(layer="narrow").values
        assert np.isnan(values[2]).all() and np.isfinite(values[:2, :2]).all()
        null = found[f"similarity_{measure}_null"].sel(layer="map", epoch=0, epoch_other=1)
        mean, deviation = null.values
        assert 0.1 < mean < 0.6 and 0 < deviation < 0.1


def test_the_null_is_that_of_permuted_images(with_features):
    folder, features = with_features
    x, y = features[0][0], features[1][0]
    draw = np.random.default_rng(0)
    values = [procrustes(x, y[draw.permutation(N)]) for _ in range(200)]
    null = analyze(folder)["similarity_procrustes_null"].sel(layer="map", epoch=0, epoch_other=1)
    mean, deviation = null.values
    assert abs(mean - np.mean(values)) < 4 * np.std(values) / 3**0.5
    assert deviation == pytest.approx(np.std(values), rel=0.9)


def test_measures_on_the_fingerprints_record_no_features(tmp_path):
    folder, _ = recorded(tmp_path / "run", "rsa, mutual_knn")
    assert "features" not in folder.record(0)
    assert {"similarity_rsa", "similarity_mutual_knn"} <= set(analyze(folder).data_vars)
    result = repdyn("analyze", folder.path, "--measure", "svcca")
    assert_rejected(result, ["records with features of every layer, for svcca", "measures=svcca"])


def test_features_need_no_labels_and_few_images_are_nan(tmp_path):
    """32 images have 31 directions, as many as flattened feature maps here."""
    folder, _ = recorded(
        tmp_path / "run", ("procrustes", "pwcca"), labelled=False, pooling="flatten"
    )
    found = analyze(folder)
    assert folder.record(0)["feature_width"].values[0] == 20
    assert np.isfinite(found["similarity_procrustes"].sel(layer="map")).all()
    assert np.isfinite(found["similarity_pwcca"].sel(layer="map")).all()
    model, images, _ = model_and_images()
    few = RepresentationRecorder(
        tmp_path / "few",
        images[:20],
        layers=["map"],
        planes=0,
        pooling="flatten",
        measures=("procrustes", "pwcca"),
    )
    few.record(model, 0)
    found = analyze(few.folder)
    assert np.isnan(found["similarity_pwcca"].sel(layer="map")).all()
    assert np.allclose(found["similarity_procrustes"].sel(layer="map"), 1)


def test_unknown_measures_are_rejected(tmp_path):
    model, images, _ = model_and_images()
    with pytest.raises(InputError, match="Unknown measure. .*nearest: svcca"):
        RepresentationRecorder(tmp_path / "run", images, measures=("svca",))
    with pytest.raises(InputError, match="measures as names, such as .*measures=3"):
        RepresentationRecorder(tmp_path / "run", images, measures=3)


def test_measures_of_a_configuration_are_checked_when_it_is_read(tmp_path):
    """A study fails at once, not in each of its runs."""
    assert Config(measures=" svcca,rsa, svcca,").measures == "svcca,rsa"
    assert Config(measures=",").measures is Config(measures="").measures is None
    with pytest.raises(InputError, match="Unknown measure. .*nearest: rsa.*Received: 'rsaa'"):
        Config(measures="rsa,rsaa")
    with pytest.raises(InputError, match="Unknown measure. .*Received: 'foo'"):
        study_of({"measures": ["rsa", "svcca,foo"], "seeds": 2})
    assert list(ON_REQUEST) == on_request()


def test_measures_that_need_no_features_do_not_matter_to_a_continued_recording(tmp_path):
    folder, _ = recorded(tmp_path / "plain")
    for measures in (None, "", ("rsa",), "mutual_knn,rsa,"):
        continued, _ = recorded(folder.path, measures)
    assert continued.epochs() == list(EPOCHS)
    with pytest.raises(InputError, match="with different measures"):
        recorded(folder.path, ("rsa", "svcca"))
    features, _ = recorded(tmp_path / "features", "svcca")
    recorded(features.path, ("rsa", "pwcca"))
    assert {"similarity_svcca"} <= set(analyze(features, measures="pwcca").data_vars)
    with pytest.raises(InputError, match="with different measures"):
        recorded(features.path, ("rsa",))


def test_features_that_do_not_fit_the_record_are_rejected(tmp_path):
    folder, _ = recorded(tmp_path / "run", ("procrustes",))
    for epoch in folder.epochs():
        folder.write_record(epoch, folder.record(epoch).isel(feature=slice(1, None)))
    with pytest.raises(InputError, match="Expected 3 features of 64 images in the layer 'output'"):
        analyze(folder)

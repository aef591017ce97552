"""Models that change between two records: what the recorder cached of them is updated."""

import contextlib
import io

import keras
import numpy as np
import pytest
from helpers import assert_input_error
from keras import layers

from repdyn_keras import RepresentationRecorder
from repdyn_keras.recording.values import ModelValues

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = np.arange(32) % 3


def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    images = keras.Input((6,))
    x = layers.Dense(8, "relu", name="dense")(images)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    made = keras.Model(images, layers.Dense(3, name="head")(x))
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def recorder_of(folder) -> RepresentationRecorder:
    with contextlib.redirect_stdout(io.StringIO()):
        return RepresentationRecorder(
            folder, X, Y, planes=1, resolution=3, batch_size=16, batch_norm="recalibrate"
        )


CHANGES = {
    "freeze": lambda made: setattr(made.get_layer("norm"), "trainable", False),
    "quantize": lambda made: made.quantize("int8"),
    "lora": lambda made: made.get_layer("dense").enable_lora(2),
    "run_eagerly": lambda made: made.compile("adam", made.loss, run_eagerly=True),
    "jit_compile": lambda made: made.compile("adam", made.loss, jit_compile=False),
    "precision": lambda made: setattr(
        made.get_layer("dense"), "dtype_policy", keras.DTypePolicy("mixed_bfloat16")
    ),
}
SHORT = ("freeze",)


@pytest.mark.parametrize(
    "change",
    [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in CHANGES],
)
def test_a_changed_model_is_recorded_as_by_a_new_recorder(tmp_path, change):
    made, recorder = model(), recorder_of(tmp_path / "before")
    recorder.record(made, 0)
    CHANGES[change](made)
    made.fit(X, Y, epochs=1, verbose=0)
    recorder.record(made, 1)
    new = recorder_of(tmp_path / "after")
    new.record(made, 1)
    assert recorder.folder.record(1).equals(new.folder.record(1))
    has_norm = change != "freeze"
    assert ("accuracy_training" in recorder.folder.record(1)) == has_norm


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="jax keeps values outside the model")
def test_a_model_whose_values_jax_keeps_elsewhere_is_rejected():
    made, errors = model(), []

    def look(batch, logs):
        if batch == 1:
            errors.append(
                assert_input_error("variables have values", "fit", ModelValues.live, made)
            )

    made.fit(
        X,
        Y,
        batch_size=8,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=look)],
    )
    assert len(errors) == 1
    assert len(ModelValues.live(made).hash) == 64

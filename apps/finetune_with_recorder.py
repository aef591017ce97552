"""Records the fine-tuning of a pretrained network.

    python apps/finetune_with_recorder.py --out runs/finetune

A small network learns the digits 0 to 4. Then its body gets a new head and is fine-tuned on 5 to 9,
first frozen and then trainable. The recorder is one callback; layers inside the nested body are
named `body/...`. Runs offline in less than a minute on the backend in KERAS_BACKEND (default:
jax).
"""

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("KERAS_BACKEND", "jax")

import typer
from sklearn.datasets import load_digits

from repdyn_keras.errors import InputError, StorageError

FROZEN, FREE = 8, 16


def body():
    """The part of the network that is pretrained and fine-tuned: three residual blocks."""
    import keras
    from keras import layers

    images = keras.Input((8, 8, 1))
    z = layers.Conv2D(16, 3, padding="same", name="stem")(images)
    for index in (1, 2, 3):
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(z))
        y = layers.Conv2D(16, 3, padding="same")(y)
        z = layers.Add(name=f"block{index}")([z, y])
    z = layers.GlobalAveragePooling2D()(layers.ReLU()(z))
    return keras.Model(images, z, name="body")


def with_head(trained, name: str):
    """A model of the body and a new softmax head for five classes."""
    import keras

    images = keras.Input((8, 8, 1))
    classes = keras.layers.Dense(5, activation="softmax", name=name)(trained(images))
    return keras.Model(images, classes)


def train(model, x, y, epochs: int, rate: float, **fit) -> None:
    """Fits a model with Adam."""
    import keras

    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=0, **fit)


def finetune(
    out: Annotated[Path, typer.Option(help="Folder for the records and figures.")] = Path(
        "runs/finetune"
    ),
) -> None:
    """Fine-tune a network on new digits and record every block."""
    if out.exists():
        raise InputError(
            f"{out} exists. Expected a new folder. Received: an existing path. Choose another "
            "one with --out."
        )
    import keras

    from repdyn_keras import RepresentationRecorder, open_run
    from repdyn_keras.dynamics import analyze
    from repdyn_keras.figures import similarity_heatmaps

    keras.utils.set_random_seed(0)
    digits = load_digits()
    x, y = (digits.images[..., None] / 8 - 1).astype("float32"), digits.target
    old, new = y < 5, y >= 5
    pretrained = body()
    train(with_head(pretrained, "old_digits"), x[old], y[old], epochs=12, rate=3e-3)

    model = with_head(pretrained, "new_digits")
    x, y = x[new], y[new] - 5
    recorder = RepresentationRecorder(
        out,
        x[:512],
        y[:512],
        layers=["body/stem", "body/block1", "body/block2", "body/block3", "body"],
        epochs=2,
        train=(x[:700], y[:700]),
        test=(x[700:], y[700:]),
        planes=4,
        batch_size=128,
        class_names=["five", "six", "seven", "eight", "nine"],
    )
    pretrained.trainable = False
    train(model, x[:700], y[:700], FROZEN, 3e-3, callbacks=[recorder])
    pretrained.trainable = True
    train(model, x[:700], y[:700], FROZEN + FREE, 1e-3, initial_epoch=FROZEN, callbacks=[recorder])

    run = open_run(out)
    dynamics = analyze(run.folder)
    cka = dynamics["cka"].sel(epoch=0)
    print(f"\nCKA with the pretrained state, after {FROZEN} epochs with the body frozen and after")
    print(f"{FREE} more with it free, and the test accuracy of a linear probe before and after:\n")
    print(f"{'layer':12} {'frozen':>7} {'free':>7} {'before':>7} {'after':>7}")
    for layer in dynamics["layer"].values:
        similar = cka.sel(layer=layer, epoch_other=[FROZEN, FROZEN + FREE]).values
        probe = dynamics["probe_accuracy"].sel(layer=layer, subset="test").values[[0, -1]]
        print(f"{layer:12} " + " ".join(f"{value:7.3f}" for value in (*similar, *probe)))
    similarity_heatmaps(dynamics, "cka").savefig(out / "cka.png")
    print(f"\n{out / 'cka.png'}")


def main() -> None:
    """Runs the program; invalid input gives one message and exit code 2."""
    try:
        typer.run(finetune)
    except (InputError, StorageError, OSError) as error:
        print(f"finetune_with_recorder: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

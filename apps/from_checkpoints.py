"""Records saved weights, with images in memory.

    python apps/from_checkpoints.py --out runs/from-checkpoints

Trains a small network on digits with Keras's `ModelCheckpoint` and with the recorder, then records
the saved weights in another order, with a new model, and compares all arrays of the two recordings.
For data sets that repdyn can load, `repdyn record FOLDER --model ... --dataset ...` does the same.
Runs on the backend in KERAS_BACKEND (default: jax).
"""

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("KERAS_BACKEND", "jax")

import typer
from sklearn.datasets import load_digits

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.text import format_epoch

EPOCHS = 8


def network():
    """A small network with dropout."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", name="early"),
            layers.Conv2D(32, 3, activation="relu", name="late"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(10, name="logits"),
        ]
    )


def replay(
    out: Annotated[Path, typer.Option(help="Folder for weights and records.")] = Path(
        "runs/from-checkpoints"
    ),
) -> None:
    """Train with checkpoints, record them, and compare the records with those of the callback."""
    if out.exists():
        raise InputError(
            f"{out} exists. Expected a new folder. Received: an existing path. Choose another "
            "one with --out."
        )
    import keras

    from repdyn_keras import RepresentationRecorder, open_run
    from repdyn_keras.recording.checkpoints.saved_weights import WeightLoader
    from repdyn_keras.recording.checkpoints.weight_files import find_weight_files

    keras.utils.set_random_seed(0)
    digits = load_digits()
    x, y = (digits.images[..., None] / 8 - 1).astype("float32"), digits.target
    settings = {"train": (x[:1400], y[:1400]), "test": (x[1400:], y[1400:]), "epochs": 1}
    weights = out / "weights"
    weights.mkdir(parents=True)

    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    during = RepresentationRecorder(out / "during", x[:1024], y[:1024], **settings)
    save = keras.callbacks.ModelCheckpoint(
        weights / "epoch-{epoch:03d}.weights.h5", save_weights_only=True
    )
    model.save_weights(weights / "epoch-000.weights.h5")
    model.fit(x[:1400], y[:1400], epochs=EPOCHS, verbose=0, callbacks=[during, save])

    after = RepresentationRecorder(out / "after", x[:1024], y[:1024], **settings)
    again = network()
    loader = WeightLoader(again)
    for epoch, file in reversed(find_weight_files(weights).files.items()):
        loader.load(file)
        after.record(again, epoch)

    folders = open_run(out / "during").folder, open_run(out / "after").folder
    for epoch in folders[0].epochs():
        hashes = {folder.recorded_hash(epoch) for folder in folders}
        same = len(hashes) == 1 and folders[0].record(epoch).equals(folders[1].record(epoch))
        print(f"epoch {format_epoch(epoch)}: {'identical' if same else 'DIFFERENT'}")
    print(f"\nrepdyn analyze {out / 'after'}   # dynamics.nc and a table")


def main() -> None:
    """Runs the program; invalid input gives one message and exit code 2."""
    try:
        typer.run(replay)
    except (InputError, StorageError, OSError) as error:
        print(f"from_checkpoints: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

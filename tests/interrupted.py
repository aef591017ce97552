"""A tiny run that ends before its time, what it is compared by, and a network of our own."""

import importlib.util
import os
from pathlib import Path

import keras
from keras import layers

import repdyn_keras
from repdyn_keras.experiment import Watcher
from repdyn_keras.records import RunFolder

BACKEND = os.environ["KERAS_BACKEND"]
MODEL = "interrupted:network"
# Epoch 2 is not recorded, and the last one is only because it is the last.
SHORT = {
    "backend": BACKEND,
    "dataset": "synthetic",
    "model": MODEL,
    "optimizer": "adam",
    "epochs": 4,
    "label_noise": 0.4,
    "augment": True,
    "synthetic_train": 96,
    "synthetic_test": 32,
    "synthetic_size": 8,
    "synthetic_channels": 1,
    "synthetic_classes": 4,
    "batch_size": 20,
    "n_eval": 32,
    "cka_batch": 32,
    "planes": 0,
    "record_epochs": (1, 3),
    "keep_weights": True,
    "checkpoint_seconds": 0,
}


def network(image_shape, n_classes) -> keras.Model:
    """A network with every kind of state: dropout, BatchNormalization, weights without a seed."""
    images = keras.Input(image_shape)
    x = layers.Flatten()(images)
    for name in ("one", "two"):
        x = layers.Dense(8, activation="relu", name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.Dropout(0.3, name=f"{name}_dropout")(x)
    return keras.Model(images, layers.Dense(n_classes, name="head")(x))


def from_file(path: Path):
    """The module in a file that no package holds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS = Path(__file__).parents[1] / "benchmarks" / "faults"
differences = from_file(FAULTS / "kill.py").differences


class Killed(RuntimeError):
    """What ends a run in these tests."""


class Calls(Watcher):
    """Calls a function when a run tells of an event.

    Args:
        name: the method of `Watcher` that tells of it.
        first: the first of its arguments, such as an epoch.
        call: is called without arguments.
    """

    def __init__(self, name: str, first, call):
        def told(given, *rest):
            if given == first:
                call()

        setattr(self, name, told)


def kill() -> None:
    raise Killed


def run(*given, **more):
    """`repdyn_keras.run` with names of layers counted from the start, as in a new process."""
    keras.utils.clear_session()
    return repdyn_keras.run(*given, **more)


def whole_run(folder: Path, **changed) -> RunFolder:
    """A run that is never interrupted."""
    return run({**SHORT, **changed}, out=folder).folder


def resumed(folder: Path, **given) -> RunFolder:
    """The run in a folder, at its end."""
    return run({"model": MODEL, **given}, out=folder, resume=True).folder


def names_of(folder: Path) -> list[str]:
    """The files below a folder, without those of a lock."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of the files below a folder, by name."""
    return {name: (folder / name).read_bytes() for name in names_of(folder)}

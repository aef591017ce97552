"""Helpers of several test files: tiny runs, commands, interrupted runs, and simulated runs.

Keras is imported only inside functions, so that tests without Keras do not load it.
"""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import xarray as xr
from filelock import FileLock
from typer.testing import CliRunner

import repdyn_keras
from repdyn_keras.cli import app
from repdyn_keras.errors import InputError
from repdyn_keras.experiment import Watcher
from repdyn_keras.measures import image_histories
from repdyn_keras.measures.cka import fingerprint
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import LOCK

BACKEND = os.environ["KERAS_BACKEND"]
ROOT = Path(repdyn_keras.__file__).parents[1]
# The pages of the documentation, from the project's root.
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "apps/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)

# --- one tiny run per session -----------------------------------------------------------------

TINY = {
    "dataset": "synthetic",
    "epochs": 3,
    "early_records": 0,
    "label_noise": 0.4,
    "synthetic_train": 128,
    "synthetic_test": 32,
    "synthetic_size": 8,
    "synthetic_channels": 1,
    "synthetic_classes": 4,
    "width": 8,  # with fewer channels oneDNN may corrupt memory: docs/models.md
    "blocks": [1, 1],
    "batch_size": 24,
    "n_eval": 64,
    "cka_batch": 32,
    "planes": 3,
    "resolution": 5,
    "drawn_planes": 2,
    "drawn_resolution": 9,
    "keep_weights": True,
}
LAYERS = ["stem", "stage1_block1", "stage2_block1", "pooled", "output"]


@dataclass(frozen=True)
class TinyRun:
    """A finished run of the command line, and its output."""

    folder: RunFolder
    exit_code: int
    stdout: str
    stderr: str


def command_run(base: Path, name: str, arguments: list[str]) -> TinyRun:
    """`repdyn` with these arguments, once for all processes of pytest-xdist."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, printed = base / name, base / f"{name}.json"
    with FileLock(base / f"{name}.lock"):
        if not printed.exists():
            result = CliRunner().invoke(app, [*arguments, "--out", str(folder)])
            printed.write_text(json.dumps([result.exit_code, result.stdout, result.stderr]))
    return TinyRun(RunFolder(folder), *json.loads(printed.read_text()))


def finished_run(base: Path) -> TinyRun:
    """The tiny run of a whole test session."""
    config_file = base / "tiny.toml"
    config_file.write_text(tomli_w.dumps(TINY), encoding="utf-8")
    return command_run(base, "tiny_run", ["run", str(config_file), "--backend", BACKEND])


def repeated_run(base: Path) -> TinyRun:
    """The tiny run repeated from its `run.toml`, without figures, which take long."""
    config_file = finished_run(base).folder.config_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repdyn_keras.figures.draw_all", lambda *args, **more: [])
        patch.setattr("repdyn_keras.report.write_report", lambda run: run.folder.report_file)
        return command_run(base, "repeated_run", ["run", str(config_file), "--quiet"])


# --- commands -----------------------------------------------------------------------------------


COMMANDS = ("run", "analyze", "record", "report", "figures", "compare", "layers", "doctor")


def repdyn(*arguments):
    """Runs the command in this process; returns its exit code, stdout and stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*arguments, cwd=None, before: str = ""):
    """Runs the command in a separate process."""
    code = f"{before}\nfrom repdyn_keras.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder except locks, with the bytes of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != LOCK
    }


def files_below(folder: Path) -> list[str]:
    """The files below a folder, except those of a lock."""
    return [name for name, held in contents(folder).items() if held is not None]


def assert_rejected(result, words):
    """Checks that a command failed with one message, no traceback and exit code 2."""
    code = result.exit_code if hasattr(result, "exit_code") else result.returncode
    assert code == 2, result.stdout + result.stderr
    assert result.stderr.startswith("repdyn: error: ")
    assert result.stderr.count("repdyn: error:") == 1
    assert len(result.stderr.splitlines()) == 1, "one message is one line"
    assert "Traceback" not in result.stdout + result.stderr
    for word in words:
        assert word in result.stderr, f"{word!r} is not in {result.stderr!r}"


def assert_input_error(case, pattern: str, call, *given, **more) -> str:
    """Checks that a call raises InputError with a message that matches; returns the message.

    Args:
        case: name of the call, for the assertion message.
    """
    try:
        call(*given, **more)
    except InputError as error:
        message = str(error)
        assert re.search(pattern, message), f"{case}: {pattern!r} is not in {message!r}"
        return message
    pytest.fail(f"{case}: was not rejected")


def small_model():
    """A model with three layers of zeros."""
    import keras

    layers = [
        keras.layers.Dense(units, kernel_initializer="zeros", name=f"dense{units}")
        for units in (5, 4, 3)
    ]
    return keras.Sequential([keras.Input((2,)), *layers], name="mine")


# --- fingerprints, computed independently of the package ------------------------------------------


def fingerprint_float64(x, batch: int):
    """Fingerprint of features (n, ...) and their three norms, summed over batches, in float64.

    Source: Nguyen et al. 2021 (arXiv 2010.15327), eq. 3; the features are centred first.
    """
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    vectors, norms = [], np.zeros(3)
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        centred = part - part.mean(axis=0)
        gram = centred @ centred.T
        k = gram - np.diag(np.diag(gram))
        r = k.sum(axis=0) / (batch - 2)
        u = k - r - r[:, None] + k.sum() / ((batch - 1) * (batch - 2))
        np.fill_diagonal(u, 0)
        vectors.append(np.sqrt(2 / (batch * (batch - 3))) * u[np.triu_indices(batch, 1)])
        norms += [np.sum(u**2), np.sum(gram**2), np.sum(part**2)]
    return np.concatenate(vectors), norms


def assert_fingerprint(found, x, batch: int, case="") -> None:
    """Checks that a stored fingerprint equals that in float64, up to float32 accuracy."""
    expected = fingerprint_float64(x, batch)[0]
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error <= 1e-5, (case, error)


# --- interrupted runs ---------------------------------------------------------------------------

MODEL = "helpers:network"
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
    "early_records": 2,
    "keep_weights": True,
    "checkpoint_seconds": 0,
}


def network(image_shape, n_classes):
    """A network with every kind of state: dropout, BatchNormalization, weights without a seed."""
    import keras
    from keras import layers

    images = keras.Input(image_shape)
    x = layers.Flatten()(images)
    for name in ("one", "two"):
        x = layers.Dense(8, activation="relu", name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.Dropout(0.3, name=f"{name}_dropout")(x)
    return keras.Model(images, layers.Dense(n_classes, name="head")(x))


def from_file(path: Path):
    """Imports the module of a file outside of any package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS = Path(__file__).parents[1] / "benchmarks" / "faults"
differences = from_file(FAULTS / "kill.py").differences


class Killed(RuntimeError):
    """Interrupts a run in these tests."""


class Calls(Watcher):
    """A watcher that calls a function at an event.

    Args:
        name: the method of `Watcher` for the event.
        first: its first argument, such as an epoch.
        call: the function, called without arguments.
    """

    def __init__(self, name: str, first, call):
        def method(given, *rest):
            if given == first:
                call()

        setattr(self, name, method)


def kill() -> None:
    raise Killed


def run(*given, **more):
    """`repdyn_keras.run` with automatic layer names that start again, as in a new process."""
    import keras

    keras.utils.clear_session()
    return repdyn_keras.run(*given, **more)


def whole_run(folder: Path, **changed) -> RunFolder:
    """An uninterrupted run."""
    return run({**SHORT, **changed}, out=folder).folder


def resumed(folder: Path, **given) -> RunFolder:
    """Resumes the run in a folder until its end."""
    return run({"model": MODEL, **given}, out=folder, resume=True).folder


# --- folders with simulated records --------------------------------------------------------------

WRITTEN_EPOCHS = (0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32)
WRITTEN_LAYERS = ("stem", "stage1_block1", "stage1_block2", "stage2_block1", "pooled", "output")
SUBSETS = ("train", "clean", "mislabeled_given", "mislabeled_true", "test")
N, BATCH, CLASSES, PLANES, GRID = 32, 16, 4, 3, 5
ACCURACY = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.996, 0.9, 0.999, 1.0, 0.995)


def features(layers=WRITTEN_LAYERS, epochs=WRITTEN_EPOCHS, seed=0):
    """(epoch, layer, n, d) float32: each layer turns from one state to another at another time."""
    rng = np.random.default_rng(seed)
    u = np.log2(1 + np.array(epochs))
    parts = rng.normal(size=(len(layers), 3, N, 10))
    found = np.zeros((len(epochs), len(layers), N, 10), np.float32)
    for i, (start, end, common) in enumerate(parts):
        turn = 1 / (1 + np.exp(-3 * (u - 1 - 0.6 * i)))
        for e, t in enumerate(turn):
            found[e, i] = common + (1 - t) * start + t * end + 0.05 * rng.normal(size=(N, 10))
    return found


def region_maps(count, epochs=WRITTEN_EPOCHS, seed=1):
    """(epoch, layer, plane, row, column) uint8; most points agree between neighbouring epochs."""
    rng = np.random.default_rng(seed)
    shape = (count, PLANES, GRID, GRID)
    maps = [rng.integers(0, CLASSES, size=shape)]
    for _ in epochs[1:]:
        fresh = rng.integers(0, CLASSES, size=shape)
        maps.append(np.where(rng.random(shape) < 0.2, fresh, maps[-1]))
    return np.array(maps, np.uint8)


def accuracies(count, epochs=WRITTEN_EPOCHS, seed=2):
    """(epoch, layer, subset); the output has the accuracies ACCURACY on the given labels."""
    found = np.random.default_rng(seed).uniform(size=(len(epochs), count, len(SUBSETS)))
    found[:, -1, 0] = ACCURACY[: len(epochs)]
    return found


def write_run(
    path,
    layers=WRITTEN_LAYERS,
    epochs=WRITTEN_EPOCHS,
    *,
    labels=True,
    planes=True,
    bad=(),
    seed=0,
    maps_seed=1,
):
    """Writes a folder like that of the recorder.

    `bad` lists (epoch, layer, "dead" or "not finite").
    """
    folder = RunFolder(path)
    variables = {
        "sample": (("image",), np.arange(N)),
        "label_given": (("image",), np.arange(N) % CLASSES),
        "label_true": (("image",), np.arange(N) % CLASSES),
    }
    if planes:
        rng = np.random.default_rng(3)
        corner = ("plane", "corner")
        variables |= {
            "plane_sample": (corner, rng.integers(0, N, size=(PLANES, 3))),
            "plane_label": (corner, np.tile(np.arange(3), (PLANES, 1))),
            "plane_position": ((*corner, "axis"), rng.uniform(0, 4, size=(PLANES, 3, 2))),
            "plane_image": (
                (*corner, "height", "width", "channel"),
                rng.normal(size=(PLANES, 3, 4, 4, 1)).astype(np.float32),
            ),
        }
    folder.write_constants(
        xr.Dataset(
            variables,
            coords={"layer": list(layers), "subset": list(SUBSETS)},
            attrs={
                "batch": BATCH,
                "n_classes": CLASSES,
                "margin": 0.1,
                "resolution": GRID,
                "pooling": "mean",
                "batch_norm": "moving",
                "images_hash": "ab",
                "probe_images_hash": "cd",
                "test_images_hash": "",
            },
        )
    )
    x, maps = features(layers, epochs, seed), region_maps(len(layers), epochs, maps_seed)
    right = accuracies(len(layers), epochs)
    for e, epoch in enumerate(epochs):
        prints = np.stack([fingerprint(one, batch_size=BATCH) for one in x[e]])
        finite, dead = np.ones(len(layers), np.uint8), np.zeros(len(layers), np.uint8)
        for at, layer, kind in bad:
            if at != epoch:
                continue
            i = layers.index(layer)
            if kind == "dead":
                dead[i], prints[i] = 1, 1e-12 * prints[i]
            else:
                finite[i], prints[i] = 0, np.nan
                maps[e, i] = 255
                right[e, i] = np.nan
        record = {
            "fingerprint": (("layer", "pair"), prints),
            "norm": (("layer", "square"), np.ones((len(layers), 3))),
            "finite": (("layer",), finite),
            "dead": (("layer",), dead),
        }
        if labels:
            record |= {
                "probe_accuracy": (("layer", "subset"), right[e]),
                "probe_objective": (("layer",), np.append(np.full(len(layers) - 1, 0.3), np.nan)),
                "probe_gradient_norm": (("layer",), np.full(len(layers), 1e-5)),
                "accuracy_inference": ((), right[e, -1, 0]),
                "accuracy_training": ((), 0.5),
            }
        if planes:
            record["regions"] = (("layer", "plane", "row", "column"), maps[e])
        folder.write_record(
            epoch,
            xr.Dataset(
                record,
                coords={"layer": list(layers)},
                attrs={"epoch": epoch, "weights_hash": "00", "images_hash": "ab"},
            ),
        )
    return folder


# --- simulated Datasets --------------------------------------------------------------------------

DRAWN_EPOCHS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    13,
    14,
    16,
    18,
    20,
    23,
    25,
    29,
    32,
    36,
    40,
    45,
)
DRAWN_EPOCHS = (*DRAWN_EPOCHS, 51, 57, 64, 72, 81, 91, 102)
DRAWN_LAYERS = (
    "stem",
    *(f"stage{s}_block{b}" for s in (1, 2, 3, 4) for b in (1, 2)),
    "pooled",
    "output",
)


def fake_dynamics(
    epochs=DRAWN_EPOCHS,
    layers=DRAWN_LAYERS,
    classes=10,
    dead=None,
    regions=True,
    pictures=True,
    channels=1,
    planes=4,
    grid=24,
):
    """A Dataset like that of a run, with drifting features and moving regions."""
    rng = np.random.default_rng(0)
    epochs = np.array(epochs)
    depth = np.linspace(0, 1, len(layers))
    u = np.log2(1 + epochs)
    turns = [1 / (1 + np.exp(-(u - at) * 2.5)) for at in (1.8, 4.6)]

    def fingerprints(level):
        parts = rng.standard_normal((3, 780)) + 0.3 * rng.standard_normal(780)
        path = parts[0] + np.outer(turns[0], parts[1]) * (0.5 + level)
        path = path + np.outer(turns[1], parts[2]) * (0.3 + 1.6 * level)
        path = path + 0.25 * rng.standard_normal(path.shape)
        return path / np.linalg.norm(path, axis=1, keepdims=True)

    cka = np.stack([f @ f.T for f in map(fingerprints, depth)])
    dims = ("layer", "epoch", "epoch_other")
    rise = 1 / (1 + np.exp(-(u[None] - 3 + 2 * depth[:, None]) * 1.4))
    late = 1 / (1 + np.exp(-(u[None] - 5.2 + depth[:, None] * 0.6) * 2.2)) * depth[:, None]
    clean = 0.1 + 0.88 * rise * (0.55 + 0.45 * depth[:, None])
    given = 0.08 + 0.92 * late
    true = np.clip(clean * (1 - late) * 0.9, 0.01, 1)
    accuracy = np.stack([0.8 * clean + 0.2 * given, clean, given, true, clean * 0.9], -1)
    accuracy += 0.01 * rng.standard_normal(accuracy.shape)

    # Every third layer has one phase, the others a border of each kind.
    phase = np.ones((len(layers), len(epochs)), int)
    divided = (np.arange(len(layers)) % 3 != 1) & (len(epochs) >= 8)
    phase[divided] += (u > 2.2).astype(int) + (u > 4.4)
    kind = np.where(np.diff(phase, axis=1, prepend=1) > 0, phase - 1, 0)
    if dead is not None:
        layer, until = layers.index(dead[0]), dead[1]
        cka[layer, :until] = cka[layer, :, :until] = np.nan
        phase[layer, :until] = kind[layer, :until] = 0
    data = {
        "cka": (dims, cka),
        "probe_accuracy": (("layer", "epoch", "subset"), np.clip(accuracy, 0, 1)),
        "phase": (dims[:2], phase),
        "border_kind": (dims[:2], kind),
        "progress": (
            dims[:2],
            (rise - rise[:, :1]) / np.maximum(np.ptp(rise, axis=1), 1e-9)[:, None],
        ),
        "synchronization": (("layer", "layer_other"), np.eye(len(layers))),
    }
    coords = {"layer": list(layers), "layer_other": list(layers), "subset": list(SUBSETS)}
    coords |= {"epoch": epochs, "epoch_other": epochs}
    if regions:
        maps, position, label = fake_regions(rng, depth, rise, classes, planes, grid)
        agreement = np.stack(
            [[[np.mean(a == b) for a in layer] for b in layer] for layer in maps[:, :, :, ::3, ::3]]
        )
        data |= {
            "regions": (("layer", "epoch", "plane", "row", "column"), maps),
            "region_agreement": (dims, agreement),
            "region_kappa": (dims, (agreement - 0.1) / 0.9),
            "fragments": (("layer", "epoch", "plane"), np.full(maps.shape[:3], 5)),
            "phase_regions": (dims[:2], phase),
            "border_kind_regions": (dims[:2], kind),
            "plane_position": (("plane", "corner", "axis"), position),
            "plane_label": (("plane", "corner"), label),
            "plane_sample": (("plane", "corner"), rng.integers(0, 1000, label.shape)),
        }
        coords["plane"] = np.arange(planes)
        if pictures:
            images = fake_digits(rng, label, channels)
            data["plane_image"] = (("plane", "corner", "height", "width", "channel"), images)
    attrs = {"perfect_fit_epoch": 57.0, "title": "digits, resnet, sgd, seed 0"}
    attrs["n_classes"] = classes
    return xr.Dataset(data, coords, attrs)


class FakeRecords:
    """Records of images of which every seventh has a wrong label, as `measures.Series`."""

    def __init__(self, dynamics, images, classes):
        rng = np.random.default_rng(0)
        self.epochs, self.layers = dynamics["epoch"].values, dynamics["layer"].values
        true = rng.integers(0, classes, images)
        given = np.where(np.arange(images) % 7 == 0, (true + 1) % classes, true)
        memorized = self.epochs[:, None, None] > 60 - 5 * np.arange(len(self.layers))[:, None]
        guessed = rng.random((*memorized.shape[:2], images)) < 0.1
        random = rng.integers(0, classes, guessed.shape)
        self.classes = np.where(guessed, random, np.where(memorized, given, true)).astype(np.uint8)
        values = {
            "probe_sample": np.arange(images),
            "probe_label_given": given,
            "probe_label_true": true,
        }
        self.constants = xr.Dataset(
            {name: ("probe_image", each) for name, each in values.items()},
            attrs={"n_classes": classes},
        )
        pictures = fake_digits(rng, true[:, None], 1)[:, 0]
        scaled = 255 * (pictures - pictures.min()) / np.ptp(pictures)
        dims = ("probe_image", "pixel_row", "pixel_column", "pixel_channel")
        self.constants["probe_picture"] = (dims, scaled.astype(np.uint8))

    def recorded(self, *names):
        agreed = self.classes[:, -1] == self.constants["probe_label_given"].values
        return {"image_margin": 4.0 * agreed - 2, "image_probability": 0.9 * agreed}

    def each(self, name, part):
        return (classes[part] for classes in self.classes)


def with_histories(dynamics, images=30, classes=10):
    """A Dataset with histories of images, such as that of `fake_dynamics` has none."""
    found = image_histories.over_epochs(FakeRecords(dynamics, images, classes))
    dims = image_histories.MEASURE.computed
    return dynamics.assign({name: (dims[name], values) for name, values in found.items()})


def fake_regions(rng, depth, rise, classes, planes, grid):
    """Region maps of the nearest of several moving centres."""
    row, column = np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij")
    third = rng.uniform(0.2, 0.8, planes) * grid
    low, high = 2.0, grid - 3.0
    position = np.array([[(low, low), (low, high), (high, x)] for x in third])
    label = np.stack([rng.choice(classes, 3, replace=False) for _ in range(planes)])
    start, end = rng.uniform(0, grid, (2, len(depth), planes, classes, 2))
    for plane in range(planes):
        end[:, plane, label[plane]] = position[plane]
    dtype = np.uint8 if classes < 255 else np.uint16
    maps = np.empty((*rise.shape, planes, grid, grid), dtype)
    for layer, epoch, plane in itertools.product(*map(range, (*rise.shape, planes))):
        share = rise[layer, epoch] * (0.4 + 0.6 * depth[layer])
        centre = (1 - share) * start[layer, plane] + share * end[layer, plane]
        distance = (row[..., None] - centre[:, 0]) ** 2 + (column[..., None] - centre[:, 1]) ** 2
        distance[..., label[plane]] -= 60 * share
        maps[layer, epoch, plane] = distance.argmin(-1)
    return maps, position, label


def fake_digits(rng, label, channels, side=8):
    """Standardized images with one or two rings per class."""
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    turn = label[..., None, None] * 0.6
    ink = np.cos(4 * np.hypot(x + 0.4 * np.cos(turn), y + 0.4 * np.sin(turn)) - turn)
    ink = ink[..., None] + 0.2 * rng.standard_normal((*ink.shape, channels))
    return ((ink - ink.mean()) / ink.std()).astype(np.float32)


def words_in(figure) -> str:
    """All texts in a figure."""
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))

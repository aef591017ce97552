"""Time that recording adds to a run: digits as in `repdyn run`, and a set of CIFAR-10's size.

python benchmarks/bench_run.py digits
python benchmarks/bench_run.py cifar       # a few steps and one record, scaled up
"""

import csv
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measuring import in_process, print_table, seconds_of

REPEATS = 3
# Size of CIFAR-10's training set, and of the sample that is measured.
CIFAR_IMAGES, CIFAR_EPOCHS, BATCH = 50_000, 200, 128
STEPS, SAMPLE = 6, 512


def trained(folder: str, recorded: bool) -> tuple[float, dict[str, float]]:
    """Seconds of the default training with its data, in total and by purpose."""
    from repdyn_keras.backends import use_backend
    from repdyn_keras.config import Config, resolve

    config = resolve(Config())
    use_backend(config.backend)
    from repdyn_keras.experiment.survival.batches import EpochSeeds
    from repdyn_keras.experiment.survival.stopping import Stopping
    from repdyn_keras.experiment.training import Training
    from repdyn_keras.experiment.watcher import Watcher
    from repdyn_keras.records import RunFolder

    start = time.perf_counter()
    training = Training(config, RunFolder(folder), Watcher())
    if recorded:
        with Stopping(config.grace_seconds, print) as stopping:
            training.fit(stopping)
    else:
        training.model.fit(
            training.batches,
            epochs=config.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[EpochSeeds(training.batches, config.seed)],
        )
    seconds = time.perf_counter() - start
    purposes: dict[str, float] = {}
    if recorded:
        with Path(folder, "timing.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                name = row["purpose"]
                purposes[name] = purposes.get(name, 0.0) + float(row["seconds"])
    return seconds, purposes


def digits() -> None:
    """The default run without and with the recorder alternately, in separate processes."""
    seconds = {True: [], False: []}
    purposes = []
    for _ in range(REPEATS):
        for recorded in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                lap, found = in_process(trained, folder + "/run", recorded)
            seconds[recorded].append(lap)
            purposes.append(found)
    without, with_it = (statistics.median(seconds[recorded]) for recorded in (False, True))
    rows = [
        ["digits, 102 epochs, 31 recorded", without, with_it, with_it / without, "<= 1.6"],
    ]
    print_table(["what", "without, s", "with, s", "ratio", "target"], rows, ["jax", "keras"])
    print()
    for name in purposes[-1]:
        each = statistics.median(found[name] for found in purposes if name in found)
        print(f"{name}: {each:.1f} s")


def cifar() -> None:
    """A training of CIFAR-10's size with a ResNet-18 of width 64.

    A few training steps and one record of fewer images are timed separately. Each time is scaled to
    a run of 200 epochs with the default records, with the counts of `plan_run`.
    """
    import os

    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from networks import images, recorded_model, resnet18

    from repdyn_keras.config import Config, resolve
    from repdyn_keras.experiment.configured_recorder import plane_settings
    from repdyn_keras.recording.settings import Schedule
    from repdyn_keras.recording.state import Stopwatch, measure
    from repdyn_keras.recording.values import ModelValues

    config = Config()
    model, names = resnet18(64)
    x, y = images(SAMPLE)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    step = statistics.median(
        [seconds_of(lambda: model.train_on_batch(x[:BATCH], y[:BATCH])) for _ in range(STEPS + 1)][
            1:
        ]
    )
    recorded = recorded_model(
        model,
        names,
        x,
        y,
        train=(x, y),
        test=(x, y),
        planes=1,
        resolution=config.resolution,
        drawn_planes=0,
    )
    for _ in range(2):  # the first call compiles
        stopwatch = Stopwatch()
        measure(recorded, stopwatch, ModelValues.live(recorded.model))
    records = len(Schedule("log").planned(CIFAR_EPOCHS))
    training = CIFAR_EPOCHS * (CIFAR_IMAGES // BATCH) * step
    # Images measured here, and in a record by default.
    counts = {
        "batch statistics": (SAMPLE, config.probe_images),
        "fingerprints": (SAMPLE, config.n_eval),
        "accuracies": (2 * SAMPLE, 2 * config.probe_images),
        "probes": (SAMPLE, config.probe_images),
        "regions": (config.resolution**2, plane_settings(resolve(config)).points),
    }
    rows, total = [], 0.0
    for purpose, (made, wanted) in counts.items():
        seconds = records * stopwatch.seconds[purpose] * wanted / made
        total += seconds
        rows.append([purpose, wanted, seconds / records, seconds / training])
    rows.append(["all", "", total / records, total / training])
    epoch = training / CIFAR_EPOCHS
    print(f"{CIFAR_EPOCHS} epochs of {epoch:.0f} s, {records} records; <= 0.10 is the target\n")
    header = ["purpose", "images a record", "seconds a record", "share of the training"]
    print_table(header, rows, ["jax", "keras"])


if __name__ == "__main__":
    {"digits": digits, "cifar": cifar}[sys.argv[1]]()

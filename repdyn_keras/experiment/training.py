"""The training of a run, recorded."""

import time

import keras

from repdyn_keras.config import Config
from repdyn_keras.datasets import keep_tensorflow_off_gpus, load
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.evaluation import ConfiguredRecorder, compared_images, say_notes
from repdyn_keras.experiment.plan import Plan, plan_run, timed
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.recording.graph import check_model
from repdyn_keras.recording.heads import SIGMOIDS, Head, find_head
from repdyn_keras.recording.layers import choose_layers
from repdyn_keras.recording.measurement import SUBSETS
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import whole_file
from repdyn_keras.records.tables import TableFile

ACCURACIES = {
    "train_accuracy": "train",
    "clean_accuracy": "clean",
    "memorized": "mislabeled_given",
    "resisted": "mislabeled_true",
    "test_accuracy": "test",
}
HISTORY = ("epoch", "loss", "accuracy", "learning_rate", *ACCURACIES)


class Training:
    """A configured training, ready to start.

    Args:
        config: a resolved configuration.
        folder: the run's folder, made before `fit`.
        watcher: is told what happens.

    Attributes:
        plan: what the run will do and take.

    Raises:
        InputError: the data cannot be used, or the network cannot take it.
    """

    def __init__(self, config: Config, folder: RunFolder, watcher: Watcher):
        self.config = config
        self.folder = folder
        self.watcher = watcher
        self.data = load(config)
        data = self.data
        self.batches = EpochBatches(data, config.batch_size, config.seed, config.augment)
        self.model = build_model(config, data.x_train.shape[1:], data.n_classes)
        check_model(self.model)
        if len(self.model.outputs) != 1:
            raise InputError(
                f"The network {config.model!r} has {len(self.model.outputs)} outputs. Expected "
                "one, which is trained by cross-entropy; for others train it yourself, with "
                "RepresentationRecorder as a callback."
            )
        head = find_head(self.model)
        if not head.is_told:
            watcher.said(f"the output is that of {head.activation}: taken for logits.")
        steps = self.batches.num_batches
        self.model.compile(
            optimizer=build_optimizer(config, steps * config.epochs), **objective(head)
        )
        names, _ = choose_layers(self.model, recorded_layers(config), head)
        compared = len(compared_images(config, data))
        self.plan = plan_run(config, self.model, list(names), data, compared, steps)
        self.recorder = RunRecorder(self, list(names))
        # What the recorder would refuse is refused before a folder is made.
        self.recorder.build(self.model)

    def timed_plan(self) -> Plan:
        """The plan with the time it takes, by forward passes timed now."""
        return timed(self.plan, self.model, self.data.x_train[: self.config.cka_batch])

    def say_notes(self) -> None:
        """Tells the watcher what was done to the data."""
        say_notes(self.config, self.data, self.watcher)

    def fit(self) -> None:
        """Trains and records."""
        self.recorder.start()
        self.model.fit(
            self.batches,
            epochs=self.config.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[EpochSeeds(self.batches, self.config.seed), self.recorder],
        )


def objective(head: Head) -> dict:
    """Cross-entropy and accuracy as `compile` takes them, for the network's output."""
    logits = head.activation not in ("softmax", *SIGMOIDS)
    if not head.is_single:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        return {"loss": loss, "metrics": ["accuracy"]}
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=head.threshold)
    return {"loss": keras.losses.BinaryCrossentropy(from_logits=logits), "metrics": [accuracy]}


class RunRecorder(ConfiguredRecorder):
    """The recorder of a run: writes `history.csv` and `timing.csv` beside the records.

    Args:
        training: the run's training.
        layers: names of the layers to record.
    """

    def __init__(self, training: Training, layers: list[str]):
        config = training.config
        super().__init__(config, training.data, training.folder.path, layers, training.watcher)
        self.keep_weights = config.keep_weights
        self.history = TableFile(training.folder.history_file, HISTORY)
        self.timing = TableFile(training.folder.timing_file, ("epoch", "purpose", "seconds"))
        self._row: dict[str, object] = {}
        self._clock = 0.0

    def start(self) -> None:
        """Before the first epoch."""
        self._row = {"epoch": 0}

    def on_train_begin(self, logs=None):
        # `fit` imports TensorFlow where it is installed.
        keep_tensorflow_off_gpus(keras.backend.backend())

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._clock = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._clock
        logs = logs or {}
        self._row = {
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
        }
        self.timing.append({"epoch": epoch + 1, "purpose": "training", "seconds": f"{seconds:.4f}"})
        self.watcher.epoch_ended(epoch + 1, logs)
        super().on_epoch_end(epoch, logs)
        if self._row:
            self.append_history({})

    def record(self, model, epoch):
        super().record(model, epoch)
        for purpose, seconds in self.timings.items():
            self.timing.append({"epoch": epoch, "purpose": purpose, "seconds": f"{seconds:.4f}"})

    def before_write(self, epoch, record):
        """History goes before its record, so that no record is without its row."""
        by_subset = record["probe_accuracy"].values[-1]
        named = dict(zip(SUBSETS, by_subset.tolist(), strict=True))
        found = {column: named[subset] for column, subset in ACCURACIES.items()}
        self.append_history({k: v for k, v in found.items() if v == v})
        if self.keep_weights:
            self.folder.weights.mkdir(exist_ok=True)
            target = self.folder.weights / f"epoch-{epoch:06d}.weights.h5"
            with whole_file(target, ".weights.h5") as temporary:
                self.model.save_weights(temporary)
        self.watcher.recorded(epoch, found)

    def append_history(self, accuracies: dict[str, float]) -> None:
        """Writes the row of the epoch that just ended."""
        self.history.append(self._row | accuracies)
        self._row = {}

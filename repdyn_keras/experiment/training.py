"""The training of a run, recorded."""

import time

import keras
import numpy as np

from repdyn_keras.config import Config
from repdyn_keras.datasets import keep_tensorflow_off_gpus, load
from repdyn_keras.experiment.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.plan import Plan, plan_run, timed
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.measures.sampling import stratified_order
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.recording import RepresentationRecorder
from repdyn_keras.recording.inputs import Labelled
from repdyn_keras.recording.layers import choose_layers
from repdyn_keras.recording.measurement import SUBSETS
from repdyn_keras.recording.recorder import PROBES
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import whole_file
from repdyn_keras.records.tables import TableFile

# Purposes that seeds are derived for.
EVALUATION, TEST = 21, 22
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
        steps = self.batches.num_batches
        self.model.compile(
            optimizer=build_optimizer(config, steps * config.epochs),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        names, _ = choose_layers(self.model, recorded_layers(config))
        chosen = stratified_order(data.y_train, config.data_seed * 100 + EVALUATION)[
            : config.n_eval
        ]
        self.plan = plan_run(config, self.model, list(names), data, len(chosen), steps)
        self.recorder = RunRecorder(self, chosen, list(names))
        # What the recorder would refuse is refused before a folder is made.
        self.recorder.build(self.model)

    def timed_plan(self) -> Plan:
        """The plan with the time it takes, by forward passes timed now."""
        return timed(self.plan, self.model, self.data.x_train[: self.config.cka_batch])

    def say_notes(self) -> None:
        """Tells the watcher what was done to the data."""
        for note in self.data.notes:
            self.watcher.said(note)
        tested, most = len(self.data.x_test), self.config.probe_images
        if tested > most:
            self.watcher.said(
                f"test accuracies go by {most} of the {tested} test images (probe_images)."
            )

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


class RunRecorder(RepresentationRecorder):
    """The recorder of a run: writes `history.csv` and `timing.csv` beside the records.

    Args:
        training: the run's training.
        chosen: indices of the training images that are compared.
        layers: names of the layers to record.
    """

    def __init__(self, training: Training, chosen, layers: list[str]):
        config, data = training.config, training.data
        # The recorder holds what it is given: never the whole data set.
        fitted = stratified_order(data.y_train, config.data_seed * 100 + PROBES)
        fitted = fitted[: config.probe_images]
        tested = np.arange(len(data.x_test))
        if len(tested) > config.probe_images:
            tested = stratified_order(data.y_test, config.data_seed * 100 + TEST)
            tested = tested[: config.probe_images]
        super().__init__(
            training.folder.path,
            data.x_train[chosen],
            data.y_train[chosen],
            layers=layers,
            epochs=config.record_epochs,
            train=(data.x_train[fitted], data.y_train[fitted]),
            true_labels=data.true_train[fitted],
            test=(data.x_test[tested], data.y_test[tested]),
            planes=config.planes,
            resolution=config.resolution,
            margin=config.margin,
            batch_size=config.cka_batch,
            pooling=config.pooling,
            batch_norm=config.batch_norm,
            seed=config.data_seed,
            probe_images=config.probe_images,
            sample_ids=chosen,
            images_true_labels=data.true_train[chosen],
            class_names=data.class_names,
        )
        self.watcher = training.watcher
        self.keep_weights = config.keep_weights
        self.history = TableFile(training.folder.history_file, HISTORY)
        self.timing = TableFile(training.folder.timing_file, ("epoch", "purpose", "seconds"))
        self._row: dict[str, object] = {}
        self._clock = 0.0

    def choose_probed(self, train: Labelled, most: int) -> Labelled:
        """All of them: they were chosen, in their order, before they were read."""
        return train

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

    def say(self, text):
        self.watcher.said(text)

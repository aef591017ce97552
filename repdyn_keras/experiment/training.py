"""The training of a run, recorded."""

import math
import time

import keras

from repdyn_keras.config import Config
from repdyn_keras.datasets import keep_tensorflow_off_gpus, load
from repdyn_keras.errors import Diverged, InputError
from repdyn_keras.experiment.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.checkpoint import (
    Checkpoint,
    checkpoint_bytes,
    load_checkpoint,
    save_checkpoint,
)
from repdyn_keras.experiment.evaluation import ConfiguredRecorder, compared_images, say_notes
from repdyn_keras.experiment.history import ACCURACIES, HISTORY, accuracies_of
from repdyn_keras.experiment.plan import Plan, plan_run, timed
from repdyn_keras.experiment.resume import drop_records_past_schedule
from repdyn_keras.experiment.stopping import Stopping
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.recording.graph import check_model
from repdyn_keras.recording.heads import SIGMOIDS, Head, find_head
from repdyn_keras.recording.layers import choose_layers
from repdyn_keras.recording.measurement import SUBSETS
from repdyn_keras.records import RunFolder
from repdyn_keras.records.run_folder import WEIGHTS_SUFFIX


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
        self.plan = plan_run(
            config,
            self.model,
            list(names),
            data,
            compared,
            steps,
            checkpoint_bytes(self.model),
        )
        self.recorder = RunRecorder(self, list(names))
        # What the recorder would refuse is refused before a folder is made.
        self.recorder.build(self.model)

    def timed_plan(self) -> Plan:
        """The plan with the time it takes, by forward passes timed now."""
        return timed(self.plan, self.model, self.data.x_train[: self.config.cka_batch])

    def say_notes(self) -> None:
        """Tells the watcher what was done to the data."""
        say_notes(self.config, self.data, self.watcher)

    def fit(self, stopping: Stopping) -> None:
        """Trains and records, from the last checkpoint on where there is one.

        Args:
            stopping: what handles Ctrl-C and SIGTERM.

        Raises:
            Diverged: the loss or a weight is no finite number any more.
            Interrupted: a signal came.
            InputError: the checkpoint is damaged, or the folder cannot be written to.
        """
        checkpoint = load_checkpoint(self.folder, self.model)
        epoch = 0 if checkpoint is None else checkpoint.epoch
        if checkpoint is not None:
            self.watcher.resumed(epoch)
            drop_records_past_schedule(self.folder, self.config, epoch)
            self.say_missing(epoch)
        # Keras asks for a batch before the first epoch begins.
        self.batches.set_epoch(epoch)
        self.recorder.start(checkpoint, stopping)
        if epoch == self.config.epochs:
            self.recorder.record(self.model, epoch)
            return
        self.model.fit(
            self.batches,
            initial_epoch=epoch,
            epochs=self.config.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[EpochSeeds(self.batches, self.config.seed), self.recorder],
        )

    def say_missing(self, epoch: int) -> None:
        """Says which records before the checkpoint of an epoch are not there any more."""
        planned = [e for e in self.plan.epochs if e < epoch]
        missing = [str(e) for e in planned if not self.recorder.has_record(e)]
        if missing:
            self.watcher.said(
                f"warning: the records of epochs {', '.join(missing)} are missing, and the run "
                f"goes on without them: see `repdyn doctor {self.folder.path}`."
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
    """The recorder of a run: writes checkpoints and tables beside the records.

    The order of an epoch's files is checkpoint, history, record: so a checkpoint stands wherever
    a record does, and what follows it can be made again.

    Args:
        training: the run's training.
        layers: names of the layers to record.
    """

    def __init__(self, training: Training, layers: list[str]):
        config = training.config
        super().__init__(config, training.data, training.folder.path, layers, training.watcher)
        self.folder = training.folder
        self.config = config
        self.history = self.folder.table(self.folder.history_file, HISTORY)
        self.timing = self.folder.table(self.folder.timing_file, ("epoch", "purpose", "seconds"))
        self.stopping: Stopping | None = None
        self._rows: list[dict[str, object]] = []
        self._row_is_written = True
        self._saved_at = 0.0

    def start(self, checkpoint: Checkpoint | None, stopping: Stopping) -> None:
        """Before the first epoch: makes the first checkpoint, or goes on from one."""
        self.set_model(self.measurement.model)
        self.stopping = stopping
        timing = self.folder.timing_file
        if timing.is_file() and self.folder.checksums.problem(timing):
            # Rows behind damaged ones would make them look whole.
            self.folder.set_aside(timing)
        if checkpoint is None:
            self._rows = [{"epoch": 0}]
            self.save(0)
            self.keep_history([])
        else:
            self._rows = list(checkpoint.rows)
            epoch = checkpoint.epoch
            wanted = epoch in self.schedule.planned(self.config.epochs)
            if self.has_record(epoch):
                self._rows[-1] |= accuracies_of(self.folder.record(epoch), SUBSETS)
            self.keep_history(self._rows[:-1] if wanted and not self.has_record(epoch) else None)
        self._saved_at = time.monotonic()

    def keep_history(self, rows: list[dict] | None) -> None:
        """Makes `history.csv` hold these rows, all of them where None; others are set aside."""
        rows = self._rows if rows is None else rows
        self._row_is_written = rows is self._rows
        if self.history.holds(rows):
            return
        if self.folder.history_file.exists():
            self.folder.set_aside(self.folder.history_file)
        if rows:
            self.history.replace(rows)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        # `fit` imports TensorFlow where it is installed.
        keep_tensorflow_off_gpus(keras.backend.backend())

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.stopping.epoch_begins()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self.stopping.epoch_ends()
        logs = logs or {}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise self.diverged(epoch + 1, f"the loss is {loss}", rate)
        accuracy = float(logs["accuracy"])
        self._rows.append(
            {"epoch": epoch + 1, "loss": loss, "accuracy": accuracy, "learning_rate": rate}
        )
        self._row_is_written = False
        self.timing.append({"epoch": epoch + 1, "purpose": "training", "seconds": f"{seconds:.4f}"})
        self.watcher.epoch_ended(epoch + 1, logs)
        if self.is_checkpoint_due(epoch + 1):
            try:
                self.save(epoch + 1)
            except Diverged:
                what = "a weight is not a finite number"
                raise self.diverged(epoch + 1, what, rate) from None
        self.stopping.stop_if_asked(epoch + 1)
        super().on_epoch_end(epoch, logs)
        if not self._row_is_written:
            self.append_history({})

    def is_checkpoint_due(self, epoch: int) -> bool:
        """Whether the state after an epoch is saved: recorded ones, and others now and then."""
        return (
            epoch == self.config.epochs
            or self.schedule.wants(epoch)
            or self.stopping.asked is not None
            or time.monotonic() - self._saved_at >= self.config.checkpoint_seconds
        )

    def save(self, epoch: int) -> None:
        """Writes the checkpoint of an epoch."""
        save_checkpoint(self.folder, self.model, epoch, self._rows)
        self._saved_at = time.monotonic()

    def diverged(self, epoch: int, what: str, rate: float) -> Diverged:
        """The error that ends a training whose numbers are no numbers any more."""
        last = int(self.folder.checkpoint().attrs["epoch"])
        return Diverged(
            f"The training diverged in epoch {epoch}: {what}, at the learning rate {rate:g}. The "
            f"last good checkpoint is that of epoch {last}; what was recorded stays, see "
            f"`repdyn analyze {self.folder.path}`. Expected a lower --set learning_rate=..., in a "
            "new run."
        )

    def record(self, model, epoch):
        super().record(model, epoch)
        if self.timings:
            rows = [
                {"epoch": epoch, "purpose": purpose, "seconds": f"{seconds:.4f}"}
                for purpose, seconds in self.timings.items()
            ]
            self.timing.append(*rows)
            self.timings = {}

    def before_write(self, epoch, record):
        """History goes before its record, so that no record is without its row."""
        found = accuracies_of(record, SUBSETS)
        if not self._row_is_written:
            self.append_history(found)
        if self.config.keep_weights:
            with self.folder.writing(self.folder.weights_file(epoch), WEIGHTS_SUFFIX) as temporary:
                self.model.save_weights(temporary)
        self.watcher.recorded(epoch, {k: found.get(k, math.nan) for k in ACCURACIES})

    def append_history(self, accuracies: dict[str, float]) -> None:
        """Writes the row of the epoch that just ended."""
        self._rows[-1] |= accuracies
        self.history.append(self._rows[-1])
        self._row_is_written = True

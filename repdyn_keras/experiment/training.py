"""The recorded training of a run."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import keras

from repdyn_keras.config import ResolvedConfig
from repdyn_keras.datasets import load
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.configured_recorder import (
    configured_recorder,
    evaluation_images,
    report_notes,
)
from repdyn_keras.experiment.plan import Plan, plan_run, timed, with_measures
from repdyn_keras.experiment.survival.batches import EpochBatches, EpochSeeds
from repdyn_keras.experiment.survival.divergence import Divergence
from repdyn_keras.experiment.survival.history import HistoryFile
from repdyn_keras.experiment.survival.resume import drop_unscheduled_records
from repdyn_keras.experiment.survival.saved_state import (
    Checkpoint,
    CheckpointWriter,
    WeightsWriter,
    checkpoint_bytes,
    load_checkpoint,
)
from repdyn_keras.experiment.survival.stopping import Stopping, StopWhenSaved
from repdyn_keras.experiment.survival.timing import RecordingTime, TimingFile, TrainingTime
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.measures.accuracies import SUBSETS
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.recording.network.head import SIGMOIDS, Head, find_head
from repdyn_keras.recording.network.layer_choice import choose_layers
from repdyn_keras.recording.network.model_inputs import check_images, check_model, inputs_for
from repdyn_keras.recording.network.tracing import traced
from repdyn_keras.records import RunFolder
from repdyn_keras.records.tables import ACCURACIES, accuracies_of
from repdyn_keras.text import format_epochs, format_shape


class Training:
    """A configured training, ready to start.

    Args:
        config: a resolved configuration.
        folder: the run folder, created before `fit`.
        watcher: receives progress and messages.

    Attributes:
        plan: the plan of the run.
        recorder: the recorder of the run.

    Raises:
        InputError: the data cannot be used, or the network does not accept it.
    """

    def __init__(self, config: ResolvedConfig, folder: RunFolder, watcher: Watcher):
        self.config = config
        self.folder = folder
        self.watcher = watcher
        watcher.working(f"loading {config.dataset}")
        self.data = load(config)
        watcher.working(f"building {config.model}")
        data = self.data
        self.batches = EpochBatches(data, config.batch_size, config.seed, config.augment)
        self.model = build_model(config, data.x_train.shape[1:], data.n_classes)
        check_model(self.model)
        image = data.x_train[:1]
        check_images(self.model, image, "images")
        trace = traced(self.model, inputs_for(self.model, image))
        if len(trace.outputs) != 1:
            raise InputError(
                "Expected a network with one output, which is trained by cross-entropy. Received: "
                f"{config.model!r} with {len(trace.outputs)} outputs. Train it yourself, with "
                "RepresentationRecorder as a callback."
            )
        head = find_head(trace)
        if not head.has_scores:
            raise InputError(
                "Expected a network with one number per class, which is trained by cross-entropy. "
                f"Received: {config.model!r} with an output of shape "
                f"{format_shape(head.tensor.shape[1:])}. Train it yourself, with "
                "RepresentationRecorder as a callback."
            )
        if not head.has_known_activation:
            watcher.message(
                f"the activation of the output is {head.activation}: it is treated as logits."
            )
        steps = self.batches.num_batches
        self.model.compile(
            optimizer=build_optimizer(config, steps * config.epochs), **objective(head)
        )
        layers, _ = choose_layers(trace, recorded_layers(config), head)
        compared = len(evaluation_images(config, data))
        checkpoint = checkpoint_bytes(self.model)
        self.plan = plan_run(config, self.model, list(layers), data, compared, steps, checkpoint)
        self.recorder = configured_recorder(config, data, folder, list(layers), watcher)
        # Builds the passes now, so that errors are raised before a folder is created.
        self.plan = with_measures(self.plan, self.recorder.build(self.model))

    def timed_plan(self) -> Plan:
        """The plan with its estimated time."""
        return timed(self.plan, self.model, self.data.x_train[: self.config.cka_batch])

    def report_notes(self) -> None:
        """Reports how the data was prepared."""
        report_notes(self.config, self.data, self.watcher)

    def fit(self, stopping: Stopping) -> None:
        """Trains and records, starting from the last checkpoint if there is one.

        Args:
            stopping: handles Ctrl-C and SIGTERM.

        Raises:
            Diverged: the loss or a weight became non-finite.
            Interrupted: a signal was received.
            InputError: the checkpoint is damaged, or the folder cannot be written to.
        """
        checkpoint = load_checkpoint(self.folder, self.model)
        epoch = 0 if checkpoint is None else checkpoint.epoch
        if checkpoint is not None:
            self.watcher.resumed(epoch)
            drop_unscheduled_records(self.folder, self.config, epoch)
            self.warn_of_missing_records(epoch)
        # Keras requests a batch before the first epoch begins.
        self.batches.set_epoch(epoch)
        history = HistoryFile(self.folder, self.recorder, self.watcher)
        checkpoints = CheckpointWriter(self.folder, self.config, history, stopping)
        timing = TimingFile(self.folder)
        training_time, recording_time = TrainingTime(timing), RecordingTime(timing, self.recorder)
        kept = [WeightsWriter(self.folder, self.recorder)] if self.config.keep_weights else []
        self.watcher.working("compiling the first record")
        self.begin(checkpoint, checkpoints, history)
        self.record_initial_state(epoch, [history, *kept], recording_time)
        if epoch == self.config.epochs:
            return
        self.watcher.working("compiling the training step")
        self.recorder.around_early = partial(
            self.around_early_record,
            writers=kept,
            clocks=(training_time, stopping),
            recording_time=recording_time,
        )
        self.model.fit(
            self.batches,
            initial_epoch=epoch,
            epochs=self.config.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[
                EpochSeeds(self.batches, self.config.seed),
                stopping,
                Divergence(self.folder),
                training_time,
                Progress(self.watcher),
                # In the order in which the files of an epoch are written.
                checkpoints,
                StopWhenSaved(stopping),
                history,
                *kept,
                self.recorder,
                recording_time,
            ],
        )

    def begin(
        self, checkpoint: Checkpoint | None, checkpoints: CheckpointWriter, history: HistoryFile
    ) -> None:
        """Saves the initial checkpoint, or restores the history of the loaded one."""
        checkpoints.set_model(self.model)
        if checkpoint is None:
            rows: list[dict] = [{"epoch": 0}]
            checkpoints.save(0, rows)
            history.restore(rows, 0, is_planned=True)
        else:
            is_planned = checkpoint.epoch in self.plan.epochs
            history.restore(checkpoint.rows, checkpoint.epoch, is_planned)

    def record_initial_state(
        self,
        epoch: int,
        writers: list[keras.callbacks.Callback],
        recording_time: RecordingTime,
    ) -> None:
        """Records the state at which the training begins, if that epoch is to be recorded.

        This happens before `fit`, so that the time of its first epoch only includes training.

        Args:
            epoch: number of epochs trained so far.
            writers: the callbacks that write before the recorder does.
            recording_time: writes the times of the record.
        """
        for callback in (*writers, self.recorder):
            callback.set_params({"epochs": self.config.epochs})
            callback.set_model(self.model)
        for callback in writers:
            callback.on_epoch_begin(epoch)
        if self.recorder.is_due(epoch):
            self.recorder.record(self.model, epoch)
            recording_time.write(epoch)

    @contextmanager
    def around_early_record(
        self,
        epoch: float,
        writers: list[WeightsWriter],
        clocks: tuple[TrainingTime, Stopping],
        recording_time: RecordingTime,
    ) -> Iterator[None]:
        """Writes the other files of an early record, which is made in the block.

        `history.csv` has rows of whole epochs alone.

        Args:
            epoch: that of the early record.
            writers: save the weights before.
            clocks: measure the time of the training, to which the record does not belong.
            recording_time: writes the times of the record.
        """
        training_time, stopping = clocks
        with training_time.pausing(), stopping.pausing():
            self.watcher.early_record_begins(epoch)
            record = self.recorder.measured(epoch)
            for writer in writers:
                writer.write(epoch)
            yield
            recording_time.write(epoch)
            known = {} if record is None else accuracies_of(record, SUBSETS)
            self.watcher.recorded(epoch, {k: known.get(k, math.nan) for k in ACCURACIES})

    def warn_of_missing_records(self, epoch: int) -> None:
        """Warns about missing records of epochs before the checkpoint."""
        planned = [e for e in self.plan.epochs if e < epoch]
        missing = [e for e in planned if not self.folder.record_file(e).is_file()]
        if missing:
            self.watcher.message(
                f"warning: the records of epochs {', '.join(format_epochs(missing))} are missing, "
                f"and the run continues without them: see `repdyn doctor {self.folder.path}`."
            )


class Progress(keras.callbacks.Callback):
    """Notifies a watcher of every step and epoch.

    Args:
        watcher: the watcher.
    """

    # Keras need not wait for the numbers of a step, which this callback does not read.
    async_safe = True

    def __init__(self, watcher: Watcher):
        super().__init__()
        self.watcher = watcher

    def on_train_batch_end(self, batch, logs=None):
        self.watcher.step_ended(batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        self.watcher.epoch_ended(epoch + 1, logs or {})


def objective(head: Head) -> dict:
    """Arguments `loss` and `metrics` of `compile`: cross-entropy and accuracy."""
    logits = head.activation not in ("softmax", *SIGMOIDS)
    if not head.is_single:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        return {"loss": loss, "metrics": ["accuracy"]}
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=head.threshold)
    return {"loss": keras.losses.BinaryCrossentropy(from_logits=logits), "metrics": [accuracy]}

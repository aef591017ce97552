"""One `fit` as the recorder follows it, from its first state to its last."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.recording.fits.epoch_records import ITERATIONS, PROVISIONAL, EpochRecords
from repdyn_keras.recording.fits.fit_lock import FitLock, fit_frame
from repdyn_keras.recording.fits.training_epochs import (
    first_epoch,
    is_end_of_epoch,
    is_restored,
    iterations_of,
    note_reached,
    reached_epoch,
)
from repdyn_keras.recording.network.model_inputs import build_in_fit
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.text import format_epochs, format_names


class RecordedFit:
    """Records the states of one `fit`: those that are due, and the last one.

    Epochs are numbers of epochs trained, over all calls of `fit`. *Numbers* of epochs are those of
    Keras, which counts from 0 or `initial_epoch` in each `fit`.

    Args:
        records: the records of the folder.
        lock: is held until the `fit` ends.
        number: Keras's number of the first epoch.
        params: the parameters that Keras gives to callbacks.
        callback_list: the list that contains the recorder; None if its hooks are called directly.
        on_error: "raise", "warn" or None, as documented for the recorder.
        is_configured: whether the training is one of `repdyn run`, whose callbacks write other
            files of an epoch before the record.

    Attributes:
        start: number of epochs trained before; None as long as it could not be determined.
        ended: Keras's number of the epoch that ended last; None after the next one began.
        is_mid_epoch: whether the first state is not that of an epoch's end, as far as is known.
    """

    def __init__(
        self,
        records: EpochRecords,
        lock: FitLock,
        number: int,
        params: Mapping[str, Any],
        callback_list: keras.callbacks.CallbackList | None,
        *,
        on_error: str | None,
        is_configured: bool,
    ):
        self.start: int | None = None
        self.ended: int | None = None
        self.is_mid_epoch = False
        self._records = records
        self._lock = lock
        self._number = number
        self._params = params
        self._callback_list = callback_list
        self._on_error = on_error
        self._is_configured = is_configured
        self._first_hash: str | None = None
        self._is_rejected = False
        # The weights at the end of an epoch, if they have no record yet.
        self._kept: tuple[int, ModelValues] | None = None
        self._missed: list[float] = []

    # The order of a fit.

    def record_first(self, model: keras.Model) -> None:
        """Begins the recording, and records the first state if it is due."""
        values: ModelValues | None = None
        with self._handling_errors(self._number, is_start=True):
            build_in_fit(model, self._records.settings.evaluation.x)
            values = ModelValues.live(model)
            self._first_hash = values.hash
            self._begin(model)
        if self.start is not None and values is not None:
            with self._handling_errors(self.start):
                self._record_first(self.start, values)
        self._records.flush_log()

    def begin_epoch(self) -> None:
        """Forgets the weights at the end of the previous epoch, which was not the last one."""
        self._kept = self.ended = None
        self._records.flush_log()

    def end_epoch(self, number: int, model: keras.Model) -> None:
        """Records the weights at the end of an epoch, or keeps them as long as that may be due."""
        self._kept, self.ended = None, number
        if self._is_rejected:
            return
        if self.start is None:
            with self._handling_errors(number, is_start=True):
                self._begin(model)
        if self.start is None:
            return
        epoch = self.trained(number) + 1
        if not self._is_configured:
            with self._handling_errors(epoch):
                self._record_if_due(epoch, ModelValues.live(model))
            note_reached(model, self._records.folder, epoch)
        if self._is_configured or not (self._is_rejected or self._records.has(epoch)):
            with self._handling_errors(epoch):
                self._kept = epoch, ModelValues.copied(model)

    def trained(self, number: int) -> int:
        """The number of epochs trained before Keras's epoch of this number."""
        return (self.start or 0) - self._number + number

    def record_early(self, epoch: float, model: keras.Model) -> None:
        """Records the weights after a step within an epoch."""
        if not self._is_rejected:
            with self._handling_errors(epoch):
                self._write(epoch, ModelValues.live(model), is_provisional=False)

    def record_kept(self) -> None:
        """Records the weights that were kept at the end of the epoch, if they are due."""
        if self._kept is not None:
            with self._handling_errors(self._kept[0]):
                self._record_if_due(*self._kept)

    def record_last(self) -> None:
        """Records the weights that were kept at the end of the last epoch."""
        if self._kept is not None and not self._records.has(self._kept[0]):
            with self._handling_errors(self._kept[0]):
                self._write(*self._kept)

    def end(self) -> None:
        """Releases the lock; also after an exception."""
        self._kept = None
        self._records.end_fit()
        self._lock.release()
        self._records.flush_log(is_end=True)
        if len(self._missed) > 1:
            missed, self._missed = self._missed, []
            self._records.notify(
                f"warning: not recorded: epochs {format_names(format_epochs(missed))}."
            )

    # The steps.

    def is_due(self, epoch: int) -> bool:
        """Whether an epoch is scheduled, or the last one of this `fit`."""
        planned, start = self._params.get("epochs"), self.start or 0
        is_last = planned is not None and epoch == planned + start - self._number
        return is_last or self._records.settings.schedule.includes(epoch)

    def kept_values(self, epoch: float) -> ModelValues | None:
        """The weights at the end of an epoch, or None if they were not kept."""
        return self._kept[1] if self._kept is not None and self._kept[0] == epoch else None

    def _begin(self, model: keras.Model) -> None:
        """Locks and prepares the folder, and determines the number of epochs trained before."""
        records = self._records
        records.build(model)
        records.create_folder()
        self._lock.hold(records.folder, fit_frame(self._callback_list))
        if not self._continues(model):
            records.overwrite()
        records.overwrites = False
        reached = None if self._is_configured else reached_epoch(model, records.folder)
        try:
            start = first_epoch(records.folder, self._number, self._first_hash, reached)
        except InputError:
            self._is_rejected = True
            raise
        records.prepare(model)
        # The folder of a configured run is its own: whatever is after the checkpoint, which may be
        # that of epoch 0, is of an attempt that was interrupted.
        is_resumed = (start > 0 or self._is_configured) and bool(records.folder.epochs())
        records.begin_fit(start if is_resumed else None)
        self.start = start

    def _continues(self, model: keras.Model) -> bool:
        """Whether a `fit` that does not begin at 0 continues the training of the folder."""
        if is_restored(model, self._number):
            return True
        if self._number == 0 or not self._records.has(self._number):
            return False
        return self._records.folder.recorded_hash(self._number) == self._first_hash

    def _record_first(self, epoch: int, values: ModelValues) -> None:
        records = self._records
        if records.has(epoch):
            if records.folder.recorded_hash(epoch) != values.hash:
                self.is_mid_epoch = True
                records.say_once(
                    "continues",
                    f"the training continues from other weights than those recorded at epoch "
                    f"{epoch}, as from a backup in the middle of an epoch or of averaged weights. "
                    "The record is kept.",
                )
            return
        is_new = not records.folder.epochs()
        if not is_new and not records.settings.schedule.includes(epoch):
            return
        if self._is_mid_epoch(epoch, values.model, is_new):
            self.is_mid_epoch = True
            records.notify(
                f"epoch {epoch} is not recorded: the steps of the optimizer are not those of its "
                "end, as from a backup in the middle of an epoch."
            )
            return
        self._write(epoch, values, is_provisional=False)

    def _is_mid_epoch(self, epoch: int, model: keras.Model, is_new: bool) -> bool:
        """Whether the steps of the optimizer show that the first state is not an epoch's end."""
        iterations, is_backup = iterations_of(model), is_restored(model, self._number)
        if epoch == 0 or iterations is None:
            return False
        known = self._records.known_iterations(epoch)
        # Without a backup, an optimizer that is new or took other steps before shows nothing.
        if not is_backup and (is_new or iterations == 0 or not known):
            return False
        return not is_end_of_epoch(epoch, iterations, known, self._params.get("steps"))

    def _record_if_due(self, epoch: int, values: ModelValues) -> None:
        """Records a state if it is due; otherwise checks an existing record of its epoch."""
        if self.is_due(epoch):
            self._write(epoch, values)
        elif self._records.has(epoch):
            self._records.keeps(epoch, values.hash)

    def _write(self, epoch: float, values: ModelValues, is_provisional: bool | None = None) -> None:
        """Records a state.

        Args:
            epoch: number of epochs trained.
            values: the weights.
            is_provisional: whether the record is removed when the training continues; None if it
                is unless the schedule includes the epoch.
        """
        attributes = {}
        if not self._is_configured:
            if is_provisional is None:
                is_provisional = not self._records.settings.schedule.includes(epoch)
            attributes[PROVISIONAL] = int(is_provisional)
            iterations = iterations_of(values.model)
            if iterations is not None:
                attributes[ITERATIONS] = iterations
        with self._records.folder.locked():
            self._records.write(epoch, values, **attributes)
            if not self._is_configured:
                self._records.remove_provisional(epoch)
        if epoch in self._missed:
            self._missed.remove(epoch)

    @contextmanager
    def _handling_errors(self, epoch: float, is_start: bool = False) -> Iterator[None]:
        """Reports an error instead of raising it, if it must not end the training.

        Args:
            epoch: number of epochs trained.
            is_start: whether nothing of this `fit` was recorded before.
        """
        try:
            yield
        except BaseException as error:
            raises = self._on_error == "raise"
            if self._on_error is None:
                raises = is_start or not self._records.has_written
            if raises or not isinstance(error, Exception):
                self.end()
                raise
            self._records.report(epoch, error)
            self._missed += [] if epoch in self._missed else [epoch]
            self._is_rejected = self._is_rejected or self._records.is_rejected
            if self.start is None:
                self._lock.release()

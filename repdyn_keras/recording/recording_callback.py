"""The callback that records with complete settings: Keras's hooks, and what each of them does."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import keras

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.fits.early_steps import (
    EARLY_EPOCHS,
    EarlySteps,
    early_steps,
    steps_between_changes,
)
from repdyn_keras.recording.fits.epoch_records import EpochRecords
from repdyn_keras.recording.fits.fit_lock import FitLock
from repdyn_keras.recording.fits.recorded_fit import RecordedFit
from repdyn_keras.recording.fits.training_epochs import call_first, calling_list
from repdyn_keras.recording.inputs import EvaluationImages
from repdyn_keras.recording.network.recorded_model import RecordedModel
from repdyn_keras.recording.record_summary import Summary
from repdyn_keras.recording.settings import Settings
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.records import RunFolder
from repdyn_keras.text import EPOCH_DECIMALS, is_whole

if TYPE_CHECKING:
    import xarray

ON_ERROR = ("raise", "warn")
NO_STEPS = (
    "they need the number of steps in an epoch, which `fit` does not know for this data. Pass it "
    "as steps_per_epoch, or use data of known length."
)


class RecordingCallback(keras.callbacks.Callback):
    """Records a model during its training.

    Args:
        folder: the run folder.
        settings: what to record.
        notify: called with each message to the user.
        on_error, overwrite, on_record: see `RepresentationRecorder`.
        is_configured: whether the training is configured as a whole, as by `repdyn run`. In a list
            of callbacks, the recorder then records when its turn comes, so that callbacks before
            it can write other files of the epoch first, and the configuration determines the last
            epoch.

    Attributes:
        around_early: called with the epoch of an early record; what it returns is a context in
            which the record is made.
    """

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        notify: Callable[[str], None],
        *,
        on_error: str | None,
        overwrite: bool = False,
        on_record: Callable[[float, Summary], None] | None = None,
        is_configured: bool = False,
    ):
        if on_error is not None and on_error not in ON_ERROR:
            raise unknown("on_error", on_error, ON_ERROR, "Or None for the default.")
        self.settings = settings
        self._notify = notify
        self._on_error = on_error
        self._on_record = on_record
        self._is_configured = is_configured
        self._set_records(folder, overwrites=overwrite)

    def _set_records(
        self, folder: RunFolder, *, overwrites: bool = False, is_copy: bool = False
    ) -> None:
        """Sets all attributes that a copy does not share."""
        super().__init__()
        self._records = EpochRecords(
            folder,
            self.settings,
            self._notify,
            overwrites=overwrites,
            is_copy=is_copy,
            on_record=self._on_record,
        )
        self.around_early: Callable[[float], AbstractContextManager] = nullcontext
        self._fit: RecordedFit | None = None
        self._early: EarlySteps | None = None
        self._fit_lock = FitLock()
        self._callback_list: keras.callbacks.CallbackList | None = None

    def __getstate__(self) -> dict:
        left_out = {"params", "_model", "_records", "_fit", "_fit_lock", "_callback_list"}
        left_out |= {"around_early", "_early"}
        state = {name: value for name, value in vars(self).items() if name not in left_out}
        records = self._records
        kept = {"overwrites": records.overwrites, "is_copy": records.is_copy}
        return {**state, "_records": (records.folder, kept)}

    def __setstate__(self, state: dict) -> None:
        folder, kept = state.pop("_records")
        self.__dict__.update(state)
        self._set_records(folder, **kept)

    def __deepcopy__(self, memo: dict) -> "RecordingCallback":
        """A recorder of another training, such as KerasTuner makes for each trial.

        It shares the images, and creates a folder of its own when it first records.
        """
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        state = self.__getstate__()
        state["_records"] = (RunFolder(self._records.original), {"is_copy": True})
        shared = ("settings", "_notify", "_on_record", "_records")
        for name in state.keys() - set(shared):
            state[name] = copy.deepcopy(state[name], memo)
        copied.__setstate__(state)
        return copied

    @property
    def folder(self) -> RunFolder:
        """The run folder. A copy has its own once it has recorded."""
        return self._records.folder

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by purpose of the last written record."""
        return self._records.timings

    @timings.setter
    def timings(self, seconds: dict[str, float]) -> None:
        self._records.timings = seconds

    @property
    def evaluation(self) -> EvaluationImages:
        """The evaluation images, in their fixed order."""
        return self.settings.evaluation

    @property
    def measurement(self) -> RecordedModel | None:
        """The recorded layers of the model; None before it was first recorded."""
        return self._records.recorded

    # The hooks of Keras.

    def set_model(self, model):
        super().set_model(model)
        self._callback_list = calling_list()

    def on_train_begin(self, logs=None):
        self._end_fit()
        if self._callback_list is not None:
            call_first(self._callback_list, self._end_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        if self._fit is None:
            self._begin_fit(epoch).record_first(self.model)
            self._early = self._early_steps()
        else:
            self._fit.begin_epoch()
        if self._fit is not None and self._early is not None:
            self._early.begin_epoch(self._fit.trained(epoch))

    def on_epoch_end(self, epoch, logs=None):
        if self._fit is None or self._fit.ended != epoch:
            self._end_epoch(epoch)
        if self._fit is not None and self._is_configured:
            self._fit.record_kept()

    def on_train_end(self, logs=None):
        if self._fit is not None:
            self._fit.record_last()
        self._end_fit()

    def _begin_fit(self, first: int) -> RecordedFit:
        self._fit = RecordedFit(
            self._records,
            self._fit_lock,
            first,
            self.params or {},
            self._callback_list,
            on_error=self._on_error,
            is_configured=self._is_configured,
        )
        return self._fit

    def _end_epoch(self, epoch: int) -> None:
        """Receives the weights at the end of an epoch, before other callbacks change them."""
        (self._fit or self._begin_fit(epoch)).end_epoch(epoch, self.model)

    def _early_steps(self) -> EarlySteps | None:
        """Waits for the steps of early records, unless the `fit` has none."""
        count, fit = self.settings.schedule.early, self._fit
        if count == 0 or fit is None or fit.start is None or fit.is_mid_epoch:
            return None
        if fit.start >= EARLY_EPOCHS:
            return None
        steps = (self.params or {}).get("steps")
        if self._callback_list is None or steps is None:
            self._records.say_once("early", f"warning: there are no early records: {NO_STEPS}")
            return None
        due = early_steps(count, steps, *steps_between_changes(self.model))
        if len(due) < count:
            self._records.say_once(
                "few early",
                f"{len(due)} early records instead of {count}: the first {EARLY_EPOCHS} epochs, of "
                f"{steps} steps each, have no more steps at which the weights can be recorded.",
            )
        return EarlySteps(self._callback_list, due, steps, self._record_early, self._notify)

    def _record_early(self, epoch: float) -> None:
        """Records the weights after a training step."""
        if self._fit is not None:
            with self.around_early(epoch):
                self._fit.record_early(epoch, self.model)

    def _end_fit(self) -> None:
        """Ends a `fit`, which an exception may have ended before."""
        if self._early is not None:
            self._early.leave()
        self._early = None
        if self._fit is not None:
            self._fit.end()
        self._fit = None

    # Recording.

    def is_due(self, epoch: int) -> bool:
        """Whether to record the state after `epoch` epochs in the current `fit`.

        The last epoch of a `fit` is recorded, too. A `fit` that continues an earlier one is
        recorded as if there were no interruption.
        """
        if self._fit is not None:
            return self._fit.is_due(epoch)
        if epoch == (self.params or {}).get("epochs") or self.settings.schedule.includes(epoch):
            return True
        return not self.folder.epochs() or self._records.has(epoch)

    def record(self, model: keras.Model, epoch: float) -> None:
        """Records the model as the state after `epoch` epochs; also works without `fit`.

        An existing record of the same epoch and the same weights is kept.

        Args:
            model: a built model; the same one in every call.
            epoch: number of epochs that the model was trained for, at least 0; of a state within
                an epoch, with at most six decimals.

        Raises:
            InputError: the model cannot be recorded, the folder holds another training, or
                another process writes to it.
            StorageError: the disk is full, or the folder cannot be written to.
        """
        if not 0 <= epoch < float("inf"):
            raise InputError(f"Expected an epoch of at least 0. Received: epoch={epoch!r}.")
        epoch = round(epoch, EPOCH_DECIMALS)
        try:
            self.build(model)
            values = ModelValues.live(model)
            with self.locked():
                self._records.overwrite()
                self._records.write(epoch, values)
            self._records.flush_log()
        except Exception as error:
            if self._on_error != "warn":
                raise
            self._records.report(epoch, error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the run folder inside a block, for many calls of `record`.

        Without it, `record` locks the folder anew in each call, and another process may write in
        between. `fit` holds the lock by itself.

        Raises:
            InputError: another process writes to the folder.
            StorageError: the folder cannot be written to.
        """
        self._records.create_folder()
        with self.folder.locked():
            yield

    def measured(self, epoch: float) -> "xarray.Dataset | None":
        """The record of the current state, for callbacks that write files before the record.

        Such a callback comes before the recorder in the list. The state is measured only once.

        Args:
            epoch: number of epochs that the model was trained for; of an early record that is being
                made, not whole.

        Returns:
            The record that is written, or has been written, for this epoch; None if none is due.
        """
        if is_whole(epoch) and not self.is_due(int(epoch)):
            return None
        self.build(self.model)
        values = None if self._fit is None else self._fit.kept_values(epoch)
        values = values or ModelValues.live(self.model)
        with self.folder.locked():
            record = self._records.new_record(epoch, values)
            return self.folder.record(epoch) if record is None else record

    def build(self, model: keras.Model) -> RecordedModel:
        """Builds the passes that measure the model, if that is necessary; writes nothing.

        Raises:
            InputError: the model cannot be recorded, the data does not fit the model, or the
                recorder was built for another model.
        """
        return self._records.build(model)

"""The records that one recorder measures and writes into a run folder."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import keras

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.recording.constants import check_constants, constants_of
from repdyn_keras.recording.network.announcements import announcements
from repdyn_keras.recording.network.recorded_model import RecordedModel
from repdyn_keras.recording.record_log import RecordLog
from repdyn_keras.recording.record_summary import Summary, record_summary
from repdyn_keras.recording.settings import Settings
from repdyn_keras.recording.state import Stopwatch, measure, record_warnings
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.records import RunFolder
from repdyn_keras.records.run_folder import create_numbered
from repdyn_keras.text import format_epoch, format_error, is_whole

if TYPE_CHECKING:
    import xarray

# Attributes of a record: whether it is removed when the training continues, and the number of steps
# of the optimizer, which only the records of a `fit` have.
PROVISIONAL, ITERATIONS = "provisional", "iterations"


class EpochRecords:
    """Measures states of a model, and keeps one record of each epoch.

    Args:
        folder: the run folder. The caller holds its lock in all methods that write.
        settings: what to record.
        notify: called with each message to the user.
        overwrites: whether an earlier recording is set aside before the first record.
        is_copy: whether the folder is that of another recorder, next to which a new one is created
            before the first record.
        on_record: called with the epoch and the summary of each new record, once it is written.

    Attributes:
        original: the path that the recorder was created with, of which copies get numbers.
        recorded: the model with its passes; None before `build`.
        timings: seconds by purpose of the last written record.
        has_written: whether a record was written.
        is_rejected: whether a record of another training was found.
    """

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        notify: Callable[[str], None],
        *,
        overwrites: bool = False,
        is_copy: bool = False,
        on_record: Callable[[float, Summary], None] | None = None,
    ):
        self.folder = folder
        self.original = folder.path
        self.settings = settings
        self.overwrites = overwrites
        self.is_copy = is_copy
        self.recorded: RecordedModel | None = None
        self.timings: dict[str, float] = {}
        self.has_written = False
        self.is_rejected = False
        self.notify = notify
        self.on_record = on_record
        self._is_prepared = False
        # The epoch at which the current `fit` continued an earlier one.
        self._resumed_at: int | None = None
        # The last epoch whose record is known to belong to the current `fit`.
        self._confirmed: float | None = None
        # A record that is measured but not yet written, with its epoch and the hash of the weights.
        self._pending: tuple[float, str, xarray.Dataset] | None = None
        self._stopwatch = Stopwatch()
        self._said: set[str] = set()
        # The epoch and the hash of the weights of the latest record of a whole epoch.
        self._latest: tuple[float, str] | None = None
        # Epochs with a record that is known to be kept when the training continues.
        self._permanent: set[float] = set()

    def begin_fit(self, resumed_at: int | None) -> None:
        """Notes the epoch at which a `fit` continues an earlier training; None if it does not."""
        self._resumed_at = self._confirmed = resumed_at
        self.is_rejected = False

    def end_fit(self) -> None:
        """Forgets the current `fit`."""
        self._resumed_at = self._confirmed = self._pending = None

    def has(self, epoch: float) -> bool:
        """Whether the folder holds a record of an epoch."""
        return self.folder.record_file(epoch).is_file()

    def build(self, model: keras.Model) -> RecordedModel:
        """Builds the passes that measure a model, if they are not built or no longer valid.

        Raises:
            InputError: the model cannot be recorded, the data does not fit the model, or the
                passes were built for another model.
        """
        if self.recorded is not None and self.recorded.model is not model:
            raise InputError(
                f"Expected the model that this recorder was built for, "
                f"{self.recorded.model.name!r}. Received: another model, {model.name!r}. Use one "
                "recorder per model."
            )
        if self.recorded is None or not self.recorded.is_current():
            self.recorded = RecordedModel(model, self.settings)
            self._is_prepared = False
        return self.recorded

    def prepare(self, model: keras.Model) -> RecordedModel:
        """Writes the constants to a new folder, or checks those of an existing one, once."""
        recorded = self.build(model)
        if self._is_prepared and self.folder.constants_file.is_file():
            return recorded
        constants = constants_of(recorded)
        if self.folder.constants_file.is_file():
            check_constants(self.folder.constants(), constants, self.folder.path)
        else:
            if self.folder.epochs():
                raise InputError(
                    f"Expected constants.nc next to the records in {self.folder.records}. "
                    "Received: records without it. Restore the file, or record into a new folder."
                )
            self.folder.write_constants(constants)
        self._is_prepared = True
        for text in announcements(recorded):
            self.say_once(text, text)
        return recorded

    def create_folder(self) -> None:
        """Creates the folder of a copied recorder, once."""
        if self.is_copy:
            self.folder = RunFolder(create_numbered(self.original))
            self.is_copy = False
            self.notify(f"this copy of the recorder records into {self.folder.path}.")

    def overwrite(self) -> None:
        """Moves an earlier recording to `set_aside/`, once and only if that was requested."""
        if self.overwrites and self.folder.set_aside_recording():
            self.notify(f"the earlier recording was moved to {self.folder.set_aside_folder}.")
        self.overwrites = False

    def report(self, epoch: float, error: Exception) -> None:
        """Reports an error that does not end the training, once for each kind of error."""
        is_ours = isinstance(error, InputError | StorageError)
        text = str(error) if is_ours else format_error(error)
        self.say_once(
            f"error {type(error).__name__}",
            f"warning: epoch {format_epoch(epoch)} is not recorded, and the training goes on. "
            f"{text}",
        )

    def say_once(self, key: str, text: str) -> None:
        """Notifies the user, unless a message with this key was sent before."""
        if key not in self._said:
            self._said.add(key)
            self.notify(text)

    def write(self, epoch: float, values: ModelValues, **attributes: int) -> None:
        """Writes the record of a state, unless the folder holds it already.

        Args:
            epoch: number of epochs that the model was trained for.
            values: the values of the model's variables.
            attributes: further attributes of the record.

        Raises:
            InputError: the folder holds another training, or the model cannot be recorded.
            StorageError: the record cannot be written.
        """
        record = self.new_record(epoch, values, **attributes)
        if record is not None:
            with self._stopwatch.timed("writing"):
                self.folder.write_record(epoch, record)
            self._pending = None
            self.timings = self._stopwatch.seconds
            self.has_written = True
        if is_whole(epoch):
            self._warn_of_repeated(epoch, values.hash)
        self._confirmed = epoch
        if not attributes.get(PROVISIONAL):
            self._permanent.add(epoch)
        if record is not None and self.on_record is not None:
            self._call_listener(self.on_record, epoch, record)

    def _warn_of_repeated(self, epoch: float, weights: str) -> None:
        """Warns if the weights are those of the previous record of a whole epoch.

        The steps between early records may leave the weights as they are, as with a rate of 0 or
        gradients that are accumulated.
        """
        latest, self._latest = self._latest, (epoch, weights)
        if latest is not None and latest[0] != epoch and latest[1] == weights:
            self.say_once(
                "same weights",
                f"warning: the weights of epoch {format_epoch(epoch)} are those of epoch "
                f"{format_epoch(latest[0])}. If they were trained outside of the model, as in a "
                "stateless loop on jax, assign them to its variables before each record.",
            )

    def flush_log(self, *, is_end: bool = False) -> None:
        """Shows the line on the last record, now that no progress bar is on the terminal's line."""
        if isinstance(self.on_record, RecordLog):
            self.on_record.flush(is_end=is_end)

    def _call_listener(
        self, listener: Callable[[float, Summary], None], epoch: float, record: "xarray.Dataset"
    ) -> None:
        """Calls `on_record`, whose errors do not concern the record, which is written."""
        try:
            listener(epoch, record_summary(self.folder, epoch, record))
        except Exception as error:
            self.say_once(
                "on_record",
                f"warning: on_record failed at epoch {format_epoch(epoch)}, and the training goes "
                f"on. {format_error(error)}",
            )

    def new_record(
        self, epoch: float, values: ModelValues, **attributes: int
    ) -> "xarray.Dataset | None":
        """Measures a state once; returns None if the folder already holds its record."""
        recorded = self.prepare(values.model)
        if self.has(epoch) and self.keeps(epoch, values.hash):
            return None
        if self._pending is None or self._pending[:2] != (epoch, values.hash):
            self._pending = (epoch, values.hash, self._measure(epoch, values, recorded, attributes))
        return self._pending[2]

    def keeps(self, epoch: float, weights: str) -> bool:
        """Whether the record of an epoch has these weights.

        If the current `fit` continued an earlier training, records of other weights are set aside.

        Raises:
            InputError: the record belongs to another training.
        """
        if self.folder.recorded_hash(epoch) == weights:
            return True
        confirmed = self._confirmed
        if self._resumed_at is None or confirmed is None or epoch <= self._resumed_at:
            self.is_rejected = True
            raise InputError(
                f"Expected a folder of this training, or a new one. Received: "
                f"{self.folder.record_file(epoch)}, which belongs to another training: its weights "
                f"at epoch {format_epoch(epoch)} differ. Record into a new folder, or move the "
                "records away, which a recorder does with overwrite=True."
            )
        # The records in between were not compared, and those after are of the same other weights.
        others = [each for each in self.folder.epochs() if each > confirmed]
        for other in others:
            for file in (self.folder.weights_file(other), self.folder.record_file(other)):
                if file.is_file():
                    self.folder.set_aside(file)
            self._permanent.discard(other)
        later = f", {len(others)} in all," if len(others) > 1 else ""
        self.notify(
            f"epoch {format_epoch(epoch)} was recorded with other weights before the training "
            f"continued from epoch {self._resumed_at}: the earlier records after epoch "
            f"{format_epoch(confirmed)}{later} were "
            f"moved to {self.folder.set_aside_folder}."
        )
        return False

    def remove_provisional(self, epoch: float) -> None:
        """Removes provisional records before an epoch that was recorded since."""
        if not self.has(epoch):
            return
        includes = self.settings.schedule.includes
        whole = (int(e) for e in self.folder.epochs() if e < epoch and is_whole(e))
        for earlier in whole:
            if not includes(earlier) and self._is_provisional(earlier):
                self.folder.remove_record(earlier)

    def _is_provisional(self, epoch: float) -> bool:
        """Whether a record is removed when the training continues; False if it is damaged."""
        if epoch in self._permanent:
            return False
        with suppress(InputError):
            if self.folder.recorded_attribute(epoch, PROVISIONAL):
                return True
        self._permanent.add(epoch)
        return False

    def known_iterations(self, epoch: float) -> list[tuple[int, int]]:
        """(epoch, steps of the optimizer) of the last two records of whole epochs before one."""
        found: list[tuple[int, int]] = []
        whole = [int(e) for e in self.folder.epochs() if e < epoch and is_whole(e)]
        for earlier in reversed(whole):
            iterations = self.folder.recorded_attribute(earlier, ITERATIONS)
            if isinstance(iterations, int):
                found.insert(0, (earlier, iterations))
            if len(found) == 2:
                break
        return found

    def _measure(
        self, epoch: float, values: ModelValues, recorded: RecordedModel, attributes: dict[str, int]
    ) -> "xarray.Dataset":
        """Measures the model, and reports each kind of problem once."""
        import xarray

        self._stopwatch = Stopwatch()
        record = xarray.Dataset(
            measure(recorded, self._stopwatch, values),
            coords={"layer": recorded.names},
            attrs={
                "epoch": float(epoch),
                "weights_hash": values.hash,
                "images_hash": self.settings.evaluation.hash,
                PROVISIONAL: 0,
                **attributes,
            },
        )
        n, is_moving = len(self.settings.evaluation.ids), self.settings.batch_norm == "moving"
        for key, text in record_warnings(record, epoch, n, is_moving):
            self.say_once(key, f"warning: {text}")
        return record

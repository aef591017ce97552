"""The callback that writes `history.csv`."""

import math
from collections.abc import Mapping, Sequence

import keras

from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.measures.accuracies import SUBSETS
from repdyn_keras.recording import RecordingCallback
from repdyn_keras.records import RunFolder
from repdyn_keras.records.tables import ACCURACIES, HISTORY, accuracies_of

Row = dict[str, object]


class HistoryFile(keras.callbacks.Callback):
    """Writes a row of `history.csv` for each epoch, before the epoch is recorded.

    Args:
        folder: the run folder.
        recorder: measures the accuracies of recorded epochs.
        watcher: is notified of each recorded epoch before its record is written.
    """

    def __init__(self, folder: RunFolder, recorder: RecordingCallback, watcher: Watcher):
        super().__init__()
        self.folder = folder
        self.recorder = recorder
        self.watcher = watcher
        self.table = folder.table(folder.history_file, HISTORY)
        self.rows: list[Row] = []
        self._is_written = False

    def restore(self, rows: Sequence[Mapping[str, object]], epoch: int, is_planned: bool) -> None:
        """Restores `history.csv` to the rows of a checkpoint; a file with other rows is set aside.

        The last row is left out if its epoch has yet to be recorded.

        Args:
            rows: the rows up to the checkpoint's epoch.
            epoch: the checkpoint's epoch.
            is_planned: whether this epoch is one of the epochs to record.
        """
        self.rows = [dict(row) for row in rows]
        is_recorded = self.folder.record_file(epoch).is_file()
        if is_recorded:
            self.rows[-1] |= accuracies_of(self.folder.record(epoch), SUBSETS)
        self._is_written = is_recorded or not is_planned
        stored = self.rows if self._is_written else self.rows[:-1]
        if self.table.holds(stored):
            return
        if self.folder.history_file.exists():
            self.folder.set_aside(self.folder.history_file)
        if stored:
            self.table.replace(stored)

    def row(self, epoch: int, logs: dict[str, float]) -> Row:
        """The row of an epoch, without the accuracies of its record."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        loss, accuracy = float(logs["loss"]), float(logs["accuracy"])
        return {"epoch": epoch, "loss": loss, "accuracy": accuracy, "learning_rate": rate}

    def on_epoch_begin(self, epoch, logs=None):
        if not self._is_written:
            self.write(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(self.row(epoch + 1, logs or {}))
        self._is_written = False
        self.write(epoch + 1)

    def write(self, epoch: int) -> None:
        """Writes the last row, with the accuracies of the epoch's record if it has one."""
        record = self.recorder.measured(epoch)
        accuracies = {} if record is None else accuracies_of(record, SUBSETS)
        self.rows[-1] |= accuracies
        self.append()
        if record is not None:
            self.watcher.recorded(epoch, {k: accuracies.get(k, math.nan) for k in ACCURACIES})

    def append(self) -> None:
        """Appends the last row to the file."""
        self.table.append(self.rows[-1])
        self._is_written = True

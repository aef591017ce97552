"""The callbacks that write `timing.csv`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from repdyn_keras.recording import RecordingCallback
from repdyn_keras.records import RunFolder
from repdyn_keras.text import exact_epoch

COLUMNS = ("epoch", "purpose", "seconds")


class TimingFile:
    """The rows of `timing.csv`.

    Args:
        folder: the run folder. A damaged file is set aside.
    """

    def __init__(self, folder: RunFolder):
        file = folder.timing_file
        if file.is_file() and folder.checksums.problem(file):
            # Appending rows to a damaged file would give it a valid checksum.
            folder.set_aside(file)
        self.table = folder.table(file, COLUMNS)

    def write(self, epoch: float, seconds: dict[str, float]) -> None:
        """Appends a row for each purpose."""
        if seconds:
            rows = [
                {"epoch": exact_epoch(epoch), "purpose": purpose, "seconds": f"{value:.4f}"}
                for purpose, value in seconds.items()
            ]
            self.table.append(*rows)


class TrainingTime(keras.callbacks.Callback):
    """Writes the duration of each epoch's training, without that of its early records.

    In the list of callbacks it precedes those that write files.

    Args:
        timing: the rows.
    """

    def __init__(self, timing: TimingFile):
        super().__init__()
        self.timing = timing
        self._began = 0.0

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves out what is done in a block."""
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.timing.write(epoch + 1, {"training": time.monotonic() - self._began})


class RecordingTime(keras.callbacks.Callback):
    """Writes the durations of the steps of each record. It follows the recorder.

    Args:
        timing: the rows.
        recorder: provides the times of the latest record.
    """

    def __init__(self, timing: TimingFile, recorder: RecordingCallback):
        super().__init__()
        self.timing = timing
        self.recorder = recorder

    def on_epoch_begin(self, epoch, logs=None):
        self.write(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.write(epoch + 1)

    def write(self, epoch: float) -> None:
        """Writes the times of the latest record, unless they were written before."""
        self.timing.write(epoch, self.recorder.timings)
        self.recorder.timings = {}

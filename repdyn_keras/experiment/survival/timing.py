"""The callback that writes `timing.csv`."""

import time

import keras

from repdyn_keras.recording import RepresentationRecorder
from repdyn_keras.records import RunFolder

COLUMNS = ("epoch", "purpose", "seconds")


class TimingFile(keras.callbacks.Callback):
    """Writes the duration of each epoch's training and of the steps of its recording.

    Args:
        folder: the run folder.
        recorder: provides the times of the latest record.
    """

    def __init__(self, folder: RunFolder, recorder: RepresentationRecorder):
        super().__init__()
        self.folder = folder
        self.recorder = recorder
        self.table = folder.table(folder.timing_file, COLUMNS)
        self._epoch = 0
        self._began = 0.0

    def on_train_begin(self, logs=None):
        file = self.folder.timing_file
        if file.is_file() and self.folder.checksums.problem(file):
            # Appending rows to a damaged file would give it a valid checksum.
            self.folder.set_aside(file)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self.write_recording(epoch)
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self._began
        self.write_recording(epoch)
        self._epoch = epoch + 1
        self.write(epoch + 1, {"training": seconds})

    def on_train_end(self, logs=None):
        self.write_recording(self._epoch)

    def write_recording(self, epoch: int) -> None:
        """Writes the times of the latest record, unless they were written before."""
        self.write(epoch, self.recorder.timings)
        self.recorder.timings = {}

    def write(self, epoch: int, seconds: dict[str, float]) -> None:
        """Appends a row for each purpose."""
        if seconds:
            rows = [
                {"epoch": epoch, "purpose": purpose, "seconds": f"{value:.4f}"}
                for purpose, value in seconds.items()
            ]
            self.table.append(*rows)

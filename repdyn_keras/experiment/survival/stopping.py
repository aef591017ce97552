"""Ctrl-C and SIGTERM during a training: completes and saves the epoch if there is time."""

import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import keras

from repdyn_keras.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping(keras.callbacks.Callback):
    """Handles the signals that end a run, inside a `with` block.

    After the first signal, the current epoch is completed and saved if it is expected to end within
    the grace time. Otherwise, and after a second signal, `Interrupted` is raised immediately. In
    the list of callbacks it must come before callbacks that do work at the end of an epoch, since
    it measures the time of the training.

    Args:
        grace: seconds that an epoch may still take after a signal.
        notify: called with a message when a signal is handled.

    Attributes:
        signal: number of the received signal, or None.
    """

    def __init__(self, grace: float, notify: Callable[[str], None]):
        super().__init__()
        self.grace = grace
        self.notify = notify
        self.signal: int | None = None
        self._began: float | None = None
        self._epochs: list[float] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        # Python allows signal handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self.handle) for number in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_begins()

    def on_epoch_end(self, epoch, logs=None):
        self.epoch_ends()

    def epoch_begins(self) -> None:
        """Marks the beginning of the training of an epoch."""
        self._began = time.monotonic()

    def epoch_ends(self) -> float:
        """Marks the end of the training of an epoch; returns its duration in seconds.

        A later signal stops the run immediately, since the work after the training can be repeated.
        """
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        self._epochs.append(seconds)
        self._began = None
        return seconds

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves out what is done in a block from the duration of the epoch."""
        began = time.monotonic()
        yield
        if self._began is not None:
            self._began += time.monotonic() - began

    def stop_if_signalled(self, epoch: int) -> None:
        """Raises Interrupted if a signal was received; the state after `epoch` epochs is saved."""
        if self.signal is not None:
            raise Interrupted(f"interrupted after epoch {epoch}, which is saved", self.signal)

    def seconds_left(self) -> float | None:
        """Estimated seconds until the epoch ends; None if unknown or if no epoch is running."""
        if self._began is None or not self._epochs:
            return None
        # The first epoch of a process includes compilation.
        usual = statistics.median(self._epochs[1:] or self._epochs)
        return max(0.0, usual - (time.monotonic() - self._began))

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.signal is not None:
            raise Interrupted("interrupted at once", number)
        self.signal = number
        seconds_left = self.seconds_left()
        if seconds_left is None or seconds_left > self.grace:
            raise Interrupted("interrupted", number)
        self.notify(
            f"stopping after this epoch, in about {seconds_left:.0f} s; signal again to stop at "
            "once."
        )


class StopWhenSaved(keras.callbacks.Callback):
    """Ends the run after a signal. In the list of callbacks it comes after `CheckpointWriter`.

    Args:
        stopping: handles the signals.
    """

    def __init__(self, stopping: Stopping):
        super().__init__()
        self.stopping = stopping

    def on_epoch_end(self, epoch, logs=None):
        self.stopping.stop_if_signalled(epoch + 1)

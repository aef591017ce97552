"""Ctrl-C and SIGTERM during a training: the epoch ends and is saved where time allows."""

import signal
import statistics
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras

from repdyn_keras.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping(keras.callbacks.Callback):
    """Handles the signals that end a run, inside a `with` block.

    After the first signal the epoch ends and is saved if that is expected within the grace time.
    Otherwise, and at the second signal, `Interrupted` is raised at once. In the list of callbacks
    it precedes all that work at the end of an epoch: it measures the seconds of the training.

    Args:
        grace: seconds that an epoch may still take after a signal.
        notify: called with a message when a signal is handled.

    Attributes:
        asked: number of the signal that was received, or None.
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
        """The training of an epoch begins."""
        self._began = time.monotonic()

    def epoch_ends(self) -> float:
        """The training of an epoch ended; returns its seconds.

        A signal does not wait for what follows, which can be repeated.
        """
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        self._epochs.append(seconds)
        self._began = None
        return seconds

    def stop_if_signalled(self, epoch: int) -> None:
        """Raises Interrupted after a signal; the state after `epoch` epochs is saved."""
        if self.signal is not None:
            raise Interrupted(f"interrupted after epoch {epoch}, which is saved", self.signal)

    def seconds_left(self) -> float | None:
        """Seconds until the epoch ends; None if that is not known or no epoch is running."""
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
        expected = self.seconds_left()
        if expected is None or expected > self.grace:
            raise Interrupted("interrupted", number)
        self.notify(
            f"stopping after this epoch, in about {expected:.0f} s; signal again to stop at once."
        )


class StopWhenSaved(keras.callbacks.Callback):
    """Ends the run after a signal. In the list of callbacks it follows the checkpoints.

    Args:
        stopping: handles the signals.
    """

    def __init__(self, stopping: Stopping):
        super().__init__()
        self.stopping = stopping

    def on_epoch_end(self, epoch, logs=None):
        self.stopping.stop_if_signalled(epoch + 1)

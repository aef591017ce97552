"""Ctrl-C and SIGTERM during a training: the epoch is finished and saved where there is time."""

import signal
import statistics
import threading
import time
from collections.abc import Callable
from types import FrameType

from repdyn_keras.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Handles the signals that end a run, inside a `with` block.

    The first signal lets the epoch end and be saved if that is expected within the grace time;
    otherwise, and at the second signal, `Interrupted` is raised at once.

    Args:
        grace: seconds that an epoch may still take after a signal.
        say: is told what will happen.

    Attributes:
        asked: number of the signal that came, or None.
    """

    def __init__(self, grace: float, say: Callable[[str], None]):
        self.grace = grace
        self.say = say
        self.asked: int | None = None
        self._began: float | None = None
        self._epochs: list[float] = []
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stopping":
        # Python lets the main thread alone handle signals.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self.handle) for number in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def epoch_begins(self) -> None:
        """The training of an epoch begins."""
        self._began = time.monotonic()

    def epoch_ends(self) -> float:
        """The training of an epoch ended: its seconds.

        What follows can be done again, and is not waited for.
        """
        seconds = time.monotonic() - self._began
        self._epochs.append(seconds)
        self._began = None
        return seconds

    def stop_if_asked(self, epoch: int) -> None:
        """Raises Interrupted where a signal came; the state after `epoch` epochs is saved."""
        if self.asked is not None:
            raise Interrupted(f"interrupted after epoch {epoch}, which is saved", self.asked)

    def expected(self) -> float | None:
        """Seconds until the epoch ends; None where that is not known, or none is under way."""
        if self._began is None or not self._epochs:
            return None
        # The first epoch of a process compiles.
        usual = statistics.median(self._epochs[1:] or self._epochs)
        return max(0.0, usual - (time.monotonic() - self._began))

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What the operating system calls."""
        if self.asked is not None:
            raise Interrupted("interrupted at once", number)
        self.asked = number
        expected = self.expected()
        if expected is None or expected > self.grace:
            raise Interrupted("interrupted", number)
        self.say(f"stopping after this epoch, in about {expected:.0f} s; again to stop at once.")

"""A run's progress while it runs."""

import statistics
import time

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.text import visible


class LiveProgress(Watcher):
    """Shows epoch, loss, accuracy, memorized share and time left; lines where there is no terminal.

    Use it as a context manager around the run.

    Attributes:
        seconds: seconds from the start to the end of the block.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self.seconds = 0.0
        self._live = None
        self._plan = None
        self._total = 0
        self._epoch = 0
        self._numbers: dict[str, float] = {}
        self._training: list[float] = []
        self._recording: list[float] = []
        self._begin = self._clock = time.perf_counter()

    def __enter__(self) -> "LiveProgress":
        self._begin = self._clock = time.perf_counter()
        if self.console.is_terminal:
            self._live = Live(self.view(), console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.seconds = time.perf_counter() - self._begin
        if self._live is not None:
            self._live.update(self.view())
            self._live.__exit__(*error)

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def started(self, folder, config, plan):
        self._plan, self._total = plan, config.epochs
        train, compared, test = plan.images
        self.console.print(
            f"{visible(config.dataset)}: {train} training images (label noise "
            f"{config.label_noise:g}), {compared} compared, {test} test images\n"
            f"{visible(config.model)} ({plan.parameters:,} weights), {config.optimizer}, "
            f"{config.backend}: "
            f"{config.epochs} epochs, {len(plan.epochs)} of them recorded, "
            f"{len(plan.layers)} layers\n"
            f"{visible(folder.path)}: about {plan.disk_bytes / 1e6:.0f} MB",
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.lap()

    def resumed(self, epoch):
        self._epoch = epoch
        self.message(f"going on from the checkpoint of epoch {epoch}")

    def epoch_ended(self, epoch, logs):
        self._training.append(self.lap())
        self._epoch = epoch
        self._numbers |= {"loss": logs["loss"], "accuracy": logs["accuracy"]}
        self.refresh()

    def recorded(self, epoch, accuracies):
        self._recording.append(self.lap())
        self._epoch = epoch
        self._numbers["memorized"] = accuracies["memorized"]
        self._numbers["test"] = accuracies["test_accuracy"]
        if self._live is None:
            self.console.print(self.line(), highlight=False, soft_wrap=True)
        self.refresh()

    def message(self, text):
        self.console.print(Text(visible(text)), soft_wrap=True)

    def analysis_step(self, step):
        if self._live is not None:
            self._live.update(f"analyzing: {step}")

    def refresh(self) -> None:
        """Draws anew."""
        if self._live is not None:
            self._live.update(self.view())

    def seconds_left(self) -> float | None:
        """Seconds that the epochs and records to come will take; None before both were seen.

        The first of each compiles, and says nothing about the others.
        """
        if len(self._training) < 2 or len(self._recording) < 3:
            return None
        epochs = self._total - self._epoch
        records = sum(epoch > self._epoch for epoch in self._plan.epochs)
        return epochs * statistics.median(self._training[1:]) + records * statistics.median(
            self._recording[1:]
        )

    def line(self) -> str:
        """Everything on one line."""
        left = self.seconds_left()
        words = [f"epoch {self._epoch}/{self._total}"]
        words += [f"{name} {value:.3f}" for name, value in self._numbers.items() if value == value]
        words.append("" if left is None else f"{clock(left)} left")
        return "  ".join(words).rstrip()

    def view(self):
        """A bar and the line."""
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(max(self._total, 1), self._epoch, width=24), self.line())
        return grid


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // 60}:{whole % 60:02d} min"

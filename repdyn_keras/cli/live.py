"""The progress of a run in a terminal."""

import statistics
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.text import format_bytes, format_duration, visible

if TYPE_CHECKING:
    from repdyn_keras.config import Config
    from repdyn_keras.experiment.plan import Plan
    from repdyn_keras.records import RunFolder


class LiveProgress(Watcher):
    """Shows epoch, loss, accuracies and remaining time; without a terminal, one line per record.

    A context manager around the run.

    Args:
        console: where to print; None for standard output.

    Attributes:
        seconds: duration of the run.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self.seconds = 0.0
        self._live: Live | None = None
        self._plan: Plan | None = None
        self._total = 0
        self._epoch = 0
        self._numbers: dict[str, float] = {}
        self._training: list[float] = []
        self._recording: list[float] = []
        self._begin = self._last = time.perf_counter()

    def __enter__(self) -> "LiveProgress":
        self._begin = self._last = time.perf_counter()
        if self.console.is_terminal:
            self._live = Live(self.view(), console=self.console, refresh_per_second=4)
            self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        if self._live is not None:
            self._live.update(self.view())
            self._live.stop()

    def lap(self) -> float:
        """Seconds since the previous call."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before

    def started(self, folder: "RunFolder", config: "Config", plan: "Plan") -> None:
        """Prints what the run consists of."""
        self._plan, self._total = plan, config.epochs or 0
        train, evaluation, test = plan.images
        self.console.print(
            f"{visible(config.dataset)}: {train} training images (label noise "
            f"{config.label_noise:g}), {evaluation} evaluation images, {test} test images\n"
            f"{visible(config.model)} ({plan.parameters:,} weights), {config.optimizer}, "
            f"{config.backend}: "
            f"{config.epochs} epochs, {len(plan.epochs)} of them recorded, "
            f"{len(plan.layers)} layers\n"
            f"{visible(folder.path)}: about {format_bytes(plan.disk_bytes)}",
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.lap()

    def resumed(self, epoch: int) -> None:
        """Prints where the run resumes."""
        self._epoch = epoch
        self.message(f"resuming from the checkpoint of epoch {epoch}")

    def epoch_ended(self, epoch: int, logs: dict[str, float]) -> None:
        """Updates loss and accuracy."""
        self._training.append(self.lap())
        self._epoch = epoch
        self._numbers |= {"loss": logs["loss"], "accuracy": logs["accuracy"]}
        self.refresh()

    def recorded(self, epoch: int, accuracies: dict[str, float]) -> None:
        """Updates the accuracies of the record, and prints a line without a terminal."""
        self._recording.append(self.lap())
        self._epoch = epoch
        self._numbers["memorized"] = accuracies["memorized"]
        self._numbers["test"] = accuracies["test_accuracy"]
        if self._live is None:
            self.console.print(self.line(), highlight=False, soft_wrap=True)
        self.refresh()

    def message(self, text: str) -> None:
        """Prints a message."""
        self.console.print(Text(visible(text)), soft_wrap=True)

    def analysis_step(self, step: str) -> None:
        """Shows the step of the analysis."""
        if self._live is not None:
            self._live.update(f"analyzing: {step}")

    def refresh(self) -> None:
        """Updates the display."""
        if self._live is not None:
            self._live.update(self.view())

    def seconds_left(self) -> float | None:
        """Estimated seconds of the remaining epochs and records; None at the beginning.

        The first epoch and the first record include compilation and are left out.
        """
        if self._plan is None or len(self._training) < 2 or len(self._recording) < 3:
            return None
        epochs = self._total - self._epoch
        records = sum(epoch > self._epoch for epoch in self._plan.epochs)
        return epochs * statistics.median(self._training[1:]) + records * statistics.median(
            self._recording[1:]
        )

    def line(self) -> str:
        """The progress on one line."""
        left = self.seconds_left()
        words = [f"epoch {self._epoch}/{self._total}"]
        words += [f"{name} {value:.3f}" for name, value in self._numbers.items() if value == value]
        words.append("" if left is None else f"{format_duration(left)} left")
        return "  ".join(words).rstrip()

    def view(self) -> Table:
        """A progress bar and the line."""
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(max(self._total, 1), self._epoch, width=24), self.line())
        return grid

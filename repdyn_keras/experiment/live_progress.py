"""The progress of a run: a display in a terminal or a notebook, lines elsewhere."""

import importlib.util
import statistics
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.text import format_bytes, format_duration, format_epoch, is_whole, visible

if TYPE_CHECKING:
    from repdyn_keras.config import Config
    from repdyn_keras.experiment.plan import Plan
    from repdyn_keras.records import RunFolder

# Columns of the bar, and letters of what is done.
BAR, MAX_DOING = 30, 60


class LiveProgress(Watcher):
    """Shows how far a run is, its numbers, the time it takes, and what it does while it is silent.

    In a terminal or a notebook, the display is a bar over epochs and steps and a line for the
    numbers of each kind, with their epoch. Elsewhere, a line is printed for each record. Use it as
    a context manager around the run.

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
        self._total = self._epoch = self._step = 0
        self._doing = ""
        self._trained: tuple[int, dict[str, float]] = (0, {})
        self._recorded: tuple[float, dict[str, float]] = (0, {})
        # Seconds of each epoch, of the present one up to its last early record, and of each record.
        self._training: list[float] = []
        self._before_early = 0.0
        self._recording: list[float] = []
        self._begin = self._last = time.perf_counter()

    def __enter__(self) -> "LiveProgress":
        self._begin = self._last = time.perf_counter()
        if can_redraw(self.console):
            # Draws again by itself, so that the time goes on while nothing is reported.
            self._live = Live(
                get_renderable=self.view, console=self.console, refresh_per_second=4, transient=True
            )
            self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self._doing = ""
        if self._live is not None:
            self._live.stop()
            if self._total:
                self.console.print(self.view())

    def lap(self) -> float:
        """Seconds since the previous call."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before

    def started(self, folder: "RunFolder", config: "Config", plan: "Plan") -> None:
        """Prints the data set, the network and the size of the run."""
        self._plan, self._total = plan, config.epochs or 0
        _, evaluation, test = plan.images
        self.console.print(
            f"{visible(config.dataset)}: {plan.training_images} training images (label noise "
            f"{config.label_noise:g}), {evaluation} evaluation images, {test} test images\n"
            f"{visible(config.model)} ({plan.parameters:,} weights), {config.optimizer}, "
            f"{config.backend}: "
            f"{config.epochs} epochs, {plan.recorded}, "
            f"{len(plan.layers)} layers\n"
            f"{visible(folder.path)}: about {format_bytes(plan.disk_bytes)}",
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        self.lap()

    def resumed(self, epoch: int) -> None:
        """Prints the epoch from which the run resumes."""
        self._epoch = epoch
        self.message(f"resuming from the checkpoint of epoch {epoch}")

    def step_ended(self, step: int) -> None:
        """Updates the bar."""
        self._doing, self._step = "", step

    def epoch_ended(self, epoch: int, logs: dict[str, float]) -> None:
        """Updates loss and accuracy."""
        self._training.append(self._before_early + self.lap())
        self._before_early = 0.0
        self._epoch, self._step, self._doing = epoch, 0, ""
        self._trained = epoch, {"loss": logs["loss"], "accuracy": logs["accuracy"]}

    def early_record_begins(self, epoch: float) -> None:
        """Notes the time of the training so far, and shows what is done."""
        self._before_early += self.lap()
        self.working(f"recording epoch {format_epoch(epoch)}")

    def recorded(self, epoch: float, accuracies: dict[str, float]) -> None:
        """Updates the accuracies; without a terminal, prints a line."""
        self._recording.append(self.lap())
        if is_whole(epoch):
            self._epoch = int(epoch)
        numbers = {"memorized": accuracies["memorized"], "test": accuracies["test_accuracy"]}
        self._recorded = epoch, numbers
        if self._live is None:
            self.console.print(self.line(), highlight=False, soft_wrap=True)

    def message(self, text: str) -> None:
        """Prints a message."""
        self.console.print(Text(visible(text)), soft_wrap=True)

    def working(self, what: str) -> None:
        """Shows what is done; without a terminal, nothing."""
        self._doing = visible(what, MAX_DOING)

    def analysis_step(self, step: str) -> None:
        """Shows the step of the analysis."""
        self.working(f"analyzing the records: {step}")

    def seconds_left(self) -> float | None:
        """Estimated seconds until the end of the training; None at the beginning.

        The first epoch and the first record include compilation and are not used.
        """
        if self._plan is None or len(self._training) < 2 or len(self._recording) < 3:
            return None
        epochs = self._total - self._epoch
        records = sum(epoch > self._epoch for epoch in self._plan.epochs)
        return epochs * statistics.median(self._training[1:]) + records * statistics.median(
            self._recording[1:]
        )

    def line(self) -> str:
        """The progress on one line, with the numbers of the last recorded epoch alone."""
        left, shown = self.seconds_left(), self._recorded[0]
        parts = [numbers for epoch, numbers in (self._recorded, self._trained) if epoch == shown]
        words = [f"epoch {format_epoch(shown)}/{self._total}"]
        words += [f"{name} {value:.3f}" for part in parts for name, value in known(part)]
        words.append("" if left is None else f"{format_duration(left)} left")
        return "  ".join(words).rstrip()

    def view(self) -> Group:
        """The display: at most 79 columns wide."""
        elapsed = format_duration(time.perf_counter() - self._begin)
        if not self._total:
            return Group(Text(f"{self._doing or 'starting'} ({elapsed})"))
        steps = self._plan.steps if self._plan is not None else 0
        done = self._epoch + (self._step / steps if steps else 0)
        grid = Table.grid(padding=(0, 2))
        position = f"epoch {self._epoch}/{self._total}"
        position += f", step {self._step}/{steps}" if self._step else ""
        grid.add_row(ProgressBar(max(self._total, 1), done, width=BAR), Text(position))
        lines = [f"{elapsed} elapsed"]
        left = self.seconds_left()
        if left is not None and self._epoch < self._total:
            pace = statistics.median(self._training[1:])
            lines[0] += f", about {format_duration(left)} left, {format_seconds(pace)} an epoch"
        for about, (epoch, numbers) in (("epoch", self._trained), ("record", self._recorded)):
            words = ", ".join(f"{name} {value:.3f}" for name, value in known(numbers))
            lines += [f"{about} {format_epoch(epoch)}: {words}"] if words else []
        lines += [self._doing] if self._doing else []
        return Group(grid, *map(Text, lines))


def can_redraw(console: Console) -> bool:
    """Whether a display can be drawn over the one before: in terminals, and in notebooks that have
    ipywidgets."""
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal


def known(numbers: dict[str, float]) -> list[tuple[str, float]]:
    """The numbers that are not NaN, with their names."""
    return [(name, value) for name, value in numbers.items() if value == value]


def format_seconds(seconds: float) -> str:
    """A short time, such as 0.65 s, or 3 min 20 s."""
    return f"{seconds:.2g} s" if seconds < 10 else format_duration(seconds)

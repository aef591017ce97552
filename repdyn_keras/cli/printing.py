"""Output of the commands: the plan of a run, comparisons and checks."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.text import (
    format_bytes,
    format_duration,
    format_epoch,
    format_epochs,
    visible,
)

if TYPE_CHECKING:
    from repdyn_keras.config import Config
    from repdyn_keras.experiment.plan import Plan
    from repdyn_keras.records import RunFolder


# Maximum number of characters of a layer's name in a table, and of a title.
MAX_NAME, MAX_TITLE = 60, 200


def print_keys() -> None:
    """Prints every configuration key with its default and its meaning."""
    from repdyn_keras.config import describe_keys

    table = Table("key", "default", "meaning", title="Keys of a run", title_justify="left")
    for row in describe_keys():
        table.add_row(*map(escape, row))
    Console().print(table)


class MessagePrinter(Watcher):
    """Prints messages."""

    def message(self, text: str) -> None:
        """Prints a message."""
        Console().print(literal(text), soft_wrap=True)


class PlanPrinter(MessagePrinter):
    """Prints the plan of a run."""

    def started(self, folder: "RunFolder", config: "Config", plan: "Plan") -> None:
        """Prints the plan as a table."""
        _, evaluation, test = plan.images
        epochs = ", ".join(format_epochs(plan.epochs))
        table = Table("item", "plan", show_header=False, title="Plan; nothing was written")
        table.add_row("folder", literal(folder.path))
        table.add_row(
            "images", f"{plan.training_images} training, {evaluation} evaluation, {test} test"
        )
        table.add_row("network", literal(f"{config.model}, {plan.parameters:,} weights"))
        table.add_row("layers", literal(", ".join(plan.layers)))
        table.add_row("epochs", f"{config.epochs} of {plan.steps} steps")
        table.add_row("recorded epochs", f"{len(plan.epochs)}: {epochs}")
        table.add_row("disk", format_bytes(plan.disk_bytes))
        table.add_row("time", f"about {format_duration(plan.seconds)}, without probes and figures")
        Console().print(table)


class ReplayPrinter(MessagePrinter):
    """Prints messages, and each file of saved weights that is recorded."""

    def replayed(self, epoch: float, path: Path) -> None:
        """Prints the epoch and the file of saved weights."""
        self.message(f"epoch {format_epoch(epoch)}: {path.as_posix()}")


def print_checks(rows: Iterable[tuple[str, bool, str]]) -> None:
    """Prints the results of checks: a name, whether it is all right, and a remark."""
    table = Table("check", "", "")
    for name, good, remark in rows:
        table.add_row(literal(name), "[green]ok[/]" if good else "[red]no[/]", literal(remark))
    Console().print(table)


def literal(text: object, max_length: int | None = None) -> Text:
    """Untrusted text without markup, emoji names and control characters."""
    return Text(visible(text, max_length))


def title(text: object) -> Text:
    """Untrusted text as the title of a table."""
    return Text(visible(text, MAX_TITLE), style="table.title")


def format_number(value: float, digits: int = 2) -> str:
    """A number with a fixed number of digits, or a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def format_mean(values: np.ndarray, digits: int) -> str:
    """The mean of all values that are not NaN, or a dash if all are."""
    return format_number(
        np.mean(values[~np.isnan(values)]) if np.isfinite(values).any() else np.nan, digits
    )

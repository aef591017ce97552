"""Output of `repdyn study`: its plan, its progress, its calibration and the status of its runs."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repdyn_keras.cli.printing import format_number, literal, title
from repdyn_keras.study import StudyWatcher
from repdyn_keras.study.study_folder import State
from repdyn_keras.text import format_bytes, format_duration, visible

if TYPE_CHECKING:
    import xarray

    from repdyn_keras.study import Study
    from repdyn_keras.study.calibration import Choice
    from repdyn_keras.study.outcomes import Outcome
    from repdyn_keras.study.study_folder import Job, StudyFolder
    from repdyn_keras.study.study_plan import StudyPlan

# Without a terminal, a line about the runs under way is printed this often, in seconds.
LINE_SECONDS = 60.0
# Columns of the comparison of cells.
MEASURES = ("cka", "region_agreement", "region_kappa")
# Lines of a run's error that are shown.
ERROR_LINES = 3
DAY = 24 * 3600


class StudyProgress(StudyWatcher):
    """Shows the plan and the progress of a study; use it as a context manager.

    Args:
        study: the study.
        console: where to print; None for standard output.
    """

    def __init__(self, study: "Study", console: Console | None = None):
        self.study = study
        self.console = console or Console()
        self._live: Live | None = None
        self._plan: StudyPlan | None = None
        self._said = 0.0
        self._shown: Table | None = None

    def __enter__(self) -> "StudyProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Ends the display."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def planned(self, plan: "StudyPlan") -> None:
        """Prints the plan."""
        self._plan = plan
        print_plan(plan, self.study, self.console)

    def calibrated(self, rows: Sequence[dict[str, str]], choices: "dict[str, Choice]") -> None:
        """Prints the calibration."""
        self.pause()
        print_calibration(rows, choices, self.console)

    def progressed(
        self, jobs: "Sequence[Job]", running: "Sequence[Job]", folder: "StudyFolder"
    ) -> None:
        """Shows how many runs are done, and the epochs of those under way."""
        table = progress_table(jobs, running, folder, self._left(jobs, folder))
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(table, console=self.console, refresh_per_second=2)
                self._live.start()
            self._live.update(table)
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            words = [
                f"{job.name} {folder.progress(job).epoch}/{job.config.epochs}" for job in running
            ]
            self.message(f"under way: {', '.join(words)}")

    def started(self, job: "Job", attempt: int) -> None:
        """Without a terminal, prints a line."""
        again = f", attempt {attempt}" if attempt > 1 else ""
        if not self.console.is_terminal:
            self.message(f"started: {job.stage.value}/{job.name}{again}")

    def ended(self, job: "Job", outcome: "Outcome", is_final: bool) -> None:
        """Prints a line, and the last lines of an error."""
        if outcome.kind == "finished":
            if not self.console.is_terminal:
                self.message(f"finished: {job.stage.value}/{job.name}")
            return
        self.message(
            f"{'failed' if is_final else 'failed, will be tried again'}: "
            f"{job.stage.value}/{job.name}"
        )
        for line in outcome.reason.splitlines()[-ERROR_LINES:]:
            self.message(f"  {line}")

    def message(self, text: str) -> None:
        """Prints a message."""
        self.console.print(literal(text), soft_wrap=True)

    def _left(self, jobs: "Sequence[Job]", folder: "StudyFolder") -> float:
        """Expected seconds until these runs are finished."""
        if self._plan is None:
            return float("nan")
        by_cell = {(cell.stage, cell.cell): cell.seconds for cell in self._plan.cells}
        states = [(job, folder.progress(job)) for job in jobs]
        ended = (State.FINISHED, State.DIVERGED)
        known: dict = {}
        for job, progress in states:
            if progress.state in ended:
                known.setdefault((job.stage, job.cell), []).append(progress.seconds)
        total = 0.0
        for job, progress in states:
            if progress.state in ended:
                continue
            times = known.get((job.stage, job.cell))
            seconds = sum(times) / len(times) if times else by_cell.get((job.stage, job.cell), 0.0)
            total += seconds * (1 - progress.epoch / job.config.epochs)
        return total / self._plan.workers


def progress_table(
    jobs: "Sequence[Job]", running: "Sequence[Job]", folder: "StudyFolder", left: float
) -> Table:
    """Runs done, failed and under way, the latter with their epochs."""
    counts = Counter(folder.progress(job).state for job in jobs)
    done = counts[State.FINISHED] + counts[State.DIVERGED]
    words = [f"{done} of {len(jobs)} {jobs[0].stage.value} done"]
    words += [f"{counts[State.FAILED]} failed"] if counts[State.FAILED] else []
    words += [f"{format_duration(left)} left"] if left == left else []
    table = Table.grid(padding=(0, 2))
    table.add_row(ProgressBar(len(jobs), done, width=24), ", ".join(words))
    for job in running:
        epoch = folder.progress(job).epoch
        table.add_row(
            ProgressBar(job.config.epochs, epoch, width=24),
            literal(f"{job.name}  epoch {epoch}/{job.config.epochs}"),
        )
    return table


def print_plan(plan: "StudyPlan", study: "Study", console: Console) -> None:
    """Prints what a study will take."""
    if study.about:
        console.print(literal(study.about.splitlines()[0]), soft_wrap=True)
    table = Table(title="Plan", title_justify="left")
    for name in ("stage", "cell"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "done", "epochs", "a run", "all runs"):
        table.add_column(name, justify="right")
    for cell in plan.cells:
        left = (cell.runs - cell.finished) * cell.seconds
        table.add_row(
            cell.stage.value,
            literal(cell.cell),
            str(cell.runs),
            str(cell.finished),
            str(cell.epochs),
            format_duration(cell.seconds),
            format_duration(left),
        )
    console.print(table)
    if plan.is_uncalibrated:
        chosen = "the learning rates"
        if study.calibration is not None and study.calibration.target_epochs is None:
            chosen += ", and the epochs of the runs, which are those of a calibration run here"
        console.print(f"The calibration has yet to choose {chosen}.", soft_wrap=True)
    together = f"{plan.workers} at a time" if plan.workers > 1 else "one at a time"
    device = f" on {plan.device}" if plan.device else ""
    remainder = (
        f"about {format_duration(plan.seconds)} and {format_bytes(plan.disk_bytes)} still to go. "
        "The time is without probes and analysis, unless runs of the cell are done."
    )
    if all(cell.finished == cell.runs for cell in plan.cells):
        remainder = "nothing is left to do."
    console.print(
        f"{study.out}: {plan.runs} runs, {together}{device}; {remainder}",
        soft_wrap=True,
        highlight=False,
    )
    extras = []
    if any(str(cell.get("dataset", "")).startswith("tfds:") for cell in study.cells.values()):
        extras.append("tfds for the data set")
    if plan.seconds > DAY and "cpu" in plan.device:
        extras.append("jax-cuda for an NVIDIA GPU, ray for several machines")
    if extras:
        console.print(f"Extras: {', '.join(extras)}.", soft_wrap=True)
    if plan.seconds > DAY and "cpu" in plan.device:
        console.print("This is too long for a CPU: run it on GPUs.", soft_wrap=True)


def print_calibration(
    rows: Sequence[dict[str, str]], choices: "dict[str, Choice]", console: Console
) -> None:
    """Prints the calibration, and what was chosen and why."""
    table = Table(title="Calibration", title_justify="left")
    table.add_column("cell", no_wrap=True)
    for name in ("learning rate", "perfect fit", "median", "best test", "within 25%", "chosen"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            literal(row["cell"]),
            row["learning_rate"],
            row["perfect_fit_epochs"],
            row["median_perfect_fit_epoch"],
            format_number(float(row["best_test_accuracy"]), 3),
            row["within_tolerance"],
            "yes" if row["chosen"] == "yes" else "",
        )
    console.print(table)
    target = next(iter(choices.values())).target
    if not math.isfinite(target):
        console.print(
            "No run of the calibration has a perfect fit, so no cell is comparable and the study "
            "has no runs. Calibrate with more epochs or other learning rates, in another folder.",
            soft_wrap=True,
        )
        return
    console.print(
        f"Common target of the epoch of perfect fit: {target:g}. Of each cell's learning rates "
        "within 25% of it, the one of the best test accuracy is used, for "
        f"{8 * target:g} epochs.",
        soft_wrap=True,
    )
    for cell, choice in choices.items():
        if choice.learning_rate is None:
            console.print(
                literal(
                    f"{cell}: not comparable, since no learning rate fits at about that epoch. "
                    "The study leaves it out."
                ),
                soft_wrap=True,
            )


def print_status(folder: "StudyFolder", jobs: "Mapping[int, Job]") -> None:
    """Prints the state of every run, from the folders alone.

    Args:
        folder: the folder of the study.
        jobs: its runs by their index.
    """
    console = Console()
    table = Table(title=title(f"Runs of {folder.path}"))
    table.add_column("index", justify="right")
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("epoch", justify="right")
    table.add_column("time", justify="right")
    counts: Counter[State] = Counter()
    failures: list[tuple[str, str]] = []
    for index, job in jobs.items():
        progress = folder.progress(job)
        counts[progress.state] += 1
        seconds = format_duration(progress.seconds) if progress.seconds == progress.seconds else ""
        table.add_row(
            str(index),
            literal(f"{job.stage.value}/{job.name}"),
            progress.state.value,
            f"{progress.epoch}/{job.config.epochs}",
            seconds,
        )
        if progress.reason:
            failures.append((job.name, progress.reason))
    console.print(table)
    console.print(", ".join(f"{counts[state]} {state.value}" for state in State if counts[state]))
    for name, reason in failures:
        console.print(Text(f"{visible(name)}: {visible(reason, 300)}"), soft_wrap=True)


def print_presets() -> None:
    """Lists the studies that come with the package."""
    from repdyn_keras.study import load_study, preset_file, preset_names

    table = Table("preset", "about", show_lines=True)
    for name in preset_names():
        lines = load_study(preset_file(name)).about.splitlines()
        table.add_row(name, Text("\n").join(map(literal, lines)))
    Console().print(table)


def print_cells(comparison: "xarray.Dataset") -> None:
    """Prints how similar the runs of every two cells are, over seeds."""
    console = Console()
    pairs = list(zip(comparison["cell"].values, comparison["cell_other"].values, strict=True))
    for moment in comparison["moment"].values:
        table = Table(
            title=f"Similarity of runs at the {moment}",
            caption="mean ± deviation over pairs of runs",
        )
        table.add_column("cells", no_wrap=True)
        table.add_column("layer", no_wrap=True)
        for name in ("CKA", "regions: agreement", "kappa", "pairs"):
            table.add_column(name, justify="right")
        for index, (cell, other) in enumerate(pairs):
            part = comparison.isel(pair=index).sel(moment=moment)
            label = f"{cell}, other seeds" if cell == other else f"{cell} : {other}"
            for layer in comparison["layer"].values:
                values = part.sel(layer=layer)
                if not int(values["count"].max()):
                    continue
                numbers = [mean_and_deviation(values.sel(measure=each)) for each in MEASURES]
                table.add_row(
                    literal(label), literal(layer), *numbers, str(int(values["count"].max()))
                )
                label = ""
        console.print(table)
    if not int(comparison["count"].sel(measure="cka").max()):
        console.print(
            "CKA between runs needs their records, which --keep records keeps.", soft_wrap=True
        )
    for name, reason in json.loads(comparison.attrs["missing"]).items():
        console.print(literal(f"left out: {name}, {reason}"), soft_wrap=True)


def mean_and_deviation(values: "xarray.Dataset") -> str:
    """A mean and its deviation as text."""
    mean, deviation = float(values["mean"]), float(values["deviation"])
    spread = "" if deviation != deviation else f" ± {format_number(deviation)}"
    return f"{format_number(mean)}{spread}"

"""Calibration: the learning rate of every cell at which all cells fit at about the same epoch.

Trainings of different speed cannot be compared as they run. Of each cell's published grid of
learning rates, that of the best test accuracy is taken among those whose median epoch of perfect
fit, over the calibration seeds, is within 25% of a target that all cells share. If there is none,
the cell is not comparable.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from repdyn_keras.errors import InputError
from repdyn_keras.text import format_error

# Largest deviation of a median epoch of perfect fit from the target, relative to the target.
TOLERANCE = 0.25
COLUMNS = (
    "cell",
    "learning_rate",
    "perfect_fit_epochs",
    "median_perfect_fit_epoch",
    "best_test_accuracy",
    "target_epoch",
    "within_tolerance",
    "chosen",
)


@dataclass(frozen=True)
class Trial:
    """One calibration run.

    Attributes:
        cell: the label of its cell.
        learning_rate: its learning rate.
        seed: its seed.
        perfect_fit_epoch: epoch of the perfect fit; infinite if there was none.
        best_test_accuracy: largest test accuracy of its records; 0 if it diverged.
    """

    cell: str
    learning_rate: float
    seed: int
    perfect_fit_epoch: float
    best_test_accuracy: float


@dataclass(frozen=True)
class Rate:
    """The trials of one cell at one learning rate.

    Attributes:
        cell: the label of the cell.
        learning_rate: the learning rate.
        fits: epochs of perfect fit, one a seed; infinite if there was none.
        median_fit: their median.
        test_accuracy: best test accuracy, the mean over the seeds.
    """

    cell: str
    learning_rate: float
    fits: tuple[float, ...]
    median_fit: float
    test_accuracy: float

    def is_within(self, target: float) -> bool:
        """Whether the median is within 25% of the target."""
        return abs(self.median_fit / target - 1) <= TOLERANCE


@dataclass(frozen=True)
class Choice:
    """The result of the calibration of one cell.

    Attributes:
        learning_rate: the learning rate; None if the cell is not comparable.
        target: the common target of the epoch of perfect fit.
    """

    learning_rate: float | None
    target: float


def rates_of(trials: Sequence[Trial]) -> list[Rate]:
    """The trials, put together by cell and learning rate."""
    groups: dict[tuple[str, float], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.cell, trial.learning_rate), []).append(trial)
    rates = []
    for (cell, rate), group in groups.items():
        fits = tuple(t.perfect_fit_epoch for t in sorted(group, key=lambda t: t.seed))
        accuracy = mean(trial.best_test_accuracy for trial in group)
        rates.append(Rate(cell, rate, fits, median(fits), accuracy))
    return rates


def choose(rates: Sequence[Rate], target: float | None = None) -> dict[str, Choice]:
    """The learning rate of every cell.

    Args:
        rates: the trials of all cells by learning rate.
        target: the common target; None to choose a whole epoch: one that most cells can reach; of
            these, the one with the highest mean test accuracy of the learning rates chosen for it;
            of equal ones, that from which the medians of these rates deviate least; then the
            earliest.

    Returns:
        The choices by cell. If no rate of any cell has a perfect fit, no cell is comparable, and
        the target is NaN.
    """
    cells = list(dict.fromkeys(rate.cell for rate in rates))
    if target is None:
        target = max(_candidates(rates), key=lambda t: _merit(rates, cells, t), default=math.nan)
    chosen = {cell: _best(rates, cell, target) for cell in cells}
    return {
        cell: Choice(None if rate is None else rate.learning_rate, target)
        for cell, rate in chosen.items()
    }


def _candidates(rates: Sequence[Rate]) -> list[int]:
    """Ascending epochs that hold the best target.

    What a target reaches changes only where a median enters or leaves its neighbourhood. In
    between, the largest deviation is smallest halfway between two medians.
    """
    medians = {rate.median_fit for rate in rates if 0 < rate.median_fit < math.inf}
    places = [median / factor for median in medians for factor in (1 + TOLERANCE, 1 - TOLERANCE)]
    places += [(one + other) / 2 for one in medians for other in medians]
    found = {math.floor(place) + step for place in places for step in (0, 1, 2)}
    return sorted(epoch for epoch in found if epoch >= 1)


def _best(rates: Sequence[Rate], cell: str, target: float) -> Rate | None:
    within = [rate for rate in rates if rate.cell == cell and rate.is_within(target)]
    return max(within, key=lambda rate: rate.test_accuracy, default=None)


def _merit(rates: Sequence[Rate], cells: Sequence[str], target: float) -> tuple[int, float, float]:
    found = [rate for cell in cells if (rate := _best(rates, cell, target)) is not None]
    if not found:
        return 0, 0.0, 0.0
    deviation = max(abs(rate.median_fit / target - 1) for rate in found)
    return len(found), mean(rate.test_accuracy for rate in found), -deviation


def as_table(rates: Sequence[Rate], choices: Mapping[str, Choice]) -> list[dict[str, str]]:
    """The rows of `calibration.csv`: every learning rate of every cell, and which was chosen."""
    return [
        {
            "cell": rate.cell,
            "learning_rate": exact(rate.learning_rate),
            "perfect_fit_epochs": " ".join(map(exact, rate.fits)),
            "median_perfect_fit_epoch": exact(rate.median_fit),
            "best_test_accuracy": f"{rate.test_accuracy:.4f}",
            "target_epoch": exact(choices[rate.cell].target),
            "within_tolerance": "yes" if rate.is_within(choices[rate.cell].target) else "no",
            "chosen": "yes" if choices[rate.cell].learning_rate == rate.learning_rate else "no",
        }
        for rate in rates
    ]


def exact(number: float) -> str:
    """The shortest text that reads as the number: a run is found again by its learning rate."""
    text = f"{number:g}"
    return text if float(text) == number else repr(float(number))


def as_csv_text(rows: Sequence[Mapping[str, str]]) -> str:
    """The text of `calibration.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def choices_in(text: str) -> dict[str, Choice]:
    """The choices that a `calibration.csv` holds, by cell.

    Raises:
        InputError: the text is not that of such a file.
    """
    choices: dict[str, Choice] = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            target = float(row["target_epoch"])
            if row["chosen"] == "yes":
                choices[row["cell"]] = Choice(float(row["learning_rate"]), target)
            else:
                choices.setdefault(row["cell"], Choice(None, target))
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise damaged(format_error(error)) from None
    if not choices:
        raise damaged("a file without rows")
    return choices


def damaged(reason: str) -> InputError:
    """The error for a `calibration.csv` that cannot be used."""
    return InputError(
        "The calibration of the study is damaged. Expected a calibration.csv with a row for every "
        f"learning rate of every cell. Received: {reason}. Restore the file, or remove it to have "
        "it made anew from the runs of the calibration."
    )

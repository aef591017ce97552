"""The calibration of a study, from the folders of its runs and `calibration.csv`."""

import math

from repdyn_keras.errors import InputError
from repdyn_keras.records import atomic
from repdyn_keras.study.calibration import (
    Choice,
    Rate,
    Trial,
    as_csv_text,
    as_table,
    choices_in,
    choose,
    rates_of,
)
from repdyn_keras.study.grid import calibration_jobs, study_jobs
from repdyn_keras.study.study_file import EPOCHS_PER_TARGET, Study
from repdyn_keras.study.study_folder import ENDED, Job, StudyFolder, read_mark


def stored_choices(folder: StudyFolder) -> dict[str, Choice] | None:
    """The choices that `calibration.csv` holds, by cell; None if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not folder.calibration_file.is_file():
        return None
    return choices_in(folder.calibration_file.read_text("utf-8"))


def all_jobs(study: Study, folder: StudyFolder) -> tuple[list[Job], bool]:
    """All runs, and whether the calibration has yet to choose the epochs of some.

    As long as it has, every cell is listed with its first learning rate and the epochs that follow
    from the target, or with those of a calibration run.
    """
    plan, choices = study.calibration, stored_choices(folder)
    if plan is None or choices is not None:
        return study_jobs(study, choices or {}), False
    target = plan.target_epochs or plan.epochs / EPOCHS_PER_TARGET
    calibration = calibration_jobs(study)
    assumed = {
        label: Choice(
            next(job.config.learning_rate for job in calibration if job.cell == label), target
        )
        for label in study.cells
    }
    return calibration + study_jobs(study, assumed), True


def choices_of(study: Study, folder: StudyFolder) -> tuple[list[Rate], dict[str, Choice]]:
    """The trials of the calibration by learning rate, and the choice for every cell.

    The trials are empty if `calibration.csv` has the choices; both are, without a calibration.

    Raises:
        InputError: runs of the calibration are missing.
    """
    plan, choices = study.calibration, stored_choices(folder)
    if plan is None or choices is not None:
        return [], choices or {}
    jobs = calibration_jobs(study)
    unfinished = [
        index for index, job in enumerate(jobs) if folder.progress(job).state not in ENDED
    ]
    if unfinished:
        first = unfinished[0]
        raise InputError(
            f"The calibration is not complete. Expected {len(jobs)} finished runs, of index 0 to "
            f"{len(jobs) - 1}. Received: {len(jobs) - len(unfinished)}; the first missing one has "
            f"index {first}, {jobs[first].name}. Run them first; see {folder.logs} for failed ones."
        )
    rates = rates_of([trial_of(folder, job) for job in jobs])
    return rates, choose(rates, plan.target_epochs)


def calibrate(study: Study, folder: StudyFolder) -> tuple[list[dict[str, str]], dict[str, Choice]]:
    """Writes `calibration.csv` when all runs of the calibration are finished.

    Returns:
        Its rows, empty if it was there already or is not needed; and the choices by cell.

    Raises:
        InputError: runs of the calibration are missing.
    """
    rates, choices = choices_of(study, folder)
    rows = as_table(rates, choices)
    if rows:
        atomic.write_bytes(folder.calibration_file, as_csv_text(rows).encode("utf-8"))
    return rows, choices


def trial_of(folder: StudyFolder, job: Job) -> Trial:
    """The result of a finished calibration run; one that diverged has no perfect fit."""
    mark = read_mark(folder.run_folder(job)) or {}
    # It may have had a perfect fit before it diverged.
    numbers = {} if "diverged" in mark else mark
    return Trial(
        job.cell,
        job.config.learning_rate,
        job.config.seed,
        float(numbers.get("perfect_fit_epoch", math.inf)),
        float(numbers.get("best_test_accuracy", 0.0)),
    )

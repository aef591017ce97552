"""The runs of a study, in the order in which they are started."""

from collections import Counter

from repdyn_keras.errors import InputError
from repdyn_keras.study.calibration import Choice, damaged
from repdyn_keras.study.study_file import EPOCHS_PER_TARGET, Study, run_config
from repdyn_keras.study.study_folder import Job, Stage
from repdyn_keras.text import quoted


def calibration_jobs(study: Study) -> list[Job]:
    """The runs of the calibration: every cell at every learning rate of its optimizer and seed.

    They have no regions and no early records: only the epochs count at which the accuracy is
    measured.
    """
    if study.calibration is None:
        return []
    plan = study.calibration
    jobs = []
    for seed in plan.seeds:
        for label, cell in study.cells.items():
            optimizer = run_config(cell, seed).optimizer
            for rate in plan.learning_rates[optimizer]:
                chosen = {"learning_rate": rate, "epochs": plan.epochs}
                chosen |= {"planes": 0, "early_records": 0}
                jobs.append(Job(Stage.CALIBRATION, label, run_config(cell, seed, **chosen)))
    return jobs


def study_jobs(study: Study, choices: dict[str, Choice]) -> list[Job]:
    """The runs of the study: all cells of the first seed, then of the next.

    Args:
        study: the study.
        choices: the results of the calibration by cell; empty without one. Cells that are not
            comparable have no runs.

    Raises:
        InputError: two runs are equal, or the calibration lacks a cell.
    """
    jobs = []
    for seed in study.seeds:
        for label, cell in study.cells.items():
            chosen: dict[str, object] = {"keep_weights": True} if study.recalibrate else {}
            if study.calibration is not None:
                choice = choices.get(label)
                if choice is None:
                    raise damaged(f"none of the cell {quoted(label)}")
                if choice.learning_rate is None:
                    continue
                chosen |= {
                    "learning_rate": choice.learning_rate,
                    "epochs": round(EPOCHS_PER_TARGET * choice.target),
                }
            jobs.append(Job(Stage.RUNS, label, run_config(cell, seed, **chosen)))
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            raise InputError(
                f"Expected different runs. Received: two equal ones, {name}. Remove one of the "
                "cells."
            )
    return jobs

"""The indices of a study's runs, as in a SLURM job array."""

from repdyn_keras.errors import InputError
from repdyn_keras.study.calibration_stage import all_jobs, choices_of
from repdyn_keras.study.grid import calibration_jobs, study_jobs
from repdyn_keras.study.study_file import Study
from repdyn_keras.study.study_folder import Job, Stage, StudyFolder
from repdyn_keras.text import quoted


def runs_by_index(study: Study, folder: StudyFolder) -> dict[int, Job]:
    """The runs by their index, which is always the same.

    The runs of the calibration come first, then a place for every seed and cell: all cells of the
    first seed, then of the next. Seeds that are added at the end change no index. Cells that are
    not comparable have places without a run. As long as the calibration is not complete, the runs
    of the study are listed with an assumed learning rate.
    """
    calibration = calibration_jobs(study)
    jobs = dict(enumerate(calibration))
    places = [(seed, label) for seed in study.seeds for label in study.cells]
    indices = {place: index for index, place in enumerate(places, start=len(calibration))}
    try:
        runs = study_jobs(study, choices_of(study, folder)[1])
    except InputError:
        runs = all_jobs(study, folder)[0]
    for job in runs:
        if job.stage is Stage.RUNS:
            jobs[indices[job.config.seed, job.cell]] = job
    return jobs


def run_of_index(study: Study, folder: StudyFolder, index: int) -> Job | None:
    """The run of an index; None if its cell is not comparable.

    Raises:
        InputError: there is no such index; or it is that of a run whose learning rate the
            calibration has yet to choose.
    """
    calibration = calibration_jobs(study)
    count = len(calibration) + len(study.seeds) * len(study.cells)
    if not 0 <= index < count:
        raise InputError(
            f"Expected --run INDEX from 0 to {count - 1}. Received: {quoted(index)}. --status "
            "lists the runs with their indices."
        )
    if index < len(calibration):
        return calibration[index]
    # Only `repdyn study` writes the result of the calibration. Until then, every process finds it.
    choices = choices_of(study, folder)[1]
    seed, cell = divmod(index - len(calibration), len(study.cells))
    wanted = study.seeds[seed], list(study.cells)[cell]
    jobs = study_jobs(study, choices)
    return next((job for job in jobs if (job.config.seed, job.cell) == wanted), None)

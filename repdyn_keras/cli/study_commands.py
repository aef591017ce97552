"""`repdyn study`: a grid of runs over seeds."""

import math
import signal
from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.cli import options
from repdyn_keras.errors import InputError, Interrupted

# More runs than this need --yes.
MAX_UNASKED_RUNS = 200


def study(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY.toml]", help="File that describes the study."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A study that comes with the package."),
    ] = None,
    presets: Annotated[
        bool, typer.Option("--presets", help="List the studies that come with the package.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of the study; default: studies/NAME."),
    ] = None,
    set_: options.Set = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Allow a network of the file that is code; can be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Runs at a time; each has its share of the cores.")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS", help="Run on a Ray cluster, which shares the folder."
        ),
    ] = None,
    cpus_per_run: Annotated[
        float, typer.Option(metavar="N", help="With --ray: CPUs of a run.")
    ] = 1,
    gpus_per_run: Annotated[
        float, typer.Option(metavar="N", help="With --ray: GPUs of a run; may be a fraction.")
    ] = 0,
    run: Annotated[
        int | None,
        typer.Option(
            metavar="INDEX", help="Only do the run of this index, as in a SLURM job array."
        ),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="List the runs, from the folders alone.")
    ] = False,
    keep: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="What of a finished run stays beside its configuration, history and summary: "
            "dynamics, records (and dynamics), or all.",
        ),
    ] = "dynamics",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Start more than 200 runs.")] = False,
) -> None:
    """Run a grid of trainings over seeds, and summarize them.

    A list in any key of STUDY.toml makes a grid. Started again, a study continues.
    """
    from repdyn_keras.cli import study_printing
    from repdyn_keras.study import load_study, preset_file
    from repdyn_keras.study.calibration_stage import all_jobs
    from repdyn_keras.study.run_index import runs_by_index
    from repdyn_keras.study.study_folder import StudyFolder

    if presets:
        study_printing.print_presets()
        return
    if (file is None) == (preset is None):
        received = "nothing" if file is None else "both"
        raise InputError(
            "Expected STUDY.toml or --preset NAME. Received: "
            f"{received}. `repdyn study --presets` lists the presets."
        )
    check_options(keep, workers, cpus_per_run, gpus_per_run)
    source = Path(file) if file is not None else preset_file(str(preset))
    described = load_study(source, set_ or [], out=out, trusted=tuple(model or ()))
    folder = StudyFolder(described.out)
    if status:
        folder.check(described)
        study_printing.print_status(folder, runs_by_index(described, folder))
        return
    if run is not None:
        if dry_run or ray is not None:
            raise InputError(
                "Expected --run INDEX without --dry-run and --ray: it does one run, here and now. "
                f"Received: --run {run} with {'--dry-run' if dry_run else '--ray'}."
            )
        do_one_run(described, folder, run, keep)
        return
    jobs, _ = all_jobs(described, folder)
    if len(jobs) > MAX_UNASKED_RUNS and not yes and not dry_run:
        raise InputError(
            f"Expected --yes to start more than {MAX_UNASKED_RUNS} runs. Received: a study of "
            f"{len(jobs)}. See the plan with --dry-run."
        )
    drive(described, workers, ray, (cpus_per_run, gpus_per_run), keep, dry_run)


def check_options(keep: str, workers: int, cpus: float, gpus: float) -> None:
    """Raises InputError for values that the options cannot have."""
    from repdyn_keras.errors import unknown
    from repdyn_keras.study.single_run import KEEP

    if keep not in KEEP:
        raise unknown("value of --keep", keep, KEEP)
    if not 1 <= workers <= 1000:
        raise InputError(f"Expected --workers from 1 to 1000. Received: {workers}.")
    if not (0 < cpus < math.inf and 0 <= gpus < math.inf):
        raise InputError(
            "Expected --cpus-per-run above 0 and --gpus-per-run of at least 0. Received: "
            f"{cpus:g} and {gpus:g}."
        )


def drive(described, workers: int, ray: str | None, resources, keep: str, dry_run: bool) -> None:
    """Runs a study and shows its progress."""
    from repdyn_keras.cli.study_printing import StudyProgress
    from repdyn_keras.study import run_study
    from repdyn_keras.study.local_workers import LocalWorkers
    from repdyn_keras.study.outcomes import Executor

    # As for Ctrl-C: runs under way save their state.
    signal.signal(signal.SIGTERM, _interrupt)
    local = LocalWorkers(1 if ray is not None else workers)
    executor: Executor = local
    try:
        if ray is not None and not dry_run:
            from repdyn_keras.study.ray_tasks import RayTasks

            tasks = RayTasks(ray, *resources)
            executor, workers = tasks, tasks.capacity()
        with StudyProgress(described) as progress:
            try:
                is_complete = run_study(
                    described,
                    executor,
                    local.ask,
                    workers=workers,
                    keep=keep,
                    watcher=progress,
                    dry_run=dry_run,
                )
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    "interrupted; finished runs are kept, and runs under way continue from their "
                    "last checkpoint. To continue, start the study again.",
                    getattr(stop, "signal", signal.SIGINT),
                ) from None
    finally:
        executor.close()
        local.close()
    if not dry_run and not is_complete:
        raise typer.Exit(1)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted("interrupted", number)


def do_one_run(described, folder, index: int, keep: str) -> None:
    """Does the run of an index in this process; other processes may do others."""
    from repdyn_keras.experiment.live_progress import LiveProgress
    from repdyn_keras.study.run_index import run_of_index
    from repdyn_keras.study.single_run import run_one

    job = run_of_index(described, folder, index)
    if job is None:
        print(f"{index}: the calibration found its cell not comparable, so it has no run.")
        return
    folder.join(described)
    with LiveProgress() as progress:
        run_one(folder.prepare(job), keep, progress)
    print(folder.run_folder(job).path)

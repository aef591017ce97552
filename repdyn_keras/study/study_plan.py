"""What a study will take: its runs, its time and its disk space, estimated from one run a cell."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repdyn_keras.config import resolve
from repdyn_keras.config.keys import Config
from repdyn_keras.errors import InputError
from repdyn_keras.study.calibration_stage import all_jobs
from repdyn_keras.study.study_file import Study
from repdyn_keras.study.study_folder import ENDED, Job, Stage, StudyFolder

# A run that fails, or a pass that cannot be timed, is tried so often in all.
MAX_ATTEMPTS = 3
# Keys that do not change what a run costs.
SAME_COST = (
    "optimizer",
    "learning_rate",
    "schedule",
    "momentum",
    "weight_decay",
    "label_noise",
    "seed",
    "data_seed",
)
PROCESS_DIED = (
    "Expected a network that fits into memory. Received: the process that builds it was killed, "
    f"{MAX_ATTEMPTS} times."
)
# Bytes of the configuration, the history, the summary and the log of a run.
SMALL_FILES = 300_000


@dataclass(frozen=True)
class CellPlan:
    """The runs of one cell in one stage.

    Attributes:
        stage: what they are for.
        cell: its label.
        runs: number of runs.
        finished: how many of them are finished.
        epochs: training epochs of a run.
        seconds: expected seconds of a run.
        peak_bytes: disk space of a run under way.
        kept_bytes: disk space of a finished run.
    """

    stage: Stage
    cell: str
    runs: int
    finished: int
    epochs: int
    seconds: float
    peak_bytes: int
    kept_bytes: int


@dataclass(frozen=True)
class StudyPlan:
    """What a study will take.

    Attributes:
        cells: its cells, those of the calibration first.
        workers: number of runs at a time.
        device: what the network runs on.
        is_uncalibrated: whether the calibration has yet to choose the epochs of the runs, for which
            those of a calibration run are assumed.
    """

    cells: list[CellPlan]
    workers: int
    device: str = ""
    is_uncalibrated: bool = False

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(cell.runs for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Expected seconds until the end."""
        total = sum((cell.runs - cell.finished) * cell.seconds for cell in self.cells)
        return total / self.workers

    @property
    def disk_bytes(self) -> int:
        """Disk space that is still needed: what stays of the runs, and those under way."""
        kept = sum((cell.runs - cell.finished) * cell.kept_bytes for cell in self.cells)
        return kept + self.workers * max((cell.peak_bytes for cell in self.cells), default=0)


def timed_costs(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The costs of one run, by a few timed passes of its network.

    Args:
        keys: the keys of its configuration.

    Returns:
        `seconds` of training and recording, without probes and analysis; `peak_bytes` and
        `dynamics_bytes` on disk; `device`.

    Raises:
        InputError: the configuration or the data cannot be used.
    """
    from repdyn_keras.experiment import run

    config = resolve(Config(**keys))
    plan = run(config, dry_run=True)
    # It imports Keras, so it is imported when the backend has been selected.
    from repdyn_keras.experiment.plan import device_name, dynamics_bytes

    points = config.plane_count * config.resolution**2
    points += min(config.plane_count, config.drawn_planes) * config.drawn_resolution**2
    kept = dynamics_bytes(len(plan.layers), len(plan.epochs), points)
    return {
        "seconds": plan.seconds,
        "peak_bytes": plan.disk_bytes,
        "dynamics_bytes": kept,
        "device": device_name(),
    }


def plan_cells(
    folder: StudyFolder,
    jobs: Sequence[Job],
    costs: Mapping[tuple[Stage, str], Mapping[str, Any]],
    keep: str,
) -> list[CellPlan]:
    """The plan of every cell and stage.

    The time of a run is that of the cell's finished runs, if there are any.

    Args:
        folder: the folder of the study.
        jobs: its runs.
        costs: the result of `timed_costs` by stage and cell; cells without one are finished.
        keep: what of a finished run stays.
    """
    groups: dict[tuple[Stage, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.stage, job.cell), []).append(job)
    plans = []
    for (stage, cell), group in groups.items():
        states = [folder.progress(job) for job in group]
        ended = [each for each in states if each.state in ENDED]
        known = [each.seconds for each in ended if math.isfinite(each.seconds)]
        cost = costs.get((stage, cell), {})
        seconds = sum(known) / len(known) if known else float(cost.get("seconds", 0))
        peak = int(cost.get("peak_bytes", 0))
        dynamics = int(cost.get("dynamics_bytes", 0)) if stage is Stage.RUNS else 0
        kept = dynamics + SMALL_FILES if keep == "dynamics" or stage is not Stage.RUNS else peak
        plans.append(
            CellPlan(
                stage, cell, len(group), len(ended), group[0].config.epochs, seconds, peak, kept
            )
        )
    return plans


def make_plan(
    study: Study,
    folder: StudyFolder,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    workers: int,
    keep: str,
) -> StudyPlan:
    """The plan of a study. A run of each cell with unfinished runs is timed in another process.

    Raises:
        InputError: a cell cannot be run.
    """
    jobs, is_uncalibrated = all_jobs(study, folder)
    costs: dict[tuple[Stage, str], dict[str, Any]] = {}
    timed: dict[str, dict[str, Any]] = {}
    for job in jobs:
        key = job.stage, job.cell
        if key in costs or folder.progress(job).state in ENDED:
            continue
        like = repr({k: v for k, v in vars(job.config).items() if k not in SAME_COST})
        if like not in timed:
            # An empty answer means that the process was killed.
            answers = (ask({"plan": vars(job.config)}) for _ in range(MAX_ATTEMPTS))
            timed[like] = next(filter(None, answers), {"error": PROCESS_DIED})
        if "error" in timed[like]:
            raise InputError(
                "The study cannot be run. Expected cells without errors. Received: the cell "
                f"{job.cell}, with the error: {timed[like]['error']}"
            )
        costs[key] = timed[like]
    cells = plan_cells(folder, jobs, costs, keep)
    device = next((str(cost["device"]) for cost in costs.values()), "")
    return StudyPlan(cells, workers, device, is_uncalibrated)

"""What a study will take: its runs, its time and its disk space, estimated from one run a cell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repdyn_keras.config import resolve
from repdyn_keras.config.keys import Config
from repdyn_keras.study.study_folder import Job, Stage, State, StudyFolder

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

    points = config.planes * config.resolution**2
    points += min(config.planes, config.drawn_planes) * config.drawn_resolution**2
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
        ended = [each for each in states if each.state in (State.FINISHED, State.DIVERGED)]
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

"""How runs of a study end, and the executors that bring them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """A run for an executor.

    Attributes:
        path: the folder of the run.
        keep: what of the finished run stays.
        log: the file of its log.
        backend: its Keras backend; a process can use only one.
    """

    path: str
    keep: str
    log: str
    backend: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        path: the folder of the run.
        kind: "finished"; "failed"; "storage", if the disk is full, cannot be written to, or is not
            shared with the machine of the run; "interrupted", if a signal stopped it; or "lost", if
            its process or machine died.
        reason: the error, or the signal.
    """

    path: str
    kind: str = "finished"
    reason: str = ""


class Executor(Protocol):
    """Something that runs `run_one` elsewhere."""

    def free(self) -> int:
        """How many more runs it takes now."""

    def start(self, request: Request) -> None:
        """Starts a run."""

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """The runs that ended; waits for the first one for some seconds."""

    def stop(self) -> None:
        """Stops the runs under way, at their next checkpoint if that is near."""

    def close(self) -> None:
        """Ends what it has started."""

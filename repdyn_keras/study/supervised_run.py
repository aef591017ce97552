"""A run in a process of its own, supervised by a task of a Ray cluster.

The task itself stays small and loads no backend, whatever the run does: compiled programs and GPU
memory go with the process of the run, and Ray's own log files are left alone.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import RunFolder, atomic
from repdyn_keras.study.local_workers import LocalWorkers
from repdyn_keras.study.outcomes import Outcome, Request
from repdyn_keras.study.study_folder import wait_for

# Seconds for which the lock of a run is waited for: a file server frees the locks of a machine that
# died after a while.
LOCK_WITHIN = 120.0
# Seconds between two moments at which a cancelled task notices it.
POLL = 0.5


def supervised_run(
    request: Request, cores: int, folder: str, variables: Mapping[str, str]
) -> Outcome:
    """Brings a run to its end in a process of its own; returns how it ended.

    The process is bound to cores that no other supervised run of this machine has, and ends when
    this one does. If the task is cancelled, the process gets SIGTERM, and the run saves its state
    at the end of the epoch if that is near.

    Args:
        request: the run; its paths are absolute.
        cores: number of cores; 0 to bind the process to none.
        folder: the working folder, from which relative paths of the configuration are read. It is
            used if this machine has it.
        variables: environment variables of the process.
    """
    try:
        wait_until_free(Path(request.path))
    except InputError as error:
        return Outcome(request.path, "storage", f"On {socket.gethostname()}: {error}")
    except StorageError as error:
        return Outcome(request.path, "storage", str(error))
    with suppress(OSError):
        os.chdir(folder)
    os.environ.update(variables)
    with bound_to(cores):
        workers = LocalWorkers(1)
        try:
            workers.start(request)
            while not (outcomes := workers.wait(POLL)):
                pass
        except KeyboardInterrupt:
            workers.stop()
            return Outcome(request.path, "interrupted", "the task was cancelled")
        finally:
            workers.close()
    outcome = outcomes[0]
    # A machine that shuts down must not stop the study: the run continues on another one.
    return replace(outcome, kind="lost") if outcome.kind == "interrupted" else outcome


def wait_until_free(path: Path) -> None:
    """Waits until a run is visible on this machine, and no other process writes to it.

    A process on a node that Ray believes to be dead may go on for a while.

    Raises:
        InputError: the folder is not visible here, or a process still writes to it.
        StorageError: the folder is not writable.
    """
    wait_for(RunFolder(path).config_file)
    atomic.acquire_lock(path, LOCK_WITHIN)
    atomic.release_lock(path)


@contextmanager
def bound_to(count: int) -> Iterator[None]:
    """Binds this thread, and processes started inside the block, to some cores.

    Nothing is bound if the system cannot do that, or if so many cores are not free.
    """
    if count == 0 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with ExitStack() as reserved:
        cores: list[int] = []
        for core in sorted(before):
            if len(cores) < count and (place := reservation(core)) is not None:
                reserved.enter_context(place)
                cores.append(core)
        if len(cores) < count:
            reserved.close()
        else:
            os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def reservation(core: int) -> socket.socket | None:
    """Reserves a core until it is closed or this process ends; None if another process has it.

    It is a name among the system's sockets, which needs no file and outlives no process.
    """
    place = socket.socket(socket.AF_UNIX)
    try:
        place.bind(f"\0repdyn-keras core {core}")
    except OSError:
        place.close()
        return None
    return place

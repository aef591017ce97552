"""One writer a run folder."""

import os
import socket
import time
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import refuse_link, storage, with_no_trace

LOCK, OWNER = ".lock", ".owner"
# The locks that this process has taken, by folder: each object of filelock holds one of its own.
TAKEN: dict = {}


class FolderLock:
    """The right to write to a folder, held by one process at a time.

    The operating system holds it, so that it ends with the process, however that ends. Inside a
    process it may be taken more than once. The file `.owner` beside it says who has it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def acquire(self) -> None:
        """Takes the lock; raises InputError where another process has it."""
        from filelock import FileLock, Timeout

        with storage(self.folder / LOCK):
            self.folder.mkdir(parents=True, exist_ok=True)
            key = self.folder.resolve()
            for name in (LOCK, OWNER):
                refuse_link(key / name)
            lock = TAKEN.get(key) or FileLock(key / LOCK, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"Another process writes to {self.folder} ({self.owner()}). Expected one at a "
                    "time: wait until it is done, or stop it."
                ) from None
            if key not in TAKEN:
                TAKEN[key] = lock
                text = f"pid {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n"
                try:
                    (self.folder / OWNER).write_text(text, encoding="utf-8")
                except OSError:
                    self.release()
                    raise

    def release(self) -> None:
        """Gives the lock back."""
        key = self.folder.resolve()
        lock = TAKEN[key]
        if lock.lock_counter == 1:
            with_no_trace(self.folder / OWNER)
            del TAKEN[key]
        lock.release()

    def owner(self) -> str:
        """Who has the lock, in words."""
        try:
            return (self.folder / OWNER).read_text(encoding="utf-8").strip()[:200]
        except (OSError, UnicodeDecodeError):
            return "an unknown one"

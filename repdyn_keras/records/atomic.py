"""Atomic writes, disk errors, and the lock of a folder."""

import errno
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.text import format_bytes

if TYPE_CHECKING:
    from filelock import BaseFileLock

PARTIAL = ".part"
LOCK, OWNER = ".lock", ".owner"
# Errors of the disk or the location. Any other OSError is a bug.
DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file size limit of the system",
    errno.EROFS: "a read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "an input/output error of the disk",
}
# Errors of a path that cannot be that of a folder.
PATH_ERRORS = {
    errno.EEXIST: "a file, or a broken link, of this name",
    errno.ENOTDIR: "a path that leads through a file",
    errno.ENOENT: "a path in which no folder can be created",
    errno.ENAMETOOLONG: "a name that is too long",
}
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# The locks that this process holds, by folder. A second FileLock object would be another lock.
HELD_LOCKS: "dict[Path, BaseFileLock]" = {}
# Several threads of a process may acquire and release locks.
HELD_LOCKS_GUARD = threading.RLock()


@contextmanager
def replacing(
    path: Path,
    suffix: str = PARTIAL,
    *,
    size: int = 0,
    before_replace: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Yields a temporary path; its file replaces `path` if the block raises no error.

    The file and its folder are fsynced, so that after a crash `path` is either the old or the new
    file.

    Args:
        path: the file to write.
        suffix: suffix of the temporary name, for writers that require one.
        size: size of the new file in bytes, for the error message; 0 if unknown.
        before_replace: called with the temporary path after the fsync and before the rename.

    Raises:
        StorageError: the disk is full, or the location is not writable. `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        with storage_errors(path, size):
            # A file of this name may be a link that another process created.
            temporary.unlink(missing_ok=True)
            yield temporary
            sync(temporary)
            if before_replace is not None:
                before_replace(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        # An error here would hide the error that is being raised.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(
    path: Path, data: bytes, *, before_replace: Callable[[Path], None] | None = None
) -> None:
    """Writes a file atomically; arguments and errors as for `replacing`."""
    require_free_space(path, len(data))
    with replacing(path, size=len(data), before_replace=before_replace) as temporary:
        with temporary.open("xb") as file:
            file.write(data)


def append_bytes(path: Path, data: bytes, end: int) -> None:
    """Appends all of `data`, or nothing, to a file of `end` bytes, and fsyncs it.

    Raises:
        OSError: the data cannot be written. The file is unchanged.
    """
    # A buffered file would try again to write the rest when it is closed.
    with path.open("ab", buffering=0) as file:
        try:
            rest = data
            while rest:  # a nearly full disk writes only a part
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise


def sync(path: Path) -> None:
    """Fsyncs a file, or the entries of a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_state(path: Path) -> tuple[int, int, int]:
    """Modification time, size and inode of a file, which change if it is written or replaced."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino


# Disk errors.


@contextmanager
def storage_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turns disk errors inside the block into a StorageError that names the path.

    Args:
        path: the file or folder that is written.
        size: size of the new file in bytes; 0 if unknown.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise storage_error(path, error.errno, size) from None


def storage_error(path: Path, number: int, size: int = 0) -> StorageError:
    """The error for a file that cannot be written; `number` is the `errno` of the OSError."""
    expected, received = "a writable location", DISK_ERRORS[number]
    remedy = "Files written before are intact."
    if number in NO_SPACE:
        expected = f"{format_bytes(size)} of free space" if size else "free space"
        received += f", {format_bytes(free_bytes(path.parent))} free"
        remedy += " Free some space and continue."
    return StorageError(f"Cannot write {path}. Expected {expected}. Received: {received}. {remedy}")


def require_free_space(path: Path, size: int) -> None:
    """Raises StorageError unless the disk has space for `size` more bytes at `path`."""
    if size > free_bytes(path.parent):
        raise storage_error(path, errno.ENOSPC, size)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, or of its nearest existing parent."""
    folder = Path(folder).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def reject_link(path: Path) -> None:
    """Raises StorageError if a file to be written in place is a symbolic link."""
    if path.is_symlink():
        raise StorageError(
            f"Cannot write {path}. Expected a regular file of the run folder. Received: a "
            "symbolic link, which is not followed. Remove it."
        )


# One writer per folder.


def acquire_lock(folder: Path, seconds: float = 0.0) -> None:
    """Locks a folder for writing by this process; creates the folder if necessary.

    The operating system holds the lock and releases it when the process ends, even if it is killed.
    The same process may acquire the lock repeatedly. The file `.owner` names the process.

    Args:
        folder: the folder.
        seconds: how long to wait for another process to release the lock.

    Raises:
        InputError: another process holds the lock, or the path cannot be that of a folder.
        StorageError: the folder is not writable.
    """
    from filelock import FileLock, Timeout

    with storage_errors(folder / LOCK), HELD_LOCKS_GUARD:
        make_folder(folder)
        key = folder.resolve()
        for name in (LOCK, OWNER):
            reject_link(key / name)
        lock = HELD_LOCKS.get(key) or FileLock(key / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise InputError(
                f"Another process writes to {folder}. Expected one writer at a time. Received: a "
                f"lock held by {lock_owner(folder)}. Wait until that process ends, or stop it."
            ) from None
        if key not in HELD_LOCKS:
            HELD_LOCKS[key] = lock
            text = f"pid {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n"
            try:
                (folder / OWNER).write_text(text, encoding="utf-8")
            except OSError:
                release_lock(folder)
                raise


def make_folder(path: Path) -> None:
    """Creates a folder and those that contain it, unless they exist.

    Raises:
        InputError: the path cannot be that of a folder.
        StorageError: the location is not writable.
    """
    with storage_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in PATH_ERRORS:
                raise
            raise InputError(
                f"Cannot create the folder {path}. Expected a folder, or the path of a new one. "
                f"Received: {PATH_ERRORS[error.errno]}. Choose another path."
            ) from None


def release_lock(folder: Path) -> None:
    """Releases a lock once. After the last release, other processes can acquire it."""
    key = folder.resolve()
    with HELD_LOCKS_GUARD:
        lock = HELD_LOCKS[key]
        if lock.lock_counter == 1:
            with suppress(OSError):
                (folder / OWNER).unlink(missing_ok=True)
            del HELD_LOCKS[key]
        lock.release()


def lock_owner(folder: Path) -> str:
    """The process that holds the lock, as written in `.owner`."""
    try:
        return (folder / OWNER).read_text(encoding="utf-8").strip()[:200]
    except (OSError, UnicodeDecodeError):
        return "an unknown process"

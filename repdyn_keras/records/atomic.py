"""Files that are written whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repdyn_keras.errors import StorageError

HALF_WRITTEN = ".part"
# Errors of the place that is written to, not of what is written.
OF_THE_PLACE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EROFS: "it lies on a read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def whole_file(
    path: Path,
    ending: str = HALF_WRITTEN,
    *,
    size: int = 0,
    sealed: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it once the block ends without an error.

    The file and its folder are fsynced, so that after a crash `path` is the old file or the new.

    Args:
        path: the file to write.
        ending: how the temporary name ends, for writers that look at it.
        size: its bytes, for the error; 0 where they are not known.
        sealed: called with the temporary file once it is on the disk, before it replaces `path`.

    Raises:
        StorageError: the disk is full, or the place cannot be written to; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{ending}")
    try:
        with storage(path, size):
            # What another process left under this name is not written into: it may be a link.
            temporary.unlink(missing_ok=True)
            yield temporary
            sync(temporary)
            if sealed is not None:
                sealed(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        with_no_trace(temporary)


def with_no_trace(temporary: Path) -> None:
    """Removes a temporary file where that is possible; another error may be on its way."""
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        pass


@contextmanager
def storage(path: Path, size: int = 0) -> Iterator[None]:
    """Turns an error of the disk inside the block into a StorageError that names the path.

    Args:
        path: what is written.
        size: its bytes; 0 where they are not known.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in OF_THE_PLACE:
            raise
        raise storage_error(path, error.errno, size) from None


def storage_error(path: Path, number: int, size: int = 0) -> StorageError:
    """The error for a file that cannot be written."""
    reason = OF_THE_PLACE[number]
    if number not in FULL:
        return StorageError(
            f"Cannot write {path}: {reason}. Expected a folder that can be written to. What was "
            "written before is whole."
        )
    needed = f"It needs {megabytes(size)}, and" if size else "There"
    verb = "there are" if size else "are"
    free = free_bytes(path.parent)
    return StorageError(
        f"Cannot write {path}: {reason}. {needed} {verb} {megabytes(free)} free. What was written "
        "before is whole: make room and go on."
    )


def refuse_link(path: Path) -> None:
    """Raises StorageError where a file to be written into is a link, which may lead anywhere."""
    if path.is_symlink():
        raise StorageError(
            f"{path} is a link. Expected a file of the run itself: nothing is written through it."
        )


def require_room(path: Path, size: int) -> None:
    """Raises StorageError unless the disk has room for `size` more bytes at `path`."""
    if size > free_bytes(path.parent):
        raise storage_error(path, errno.ENOSPC, size)


def free_bytes(folder: Path) -> int:
    """Bytes that can be written to the disk of a folder, or of its nearest parent that exists."""
    folder = Path(folder).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def megabytes(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 1e6:,.1f} MB"


def sync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, *, sealed: Callable[[Path], None] | None = None) -> None:
    """Writes a file whole; raises StorageError as `whole_file` does."""
    require_room(path, len(data))
    with whole_file(path, size=len(data), sealed=sealed) as temporary:
        with temporary.open("xb") as file:
            file.write(data)


def append_bytes(path: Path, data: bytes, end: int) -> None:
    """Appends to a file of `end` bytes, whole or not at all, and waits until it is on the disk.

    Raises OSError where that fails; the file then is as it was.
    """
    # What a buffer could not write it would try to write again as it is closed.
    with path.open("ab", buffering=0) as file:
        try:
            rest = data
            while rest:  # a disk that is nearly full takes a part
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole."""
    write_bytes(path, text.encode("utf-8"))

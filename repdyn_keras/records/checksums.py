"""The checksums of a run folder's files, by which damage is told from data."""

import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import append_bytes, refuse_link, storage, sync

GONE = "-" * 64
# Of a file's size.
MOST_DIGITS = 20


@dataclass(frozen=True)
class Entry:
    """What a file held when it was written.

    Attributes:
        digest: SHA-256 of its bytes, or `GONE` where it was taken away on purpose.
        size: number of its bytes.
    """

    digest: str
    size: int


class Checksums:
    """The file `checksums.txt` of a run folder: a line for each file written, the newest last.

    A line stands before its file does, so that a file that is there and was written whole always
    has one; after a kill between the two the last line may be of a file that still is what its
    line before says, or is not there. Lines carry a checksum of their own.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "checksums.txt"
        self._read: tuple | None = None
        self._whole: dict[Path, tuple] = {}

    def announce(self, path: Path, digest: str, size: int) -> None:
        """Notes what a file is about to hold."""
        name = PurePosixPath(path.relative_to(self.folder)).as_posix()
        if "\n" in name:
            raise InputError(f"The file name {name!r} has more than one line. Expected one.")
        line = f"{digest} {size} {name}"
        text = f"{zlib.crc32(line.encode()):08x} {line}\n".encode()
        refuse_link(self.path)
        is_new = not self.path.exists()
        with storage(self.path, len(text)):
            end = 0 if is_new else whole_lines(self.path)
            if not is_new and self.path.stat().st_size != end:  # a line that a crash cut short
                os.truncate(self.path, end)
            append_bytes(self.path, text, end)
        if is_new:
            sync(self.folder)

    def announce_file(self, path: Path, temporary: Path) -> None:
        """Notes that `path` is about to become what `temporary` holds."""
        digest, size = digest_of(temporary)
        self.announce(path, digest, size)

    def forget(self, path: Path) -> None:
        """Notes that a file was taken away on purpose."""
        if self.of(path):
            self.announce(path, GONE, 0)

    def settle(self) -> None:
        """Makes the last line say what its file holds, where the writing of it did not end.

        Until then the line before counts, too; whoever writes another file calls this first.
        """
        entries, name, _ = self.read()
        if not name:
            return
        path, known = self.folder / name, entries[name]
        if not path.is_file():
            if known[-1].digest != GONE:
                self.announce(path, GONE, 0)
            return
        digest, size = digest_of(path)
        before = known[-2] if len(known) > 1 else None
        if digest != known[-1].digest and before == Entry(digest, size):
            self.announce(path, digest, size)

    def read(self) -> tuple[dict[str, list[Entry]], str, list[int]]:
        """Entries by file name, oldest first; the last line's name; and numbers of bad lines.

        A last line without its end is one that was being written, and no bad one.
        """
        try:
            state = self.path.stat()
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}, "", []
        key = (state.st_mtime_ns, state.st_size, state.st_ino)
        if self._read is None or self._read[0] != key:
            self._read = (key, parsed(data))
        return self._read[1]

    def of(self, path: Path) -> list[Entry]:
        """What a file may hold: its last entry, and the one before where that is the last line."""
        name = PurePosixPath(path.relative_to(self.folder)).as_posix()
        entries, last, _ = self.read()
        found = entries.get(name, [])
        return found[-2:] if name == last else found[-1:]

    def problem(self, path: Path) -> str:
        """What is wrong with a file's bytes, in words; empty where nothing is, or no entry is."""
        entries = [entry for entry in self.of(path) if entry.digest != GONE]
        if not entries:
            return ""
        state = path.stat()
        key = (state.st_mtime_ns, state.st_size, state.st_ino, tuple(entries))
        if self._whole.get(path) == key:
            return ""
        if not any(entry.size == state.st_size for entry in entries):
            sizes = " or ".join(f"{entry.size:,}" for entry in entries)
            return f"it has {state.st_size:,} bytes, and {sizes} were written"
        digest, _ = digest_of(path)
        if not any(entry.digest == digest for entry in entries):
            return "its bytes are not those that were written"
        self._whole[path] = key
        return ""

    def problem_of(self, name: str) -> str:
        """What is wrong with a file that has an entry, in words; empty where nothing is."""
        path = self.folder / name
        is_gone = self.of(path)[-1].digest == GONE
        if path.is_file():
            return "it was taken away, and is there" if is_gone else self.problem(path)
        return "" if is_gone else "it is missing"

    def check(self, path: Path) -> Path:
        """The path; raises InputError where its file is not what was written."""
        problem = self.problem(path) if path.is_file() else ""
        if problem:
            raise InputError(
                f"{path} is damaged: {problem} (checksums.txt). Expected it unchanged: restore "
                f"it, or see `repdyn doctor {self.folder}`, which says what can be repaired."
            )
        return path


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def whole_lines(path: Path) -> int:
    """Where the last whole line of a file ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        step = 4096
        start = size
        while start > 0:
            start = max(0, start - step)
            file.seek(start)
            end = file.read(min(step, size - start)).rfind(b"\n")
            if end >= 0:
                return start + end + 1
        return 0


def parsed(data: bytes) -> tuple[dict[str, list[Entry]], str, list[int]]:
    """What `Checksums.read` returns, of the file's bytes."""
    entries: dict[str, list[Entry]] = {}
    last, bad = "", []
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        parts = line.decode("utf-8", "replace").split(" ", 3)
        if (
            len(parts) != 4
            or parts[0] != f"{zlib.crc32(line[9:]):08x}"
            or not parts[2].isdecimal()
            or len(parts[2]) > MOST_DIGITS
            or not inside(parts[3])
        ):
            bad.append(number)
            continue
        _, digest, size, last = parts
        entries.setdefault(last, []).append(Entry(digest, int(size)))
    return entries, last, bad


def inside(name: str) -> bool:
    """Whether a name leads to a file inside the folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)

"""Checksums of the files of a run folder, by which damage is detected."""

import hashlib
import os
import re
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from repdyn_keras.errors import InputError
from repdyn_keras.records.atomic import append_bytes, file_state, reject_link, storage_errors, sync

# CRC-32 of the rest of the line, SHA-256 (dashes for a deleted file), size, name.
LINE = re.compile(rb"([0-9a-f]{8}) (([0-9a-f-]{64}) (\d{1,20}) (.+))")


class Entry(NamedTuple):
    """SHA-256 and size of a file; `DELETED` if it does not exist."""

    digest: str
    size: int


DELETED = Entry("-" * 64, 0)


class Checksums:
    """The file `checksums.txt` of a run folder: one line per write, the newest last.

    A line is appended before its file is renamed into place, so that every complete file has one.
    After a crash in between, the last line describes a write that did not happen. The file of the
    last line may therefore match its previous entry as well, until `confirm_last` corrects it.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "checksums.txt"
        self._parsed: tuple | None = None
        self._verified: dict[Path, tuple] = {}

    def announce(self, path: Path, digest: str, size: int) -> None:
        """Appends a line for a file that is about to be written."""
        name = self.name_of(path)
        if "\n" in name:
            raise InputError(f"Expected a file name of one line. Received: {name!r}.")
        text = f"{digest} {size} {name}".encode()
        line = b"%08x %b\n" % (zlib.crc32(text), text)
        reject_link(self.path)
        with storage_errors(self.path, len(line)):
            self.path.touch()
            end = complete_length(self.path)
            os.truncate(self.path, end)  # removes a line that a crash cut off
            append_bytes(self.path, line, end)
        if end == 0:
            sync(self.folder)

    def announce_file(self, path: Path, temporary: Path) -> None:
        """Announces that `path` is about to be replaced by the file `temporary`."""
        self.announce(path, *entry_of(temporary))

    def announce_removal(self, path: Path) -> None:
        """Announces that a file is about to be removed."""
        if self.accepted(path):
            self.announce(path, *DELETED)

    def confirm_last(self) -> None:
        """Corrects the last line if its write did not happen.

        Every writer calls this before it announces another file, so that only the last line can be
        wrong.
        """
        entries, name, _ = self.read()
        if not name:
            return
        *before, last = entries[name][-2:]
        actual = entry_of(self.folder / name)
        if actual != last and actual in (*before, DELETED):
            self.announce(self.folder / name, *actual)

    def read(self) -> tuple[dict[str, list[Entry]], str, list[int]]:
        """Reads the file.

        Returns:
            Entries by file name, oldest first; the file name of the last line; and the numbers of
            damaged lines. A last line without a line break was cut off by a crash and is ignored.
        """
        try:
            state = file_state(self.path)
            if self._parsed is None or self._parsed[0] != state:
                self._parsed = state, parse(self.path.read_bytes())
        except FileNotFoundError:
            return {}, "", []
        return self._parsed[1]

    def accepted(self, path: Path) -> list[Entry]:
        """The entries that a file may match: its last one, or also the previous one (see above)."""
        entries, last, _ = self.read()
        name = self.name_of(path)
        return entries.get(name, [])[-2 if name == last else -1 :]

    def problem(self, path: Path) -> str:
        """How an existing file differs from its entry; empty if it does not, or has no entry."""
        accepted = [entry for entry in self.accepted(path) if entry != DELETED]
        if not accepted:
            return ""
        state = (file_state(path), accepted)
        if self._verified.get(path) == state:
            return ""
        actual = entry_of(path)
        if actual in accepted:
            self._verified[path] = state
            return ""
        sizes = [f"{entry.size:,}" for entry in accepted]
        if f"{actual.size:,}" in sizes:
            return "its content changed"
        return f"it has {actual.size:,} bytes instead of {' or '.join(sizes)}"

    def problem_of(self, name: str) -> str:
        """The problem of a file with an entry, which may be missing; empty if there is none."""
        path = self.folder / name
        is_deleted = self.accepted(path)[-1] == DELETED
        if path.is_file():
            return "it was removed, but exists" if is_deleted else self.problem(path)
        return "" if is_deleted else "it is missing"

    def check(self, path: Path) -> Path:
        """Returns the path; raises InputError if its file is damaged."""
        problem = self.problem(path) if path.is_file() else ""
        if problem:
            raise InputError(
                f"{path} is damaged. Expected the content listed in checksums.txt. Received: "
                f"{problem}. Restore the file, or run `repdyn doctor {self.folder}` to see what "
                "can be repaired."
            )
        return path

    def name_of(self, path: Path) -> str:
        """The name of a file in `checksums.txt`."""
        return path.relative_to(self.folder).as_posix()


def entry_of(path: Path) -> Entry:
    """The entry of the current content of a file."""
    if not path.is_file():
        return DELETED
    with path.open("rb") as file:
        return Entry(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def complete_length(path: Path) -> int:
    """Number of bytes of a text file up to the end of its last complete line."""
    return path.read_bytes().rfind(b"\n") + 1


def parse(data: bytes) -> tuple[dict[str, list[Entry]], str, list[int]]:
    """The result of `Checksums.read` from the content of the file."""
    entries: dict[str, list[Entry]] = {}
    last, damaged = "", []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        match = LINE.fullmatch(line)
        name = match[5].decode("utf-8", "replace") if match else ""
        if match and int(match[1], 16) == zlib.crc32(match[2]) and is_inside(name):
            last = name
            entries.setdefault(name, []).append(Entry(match[3].decode(), int(match[4])))
        else:
            damaged.append(number)
    return entries, last, damaged


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)

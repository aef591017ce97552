"""Rows that are appended to a CSV file, each one flushed to the disk."""

import csv
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from repdyn_keras.records.atomic import append_bytes, refuse_link, storage, write_bytes
from repdyn_keras.records.checksums import Checksums


class TableFile:
    """A CSV file that grows by whole rows.

    Args:
        path: the file, in a run's folder; its header is written with the first row.
        columns: names of the columns; a value that a row lacks is left empty.
        checksums: the checksums of the run's folder.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], checksums: Checksums):
        self.path = path
        self.columns = columns
        self.checksums = checksums
        self._sum = hashlib.sha256()
        self._size: int | None = None

    def append(self, *rows: dict[str, object]) -> None:
        """Appends rows and waits until they are on the disk.

        Raises:
            StorageError: they cannot be written; the file is as it was.
        """
        refuse_link(self.path)
        if self._size is None:
            self.open()
        text = as_csv(rows, self.columns, header=self._size == 0)
        with storage(self.path, len(text)):
            sum_after = self._sum.copy()
            sum_after.update(text)
            size_after = self._size + len(text)
            self.checksums.announce(self.path, sum_after.hexdigest(), size_after)
            append_bytes(self.path, text, self._size)
        self._sum, self._size = sum_after, size_after

    def open(self) -> None:
        """Looks at what the file holds."""
        held = self.path.read_bytes() if self.path.exists() else b""
        self._sum = hashlib.sha256(held)
        self._size = len(held)

    def holds(self, rows: Iterable[dict[str, object]]) -> bool:
        """Whether the file holds these rows and nothing else; without rows, whether it is none."""
        rows = list(rows)
        held = self.path.read_bytes() if self.path.exists() else b""
        return held == (as_csv(rows, self.columns, header=True) if rows else b"")

    def replace(self, rows: Iterable[dict[str, object]]) -> None:
        """Writes the file anew, whole, with these rows."""
        text = as_csv(rows, self.columns, header=True)
        write_bytes(
            self.path, text, sealed=lambda part: self.checksums.announce_file(self.path, part)
        )
        self.open()


def as_csv(rows: Iterable[dict[str, object]], columns: tuple[str, ...], header: bool) -> bytes:
    """Rows as the lines of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="raise", lineterminator="\r\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")

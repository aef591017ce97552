"""Rows that are appended to a CSV file, each one flushed to the disk."""

import csv
import os
from pathlib import Path


class TableFile:
    """A CSV file that grows by whole rows.

    Args:
        path: the file; its header is written with the first row.
        columns: names of the columns; a value that a row lacks is left empty.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]):
        self.path = path
        self.columns = columns

    def append(self, row: dict[str, object]) -> None:
        """Appends one row and waits until it is on the disk."""
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="raise")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())

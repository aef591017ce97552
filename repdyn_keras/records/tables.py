"""The tables of a run folder: CSV files to which rows are appended, and rows of the history."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repdyn_keras.records.atomic import append_bytes, reject_link, storage_errors, write_bytes
from repdyn_keras.records.checksums import Checksums

# Subset of images by column of `history.csv`.
ACCURACIES = {
    "train_accuracy": "train",
    "clean_accuracy": "clean",
    "memorized": "mislabeled_given",
    "resisted": "mislabeled_true",
    "test_accuracy": "test",
}
HISTORY = ("epoch", "loss", "accuracy", "learning_rate", *ACCURACIES)
Row = Mapping[str, object]


class TableFile:
    """A CSV file of a run folder, with a header, that supports appending rows.

    Args:
        path: the file.
        columns: names of the columns; missing values of a row are left empty.
        checksums: the checksums of the run folder.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], checksums: Checksums):
        self.path = path
        self.columns = columns
        self.checksums = checksums
        # SHA-256 and size of the file; None until it is read.
        self._digest: hashlib._Hash | None = None
        self._size = 0

    def append(self, *rows: Row) -> None:
        """Appends rows and fsyncs the file.

        Raises:
            StorageError: the rows cannot be written. The file is unchanged.
        """
        reject_link(self.path)
        if self._digest is None:
            content = self._content()
            self._digest, self._size = hashlib.sha256(content), len(content)
        text = as_csv(rows, self.columns, header=self._size == 0)
        digest, size = self._digest.copy(), self._size + len(text)
        digest.update(text)
        with storage_errors(self.path, len(text)):
            self.checksums.announce(self.path, digest.hexdigest(), size)
            append_bytes(self.path, text, self._size)
        self._digest, self._size = digest, size

    def holds(self, rows: Iterable[Row]) -> bool:
        """Whether the file has exactly these rows; for no rows, whether it is missing or empty."""
        rows = list(rows)
        return self._content() == (as_csv(rows, self.columns, header=True) if rows else b"")

    def replace(self, rows: Iterable[Row]) -> None:
        """Replaces the file with one that has these rows."""
        text = as_csv(rows, self.columns, header=True)
        write_bytes(
            self.path,
            text,
            before_replace=lambda part: self.checksums.announce_file(self.path, part),
        )
        self._digest, self._size = hashlib.sha256(text), len(text)

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


def as_csv(rows: Iterable[Row], columns: tuple[str, ...], header: bool) -> bytes:
    """Rows as lines of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="raise", lineterminator="\r\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def accuracies_of(record, subsets: Sequence[str]) -> dict[str, float]:
    """The network's accuracies in a record, by column of `history.csv`, without NaN.

    Args:
        record: the `xarray.Dataset` of a recorded epoch.
        subsets: names of the subsets of images in the record.
    """
    by_subset = dict(zip(subsets, record["probe_accuracy"].values[-1].tolist(), strict=True))
    return {
        column: by_subset[subset]
        for column, subset in ACCURACIES.items()
        if by_subset[subset] == by_subset[subset]
    }


def rows_of(checkpoint) -> list[dict[str, str]]:
    """The rows of `history.csv` in the `xarray.Dataset` of a checkpoint, up to its epoch.

    The last row lacks the accuracies of its record.
    """
    text = checkpoint["history"].values.tobytes().decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))

"""Pages that show a run to somebody who never saw it."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.report.run_page import report_html, runs_html

if TYPE_CHECKING:
    from repdyn_keras.dynamics import Run

__all__ = ["report_html", "runs_html", "write_report"]


def write_report(run: "Run") -> Path:
    """Writes the page of a run into its folder, whole or not at all; returns its path.

    Args:
        run: an opened run, whose folder is locked by this process.

    Raises:
        InputError: the run's files are damaged.
        StorageError: the file cannot be written.
    """
    path = run.folder.report_file
    run.folder.write(path, report_html(run).encode("utf-8"))
    return path

"""What shows the results of a run: its figures and its page."""

from repdyn_keras.config import load_config
from repdyn_keras.dynamics import open_run
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.records import RunFolder


def draw(folder: RunFolder, watcher: Watcher) -> None:
    """Draws the figures of an analyzed run and, unless `report` is false, writes its page.

    Args:
        folder: the run folder, locked by this process.
        watcher: receives what is done.

    Raises:
        StorageError: a file cannot be written.
    """
    from repdyn_keras.figures import draw_all
    from repdyn_keras.report import write_report

    run = open_run(folder.path)
    watcher.working("drawing the figures")
    draw_all(run.dynamics, folder.figures, write=folder.write)
    settings = folder.settings_file()
    if settings is None or load_config(settings).get("report", True):
        watcher.working("writing the page")
        write_report(run)

"""Pictures of a run, of a comparison of runs, or of the findings of a study, from its Dataset.

A picture is a module `plot_PICTURE.py` with a function `draw_PICTURE`, which yields its files, and
an entry of `FIGURES` (`figure_table.py`). Functions called `plot_...` draw into one Axes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures.figure_table import FIGURES, FigureEntry
from repdyn_keras.figures.parts.films import image_index, require_films
from repdyn_keras.figures.parts.lookup import layer_index, number_index, require
from repdyn_keras.figures.parts.other_similarities import OTHERS, variable_of
from repdyn_keras.figures.parts.page import write_file
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import FORMATS, SCREEN, Sheet, on_sheet
from repdyn_keras.figures.parts.style import without_tex
from repdyn_keras.figures.plot_epoch_comparison import epoch_comparison
from repdyn_keras.figures.plot_film_strip import film_strip, plot_regions
from repdyn_keras.figures.plot_finding import finding
from repdyn_keras.figures.plot_image_history import image_history
from repdyn_keras.figures.plot_layer_comparison import layer_comparison
from repdyn_keras.figures.plot_learning_curves import learning_curves, plot_curves
from repdyn_keras.figures.plot_probe_curves import probe_curves
from repdyn_keras.figures.plot_progress import plot_progress, progress_curves
from repdyn_keras.figures.plot_region_animation import animate_regions
from repdyn_keras.figures.plot_run_comparison import run_comparison
from repdyn_keras.figures.plot_similarity import plot_similarity, similarity_heatmaps
from repdyn_keras.figures.plot_similarity_by_layer import similarity_by_layer
from repdyn_keras.figures.plot_suspects import suspects
from repdyn_keras.figures.plot_synchronization import synchronization_matrix

__all__ = [
    "FIGURES",
    "FORMATS",
    "FigureEntry",
    "Selection",
    "Sheet",
    "animate_regions",
    "draw_all",
    "draw_comparison",
    "draw_findings",
    "epoch_comparison",
    "film_strip",
    "finding",
    "image_history",
    "layer_comparison",
    "learning_curves",
    "plot_curves",
    "plot_progress",
    "plot_regions",
    "plot_similarity",
    "probe_curves",
    "progress_curves",
    "run_comparison",
    "similarity_by_layer",
    "similarity_heatmaps",
    "suspects",
    "synchronization_matrix",
]


def draw_all(
    dynamics: xr.Dataset,
    folder: str | os.PathLike[str],
    progress: Callable[[str], None] | None = None,
    write: Callable[[Path, bytes], None] = write_file,
    selection: Selection | None = None,
    sheet: Sheet = SCREEN,
) -> list[Path]:
    """Write every figure of a run for which the Dataset holds the variables, see `FIGURES`.

    Args:
        dynamics: the Dataset of a run.
        folder: created if necessary; files of the same names are replaced.
        progress: called with a line of text after each file.
        write: writes each file.
        selection: the layers, epochs and measures to draw; None: those that change.
        sheet: width, headings and format. Animations are drawn as GIF beside PNG only.

    Returns:
        The files, in the order of drawing.

    Raises:
        InputError: what was selected is absent.
        StorageError: a file cannot be written. It is then unchanged.
    """
    selection = selection or Selection()
    selection = replace(selection, measures=tuple(map(variable_of, selection.measures)))
    measures = [entry.measure for entry in FIGURES if entry.measure]
    for measure in selection.measures:
        if measure not in measures:
            raise unknown("similarity between epochs", measure, [*dict.fromkeys(measures), *OTHERS])
        require(dynamics, measure)
    for layer in selection.layers or ():
        layer_index(dynamics, layer)
    for epoch in selection.epochs or ():
        require(dynamics, "regions")
        number_index(dynamics, "epoch", epoch)
    if selection.images:
        require_films(dynamics)
    for image in selection.images:
        image_index(dynamics, image)
    return _draw("run", dynamics, Path(folder), progress, write, selection, sheet)


def draw_comparison(
    comparison: xr.Dataset,
    folder: str | os.PathLike[str],
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write every figure of a comparison for which the Dataset holds the variables.

    Args:
        comparison: of two runs, see `layer_comparison`, `epoch_comparison` and
            `similarity_by_layer`, or of several, see `run_comparison`.
        folder: created if necessary; files of the same names are replaced.
        progress: called with a line of text after each file.

    Returns:
        The files, in the order of drawing.

    Raises:
        StorageError: a file cannot be written. It is then unchanged.
    """
    return _draw("comparison", comparison, Path(folder), progress)


def draw_findings(
    findings: xr.Dataset,
    folder: str | os.PathLike[str],
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write the figure of every finding that has an effect.

    Args:
        findings: of a study, see `finding`.
        folder: created if necessary; files of the same names are replaced.
        progress: called with a line of text after each file.

    Returns:
        The files, in the order of drawing.

    Raises:
        StorageError: a file cannot be written. It is then unchanged.
    """
    return _draw("findings", findings, Path(folder), progress)


def _draw(
    source: str,
    dataset: xr.Dataset,
    folder: Path,
    progress: Callable[[str], None] | None,
    write: Callable[[Path, bytes], None] = write_file,
    selection: Selection | None = None,
    sheet: Sheet = SCREEN,
) -> list[Path]:
    written = []
    selection = selection or Selection()
    for entry in FIGURES:
        present = all(name in dataset and dataset[name].size for name in entry.requires)
        animated = entry.name.endswith(".gif") and sheet.file_format != "png"
        if entry.source != source or not present or animated or not entry.is_asked_for(selection):
            continue
        with without_tex(), on_sheet(sheet):
            # One picture is in memory at a time.
            for name, data in entry.draw(dataset, selection):
                write(folder / name, data)
                written.append(folder / name)
                if progress is not None:
                    progress(f"drew {written[-1]}")
    return written

"""Pictures of a run, of a comparison of two, or of the findings of a study, from its Dataset.

A picture is a module `plot_PICTURE.py` with a function of the same name and an entry of `FIGURES`.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import xarray as xr

from repdyn_keras.figures.parts.page import PictureFile, write_file
from repdyn_keras.figures.parts.style import without_tex
from repdyn_keras.figures.plot_epoch_comparison import epoch_comparison, plot_epoch_comparison
from repdyn_keras.figures.plot_film_strip import decision_regions, film_strip, plot_film_strip
from repdyn_keras.figures.plot_finding import finding, plot_finding
from repdyn_keras.figures.plot_layer_comparison import layer_comparison, plot_layer_comparison
from repdyn_keras.figures.plot_learning_curves import learning_curves, plot_learning_curves
from repdyn_keras.figures.plot_probe_curves import plot_probe_curves, probe_curves
from repdyn_keras.figures.plot_progress import plot_progress, progress_curves
from repdyn_keras.figures.plot_region_animation import animate_regions, plot_region_animation
from repdyn_keras.figures.plot_similarity import (
    plot_similarity,
    similarity_heatmap,
    similarity_heatmaps,
)
from repdyn_keras.figures.plot_synchronization import (
    plot_synchronization,
    synchronization_matrix,
)

__all__ = [
    "FIGURES",
    "FigureEntry",
    "animate_regions",
    "decision_regions",
    "draw_all",
    "draw_comparison",
    "draw_findings",
    "epoch_comparison",
    "film_strip",
    "finding",
    "layer_comparison",
    "learning_curves",
    "probe_curves",
    "progress_curves",
    "similarity_heatmap",
    "similarity_heatmaps",
    "synchronization_matrix",
]


@dataclass(frozen=True)
class FigureEntry:
    """A picture that `draw_all`, `draw_comparison` or `draw_findings` writes.

    Attributes:
        name: of its file, or of its files by plane or row.
        source: the Dataset that it is drawn from, "run", "comparison" or "findings".
        requires: variables that must be present and not empty.
        about: what it shows, on one line.
        plot: draws it, one file after the other.
        zoomed: whether it is drawn only on request.
    """

    name: str
    source: str
    requires: tuple[str, ...]
    about: str
    plot: Callable[[xr.Dataset], Iterator[PictureFile]]
    zoomed: bool = False


FIGURES = (
    FigureEntry(
        "learning_curves.png",
        "run",
        ("probe_accuracy",),
        "accuracy of the network on each subset of images, over epochs",
        plot_learning_curves,
    ),
    FigureEntry(
        "probe_curves.png",
        "run",
        ("probe_accuracy",),
        "accuracy of a linear probe on each layer, over epochs",
        plot_probe_curves,
    ),
    FigureEntry(
        "cka.png",
        "run",
        ("cka",),
        "CKA of each layer between all recorded epochs, with its phases",
        partial(plot_similarity, variable="cka"),
    ),
    FigureEntry(
        "region_agreement.png",
        "run",
        ("region_agreement",),
        "agreement of each layer's decision regions between all recorded epochs, with their phases",
        partial(plot_similarity, variable="region_agreement"),
    ),
    FigureEntry(
        "cka_zoomed.png",
        "run",
        ("cka",),
        "`cka.png` with a colour scale for each layer; `repdyn figures --zoom` draws it",
        partial(plot_similarity, variable="cka", zoom=True),
        zoomed=True,
    ),
    FigureEntry(
        "region_agreement_zoomed.png",
        "run",
        ("region_agreement",),
        "`region_agreement.png` with such scales; `repdyn figures --zoom` draws it",
        partial(plot_similarity, variable="region_agreement", zoom=True),
        zoomed=True,
    ),
    FigureEntry(
        "progress.png",
        "run",
        ("progress",),
        "progress of each layer from its first to its last state, over epochs",
        plot_progress,
    ),
    FigureEntry(
        "synchronization.png",
        "run",
        ("synchronization",),
        "synchronization of every layer with every other",
        plot_synchronization,
    ),
    FigureEntry(
        "regions_plane{plane}.png",
        "run",
        ("regions",),
        "decision regions of each layer over training, on each of the first three planes",
        plot_film_strip,
    ),
    FigureEntry(
        "regions_plane{plane}.gif",
        "run",
        ("regions",),
        "decision regions of the output on the first plane (of the last hidden layer if the output "
        "holds no class scores), a frame for each recorded epoch",
        plot_region_animation,
    ),
    FigureEntry(
        "layers.png",
        "comparison",
        ("cka_layers",),
        "CKA of every layer of one run with every layer of the other",
        plot_layer_comparison,
    ),
    FigureEntry(
        "epochs.png",
        "comparison",
        ("cka_epochs",),
        "CKA of matching layers of two runs between all recorded epochs",
        plot_epoch_comparison,
    ),
    FigureEntry(
        "finding_{row}.png",
        "findings",
        ("left", "right", "effect"),
        "both sides of a claim for every seed, and their differences with mean and 95% interval",
        plot_finding,
    ),
)


def draw_all(
    dynamics: xr.Dataset,
    folder: str | os.PathLike[str],
    progress: Callable[[str], None] | None = None,
    write: Callable[[Path, bytes], None] = write_file,
    zoom: bool = False,
) -> list[Path]:
    """Write every figure of a run for which the Dataset holds the variables, see `FIGURES`.

    Args:
        dynamics: the Dataset of a run.
        folder: created if necessary; files of the same names are replaced.
        progress: called with a line of text after each file.
        write: writes each file.
        zoom: whether to draw the zoomed figures too.

    Returns:
        The files, in the order of drawing.

    Raises:
        StorageError: a file cannot be written. It is then unchanged.
    """
    return _draw("run", dynamics, Path(folder), progress, write, zoom)


def draw_comparison(
    comparison: xr.Dataset,
    folder: str | os.PathLike[str],
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write every figure of a comparison for which the Dataset holds the variables.

    Args:
        comparison: of two runs, see `layer_comparison` and `epoch_comparison`.
        folder: created if necessary; files of the same names are replaced.
        progress: called with a line of text after each file.

    Returns:
        The files, in the order of drawing.

    Raises:
        StorageError: a file cannot be written. It is then unchanged.
    """
    return _draw("comparison", comparison, Path(folder), progress, write_file)


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
    return _draw("findings", findings, Path(folder), progress, write_file)


def _draw(
    source: str,
    dataset: xr.Dataset,
    folder: Path,
    progress: Callable[[str], None] | None,
    write: Callable[[Path, bytes], None],
    zoom: bool = False,
) -> list[Path]:
    written = []
    for entry in FIGURES:
        present = all(name in dataset and dataset[name].size for name in entry.requires)
        asked = zoom or not entry.zoomed
        if entry.source != source or not present or not asked:
            continue
        with without_tex():
            # One picture is in memory at a time.
            for name, data in entry.plot(dataset):
                write(folder / name, data)
                written.append(folder / name)
                if progress is not None:
                    progress(f"drew {written[-1]}")
    return written

"""Pictures of a run, or of a comparison of two, made from its Dataset alone."""

import os
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from repdyn_keras.figures.animation import animate_regions
from repdyn_keras.figures.comparison import draw_comparison, epoch_comparison, layer_comparison
from repdyn_keras.figures.curves import learning_curves, probe_curves
from repdyn_keras.figures.files import save_all, write_whole
from repdyn_keras.figures.heatmaps import similarity_heatmap, similarity_heatmaps
from repdyn_keras.figures.regions import decision_regions, film_strip

__all__ = [
    "animate_regions",
    "decision_regions",
    "draw_all",
    "draw_comparison",
    "epoch_comparison",
    "film_strip",
    "layer_comparison",
    "learning_curves",
    "probe_curves",
    "similarity_heatmap",
    "similarity_heatmaps",
]

PLANES_DRAWN = 3


def draw_all(
    dynamics: xr.Dataset,
    folder: str | os.PathLike,
    progress: Callable[[str], None] | None = None,
    write: Callable[[Path, bytes], None] = write_whole,
) -> list[Path]:
    """Write every figure that the Dataset allows as a PNG file, and one animation.

    Args:
        dynamics: the Dataset of a run.
        folder: made where it does not exist; files of the same names are replaced.
        progress: called with a line of text after each file.
        write: writes each file.

    Returns:
        The files, in the order of drawing.
    """
    written = save_all(_plan(dynamics), folder, progress, write)
    if "regions" in dynamics:
        plane = int(dynamics["plane"].values[0])
        path = Path(folder) / f"regions_plane{plane}.gif"
        output = str(dynamics["layer"].values[-1])
        written.append(animate_regions(dynamics, [output], plane, path, write=write))
        if progress is not None:
            progress(f"drew {path}")
    return written


def _plan(dynamics: xr.Dataset) -> dict[str, Callable]:
    """File names and what draws them."""
    plan = {}
    if "probe_accuracy" in dynamics:
        plan["learning_curves.png"] = lambda: learning_curves(dynamics).figure
        plan["probe_curves.png"] = lambda: probe_curves(dynamics)
    if "cka" in dynamics:
        plan["cka.png"] = lambda: similarity_heatmaps(dynamics, "cka")
    if "region_agreement" in dynamics:
        plan["region_agreement.png"] = lambda: similarity_heatmaps(dynamics, "region_agreement")
    if "regions" in dynamics:
        for plane in dynamics["plane"].values[:PLANES_DRAWN]:
            plan[f"regions_plane{int(plane)}.png"] = lambda plane=int(plane): film_strip(
                dynamics, plane
            )
    return plan

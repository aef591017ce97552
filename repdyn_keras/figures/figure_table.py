"""The table of all figures: their names, what they need, and what draws them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import xarray as xr

from repdyn_keras.figures.parts.other_similarities import OTHERS, PREFIX
from repdyn_keras.figures.parts.page import PictureFile
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.plot_epoch_comparison import draw_epoch_comparison
from repdyn_keras.figures.plot_film_strip import draw_film_strip
from repdyn_keras.figures.plot_finding import draw_finding
from repdyn_keras.figures.plot_image_history import draw_image_history
from repdyn_keras.figures.plot_layer_comparison import draw_layer_comparison
from repdyn_keras.figures.plot_learning_curves import draw_learning_curves
from repdyn_keras.figures.plot_probe_curves import draw_probe_curves
from repdyn_keras.figures.plot_progress import draw_progress
from repdyn_keras.figures.plot_region_animation import draw_region_animation
from repdyn_keras.figures.plot_run_comparison import draw_run_comparison
from repdyn_keras.figures.plot_similarity import draw_similarity
from repdyn_keras.figures.plot_similarity_by_layer import draw_similarity_by_layer
from repdyn_keras.figures.plot_suspects import draw_suspects
from repdyn_keras.figures.plot_synchronization import draw_synchronization


@dataclass(frozen=True)
class FigureEntry:
    """A picture that `draw_all`, `draw_comparison` or `draw_findings` writes.

    Attributes:
        name: of its file, or of its files by plane or row.
        source: the Dataset that it is drawn from, "run", "comparison" or "findings".
        requires: variables that must be present and not empty.
        about: what it shows, on one line.
        draw: draws it, one file after the other.
        measure: the similarity whose matrices it shows, or "".
        zoomed: whether it is drawn only with a `Selection` that zooms.
        on_request: whether it is drawn only if its measure is asked for.
        of_images: whether it is drawn for the images that are asked for, and only for them.
    """

    name: str
    source: str
    requires: tuple[str, ...]
    about: str
    draw: Callable[[xr.Dataset, Selection], Iterator[PictureFile]]
    measure: str = ""
    zoomed: bool = False
    on_request: bool = False
    of_images: bool = False

    def is_asked_for(self, selection: Selection) -> bool:
        """Whether a selection includes the picture."""
        if selection.images or self.of_images:
            return self.of_images and bool(selection.images)
        if self.zoomed and not selection.zoom:
            return False
        return self.measure in selection.measures if selection.measures else not self.on_request


FIGURES = (
    FigureEntry(
        "learning_curves.png",
        "run",
        ("probe_accuracy",),
        "accuracy of the network on each subset of images, over epochs",
        draw_learning_curves,
    ),
    FigureEntry(
        "probe_curves.png",
        "run",
        ("probe_accuracy",),
        "accuracy of a linear probe on each layer, over epochs",
        draw_probe_curves,
    ),
    FigureEntry(
        "cka.png",
        "run",
        ("cka",),
        "CKA of each layer between all recorded epochs, with its phases",
        partial(draw_similarity, measure="cka"),
        "cka",
    ),
    FigureEntry(
        "region_agreement.png",
        "run",
        ("region_agreement",),
        "agreement of each layer's decision regions between all recorded epochs, with their phases",
        partial(draw_similarity, measure="region_agreement"),
        "region_agreement",
    ),
    FigureEntry(
        "region_kappa.png",
        "run",
        ("region_kappa",),
        "the same beyond chance (Cohen's kappa); `repdyn figures --measure region_kappa` draws it",
        partial(draw_similarity, measure="region_kappa"),
        "region_kappa",
        on_request=True,
    ),
    FigureEntry(
        "cka_zoomed.png",
        "run",
        ("cka",),
        "`cka.png` with a colour scale for each layer; `repdyn figures --zoom` draws it",
        partial(draw_similarity, measure="cka", zoom=True),
        "cka",
        zoomed=True,
    ),
    FigureEntry(
        "region_agreement_zoomed.png",
        "run",
        ("region_agreement",),
        "`region_agreement.png` with such scales; `repdyn figures --zoom` draws it",
        partial(draw_similarity, measure="region_agreement", zoom=True),
        "region_agreement",
        zoomed=True,
    ),
    FigureEntry(
        "region_kappa_zoomed.png",
        "run",
        ("region_kappa",),
        "`region_kappa.png` with such scales; `--measure region_kappa --zoom` draws it",
        partial(draw_similarity, measure="region_kappa", zoom=True),
        "region_kappa",
        zoomed=True,
        on_request=True,
    ),
    *(
        FigureEntry(
            f"{variable}{suffix}.png",
            "run",
            (variable,),
            about,
            partial(draw_similarity, measure=variable, zoom=bool(suffix)),
            variable,
            zoomed=bool(suffix),
        )
        for variable, meaning in ((f"{PREFIX}{key}", each.about) for key, each in OTHERS.items())
        for suffix, about in (
            ("", f"{meaning}, of each layer between all recorded epochs"),
            ("_zoomed", f"`{variable}.png` with such scales; `--zoom` draws it"),
        )
    ),
    FigureEntry(
        "progress.png",
        "run",
        ("progress",),
        "progress of each layer from its first to its last state, over epochs",
        draw_progress,
    ),
    FigureEntry(
        "synchronization.png",
        "run",
        ("synchronization",),
        "synchronization of every layer with every other",
        draw_synchronization,
    ),
    FigureEntry(
        "regions_plane{plane}.png",
        "run",
        ("regions",),
        "decision regions of each layer over training, on each of the first three planes",
        draw_film_strip,
    ),
    FigureEntry(
        "regions_plane{plane}.gif",
        "run",
        ("regions",),
        "decision regions of the output on the first plane (of the last hidden layer if the output "
        "holds no class scores), a frame for each recorded epoch",
        draw_region_animation,
    ),
    FigureEntry(
        "suspects.png",
        "run",
        ("suspicion", "image_probe_class"),
        "the 24 images with the most suspicious labels, and the predictions of all probes",
        draw_suspects,
    ),
    FigureEntry(
        "image_{image}.png",
        "run",
        ("suspicion", "image_probe_class"),
        "the predictions for one image, and its margin; `repdyn figures --image` draws it",
        draw_image_history,
        of_images=True,
    ),
    FigureEntry(
        "layers.png",
        "comparison",
        ("cka_layers",),
        "CKA of every layer of one run with every layer of the other",
        draw_layer_comparison,
    ),
    FigureEntry(
        "epochs.png",
        "comparison",
        ("cka_epochs",),
        "CKA of matching layers of two runs between all recorded epochs",
        draw_epoch_comparison,
    ),
    FigureEntry(
        "similarity_by_layer.png",
        "comparison",
        ("cka_layers", "region_agreement_layers"),
        "CKA, agreement and kappa of the layers of the same name in two runs, layer by layer",
        draw_similarity_by_layer,
    ),
    FigureEntry(
        "layers_region_agreement.png",
        "comparison",
        ("region_agreement_layers",),
        "agreement of the decision regions of every layer of one run with every layer of the other",
        partial(draw_layer_comparison, measure="region_agreement"),
    ),
    FigureEntry(
        "epochs_region_agreement.png",
        "comparison",
        ("region_agreement_epochs",),
        "agreement of the decision regions of matching layers between all recorded epochs",
        partial(draw_epoch_comparison, measure="region_agreement"),
    ),
    FigureEntry(
        "runs_cka.png",
        "comparison",
        ("cka",),
        "CKA of every two of several runs, in every layer, at their last epochs",
        partial(draw_run_comparison, measure="cka"),
    ),
    FigureEntry(
        "runs_region_agreement.png",
        "comparison",
        ("region_agreement",),
        "agreement of their decision regions",
        partial(draw_run_comparison, measure="region_agreement"),
    ),
    FigureEntry(
        "runs_region_kappa.png",
        "comparison",
        ("region_kappa",),
        "the same beyond chance (Cohen's kappa)",
        partial(draw_run_comparison, measure="region_kappa"),
    ),
    FigureEntry(
        "finding_{row}.png",
        "findings",
        ("left", "right", "effect"),
        "both sides of a claim for every seed, and their differences with mean and 95% interval",
        draw_finding,
    ),
)

"""Which layers and epochs figures show: those that were asked for, or those that say something."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.figures.parts.lookup import layer_index, layer_names
from repdyn_keras.text import format_layers

# A layer is still if its states at no two epochs are less similar than this.
STILL = 0.9
# Panels of a page where no layers were asked for, and layers that a note names.
MAX_PANELS, MAX_NAMED = 24, 12


@dataclass(frozen=True)
class Selection:
    """What of a run is drawn.

    Attributes:
        layers: names in the order of drawing; None: those that change, in figures of changes.
        epochs: recorded epochs of the decision regions; None: evenly spaced ones.
        measures: similarities whose matrices alone are drawn, such as "cka", "region_kappa" or
            "rsa"; none: every figure.
        zoom: whether to draw the similarities with a colour scale for each layer too.
        images: ids of the images whose histories alone are drawn; none: every other figure.
    """

    layers: tuple[str, ...] | None = None
    epochs: tuple[float, ...] | None = None
    measures: tuple[str, ...] = ()
    zoom: bool = False
    images: tuple[str, ...] = ()


def matching_layers(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that equal or match any of the names or regular expressions, in their own order.

    Raises:
        InputError: a pattern is invalid, or matches none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        problem = "it matches none"
        try:
            matches = [name for name in names if name == pattern or re.fullmatch(pattern, name)]
        except re.error as error:
            matches, problem = [], f"it is not a regular expression: {error}"
        if not matches:
            raise InputError(
                "Unknown layer. Expected a name or a regular expression that matches some of: "
                f"{', '.join(names)}. Received: {pattern!r}; {problem}."
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


def changing_layers(
    dynamics: xr.Dataset,
    layers: Sequence[str] | None,
    lowest: np.ndarray,
    meaning: str,
    most: int = MAX_PANELS,
) -> tuple[list[str], str]:
    """The layers to draw, and a note on those that are not.

    Args:
        dynamics: of a run.
        layers: names that were asked for; None: those that change, evenly spaced ones of many, or
            all layers of a run of one epoch.
        lowest: (layer,) the lowest similarity between two epochs; NaN: undefined at every epoch.
        meaning: of the similarity, such as "CKA".
        most: how many layers at most where none were asked for.

    Returns:
        The names, at least one, and the note, or an empty text.

    Raises:
        InputError: a layer is absent, or `layers` is empty.
    """
    if layers is not None or dynamics.sizes["epoch"] < 2:
        return listed_layers(dynamics, layers, most)
    names = layer_names(dynamics)
    changing = np.flatnonzero(lowest < STILL)
    still = [name for name, value in zip(names, lowest, strict=True) if value >= STILL]
    undefined = [name for name, value in zip(names, lowest, strict=True) if np.isnan(value)]
    if not changing.size:
        # The one that comes closest to a change.
        defined = np.flatnonzero(~np.isnan(lowest))
        changing = defined[lowest[defined].argmin()][None] if defined.size else np.array([-1])
        shown = names[changing[0]]
        still, undefined = ([n for n in group if n != shown] for group in (still, undefined))
    every = [names[at] for at in changing]
    kept, _ = evenly_spaced(every, most)
    rest = [name for name in every if name not in kept]
    notes = []
    if rest:
        few = len(rest) <= MAX_NAMED
        notes.append(f"also change: {format_layers(rest, names) if few else f'{len(rest)} more'}")
    if still:
        notes.append(
            f"not shown: {format_layers(still, names)}, with {meaning} of at least {STILL:g} "
            "between all epochs"
        )
    if undefined:
        notes.append(f"undefined at every epoch: {format_layers(undefined, names)}")
    return kept, " · ".join(notes)


def lowest_similarity(values: np.ndarray) -> np.ndarray:
    """(layer,) the lowest of a similarity (layer, epoch, epoch_other); NaN of NaN alone."""
    lowest = np.nanmin(values, axis=(1, 2), initial=np.inf)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def evenly_spaced(names: Sequence[str], most: int = MAX_PANELS) -> tuple[list[str], str]:
    """At most so many names, as evenly spaced as possible, with the first and the last; a note."""
    if len(names) <= most:
        return list(names), ""
    places = np.linspace(0, len(names) - 1, most).round().astype(int)
    return [names[at] for at in places], f"{most} of {len(names)} layers, evenly spaced"


def listed_layers(
    dynamics: xr.Dataset, layers: Sequence[str] | None, most: int = MAX_PANELS
) -> tuple[list[str], str]:
    """The layers that were asked for, or else all, evenly spaced ones of many; and a note.

    Raises:
        InputError: a layer is absent, or `layers` is empty.
    """
    names = layer_names(dynamics)
    if layers is None:
        return evenly_spaced(names, most)
    chosen = [names[layer_index(dynamics, layer)] for layer in layers]
    if not chosen:
        raise InputError("Expected at least one layer, or None. Received: layers = [].")
    return chosen, ""

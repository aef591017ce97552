"""Phases of a layer on its similarity between epochs: their borders, and their text."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts.cells import outlined, outlined_symbol
from repdyn_keras.figures.parts.lookup import layer_index
from repdyn_keras.text import format_epoch, format_epochs

# Records below which phases are not looked for, see measures/phases.py.
MIN_RECORDS = 8
NOT_TESTED = f"phases not tested: fewer than {MIN_RECORDS} records"
STATE, FREEZE = 1, 2
# The lines of borders by their kind, and the symbol where the two lines of one border meet.
LINES = {STATE: {}, FREEZE: {"linestyle": (0, (2.2, 2.0))}}
FREEZE_SYMBOL = outlined_symbol("D", 4.4)
EXPLAINED = {
    STATE: "border, a change of state: {} before and after",
    FREEZE: "border, a freeze: restless before, still after (by the scatter of records)",
}


@dataclass(frozen=True)
class Phases:
    """The phases of one layer by one similarity.

    Attributes:
        spans: first and last recorded epoch of each phase; none if the layer is undefined.
        borders: (border,) their places in cells, between the records on their two sides.
        kinds: (border,) `STATE` or `FREEZE`.
        records: number of defined records.
    """

    spans: tuple[tuple[float, float], ...]
    borders: np.ndarray
    kinds: np.ndarray
    records: int

    @property
    def is_untested(self) -> bool:
        """Whether there are records, but too few to look for phases."""
        return 0 < self.records < MIN_RECORDS

    @property
    def text(self) -> str:
        """The phases in epochs, such as `phases 0–4, 5–40, 45–102 (freeze at 45)`."""
        if not self.spans:
            return "undefined at every epoch"
        if self.is_untested:
            return NOT_TESTED
        if len(self.spans) == 1:
            return "one phase"
        spans = ", ".join("–".join(format_epochs(span)) for span in self.spans)
        begins = [first for first, _ in self.spans[1:]]
        freezes = [
            format_epoch(first)
            for first, kind in zip(begins, self.kinds, strict=True)
            if kind == FREEZE
        ]
        # Without line breaks inside of the brackets.
        noted = f"(freeze at {', '.join(freezes)})".replace(" ", "\N{NO-BREAK SPACE}")
        return f"phases {spans} {noted}" if freezes else f"phases {spans}"


def layer_phases(dynamics: xr.Dataset, layer: str, suffix: str | None) -> Phases | None:
    """The phases of a layer that a Dataset holds, or None.

    Args:
        dynamics: may hold `phase` and `border_kind` (layer, epoch), with the suffix.
        layer: its name.
        suffix: of the variables; None: no phases belong to the similarity.
    """
    names = f"phase{suffix}", f"border_kind{suffix}"
    if suffix is None or any(name not in dynamics for name in names):
        return None
    index = layer_index(dynamics, layer)
    phase, kind = (dynamics[name].transpose("layer", "epoch").values[index] for name in names)
    epochs = dynamics["epoch"].values
    defined = np.flatnonzero(phase > 0)
    changes = defined[1:][np.diff(phase[defined]) != 0]
    parts = np.split(defined, np.searchsorted(defined, changes)) if defined.size else []
    spans = tuple((float(epochs[part[0]]), float(epochs[part[-1]])) for part in parts)
    kinds = np.where(kind[changes] == FREEZE, FREEZE, STATE)
    return Phases(spans, changes - 0.5, kinds, len(defined))


def border_look(kind):
    """Keyword arguments of the lines of a border."""
    return outlined(1.1, 2.1, **LINES[kind])


def draw_borders(ax, phases):
    """Draw each border as a line across and a line upwards, a freeze with a symbol on both."""
    from matplotlib.lines import Line2D

    ends = ax.get_xlim()
    for at, kind in zip(phases.borders, phases.kinds, strict=True):
        gid = {STATE: "state border", FREEZE: "freeze border"}[kind]
        for x, y in (([at, at], ends), (ends, [at, at])):
            ax.add_line(Line2D(x, y, zorder=3, gid=gid, **border_look(kind)))
        if kind == FREEZE:
            ax.add_line(Line2D([at], [at], zorder=4, gid="freeze", **FREEZE_SYMBOL))


def explained_borders(found, changing):
    """Labels and looks, for the legend, of the kinds of borders in several `Phases`.

    `changing` is what has phases, with its verb, such as "the representation differs".
    """
    drawn = {int(kind) for phases in found if phases is not None for kind in phases.kinds}
    symbols = {STATE: {}, FREEZE: FREEZE_SYMBOL}
    return {
        EXPLAINED[kind].format(changing): symbols[kind] | border_look(kind)
        for kind in sorted(drawn)
    }

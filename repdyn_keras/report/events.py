"""Events that the page marks on every axis of epochs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.remarks import format_layers

if TYPE_CHECKING:
    import xarray

# A learning rate that changes by less than this factor from one epoch to the next decays steadily.
MIN_RATE_FACTOR = 1.5
MAX_RATE_CHANGES = 12
KINDS = {1: ("state", "change of state"), 2: ("freeze", "freeze")}


def events(
    dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]
) -> list[dict[str, object]]:
    """The events of a run, by epoch.

    Args:
        dynamics: the Dataset of the run.
        history: the rows of `history.csv`; may be empty.

    Returns:
        For each event its epoch, its kind ("fit", "state", "freeze", "rate") and its text.
    """
    found = [*_fit(dynamics), *_borders(dynamics), *_rates(history)]
    return sorted(found, key=lambda event: event["epoch"])


def _fit(dynamics):
    fit = float(dynamics.attrs.get("perfect_fit_epoch", np.nan))
    if np.isfinite(fit):
        text = f"perfect fit of the training labels at epoch {fit:g}"
        yield {"epoch": fit, "kind": "fit", "text": text}


def _borders(dynamics):
    """The borders of phases by CKA: layers with one of the same kind at the same epoch together."""
    if "border_kind" not in dynamics:
        return
    layers = [str(layer) for layer in dynamics["layer"].values]
    kinds = dynamics["border_kind"].transpose("epoch", "layer").values
    for epoch, row in zip(dynamics["epoch"].values, kinds, strict=True):
        for value, (kind, name) in KINDS.items():
            names = [layers[index] for index in np.flatnonzero(row == value)]
            if names:
                text = f"{name} at epoch {epoch}: {format_layers(names, layers)}"
                yield {"epoch": float(epoch), "kind": kind, "text": text}


def _rates(history):
    """Steps of the learning rate, not its steady decay."""
    rows = [(row["epoch"], row.get("learning_rate", np.nan)) for row in history if "epoch" in row]
    rows = [(epoch, rate) for epoch, rate in rows if np.isfinite(rate) and rate > 0]
    steps = [
        (epoch, before, rate)
        for (_, before), (epoch, rate) in zip(rows, rows[1:], strict=False)
        if max(rate / before, before / rate) >= MIN_RATE_FACTOR
    ]
    if len(steps) > MAX_RATE_CHANGES:
        return
    for epoch, before, rate in steps:
        # The rate of an epoch holds from the end of the one before it.
        text = f"learning rate from {before:.3g} to {rate:.3g} after epoch {epoch - 1:g}"
        yield {"epoch": float(epoch - 1), "kind": "rate", "text": text}

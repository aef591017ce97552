"""Events that the page marks on every axis of epochs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.phase_descriptions import KINDS
from repdyn_keras.dynamics.remarks import has_accuracy
from repdyn_keras.text import format_epoch, format_layers

if TYPE_CHECKING:
    import xarray

# A step of the learning rate is a change from one epoch to the next by this factor or more, and, in
# logarithms, by so many times the median change of the epochs beside it: other changes are decay.
MIN_RATE_FACTOR, MIN_STEP, BESIDE = 1.5, 3.0, 3
MAX_RATE_CHANGES = 12
NAMES = {"state": "change of state", "freeze": "freeze"}


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


def absent_events(dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]) -> str:
    """What a page says where there is no event: which kinds were looked for."""
    looked = {
        "perfect fit": has_accuracy(dynamics),
        "border between phases": bool(dynamics["phases_p"].notnull().any()),
        "step of the learning rate": len(known_rates(history)[0]) > 1,
    }
    absent = [f"no {kind}" for kind, is_known in looked.items() if is_known]
    unknown = [kind for kind, is_known in looked.items() if not is_known]
    text = f"No events: {', '.join(absent)}." if absent else ""
    return f"{text} Not known or not tested: {', '.join(unknown)}.".strip() if unknown else text


def _fit(dynamics):
    fit = float(dynamics.attrs.get("perfect_fit_epoch", np.nan))
    if np.isfinite(fit):
        text = f"perfect fit of the training labels at epoch {format_epoch(fit)}"
        yield {"epoch": fit, "kind": "fit", "text": text}


def _borders(dynamics):
    """The borders of phases by CKA: layers with one of the same kind at the same epoch together."""
    if "border_kind" not in dynamics:
        return
    layers = [str(layer) for layer in dynamics["layer"].values]
    kinds = dynamics["border_kind"].transpose("epoch", "layer").values
    for epoch, row in zip(dynamics["epoch"].values, kinds, strict=True):
        for value, kind in KINDS.items():
            names = [layers[index] for index in np.flatnonzero(row == value)]
            if names:
                text = (
                    f"{NAMES[kind]} at epoch {format_epoch(epoch)}: {format_layers(names, layers)}"
                )
                yield {"epoch": float(epoch), "kind": kind, "text": text}


def known_rates(history: Sequence[Mapping[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) epochs and (n,) learning rates at their ends, where both are known."""
    rows = np.array(
        [[row.get("epoch", np.nan), row.get("learning_rate", np.nan)] for row in history], float
    ).reshape(-1, 2)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 1] > 0)]
    return rows[:, 0], rows[:, 1]


def _rates(history):
    """Steps of the learning rate: changes that are large beside those of the epochs around."""
    epochs, rates = known_rates(history)
    change = np.abs(np.diff(np.log(rates)))
    found = []
    for index in np.flatnonzero(change >= np.log(MIN_RATE_FACTOR)):
        around = np.delete(change, index)[max(0, index - BESIDE) : index + BESIDE]
        if not len(around) or change[index] >= MIN_STEP * np.median(around):
            found.append(index)
    # The largest ones, in the order of the epochs.
    for index in sorted(sorted(found, key=lambda index: -change[index])[:MAX_RATE_CHANGES]):
        before, after, epoch = rates[index], rates[index + 1], epochs[index + 1]
        text = f"learning rate from {before:.3g} to {after:.3g} by the end of epoch {epoch:g}"
        yield {"epoch": float(epoch), "kind": "rate", "text": text}

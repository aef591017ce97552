"""What is missing from the results of a run, or limits them, in words."""

from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.measures.influential_images import influence_notice
from repdyn_keras.measures.phases import MIN_RECORDS
from repdyn_keras.measures.progress import MIN_CHANGE
from repdyn_keras.measures.synchronization import MIN_RECORDS as MIN_TIMED_RECORDS
from repdyn_keras.text import format_epoch, format_epochs, format_layers

if TYPE_CHECKING:
    import xarray


def has_accuracy(dynamics: "xarray.Dataset") -> bool:
    """Whether the accuracy of the network is known at any epoch."""
    return "accuracy_inference" in dynamics and bool(dynamics["accuracy_inference"].notnull().any())


def remarks(dynamics: "xarray.Dataset") -> list[str]:
    """What is missing from the results and why, each once."""
    lines = []
    order = dynamics["layer"].values.tolist()
    if dynamics.attrs.get("output_classes") == 0:
        lines.append("The output holds no class scores: it has no accuracy and no regions.")
    count = dynamics.sizes["epoch"]
    undefined = dynamics["phase"].values == 0
    by_epochs: dict[str, list[str]] = {}
    for name, bad in zip(order, undefined, strict=True):
        if bad.any():
            by_epochs.setdefault(format_when(dynamics["epoch"].values, bad), []).append(name)
    for epochs, names in by_epochs.items():
        lines.append(f"Dead or not finite {epochs}, and left out: {format_layers(names, order)}.")
    if count < MIN_RECORDS:
        lines.append(f"Fewer than {MIN_RECORDS} recorded epochs: no phases.")
    else:
        defined = (~undefined).sum(axis=1)
        names = [name for name, n in zip(order, defined, strict=True) if 0 < n < MIN_RECORDS]
        if names:
            shown = format_layers(names, order)
            lines.append(f"Defined at fewer than {MIN_RECORDS} records, so no phases: {shown}.")
        untested = (defined >= MIN_RECORDS) & dynamics["phases_p"].isnull().values
        names = [name for name, is_untested in zip(order, untested, strict=True) if is_untested]
        if names:
            shown = format_layers(names, order)
            lines.append(f"Records too unevenly spaced for a border, so no phases: {shown}.")
    if count < MIN_TIMED_RECORDS:
        lines.append(f"Fewer than {MIN_TIMED_RECORDS} recorded epochs: no synchronization.")
    else:
        untimed = ~has_timing(dynamics) & ((~undefined).sum(axis=1) >= MIN_TIMED_RECORDS)
        names = [name for name, is_untimed in zip(order, untimed, strict=True) if is_untimed]
        if names:
            lines.append(
                f"No timing, since the state changes by less than {MIN_CHANGE}: "
                f"{format_layers(names, order)}."
            )
    notice = influence_notice(dynamics)
    return lines if notice is None else [*lines, notice]


def has_timing(dynamics: "xarray.Dataset") -> np.ndarray:
    """(layer,) whether a layer changes enough to say when."""
    return dynamics["progress"].notnull().any("epoch").values


def format_when(epochs: np.ndarray, chosen: np.ndarray) -> str:
    """Some of the recorded epochs, (epoch,) of which are chosen, such as "at epoch 3"."""
    if chosen.all():
        return "at every epoch"
    named = epochs[chosen]
    if len(named) == 1:
        return f"at epoch {format_epoch(named[0])}"
    first, last = format_epochs([named[0], named[-1]])
    return f"at {len(named)} of {len(epochs)} epochs from {first} to {last}"

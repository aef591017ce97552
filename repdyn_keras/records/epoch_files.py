"""Epochs in the names of files, in Datasets and as given: whole ones, and early records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.errors import InputError
from repdyn_keras.text import SHOWN_DECIMALS, exact_epoch, format_epochs, format_names

if TYPE_CHECKING:
    import xarray

# The decimals of an early record have no zeros at their end.
EPOCH_NAME = r"epoch-(\d{6,}(?:\.\d{0,5}[1-9])?)"
WEIGHTS_SUFFIX = ".weights.h5"
RECORD_NAME = re.compile(EPOCH_NAME + r"\.nc")
# Epochs that a message lists.
MAX_LISTED = 60
WEIGHTS_NAME = re.compile(EPOCH_NAME + re.escape(WEIGHTS_SUFFIX))


def epoch_name(epoch: float) -> str:
    """The name of the files of an epoch, without its ending.

    Example:
        >>> epoch_name(12), epoch_name(0.03125)
        ('epoch-000012', 'epoch-000000.03125')
    """
    whole, point, decimals = exact_epoch(epoch).partition(".")
    return f"epoch-{whole:0>6}{point}{decimals}"


def recorded_epoch(epoch: float, recorded: Iterable[float], folder: Path | None = None) -> float:
    """The recorded epoch that is meant by an epoch as given, such as 0.03 for 0.03125.

    Args:
        epoch: a recorded epoch, as it is shown, or rounded to at least as many decimals.
        recorded: the recorded epochs.
        folder: the run folder that a message names.

    Raises:
        InputError: the epoch was not recorded, or several ones are rounded to it.

    Example:
        >>> recorded_epoch(0.03, [0.0, 0.03125, 0.5])
        0.03125
    """
    recorded = [float(each) for each in recorded]
    matches = [each for each in recorded if each == epoch]
    text = exact_epoch(epoch)
    decimals = decimals_of(text)
    if decimals and not matches:
        shown = dict(zip(recorded, format_epochs(recorded), strict=True))
        matches = [each for each in recorded if shown[each] == text] or [
            each
            for each in recorded
            if decimals >= max(decimals_of(shown[each]), SHOWN_DECIMALS)
            and f"{each:.{decimals}f}" == text
        ]
    if len(matches) == 1:
        return matches[0]
    of_run = "" if folder is None else f" of {folder}"
    raise InputError(
        f"Unknown epoch. Expected one of the recorded epochs{of_run}: "
        f"{format_names(map(exact_epoch, recorded), MAX_LISTED)}. Received: epoch {text}."
    )


def decimals_of(text: str) -> int:
    """The number of decimals of an epoch as text."""
    return len(text.partition(".")[2])


def with_float_epochs(dynamics: xarray.Dataset) -> xarray.Dataset:
    """A Dataset with epochs as float64, which earlier versions wrote as whole numbers."""
    names = [name for name in ("epoch", "epoch_other") if name in dynamics.coords]
    return dynamics.assign_coords({name: dynamics[name].astype(float) for name in names})

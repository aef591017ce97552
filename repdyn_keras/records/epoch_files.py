"""Epochs in the names of files and in Datasets: whole ones, and those of early records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repdyn_keras.text import exact_epoch

if TYPE_CHECKING:
    import xarray

# The decimals of an early record have no zeros at their end.
EPOCH_NAME = r"epoch-(\d{6,}(?:\.\d{0,5}[1-9])?)"
WEIGHTS_SUFFIX = ".weights.h5"
RECORD_NAME = re.compile(EPOCH_NAME + r"\.nc")
WEIGHTS_NAME = re.compile(EPOCH_NAME + re.escape(WEIGHTS_SUFFIX))


def epoch_name(epoch: float) -> str:
    """The name of the files of an epoch, without its ending.

    Example:
        >>> epoch_name(12), epoch_name(0.03125)
        ('epoch-000012', 'epoch-000000.03125')
    """
    whole, point, decimals = exact_epoch(epoch).partition(".")
    return f"epoch-{whole:0>6}{point}{decimals}"


def with_float_epochs(dynamics: xarray.Dataset) -> xarray.Dataset:
    """A Dataset with epochs as float64, which earlier versions wrote as whole numbers."""
    names = [name for name in ("epoch", "epoch_other") if name in dynamics.coords]
    return dynamics.assign_coords({name: dynamics[name].astype(float) for name in names})

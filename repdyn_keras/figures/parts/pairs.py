"""Text and shapes that both pictures of a comparison of two runs share."""

from collections.abc import Sequence, Sized

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import require

SCALE = "CKA of A with B (1 = same\nrepresentation, 0 = unrelated)"
# Smallest and largest height of a panel over its width, beyond which cells are not square.
MIN_ASPECT, MAX_ASPECT = 0.75, 1.4


def nonempty(comparison: xr.Dataset, variable: str, dims: Sequence[str]) -> xr.DataArray:
    """A variable in an order of dimensions; InputError where it is absent or empty."""
    values = require(comparison, variable, "Expected a comparison of two runs.").transpose(*dims)
    if values.size == 0:
        sizes = ", ".join(f"{name} = {size}" for name, size in values.sizes.items())
        raise InputError(
            f"Expected at least one {dims[0]} in {variable}. Received: an empty one ({sizes})."
        )
    return values


def pair_subtitle(comparison: xr.Dataset, about: str) -> str:
    """The titles of both runs, and what is drawn."""
    titles = [style.title_of(comparison.attrs.get(f"title_{run}")) for run in "ab"]
    named = [f"{run}: {title}" for run, title in zip("AB", titles, strict=True) if title]
    return style.joined(*named, about)


def pair_aspect(rows: Sized, columns: Sized) -> float:
    """Height of a panel over its width, for square cells as far as possible."""
    return float(np.clip(len(rows) / len(columns), MIN_ASPECT, MAX_ASPECT))

"""What the caller asked for, found in the Dataset or refused with what it holds."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from repdyn_keras.errors import InputError, unknown

NO_REGIONS = "Region variables exist only where planes were recorded (planes > 0)."


def require(dynamics: xr.Dataset, variable: str, hint: str = NO_REGIONS) -> xr.DataArray:
    """A variable of the Dataset.

    Raises:
        InputError: it is absent; ends with the hint, by default why regions usually are.
    """
    if variable in dynamics:
        return dynamics[variable]
    raise unknown("variable", variable, map(str, dynamics.data_vars), hint)


def pick_layer(dynamics: xr.Dataset, layer: str) -> int:
    """The place of a layer along its dimension."""
    names = [str(name) for name in dynamics["layer"].values]
    if str(layer) not in names:
        raise unknown("layer", layer, names, f"Layers of this run: {_listed(names)}.")
    return names.index(str(layer))


def pick_epoch(dynamics: xr.Dataset, epoch: int) -> int:
    """The place of an epoch along its dimension."""
    return _pick_number(dynamics, "epoch", epoch)


def pick_plane(dynamics: xr.Dataset, plane: int) -> int:
    """The place of a plane along its dimension."""
    return _pick_number(dynamics, "plane", plane)


def _pick_number(dynamics: xr.Dataset, kind: str, wanted: int) -> int:
    recorded = dynamics[kind].values
    found = np.flatnonzero(recorded == wanted)
    if found.size == 0:
        raise InputError(
            f"Unknown {kind} {wanted}. Expected one of the recorded {kind}s: {_listed(recorded)}."
        )
    return int(found[0])


def _listed(values: Iterable, most: int = 60) -> str:
    words = [str(value) for value in values]
    if len(words) > most:
        words = [*words[: most - 1], "...", words[-1]]
    return ", ".join(words)

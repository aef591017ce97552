"""Layers, epochs, planes and variables of a Dataset, and names short enough to draw."""

from collections.abc import Iterable, Sequence

import xarray as xr

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.figures.parts.other_similarities import PREFIX
from repdyn_keras.records.epoch_files import recorded_epoch
from repdyn_keras.text import format_names, visible

NO_REGIONS = "Region variables exist only where planes were recorded (planes > 0)."
MAX_LISTED = 60
# Letters of a layer's name above or beside a panel.
MAX_LAYER_NAME = 32


def require(dynamics: xr.Dataset, variable: str, hint: str = NO_REGIONS) -> xr.DataArray:
    """A variable of the Dataset; InputError, which ends with the hint, where it is absent."""
    if variable in dynamics:
        return dynamics[variable]
    if variable.startswith(PREFIX):
        hint = f"`repdyn analyze RUN --measure {variable.removeprefix(PREFIX)}` computes it."
    raise unknown("variable", variable, map(str, dynamics.data_vars), hint)


def require_nonempty(comparison: xr.Dataset, variable: str, dims: Sequence[str]) -> xr.DataArray:
    """A variable in an order of dimensions; InputError where it is absent or empty."""
    values = require(comparison, variable, "Expected a comparison of two runs.").transpose(*dims)
    if values.size == 0:
        sizes = ", ".join(f"{name} = {size}" for name, size in values.sizes.items())
        raise InputError(
            f"Expected at least one {dims[0]} in {variable}. Received: an empty one ({sizes})."
        )
    return values


def layer_names(dynamics: xr.Dataset) -> list[str]:
    """The names of all layers, from the input to the output."""
    return [str(name) for name in dynamics["layer"].values]


def layer_index(dynamics: xr.Dataset, layer: str) -> int:
    """The index of a layer; InputError where it is absent."""
    names = layer_names(dynamics)
    if str(layer) not in names:
        hint = f"Layers of this run: {format_names(names, MAX_LISTED)}."
        raise unknown("layer", layer, names, hint)
    return names.index(str(layer))


def number_index(dynamics: xr.Dataset, kind: str, number: float) -> int:
    """The index of an "epoch" or a "plane"; InputError where it was not recorded.

    An epoch may be rounded, such as 0.03 for 0.03125.
    """
    recorded = dynamics[kind].values.tolist()
    if kind == "epoch":
        return recorded.index(recorded_epoch(number, recorded))
    if number not in recorded:
        raise InputError(
            f"Unknown {kind}. Expected one of the recorded {kind}s: "
            f"{format_names(recorded, MAX_LISTED)}. Received: {kind} {number}."
        )
    return recorded.index(number)


def shortened(names: Iterable[str], max_length: int = 28) -> list[str]:
    """Names on one line of at most `max_length` letters, 12 or more, distinct where they were.

    Long names of layers inside others lose the outer ones first. Then all long names are cut at the
    same place, near their middle if that keeps them distinct. If no place does, long names start
    with their number.

    Example:
        >>> shortened(["net/encoder/attention_1", "net/encoder/attention_2", "stem"], 13)
        ['…/attention_1', '…/attention_2', 'stem']
    """

    def cut(name, tail, number=""):
        if len(name) <= max_length:
            return name
        return f"{number}{name}"[: max_length - tail - 1] + "…" + name[-tail:]

    names = without_outer([visible(name) for name in names], max_length)
    for tail in sorted(range(1, max_length - 2), key=lambda tail: abs(tail - max_length // 2)):
        short = [cut(name, tail) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return [cut(name, max_length // 3, f"{index}: ") for index, name in enumerate(names)]


def without_outer(names: list[str], max_length: int) -> list[str]:
    """Names of which long ones begin with "…/", if they remain distinct."""
    found = []
    for name in names:
        inner = name
        while len(inner) > max_length and "/" in inner.removeprefix("…/"):
            inner = "…/" + inner.removeprefix("…/").partition("/")[2]
        found.append(inner)
    return found if len(set(found)) == len(set(names)) else names


def layer_name(layers: Iterable[str], layer: str) -> str:
    """The text for one of a run's layers. Draw it with `parse_math=False`."""
    layers = [str(name) for name in layers]
    return shortened(layers, MAX_LAYER_NAME)[layers.index(str(layer))]

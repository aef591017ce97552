"""Floors of a similarity, which are marked on its colour bar and explained in the legend."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from repdyn_keras.figures.parts.cells import short_number

# Standard deviations under unrelated data within which a similarity is not distinguished from 0.
UNRELATED = 2.0
CLASSES = "CKA due to the classes alone"
CHANCE = "agreement by chance"
# The text for the levels of a variable.
LEVELS = {
    "cka_null_class": CLASSES,
    "cka_layers_null_class": CLASSES,
    "cka_epochs_null_class": CLASSES,
    "region_agreement_floor": "agreement with a probe fitted on resampled images",
    "region_chance": CHANCE,
    "region_chance_layers": CHANCE,
    "region_chance_epochs": CHANCE,
}


@dataclass(frozen=True)
class Floor:
    """A level of a similarity that is marked on its colour bar.

    Attributes:
        low, middle, high: minimum, median and maximum of the level; equal for a single value.
        text: what it is, for the legend.
        marker: its symbol.
        across: its place on the bar, 0 = left, 1 = right.
    """

    low: float
    middle: float
    high: float
    text: str
    marker: str
    across: float


def floors(dataset: xr.Dataset, *variables: str) -> list[Floor]:
    """The floors that a Dataset holds, without those that are NaN everywhere.

    Args:
        dataset: of a run or of a comparison.
        variables: deviations of unrelated representations (`cka_null`, `cka_layers_null`,
            `cka_epochs_null`), their means and deviations (`similarity_NAME_null`), or levels named
            in `LEVELS`.
    """
    found = []
    for name in variables:
        if name in dataset and "statistic" in dataset[name].dims:
            found += _of_unrelated(dataset[name])
            continue
        values = _values(dataset, name)
        finite = values[np.isfinite(values)]
        if not finite.size:
            continue
        low, middle, high = map(float, np.quantile(finite, (0, 0.5, 1)))
        if name in LEVELS:
            shown = [short_number(value) for value in (middle, low, high)]
            text = f"{LEVELS[name]}, {shown[1]} to {shown[2]}, median {shown[0]}"
            marker, across = ("D", 0.3) if LEVELS[name] == CHANCE else ("o", 0.7)
            found.append(Floor(low, middle, high, text, marker, across))
        else:
            level = UNRELATED * middle
            text = f"unrelated representations, 0 ± {level:.1g} (2 standard deviations)"
            found.append(Floor(level, level, level, text, "s", 0.3))
    return found


def _of_unrelated(null: xr.DataArray) -> list[Floor]:
    """Two deviations above the mean of unrelated representations, unless they are NaN."""
    mean, deviation = (float(null.sel(statistic=name).median()) for name in ("mean", "deviation"))
    if not np.isfinite(mean + deviation):
        return []
    level, about = mean + UNRELATED * deviation, short_number(abs(mean))
    text = (
        f"unrelated representations, {about} ± {UNRELATED * deviation:.1g} (2 standard deviations)"
    )
    return [Floor(level, level, level, text, "s", 0.3)]


def _values(dataset: xr.Dataset, name: str) -> np.ndarray:
    """The values of a floor; none if the Dataset does not hold them."""
    if LEVELS.get(name) == CHANCE:
        kind = name.removeprefix("region_chance")
        variables = f"region_agreement{kind}", f"region_kappa{kind}"
        if not set(variables) <= set(dataset):
            return np.array([])
        # kappa = (agreement - chance) / (1 - chance); equal regions say nothing.
        dims = dataset[variables[0]].dims
        agreement, kappa = (
            dataset[variable].transpose(*dims).values.astype(float) for variable in variables
        )
        rest = np.where(kappa < 1, 1 - kappa, np.nan)
        return (agreement - kappa) / rest
    return dataset[name].values if name in dataset else np.array([])

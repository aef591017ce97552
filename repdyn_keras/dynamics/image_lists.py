"""Lists of the images of a run: the most suspicious labels, the latest learned, the forgotten."""

from typing import TYPE_CHECKING, Any

import numpy as np

from repdyn_keras.dynamics.remarks import has_accuracy
from repdyn_keras.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas
    import xarray

# The lists of images, and their order in words.
ORDERS = {
    "suspects": "another class has more votes than the label, the most suspicious first",
    "late": "the last learned first",
    "forgotten": "the most often forgotten first",
}


def require_histories(dynamics: "xarray.Dataset") -> None:
    """Raises InputError unless a run holds the histories of its images."""
    if "suspicion" not in dynamics:
        raise InputError(
            "Expected a run whose records hold a history of each image. Received: "
            f"{dynamics.attrs['title']!r}, which has none: it was recorded without labels, or by "
            "an earlier version of repdyn-keras. Record it anew, with labels."
        )


def image_list(dynamics: "xarray.Dataset", order: str | None = None) -> "pandas.DataFrame":
    """The images of a run with what their histories amount to, one row for each image.

    Args:
        dynamics: the Dataset of a run.
        order: "suspects" for the labels whose suspicion is above 0, the most suspicious first;
            "late" for all images, those first that were learned last or never; "forgotten" for
            those that were forgotten, the most often forgotten first; None for all images, the
            most suspicious first.

    Returns:
        `pandas.DataFrame`, indexed by `image_id`, with the columns `label_given`, `label_true` (if
        it is known), `label_before` (the class that probes and output predicted most before the
        given label was learned; -1 for none), `suspicion`, `area_under_margin`, `learned_epoch`,
        `forgetting_events`, `prediction_depth` (at the last record; NaN if undefined), and the
        other variables of one value per image.

    Raises:
        InputError: the run holds no histories of images, or the order is unknown.
    """
    require_histories(dynamics)
    if order is not None and order not in ORDERS:
        raise unknown("order", order, ORDERS)
    if order in ("late", "forgotten") and not has_accuracy(dynamics):
        raise InputError(
            f"Expected a run whose output holds class scores, for the order {order!r}. Received: "
            f"{dynamics.attrs['title']!r}, whose output holds none: when its images were learned "
            "is not known."
        )
    columns = [name for name, variable in dynamics.items() if variable.dims == ("image",)]
    table = dynamics[columns].to_dataframe()
    depth = dynamics["prediction_depth"].isel(epoch=-1).values
    defined = depth != np.iinfo(depth.dtype).max
    table["prediction_depth"] = np.where(defined, depth, np.nan)
    # Images that were never learned are the latest.
    late = table["learned_epoch"].fillna(np.inf)
    keys: dict[str | None, list[Any]] = {
        None: [-table["suspicion"]],
        "suspects": [-table["suspicion"]],
        "late": [-late, -table["suspicion"]],
        "forgotten": [-table["forgetting_events"], -table["suspicion"]],
    }
    shown = np.lexsort([np.asarray(key) for key in reversed(keys[order])])
    if order == "suspects":
        shown = shown[table["suspicion"].values[shown] > 0]
    if order == "forgotten":
        shown = shown[table["forgetting_events"].values[shown] > 0]
    first = ("image_id", "label_given", "label_true", "label_before", "suspicion")
    names = sorted(table.columns, key=lambda name: first.index(name) if name in first else 99)
    return table[names].iloc[shown].set_index("image_id")

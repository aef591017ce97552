"""The summary of one run: what the findings of a study need of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repdyn_keras.dynamics.milestones import memorization_epochs
from repdyn_keras.measures.phases import LAYER_NUMBERS, SIMILARITIES, phases_by_layer
from repdyn_keras.measures.synchronization import synchronization_by_layer, synchronization_mean
from repdyn_keras.measures.threads import one_blas_thread
from repdyn_keras.measures.trajectory import (
    Axis,
    defined_records,
    noise_shares,
    octaves,
    states,
    whole_epochs,
)

if TYPE_CHECKING:
    import xarray

# How the records of a run are read: in the window around its perfect fit, the same with
# recalibrated BatchNormalization, and all of them by epoch.
READINGS = ("aligned", "recalibrated", "raw")
# The window, in octaves before and after the epoch of perfect fit, and the least number of records.
WINDOW = (-3.0, 2.0)
MIN_RECORDS = 20
# Positions at which curves are stored, in octaves after the perfect fit.
GRID = np.arange(31) / 6 - 3
# Borders of a layer that are stored; a layer with more has lost its weakest ones.
BORDERS = 8
BY_BORDER = {
    "border_kind": "border_kind",
    "border_z": "border_z",
    "border_p": "border_p",
    "border_contrast": "contrast",
    "border_restlessness": "restlessness",
}
BY_LAYER = ("distinguishability", "contrast_seen", "phases_p")
# Columns of `history.csv` that are stored as curves.
CURVES = {
    "test_accuracy": "test_accuracy",
    "memorized": "memorized",
    "train_accuracy": "train_accuracy",
}
MEMORIZED = ("memorized_10_epoch", "memorized_90_epoch")
# Rounding of an epoch at the end of the window, in octaves.
ROUNDING = 0.02


def summarize(
    dynamics: "xarray.Dataset",
    history: Sequence[Mapping[str, str]],
    recalibrated: np.ndarray | None = None,
    *,
    has_moving_statistics: bool = False,
) -> "xarray.Dataset":
    """The summary of a run.

    Args:
        dynamics: its dynamics.
        history: the rows of its `history.csv`.
        recalibrated: (layer, epoch, epoch_other) CKA recorded with recalibrated
            BatchNormalization; None if it was not recorded.
        has_moving_statistics: whether the network was recorded with the moving statistics of
            BatchNormalization, so that the recalibrated reading is another one.

    Returns:
        `xarray.Dataset` over (similarity, reading, layer, border, u); `docs/files.md` lists its
        variables.
    """
    import xarray

    epochs = dynamics["epoch"].values
    layers = dynamics["layer"].values.tolist()
    fit = float(dynamics.attrs["perfect_fit_epoch"])
    blocks = dynamics["is_block"].values.astype(bool)
    inside = window_records(epochs, fit)
    sizes = {"similarity": len(SIMILARITIES), "reading": len(READINGS), "layer": len(layers)}
    variables = empty_variables(sizes)
    pairs = {name: np.full((len(layers),) * 2, np.nan) for name in PAIRWISE}
    progress = np.full((len(layers), len(GRID)), np.nan)
    for s, similarity in enumerate(SIMILARITIES):
        if similarity not in dynamics:
            continue
        gram = dynamics[similarity].values
        raw = {name: dynamics[name].values for name in raw_names(SIMILARITIES[similarity])}
        raw = {name.removesuffix(SIMILARITIES[similarity]): each for name, each in raw.items()}
        pairwise = synchronization(gram, epochs, octaves)
        store(variables, (s, 2), raw, gram, epochs, octaves, fit)
        store_means(variables, (s, 2), pairwise, blocks)
        if len(inside) < MIN_RECORDS:
            continue
        times = epochs[inside]
        sources = {"aligned": gram}
        if not has_moving_statistics:
            sources["recalibrated"] = gram
        elif recalibrated is not None and similarity == "cka":
            sources["recalibrated"] = recalibrated
        done: dict[int, tuple[dict, dict]] = {}
        for reading, source in sources.items():
            part = source[:, inside][:, :, inside]
            axis = aligned_axis(fit)
            if id(source) not in done:
                found = phases_by_layer(part, times.tolist(), axis)
                done[id(source)] = found, synchronization(part, times, axis)
            found, pairwise = done[id(source)]
            at = s, READINGS.index(reading)
            store(variables, at, found, part, times, axis, fit)
            store_means(variables, at, pairwise, blocks)
            if similarity == "cka" and reading == "aligned":
                pairs = {name: pairwise[name] for name in PAIRWISE}
                progress = np.stack([on_grid(axis(times), curve) for curve in pairwise["progress"]])
    data: dict[str, Any] = {name: (dims, values) for name, (dims, values) in variables.items()}
    data |= {name: (("layer", "layer_other"), values) for name, values in pairs.items()}
    data["progress"] = ("layer", "u"), progress
    counts = [len(inside), len(inside), len(epochs)]
    data["n_records"] = "reading", np.array(counts, np.int64)
    data["is_block"] = "layer", blocks.astype(np.int8)
    data["position"] = "layer", np.arange(len(layers), dtype=float)
    data["probe_accuracy"] = ("layer", "subset"), dynamics["probe_accuracy"].values[:, -1]
    data |= milestones(dynamics, history, fit)
    return xarray.Dataset(
        data,
        coords={
            "layer": layers,
            "layer_other": layers,
            "similarity": list(SIMILARITIES),
            "reading": list(READINGS),
            "border": np.arange(BORDERS),
            "u": GRID,
            "subset": dynamics["subset"].values.tolist(),
        },
        attrs={"title": dynamics.attrs["title"], "images_hash": dynamics.attrs["images_hash"]},
    )


PAIRWISE = ("synchronization", "spread", "lag")


def window_records(epochs: np.ndarray, fit: float) -> np.ndarray:
    """Indices of the records from an eighth to four times the epoch of perfect fit.

    Empty without a perfect fit, or if the records end before the window does.
    """
    if not np.isfinite(fit) or fit <= 0:
        return np.array([], int)
    with np.errstate(divide="ignore"):
        u = np.log2(np.asarray(epochs, float) / fit)
    # The records are up to a sixth of an octave apart.
    if u[-1] < WINDOW[1] - 1 / 6:
        return np.array([], int)
    return np.flatnonzero((u >= WINDOW[0] - ROUNDING) & (u <= WINDOW[1] + ROUNDING))


def aligned_axis(fit: float) -> Axis:
    """The axis u = log2(epoch / epoch of perfect fit), in octaves."""

    def axis(epochs: np.ndarray) -> np.ndarray:
        return np.log2(np.asarray(epochs, float) / fit)

    return axis


def synchronization(gram: np.ndarray, epochs: np.ndarray, axis: Axis) -> dict[str, np.ndarray]:
    """The results of `synchronization_by_layer`, with one BLAS thread: the matrices are small."""
    with one_blas_thread():
        return synchronization_by_layer(gram, epochs.tolist(), axis)


def raw_names(suffix: str) -> list[str]:
    """The variables of phases in the dynamics of a run."""
    names = ["phase", "noise_share", *BY_BORDER.values(), *LAYER_NUMBERS]
    return [f"{name}{suffix}" for name in names]


def empty_variables(sizes: dict[str, int]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Variables by similarity and reading, all NaN."""
    dims = ("similarity", "reading", "layer")
    shape = tuple(sizes[dim] for dim in dims)
    by_layer = (*BY_LAYER, "noise_share", "change")
    by_border = ("border_epoch", "border_epoch_before", "border_u", *BY_BORDER)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in by_layer:
        variables[name] = dims, np.full(shape, np.nan)
    for name in by_border:
        variables[name] = (*dims, "border"), np.full((*shape, BORDERS), np.nan)
    for name in ("synchronization_mean", "spread_mean"):
        variables[name] = dims[:2], np.full(shape[:2], np.nan)
    return variables


def store(
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]],
    at: tuple[int, int],
    phases: Mapping[str, np.ndarray],
    gram: np.ndarray,
    epochs: np.ndarray,
    axis: Axis,
    fit: float,
) -> None:
    """Stores the phases of all layers for one similarity and reading.

    Args:
        variables: the variables, which are changed.
        at: indices of the similarity and the reading.
        phases: the result of `phases_by_layer`.
        gram: (layer, epoch, epoch_other) similarities.
        epochs: (epoch,) the epochs.
        axis: positions of epochs, in octaves.
        fit: the epoch of perfect fit.
    """
    for name in BY_LAYER:
        variables[name][1][at] = phases[name]
    for layer, similarities in enumerate(gram):
        place = (*at, layer)
        records = whole_epochs(defined_records(similarities), np.asarray(epochs))
        variables["noise_share"][1][place] = mean_or_nan(phases["noise_share"][layer, records])
        variables["change"][1][place] = change(similarities, records, axis(epochs))
        found = np.flatnonzero(phases["border_kind"][layer] > 0)
        strongest = np.argsort(-phases["border_z"][layer, found], kind="stable")[:BORDERS]
        found = np.sort(found[strongest])
        before = [records[np.searchsorted(records, each) - 1] for each in found]
        count = slice(0, len(found))
        for name, source in BY_BORDER.items():
            variables[name][1][place][count] = phases[source][layer, found]
        variables["border_epoch"][1][place][count] = epochs[found]
        variables["border_epoch_before"][1][place][count] = epochs[before]
        # A border is between two records, halfway in octaves.
        with np.errstate(divide="ignore"):
            position = np.log2(np.sqrt(epochs[found] * np.asarray(epochs)[before]) / fit)
        variables["border_u"][1][place][count] = np.where(np.isfinite(position), position, np.nan)


def store_means(variables, at: tuple[int, int], pairwise: Mapping, blocks: np.ndarray) -> None:
    """Stores the means over all pairs of blocks for one similarity and reading."""
    for name in ("synchronization", "spread"):
        variables[f"{name}_mean"][1][at] = synchronization_mean(pairwise[name], blocks)


def change(gram: np.ndarray, records: np.ndarray, u: np.ndarray) -> float:
    """1 - similarity of the first and the last state of a layer: 0 = it did not change."""
    if len(records) < 3:
        return float("nan")
    own = gram[np.ix_(records, records)]
    return float(1 - states(own, noise_shares(own, u[records]))[0, -1])


def milestones(
    dynamics: "xarray.Dataset", history: Sequence[Mapping[str, str]], fit: float
) -> dict[str, Any]:
    """Epochs and accuracies of the network's output, and curves around the perfect fit."""
    found: dict[str, Any] = {
        "perfect_fit_epoch": fit,
        "memorized_share": float(dynamics.attrs["memorized_share"]),
    }
    curves = {name: column(history, source) for name, source in CURVES.items()}
    epochs, shares = curves["memorized"]
    found |= dict(zip(MEMORIZED, memorization_epochs(epochs, shares, fit), strict=True))
    epochs, test = curves["test_accuracy"]
    best = int(np.argmax(test)) if len(test) else 0
    later = test[best:]
    lowest = int(np.argmin(later)) if len(later) else 0
    found |= {
        "best_test_accuracy": float(test[best]) if len(test) else float("nan"),
        "best_test_epoch": float(epochs[best]) if len(test) else float("nan"),
        "final_test_accuracy": float(test[-1]) if len(test) else float("nan"),
        "final_train_accuracy": last_or_nan(curves["train_accuracy"][1]),
        "test_fall": float(later[0] - later[lowest]) if len(test) else float("nan"),
        "test_recovery": float(later[lowest:].max() - later[lowest]) if len(test) else float("nan"),
    }
    for name, (epochs, values) in curves.items():
        curve = np.full(len(GRID), np.nan)
        if np.isfinite(fit) and fit > 0 and len(values):
            kept = epochs > 0
            curve = on_grid(np.log2(epochs[kept] / fit), values[kept])
        found[name] = "u", curve
    return found


def column(history: Sequence[Mapping[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of a column of `history.csv`, where it has values."""
    rows = [row for row in history if row.get(name)]
    epochs = np.array([float(row["epoch"]) for row in rows])
    return epochs, np.array([float(row[name]) for row in rows])


def on_grid(u: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at GRID by linear interpolation; NaN outside of the records, rounding apart."""
    if len(u) == 0:
        return np.full(len(GRID), np.nan)
    inside = (GRID >= u[0] - 1 / 6) & (GRID <= u[-1] + 1 / 6)
    return np.where(inside, np.interp(GRID, u, values), np.nan)


def mean_or_nan(values: np.ndarray) -> float:
    """The mean; NaN without values."""
    return float(np.mean(values)) if len(values) else float("nan")


def last_or_nan(values: np.ndarray) -> float:
    """The last value; NaN without values."""
    return float(values[-1]) if len(values) else float("nan")

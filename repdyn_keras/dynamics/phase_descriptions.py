"""What happened in each phase of a layer: its epochs, its border, and a name for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.measures.phases import RESTLESSNESS, SIMILARITIES, STATE

if TYPE_CHECKING:
    import xarray

# Names of the kinds of borders, by the values of `border_kind`.
KINDS = {STATE: "state", RESTLESSNESS: "freeze"}
# Subsets of images whose accuracies describe a phase, by the name of the quantity.
QUANTITIES = {
    "train": "train",
    "memorized": "mislabeled_given",
    "resisted": "mislabeled_true",
    "test": "test",
}
# An accuracy changes in a phase if it differs by at least this much.
MIN_CHANGE = 0.1
# Without accuracies, the loss changes if it differs by at least this factor.
MIN_LOSS_FACTOR = 1.1


@dataclass(frozen=True)
class Border:
    """The border at which a phase begins.

    Attributes:
        kind: "state" where the state of the layer changes, "freeze" where its records stop
            scattering around their course.
        z: size of the effect in standard deviations of layers without phases.
        p: share of layers without phases that have an effect of this size anywhere.
        contrast: by how much epochs inside a phase are more alike than epochs equally far apart on
            two sides of the border.
        restlessness: by how much epochs after the border are more alike than those before it.
    """

    kind: str
    z: float
    p: float
    contrast: float
    restlessness: float


@dataclass(frozen=True)
class Change:
    """A number at the first and at the last record of a phase at which it is known.

    Attributes:
        quantity: "loss", "train" (accuracy on the given labels), "memorized", "resisted" or "test".
        first, last: the numbers.
        turn: epoch and value of the record that lies furthest outside of both numbers; None if
            none does by 0.1 or more, and for the loss.
    """

    quantity: str
    first: float
    last: float
    turn: tuple[float, float] | None = None

    @property
    def rise(self) -> float:
        """The last number minus the first."""
        return self.last - self.first


@dataclass(frozen=True)
class PhaseDescription:
    """One phase of a layer.

    Attributes:
        layer: name of the layer.
        number: number of the phase, from 1.
        first, last: its first and last recorded epoch.
        border: the border at which it begins; None for the first phase.
        name: what happened, by the rules of `phase_name`; empty if nothing is known.
        changes: of the network's loss and accuracies, as far as they are known.
    """

    layer: str
    number: int
    first: float
    last: float
    border: Border | None
    name: str
    changes: tuple[Change, ...]


def describe_phases(
    dynamics: xarray.Dataset,
    history: Iterable[Mapping[str, float]] = (),
    similarity: str = "cka",
) -> list[PhaseDescription]:
    """Describes every phase of every layer by what the network did in it.

    Args:
        dynamics: the Dataset of a run.
        history: rows of `history.csv`, for the loss.
        similarity: "cka" or "region_agreement", from which the phases were found.

    Returns:
        The phases, by layer and epoch. A layer that is undefined at every record has none.

    Raises:
        InputError: the similarity is unknown, or the run has no phases by it.
    """
    if similarity not in SIMILARITIES:
        raise unknown("similarity", similarity, SIMILARITIES)
    suffix = SIMILARITIES[similarity]
    if f"phase{suffix}" not in dynamics:
        raise InputError(
            f"Expected phases by {similarity}, phase{suffix} in the Dataset. Received: a run "
            "without decision regions."
        )
    epochs = dynamics["epoch"].values
    courses = known_courses(dynamics, history)
    fit = dynamics.attrs.get("perfect_fit_epoch", float("nan"))
    found = []
    for layer in map(str, dynamics["layer"].values):
        labels = dynamics[f"phase{suffix}"].sel(layer=layer).values
        for number in range(1, int(labels.max()) + 1):
            records = np.flatnonzero(labels == number)
            changes = [change(name, course, records, epochs) for name, course in courses.items()]
            known = tuple(each for each in changes if each is not None)
            first, last = float(epochs[records[0]]), float(epochs[records[-1]])
            border = None
            if number > 1:
                border = border_at(dynamics.sel(layer=layer, epoch=first), suffix)
            name = phase_name(known, is_after_fit=first >= fit)
            found.append(PhaseDescription(layer, number, first, last, border, name, known))
    return found


def border_at(record: xarray.Dataset, suffix: str) -> Border:
    """The border before one record of one layer."""
    names = ("border_z", "border_p", "contrast", "restlessness")
    kind = KINDS[int(record[f"border_kind{suffix}"])]
    return Border(kind, *(float(record[f"{name}{suffix}"]) for name in names))


def has_wrong_labels(dynamics: xarray.Dataset) -> bool:
    """Whether a run has wrongly labelled images, so that one can speak of memorization."""
    if "probe_accuracy" not in dynamics:
        return False
    return bool(dynamics["probe_accuracy"].sel(subset="mislabeled_given").notnull().any())


def known_courses(
    dynamics: xarray.Dataset, history: Iterable[Mapping[str, float]]
) -> dict[str, np.ndarray]:
    """(epoch,) loss and accuracies of the network by name, without those that are never known.

    The loss is that of the training during the epoch, so epoch 0 has none.
    """
    losses = {row["epoch"]: row["loss"] for row in history if {"epoch", "loss"} <= set(row)}
    epochs = dynamics["epoch"].values.tolist()
    courses = {"loss": np.array([losses.get(epoch, np.nan) for epoch in epochs], float)}
    if "probe_accuracy" in dynamics:
        output = dynamics["probe_accuracy"].isel(layer=-1)
        courses |= {name: output.sel(subset=part).values for name, part in QUANTITIES.items()}
    return {name: course for name, course in courses.items() if np.isfinite(course).any()}


def change(
    quantity: str, course: np.ndarray, records: np.ndarray, epochs: np.ndarray
) -> Change | None:
    """The change of a number in a phase; None if it is not known at any of its records.

    Args:
        quantity: name of the number.
        course: (epoch,) the number.
        records: indices of the records of the phase.
        epochs: (epoch,) the recorded epochs.
    """
    known = records[np.isfinite(course[records])]
    if len(known) == 0:
        return None
    first, last = float(course[known[0]]), float(course[known[-1]])
    values = course[known]
    outside = np.maximum(values - max(first, last), min(first, last) - values)
    furthest = int(np.argmax(outside))
    turn = None
    if quantity != "loss" and outside[furthest] >= MIN_CHANGE:
        turn = float(epochs[known[furthest]]), float(values[furthest])
    return Change(quantity, first, last, turn)


def phase_name(changes: Iterable[Change], is_after_fit: bool) -> str:
    """The name of a phase, from what changed between its first and its last record.

    A change of an accuracy counts if it is 0.1 or more.

    - "learning": the test accuracy rises; without test images, the accuracy on the given labels.
    - "memorization": the memorized share rises. Without wrongly labelled images, never.
    - "learning and memorization": both rise.
    - "fitting": neither rises, but the accuracy on the given labels does.
    - "forgetting": none of these rises, and the accuracy on the given labels or the test accuracy
      falls.
    - "unsteady": no accuracy changes, but one does at a record in between.
    - "after the fit": no accuracy changes, and the phase begins at the perfect fit or later.
    - "stable": no accuracy changes, and the phase begins earlier.

    If no accuracy is known: "learning" if the loss falls to 1/1.1 of its first value or less,
    "forgetting" if it rises to 1.1 times or more, else "stable"; no name without a loss.

    Args:
        changes: the changes in the phase, see `Change`.
        is_after_fit: whether the phase begins at the perfect fit or later.
    """
    by_quantity = {each.quantity: each for each in changes}
    loss = by_quantity.pop("loss", None)
    if not by_quantity:
        if loss is None:
            return ""
        if loss.last * MIN_LOSS_FACTOR <= loss.first:
            return "learning"
        return "forgetting" if loss.last >= loss.first * MIN_LOSS_FACTOR else "stable"
    rises = {name: each.rise for name, each in by_quantity.items()}
    fit = rises.get("train", 0.0)
    names = []
    if rises.get("test", fit) >= MIN_CHANGE:
        names.append("learning")
    if rises.get("memorized", 0.0) >= MIN_CHANGE:
        names.append("memorization")
    if names:
        return " and ".join(names)
    if fit >= MIN_CHANGE:
        return "fitting"
    if min(fit, rises.get("test", 0.0)) <= -MIN_CHANGE:
        return "forgetting"
    if any(each.turn is not None for each in by_quantity.values()):
        return "unsteady"
    return "after the fit" if is_after_fit else "stable"

"""What happened in a run, in sentences made from its Dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.milestones import memorization_epochs, output_accuracy
from repdyn_keras.dynamics.phase_descriptions import describe_phases
from repdyn_keras.dynamics.remarks import format_epochs, format_layers, has_accuracy

if TYPE_CHECKING:
    import xarray

# A layer changed much between two epochs if it has this share of the largest change of any layer,
# and no layer changed at all below `MIN_CHANGE` (in 1 - CKA).
LARGE_SHARE, MIN_CHANGE = 0.5, 0.1
# Mean distance between the courses of two blocks, in octaves of epochs: below the first they change
# together, below the second roughly so.
TOGETHER, ROUGHLY = 0.25, 0.75
# Groups of layers with a border of the same kind at the same epoch that are named.
MAX_BORDERS = 3
# Difference of the accuracies with batch and with moving statistics from which on it is named.
BATCH_NORM_GAP = 0.1


def story(dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]) -> list[str]:
    """Four to eight sentences on what happened in a run, with their numbers and doubts.

    Args:
        dynamics: the Dataset of the run.
        history: the rows of `history.csv`; may be empty.

    Returns:
        The sentences, each of which stands on its own.
    """
    found = [
        fit_sentence(dynamics),
        memorization_sentence(dynamics),
        change_sentence(dynamics),
        settling_sentence(dynamics),
        border_sentence(dynamics, history),
        synchronization_sentence(dynamics),
        batch_norm_sentence(dynamics),
        "This is one run. Intervals are over its images and planes; how much another seed would "
        "change, only several runs can tell (repdyn study).",
    ]
    return [sentence for sentence in found if sentence]


def fit_sentence(dynamics: "xarray.Dataset") -> str:
    """When the network fitted its training labels, and how well it did on test images."""
    if not has_accuracy(dynamics):
        return "The accuracy of the network is not known, so nothing is said about its fit."
    fit = float(dynamics.attrs["perfect_fit_epoch"])
    epochs, train = output_accuracy(dynamics, "train")
    if np.isnan(fit):
        best = int(np.argmax(train))
        text = (
            f"The network did not fit its training labels: at most {train[best]:.1%} were right, "
            f"at epoch {epochs[best]:.0f}"
        )
    else:
        text = f"The network fitted its training labels (99.5% or more) from epoch {fit:.0f} on"
    epochs, test = output_accuracy(dynamics, "test")
    if not len(test):
        return f"{text}; there are no test images."
    best = int(np.argmax(test))
    return (
        f"{text}; on test images it was right in {test[best]:.0%} at best (epoch "
        f"{epochs[best]:.0f}) and in {test[-1]:.0%} at the end."
    )


def memorization_sentence(dynamics: "xarray.Dataset") -> str:
    """When the network memorized the wrong labels, and what it said of those images before."""
    epochs, memorized = output_accuracy(dynamics, "mislabeled_given")
    if not has_accuracy(dynamics):
        return ""
    if not len(memorized):
        return "No label is known to be wrong, so memorization cannot be told from learning."
    _, resisted = output_accuracy(dynamics, "mislabeled_true")
    turn = int(np.argmax(resisted))
    before = (
        f" Earlier it gave up to {resisted[turn]:.0%} of these images their true class "
        f"(epoch {epochs[turn]:.0f})."
        if resisted[turn] >= 0.5
        else ""
    )
    if len(memorized) == 1:
        return f"At epoch {epochs[0]:.0f} it has memorized {memorized[0]:.0%} of the wrong labels."
    begin, end = memorization_epochs(epochs, memorized, dynamics.attrs["perfect_fit_epoch"])
    if np.isnan(begin):
        return f"It did not memorize the wrong labels: {memorized[-1]:.0%} at the end.{before}"
    if np.isnan(end):
        return (
            f"It memorized the wrong labels in part: 10% by epoch {begin:.0f}, "
            f"{memorized[-1]:.0%} at the end.{before}"
        )
    return (
        f"It memorized the wrong labels between epochs {begin:.0f} (10% of them) and {end:.0f} "
        f"(90%); at the end {memorized[-1]:.0%} were memorized.{before}"
    )


def window(dynamics: "xarray.Dataset") -> tuple[int, int, str] | None:
    """Indices of two records, and what lies between them: memorization, learning, or all."""
    epochs = dynamics["epoch"].values
    if len(epochs) < 2:
        return None
    fit = float(dynamics.attrs["perfect_fit_epoch"])
    known, memorized = output_accuracy(dynamics, "mislabeled_given")
    if len(memorized):
        begin, end = memorization_epochs(known, memorized, fit)
        if end > begin:
            first, last = (int(np.flatnonzero(epochs == epoch)[0]) for epoch in (begin, end))
            return first, last, "while the wrong labels were memorized"
    if np.isfinite(fit) and fit > epochs[0]:
        return 0, int(np.flatnonzero(epochs >= fit)[0]), "until the perfect fit"
    return 0, len(epochs) - 1, "from the first to the last record"


def change_sentence(dynamics: "xarray.Dataset") -> str:
    """Which layers changed most in the window, by CKA with its interval."""
    found = window(dynamics)
    if found is None:
        return "Only one epoch was recorded, so nothing can be said about change."
    first, last, name = found
    layers = [str(layer) for layer in dynamics["layer"].values]
    cka = dynamics["cka"].isel(epoch=first, epoch_other=last).values
    change = 1 - np.where(np.isfinite(cka), cka, np.nan)
    epochs = dynamics["epoch"].values
    span = f"{name} (epochs {epochs[first]} to {epochs[last]})"
    if not np.isfinite(change).any():
        return f"No layer is defined at both ends of the time {span}."
    most = int(np.nanargmax(change))
    if change[most] < MIN_CHANGE:
        return (
            f"No layer changed much {span}: the CKA of every layer with itself stayed at "
            f"{np.nanmin(cka):.2f} or above."
        )
    is_large = change >= LARGE_SHARE * change[most]
    large = [layers[index] for index in np.flatnonzero(is_large)]
    interval = ""
    if "cka_interval" in dynamics:
        low, high = dynamics["cka_interval"].isel(layer=most, epoch=first, epoch_other=last).values
        if np.isfinite(low) and np.isfinite(high):
            interval = f", 95% interval over images {low:.2f} to {high:.2f}"
    text = (
        f"The layers that changed most {span} are {format_layers(large, layers)}; most of all "
        f"{layers[most]} (CKA {cka[most]:.2f} between its two states{interval}; 1 = unchanged, "
        "0 = unrelated)"
    )
    rest = np.flatnonzero(~is_large & np.isfinite(change))
    if not len(rest):
        return text + "."
    names = format_layers([layers[index] for index in rest], layers)
    return f"{text}. {names} stayed at {np.min(cka[rest]):.2f} or above."


def settling_sentence(dynamics: "xarray.Dataset") -> str:
    """From which epoch on the layers stand still."""
    if dynamics.sizes["epoch"] < 2:
        return ""
    layers = [str(layer) for layer in dynamics["layer"].values]
    settled = dynamics["settling_epoch"].values
    known = np.flatnonzero(np.isfinite(settled))
    if not len(known):
        return ""
    first, last = settled[known].min(), settled[known].max()
    early = format_layers([layers[i] for i in known if settled[i] == first], layers)
    late = format_layers([layers[i] for i in known if settled[i] == last], layers)
    end = dynamics["epoch"].values[-1]
    if last == end and first < end:
        return (
            f"At the end, {late} still changed: only at epoch {last:.0f} are they within CKA 0.95 "
            f"of their last state. {early} stand still from epoch {first:.0f} on."
        )
    if first == last:
        return f"All layers stand still (CKA above 0.95 with the end) from epoch {last:.0f} on."
    return (
        f"The first layers to stand still (CKA above 0.95 with the end) are {early}, from epoch "
        f"{first:.0f} on, and the last {late}, from epoch {last:.0f} on."
    )


def border_sentence(dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]) -> str:
    """The borders of phases that most layers share, and the layers without any."""
    if not dynamics["phases_p"].notnull().any():
        return "Too few records, or too unevenly spaced, to tell phases from drift."
    layers = [str(layer) for layer in dynamics["layer"].values]
    groups: dict[tuple[int, str], list] = {}
    for phase in describe_phases(dynamics, history):
        if phase.border is not None:
            groups.setdefault((phase.first, phase.border.kind), []).append(phase)
    with_border = {phase.layer for group in groups.values() for phase in group}
    tested = dynamics["phases_p"].notnull().values
    without = [name for name, ok in zip(layers, tested, strict=True) if ok]
    without = [name for name in without if name not in with_border]
    if not groups:
        return "No layer has a border beyond drift and noise: each changed in one course."
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0][0]))[:MAX_BORDERS]
    parts = []
    for (epoch, kind), phases in sorted(ranked):
        event = {"state": "change of state", "freeze": "freeze"}[kind]
        names = format_layers([phase.layer for phase in phases], layers)
        z = [phase.border.z for phase in phases]
        low, high = f"{min(z):.1f}", f"{max(z):.1f}"
        p = max(phase.border.p for phase in phases)
        spread = f"z {low}" if low == high else f"z {low} to {high}"
        parts.append(f"a {event} at epoch {epoch} in {names} ({spread}, p {p:.3f} or less)")
    text = f"Borders between phases beyond drift and noise: {'; '.join(parts)}."
    left_out = sum(map(len, groups.values())) - sum(len(phases) for _, phases in ranked)
    if left_out:
        text += f" There are {left_out} more."
    return f"{text} {format_layers(without, layers)}: no border." if without else text


def synchronization_sentence(dynamics: "xarray.Dataset") -> str:
    """Whether the blocks changed together."""
    mean = float(dynamics.attrs.get("synchronization_mean", np.nan))
    if np.isnan(mean):
        return "Whether the layers changed together cannot be said: too few of them changed."
    octaves = float(np.ptp(np.log2(1.0 + dynamics["epoch"].values)))
    apart = (1 - mean) * octaves
    word = "together" if apart < TOGETHER else "roughly together" if apart < ROUGHLY else "apart"
    timed = dynamics["progress"].notnull().any("epoch").values & dynamics["is_block"].values
    return (
        f"The {int(timed.sum())} blocks that changed enough to be timed did so {word}: "
        f"synchronization {mean:.2f} (1 = at the same time). On average, two of them reach the "
        f"same share of their change at epochs that differ by a factor of {2**apart:.2f}."
    )


def batch_norm_sentence(dynamics: "xarray.Dataset") -> str:
    """At which epochs BatchNormalization lags behind the weights."""
    if "accuracy_training" not in dynamics:
        return ""
    gap = dynamics["accuracy_training"] - dynamics["accuracy_inference"]
    is_large = np.abs(gap.values) > BATCH_NORM_GAP
    if not is_large.any():
        return ""
    where = format_epochs(dynamics["epoch"].values, is_large)
    return (
        f"Doubt: {where} the accuracy with batch statistics differs by more than {BATCH_NORM_GAP} "
        "from that with moving statistics. BatchNormalization lags behind there, which may look "
        "like an early phase (compare with batch_norm='recalibrate')."
    )

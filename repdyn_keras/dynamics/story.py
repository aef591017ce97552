"""What happened in a run, in sentences made from its Dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.milestones import memorization_epochs, output_accuracy
from repdyn_keras.dynamics.phase_descriptions import describe_phases
from repdyn_keras.dynamics.remarks import format_when, has_accuracy, has_timing
from repdyn_keras.measures.accuracies import BATCH_NORM_GAP
from repdyn_keras.text import format_epoch, format_layers

if TYPE_CHECKING:
    import xarray

# A layer changed much between two epochs if it has this share of the largest change of any layer,
# and no layer changed at all below `MIN_CHANGE` (in 1 - CKA).
LARGE_SHARE, MIN_CHANGE = 0.5, 0.1
# Mean distance between the courses of two blocks, in octaves of epochs: below the first they change
# together, below the second roughly so.
TOGETHER, ROUGHLY = 0.25, 0.75
EVENTS = {"state": "a change of state", "freeze": "a freeze"}
# Groups of layers with a border of the same kind at the same epoch that are named.
MAX_BORDERS = 3


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
        "This is one run, and its intervals are over images and planes. What another seed would "
        "give, only several runs can tell: repdyn study.",
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
            f"The network did not reach its perfect fit (99.5% of the training labels): it had at "
            f"most {train[best]:.1%} of them right, at epoch {format_epoch(epochs[best])}"
        )
    else:
        text = (
            "The network reached its perfect fit (99.5% of the training labels) at epoch "
            f"{format_epoch(fit)}{record_before(dynamics, fit)}"
        )
    epochs, test = output_accuracy(dynamics, "test")
    if not len(test):
        return f"{text}. There are no test images."
    best = int(np.argmax(test))
    return (
        f"{text}. Test accuracy peaked at {test[best]:.0%} (epoch {format_epoch(epochs[best])}) "
        f"and ended at {test[-1]:.0%}."
    )


def record_before(dynamics: "xarray.Dataset", epoch: float) -> str:
    """The record before an epoch, which says how sharply the epoch is known."""
    earlier = dynamics["epoch"].values[dynamics["epoch"].values < epoch]
    return f" (the record before is of epoch {format_epoch(earlier[-1])})" if len(earlier) else ""


def memorization_bounds(dynamics: "xarray.Dataset") -> tuple[float, float]:
    """The epochs between which the wrong labels were memorized, beyond chance; NaN for never."""
    epochs, memorized = output_accuracy(dynamics, "mislabeled_given")
    chance = 1 / max(1, int(dynamics.attrs["n_classes"]))
    fit = float(dynamics.attrs["perfect_fit_epoch"])
    begin, end = memorization_epochs(epochs, memorized, fit, chance)
    return begin, end


def memorization_sentence(dynamics: "xarray.Dataset") -> str:
    """When the network memorized the wrong labels, and what it said of those images before."""
    epochs, memorized = output_accuracy(dynamics, "mislabeled_given")
    if not has_accuracy(dynamics):
        return ""
    if not len(memorized):
        return "No label is known to be wrong, so memorization cannot be told from learning."
    if len(memorized) == 1:
        only = format_epoch(epochs[0])
        return f"At epoch {only} it has memorized {memorized[0]:.0%} of the wrong labels."
    _, resisted = output_accuracy(dynamics, "mislabeled_true")
    turn = int(np.argmax(resisted))
    before = (
        f" Before, it predicted the true class of up to {resisted[turn]:.0%} of these images "
        f"(epoch {format_epoch(epochs[turn])})."
        if resisted[turn] >= 0.5
        else ""
    )
    begin, end = memorization_bounds(dynamics)
    if np.isnan(begin):
        return (
            "It did not memorize the wrong labels beyond chance: it gave "
            f"{memorized[-1]:.0%} of them at the end.{before}"
        )
    if np.isnan(end):
        return (
            f"It memorized the wrong labels in part: from epoch {format_epoch(begin)} on beyond "
            f"chance, and {memorized[-1]:.0%} of them at the end.{before}"
        )
    return (
        f"It memorized the wrong labels between epochs {format_epoch(begin)} and "
        f"{format_epoch(end)} (10% and 90% of the way from chance to all); at the end it gave "
        f"{memorized[-1]:.0%} of them.{before}"
    )


def window(dynamics: "xarray.Dataset") -> tuple[int, int, str] | None:
    """Indices of two records, and what lies between them: memorization, learning, or all."""
    epochs = dynamics["epoch"].values
    if len(epochs) < 2:
        return None
    fit = float(dynamics.attrs["perfect_fit_epoch"])
    if len(output_accuracy(dynamics, "mislabeled_given")[1]):
        begin, end = memorization_bounds(dynamics)
        first, last = (np.searchsorted(epochs, epoch) for epoch in (begin, end))
        if end > begin:
            return int(first), int(last), "while the wrong labels were memorized"
        if begin < epochs[-1]:
            return int(first), len(epochs) - 1, "since the memorization began"
    if np.isfinite(fit) and fit > epochs[0]:
        return 0, int(np.searchsorted(epochs, fit)), "until the perfect fit"
    return 0, len(epochs) - 1, "from the first to the last record"


def most_changed(dynamics: "xarray.Dataset", first: int, last: int) -> int | None:
    """Index of the layer whose CKA between two records is the lowest; None if none is defined."""
    cka = dynamics["cka"].isel(epoch=first, epoch_other=last).values
    return int(np.nanargmin(cka)) if np.isfinite(cka).any() else None


def change_sentence(dynamics: "xarray.Dataset") -> str:
    """Which layers changed most in the window, by CKA with its interval."""
    found = window(dynamics)
    if found is None:
        return "Only one epoch was recorded, so nothing can be said about change."
    first, last, name = found
    layers = [str(layer) for layer in dynamics["layer"].values]
    cka = dynamics["cka"].isel(epoch=first, epoch_other=last).values
    epochs = dynamics["epoch"].values
    span = f"{name} (epochs {format_epoch(epochs[first])} to {format_epoch(epochs[last])})"
    most = most_changed(dynamics, first, last)
    if most is None:
        return f"Every layer is undefined at one end of the time {span}."
    change = 1 - cka
    if change[most] < MIN_CHANGE:
        return (
            f"No layer changed much {span}: the CKA of every layer between these epochs is "
            f"{np.nanmin(cka):.2f} or more."
        )
    is_large = change >= LARGE_SHARE * change[most]
    text = (
        f"The layer that changed most {span} is {layers[most]}: the CKA (centered kernel "
        f"alignment) of its two states is {doubtful_cka(dynamics, most, first, last)} (1 = "
        "unchanged, 0 = unrelated)."
    )
    others = [index for index in np.flatnonzero(is_large) if index != most]
    if others:
        names = format_layers([layers[index] for index in others], layers)
        text += f" {names} changed at least half as much."
    rest = np.flatnonzero(~is_large & np.isfinite(change))
    if len(rest):
        names = format_layers([layers[index] for index in rest], layers)
        text += f" {names} changed less (CKA {np.min(cka[rest]):.2f} or more)."
    return text


def doubtful_cka(dynamics: "xarray.Dataset", layer: int, one: int, other: int) -> str:
    """A CKA with its interval and with what the classes alone would give."""
    place = {"layer": layer, "epoch": one, "epoch_other": other}
    doubts = []
    if "cka_interval" in dynamics:
        low, high = dynamics["cka_interval"].isel(place).values
        if np.isfinite(low) and np.isfinite(high):
            doubts.append(f"95% interval over images {low:.2f} to {high:.2f}")
    if "cka_null_class" in dynamics:
        null = float(dynamics["cka_null_class"].isel(place))
        if np.isfinite(null):
            doubts.append(f"with only the classes in common it would be {null:.2f}")
    value = f"{float(dynamics['cka'].isel(place)):.2f}"
    return f"{value}, {'; '.join(doubts)}" if doubts else value


def settling_sentence(dynamics: "xarray.Dataset") -> str:
    """From which epoch on the layers have their final state."""
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
    epochs = dynamics["epoch"].values
    if first == last < epochs[-1]:
        return (
            "All defined layers settled (CKA with the final state above 0.95) at epoch "
            f"{format_epoch(last)}."
        )
    begin = (
        f"Never far from the final state (CKA with it above 0.95): {early}"
        if first == epochs[0]
        else "First to settle (CKA with the final state above 0.95): "
        f"{early}, at epoch {format_epoch(first)}"
    )
    if last < epochs[-1]:
        return f"{begin}; last to settle: {late}, at epoch {format_epoch(last)}."
    unsettled = f"At the end, {late} had not settled."
    return unsettled if first == last else f"{unsettled} {begin}."


def border_sentence(dynamics: "xarray.Dataset", history: Sequence[Mapping[str, float]]) -> str:
    """The borders of phases that most layers share, and the layers without any."""
    if not dynamics["phases_p"].notnull().any():
        return "Too few records, or too unevenly spaced, to tell phases from drift."
    layers = [str(layer) for layer in dynamics["layer"].values]
    groups: dict[tuple[float, str], list] = {}
    for phase in describe_phases(dynamics, history):
        if phase.border is not None:
            groups.setdefault((phase.first, phase.border.kind), []).append(phase)
    with_border = {phase.layer for group in groups.values() for phase in group}
    tested = dynamics["phases_p"].notnull().values
    without = [name for name, ok in zip(layers, tested, strict=True) if ok]
    without = [name for name in without if name not in with_border]
    if not groups:
        return "No layer has a border between phases that smooth drift does not explain."
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0][0]))[:MAX_BORDERS]
    parts = []
    for (epoch, kind), phases in sorted(ranked):
        event = EVENTS[kind]
        names = format_layers([phase.layer for phase in phases], layers)
        z = [phase.border.z for phase in phases]
        low, high = f"{min(z):.1f}", f"{max(z):.1f}"
        p = max(phase.border.p for phase in phases)
        spread = f"z {low}" if low == high else f"z {low} to {high}"
        spread += f", p {p:.3f}" + (" or less" if len(phases) > 1 else "")
        parts.append(f"{event} at epoch {format_epoch(epoch)} in {names} ({spread})")
    text = (
        "Borders between phases that smooth drift does not explain (at a freeze, the records of a "
        f"layer stop scattering around their course): {'; '.join(parts)}."
    )
    left_out = sum(map(len, groups.values())) - sum(len(phases) for _, phases in ranked)
    if left_out:
        text += f" There are {left_out} more."
    return f"{text} {format_layers(without, layers)}: no border." if without else text


def synchronization_sentence(dynamics: "xarray.Dataset") -> str:
    """Whether the blocks changed together."""
    mean = float(dynamics.attrs.get("synchronization_mean", np.nan))
    if np.isnan(mean):
        return "Too few layers changed enough to say whether they changed together."
    octaves = float(np.ptp(np.log2(1.0 + dynamics["epoch"].values)))
    apart = (1 - mean) * octaves
    word = "together" if apart < TOGETHER else "roughly together" if apart < ROUGHLY else "apart"
    layers = [str(layer) for layer in dynamics["layer"].values]
    matrix = dynamics["synchronization"].transpose("layer", "layer_other").values
    # Without pairs of a layer and itself.
    pairs = np.where(np.triu(np.ones_like(matrix), 1) > 0, matrix, np.nan)
    one, other = np.unravel_index(np.nanargmin(pairs), pairs.shape)
    is_timed = has_timing(dynamics)[dynamics["is_block"].values == 1]
    blocks = "blocks" if is_timed.all() else f"{is_timed.sum()} blocks with a timing"
    return (
        f"The {blocks} changed {word}: their synchronization is {mean:.2f} on average (1 = at the "
        "same time), so that two of them reach the same share of their change at epochs that "
        f"differ by a factor of {2**apart:.2f}. Of all layers, {layers[one]} and "
        f"{layers[other]} are the least synchronous pair ({pairs[one, other]:.2f})."
    )


def batch_norm_sentence(dynamics: "xarray.Dataset") -> str:
    """At which epochs BatchNormalization lags behind the weights."""
    if "accuracy_training" not in dynamics:
        return ""
    gap = dynamics["accuracy_training"] - dynamics["accuracy_inference"]
    is_large = np.abs(gap.values) > BATCH_NORM_GAP
    if not is_large.any():
        return ""
    where = format_when(dynamics["epoch"].values, is_large)
    return (
        f"Doubt: {where} the accuracy with batch statistics differs by more than {BATCH_NORM_GAP} "
        "from that with moving statistics. BatchNormalization lags behind there, which may look "
        "like an early phase (compare with batch_norm='recalibrate')."
    )

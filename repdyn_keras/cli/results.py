"""The closing tables of `repdyn run`, `record` and `analyze`: the results of a run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from repdyn_keras.cli.printing import MAX_NAME, format_number, literal, title
from repdyn_keras.dynamics.phase_descriptions import (
    Border,
    Change,
    PhaseDescription,
    describe_phases,
    has_wrong_labels,
)
from repdyn_keras.dynamics.remarks import has_accuracy, remarks
from repdyn_keras.dynamics.story import EVENTS
from repdyn_keras.measures.phases import SIMILARITIES
from repdyn_keras.text import format_duration, format_epoch, format_epochs, format_layers, visible

if TYPE_CHECKING:
    import xarray

    from repdyn_keras.dynamics import Run

ONE_PHASE = "one phase"
# By the kind of a border: what it is, the attribute that holds its size, and the name of the size.
BORDERS = {
    "state": (EVENTS["state"], "contrast", "contrast"),
    "freeze": (EVENTS["freeze"], "restlessness", "fall of restlessness"),
}


def print_results(run: "Run", seconds: float | None = None) -> None:
    """Prints the results of a run by layer and for the network, and the paths of its files.

    Args:
        run: the run.
        seconds: duration of the run; None does not print it.
    """
    dynamics = run.dynamics
    console = Console()
    history, problem = run.known_history()
    notes = [f"The loss is left out. {problem}"] if problem else []
    phases = tested_phases(dynamics, history, "cka")
    console.print(layer_table(dynamics, phases))
    heading = "What the network did in these phases, from the first to the last record:"
    print_lines(console, heading, phase_lines(dynamics, phases))
    if "phase_regions" in dynamics:
        by_regions = tested_phases(dynamics, history, "region_agreement")
        print_lines(console, "Phases by decision regions:", region_lines(dynamics, by_regions))
    console.print(network_table(dynamics, seconds))
    for note in [*notes, *remarks(dynamics)]:
        console.print(literal(note), soft_wrap=True)
    print("Files:")
    folder = run.folder
    files = (folder.report_file, folder.figures, folder.dynamics_file, folder.history_file)
    for path in files:
        is_old = path == folder.report_file and not is_newer(path, folder.dynamics_file)
        if path.exists() and not is_old:
            print(f"  {visible(path)}")


def is_newer(path: Path, other: Path) -> bool:
    """Whether a file exists and was written after another one."""
    both = path.is_file() and other.is_file()
    return both and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def print_lines(console: Console, heading: str, lines: Sequence[Padding]) -> None:
    """Prints a heading and lines; nothing without lines."""
    for line in [heading, *lines] if lines else []:
        console.print(line, highlight=False)


def tested_phases(
    dynamics: "xarray.Dataset", history: Iterable[dict[str, float]], similarity: str
) -> list[PhaseDescription]:
    """The phases of the layers whose records are enough to have more than one."""
    is_tested = dynamics[f"phases_p{SIMILARITIES[similarity]}"].notnull().values
    tested = set(dynamics["layer"].values[is_tested].tolist())
    found = describe_phases(dynamics, history, similarity)
    return [phase for phase in found if phase.layer in tested]


def layer_table(dynamics: "xarray.Dataset", phases: Sequence[PhaseDescription]) -> Table:
    """Accuracies, phases and settling epoch of every layer, as far as they are known."""
    order, courses = dynamics["layer"].values.tolist(), phase_courses(phases)
    columns: dict[str, list[str]] = {}
    captions = []
    for name, values in final_accuracies(dynamics).items():
        columns[name] = [format_number(value) for value in values]
    if columns:
        captions.append(f"{', '.join(columns)}: final accuracy of the probe (output: the network)")
    if courses:
        columns["phases"] = [courses.get(layer, "-") for layer in order]
        captions.append(
            "phases: epochs of each phase by CKA, and how it begins (state: the representation "
            "changes; freeze: the records stop scattering around their course)"
        )
    columns["settles"] = [
        "-" if np.isnan(epoch) else format_epoch(epoch)
        for epoch in dynamics["settling_epoch"].values
    ]
    captions.append("settles: epoch from which the CKA with the final state stays above 0.95")
    table = Table(title=title(dynamics.attrs["title"]), caption="\n".join(captions))
    table.add_column("layer", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="left" if name == "phases" else "right")
    for layer, *cells in zip(order, *columns.values(), strict=True):
        table.add_row(literal(layer, MAX_NAME), *cells)
    table.caption_justify = "left"
    return table


def final_accuracies(dynamics: "xarray.Dataset") -> dict[str, np.ndarray]:
    """(layer,) accuracies at the last recorded epoch by title, if they are known at any epoch."""
    if "probe_accuracy" not in dynamics:
        return {}
    train = "given labels" if has_wrong_labels(dynamics) else "training"
    accuracies = dynamics["probe_accuracy"]
    by_title = {train: accuracies.sel(subset="train"), "test": accuracies.sel(subset="test")}
    return {
        name: values.values[:, -1] for name, values in by_title.items() if values.notnull().any()
    }


def phase_courses(phases: Iterable[PhaseDescription]) -> dict[str, str]:
    """The phases of each layer on one line, as in "0-3 | 4-40 (state) | 45-102 (freeze)"."""
    spans: dict[str, list[str]] = {}
    for phase in phases:
        kind = f" ({phase.border.kind})" if phase.border else ""
        spans.setdefault(phase.layer, []).append(
            "-".join(format_epochs([phase.first, phase.last])) + kind
        )
    return {
        layer: " | ".join(parts) if len(parts) > 1 else ONE_PHASE for layer, parts in spans.items()
    }


def phase_lines(dynamics: "xarray.Dataset", phases: Iterable[PhaseDescription]) -> list[Padding]:
    """What the network did in each distinct phase, in which layers, and the border before it."""
    order = dynamics["layer"].values.tolist()
    spans: dict[tuple[float, float], dict[str, list[PhaseDescription]]] = {}
    for phase in phases:
        kind = phase.border.kind if phase.border else ""
        spans.setdefault((phase.first, phase.last), {}).setdefault(kind, []).append(phase)
    lines = []
    for (first, last), kinds in sorted(spans.items()):
        example = next(iter(kinds.values()))[0]
        changes = ", ".join(map(format_change, example.changes))
        about = " ".join(filter(None, [example.name, f"({changes})" if changes else ""]))
        span = " to ".join(format_epochs([first, last]))
        lines.append(indented(f"epochs {span}: {about or 'nothing is known'}", 2))
        for group in kinds.values():
            layers = f"in {format_layers([phase.layer for phase in group], order)}"
            border = format_borders(phase.border for phase in group if phase.border is not None)
            lines.append(indented(layers + border, 6))
    return lines


def indented(text: str, spaces: int) -> Padding:
    """Untrusted text, indented on each of its lines."""
    return Padding(literal(text), (0, 0, 0, spaces), expand=False)


def format_change(change: Change) -> str:
    """A change as text, as in "test 10% to 84% (93% at epoch 5)"."""
    form = "{:.2g}" if change.quantity == "loss" else "{:.0%}"
    first, last = form.format(change.first), form.format(change.last)
    turn = (
        f" ({form.format(change.turn[1])} at epoch {format_epoch(change.turn[0])})"
        if change.turn
        else ""
    )
    return f"{change.quantity} {first}{'' if first == last else f' to {last}'}{turn}"


def format_borders(borders: Iterable[Border]) -> str:
    """Kind, z, p and size of borders of one kind, over several layers; empty without a border."""
    borders = list(borders)
    if not borders:
        return ""
    event, size, size_name = BORDERS[borders[0].kind]
    ranges = []
    for attribute, name, digits in (("z", "z", 1), ("p", "p", 3), (size, size_name, 2)):
        values = [getattr(border, attribute) for border in borders]
        low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
        ranges.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    return f"; begins with {event} ({', '.join(ranges)})"


def region_lines(dynamics: "xarray.Dataset", phases: Iterable[PhaseDescription]) -> list[Padding]:
    """The phases by region agreement, and the layers that have them."""
    order = dynamics["layer"].values.tolist()
    by_course: dict[str, list[str]] = {}
    for layer, course in phase_courses(phases).items():
        by_course.setdefault(course, []).append(layer)
    return [
        indented(f"{course}: {format_layers(names, order)}", 2)
        for course, names in by_course.items()
    ]


def network_table(dynamics: "xarray.Dataset", seconds: float | None) -> Table:
    """Results of the network as a whole, as far as they have a meaning for the run."""
    attrs = dynamics.attrs
    table = Table(show_header=False)
    if has_accuracy(dynamics):
        fit = attrs["perfect_fit_epoch"]
        labels = "given" if has_wrong_labels(dynamics) else "training"
        reached = "not reached" if np.isnan(fit) else f"epoch {format_epoch(fit)}"
        table.add_row(f"perfect fit (99.5% of the {labels} labels)", reached)
    if has_wrong_labels(dynamics):
        memorized = format_number(attrs["memorized_share"])
        table.add_row("memorized share of the wrong labels", memorized)
    together = format_number(attrs["synchronization_mean"])
    table.add_row("synchronization of the blocks (1 = they progress together)", together)
    if seconds is not None:
        table.add_row("time", format_duration(seconds))
    return table

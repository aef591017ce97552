"""The layers of a network as a tree: what can be recorded, and what is by default."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from repdyn_keras.recording.network.call_names import SEPARATOR
from repdyn_keras.recording.network.call_trace import Call, CallTrace, suffix
from repdyn_keras.recording.network.head import OUTPUT
from repdyn_keras.recording.network.layer_choice import Tap, is_sum
from repdyn_keras.text import format_shape, visible

RECORDED, AS_OUTPUT = "recorded", "recorded as output"
# Columns that the lines beside a tree take for each level.
INDENT = 4
MAX_NAME = 60


class Row(NamedTuple):
    """One line of the tree.

    Attributes:
        name: name of a layer inside the one around it, or of a part of what it returns.
        shape: shape for each image; empty for what cannot be recorded.
        kind: class of the layer.
        note: whether it is recorded, or why it cannot be.
        rows: what is inside it.
    """

    name: str
    shape: str
    kind: str
    note: str
    rows: list["Row"]


def print_layers(
    trace: CallTrace, taps: dict[str, Tap], chosen: Collection[str], choice: str, output: Any
) -> None:
    """Prints the layers of a network as a tree, with shapes and marks of the default choice.

    Args:
        trace: a traced call of the network.
        taps: the tensors that can be recorded, by name.
        chosen: names of those that are recorded by default.
        choice: description of this choice.
        output: the recorded output.
    """
    by_call: dict[int, list[Tap]] = {}
    for tap in taps.values():
        by_call.setdefault(id(tap.call), []).append(tap)
    children: dict[int, list[Call]] = {}
    for call in trace.calls:
        children.setdefault(id(call.parent), []).append(call)
    rows = list(rows_of(None, children, by_call, chosen, output))
    if not has_output(rows):
        rows.append(Row(OUTPUT, format_shape(output.shape[1:]), "", RECORDED, []))
    widths = widths_of(rows)
    title = f"{visible(trace.model.name, MAX_NAME)}: {len(taps)} tensors can be recorded"
    tree = Tree(Text(title, style="bold"))
    add(tree, rows, widths, 0)
    console = Console()
    # A narrow terminal wraps the lines, and does not cut them off.
    needed = sum(widths) + len(AS_OUTPUT) + INDENT * (len(widths) + 1)
    Console(width=max(console.width, needed)).print(tree)
    console.print(Text(f"\nBy default: {choice}."))


def rows_of(
    parent: Call | None,
    children: dict[int, list[Call]],
    by_call: dict[int, list[Tap]],
    chosen: Collection[str],
    output: Any,
) -> Iterator[Row]:
    """The rows inside one call: its layers and sums, in the order in which they end."""
    for call in children.get(id(parent), ()):
        inside = list(rows_of(call, children, by_call, chosen, output))
        taps = by_call.get(id(call), [])
        if not (taps or inside or call.is_layer or is_sum(call)):
            continue
        name = call.name.rpartition(SEPARATOR)[2]
        kind = type(call.operation).__name__
        if len(taps) == 1 and not taps[0].path:
            yield Row(name, shape_of(taps[0]), kind, mark(taps[0], chosen), inside)
        elif any(tensor is output for tensor in call.outputs.values()):
            yield Row(name, format_shape(output.shape[1:]), kind, AS_OUTPUT, inside)
        elif taps:
            parts = [Row(suffix(t.path), shape_of(t), "", mark(t, chosen), []) for t in taps]
            yield Row(name, "", kind, "", [*inside, *parts])
        else:
            note = "out of reach" if call.obstacle else ""
            yield Row(name, "", kind, note, inside)


def has_output(rows: list[Row]) -> bool:
    """Whether a layer of the tree is the recorded output."""
    return any(row.note == AS_OUTPUT or has_output(row.rows) for row in rows)


def shape_of(tap: Tap) -> str:
    """The shape of a tensor for each image."""
    return format_shape(tap.tensor.shape[1:])


def mark(tap: Tap, chosen: Collection[str]) -> str:
    """Whether a tensor is recorded by default."""
    return RECORDED if tap.name in chosen else ""


def widths_of(rows: list[Row], depth: int = 0) -> tuple[int, int, int]:
    """The widths of the columns of names, shapes and classes."""
    names, shapes, kinds = 0, 0, 0
    for row in rows:
        inside = widths_of(row.rows, depth + 1)
        names = max(names, len(shown(row)) + INDENT * depth, inside[0])
        shapes = max(shapes, len(row.shape), inside[1])
        kinds = max(kinds, len(row.kind), inside[2])
    return names, shapes, kinds


def shown(row: Row) -> str:
    """The name of a row as it is printed."""
    return visible(row.name, MAX_NAME)


def add(tree: Tree, rows: list[Row], widths: tuple[int, int, int], depth: int) -> None:
    """Adds rows to a tree, in columns that do not depend on the depth."""
    names, shapes, kinds = widths
    for row in rows:
        name = shown(row).ljust(names - INDENT * depth)
        text = f"{name}  {row.shape:<{shapes}}  {row.kind:<{kinds}}  {row.note}".rstrip()
        is_recorded = row.note in (RECORDED, AS_OUTPUT)
        branch = tree.add(Text(text, style="bold" if is_recorded else ""))
        add(branch, row.rows, widths, depth + 1)

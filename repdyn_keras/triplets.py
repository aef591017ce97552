"""Triplets of images by their ids, which say where planes of decision regions are."""

import re
from typing import Any

from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted

Id = int | str
Triplet = tuple[Id, Id, Id]

FORM = "a whole number, or triplets of image ids, such as [[3, 17, 42], [5, 6, 7]]"
NUMBERS = re.compile(r"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*")
# Digits of the longest id that `numbered` reads.
MAX_DIGITS = 18


def triplets_of(value: Any, name: str = "planes") -> tuple[Triplet, ...]:
    """A sequence of triplets of ids as tuples; an array (planes, 3) is one, too.

    Args:
        value: the triplets.
        name: what they are called, for messages.

    Raises:
        InputError: it is no sequence of triplets of whole numbers or texts, it is empty, a triplet
            names an image twice, or two triplets name the same images.
    """
    rows = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(rows, list | tuple):
        raise InputError(f"Expected {name} as {FORM}. Received: {name}={quoted(value)}.")
    if not rows:
        raise InputError(
            f"Expected at least one triplet in {name}. Received: {name}={quoted(value)}. Use 0 to "
            "record no planes."
        )
    found: list[Triplet] = []
    seen: dict[frozenset, Triplet] = {}
    for row in rows:
        triplet = triplet_of(row, name)
        if frozenset(triplet) in seen:
            raise InputError(
                f"Expected different triplets in {name}. Received: {quoted(triplet)}, whose images "
                f"are those of {quoted(seen[frozenset(triplet)])}. Remove one of them."
            )
        seen[frozenset(triplet)] = triplet
        found.append(triplet)
    return tuple(found)


def triplet_of(row: Any, name: str) -> Triplet:
    """Three different ids; raises InputError otherwise."""
    row = row.tolist() if hasattr(row, "tolist") else row
    if not isinstance(row, list | tuple):
        raise InputError(
            f"Expected {name} as {FORM}. Received: {quoted(row)} in place of a triplet."
        )
    ids = tuple(each.item() if hasattr(each, "item") else each for each in row)
    if not all(isinstance(each, int | str) and not isinstance(each, bool) for each in ids):
        raise InputError(
            f"Expected image ids in {name} as whole numbers or texts. Received: {quoted(row)}."
        )
    if len(ids) != 3:
        raise InputError(
            f"Expected three image ids for each plane in {name}. Received: {quoted(row)}, with "
            f"{len(ids)}."
        )
    if len(set(ids)) != 3:
        raise InputError(
            f"Expected three different images for each plane in {name}. Received: {quoted(row)}, "
            "which repeats an id."
        )
    return ids[0], ids[1], ids[2]


def numbered(text: str) -> tuple[int, int, int] | None:
    """Three whole numbers that commas separate, as in "3,17,42"; None if it is something else."""
    if not NUMBERS.fullmatch(text):
        return None
    parts = [part.strip() for part in text.split(",")]
    if max(map(len, parts)) > MAX_DIGITS:
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])

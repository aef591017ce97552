"""Attributes of layers that are replaced for a while, behind the back of Keras."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(attributes: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Gives attributes of objects other values inside the block, and restores them.

    Keras tracks the attributes of its layers; it notices nothing.

    Args:
        attributes: object, name and value of each.
    """
    before: list[tuple[Any, str, bool, Any]] = []
    try:
        for owner, name, value in attributes:
            own = vars(owner)
            before.append((owner, name, name in own, own.get(name)))
            object.__setattr__(owner, name, value)
        yield
    finally:
        for owner, name, was_set, value in reversed(before):
            if was_set:
                object.__setattr__(owner, name, value)
            else:
                object.__delattr__(owner, name)

"""The triplets of training images in the key `planes`."""

import json
from typing import Any, cast

from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted
from repdyn_keras.triplets import triplets_of

IndexTriplets = tuple[tuple[int, int, int], ...]


def check_triplets(name: str, value: Any, most: int) -> IndexTriplets:
    """Triplets of indices as tuples.

    Whether there are so many images is only known when the data is loaded.

    Args:
        name: the key.
        value: a list or a tuple.
        most: the maximum number of triplets.

    Raises:
        InputError: these are no triplets of different indices, or too many.
    """
    triplets = triplets_of(value, name)
    if len(triplets) > most:
        raise InputError(
            f"{name} is out of range. Expected at most {most} triplets. Received: {len(triplets)}."
        )
    for triplet in triplets:
        # The integers of TOML and of NumPy have 64 bits.
        if not all(isinstance(index, int) and 0 <= index < 2**63 for index in triplet):
            raise InputError(
                f"Expected indices of training images in {name}, numbered from 0. Received: "
                f"{quoted(triplet)}."
            )
    return cast(IndexTriplets, triplets)


def parse_triplets(name: str, text: str) -> Any:
    """The value of a text such as "[[3,17,42],[5,6,7]]"; raises InputError for other texts."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(
            f"Expected {name} as a whole number, or as triplets such as [[3,17,42],[5,6,7]]. "
            f"Received: {name} = {quoted(text)}."
        ) from None

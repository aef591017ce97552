"""Long names of layers, cut so that they can still be told apart."""

from collections.abc import Iterable

from repdyn_keras.text import visible

# Of a layer's name over or beside a panel.
MOST_LETTERS = 32


def shortened(names: Iterable[str], most: int = 28) -> list[str]:
    """Names on one line, without the middles of long ones, as different from each other as before.

    Where to cut is sought for all names together, the middle of what may stay first. Where no cut
    keeps them apart, long names begin with their number.

    Args:
        names: of layers.
        most: letters of a name, at least 12.
    """
    names = [visible(name) for name in names]
    tails = sorted(range(1, most - 2), key=lambda tail: abs(tail - most // 2))
    for tail in tails:
        cut = [_cut(name, most, tail) for name in names]
        if len(set(cut)) == len(set(names)):
            return cut
    numbered = (f"{index}: {name}" for index, name in enumerate(names))
    return [
        name if len(name) <= most else _cut(label, most, most // 3)
        for name, label in zip(names, numbered, strict=True)
    ]


def layer_name(layers: Iterable[str], layer: str) -> str:
    """What a figure writes for one of a run's layers. Draw it with `parse_math=False`."""
    layers = [str(name) for name in layers]
    return shortened(layers, MOST_LETTERS)[layers.index(str(layer))]


def _cut(name: str, most: int, tail: int) -> str:
    return name if len(name) <= most else f"{name[: most - tail - 1]}…{name[-tail:]}"

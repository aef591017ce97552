"""Values as text: sizes, shapes, durations, epochs, lists of names, and untrusted strings."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

# Control characters, invisible and bidirectional marks, lone surrogates, unassigned code points,
# line and paragraph separators.
HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# Maximum number of characters of a value in a message.
MAX_VALUE_LENGTH = 80
# Maximum number of names of a list in a message.
MAX_NAMES = 5
# Maximum number of characters of a layer's name in a list.
MAX_LAYER_LENGTH = 60
# Maximum number of characters of another package's error in a message.
MAX_REASON = 200
# Units of a duration in seconds; from so many days on, days are the only one.
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
MAX_DAYS = 100
BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def format_bytes(size: int) -> str:
    """A number of bytes in decimal units.

    Example:
        >>> format_bytes(191_700_000)
        '191.7 MB'
    """
    scale = 0
    # Integers, since a size computed from a configuration may exceed the range of floats.
    while scale < len(BYTE_UNITS) - 1 and size >= 1000 ** (scale + 1):
        scale += 1
    if scale == 0:
        return f"{size} bytes"
    if size >= 1000 ** len(BYTE_UNITS):
        return f"more than 1000 {BYTE_UNITS[-1]}"
    return f"{size / 1000**scale:.1f} {BYTE_UNITS[scale]}"


def format_shape(shape: Iterable[int | None]) -> str:
    """A shape, with `any` for a size that is not fixed.

    Example:
        >>> format_shape((None, 32, 3))
        'any x 32 x 3'
    """
    return " x ".join("any" if size is None else str(size) for size in shape) or "scalar"


def format_duration(seconds: float) -> str:
    """A duration in its two largest units; from 100 days on, in days.

    Example:
        >>> format_duration(16), format_duration(75), format_duration(309_600)
        ('16 s', '1 min 15 s', '3 d 14 h')
    """
    whole = round(seconds)
    if whole >= MAX_DAYS * 86_400:
        return f"{whole / 86_400:,.0f} d"
    sizes = [(size, name) for size, name in UNITS if whole >= size] or UNITS[-1:]
    parts = []
    for size, name in sizes[:2]:
        parts.append((whole // size, name))
        whole %= size
    return " ".join(f"{count} {name}" for count, name in parts if count) or "0 s"


def format_layers(names: Sequence[str], order: Sequence[str]) -> str:
    """Names of layers, where three or more successive ones are named by the first and the last."""
    places = sorted(order.index(name) for name in names)
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    parts = []
    for run in runs:
        shown = [visible(order[place], MAX_LAYER_LENGTH) for place in run]
        parts += [f"{shown[0]} to {shown[-1]}"] if len(run) > 2 else shown
    return ", ".join(parts)


def format_names(names: Iterable[object], limit: int = MAX_NAMES) -> str:
    """The first `limit` names, separated by commas, and the number of remaining names.

    Example:
        >>> format_names(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def format_error(error: Exception) -> str:
    """The type and the first line of another package's error.

    Example:
        >>> format_error(KeyError("weights"))
        "KeyError: 'weights'"
    """
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:MAX_REASON]}"


def quoted(value: object) -> str:
    """The `repr` of a value; long ones are shortened in the middle."""
    try:
        return visible(repr(value), MAX_VALUE_LENGTH)
    except ValueError:  # `repr` rejects integers of more than 4300 digits
        return "a number of thousands of digits"
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def visible(text: object, max_length: int | None = None) -> str:
    """Untrusted text on one line, without characters that a terminal interprets.

    Control characters, line breaks and marks that reorder or hide characters are escaped, as in
    `\\x1b`, `\\n` or `\\u202e`. Markup such as `[red]` or `$x$` is unchanged, so callers have to
    print the text literally.

    Args:
        text: a name, a title or a message.
        max_length: number of characters to show, at least 3; longer text is shortened in the
            middle. None shows all of it.
    """
    text = str(text)
    if max_length is not None and len(text) > 2 * max_length:
        text = text[:max_length] + text[-max_length:]
    shown = "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in HIDDEN_CATEGORIES
        else char
        for char in text
    )
    if max_length is None or len(shown) <= max_length:
        return shown
    tail = max_length // 2
    return f"{shown[: max_length - tail - 1]}…{shown[-tail:]}"


# Epochs: whole ones, and those of early records, which are shares of the first two.

# Decimals to which the epoch of an early record is rounded, and with which it is shown at least.
EPOCH_DECIMALS, SHOWN_DECIMALS = 6, 2


def is_whole(epoch: float) -> bool:
    """Whether an epoch is a whole number, and not that of an early record."""
    return float(epoch).is_integer()


def exact_epoch(epoch: float) -> str:
    """An epoch with all of its decimals, as in the names of files.

    Example:
        >>> exact_epoch(12.0), exact_epoch(0.03125)
        ('12', '0.03125')
    """
    text = f"{epoch:.{EPOCH_DECIMALS}f}"
    return text.rstrip("0").rstrip(".")


def format_epoch(epoch: float) -> str:
    """An epoch in a sentence, with two decimals if it is not whole; see `format_epochs`."""
    return format_epochs([epoch])[0]


def format_epochs(epochs: Iterable[float]) -> list[str]:
    """Epochs side by side: those that are not whole have two decimals.

    They have more where two would make them whole, or equal to one another.

    Example:
        >>> format_epochs([0, 0.002558, 0.03125, 0.5, 1, 12])
        ['0', '0.003', '0.03', '0.5', '1', '12']
    """
    epochs = list(epochs)
    early = {epoch for epoch in epochs if not is_whole(epoch)}
    texts = {}
    for decimals in range(EPOCH_DECIMALS, SHOWN_DECIMALS - 1, -1):
        rounded = {epoch: f"{epoch:.{decimals}f}" for epoch in early}
        shown = Counter(rounded.values())
        for epoch, text in rounded.items():
            if decimals == EPOCH_DECIMALS or (shown[text] == 1 and not is_whole(float(text))):
                texts[epoch] = text.rstrip("0")
    return [texts[epoch] if epoch in early else exact_epoch(epoch) for epoch in epochs]

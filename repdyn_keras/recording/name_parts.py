"""Splits names of files into words, marks, whole numbers, and other values.

Other values are decimals, dates, hashes, and numbers with an exponent. Whether the numbers of
"weights.1.1.23" are 1 and 1.23 or 1.1 and 23 follows from all names of the same form.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Words of additional files, which repeat an epoch.
MARKERS = set("best last final latest current".split())
# Longer chains of numbers joined by dots hold no epoch.
MAX_RUNS = 8

DATE = (
    r"(?:19|20)\d\d(?P<s>[-_.]?)(?:0[1-9]|1[0-2])(?P=s)(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])(?P<t>[-_.])(?:0[1-9]|[12]\d|3[01])(?P=t)20\d\d"
)
MONTH_AND_DAY = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:0[1-9]|[12]\d|3[01])"
CLOCK = r"(?:[01]\d|2[0-3])(?P<{0}>[-:.h])[0-5]\d(?:(?P={0})[0-5]\d)?"
HEX = r"[0-9a-f]"
TOKEN = re.compile(
    rf"(?P<date>(?<!\d)(?:{DATE})(?:[T_ -]{CLOCK.format('u')})?(?!\d)"
    rf"|(?<![a-z]){MONTH_AND_DAY}[_-]{CLOCK.format('v')}(?!\d))"
    rf"|(?P<hash>(?<![^\W_])(?:{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}"
    # Not "b16e100": the batch size and the epoch.
    rf"|(?!(?:[a-f]\d+)+(?![^\W_]))(?={HEX}*[a-f]\d)(?={HEX}*\d[a-f]){HEX}{{7,64}})(?![^\W_]))"
    r"|(?P<value>(?<![^\W_])(?:nan|inf|\dp\d+)(?![^\W_]))"
    r"|(?P<chain>\d+(?:[.,]\d+)*(?:e[-+]\d+)?)"
    r"|(?P<word>(?<![^\W_])(?:f1|r2|top\d|map\d\d)(?=[-_=:@])|[^\W\d_]+)"
    r"|(?P<mark>.)",
    re.IGNORECASE | re.DOTALL,
)
EXPONENT = re.compile(r"e[-+]\d+$", re.IGNORECASE)

# How to cut a chain of runs of digits: 1 for a whole number, 2 for both sides of a decimal point.
Cuts = tuple[int, ...]


class Part(NamedTuple):
    """A part of a name; `kind` is "word", "mark", "number" (whole), "other", or "chain" (uncut)."""

    kind: str
    text: str


def split(name: str) -> list[Part]:
    """The parts of a name, with chains of numbers that are joined by dots."""
    kinds = ("word", "mark", "chain")
    return [
        Part(str(m.lastgroup) if m.lastgroup in kinds else "other", m[0])
        for m in TOKEN.finditer(name)
    ]


def is_marker(part: Part) -> bool:
    """Whether a part is a word such as "best"."""
    return part.kind == "word" and part.text.lower() in MARKERS


def without_markers(parts: list[Part]) -> list[Part]:
    """Parts without words such as "best", and without the mark that joins them to the rest."""
    kept: list[Part] = []
    skips_mark = False
    for part in parts:
        if is_marker(part):
            skips_mark = not kept
            if kept and kept[-1].kind == "mark":
                kept.pop()
        elif not (skips_mark and part.kind == "mark"):
            kept.append(part)
            skips_mark = False
    return kept


def form_of(parts: list[Part]) -> tuple:
    """What names of the same form have in common: words, marks, and places of numbers."""
    form: list[tuple] = []
    for kind, text in parts:
        if kind == "chain":
            form.append((kind, len(runs_of(text)), bool(EXPONENT.search(text))))
        else:
            form.append((kind, text.lower() if kind in ("word", "mark") else ""))
    return tuple(form)


def cuts_of_form(rows: list[list[Part]]) -> list[Cuts]:
    """How to cut the chain at each place of names of the same form; () at other places."""
    return [
        best_cuts([row[place].text for row in rows]) if part.kind == "chain" else ()
        for place, part in enumerate(rows[0])
    ]


def cut_all(parts: list[Part], cuts: list[Cuts]) -> list[Part]:
    """Parts with whole numbers and other values in place of chains."""
    result: list[Part] = []
    for part, sizes in zip(parts, cuts, strict=True):
        result += cut(part.text, sizes) if part.kind == "chain" else [part]
    return result


def runs_of(chain: str) -> list[str]:
    """The runs of digits in a chain, without the exponent."""
    return re.split(r"[.,]", EXPONENT.sub("", chain))


def cut(chain: str, sizes: Cuts) -> list[Part]:
    """Cuts a chain. The last part of a chain with an exponent is not a whole number.

    Args:
        chain: the chain.
        sizes: number of runs of each part; empty for one value that is no whole number.
    """
    runs, exponent = runs_of(chain), EXPONENT.search(chain)
    if not sizes:
        return [Part("other", chain)]
    parts, start = [], 0
    for size in sizes:
        text = ".".join(runs[start : start + size])
        start += size
        if start == len(runs) and exponent:
            parts.append(Part("other", text + exponent[0]))
        else:
            parts.append(Part("number" if size == 1 else "other", text))
        if start < len(runs):
            parts.append(Part("mark", "."))
    return parts


def best_cuts(chains: list[str]) -> Cuts:
    """The most plausible way to cut the chains at one place of all names; () if it is unclear."""
    has_exponent = bool(EXPONENT.search(chains[0]))
    columns = list(zip(*map(runs_of, chains), strict=True))
    if len(columns) > MAX_RUNS:
        return ()
    ranked = sorted((cost(columns, way, has_exponent), way) for way in ways_to_cut(len(columns)))
    lowest, best = ranked[0]
    wholes = varying_wholes(columns, best)
    for other_cost, other in ranked[1:]:
        if other_cost - lowest < 0.25 and varying_wholes(columns, other) != wholes:
            return ()
    return best


def ways_to_cut(length: int) -> Iterable[Cuts]:
    """All ways to cut a number of runs."""
    if length <= 0:
        return [()] if length == 0 else []
    return [(size, *rest) for size in (1, 2) for rest in ways_to_cut(length - size)]


def varying_wholes(columns: list[tuple[str, ...]], way: Cuts) -> set[int]:
    """The positions of whole numbers that differ between names."""
    starts = itertools.accumulate(way, initial=0)
    wholes = {start for start, size in zip(starts, way, strict=False) if size == 1}
    return {w for w in wholes if len(set(columns[w])) > 1 or len(columns[w]) == 1}


def cost(columns: list[tuple[str, ...]], way: Cuts, has_exponent: bool) -> float:
    """How implausible a way to cut chains is.

    Args:
        columns: the runs of digits at each position of the chains.
        way: the way to cut them.
        has_exponent: whether the chains end with an exponent.
    """
    total, start = 0.0, 0
    varying, decimals = [], []
    for size in way:
        column, end = columns[start], start + size
        if end == len(columns) and has_exponent:
            # The number before the point of a mantissa has one digit.
            total += 0.5 if size == 1 else 10 * any(len(text) > 1 for text in column)
        elif size == 1:
            total += cost_of_whole(column)
            varying += [column] if len(set(column)) > 1 else []
        else:
            total += cost_of_decimal(column, columns[start + 1])
            pairs = zip(column, columns[start + 1], strict=True)
            decimals.append([float(f"{a}.{b}") for a, b in pairs])
        start = end
    if len(varying) == 1 and len(decimals) == 1 and len(varying[0]) > 2:
        # Files that are saved when a metric improves: it improves with every epoch.
        total -= is_monotone(sorted_by(decimals[0], list(map(int, varying[0]))))
    return total


def cost_of_whole(texts: tuple[str, ...]) -> float:
    """How implausible it is that a column of digits holds whole numbers."""
    if len(texts) == 1:
        return 0 if is_padded(texts) else 2
    values = [int(text) for text in texts]
    if len(set(values)) == 1:
        return 1
    if len(set(values)) < len(values):
        return 3
    if is_padded(texts) or step_of(values) == 1:
        return 0
    return 0.5 if len(values) > 2 and step_of(values) else 3


def cost_of_decimal(whole: tuple[str, ...], fraction: tuple[str, ...]) -> float:
    """How implausible it is that two columns of digits are the two sides of a decimal point."""
    if any(len(text) > 1 and text[0] == "0" for text in whole):
        return 100
    if len(whole) > 1:
        wholes, fractions = [int(text) for text in whole], [int(text) for text in fraction]
        if len(set(whole)) == 1 and whole[0] != "0" and counts_from_start(fractions):
            return 4
        if len(set(fraction)) == 1 and counts_from_start(wholes):
            return 4
    return 0.9


def sorted_by(values: Sequence[float], keys: Sequence[int]) -> list[float]:
    """Values in the ascending order of their keys."""
    return [value for _, value in sorted(zip(keys, values, strict=True))]


def is_monotone(values: Sequence[float]) -> bool:
    """Whether values strictly increase or strictly decrease."""
    pairs = list(itertools.pairwise(values))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def is_padded(texts: Sequence[str]) -> bool:
    """Whether numbers have a fixed width with leading zeros."""
    return len(set(map(len, texts))) == 1 and any(len(t) > 1 and t[0] == "0" for t in texts)


def step_of(values: Sequence[int]) -> int:
    """The step of an arithmetic progression; 0 if the values are not one."""
    steps = {b - a for a, b in itertools.pairwise(sorted(values))}
    return steps.pop() if len(steps) == 1 else 0


def counts_from_start(values: Sequence[int]) -> bool:
    """Whether the values are 0, 1, 2, ... or 1, 2, 3, ... in some order."""
    return min(values) <= 1 and step_of(values) == 1

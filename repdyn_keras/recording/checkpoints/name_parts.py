"""Splits names of files into words, marks, whole numbers, and other values.

Other values are decimals, dates, hashes, and numbers with an exponent. Whether the numbers of
"weights.1.1.23" are 1 and 1.23 or 1.1 and 23 follows from all names of the same form.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

EPOCH_WORDS = set("e ep epoch epochs epoche epoque epoca".split())
# Words before a number that is a result or a setting of a training.
METRIC_WORDS = set(
    "loss acc accuracy val err error auc auroc roc prc iou miou dice score mae mse rmse mape psnr "
    "ssim fid ppl perplexity bleu map ap precision recall prec rec lr wd metric kl elbo nll ce bce "
    "kappa jaccard pct percent specificity sensitivity reward".split()
)
# Words of additional files, which repeat an epoch.
MARKERS = set("best last final latest current".split())
# Longer chains of numbers joined by dots hold no epoch.
MAX_RUNS = 8

DATE = (
    r"(?:19|20)\d\d(?P<{0}>[-_.]?)(?:0[1-9]|1[0-2])(?P={0})(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])(?P<{1}>[-_.])(?:0[1-9]|[12]\d|3[01])(?P={1})20\d\d"
)
MONTH_AND_DAY = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(?:0[1-9]|[12]\d|3[01])"
CLOCK = r"(?:[01]\d|2[0-3])(?P<{0}>[-:.h])[0-5]\d(?:(?P={0})[0-5]\d)?"
HEX = r"[0-9a-f]"
TOKEN = re.compile(
    rf"(?P<time>(?<!\d)(?:{DATE.format('s', 't')})[T_ -]{CLOCK.format('u')}(?!\d)"
    rf"|(?<![a-z]){MONTH_AND_DAY}[_-]{CLOCK.format('v')}(?!\d))"
    rf"|(?P<date>(?<!\d)(?:{DATE.format('y', 'z')})(?!\d))"
    rf"|(?P<hash>(?<![^\W_])(?:{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}"
    # Not "b16e100": the batch size and the epoch.
    rf"|(?!(?:[a-f]\d+)+(?![^\W_]))(?={HEX}*[a-f]\d)(?={HEX}*\d[a-f]){HEX}{{7,64}})(?![^\W_]))"
    r"|(?P<value>(?:nan|(?<![^\W_])(?:inf|\dp\d+)|(?<!\d)\d+(?:x\d+)+)(?![^\W_]))"
    rf"|(?P<chain>\d+(?:[.,](?!(?:{DATE.format('w', 'x')})(?!\d))\d+)*(?:e[-+]\d+)?)"
    r"|(?P<word>(?<![^\W_])(?:f1|r2|top\d|map\d\d)(?=[-_=:@])|[^\W\d_]+?(?=nan(?![^\W_]))|[^\W\d_]+)"
    r"|(?P<mark>.)",
    re.IGNORECASE | re.DOTALL,
)
CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+")
EXPONENT = re.compile(r"e[-+]\d+$", re.IGNORECASE)

# How to cut a chain of runs of digits: 1 for a whole number, 2 for both sides of a decimal point.
Cuts = tuple[int, ...]


class Part(NamedTuple):
    """A part of a name.

    Its kind is "word", "mark", "number" (whole), "date", "other", "chain" (not yet cut), or
    "unclear" (a chain that may be cut in several ways).
    """

    kind: str
    text: str


def split(name: str) -> list[Part]:
    """The parts of a name, with chains of numbers that are joined by dots."""
    kinds = ("word", "mark", "chain", "date")
    return [
        Part(str(m.lastgroup) if m.lastgroup in kinds else "other", m[0])
        for m in TOKEN.finditer(name)
    ]


def last_word(text: str) -> str:
    """The last of joined words, as in "modelEpoch", in lower case."""
    whole = text.lower()
    for word in ("epochs", "epoch"):
        if whole.endswith(word):
            return word
    pieces = CAMEL.findall(text)
    # A single letter is only a word of its own, and a digit is part of "f1".
    is_whole = text[-1].isdigit() or len(pieces[-1]) == 1
    return whole if is_whole else pieces[-1].lower()


def word_before(parts: list[Part], place: int) -> tuple[str, bool]:
    """The word before a part, in lower case, and whether only "=" or ":" is between them."""
    before = place - 1
    while before >= 0 and parts[before].kind == "mark":
        before -= 1
    is_joined = {part.text for part in parts[before + 1 : place]} <= {"=", ":"}
    is_word = before >= 0 and parts[before].kind == "word"
    return (last_word(parts[before].text) if is_word else ""), is_joined


def is_metric(word: str) -> bool:
    """Whether a word names a metric, also one such as "f1"."""
    return word in METRIC_WORDS or word[-1:].isdigit()


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
    """What names of the same form have in common: words, marks, and the places of values."""
    values = {"chain": "other", "date": "other", "unclear": "other"}
    return tuple(
        (kind, text.lower()) if kind in ("word", "mark") else (values.get(kind, kind), "")
        for kind, text in parts
    )


def cut_all(names: dict[str, list[Part]]) -> dict[str, list[Part]]:
    """Parts with whole numbers and other values in place of chains.

    Args:
        names: parts by name, for names of the same form.
    """
    result: dict[str, list[Part]] = {name: [] for name in names}
    rows = list(names.values())
    for place in range(len(rows[0])):
        chains: dict[tuple, list[str]] = {}
        for row in rows:
            if row[place].kind == "chain":
                chains.setdefault(length_of(row[place].text), []).append(row[place].text)
        cuts: dict[tuple, Cuts] = {}
        # Where a name has a value such as "nan", the numbers of the others are values as well.
        if sum(map(len, chains.values())) == len(rows):
            word = word_before(rows[0], place)
            cuts = {length: best_cuts(texts, *word) for length, texts in chains.items()}
        for name, row in names.items():
            kind, text = row[place]
            result[name] += (
                cut(text, cuts.get(length_of(text), ())) if kind == "chain" else [row[place]]
            )
    return result


def length_of(chain: str) -> tuple[int, bool]:
    """The number of runs of digits in a chain, and whether it has an exponent."""
    return len(runs_of(chain)), bool(EXPONENT.search(chain))


def runs_of(chain: str) -> list[str]:
    """The runs of digits in a chain, without the exponent."""
    return re.split(r"[.,]", EXPONENT.sub("", chain))


def cut(chain: str, sizes: Cuts) -> list[Part]:
    """Cuts a chain. The last part of a chain with an exponent is not a whole number.

    Args:
        chain: the chain.
        sizes: number of runs of each part; empty if it is unclear.
    """
    runs, exponent = runs_of(chain), EXPONENT.search(chain)
    if not sizes:
        return [Part("unclear", chain)]
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


def best_cuts(chains: list[str], word: str, is_joined: bool) -> Cuts:
    """The most plausible way to cut the chains at one place of all names; () if it is unclear.

    Args:
        chains: chains of the same length.
        word: the word before them; empty if there is none.
        is_joined: whether the word is directly before them.
    """
    has_exponent = bool(EXPONENT.search(chains[0]))
    columns = list(zip(*map(runs_of, chains), strict=True))
    if len(columns) > MAX_RUNS:
        return ()
    ranked = []
    for way in ways_to_cut(len(columns)):
        implausible = cost(columns, way, has_exponent, is_metric(word))
        if way[0] == 2 and word in EPOCH_WORDS and len(columns) + has_exponent > 2:
            implausible += 10
        elif way[0] == 2 and word and is_joined and not is_metric(word):
            implausible += 3  # the number of "resnet18.05" belongs to the word
        ranked.append((implausible, way))
    ranked.sort()
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


def cost(
    columns: list[tuple[str, ...]], way: Cuts, has_exponent: bool, follows_metric: bool
) -> float:
    """How implausible a way to cut chains is.

    Args:
        columns: the runs of digits at each position of the chains.
        way: the way to cut them.
        has_exponent: whether the chains end with an exponent.
        follows_metric: whether the name of a metric is before the chains.
    """
    total, start = 0.0, 0
    varying, decimals = [], []
    for size in way:
        column, end = columns[start], start + size
        if end == len(columns) and has_exponent:
            # The number before the point of a mantissa has one digit.
            before = columns[start - 1] if size == 1 and start else column
            has_digit = all(len(text) == 1 for text in before)
            total += (2.5 if start and has_digit else 0.5) if size == 1 else 10 * (not has_digit)
        elif size == 1:
            total += cost_of_whole(column, start == 0)
            varying += [column] if len(set(column)) > 1 else []
        else:
            is_named = start == 0 and follows_metric
            total += 0.5 if is_named else cost_of_decimal(column, columns[start + 1])
            pairs = zip(column, columns[start + 1], strict=True)
            decimals.append([float(f"{a}.{b}") for a, b in pairs])
        start = end
    if len(varying) == 1 and len(decimals) == 1 and len(varying[0]) > 2:
        # Files that are saved when a metric improves: it improves with every epoch.
        total -= is_monotone(sorted_by(decimals[0], list(map(int, varying[0]))))
    return total


def cost_of_whole(texts: tuple[str, ...], is_first: bool) -> float:
    """How implausible it is that a column of digits holds whole numbers.

    Args:
        texts: the digits in each name.
        is_first: whether nothing is before them in the chains.
    """
    values = [int(text) for text in texts]
    if len(values) == 1:
        return 0 if is_padded(texts) and is_first else 2
    if len(set(values)) == 1:
        return 1
    if len(set(values)) < len(values):
        return 3
    has_step = len(values) > 2 and step_of(values) > 0
    if step_of(values) == 1 or (is_padded(texts) and (is_first or has_step)):
        return 0
    have_zeros = all(text[0] == "0" for text in texts)
    if has_step or have_zeros:
        return 0 if have_zeros and len(texts[0]) > 2 else 0.5
    return 3 if len(values) > 2 else 2.5  # two numbers tell little


def cost_of_decimal(whole: tuple[str, ...], fraction: tuple[str, ...]) -> float:
    """How implausible it is that two columns of digits are the two sides of a decimal point."""
    if any(len(text) > 1 and text[0] == "0" for text in whole):
        return 100
    if len(whole) > 1:
        wholes, fractions = list(map(int, whole)), list(map(int, fraction))
        counts = counts_from_start(fractions) and (is_padded(fraction) or len(set(whole)) == 1)
        has_step = len(whole) > 2 and step_of(fractions) > 0
        if (counts or has_step) and set(whole) != {"0"}:
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

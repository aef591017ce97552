"""Epochs in the names of files of saved weights.

Names of one training have the same words, so that their whole numbers form columns. The epoch is
the column after a word for epoch, or else the column of numbers that differ in every name and that
nothing marks as another value. If several columns fit, the one that counts from 0 or 1 or has a
fixed step is the epoch, unless another one is nearly as plausible.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from repdyn_keras.recording.checkpoints.name_parts import (
    EPOCH_WORDS,
    Part,
    counts_from_start,
    cut_all,
    form_of,
    is_marker,
    is_metric,
    is_monotone,
    is_padded,
    sorted_by,
    split,
    step_of,
    without_markers,
    word_before,
)
from repdyn_keras.text import format_names

STEP_WORDS = set(
    "s step steps iter iters iteration iterations it batch batches gs update updates".split()
)
# Words before a number that tells trainings apart.
RUN_WORDS = set(
    "fold kfold split cv seed run trial rank rep repeat replica worker member exp experiment try "
    "attempt job gpu version ver v".split()
)
# Words that may join the epoch of a single file, unlike "resnet" of "resnet18".
FILE_WORDS = set("m model net w weight weights ckpt checkpoint cp chkpt save saved".split())
UNITS = set("k m g b px mb gb min h s sec ms pct".split())
# Larger numbers without a word for epoch count images or seconds.
MAX_UNNAMED_EPOCH = 999_999
MAX_SUGGESTIONS = 3

Group = dict[str, list[Part]]


@dataclass
class Reading:
    """What is read from names.

    Attributes:
        epochs: epoch of each name, in ascending order; empty if the epochs are not decided.
        pattern: the names with `{epoch}` in place of the epoch.
        problem: why the epochs are not decided; empty if they are.
        suggestions: patterns that would decide them.
    """

    epochs: dict[str, float] = field(default_factory=dict)
    pattern: str = ""
    problem: str = ""
    suggestions: list[str] = field(default_factory=list)


def read_epochs(names: Sequence[str]) -> Reading:
    """Reads the epochs in names, which have no endings."""
    tokens = {name: split(name) for name in names}
    marked = [name for name in names if any(map(is_marker, tokens[name]))]
    if len(marked) == len(names):
        marked = []
    tokens |= {name: without_markers(tokens[name]) for name in marked}
    parsed = parse({name: tokens[name] for name in names if name not in marked})
    groups: dict[tuple, Group] = {}
    for name, parts in parsed.items():
        groups.setdefault(form_of(parts), {})[name] = parts
    with_epochs = [each for each in groups.values() if may_hold_epochs(each)]
    if not with_epochs:
        return Reading(problem="no whole number that can be an epoch")
    if len(with_epochs) > 1:
        firsts = format_names([next(iter(each)) for each in with_epochs], MAX_SUGGESTIONS)
        problem = f"names of {len(with_epochs)} forms, such as {firsts}"
        return Reading(problem=problem, suggestions=suggested(with_epochs))
    reading, place = decide(with_epochs[0])
    if place is not None and marked:
        add_marked(reading, place, with_epochs[0], {name: tokens[name] for name in marked})
    return reading


def parse(names: Group) -> Group:
    """Parts with whole numbers and other values in place of chains."""
    forms: dict[tuple, Group] = {}
    for name, parts in names.items():
        forms.setdefault(form_of(parts), {})[name] = parts
    return {name: parts for group in forms.values() for name, parts in cut_all(group).items()}


def add_marked(reading: Reading, place: int, group: Group, marked: Group) -> None:
    """Adds the epochs of names with words such as "best" that no other name has.

    Args:
        reading: the epochs of the other names.
        place: the place of the epoch.
        group: parts of the other names.
        marked: parts of the names, without these words.
    """
    form = form_of(next(iter(group.values())))
    for name, parts in marked.items():
        # Its numbers are cut like those of the other names.
        cut = parse({other: split(other) for other in group} | {name: parts})[name]
        if form_of(cut) == form and int(cut[place].text) not in reading.epochs.values():
            reading.epochs[name] = int(cut[place].text)
    reading.epochs = dict(sorted(reading.epochs.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class Column:
    """The whole numbers at one place of names of the same form.

    Attributes:
        place: index of the part.
        texts: the digits in each name.
        word: the word before them, in lower case; empty if there is none.
        is_joined: whether nothing but `=` or `:` is between the word and the number.
        is_epoch: whether a word says that they are epochs.
        unit: the word directly after them, in lower case.
        is_clock: whether they may be times of day, after a date.
        is_chained: whether a number and a point are before them.
    """

    place: int
    texts: tuple[str, ...]
    word: str
    is_joined: bool
    is_epoch: bool
    unit: str
    is_clock: bool
    is_chained: bool

    @property
    def values(self) -> list[int]:
        """The numbers."""
        return [int(text) for text in self.texts]

    @property
    def is_constant(self) -> bool:
        """Whether all names have the same number."""
        return len(set(self.values)) == 1

    @property
    def is_unique(self) -> bool:
        """Whether no two names have the same number."""
        return len(set(self.values)) == len(self.texts)

    @property
    def is_metric(self) -> bool:
        """Whether the word before the numbers names a metric."""
        return is_metric(self.word)

    @property
    def is_other(self) -> bool:
        """Whether the numbers are certainly no epochs."""
        return not self.is_epoch and (
            self.word in STEP_WORDS | RUN_WORDS
            or (self.is_metric and self.is_joined)
            or self.unit in UNITS
            or max(self.values) > MAX_UNNAMED_EPOCH
        )

    @property
    def plausibility(self) -> float:
        """How plausible it is that numbers which differ in every name count epochs."""
        is_time = all(len(t) in (4, 6) and int(t) > 99 and is_time_of_day(t) for t in self.texts)
        total = 10.0 if counts_from_start(self.values) else 0.0
        has_step = len(self.values) > 2 and step_of(self.values) > 0
        # Some fractions start with zeros, too.
        is_fraction = self.is_chained and not has_step and not all(t[0] == "0" for t in self.texts)
        total += is_padded(self.texts) and not is_time and not is_fraction
        return total + (has_step and len(self.values) > 3)


def columns_of(group: Group) -> list[Column]:
    """The columns of whole numbers in names of the same form."""
    rows = list(group.values())
    return [column_at(rows, place) for place, part in enumerate(rows[0]) if part.kind == "number"]


def column_at(rows: list[list[Part]], place: int) -> Column:
    """The whole numbers at a place."""
    parts = rows[0]
    word, is_joined = word_before(parts, place)
    texts = tuple(row[place].text for row in rows)
    before = [part.kind for part in parts[:place] if part.kind != "mark"][-1:] or ["word"]
    unit, after = (word_at(parts, place + distance) for distance in (1, 2))
    # As in "10-epochs", but not in "10-epoch-3" or "10-e".
    followed = [part.kind for part in parts[place + 3 :] if part.kind != "mark"][:1]
    names_epoch = after in EPOCH_WORDS - {"e"} and followed != ["number"]
    return Column(
        place=place,
        texts=texts,
        word=word,
        is_joined=is_joined,
        is_epoch=word in EPOCH_WORDS or unit in EPOCH_WORDS or names_epoch,
        unit=unit,
        is_clock=before == ["date"] and all(map(is_time_of_day, texts)),
        is_chained=place > 1 and parts[place - 1].text == "." and before[0] not in ("word", "date"),
    )


def word_at(parts: list[Part], place: int) -> str:
    """The word at a place, in lower case; empty if there is none."""
    if place >= len(parts) or parts[place].kind != "word":
        return ""
    return parts[place].text.lower()


def is_time_of_day(text: str) -> bool:
    """Whether digits can be hours and minutes, or hours, minutes and seconds."""
    pairs = [int(text[i : i + 2]) for i in range(0, len(text), 2)]
    return len(text) in (4, 6) and pairs[0] < 24 and max(pairs[1:]) < 60


def may_hold_epochs(group: Group) -> bool:
    """Whether names may hold an epoch; a single file such as "resnet18" does not."""
    kinds = {part.kind for parts in group.values() for part in parts}
    if "unclear" in kinds or (len(group) > 1 and kinds & {"number", "other"}):
        return True
    return any(
        c.is_epoch or not c.is_joined or c.word in FILE_WORDS | {""} for c in columns_of(group)
    )


def decide(group: Group) -> tuple[Reading, int | None]:
    """Chooses the column of the epoch in names of the same form.

    Returns:
        What is read, and the place of the epoch; None if it is not decided.
    """
    columns = columns_of(group)
    column, problem = choose(columns) if len(group) > 1 else choose_single(group)
    if column is not None:
        problem = counting_problem(column, columns)
        if problem:
            suggestions = [pattern_of(group, column.place, "{epoch+1}")]
            return Reading(problem=problem, suggestions=suggestions), None
        epochs = sorted(zip(group, column.values, strict=True), key=lambda item: item[1])
        return Reading(dict(epochs), pattern_of(group, column.place)), column.place
    shown = [c for c in columns if not c.is_constant or len(group) == 1]
    suggestions = [pattern_of(group, c.place) for c in shown[:MAX_SUGGESTIONS]]
    return Reading(problem=problem, suggestions=suggestions), None


def choose(columns: list[Column]) -> tuple[Column | None, str]:
    """The column of the epoch in several names, or the reason why there is none."""
    varying = [c for c in columns if not c.is_constant]
    runs = [c for c in varying if c.word in RUN_WORDS and not c.is_epoch]
    if runs:
        return None, f"several numbers after {runs[0].word!r}, which tell trainings apart"
    named = [c for c in varying if c.is_epoch]
    unique = [c for c in named if c.is_unique]
    if named:
        if len({tuple(c.values) for c in unique}) == 1:
            return unique[0], ""
        return None, "several epochs in each name" if unique else shared_number(named[0])
    candidates = [c for c in varying if c.is_unique and not c.is_other]
    if len(candidates) > 1:
        candidates = [c for c in candidates if not c.is_clock]
    if not candidates:
        steps = [c.word for c in varying if c.word in STEP_WORDS]
        if steps:
            return None, f"numbers of steps, after {steps[0]!r}"
        shared = [c for c in varying if not c.is_other and not c.is_metric]
        return None, shared_number(shared[0]) if shared else "no number that counts epochs"
    # In "05_loss_3", the word belongs to the number after it.
    places = [c.place for c in candidates if not c.is_metric]
    candidates = [c for c in candidates if not c.is_metric or c.place < min(places, default=1000)]
    column, problem = most_plausible(candidates)
    if column is None:
        return None, problem
    if column.is_clock and not counts_from_start(column.values):
        return None, "times of day, but no number that counts epochs"
    if column.is_metric:
        return None, f"numbers after {column.word!r}, but none that counts epochs"
    totals = [c.values[0] for c in columns if c.is_epoch and c.is_constant]
    if totals and max(column.values) > max(totals):
        return None, f"epoch {totals[0]} in every name, and another number that differs"
    outer = [c for c in varying if not c.is_unique and not c.is_metric and is_outer(c, column)]
    return (None, shared_number(outer[0])) if outer else (column, "")


def most_plausible(candidates: list[Column]) -> tuple[Column | None, str]:
    """The candidate that counts epochs, or the reason why none is chosen."""
    kept: list[Column] = []
    for candidate in sorted(candidates, key=lambda c: max(c.values)):
        # Steps are a multiple of the epochs.
        if not any(is_multiple(candidate.values, other.values) for other in kept):
            kept.append(candidate)
    if len(kept) == 1:
        return kept[0], ""
    highest = max(c.plausibility for c in kept)
    first = [c for c in kept if c.plausibility == highest]
    column, others = first[0], [c for c in kept if c is not first[0]]
    is_rivalled = not is_padded(column.texts) and any(is_rival(c, column) for c in others)
    if len(first) > 1 or highest == 0 or is_rivalled:
        return None, f"{len(kept)} numbers that differ in every name"
    return column, ""


def is_multiple(values: list[int], of: list[int]) -> bool:
    """Whether values are a constant whole multiple of others."""
    factor = max(values) // max(max(of), 1)
    return values == [factor * value for value in of]


def is_rival(other: Column, column: Column) -> bool:
    """Whether another column may be the epoch, and `column` a metric that improves with it."""
    if other.is_metric:
        return False
    ordered = sorted_by(other.values, column.values)
    falls = is_monotone(ordered) and ordered[0] > ordered[-1]
    return falls or is_padded(other.texts) or (len(ordered) > 2 and step_of(other.values) > 0)


def is_outer(other: Column, column: Column) -> bool:
    """Whether `column` counts on within another one, as steps do within epochs."""
    ordered = sorted_by(other.values, column.values)
    return other.place < column.place and ordered == sorted(ordered)


def shared_number(column: Column) -> str:
    """The problem that several names have the same number."""
    shared = next(v for v in column.values if column.values.count(v) > 1)
    after = f" after {column.word!r}" if column.word else ""
    return f"the number {shared}{after} in {column.values.count(shared)} names"


def choose_single(group: Group) -> tuple[Column | None, str]:
    """The column of the epoch in the name of the only file, or the reason why there is none."""
    columns = columns_of(group)
    free = [
        c
        for c in columns
        if not (c.is_other or c.is_metric or c.is_clock)
        and (not c.is_joined or c.word in FILE_WORDS | {""})
    ]
    named = [c for c in columns if c.is_epoch]
    padded = [c for c in free if is_padded(c.texts)]
    parts = next(iter(group.values()))
    has_unclear = any(
        part.kind in ("other", "unclear")
        and "." in part.text
        and not is_metric(word_before(parts, place)[0])
        for place, part in enumerate(parts)
    )
    has_unclear = has_unclear or any(c.is_clock for c in columns)
    for chosen in (named, padded, [c for c in free if c.word or not has_unclear]):
        if len(chosen) == 1:
            return chosen[0], ""
    return None, f"{len(free) or 'no'} numbers that may be the epoch of the only file"


def counting_problem(column: Column, columns: list[Column]) -> str:
    """The problem that epochs count from 0, as the numbers of steps beside them show."""
    epochs = column.values
    for steps in (c.values for c in columns if c.word in STEP_WORDS and not c.is_epoch):
        if min(steps) == 0 or (len(steps) > 1 and len(set(steps)) == 1):
            continue
        following = [epoch + 1 for epoch in epochs]
        is_exact = len(epochs) == 1 and epochs[0] > 0 and steps[0] % epochs[0] == 0
        rate, rest = divmod(steps[0], following[0])
        counts_from_0 = steps == [rate * epoch for epoch in following] and not rest
        if 0 in epochs or (counts_from_0 and not is_exact):
            index = epochs.index(min(epochs))
            return f"epoch {epochs[index]} at step {steps[index]}, so that epochs count from 0"
    return ""


def pattern_of(group: Group, place: int, name: str = "{epoch}") -> str:
    """The names with `{epoch}` at a place and `*` where they differ.

    Args:
        group: parts of names of the same form.
        place: the place of the epoch.
        name: what stands for the epoch.
    """
    columns = zip(*group.values(), strict=True)
    texts = [
        name if index == place else column[0].text if len(set(column)) == 1 else "*"
        for index, column in enumerate(columns)
    ]
    return re.sub(r"\*(?:[-+.]?\*)+", "*", "".join(texts))


def suggested(groups: list[Group]) -> list[str]:
    """A pattern for each form of names."""
    readings = [decide(group)[0] for group in groups[:MAX_SUGGESTIONS]]
    return [p for r in readings for p in ([r.pattern] if r.pattern else r.suggestions[:1])]

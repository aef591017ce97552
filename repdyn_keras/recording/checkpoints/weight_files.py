"""Finds the files of saved weights in a folder, and their epochs."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.recording.checkpoints.epoch_names import Reading, read_epochs
from repdyn_keras.records.epoch_files import WEIGHTS_NAME
from repdyn_keras.text import format_error, format_names, is_whole, quoted

# Endings of files that Keras loads, the longer ones first.
ENDINGS = (".weights.h5", ".weights.json", ".keras", ".h5", ".hdf5")
SHARDED = ".weights.json"
SHARD = re.compile(r"(?P<base>.+)_(?P<index>\d{5})\.weights\.h5")
MAX_INDEX_BYTES = 64 * 2**20
# What other files are, and how to convert them.
FOREIGN = {
    r".*\.index|.*\.data-\d+-of-\d+|checkpoint": "TensorFlow checkpoints",
    r".*\.(pt|pth|ckpt|bin|safetensors)": "PyTorch or safetensors files",
    r".*\.(npz|npy|pkl|pickle|joblib)": "NumPy or pickle files",
    r".*\.(onnx|tflite|pb)": "exported networks",
}
FOREIGN_FOLDERS = {
    "saved_model.pb": "TensorFlow SavedModels",
    "orbax.checkpoint": "Orbax checkpoints",
    "pytree.orbax-checkpoint": "Orbax checkpoints",
    "checkpoint_metadata": "Orbax checkpoints",
    "_CHECKPOINT_METADATA": "Orbax checkpoints",
    "_METADATA": "Orbax checkpoints",
}
# Early records are within the first two epochs.
MAX_EARLY = 2
# A field of a pattern, such as {epoch}, {epoch+1}, {epoch:02d} or {val_loss:.2f}; or a wildcard.
FIELD = re.compile(r"\{(?P<name>[A-Za-z_]\w*)(?P<next>\+1)?(?::[^{}]*)?\}|(?P<any>\*+)")
NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|nan|inf)"
EXAMPLE = "'model-{epoch}-*.keras'"


@dataclass(frozen=True)
class WeightFiles:
    """The files of saved weights in a folder.

    Attributes:
        files: paths by epoch, in ascending order.
        ignored: names of weight files from which no epoch was read.
        foreign: names of files and folders that Keras does not load.
        pattern: the names with `{epoch}` in place of the epoch.
    """

    files: dict[float, Path]
    ignored: list[str]
    foreign: list[str] = field(default_factory=list)
    pattern: str = ""


class EpochPattern:
    """A pattern of the names of files, such as the `filepath` of Keras's `ModelCheckpoint`.

    `{epoch}` stands for the epoch, or `{epoch+1}` if the names count from 0. Other fields, such as
    `{val_loss:.2f}`, stand for a number, and `*` for any text. The ending can be left out.

    Args:
        text: the pattern.

    Raises:
        InputError: it does not contain `{epoch}` exactly once.
    """

    def __init__(self, text: str):
        self.text = text
        fields = [match for match in FIELD.finditer(text) if match["name"] == "epoch"]
        if len(fields) != 1:
            raise InputError(
                f"Expected a pattern of file names with {{epoch}} once, such as {EXAMPLE}. "
                f"Received: {quoted(text)}."
            )
        self.added = 1 if fields[0]["next"] else 0
        # Both, since a wildcard can leave open which number is the epoch.
        self._forms = [self.compiled(any_text) for any_text in (".*?", ".*")]

    def compiled(self, any_text: str) -> re.Pattern:
        """The regular expression of the pattern.

        Args:
            any_text: the regular expression of a wildcard.
        """
        parts, end = [], 0
        for match in FIELD.finditer(self.text):
            parts.append(re.escape(self.text[end : match.start()]))
            end = match.end()
            if match["any"]:
                parts.append(any_text)
            else:
                is_epoch = match["name"] == "epoch"
                parts.append(r"(?P<epoch>(?<!\d)\d+(?!\d))" if is_epoch else NUMBER)
        return re.compile("".join(parts) + re.escape(self.text[end:]))

    def epoch(self, name: str) -> int | None:
        """The epoch in a name; None if the name does not match.

        Raises:
            InputError: the pattern matches the name in several ways.
        """
        matches = [
            next(filter(None, map(form.fullmatch, (name, stem_of(name)))), None)
            for form in self._forms
        ]
        if not matches[0] or not matches[1]:
            return None
        numbers = [match["epoch"] for match in matches if match]
        if numbers[0] != numbers[1]:
            raise InputError(
                "Expected a pattern that matches a name in one way. Received: "
                f"{quoted(self.text)}, by which the epoch of {quoted(name)} is {numbers[0]} or "
                f"{numbers[1]}. Replace a * by the text for which it stands."
            )
        return int(numbers[0]) + self.added

    def read(self, names: Sequence[str]) -> Reading:
        """The epochs in names that match.

        Raises:
            InputError: no name matches, or several have the same epoch.
        """
        epochs = {name: self.epoch(name) for name in names}
        found = {name: epoch for name, epoch in epochs.items() if epoch is not None}
        if not found:
            raise InputError(
                f"Expected files whose names match the pattern {quoted(self.text)}. Received: "
                f"{format_names(names, 3) or 'no files of weights'}."
            )
        names_of: dict[int, list[str]] = {}
        for name, epoch in found.items():
            names_of.setdefault(epoch, []).append(name)
        for epoch, several in names_of.items():
            if len(several) > 1:
                raise InputError(
                    f"Expected one file per epoch. Received: epoch {epoch} in the names "
                    f"{format_names(several)}. Use a pattern that matches one of them."
                )
        return Reading(dict(sorted(found.items(), key=lambda item: item[1])), self.text)


def epochs_of(names: Sequence[str], pattern: str | None = None) -> dict[str, float]:
    """The epochs in file names, in ascending order.

    Args:
        names: names of files, with or without the endings of Keras.
        pattern: pattern of the names, as for `EpochPattern`; None to find the epoch.

    Returns:
        The epoch of each name that has one; empty if it is unclear which number is the epoch.

    Raises:
        InputError: `pattern` is not a pattern or does not match the names.
    """
    return reading_of(names, pattern).epochs


def reading_of(names: Sequence[str], pattern: str | None) -> Reading:
    """What is read from file names; the arguments are those of `epochs_of`."""
    if pattern is not None:
        return EpochPattern(pattern).read(names)
    own = own_epochs(names)
    early = [epoch for epoch in own.values() if not is_whole(epoch)]
    # Decimals of other names, such as losses, are not below the second epoch alone.
    if early and max(early) < MAX_EARLY and len(early) < len(own):
        return Reading(own, "epoch-{epoch}")
    by_stem: dict[str, str] = {}
    for name in names:
        other = by_stem.setdefault(stem_of(name), name)
        if other != name:
            ending = ending_of(name)
            same = read_epochs([stem_of(each) for each in names if ending_of(each) == ending])
            return Reading(
                problem=f"two files that differ only in their ending, {other} and {name}",
                suggestions=[same.pattern + ending] if same.pattern else [],
            )
    shards = [name for name in names if SHARD.fullmatch(name)]
    indices = [match["index"] for match in map(SHARD.fullmatch, shards) if match]
    if indices.count("00000") > 1:
        return Reading(problem=f"{len(shards)} shards, such as {shards[0]}")
    reading = read_epochs(list(by_stem))
    reading.epochs = {by_stem[stem]: epoch for stem, epoch in reading.epochs.items()}
    return reading


def own_epochs(names: Sequence[str]) -> dict[str, float]:
    """The epochs in names that `repdyn run` gave to weights, in ascending order."""
    matches = {name: WEIGHTS_NAME.fullmatch(name) for name in names}
    found = {name: float(match[1]) for name, match in matches.items() if match}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def ending_of(name: str) -> str:
    """The ending of a file of weights; empty for other files."""
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def stem_of(name: str) -> str:
    """A name without its ending."""
    return name.removesuffix(ending_of(name))


def find_weight_files(folder: str | Path, epoch_pattern: str | None = None) -> WeightFiles:
    """Finds the files of saved weights in a folder and their epochs.

    The epoch is the number of epochs trained so far, like `{epoch}` of Keras's `ModelCheckpoint`.
    The weights of early records of `repdyn run` have epochs with decimals, epoch-000000.03125.
    Without a pattern, it is the number after a word such as "epoch", or else the whole number that
    differs in every name and is no metric, date, step or fold. If several numbers fit, the one that
    counts from 0 or 1 or has a fixed step is chosen. Folders in `folder` are searched if it
    contains no weights itself.

    Args:
        folder: a folder.
        epoch_pattern: pattern of the names, as for `EpochPattern`; None to find the epoch.

    Raises:
        InputError: there is no such folder, it has no saved weights, it is unclear which number is
            the epoch, or shards of weights are incomplete.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "Expected a folder with one file of saved weights per epoch: "
            "epoch-000.weights.h5, epoch-001.weights.h5, ... or .keras. Received: "
            f"{folder}, which is not a folder."
        )
    if epoch_pattern is not None:
        EpochPattern(epoch_pattern)
    names = weights_in(folder)
    reads_folders = not names or (epoch_pattern is not None and "/" in epoch_pattern)
    if reads_folders:
        names = weights_in_folders(folder)
    foreign = foreign_in(folder)
    if not names:
        raise no_weights(folder, foreign)
    names = without_shards(folder, names)
    reading = reading_of(names, epoch_pattern)
    if not reading.epochs:
        raise undecided(folder, names, reading)
    files: dict[float, Path] = {epoch: folder / name for name, epoch in reading.epochs.items()}
    ignored = [name for name in names if name not in reading.epochs]
    return WeightFiles(files, ignored, list(foreign), reading.pattern)


def weights_in(folder: Path) -> list[str]:
    """The names of the files of weights in a folder."""
    return sorted(
        file.name
        for file in folder.iterdir()
        if ending_of(file.name) and not file.name.startswith(".") and file.is_file()
    )


def weights_in_folders(folder: Path) -> list[str]:
    """The names of the files of weights in the folders of a folder: "epoch_3/model.weights.h5"."""
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(f"{path.name}/{name}" for path in folders for name in weights_in(path))


def foreign_in(folder: Path) -> dict[str, str]:
    """The kinds of files and folders that Keras does not load, by name."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            kinds = [kind for name, kind in FOREIGN_FOLDERS.items() if (path / name).exists()]
        else:
            kinds = [kind for form, kind in FOREIGN.items() if re.fullmatch(form, path.name)]
        if kinds:
            found[path.name] = kinds[0]
    return found


def no_weights(folder: Path, foreign: dict[str, str]) -> InputError:
    """The error for a folder without files that Keras loads."""
    expected = (
        "Expected files that end in .weights.h5 or .keras and have the epoch in their names, such "
        "as epoch-012.weights.h5. Received: "
    )
    if not foreign:
        return InputError(f"{expected}no such file in {folder}.")
    name, kind = next(iter(foreign.items()))
    return InputError(
        f"{expected}{kind} in {folder}, such as {name}. Load each into the Keras model with the "
        "library that wrote it, and save it with model.save_weights('epoch-012.weights.h5')."
    )


def undecided(folder: Path, names: list[str], reading: Reading) -> InputError:
    """The error for names whose epochs are not clear."""
    patterns = " or ".join(quoted(text) for text in reading.suggestions) or EXAMPLE
    if "shards" in reading.problem:
        return no_index(folder, names)
    example = "" if "such as" in reading.problem else f", such as {names[0]}"
    return InputError(
        "Expected files that have the epoch in their names, such as epoch-012.weights.h5, one per "
        f"epoch. Received: {reading.problem}, in {folder}{example}. State where the epoch is with "
        f"--epoch-pattern (epoch_pattern in Python), such as {patterns}."
    )


# Sharded weights: an index, x.weights.json, and its shards, x_00000.weights.h5, ...


def without_shards(folder: Path, names: list[str]) -> list[str]:
    """Names without the shards, each of which belongs to an index.

    Raises:
        InputError: a shard or the index of a shard is missing.
    """
    indexes = [name for name in names if name.endswith(SHARDED)]
    if not indexes:
        return names
    shards = {
        (Path(name).parent / shard).as_posix()
        for name in indexes
        for shard in shards_of(folder / name)
    }
    rest = [name for name in names if name not in shards]
    if any(SHARD.fullmatch(name) for name in rest):
        raise no_index(folder, [name for name in rest if SHARD.fullmatch(name)])
    return rest


def shards_of(path: Path) -> list[str]:
    """The names of the shards of an index; raises InputError if one is missing."""
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"it has more than {MAX_INDEX_BYTES:,} bytes")
        places = json.loads(path.read_bytes())["weight_map"].values()
        listed = [name for place in places for name in (place if type(place) is list else [place])]
        # Keras opens the first shard whether or not it is listed.
        names = sorted({*listed, f"{stem_of(path.name)}_00000.weights.h5"})
        if any(not SHARD.fullmatch(name) or Path(name).name != name for name in names):
            raise ValueError("it names files that are no shards")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            "Expected the index of sharded weights, written by save_weights with max_shard_size. "
            f"Received: {path}, which cannot be read ({format_error(error)}). Move it and its "
            "shards away to record the other files."
        ) from None
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise InputError(
            f"Expected all shards of {path.name} in {path.parent}, under the names that Keras gave "
            f"them. Received: no {format_names(missing)}. Restore them; an index cannot be renamed."
        )
    return names


def no_index(folder: Path, shards: list[str]) -> InputError:
    """The error for shards without their index."""
    match = SHARD.fullmatch(shards[0])
    index = f"{match['base']}{SHARDED}" if match else f"NAME{SHARDED}"
    return InputError(
        f"Expected the index {index} with the shards of its weights. Received: {shards[0]} without "
        f"it in {folder}, one of {len(shards)} such files. Copy the index, which save_weights "
        "wrote beside its shards."
    )

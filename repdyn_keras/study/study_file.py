"""The description of a study: its cells, its seeds and its calibration, from a TOML file."""

import itertools
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from repdyn_keras.config import Config, ResolvedConfig, parse_pairs, resolve, with_trust
from repdyn_keras.config.files import read_toml
from repdyn_keras.config.keys import KEYS, TYPES
from repdyn_keras.config.plane_triplets import IndexTriplets
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.text import quoted

# Keys of a study file beside those of a run.
STUDY_KEYS = ("seeds", "out", "cells", "calibration", "recalibrate", "about")
CALIBRATION_KEYS = ("seeds", "epochs", "learning_rates", "target_epochs")
# Keys that the study itself sets.
RESERVED = ("seed", "keep_weights")
MAX_RUNS = 10_000
# Epochs of a run per epoch of the common target, by the fairness rule.
EPOCHS_PER_TARGET = 8
PRESETS = "repdyn_keras.study.presets"
# Keys by which a cell is called, if they distinguish the cells.
NAMING_KEYS = ("model", "optimizer")


@dataclass(frozen=True)
class CalibrationPlan:
    """How the learning rate of every cell is chosen.

    Attributes:
        seeds: the seeds of the calibration, none of them a seed of the study.
        epochs: training epochs of a calibration run.
        learning_rates: the published grid, by optimizer.
        target_epochs: the common target of the epoch of perfect fit; None to choose the epoch
            that most cells can reach.
    """

    seeds: tuple[int, ...]
    epochs: int
    learning_rates: dict[str, tuple[float, ...]]
    target_epochs: float | None = None


@dataclass(frozen=True)
class Study:
    """A grid of runs, repeated over seeds.

    Attributes:
        cells: keys of every cell by its label, without seeds.
        seeds: the seeds.
        out: the folder.
        calibration: how learning rates are chosen; None if they are given.
        recalibrate: whether networks with BatchNormalization are also recorded with recalibrated
            moments, for the sensitivity of the findings.
        about: what the study is, for people.
        content: the checked content of the file, which identifies the study.
    """

    cells: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    out: Path
    calibration: CalibrationPlan | None
    recalibrate: bool
    about: str
    content: dict[str, Any]


def preset_names() -> list[str]:
    """The names of the studies that come with the package."""
    files = resources.files(PRESETS).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def preset_file(name: str) -> Path:
    """The file of a study that comes with the package.

    Raises:
        InputError: there is no such study.
    """
    if name not in preset_names():
        raise unknown("preset", name, preset_names(), "`repdyn study --presets` lists all.")
    return Path(str(resources.files(PRESETS) / f"{name}.toml"))


def load_study(
    file: str | Path,
    pairs: Iterable[str] = (),
    *,
    out: str | Path | None = None,
    trusted: Iterable[str] = (),
) -> Study:
    """Reads and checks a study file.

    Args:
        file: the TOML file.
        pairs: "key=value", each a key of a run that is set in all cells.
        out: folder that replaces that of the file.
        trusted: networks "module:function" of the file whose code may be run.

    Raises:
        InputError: the file cannot be read, a key is unknown or has an invalid value, or the grid
            is empty or too large.
    """
    content = read_toml(Path(file))
    for name, value in parse_pairs(pairs).items():
        content[name] = list(value) if isinstance(value, tuple) else value
        for table in cell_tables(content):
            table.pop(name, None)
    name = Path(file).stem
    return study_of(content, name, out=out, trusted=tuple(trusted))


def stored_study(path: Path) -> Study:
    """The study of the folder `path`, for reading its results: no code is run.

    Raises:
        InputError: the folder has no readable `study.toml`.
    """
    file = path / "study.toml"
    if not file.is_file():
        raise InputError(
            f"Expected the folder of a study, with study.toml. Received: {path}, which has none."
        )
    content = read_toml(file)
    tables = [content, *cell_tables(content)]
    models = [table.get("model", []) for table in tables]
    named = [name for each in models for name in (each if isinstance(each, list) else [each])]
    return study_of(content, path.name, out=path, trusted=tuple(named))


def study_of(
    content: dict[str, Any],
    name: str = "study",
    *,
    out: str | Path | None = None,
    trusted: tuple[str, ...] = (),
) -> Study:
    """The study of the content of a file; arguments and errors as for `load_study`.

    Args:
        content: the content of the file.
        name: the name of the study, for its default folder.
        out: folder that replaces that of the content.
        trusted: networks "module:function" whose code may be run.
    """
    for key in content:
        if key not in STUDY_KEYS and (key not in KEYS or key in RESERVED):
            raise unknown_key(key)
    seeds = seeds_of(content.get("seeds", 10), "seeds")
    common = {key: value for key, value in content.items() if key in KEYS}
    tables = cell_tables(content)
    calibration = calibration_of(content.get("calibration"), seeds)
    cells: list[dict[str, Any]] = []
    runs = 0
    for table in tables:
        for key in table:
            if key not in KEYS or key in RESERVED:
                raise unknown_key(key)
        grid = {key: options_of(key, value) for key, value in {**common, **table}.items()}
        runs += math.prod(map(len, grid.values())) * len(seeds)
        if runs > MAX_RUNS:
            raise InputError(
                f"Expected at most {MAX_RUNS} runs. Received: a grid of more, at least {runs}. "
                "Divide the study into several files."
            )
        cells += [
            dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
        ]
    if not cells:
        raise InputError(
            "The grid is empty. Expected at least one value of every key, and one cell. Received: "
            "a list without values. Remove the key, or give it a value."
        )
    for cell in cells:
        is_trusted = cell.get("model") in trusted
        with_trust(cell, {"model": cell["model"]} if is_trusted else {})
    recalibrate = content.get("recalibrate", True)
    if not isinstance(recalibrate, bool):
        raise InputError(
            f"Expected recalibrate = true or false. Received: recalibrate = {quoted(recalibrate)}."
        )
    labels = cell_labels(cells)
    if calibration is not None:
        check_calibration(calibration, cells)
    folder = out or content.get("out") or Path("studies") / name
    if not isinstance(folder, str | Path):
        raise InputError(f"Expected out = the path of a folder. Received: out = {quoted(folder)}.")
    stored = {key: value for key, value in content.items() if key not in ("out", "about")}
    return Study(
        cells=dict(zip(labels, cells, strict=True)),
        seeds=seeds,
        out=Path(folder).expanduser(),
        calibration=calibration,
        recalibrate=recalibrate,
        about=str(content.get("about", "")).strip(),
        content={"seeds": list(seeds), **{k: v for k, v in stored.items() if k != "seeds"}},
    )


def cell_tables(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables of the cells; one without keys if there are none.

    Raises:
        InputError: the key is something else.
    """
    tables = content.get("cells", [{}])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise InputError(
            "Expected cells as tables: [[cells]] and keys of a run. Received: "
            f"cells = {quoted(tables)}."
        )
    return tables


def unknown_key(key: str) -> InputError:
    """The error for a key that a study file cannot have."""
    if key == "seed":
        return InputError(
            "Expected seeds = a number or a list, which repeats the grid. Received: the key seed."
        )
    if key in RESERVED:
        return InputError(
            f"Expected no key {key}: a study sets it for each run. Received: {key}. Remove it."
        )
    names = [name for name in (*STUDY_KEYS, *KEYS) if name not in RESERVED]
    return unknown("key of a study", key, names, "`repdyn run --keys` lists the keys of a run.")


def seeds_of(value: Any, name: str) -> tuple[int, ...]:
    """A number n as the seeds 0 to n - 1; a list as it is."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and 0 < value <= MAX_RUNS:
        return tuple(range(value))
    if isinstance(value, list) and value and len(set(map(str, value))) == len(value):
        if all(
            isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value
        ):
            return tuple(value)
    raise InputError(
        f"Expected {name} = a number from 1 to {MAX_RUNS}, or a list of different whole numbers. "
        f"Received: {name} = {quoted(value)}."
    )


def options_of(key: str, value: Any) -> list[Any]:
    """The values of a key in a grid: those of a list, unless a list is one value of the key."""
    kinds = typing.get_args(TYPES[key]) or (TYPES[key],)
    is_list_key = tuple[int, ...] in kinds
    if not isinstance(value, list):
        return [value]
    if IndexTriplets in kinds and value and all(is_triplet(each) for each in value):
        return [value]
    if is_list_key and value and not any(isinstance(each, list | str) for each in value):
        return [value]
    if not value:
        raise InputError(
            f"The grid is empty. Expected at least one value of {key}. Received: {key} = []. "
            "Remove the key, or give it a value."
        )
    return value


def is_triplet(value: Any) -> bool:
    """Whether a value is a list of numbers, which a list of triplets holds."""
    return isinstance(value, list) and not any(isinstance(each, list) for each in value)


def cell_labels(cells: list[dict[str, Any]]) -> list[str]:
    """A short unique name for every cell, from the keys that differ between cells.

    Raises:
        InputError: two cells are equal.
    """
    resolved = [vars(resolve(Config(**cell))) for cell in cells]
    varying = [
        key for key in KEYS if len({repr(each[key]) for each in resolved}) > 1 and key != "seed"
    ]
    others = [
        key for key in varying if key not in NAMING_KEYS and any(key in cell for cell in cells)
    ]
    # The fewest keys that distinguish the cells: none, one, or all.
    for added in ([], *([key] for key in others), others):
        used = [*NAMING_KEYS, *added]
        labels = [" ".join(label_part(key, each[key]) for key in used) for each in resolved]
        if len(set(labels)) == len(labels):
            return labels
    duplicate = next(label for label in labels if labels.count(label) > 1)
    raise InputError(
        f"Expected different cells. Received: two equal ones, {duplicate}. Remove one of them."
    )


def label_part(key: str, value: Any) -> str:
    """The value of a key in the label of a cell."""
    return str(value) if key in NAMING_KEYS else f"{key}={value}"


def calibration_of(table: Any, seeds: tuple[int, ...]) -> CalibrationPlan | None:
    """The calibration of a study file's table; None without one.

    Raises:
        InputError: a key is unknown, missing or invalid, or a seed is one of the study's.
    """
    if table is None:
        return None
    if not isinstance(table, dict):
        raise InputError(f"Expected a table [calibration]. Received: {quoted(table)}.")
    for key in table:
        if key not in CALIBRATION_KEYS:
            raise unknown("key of [calibration]", key, CALIBRATION_KEYS)
    for key in ("seeds", "epochs", "learning_rates"):
        if key not in table:
            raise InputError(f"Expected {key} in [calibration]. Received: {', '.join(table)}.")
    if not isinstance(table["seeds"], list):
        raise InputError(
            f"Expected seeds = a list in [calibration]. Received: seeds = {quoted(table['seeds'])}."
        )
    own = seeds_of(table["seeds"], "seeds of [calibration]")
    if common := sorted(set(own) & set(seeds)):
        raise InputError(
            "Expected calibration seeds that are not seeds of the study. Received: "
            f"{common[0]} in both."
        )
    rates = table["learning_rates"]
    is_table = isinstance(rates, dict) and rates
    if not is_table or not all(_are_rates(each) for each in rates.values()):
        raise InputError(
            "Expected learning_rates in [calibration] as a table of lists of different numbers "
            "above 0 by optimizer, such as {sgd = [0.01, 0.1]}. "
            f"Received: {quoted(rates)}."
        )
    epochs, target = table["epochs"], table.get("target_epochs")
    for name, value in (("epochs", epochs), ("target_epochs", target)):
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not is_number and not (name == "target_epochs" and value is None):
            raise InputError(
                f"Expected {name} = a whole number of at least 1 in [calibration]. Received: "
                f"{name} = {quoted(value)}."
            )
    by_optimizer = {name: tuple(map(float, values)) for name, values in rates.items()}
    return CalibrationPlan(own, epochs, by_optimizer, target)


def _are_rates(values: Any) -> bool:
    if not isinstance(values, list) or not values:
        return False
    are_positive = all(
        isinstance(each, int | float) and not isinstance(each, bool) and each > 0 for each in values
    )
    return are_positive and len(set(map(float, values))) == len(values)


def check_calibration(calibration: CalibrationPlan, cells: list[dict[str, Any]]) -> None:
    """Raises InputError if a cell has no learning rates, or sets what the calibration chooses."""
    for cell in cells:
        optimizer = Config(**cell).optimizer
        if optimizer not in calibration.learning_rates:
            raise unknown("optimizer of learning_rates", optimizer, calibration.learning_rates)
        for key in ("learning_rate", "epochs"):
            if cell.get(key) is not None:
                raise InputError(
                    f"Expected no {key} beside [calibration], which chooses it. Received: "
                    f"{key} = {quoted(cell[key])}. Remove one of them."
                )


def run_config(cell: Mapping[str, Any], seed: int, **chosen: Any) -> ResolvedConfig:
    """The resolved configuration of one run.

    Args:
        cell: the keys of its cell.
        seed: its seed.
        chosen: keys that the study chooses.
    """
    return resolve(Config(**{**cell, **chosen, "seed": seed}))

"""What of a run folder is whole, damaged or missing, and what can be made again."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.records.checksums import GONE
from repdyn_keras.records.folder import RECORD_NAME, RunFolder
from repdyn_keras.records.lock import LOCK, OWNER
from repdyn_keras.records.netcdf import read_attribute

# How a file is made again.
FROM_WEIGHTS = "from kept weights"
FROM_RECORDS = "from the records"
FROM_CHECKPOINT = "from the checkpoint"
BY_RESUMING = "by repdyn run RUN --resume"
BY_MOVING = "by setting it aside"
PICTURES = (".png", ".gif")
WEIGHTS_NAME = re.compile(r"epoch-(\d{6,})\.weights\.h5")


@dataclass(frozen=True)
class Finding:
    """One file of a run folder.

    Attributes:
        name: its path in the folder.
        problem: what is wrong with it, in words; empty where it is whole.
        repair: how it can be made again; empty where it cannot.
        word: a word on it where it is whole.
    """

    name: str
    problem: str = ""
    repair: str = ""
    word: str = ""


def inspect(folder: RunFolder) -> list[Finding]:
    """Every file of a run folder, with what is wrong with it; changes nothing.

    A file is whole where its bytes are those that were written, by `checksums.txt`, and its
    format is of this version. Files of somebody else's, and `set_aside/`, are left out.

    Raises:
        InputError: this is no run folder.
    """
    if not folder.path.is_dir() or not (
        folder.config_file.is_file() or folder.replay_file.is_file() or folder.records.is_dir()
    ):
        folder.require_records()
    entries, last, bad = folder.checksums.read()
    findings = []
    if folder.checksums.path.is_file():
        problem = f"line {bad[0]} is damaged" if bad else ""
        word = f"{len(entries)} files"
        findings.append(Finding(folder.checksums.path.name, problem, "", word))
    is_kept = folder.checksums.path.is_file()
    for name in sorted({*entries, *own_files(folder)}):
        if name in entries:
            findings.append(with_entry(folder, name, is_last=name == last))
        else:
            findings.append(without_entry(folder, name, is_kept))
    findings += lacking(folder, {finding.name for finding in findings})
    findings += [
        Finding(path.relative_to(folder.path).as_posix(), "half-written, not used", BY_RESUMING)
        for path in folder.leftovers()
    ]
    findings = [f for f in findings if f.problem or f.word]
    return [with_repair(folder, finding, findings) for finding in findings]


def own_files(folder: RunFolder) -> list[str]:
    """The files that belong to a run by their names."""
    known = [
        folder.config_file,
        folder.replay_file,
        folder.history_file,
        folder.timing_file,
        folder.checkpoint_file,
        folder.constants_file,
        folder.dynamics_file,
        *map(folder.record_file, folder.epochs()),
    ]
    if folder.weights.is_dir():
        known += [p for p in folder.weights.iterdir() if WEIGHTS_NAME.fullmatch(p.name)]
    if folder.figures.is_dir():
        known += [p for p in folder.figures.iterdir() if p.suffix in PICTURES and p.name[0] != "."]
    hidden = (LOCK, OWNER)
    return [
        path.relative_to(folder.path).as_posix()
        for path in known
        if path.is_file() and path.name not in hidden
    ]


def with_entry(folder: RunFolder, name: str, is_last: bool) -> Finding:
    """A file that `checksums.txt` names."""
    path = folder.path / name
    if folder.checksums.of(path)[-1].digest == GONE and not path.is_file():
        return Finding(name)
    problem = folder.checksums.problem_of(name)
    if problem and is_last and not path.is_file():
        problem = "the run ended while it was written"
    return checked_format(path, Finding(name, problem))


def without_entry(folder: RunFolder, name: str, is_kept: bool) -> Finding:
    """A file of the run that `checksums.txt` does not name."""
    if is_kept:
        return Finding(name, "checksums.txt does not name it: one of them was changed")
    finding = checked_format(folder.path / name, Finding(name))
    return finding if finding.problem else replace(finding, word=f"{finding.word}, no checksum")


def checked_format(path: Path, finding: Finding) -> Finding:
    """The finding, with a problem where the file's format cannot be read, or with its size."""
    if finding.problem:
        return finding
    try:
        if path.suffix == ".nc":
            read_attribute(path, "schema_version")
    except InputError as error:
        return replace(finding, problem=str(error))
    return replace(finding, word=f"{path.stat().st_size:,} bytes")


def lacking(folder: RunFolder, named: set[str]) -> list[Finding]:
    """What a run folder should hold and does not, beyond what `checksums.txt` names."""
    found = []
    if folder.epochs() and folder.constants_file.relative_to(folder.path).as_posix() not in named:
        found.append(Finding("records/constants.nc", "it is missing"))
    if folder.epochs() and folder.constants_file.is_file() and not folder.dynamics_are_current():
        if not folder.dynamics_file.is_file() and "dynamics.nc" not in named:
            found.append(Finding("dynamics.nc", "it is missing"))
        elif folder.dynamics_file.is_file():
            found.append(Finding("dynamics.nc", "it is older than the records"))
    if folder.history_file.is_file() and "run.toml" not in named and not folder.is_replay():
        found.append(Finding("run.toml", "it is missing"))
    if folder.config_file.is_file() and folder.epochs() and "history.csv" not in named:
        found.append(Finding("history.csv", "it is missing"))
    return found


def with_repair(folder: RunFolder, finding: Finding, findings: list[Finding]) -> Finding:
    """The finding, with how its file can be made again."""
    if not finding.problem or finding.repair:
        return finding
    whole = {each.name for each in findings if not each.problem}
    name = finding.name
    epoch = RECORD_NAME.fullmatch(Path(name).name)
    repair = ""
    has_weights = any(WEIGHTS_NAME.fullmatch(Path(each).name) for each in whole)
    if finding.problem == "the run ended while it was written":
        repair = BY_RESUMING
    elif epoch and name.startswith("records/"):
        weights = folder.weights_file(int(epoch[1])).relative_to(folder.path).as_posix()
        repair = FROM_WEIGHTS if weights in whole and "run.toml" in whole else ""
    elif name == "records/constants.nc":
        repair = FROM_WEIGHTS if has_weights and "run.toml" in whole else ""
    elif name == "history.csv":
        repair = FROM_CHECKPOINT if "checkpoint/state.nc" in whole else ""
    elif name == "dynamics.nc" or name.startswith("figures/"):
        repair = FROM_RECORDS
    elif name in ("timing.csv", "checkpoint/state.nc") or name.startswith("weights/"):
        repair = BY_MOVING
    return replace(finding, repair=repair)

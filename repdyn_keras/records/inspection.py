"""Inspection of a run folder: intact, damaged, missing and repairable files."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from repdyn_keras.errors import InputError
from repdyn_keras.records.checksums import DELETED
from repdyn_keras.records.epoch_files import RECORD_NAME, WEIGHTS_NAME
from repdyn_keras.records.netcdf import SCHEMA_VERSION, read_attribute
from repdyn_keras.records.run_folder import RunFolder

PICTURES = (".png", ".gif")


class Repair(StrEnum):
    """How a file can be repaired, as `repdyn doctor` prints it."""

    NONE = ""
    FROM_WEIGHTS = "from saved weights"
    FROM_RECORDS = "from the records"
    FROM_CHECKPOINT = "from the checkpoint"
    BY_RESUMING = "by repdyn run RUN --resume"
    BY_MOVING = "by setting it aside"


@dataclass(frozen=True)
class Finding:
    """The state of one file of a run folder.

    Attributes:
        name: its path in the folder.
        problem: what is wrong with it; empty if it is intact.
        repair: how it can be repaired.
        note: its size, if it is intact.
        is_unfinished: whether the run ended before the file was written, so it is not damaged.
    """

    name: str
    problem: str = ""
    repair: Repair = Repair.NONE
    note: str = ""
    is_unfinished: bool = False


def inspect(folder: RunFolder) -> list[Finding]:
    """Checks every file of a run folder without changing anything.

    A file is intact if it matches `checksums.txt` and has the format of this version. Files that do
    not belong to a run are left out, as is `set_aside/`.

    Raises:
        InputError: the folder is not a run folder.
    """
    if not folder.path.is_dir() or not (
        folder.config_file.is_file() or folder.replay_file.is_file() or folder.records.is_dir()
    ):
        folder.require_records()
    has_checksums = folder.checksums.path.is_file()
    entries, last, damaged_lines = folder.checksums.read()
    findings = []
    if has_checksums:
        problem = f"line {damaged_lines[0]} is damaged" if damaged_lines else ""
        name = folder.checksums.path.name
        findings.append(Finding(name, problem, note=f"{len(entries)} files"))
    for name in sorted({*entries, *run_files(folder)}):
        if name in entries:
            findings.append(inspect_listed(folder, name, is_last=name == last))
        else:
            findings.append(inspect_unlisted(folder, name, has_checksums))
    findings += missing_files(folder, {finding.name for finding in findings})
    findings += [
        Finding(name_in(folder, path), "half-written, not used", Repair.BY_RESUMING)
        for path in folder.partial_files()
    ]
    findings = [f for f in findings if f.problem or f.note]
    intact = {finding.name for finding in findings if not finding.problem}
    return [
        replace(finding, repair=repair_of(folder, finding, intact)) if finding.problem else finding
        for finding in findings
    ]


def name_in(folder: RunFolder, path: Path) -> str:
    """The name of a file in its run folder."""
    return path.relative_to(folder.path).as_posix()


def run_files(folder: RunFolder) -> list[str]:
    """The existing files that belong to a run, according to their names."""
    files = [
        folder.config_file,
        folder.replay_file,
        folder.history_file,
        folder.timing_file,
        folder.checkpoint_file,
        folder.constants_file,
        folder.dynamics_file,
        folder.report_file,
        *map(folder.record_file, folder.epochs()),
    ]
    if folder.weights.is_dir():
        files += [p for p in folder.weights.iterdir() if WEIGHTS_NAME.fullmatch(p.name)]
    if folder.figures.is_dir():
        files += [p for p in folder.figures.iterdir() if p.suffix in PICTURES and p.name[0] != "."]
    return [name_in(folder, path) for path in files if path.is_file()]


def inspect_listed(folder: RunFolder, name: str, is_last: bool) -> Finding:
    """Checks a file that has a line in `checksums.txt`."""
    path = folder.path / name
    exists = path.is_file()
    if not exists and folder.checksums.accepted(path)[-1] == DELETED:
        return Finding(name)
    if not exists and is_last:
        return Finding(name, "the run ended while it was written", is_unfinished=True)
    return inspect_format(path, Finding(name, folder.checksums.problem_of(name)))


def inspect_unlisted(folder: RunFolder, name: str, has_checksums: bool) -> Finding:
    """Checks a file of the run that has no line in `checksums.txt`."""
    if has_checksums:
        return Finding(name, "it is not listed in checksums.txt: one of them was changed")
    finding = inspect_format(folder.path / name, Finding(name))
    return finding if finding.problem else replace(finding, note=f"{finding.note}, no checksum")


def inspect_format(path: Path, finding: Finding) -> Finding:
    """Adds a problem if the file has another format or is outdated, else its size."""
    if finding.problem:
        return finding
    try:
        version = read_attribute(path, "schema_version") if path.suffix == ".nc" else None
    except InputError as error:
        return replace(finding, problem=str(error))
    if finding.name == "dynamics.nc" and version != SCHEMA_VERSION:
        problem = f"an earlier version wrote it (format {version}); it is computed anew when read"
        return replace(finding, problem=problem)
    return replace(finding, note=f"{path.stat().st_size:,} bytes")


def missing_files(folder: RunFolder, listed: set[str]) -> list[Finding]:
    """Findings about missing files that are not listed yet, and about outdated dynamics."""
    expected = []
    if folder.epochs():
        expected.append(folder.constants_file)
        if folder.constants_file.is_file():
            expected.append(folder.dynamics_file)
        if folder.config_file.is_file():
            expected.append(folder.history_file)
    if folder.history_file.is_file() and not folder.is_replay():
        expected.append(folder.config_file)
    names = [name_in(folder, path) for path in expected if not path.is_file()]
    findings = [Finding(name, "it is missing") for name in names if name not in listed]
    if folder.dynamics_file in expected and folder.dynamics_file.is_file():
        if not folder.dynamics_are_current():
            findings.append(Finding("dynamics.nc", "it is older than the records"))
    return findings


def repair_of(folder: RunFolder, finding: Finding, intact: set[str]) -> Repair:
    """How a damaged or missing file can be repaired, given the names of intact files."""
    name = finding.name
    if finding.is_unfinished or finding.repair:
        return Repair.BY_RESUMING
    if name in ("dynamics.nc", "report.html") or name.startswith("figures/"):
        return Repair.FROM_RECORDS
    if name in ("timing.csv", "checkpoint/state.nc") or name.startswith("weights/"):
        return Repair.BY_MOVING
    if name == "history.csv":
        return Repair.FROM_CHECKPOINT if "checkpoint/state.nc" in intact else Repair.NONE
    epoch = RECORD_NAME.fullmatch(Path(name).name)
    if epoch and name.startswith("records/"):
        weights = {name_in(folder, folder.weights_file(float(epoch[1])))}
    elif name == "records/constants.nc":
        weights = {file for file in intact if WEIGHTS_NAME.fullmatch(Path(file).name)}
    else:
        return Repair.NONE
    can_record = "run.toml" in intact and bool(weights & intact)
    return Repair.FROM_WEIGHTS if can_record else Repair.NONE

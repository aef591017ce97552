"""Repair of a run folder: restores damaged and missing files from intact ones."""

from repdyn_keras.backends import use_backend
from repdyn_keras.config import Config, resolve, with_trust
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.drawing import draw
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.epoch_files import RECORD_NAME
from repdyn_keras.records.inspection import Finding, Repair, inspect
from repdyn_keras.records.tables import HISTORY, accuracies_of, rows_of


def repair(folder: RunFolder, given: dict | None = None, watcher: Watcher | None = None) -> None:
    """Restores the files of a run folder, as far as possible.

    Records are restored from saved weights, `history.csv` from the checkpoint, `dynamics.nc`, the
    figures and the page from the records. Damaged files are moved to `set_aside/`, never deleted.
    Files that cannot be restored are left unchanged.

    Args:
        folder: a run folder.
        given: configuration keys from the user, such as a `model` whose code is trusted.
        watcher: receives messages.

    Raises:
        InputError: another process writes to the folder, or its network or data is not available.
    """
    watcher = watcher or Watcher()
    # Raises an error for folders that are no run folder, before a lock is created.
    inspect(folder)
    with folder.locked():
        findings = [f for f in inspect(folder) if f.problem and f.repair]
        by_repair: dict[Repair, list[Finding]] = {}
        for finding in findings:
            by_repair.setdefault(finding.repair, []).append(finding)
        replay = None
        if Repair.FROM_WEIGHTS in by_repair:
            # Errors are raised before a file is moved.
            replay = replay_of(folder, given or {}, watcher)
        for finding in findings:
            if finding.repair != Repair.BY_RESUMING:
                move_aside(folder, finding, watcher)
        if replay is not None:
            names = [finding.name for finding in by_repair[Repair.FROM_WEIGHTS]]
            record_again(folder, replay, names, watcher)
        if Repair.FROM_CHECKPOINT in by_repair:
            restore_history(folder)
            watcher.message("history.csv: restored from the checkpoint.")
        if Repair.FROM_RECORDS in by_repair or Repair.FROM_WEIGHTS in by_repair:
            redraw(folder, watcher)
        for finding in by_repair.get(Repair.BY_MOVING, []):
            watcher.message(f"{finding.name}: set aside, since the run does not need it.")


def move_aside(folder: RunFolder, finding: Finding, watcher: Watcher) -> None:
    """Moves a damaged file to `set_aside/`, or removes a missing one from the checksums."""
    path = folder.path / finding.name
    if path.is_file():
        moved = folder.set_aside(path)
        watcher.message(f"{finding.name}: {finding.problem}; moved to {moved}.")
    else:
        folder.checksums.announce_removal(path)


def replay_of(folder: RunFolder, given: dict, watcher: Watcher):
    """The `Replay` for the saved weights of a run."""
    config = resolve(Config(**with_trust(folder.config(), given)))
    use_backend(config.backend)
    from repdyn_keras.experiment.configured_recorder import Replay

    return Replay(config, folder, watcher)


def record_again(folder: RunFolder, replay, names: list[str], watcher: Watcher) -> None:
    """Restores the constants, if they are missing, and the records with these names."""
    from repdyn_keras.recording.constants import constants_of

    if not folder.constants_file.is_file():
        folder.write_constants(constants_of(replay.recorded))
        watcher.message("records/constants.nc: restored from the configuration.")
    for name in names:
        match = RECORD_NAME.fullmatch(name.removeprefix("records/"))
        if match:
            epoch = float(match[1])
            replay.record(epoch, folder.checksums.check(folder.weights_file(epoch)))
            watcher.message(f"{name}: recorded again from the saved weights.")


def restore_history(folder: RunFolder) -> None:
    """Restores `history.csv` up to the last checkpoint."""
    checkpoint = folder.checkpoint()
    if checkpoint is None:
        return
    rows: list[dict] = list(rows_of(checkpoint))
    epoch = int(checkpoint.attrs["epoch"])
    if epoch in folder.epochs():
        rows[-1] |= accuracies_of(
            folder.record(epoch), folder.constants()["subset"].values.tolist()
        )
    folder.table(folder.history_file, HISTORY).replace(rows)


def redraw(folder: RunFolder, watcher: Watcher) -> None:
    """Restores the dynamics, the figures and the page, unless a record is damaged.

    A study may have kept the dynamics alone, from which the others are restored.
    """
    if folder.holds_records():
        try:
            analyze(folder, watcher.analysis_step)
        except InputError as error:
            watcher.message(f"dynamics.nc: not restored, since a record is damaged: {error}")
            return
    draw(folder, watcher)
    watcher.message("dynamics.nc, figures/ and the page: restored from the records.")

"""Files of a run that are damaged or missing, made again from what is whole."""

from repdyn_keras.backends import use_backend
from repdyn_keras.config import Config, resolve, with_trust
from repdyn_keras.dynamics import analyze
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.history import HISTORY, accuracies_of, rows_of
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.inspection import Finding, Repair, inspect
from repdyn_keras.records.run_folder import RECORD_NAME


def repair(folder: RunFolder, given: dict | None = None, watcher: Watcher | None = None) -> None:
    """Makes again what can be made again; damaged files are moved to `set_aside/`, never deleted.

    Records come from kept weights, `history.csv` from the checkpoint, `dynamics.nc` and the
    figures from the records. What cannot be made again is left as it is.

    Args:
        folder: a run's folder.
        given: keys that the user names, such as a `model` whose code is trusted.
        watcher: is told what happens.

    Raises:
        InputError: another process writes to the folder, or its network or data cannot be had.
    """
    watcher = watcher or Watcher()
    # A folder that is no run is left as it is.
    inspect(folder)
    with folder.locked():
        findings = [f for f in inspect(folder) if f.problem and f.repair]
        by_repair: dict[Repair, list[Finding]] = {}
        for finding in findings:
            by_repair.setdefault(finding.repair, []).append(finding)
        replay = None
        if Repair.FROM_WEIGHTS in by_repair:
            # What is needed for it is found out before anything is moved.
            replay = replayer(folder, given or {}, watcher)
        for finding in findings:
            if finding.repair != Repair.BY_RESUMING:
                clear_away(folder, finding, watcher)
        if replay is not None:
            names = [finding.name for finding in by_repair[Repair.FROM_WEIGHTS]]
            record_again(folder, replay, names, watcher)
        if Repair.FROM_CHECKPOINT in by_repair:
            rebuild_history(folder)
            watcher.said("history.csv: made again from the checkpoint.")
        if Repair.FROM_RECORDS in by_repair or Repair.FROM_WEIGHTS in by_repair:
            redraw(folder, watcher)
        for finding in by_repair.get(Repair.BY_MOVING, []):
            watcher.said(f"{finding.name}: set aside; the run can go on without it.")


def clear_away(folder: RunFolder, finding: Finding, watcher: Watcher) -> None:
    """Moves a damaged file aside, or notes that a missing one is gone."""
    path = folder.path / finding.name
    if path.is_file():
        moved = folder.set_aside(path)
        watcher.said(f"{finding.name}: {finding.problem}; moved to {moved}.")
    else:
        folder.checksums.forget(path)


def replayer(folder: RunFolder, given: dict, watcher: Watcher):
    """What records a run's kept weights again."""
    config = resolve(Config(**with_trust(folder.config(), given)))
    use_backend(config.backend)
    from repdyn_keras.experiment.replay import Replayer

    return Replayer(config, folder, watcher)


def record_again(folder: RunFolder, replay, names: list[str], watcher: Watcher) -> None:
    """Makes constants and records of these names again."""
    if not folder.constants_file.is_file():
        folder.write_constants(replay.recorder.constants())
        watcher.said("records/constants.nc: made again from the configuration.")
    for name in names:
        match = RECORD_NAME.fullmatch(name.removeprefix("records/"))
        if match:
            epoch = int(match[1])
            replay.record(epoch, folder.checksums.check(folder.weights_file(epoch)))
            watcher.said(f"{name}: recorded again from its kept weights.")


def rebuild_history(folder: RunFolder) -> None:
    """`history.csv` up to the last checkpoint, as the run wrote it."""
    checkpoint = folder.checkpoint()
    rows = rows_of(checkpoint)
    epoch = int(checkpoint.attrs["epoch"])
    if epoch in folder.epochs():
        rows[-1] |= accuracies_of(folder.record(epoch), folder.constants()["subset"].values)
    folder.table(folder.history_file, HISTORY).replace(rows)


def redraw(folder: RunFolder, watcher: Watcher) -> None:
    """Analyzes and draws anew, where the records allow it."""
    from repdyn_keras.figures import draw_all

    try:
        dynamics = analyze(folder, watcher.analyzing)
    except InputError as error:
        watcher.said(f"dynamics.nc: not made again, since a record is damaged: {error}")
        return
    draw_all(dynamics, folder.figures, write=folder.write)
    watcher.said("dynamics.nc and figures/: made again from the records.")

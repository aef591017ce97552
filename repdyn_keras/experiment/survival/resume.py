"""Resuming a run: its folder, its configuration and its records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from repdyn_keras.config import (
    Config,
    ResolvedConfig,
    load_config,
    load_versions,
    resolve,
    versions,
    with_trust,
)
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.text import is_whole


def folder_to_resume(config: object, out: str | Path | None) -> RunFolder | None:
    """The folder of the run to resume; None if it does not exist yet.

    Args:
        config: the first argument of `run`: the folder, or a configuration in any form.
        out: the folder, if `config` is not one.

    Raises:
        InputError: no folder or two folders were given, or `repdyn run` did not create it.
    """
    given = (
        config if isinstance(config, str | Path) and Path(config).expanduser().is_dir() else None
    )
    if given is not None and out is not None:
        raise InputError(f"Expected one folder to resume. Received: two, {config} and {out}.")
    chosen = out if given is None else given
    if chosen is None:
        raise InputError(
            "Expected the folder of a run: repdyn run RUN --resume, or --out RUN. Received: "
            f"{config!r}, which is not a folder."
        )
    path = Path(chosen).expanduser()
    if not path.exists():
        return None
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise InputError(
            f"Expected a folder of `repdyn run`, or a new one. Received: {path}, which has no "
            "run.toml."
        )
    return folder


def resumed_config(folder: RunFolder, given: Config | dict | str | Path | None) -> ResolvedConfig:
    """The configuration of a resumed run: the stored one, for at least as many epochs.

    Args:
        folder: the run folder.
        given: the first argument of `run`: the folder, or a configuration in any form.

    Raises:
        InputError: keys other than `epochs` differ, there are fewer epochs, or the schedule does
            not allow more epochs.
    """
    stored = folder.config()
    if isinstance(given, Config):
        wanted = given
    else:
        keys = given if isinstance(given, dict) else {}
        if isinstance(given, str | Path) and not Path(given).expanduser().is_dir():
            keys = load_config(given)
        wanted = Config(**with_trust(stored, keys))
    config, stored_config = resolve(wanted), resolve(Config(**stored))
    if isinstance(given, Config):
        config = as_recorded(config, folder)
    differing = [
        key
        for key, value in vars(stored_config).items()
        if getattr(config, key) != value and key != "epochs"
    ]
    if differing:
        name = differing[0]
        raise InputError(
            f"Expected {name} = {getattr(stored_config, name)!r}, as in {folder.path}: with "
            f"--resume only --epochs may change. Received: {getattr(config, name)!r}."
        )
    if config.epochs < stored_config.epochs:
        raise InputError(
            f"Expected at least {stored_config.epochs} epochs, the length of {folder.path}. "
            f"Received: {config.epochs}."
        )
    if config.epochs > stored_config.epochs and stored_config.schedule == "cosine":
        raise InputError(
            "Expected a constant or inverse-sqrt schedule to extend a run, or a new run. Received: "
            f"{folder.path} with a cosine schedule that ends at epoch {stored_config.epochs}; a "
            "longer run would have had other learning rates from the start."
        )
    return config


def as_recorded(config: ResolvedConfig, folder: RunFolder) -> ResolvedConfig:
    """A configuration, without early records if the run began with a version that had none."""
    if "early_records" in load_config(folder.config_file):
        return config
    return replace(config, early_records=0)


def warn_of_other_versions(folder: RunFolder, backend: str, notify: Callable[[str], None]) -> None:
    """Warns if a run was started with other versions of the packages that affect its numbers."""
    stored, current = load_versions(folder.config_file), versions()
    relevant = ("repdyn-keras", "keras", "numpy", backend)
    changed = [
        f"{name} {stored[name]}, now {current.get(name, 'none')}"
        for name in relevant
        if name in stored and stored[name] != current.get(name)
    ]
    if changed:
        notify(
            f"warning: the run was started with {'; '.join(changed)}. It continues, but its "
            "numbers may differ in the last bits."
        )


def drop_unscheduled_records(folder: RunFolder, config: ResolvedConfig, epoch: int) -> list[int]:
    """Sets aside records of whole epochs that are not scheduled; returns these epochs.

    When a run is extended, this is its previous last epoch, unless the schedule includes it.

    Args:
        folder: the run folder.
        config: the configuration of the resumed run.
        epoch: number of epochs trained so far.
    """
    from repdyn_keras.recording.settings import Schedule

    planned = Schedule(config.record_epochs).planned(config.epochs)
    recorded = [int(e) for e in folder.epochs() if is_whole(e)]
    dropped = [e for e in recorded if e <= epoch and e not in planned]
    for dropped_epoch in dropped:
        for file in (folder.weights_file(dropped_epoch), folder.record_file(dropped_epoch)):
            if file.is_file():
                folder.set_aside(file)
    return dropped

"""A run that goes on: its configuration, and what of its folder is taken over."""

from collections.abc import Callable
from pathlib import Path

from repdyn_keras.config import (
    Config,
    load_config,
    load_versions,
    resolve,
    versions,
    with_trust,
)
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder


def folder_to_resume(config, out: str | Path | None) -> RunFolder | None:
    """The folder of the run that goes on; None where it is to be begun.

    Args:
        config: what `run` was given: the folder, or a configuration in any form.
        out: the folder, where `config` is none.

    Raises:
        InputError: no folder came, or what came is none of `repdyn run`.
    """
    is_folder = isinstance(config, str | Path) and Path(config).expanduser().is_dir()
    if is_folder and out is not None:
        raise InputError(
            f"Two folders came to be resumed: {config} and {out}. Expected one of them."
        )
    if not is_folder and out is None:
        raise InputError(
            f"Nothing to resume came: {config!r} is no folder. Expected the folder of a run: "
            "repdyn run RUN --resume, or --out RUN."
        )
    path = Path(config if is_folder else out).expanduser()
    if not path.exists():
        return None
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise InputError(
            f"{path} has no run.toml, so it is no run of `repdyn run`. Expected one, or a new "
            "folder."
        )
    return folder


def resumed_config(folder: RunFolder, config) -> Config:
    """The configuration of a run that goes on: its own, for at least as many epochs.

    Args:
        folder: the run's folder.
        config: what `run` was given: the folder, or a configuration in any form.

    Raises:
        InputError: it differs from the run's own by more than additional epochs.
    """
    stored = folder.config()
    if isinstance(config, Config):
        wanted = config
    else:
        given = config if isinstance(config, dict) else {}
        if isinstance(config, str | Path) and not Path(config).expanduser().is_dir():
            given = load_config(config)
        wanted = Config(**with_trust(stored, given))
    wanted, own = resolve(wanted), resolve(Config(**stored))
    differing = [k for k, v in vars(own).items() if getattr(wanted, k) != v and k != "epochs"]
    if differing:
        name = differing[0]
        raise InputError(
            f"{folder.path} was begun with {name} = {getattr(own, name)!r}, and "
            f"{getattr(wanted, name)!r} came. Expected the same: with --resume only --epochs may "
            "change."
        )
    if wanted.epochs < own.epochs:
        raise InputError(
            f"{folder.path} is a run of {own.epochs} epochs, and {wanted.epochs} came. Expected "
            "at least as many."
        )
    if wanted.epochs > own.epochs and own.schedule == "cosine":
        raise InputError(
            f"{folder.path} lowers its learning rate along a cosine that ends at epoch "
            f"{own.epochs}: a longer run would have been another from the start. Expected a "
            "constant or inverse-sqrt schedule, or a new run."
        )
    return wanted


def say_other_versions(folder: RunFolder, backend: str, say: Callable[[str], None]) -> None:
    """Says where a run was begun with other versions of what decides its numbers."""
    before, now = load_versions(folder.config_file), versions()
    deciding = ("repdyn-keras", "keras", "numpy", backend)
    changed = [
        f"{name} {before[name]}, now {now.get(name, 'none')}"
        for name in deciding
        if name in before and before[name] != now.get(name)
    ]
    if changed:
        say(
            f"warning: the run was begun with {'; '.join(changed)}: it goes on, but perhaps not "
            "to the same bits."
        )


def drop_records_past_schedule(folder: RunFolder, config: Config, epoch: int) -> list[int]:
    """Sets aside the records that a run of this length would not have made; returns their epochs.

    That is the last state of a run that is extended, where its epoch is not one of the schedule's.

    Args:
        folder: the run's folder.
        config: its configuration from now on.
        epoch: epochs that it has been trained.
    """
    from repdyn_keras.recording.schedule import Schedule

    planned = Schedule(config.record_epochs).planned(config.epochs)
    dropped = [e for e in folder.epochs() if e <= epoch and e not in planned]
    for each in dropped:
        for file in (folder.weights_file(each), folder.record_file(each)):
            if file.is_file():
                folder.set_aside(file)
    return dropped

"""One configured training from its data to its dynamics."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from repdyn_keras.backends import use_backend
from repdyn_keras.config import Config, load_config, resolve, to_toml, versions, with_trust
from repdyn_keras.errors import Interrupted, StorageError
from repdyn_keras.experiment.folders import begin_folder, choose_folder, run_name, size_of
from repdyn_keras.experiment.resume import folder_to_resume, resumed_config, say_other_versions
from repdyn_keras.experiment.stopping import Stopping
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import free_bytes, megabytes

if TYPE_CHECKING:
    from repdyn_keras.dynamics import Run
    from repdyn_keras.experiment.plan import Plan


@overload
def run(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    dry_run: Literal[False] = False,
    resume: bool = False,
) -> "Run": ...


@overload
def run(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    dry_run: Literal[True],
    resume: bool = False,
) -> "Plan": ...


def run(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    dry_run: bool = False,
    resume: bool = False,
) -> "Run | Plan":
    """Trains one network, records it, analyzes and draws: the command `repdyn run` in Python.

    Args:
        config: a `Config`, its keys as a dict, a TOML file, or None for the defaults; with
            `resume` also the folder of the run that goes on.
        out: folder to create; None for `runs/<dataset>-<model>-<optimizer>-s<seed>`, with `-2`,
            `-3`, ... when taken. With `resume` the folder of the run, which is begun where there
            is none.
        watcher: is told what happens.
        dry_run: only plans; writes nothing and returns the plan.
        resume: whether a run goes on from its last checkpoint. Only `epochs` may be changed,
            upwards. The finished run is the one that would have been without the break, to the
            last bit on the CPU.

    Returns:
        The finished run, whose `dynamics` is an `xarray.Dataset`; with `dry_run` the plan.

    Raises:
        InputError: bad configuration or data, a folder that exists (without `resume`), does not
            fit or is written to by another process, or another backend than the one that Keras
            already runs on.
        StorageError: the disk has not the room that the run takes, or cannot be written to.
        Diverged: the loss or a weight is no finite number any more.
        Interrupted: Ctrl-C or SIGTERM; what was recorded stays, and `resume` goes on.

    Example:
        >>> run({"epochs": 2, "planes": 3}).dynamics["cka"].sizes["epoch"]  # doctest: +SKIP
        3
    """
    watcher = watcher or Watcher()
    existing = folder_to_resume(config, out) if resume else None
    if existing is not None:
        config, folder = resumed_config(existing, config), existing
    else:
        config = resolve(as_config(config))
        folder = RunFolder(choose_folder(run_name(config), out))
    use_backend(config.backend)
    from repdyn_keras.experiment.training import Training

    training = Training(config, folder, watcher)
    if dry_run:
        plan = training.timed_plan()
        watcher.started(folder, config, plan)
        training.say_notes()
        return plan
    check_room(folder.path, training.plan.disk_bytes)
    text = to_toml(config, versions())
    if existing is None:
        begin_folder(folder.path, folder.config_file.name, text)
    with folder.locked():
        if existing is not None:
            say_other_versions(folder, config.backend, watcher.said)
            if resolve(Config(**folder.config())) != config:
                folder.write(folder.config_file, text.encode("utf-8"))
        watcher.started(folder, config, training.plan)
        training.say_notes()
        try:
            with Stopping(config.grace_seconds, watcher.said) as stopping:
                training.fit(stopping)
                return finish(folder, watcher)
        except Interrupted as stop:
            saved = folder.checkpoint()
            stands = "nothing was saved yet"
            if saved is not None:
                stands = f"the checkpoint of epoch {saved.attrs['epoch']} stands"
            trusted = f" --model {config.model}" if ":" in config.model else ""
            raise Interrupted(
                f"{stop}; {stands}. To go on: repdyn run {folder.path} --resume{trusted}",
                stop.signal,
            ) from None


def check_room(path: Path, size: int) -> None:
    """Raises StorageError unless the disk has what a run still needs of `size` bytes in all."""
    needed, free = size - size_of(path), free_bytes(path)
    if needed > free:
        raise StorageError(
            f"{path} takes about {megabytes(needed)} more, and its disk has {megabytes(free)} "
            "free. Expected room for it: nothing was written. Make room, choose another disk by "
            "--out, or record less."
        )


def finish(folder: RunFolder, watcher: Watcher) -> "Run":
    """Analyzes and draws what a folder's records say; returns the run."""
    from repdyn_keras.dynamics import analyze, open_run
    from repdyn_keras.figures import draw_all

    dynamics = analyze(folder, watcher.analyzing)
    watcher.analyzing("figures")
    draw_all(dynamics, folder.figures, write=folder.write)
    return open_run(folder.path)


def as_config(config) -> Config:
    """A configuration given in any of the forms that `run` takes."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    return Config(**(config if isinstance(config, dict) else with_trust(load_config(config), {})))

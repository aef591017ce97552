"""A run: one configured training, from the data to the figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from repdyn_keras.backends import use_backend
from repdyn_keras.config import (
    Config,
    ResolvedConfig,
    load_config,
    resolve,
    to_toml,
    versions,
    with_trust,
)
from repdyn_keras.errors import Interrupted, StorageError
from repdyn_keras.experiment.survival.resume import (
    folder_to_resume,
    resumed_config,
    warn_of_other_versions,
)
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import free_bytes
from repdyn_keras.records.run_folder import choose_folder, create_folder, run_name
from repdyn_keras.text import format_bytes

if TYPE_CHECKING:
    from repdyn_keras.dynamics import Run
    from repdyn_keras.experiment.plan import Plan
    from repdyn_keras.experiment.training import Training


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
    """Trains a network, records it, and analyzes and draws the records, like `repdyn run`.

    Args:
        config: a `Config`, its keys as a dict, a TOML file, or None for the defaults; with
            `resume`, also the folder of the run to resume.
        out: folder to create; None for `runs/<dataset>-<model>-<optimizer>-s<seed>`, with `-2`,
            `-3`, ... if that exists. With `resume`, the folder of the run; a new run is started if
            it does not exist.
        watcher: receives progress and messages; None shows them, as `repdyn run` does, and a
            `Watcher()` of `repdyn_keras.experiment` is silent.
        dry_run: whether to only return the plan and write nothing.
        resume: whether to resume the run from its last checkpoint. Only `epochs` may be changed,
            and only be increased. On the CPU, the result is bit-identical to that of an
            uninterrupted run.

    Returns:
        The finished run, whose `dynamics` is an `xarray.Dataset`; with `dry_run`, the plan.

    Raises:
        InputError: the configuration or the data is invalid; the folder exists (without
            `resume`), does not fit the configuration or is locked by another process; or Keras
            already runs on another backend.
        StorageError: the disk does not have enough space, or cannot be written to.
        Diverged: the loss or a weight became non-finite.
        Interrupted: Ctrl-C or SIGTERM was received; the run can be resumed.

    Example:
        >>> run({"epochs": 2, "planes": 3}).dynamics["cka"].sizes["epoch"]  # doctest: +SKIP
        3
    """
    if watcher is None and not dry_run:
        from repdyn_keras.experiment.live_progress import LiveProgress

        with LiveProgress() as shown:
            return run(config, out=out, watcher=shown, resume=resume)
    watcher = watcher or Watcher()
    if dry_run:
        settings, folder, _ = _resolved(config, out, resume)
        training = _training(settings, folder, watcher)
        plan = training.timed_plan()
        watcher.started(folder, settings, plan)
        training.report_notes()
        return plan
    with _trained(config, out, watcher, resume) as folder:
        return finish(folder, watcher)


def train(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    resume: bool = False,
) -> RunFolder:
    """Trains a network and records it, like `run`, without analyzing the records.

    Args:
        config: as for `run`.
        out: as for `run`.
        watcher: receives progress and messages.
        resume: as for `run`.

    Returns:
        The run folder.

    Raises:
        InputError, StorageError, Diverged, Interrupted: as for `run`.
    """
    with _trained(config, out, watcher or Watcher(), resume) as folder:
        return folder


def _resolved(config, out, resume: bool) -> tuple[ResolvedConfig, RunFolder, bool]:
    """The resolved configuration of a run, its folder, and whether the folder exists."""
    existing = folder_to_resume(config, out) if resume else None
    if existing is not None:
        return resumed_config(existing, config), existing, True
    settings = resolve(as_config(config))
    return settings, RunFolder(choose_folder(run_name(settings), out)), False


def _training(config: ResolvedConfig, folder: RunFolder, watcher: Watcher) -> "Training":
    watcher.working(f"importing keras and {config.backend}")
    use_backend(config.backend)
    from repdyn_keras.experiment.training import Training

    return Training(config, folder, watcher)


@contextmanager
def _trained(config, out, watcher: Watcher, resume: bool) -> Iterator[RunFolder]:
    """Trains and records; yields the folder, locked and with signals handled."""
    settings, folder, exists = _resolved(config, out, resume)
    training = _training(settings, folder, watcher)
    from repdyn_keras.experiment.survival.stopping import Stopping

    require_space(folder.path, training.plan.disk_bytes)
    text = to_toml(settings, versions())
    if not exists:
        create_folder(folder.path, folder.config_file.name, text)
    with folder.locked():
        if exists:
            warn_of_other_versions(folder, settings.backend, watcher.message)
            if resolve(Config(**folder.config())) != settings:
                folder.write(folder.config_file, text.encode("utf-8"))
        watcher.started(folder, settings, training.plan)
        training.report_notes()
        try:
            with Stopping(settings.grace_seconds, watcher.message) as stopping:
                training.fit(stopping)
                yield folder
        except Interrupted as stop:
            checkpoint = folder.checkpoint()
            saved = "nothing was saved yet"
            if checkpoint is not None:
                saved = f"the checkpoint of epoch {checkpoint.attrs['epoch']} is saved"
            trusted = f" --model {settings.model}" if ":" in settings.model else ""
            raise Interrupted(
                f"{stop}; {saved}. To continue: repdyn run {folder.path} --resume{trusted}",
                stop.signal,
            ) from None


def require_space(path: Path, size: int) -> None:
    """Raises StorageError unless the disk has space for the remainder of a run of `size` bytes."""
    needed, free = size - RunFolder(path).size(), free_bytes(path)
    if needed > free:
        raise StorageError(
            f"Expected {format_bytes(needed)} of free disk space for {path}. Received: "
            f"{format_bytes(free)}. Nothing was written. Free some space, choose another disk "
            "with --out, or record less."
        )


def finish(folder: RunFolder, watcher: Watcher) -> "Run":
    """Analyzes the records of a folder, draws them and writes the page; returns the run."""
    from repdyn_keras.dynamics import analyze, open_run
    from repdyn_keras.experiment.drawing import draw

    analyze(folder, watcher.analysis_step)
    draw(folder, watcher)
    return open_run(folder.path)


def as_config(config) -> Config:
    """The configuration from any of the forms that `run` accepts."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    return Config(**(config if isinstance(config, dict) else with_trust(load_config(config), {})))

"""A run folder from the saved weights of a training that is over."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.backends import use_backend
from repdyn_keras.config import Config, load_config, resolve, to_toml, versions, with_trust
from repdyn_keras.dynamics import check_same_images
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.folders import begin_folder, choose_folder
from repdyn_keras.experiment.run import finish
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder

if TYPE_CHECKING:
    from repdyn_keras.dynamics import Run


def record(
    checkpoints: str | Path,
    config: dict | None = None,
    *,
    like: str | Path | None = None,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
) -> "Run":
    """Records saved weights, one file an epoch: the command `repdyn record` in Python.

    Each checkpoint is recorded as the callback would have recorded that epoch: the same weights
    and images give the same arrays.

    Args:
        checkpoints: folder of `.weights.h5` or `.keras` files with the epoch in their names, the
            number of epochs that had been trained.
        config: keys of a configuration: the data set, the network and what is recorded. Without
            a `model`, `.keras` files bring their own; without a `label_noise` there is none.
            The network is given standardized images, unless `standardize` is false.
        like: a run whose `run.toml` gives the keys that `config` lacks, and whose images the
            records must be of.
        out: folder to create; None for `runs/<name of the folder>-recorded`.
        watcher: is told what happens.

    Returns:
        The recorded run, whose `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: the checkpoints, the data or the network cannot be used, do not fit each
            other, or the images are not those of `like`. Found before anything is written.
    """
    watcher = watcher or Watcher()
    values = dict(config or {})
    if like is not None:
        values = with_trust(configuration_of(like), values)
    # Nobody's own training had the wrong labels that `repdyn run` adds to show memorization.
    values.setdefault("label_noise", 0.0)
    use_backend(Config(backend=values.get("backend", "jax")).backend)
    from repdyn_keras.experiment.replay import Replay
    from repdyn_keras.recording.checkpoints import find_checkpoints

    found = find_checkpoints(checkpoints)
    if "model" not in values:
        values["model"] = saved_model(next(iter(found.files.values())))
    name = Path(checkpoints).expanduser().resolve().name
    folder = RunFolder(choose_folder(f"{name}-recorded", out))
    settings = resolve(Config(**values))
    replay = Replay(settings, found, folder, watcher)
    if like is not None:
        constants = replay.recorder.constants()
        check_same_images(constants, RunFolder(like).constants(), str(checkpoints), str(like))
    text = to_toml(settings, versions())
    begin_folder(folder.path, folder.replay_file.name, text)
    with folder.locked():
        replay.record_all()
        return finish(folder, watcher)


def configuration_of(run: str | Path) -> dict:
    """The keys of a run's `run.toml` or `record.toml`; raises InputError where it has none."""
    folder = RunFolder(run).require_records()
    for file in (folder.config_file, folder.replay_file):
        if file.is_file():
            return load_config(file)
    raise InputError(
        f"{folder.path} has no run.toml: it was recorded by a callback, and does not say where "
        "its images come from. Expected a run of `repdyn run` or `repdyn record`, or --dataset "
        "and --set instead of --like."
    )


def saved_model(first: Path) -> str:
    """The model that comes with the checkpoints, or InputError."""
    if first.name.endswith(".keras"):
        return str(first)
    raise InputError(
        f"{first.name} holds weights without their model. Expected --model FILE.keras, "
        "module:function, resnet or vit, or --like RUN."
    )

"""Recording saved weights: a run folder from checkpoint files, as the callback would write it."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdyn_keras.backends import use_backend
from repdyn_keras.config import (
    NETWORKS,
    Config,
    load_config,
    resolve,
    to_toml,
    versions,
    with_trust,
)
from repdyn_keras.dynamics import check_same_images
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.run import finish
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.run_folder import choose_folder, create_folder

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

    Each file is recorded as the callback would have recorded that epoch: the same weights and
    images give the same arrays.

    Args:
        checkpoints: folder of `.weights.h5` or `.keras` files with the epoch in their names, the
            number of epochs trained so far.
        config: keys of a configuration: the data set, the network and what is recorded. Without
            `model`, the first `.keras` file gives the network; without `label_noise` it is 0.
        like: a run whose `run.toml` gives the keys that `config` lacks, and whose evaluation
            images the records must have.
        out: folder to create; None for `runs/<name of the folder>-recorded`.
        watcher: is notified of progress and messages.

    Returns:
        The recorded run, whose `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: the weights, the data or the network cannot be used or do not fit together, or
            the images are not those of `like`. Raised before anything is written.
    """
    watcher = watcher or Watcher()
    values = dict(config or {})
    if like is not None:
        values = with_trust(configuration_of(like), values)
    # `repdyn run` adds wrong labels to show memorization; other trainings have none.
    values.setdefault("label_noise", 0.0)
    use_backend(Config(backend=values.get("backend", "jax")).backend)
    from repdyn_keras.experiment.configured import Replay, check_files, report_files
    from repdyn_keras.recording.constants import constants_of
    from repdyn_keras.recording.saved_weights import find_weight_files

    found = find_weight_files(checkpoints)
    if "model" not in values:
        values["model"] = model_of(next(iter(found.files.values())))
    name = Path(checkpoints).expanduser().resolve().name
    folder = RunFolder(choose_folder(f"{name}-recorded", out))
    settings = resolve(Config(**values))
    replay = Replay(settings, folder, watcher)
    check_files(replay.loader, found)
    report_files(settings, replay.data, found, watcher)
    if like is not None:
        constants = constants_of(replay.recorded)
        check_same_images(constants, RunFolder(like).constants(), str(checkpoints), str(like))
    create_folder(folder.path, folder.replay_file.name, to_toml(settings, versions()))
    with folder.locked():
        for epoch, path in found.files.items():
            replay.record(epoch, path)
            watcher.replayed(epoch, path)
        return finish(folder, watcher)


def configuration_of(run: str | Path) -> dict:
    """The keys of a run's `run.toml` or `record.toml`; raises InputError if it has none."""
    folder = RunFolder(run).require_records()
    for file in (folder.config_file, folder.replay_file):
        if file.is_file():
            return load_config(file)
    raise InputError(
        "Expected a folder of `repdyn run` or `repdyn record`. Received: "
        f"{folder.path}, which a callback recorded: it has no run.toml that says where its images "
        "come from. Use --dataset and --set instead of --like."
    )


def model_of(first: Path) -> str:
    """The model that a file of saved weights contains; raises InputError if it has none."""
    if first.name.endswith(".keras"):
        return str(first)
    raise InputError(
        f"Expected --model with {NETWORKS.forms()}, or --like RUN. Received: no model, and "
        f"{first.name} holds weights alone."
    )

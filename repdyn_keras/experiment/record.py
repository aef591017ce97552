"""Records saved weights into a run folder, as the callback would have recorded them."""

from collections.abc import Iterable
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
from repdyn_keras.experiment.watcher import Watcher
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
    epoch_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> "Run":
    """Records saved weights, one file per epoch, like the command `repdyn record`.

    Each file is recorded as the callback would have recorded its epoch: the same weights and images
    give the same arrays.

    Args:
        checkpoints: folder of `.weights.h5`, `.keras` or legacy `.h5` files, or of sharded weights
            (`.weights.json` with its shards), with the epoch in their names, that is, the number of
            epochs trained so far. If the folder has none, its folders are searched.
        config: configuration keys: the data set, the network and what to record. Without `model`,
            the first `.keras` file defines the network. `label_noise` is 0 by default.
        like: a run whose configuration provides the keys that `config` lacks, and whose
            evaluation images are required.
        out: folder to create; None for `runs/<name of the folder>-recorded`.
        epoch_pattern: pattern of the names, such as the `filepath` of Keras's `ModelCheckpoint`:
            `{epoch}` stands for the epoch, or `{epoch+1}` if the names count from 0; other fields
            stand for a number, and `*` for any text. None to find the epoch.
        watcher: receives progress and messages.

    Returns:
        The recorded run, whose `dynamics` is an `xarray.Dataset`.

    Raises:
        InputError: the weights, the data or the network cannot be used or do not fit together, it
            is unclear which number in the names is the epoch, or the evaluation images differ from
            those of `like`. Nothing is written in this case.
    """
    watcher = watcher or Watcher()
    values = dict(config or {})
    if like is not None:
        values = with_trust(configuration_of(like), values)
    # Unlike `repdyn run`, other trainings usually add no wrong labels.
    values.setdefault("label_noise", 0.0)
    use_backend(Config(backend=values.get("backend", "jax")).backend)
    from repdyn_keras.experiment.configured_recorder import Replay, check_files, report_files
    from repdyn_keras.recording.checkpoints.weight_files import find_weight_files
    from repdyn_keras.recording.constants import constants_of

    weight_files = find_weight_files(checkpoints, epoch_pattern)
    if "model" not in values:
        values["model"] = model_of(next(iter(weight_files.files.values())))
    name = Path(checkpoints).expanduser().resolve().name
    folder = RunFolder(choose_folder(f"{name}-recorded", out))
    settings = resolve(Config(**values))
    replay = Replay(settings, folder, watcher)
    check_files(replay.loader, weight_files)
    report_files(settings, replay.data, weight_files, watcher)
    if like is not None:
        constants = constants_of(replay.recorded)
        check_same_images(constants, RunFolder(like).constants(), str(checkpoints), str(like))
    create_folder(folder.path, folder.replay_file.name, to_toml(settings, versions()))
    with folder.locked():
        for epoch, path in weight_files.files.items():
            replay.record(epoch, path)
            watcher.replayed(epoch, path.relative_to(Path(checkpoints).expanduser()))
        return finish(folder, watcher)


def record_saved_weights(
    run: RunFolder, out: Path, changes: dict, epochs: Iterable | None = None
) -> RunFolder:
    """Records the saved weights of a run into another folder, with some keys changed.

    Epochs that the folder holds are kept.

    Args:
        run: a run folder with weights of every recorded epoch.
        out: the folder; created if necessary.
        changes: keys that differ from the run's, such as `batch_norm`.
        epochs: recorded epochs; None for all.

    Raises:
        InputError: weights are missing or damaged, or the folder holds other records.
    """
    settings = resolve(Config(**{**run.config(), **changes}))
    use_backend(settings.backend)
    from repdyn_keras.experiment.configured_recorder import Replay

    folder = RunFolder(out)
    if not folder.is_replay():
        create_folder(out, folder.replay_file.name, to_toml(settings, versions()))
    with folder.locked():
        replay = Replay(settings, folder, Watcher())
        for epoch in run.epochs() if epochs is None else epochs:
            replay.record(epoch, run.checksums.check(run.weights_file(epoch)))
    return folder


def configuration_of(run: str | Path) -> dict:
    """The keys of a run's `run.toml` or `record.toml`; raises InputError if it has none."""
    folder = RunFolder(run).require_records()
    for file in (folder.config_file, folder.replay_file):
        if file.is_file():
            return load_config(file)
    raise InputError(
        "Expected a folder of `repdyn run` or `repdyn record`. Received: "
        f"{folder.path}, which a callback recorded: it has no run.toml that describes its images. "
        "Use --dataset and --set instead of --like."
    )


def model_of(first: Path) -> str:
    """The value of `model` for a `.keras` file; raises InputError for a file of weights."""
    if first.name.endswith(".keras"):
        return str(first)
    holds = "which holds only weights"
    if first.name.endswith((".h5", ".hdf5")) and not first.name.endswith(".weights.h5"):
        holds = (
            "whose network, if it has one, is in the legacy format; keras.saving.load_model(FILE, "
            "compile=False).save('NAME.keras') converts it"
        )
    raise InputError(
        f"Expected --model with {NETWORKS.forms()}, or --like RUN. Received: no model, and "
        f"{first.name}, {holds}."
    )

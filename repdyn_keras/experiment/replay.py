"""A configured network and its recorder, for weights that are loaded from files."""

from pathlib import Path

from repdyn_keras.config import Config
from repdyn_keras.datasets import Data, load
from repdyn_keras.experiment.evaluation import configured_recorder, report_notes
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.models import build_model, recorded_layers
from repdyn_keras.recording.saved_weights import Checkpoints, WeightLoader
from repdyn_keras.records import RunFolder
from repdyn_keras.records.checksums import Checksums
from repdyn_keras.text import format_names


class Replay:
    """Records saved weights, one file after another.

    Args:
        config: a resolved configuration.
        folder: the run folder, created before `record`.
        watcher: is notified of messages.

    Attributes:
        data: the data set.
        recorded: the network with its passes.
        loader: loads the files.

    Raises:
        InputError: the data or the network cannot be used.
    """

    def __init__(self, config: Config, folder: RunFolder, watcher: Watcher):
        self.data = load(config)
        self.model = build_model(config, self.data.x_train.shape[1:], self.data.n_classes)
        layers = recorded_layers(config)
        self.recorder = configured_recorder(config, self.data, folder, layers, watcher)
        self.recorded = self.recorder.build(self.model)
        self.loader = WeightLoader(self.model)

    def record(self, epoch: int, path: Path) -> None:
        """Records the weights of a file as the callback would have recorded that epoch."""
        self.loader.load(path)
        self.recorder.record(self.model, epoch)


def check_files(loader: WeightLoader, checkpoints: Checkpoints) -> None:
    """Raises InputError where a file of saved weights is damaged or does not fit the network."""
    for path in checkpoints.files.values():
        # Kept weights of a run have a checksum in its folder.
        Checksums(path.absolute().parent.parent).check(path.absolute())
        loader.check(path)


def report_files(config: Config, data: Data, checkpoints: Checkpoints, watcher: Watcher) -> None:
    """Reports which epochs there are, which are missing, and what the network receives."""
    report_notes(config, data, watcher)
    if checkpoints.ignored:
        watcher.message(f"ignored, without an epoch: {format_names(checkpoints.ignored)}.")
    epochs = list(checkpoints.files)
    missing = epochs[-1] - epochs[0] + 1 - len(epochs)
    gaps = f"; missing between them: {missing}" if missing else ""
    watcher.message(f"{len(epochs)} checkpoints of epochs {epochs[0]} to {epochs[-1]}{gaps}.")
    if epochs[0] != 0:
        watcher.message("epoch 0, the initialization, is not among them.")
    noise = f"label noise {config.label_noise:g}" if config.label_noise else "labels unchanged"
    pixels = "standardized" if config.standardize else "unchanged"
    watcher.message(f"{config.dataset}, as the network receives it: {noise}; pixels {pixels}.")

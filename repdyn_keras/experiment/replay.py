"""Saved weights, loaded one after the other and recorded."""

from pathlib import Path

from repdyn_keras.config import Config
from repdyn_keras.datasets import load
from repdyn_keras.experiment.evaluation import ConfiguredRecorder, say_notes
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.models import build_model, recorded_layers
from repdyn_keras.recording.checkpoints import Checkpoints, WeightLoader
from repdyn_keras.records import RunFolder
from repdyn_keras.records.checksums import Checksums


class Replayer:
    """A configured network and its recorder, for states that are loaded from files.

    Args:
        config: a resolved configuration.
        folder: the run folder, made before `record`.
        watcher: is told what happens.

    Raises:
        InputError: the data or the network cannot be used.
    """

    def __init__(self, config: Config, folder: RunFolder, watcher: Watcher):
        self.data = load(config)
        self.model = build_model(config, self.data.x_train.shape[1:], self.data.n_classes)
        self.recorder = ConfiguredRecorder(
            config, self.data, folder.path, recorded_layers(config), watcher
        )
        self.recorder.build(self.model)
        self.loader = WeightLoader(self.model)

    def record(self, epoch: int, path: Path) -> None:
        """Records the weights of a file as the callback would have recorded that epoch."""
        self.loader.load(path)
        self.recorder.record(self.model, epoch)


class Replay(Replayer):
    """Checkpoints, ready to be recorded.

    Args:
        config: a resolved configuration.
        checkpoints: the files.
        folder: the run folder, made before `record`.
        watcher: is told what happens.

    Raises:
        InputError: the data, the network or a checkpoint cannot be used.
    """

    def __init__(
        self, config: Config, checkpoints: Checkpoints, folder: RunFolder, watcher: Watcher
    ):
        super().__init__(config, folder, watcher)
        self.checkpoints = checkpoints
        self.watcher = watcher
        for path in checkpoints.files.values():
            # Kept weights of a run have a checksum in its folder.
            Checksums(path.absolute().parent.parent).check(path.absolute())
            self.loader.check(path)
        say_notes(config, self.data, watcher)
        self.say_which()
        noise = f"label noise {config.label_noise:g}" if config.label_noise else "labels as read"
        pixels = "standardized" if config.standardize else "as read"
        watcher.said(f"{config.dataset}: {noise}; pixels {pixels}, which the network is given.")

    def say_which(self) -> None:
        """Says which epochs there are, which are missing, and which files are left out."""
        names = self.checkpoints.ignored
        if names:
            more = " ..." if len(names) > 5 else ""
            self.watcher.said(f"no epoch in the names of {', '.join(names[:5])}{more}: left out.")
        epochs = list(self.checkpoints.files)
        missing = epochs[-1] - epochs[0] + 1 - len(epochs)
        gaps = f"; between them {missing} without one" if missing else ""
        self.watcher.said(f"{len(epochs)} checkpoints of epochs {epochs[0]} to {epochs[-1]}{gaps}.")
        if epochs[0] != 0:
            self.watcher.said("epoch 0, the initialization, is not among them.")

    def record_all(self) -> None:
        """Records every checkpoint."""
        for epoch, path in self.checkpoints.files.items():
            self.record(epoch, path)
            self.watcher.replayed(epoch, path)

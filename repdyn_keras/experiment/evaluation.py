"""What a configuration records: which images, layers and settings."""

from pathlib import Path

import numpy as np

from repdyn_keras.config import Config
from repdyn_keras.datasets import Data
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.measures.sampling import stratified_order
from repdyn_keras.recording import RepresentationRecorder
from repdyn_keras.recording.inputs import Labelled
from repdyn_keras.recording.recorder import PROBES

# Purposes that seeds are derived for.
EVALUATION, TEST = 21, 22


class ConfiguredRecorder(RepresentationRecorder):
    """The recorder that a configuration and its data set stand for.

    It is given the images it needs and never the whole data set.

    Args:
        config: a resolved configuration.
        data: its data set.
        folder: the run's folder.
        layers: names of the layers to record, a regular expression, or None.
        watcher: is told what the recorder has to say.
    """

    def __init__(self, config: Config, data: Data, folder: Path, layers, watcher: Watcher):
        compared = compared_images(config, data)
        fitted = stratified_order(data.y_train, config.data_seed * 100 + PROBES)
        fitted = fitted[: config.probe_images]
        tested = np.arange(len(data.x_test))
        if len(tested) > config.probe_images:
            tested = stratified_order(data.y_test, config.data_seed * 100 + TEST)
            tested = tested[: config.probe_images]
        super().__init__(
            folder,
            data.x_train[compared],
            data.y_train[compared],
            layers=layers,
            epochs=config.record_epochs,
            train=(data.x_train[fitted], data.y_train[fitted]),
            true_labels=data.true_train[fitted],
            test=(data.x_test[tested], data.y_test[tested]),
            planes=config.planes,
            resolution=config.resolution,
            margin=config.margin,
            batch_size=config.cka_batch,
            pooling=config.pooling,
            batch_norm=config.batch_norm,
            seed=config.data_seed,
            probe_images=config.probe_images,
            sample_ids=compared,
            images_true_labels=data.true_train[compared],
            output=config.output,
            class_names=data.class_names,
        )
        self.watcher = watcher

    def choose_probed(self, train: Labelled, most: int) -> Labelled:
        """All of them: they were chosen, in their order, before they were read."""
        return train

    def say(self, text):
        self.watcher.said(text)


def compared_images(config: Config, data: Data) -> np.ndarray:
    """The indices of the training images whose representations are compared."""
    return stratified_order(data.y_train, config.data_seed * 100 + EVALUATION)[: config.n_eval]


def say_notes(config: Config, data: Data, watcher: Watcher) -> None:
    """Tells the watcher what was done to the data."""
    for note in data.notes:
        watcher.said(note)
    tested, most = len(data.x_test), config.probe_images
    if tested > most:
        watcher.said(f"test accuracies go by {most} of the {tested} test images (probe_images).")

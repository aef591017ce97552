"""What a configuration records: the images that are compared, probed and tested."""

import numpy as np

from repdyn_keras import seeds
from repdyn_keras.config import Config
from repdyn_keras.datasets import Data
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.measures.sampling import stratified_order
from repdyn_keras.models import block_layers
from repdyn_keras.recording import RepresentationRecorder, Schedule
from repdyn_keras.recording.inputs import Evaluation, Labelled
from repdyn_keras.recording.settings import Probed, Rasterized, Settings, Tapped
from repdyn_keras.records import RunFolder


def configured_recorder(
    config: Config, data: Data, folder: RunFolder, layers: list[str] | str | None, watcher: Watcher
) -> RepresentationRecorder:
    """The recorder of a resolved configuration.

    It holds the images that it needs, and never the whole data set.

    Args:
        config: the configuration.
        data: its data set.
        folder: the run folder.
        layers: names of the layers to record, a regular expression, or None.
        watcher: is notified of the recorder's messages.
    """
    tapped = Tapped(layers, config.output, block_layers(config))
    settings = recorded_settings(config, data, tapped)
    return RepresentationRecorder.of_settings(folder, settings, watcher.message)


def recorded_settings(config: Config, data: Data, tapped: Tapped) -> Settings:
    """What a resolved configuration records.

    Args:
        config: the configuration.
        data: its data set.
        tapped: what of the model is recorded.
    """
    seed = config.data_seed
    compared = evaluation_images(config, data)
    fitted = stratified_order(data.y_train, seeds.derived(seed, seeds.PROBE_IMAGES))
    fitted = fitted[: config.probe_images]
    tested = np.arange(len(data.x_test))
    if len(tested) > config.probe_images:
        tested = stratified_order(data.y_test, seeds.derived(seed, seeds.TEST_IMAGES))
        tested = tested[: config.probe_images]
    train = (data.x_train[fitted], data.y_train[fitted])
    return Settings(
        evaluation=Evaluation.of(
            data.x_train[compared],
            data.y_train[compared],
            data.true_train[compared],
            compared,
            config.cka_batch,
            seeds.derived(seed, seeds.IMAGE_ORDER),
        ),
        probed=Probed(
            Labelled.of(train, "train", data.true_train[fitted]),
            Labelled.of((data.x_test[tested], data.y_test[tested]), "test"),
            config.pooling,
        ),
        rasterized=Rasterized(
            config.planes, config.resolution, config.margin, seeds.derived(seed, seeds.PLANES)
        ),
        tapped=tapped,
        schedule=Schedule(config.record_epochs),
        batch_norm=config.batch_norm,
        class_names=tuple(data.class_names or ()),
    )


def evaluation_images(config: Config, data: Data) -> np.ndarray:
    """The indices of the training images whose representations are compared."""
    seed = seeds.derived(config.data_seed, seeds.EVALUATION_IMAGES)
    return stratified_order(data.y_train, seed)[: config.n_eval]


def report_notes(config: Config, data: Data, watcher: Watcher) -> None:
    """Reports what was done to the data."""
    for note in data.notes:
        watcher.message(note)
    tested, limit = len(data.x_test), config.probe_images
    if tested > limit:
        watcher.message(
            f"test accuracies are of {limit} of the {tested} test images (probe_images)."
        )

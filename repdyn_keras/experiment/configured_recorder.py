"""Builds the recorder of a configuration, for a training and for saved weights."""

from pathlib import Path

import numpy as np

from repdyn_keras import seeds
from repdyn_keras.config import ResolvedConfig
from repdyn_keras.datasets import Data, load
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.measures import measure_names
from repdyn_keras.models import block_layers, build_model, recorded_layers
from repdyn_keras.recording import RecordingCallback, Schedule
from repdyn_keras.recording.checkpoints.saved_weights import WeightLoader
from repdyn_keras.recording.checkpoints.weight_files import WeightFiles
from repdyn_keras.recording.inputs import EvaluationImages, LabelledImages
from repdyn_keras.recording.plane_corners import PlaneCorners, indices_of
from repdyn_keras.recording.settings import (
    LayerSelection,
    PlaneSettings,
    ProbeSettings,
    Settings,
)
from repdyn_keras.records import RunFolder
from repdyn_keras.records.checksums import Checksums
from repdyn_keras.seeds import stratified_order
from repdyn_keras.text import format_epochs, format_names, is_whole


def configured_recorder(
    config: ResolvedConfig,
    data: Data,
    folder: RunFolder,
    layers: list[str] | str | None,
    watcher: Watcher,
) -> RecordingCallback:
    """Builds the recorder of a resolved configuration.

    It keeps only the images that it needs, not the whole data set.

    Args:
        config: the configuration.
        data: its data set.
        folder: the run folder.
        layers: names of the layers to record, a regular expression, or None for the default.
        watcher: receives the recorder's messages.
    """
    selection = LayerSelection(layers, config.output, block_layers(config))
    settings = recorded_settings(config, data, selection)
    return RecordingCallback(
        folder, settings, watcher.message, on_error="raise", is_configured=True
    )


def recorded_settings(config: ResolvedConfig, data: Data, selection: LayerSelection) -> Settings:
    """The recorder settings of a resolved configuration.

    All images are drawn by `data_seed` and true label, so that runs of other label noise record the
    same.

    Args:
        config: the configuration.
        data: its data set.
        selection: the layers and the output to record.
    """
    seed = config.data_seed
    compared = evaluation_images(config, data)
    fitted = stratified_order(data.true_train, seeds.derived(seed, seeds.PROBE_IMAGES))
    fitted = fitted[: config.probe_images]
    tested = np.arange(len(data.x_test))
    if len(tested) > config.probe_images:
        tested = stratified_order(data.y_test, seeds.derived(seed, seeds.TEST_IMAGES))
        tested = tested[: config.probe_images]
    train = (data.x_train[fitted], data.y_train[fitted])
    names = data.train_names
    ids = fitted if names is None else [names[index] for index in fitted.tolist()]
    return Settings(
        evaluation=EvaluationImages.from_arrays(
            data.x_train[compared],
            data.y_train[compared],
            data.true_train[compared],
            compared,
            config.cka_batch,
            seeds.derived(seed, seeds.IMAGE_ORDER),
        ),
        probes=ProbeSettings(
            LabelledImages.from_pair(train, "train", data.true_train[fitted], ids),
            LabelledImages.from_pair((data.x_test[tested], data.y_test[tested]), "test"),
            config.pooling,
        ),
        planes=plane_settings(config),
        selection=selection,
        schedule=Schedule(config.record_epochs, config.early_records),
        batch_norm=config.batch_norm,
        class_names=tuple(data.class_names or ()),
        corners=plane_corners(config, data),
        measures=measure_names(config.measures),
    )


def plane_settings(config: ResolvedConfig) -> PlaneSettings:
    """The planes of a resolved configuration."""
    return PlaneSettings(
        config.planes,
        config.resolution,
        config.margin,
        seeds.derived(config.data_seed, seeds.PLANES),
        config.drawn_planes,
        config.drawn_resolution,
    )


def plane_corners(config: ResolvedConfig, data: Data) -> PlaneCorners | None:
    """The training images of planes that are given as triplets; None if they are drawn."""
    if isinstance(config.planes, int):
        return None
    indices = indices_of(config.planes, np.arange(len(data.x_train)))
    named = np.unique(indices)
    return PlaneCorners.named(
        config.planes,
        data.x_train[named],
        data.y_train[named],
        data.true_train[named],
        named,
    )


def evaluation_images(config: ResolvedConfig, data: Data) -> np.ndarray:
    """The indices of the training images whose representations are compared."""
    seed = seeds.derived(config.data_seed, seeds.EVALUATION_IMAGES)
    return stratified_order(data.true_train, seed)[: config.n_eval]


def report_notes(config: ResolvedConfig, data: Data, watcher: Watcher) -> None:
    """Reports how the data was prepared."""
    for note in data.notes:
        watcher.message(note)
    tested, limit = len(data.x_test), config.probe_images
    if tested > limit:
        watcher.message(f"test accuracies use {limit} of the {tested} test images (probe_images).")


class Replay:
    """Records saved weights, one file after another.

    Args:
        config: a resolved configuration.
        folder: the run folder, created before `record`.
        watcher: receives messages.

    Attributes:
        data: the data set.
        model: the network.
        recorder: the recorder.
        recorded: the network with its passes.
        loader: loads the files into the network.

    Raises:
        InputError: the data or the network cannot be used.
    """

    def __init__(self, config: ResolvedConfig, folder: RunFolder, watcher: Watcher):
        self.data = load(config)
        self.model = build_model(config, self.data.x_train.shape[1:], self.data.n_classes)
        layers = recorded_layers(config)
        self.recorder = configured_recorder(config, self.data, folder, layers, watcher)
        self.recorded = self.recorder.build(self.model)
        self.loader = WeightLoader(self.model)

    def record(self, epoch: float, path: Path) -> None:
        """Records the weights of a file as the callback would have recorded that epoch."""
        self.loader.load(path)
        self.recorder.record(self.model, epoch)


def check_files(loader: WeightLoader, weight_files: WeightFiles) -> None:
    """Raises InputError if a file of saved weights is damaged or does not fit the network."""
    for path in weight_files.files.values():
        # If a run saved the weights, its folder holds their checksums.
        Checksums(path.absolute().parent.parent).check(path.absolute())
        loader.check(path)


def report_files(
    config: ResolvedConfig, data: Data, weight_files: WeightFiles, watcher: Watcher
) -> None:
    """Reports the epochs of the saved weights, missing epochs, and how the data is prepared."""
    report_notes(config, data, watcher)
    if weight_files.ignored:
        watcher.message(
            f"ignored, no epoch read from the name: {format_names(weight_files.ignored)}."
        )
    if weight_files.foreign:
        watcher.message(f"ignored, not weights of Keras: {format_names(weight_files.foreign)}.")
    watcher.message(f"epochs are read from the names as {weight_files.pattern}.")
    epochs = list(weight_files.files)
    whole = [int(epoch) for epoch in epochs if is_whole(epoch)]
    missing = whole[-1] - whole[0] + 1 - len(whole) if whole else 0
    gaps = f"; missing between them: {missing}" if missing else ""
    first, last = format_epochs([epochs[0], epochs[-1]])
    watcher.message(f"{len(epochs)} checkpoints of epochs {first} to {last}{gaps}.")
    if epochs[0] == 0:
        watcher.message(
            "epoch 0 is recorded as the initialization. If the names count trained epochs from 0, "
            "use --epoch-pattern with {epoch+1}."
        )
    else:
        watcher.message("epoch 0, the initialization, is not among them.")
    noise = f"label noise {config.label_noise:g}" if config.label_noise else "labels unchanged"
    pixels = "standardized" if config.standardize else "unchanged"
    watcher.message(f"{config.dataset}, as the network receives it: {noise}; pixels {pixels}.")

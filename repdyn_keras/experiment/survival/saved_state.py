"""Checkpoints: the state of a training in one file, and the callbacks that save it."""

import time
from dataclasses import dataclass

import keras
import numpy as np

from repdyn_keras.config import ResolvedConfig
from repdyn_keras.errors import InputError
from repdyn_keras.experiment.survival.divergence import diverged
from repdyn_keras.experiment.survival.history import HistoryFile
from repdyn_keras.experiment.survival.stopping import Stopping
from repdyn_keras.recording import RecordingCallback, Schedule
from repdyn_keras.recording.values import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.epoch_files import WEIGHTS_SUFFIX
from repdyn_keras.records.netcdf import netcdf_bytes
from repdyn_keras.records.tables import HISTORY, as_csv, rows_of

# Estimated bytes for the name, dtype and shape of a variable, and for the structure of the file.
OVERHEAD, FILE_OVERHEAD = 256, 16_384


class CheckpointWriter(keras.callbacks.Callback):
    """Saves a checkpoint at every recorded epoch, and otherwise every `checkpoint_seconds`.

    Args:
        folder: the run folder.
        config: the resolved configuration.
        history: provides the rows that a checkpoint includes.
        stopping: after a signal, a checkpoint is saved before the run stops.
    """

    def __init__(
        self, folder: RunFolder, config: ResolvedConfig, history: HistoryFile, stopping: Stopping
    ):
        super().__init__()
        self.folder = folder
        self.config = config
        self.history = history
        self.stopping = stopping
        self.schedule = Schedule(config.record_epochs)
        self._saved_at = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if self.is_due(epoch + 1):
            self.save(epoch + 1, [*self.history.rows, self.history.row(epoch + 1, logs or {})])

    def is_due(self, epoch: int) -> bool:
        """Whether to save the state after an epoch."""
        return (
            epoch == self.config.epochs
            or self.schedule.includes(epoch)
            or self.stopping.signal is not None
            or time.monotonic() - self._saved_at >= self.config.checkpoint_seconds
        )

    def save(self, epoch: int, rows: list[dict]) -> None:
        """Writes the checkpoint of an epoch.

        Raises:
            Diverged: a weight is not finite. The previous checkpoint is kept.
            StorageError: it cannot be written. The previous checkpoint is kept.
        """
        if not has_finite_weights(self.model):
            problem = "a weight is not finite"
            raise diverged(self.folder, self.model, epoch, problem)
        save_checkpoint(self.folder, self.model, epoch, rows)
        self._saved_at = time.monotonic()


class WeightsWriter(keras.callbacks.Callback):
    """Saves the weights of every record, before it is written.

    Args:
        folder: the run folder.
        recorder: decides which epochs are recorded.
    """

    def __init__(self, folder: RunFolder, recorder: RecordingCallback):
        super().__init__()
        self.folder = folder
        self.recorder = recorder

    def on_epoch_begin(self, epoch, logs=None):
        self.save(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.save(epoch + 1)

    def save(self, epoch: int) -> None:
        """Saves the weights of an epoch if it is about to be recorded."""
        if self.recorder.is_due(epoch):
            self.write(epoch)

    def write(self, epoch: float) -> None:
        """Saves the weights of an epoch, unless it is recorded.

        A record of other weights, which an interrupted attempt left, is set aside before, with its
        weights, as soon as the epoch is measured.
        """
        if not self.folder.record_file(epoch).is_file():
            file = self.folder.weights_file(epoch)
            with self.folder.writing(file, WEIGHTS_SUFFIX) as temporary:
                self.model.save_weights(temporary)


@dataclass(frozen=True)
class Checkpoint:
    """The part of a loaded checkpoint that is not in the model.

    Attributes:
        epoch: number of epochs trained.
        rows: the rows of `history.csv` up to this epoch; the last one lacks the accuracies of
            its record.
    """

    epoch: int
    rows: list[dict[str, str]]


def variables_of(model: keras.Model) -> list:
    """All variables of the network and of the optimizer, on which the next epoch depends."""
    model.optimizer.build(model.trainable_variables)
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
    ]


def checkpoint_bytes(model: keras.Model) -> int:
    """Estimated size of a checkpoint file."""
    numbers = sum(
        int(np.prod(v.shape, dtype=np.int64)) * numpy_dtype(v.dtype).itemsize
        for v in variables_of(model)
    )
    return numbers + OVERHEAD * len(variables_of(model)) + FILE_OVERHEAD


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype of a Keras dtype."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def save_checkpoint(folder: RunFolder, model: keras.Model, epoch: int, rows: list[dict]) -> None:
    """Replaces the checkpoint by the current state of a training.

    All variables are stored as one array of bytes, with their paths, dtypes and shapes. HDF5 takes
    milliseconds per array, and a model has hundreds of variables.

    Raises:
        StorageError: it cannot be written. The previous checkpoint is kept.
    """
    import xarray

    arrays = [keras.ops.convert_to_numpy(v.value) for v in variables_of(model)]
    variables = {
        "path": (("variable",), np.array([v.path for v in variables_of(model)], object)),
        "kind": (("variable",), np.array(kinds_of(model), object)),
        "state": (("byte",), np.concatenate([as_bytes(array) for array in arrays])),
        "history": (("letter",), np.frombuffer(as_csv(rows, HISTORY, header=True), np.uint8)),
    }
    attributes = {"epoch": epoch, "weights_hash": weights_hash(model)}
    folder.write(folder.checkpoint_file, netcdf_bytes(xarray.Dataset(variables, attrs=attributes)))


def has_finite_weights(model: keras.Model) -> bool:
    """Whether all trainable weights are finite."""
    weights = (keras.ops.convert_to_numpy(v.value) for v in model.trainable_variables)
    return all(np.isfinite(array.astype("float32")).all() for array in weights)


def kinds_of(model: keras.Model) -> list[str]:
    """The dtype and shape of every variable of a training, as text."""
    return [f"{v.dtype} of shape {tuple(v.shape)}" for v in variables_of(model)]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The values of an array as bytes."""
    return np.frombuffer(array.tobytes(), np.uint8)


def load_checkpoint(folder: RunFolder, model: keras.Model) -> Checkpoint | None:
    """Restores a compiled model from the last checkpoint of a run.

    Returns:
        The checkpoint; None if there is none, in which case the model is unchanged.

    Raises:
        InputError: the checkpoint is damaged, or belongs to another network or optimizer.
    """
    dataset = folder.checkpoint()
    if dataset is None:
        return None
    variables = variables_of(model)
    file = folder.checkpoint_file
    if "kind" not in dataset or "state" not in dataset:
        raise InputError(
            f"Expected a checkpoint of this version of repdyn-keras. Received: {file}, which "
            "another version wrote. Resume with that version, or move the file away to begin again "
            "from epoch 0."
        )
    stored = dataset["kind"].values.tolist()
    if len(stored) != len(variables):
        raise InputError(
            f"{file} belongs to another network or optimizer. Expected {len(variables)} "
            f"variables. Received: {len(stored)}."
        )
    for variable, stored_kind, kind in zip(variables, stored, kinds_of(model), strict=True):
        if kind != stored_kind:
            raise InputError(
                f"{file} belongs to another network or optimizer. Expected {kind} for "
                f"{variable.path!r}. Received: {stored_kind}."
            )
    state, start = dataset["state"].values, 0
    for variable in variables:
        dtype, shape = numpy_dtype(variable.dtype), tuple(variable.shape)
        end = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        variable.assign(np.frombuffer(state[start:end].tobytes(), dtype).reshape(shape))
        start = end
    if weights_hash(model) != dataset.attrs["weights_hash"]:
        raise InputError(
            "Expected a checkpoint of this network, written with this version of Keras. Received: "
            f"{file}, whose weights do not match the stored hash. Move it away "
            "to begin again from epoch 0."
        )
    return Checkpoint(int(dataset.attrs["epoch"]), rows_of(dataset))

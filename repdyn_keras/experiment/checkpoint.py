"""The state of a training as one file, from which it goes on as if nothing had happened."""

from dataclasses import dataclass

import keras
import numpy as np

from repdyn_keras.errors import Diverged, InputError
from repdyn_keras.experiment.history import HISTORY, rows_of
from repdyn_keras.recording.identity import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.netcdf import netcdf_bytes
from repdyn_keras.records.table_file import as_csv

# Bytes that HDF5 takes for the name, dtype and shape of a variable, and for the file.
OVERHEAD, FILE_OVERHEAD = 256, 16_384


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        epoch: epochs that it has been trained.
        rows: the rows of `history.csv` up to this epoch; the last one without what its record
            adds to it.
    """

    epoch: int
    rows: list[dict[str, str]]


def variables_of(model: keras.Model) -> list:
    """Every variable that the next epoch depends on: weights, seeds and the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
    ]


def checkpoint_bytes(model: keras.Model) -> int:
    """About the size of a checkpoint's file."""
    numbers = sum(
        int(np.prod(v.shape, dtype=np.int64)) * numpy_dtype(v.dtype).itemsize
        for v in variables_of(model)
    )
    return numbers + OVERHEAD * len(variables_of(model)) + FILE_OVERHEAD


def numpy_dtype(dtype: str) -> np.dtype:
    """NumPy's dtype for one of Keras's."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def save_checkpoint(folder: RunFolder, model: keras.Model, epoch: int, rows: list[dict]) -> None:
    """Writes the state of a training, in place of the checkpoint before.

    All variables are one array of bytes, beside their paths, dtypes and shapes: HDF5 takes
    milliseconds for every array, and a model has hundreds.

    Raises:
        Diverged: a weight is not a finite number; the checkpoint before stands.
        StorageError: it cannot be written; the checkpoint before stands.
    """
    import xarray

    arrays = [keras.ops.convert_to_numpy(v.value) for v in variables_of(model)]
    weights = arrays[: len(model.trainable_variables)]
    if not all(np.isfinite(array.astype("float32")).all() for array in weights):
        raise Diverged(f"A weight is not a finite number after epoch {epoch}.")
    variables = {
        "path": (("variable",), np.array([v.path for v in variables_of(model)], object)),
        "kind": (("variable",), np.array(kinds_of(model), object)),
        "state": (("byte",), np.concatenate([as_bytes(array) for array in arrays])),
        "history": (("letter",), np.frombuffer(as_csv(rows, HISTORY, header=True), np.uint8)),
    }
    attributes = {"epoch": epoch, "weights_hash": weights_hash(model)}
    folder.write(folder.checkpoint_file, netcdf_bytes(xarray.Dataset(variables, attrs=attributes)))


def kinds_of(model: keras.Model) -> list[str]:
    """The dtype and shape of every variable of a training, in words."""
    return [f"{v.dtype} of shape {tuple(v.shape)}" for v in variables_of(model)]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array's numbers."""
    return np.frombuffer(array.tobytes(), np.uint8)


def load_checkpoint(folder: RunFolder, model: keras.Model) -> Checkpoint | None:
    """Sets a compiled model to the state of a run's last checkpoint.

    Returns:
        The checkpoint; None where there is none yet, and the model is left alone.

    Raises:
        InputError: it is damaged, or of another network or optimizer.
    """
    found = folder.checkpoint()
    if found is None:
        return None
    variables = variables_of(model)
    file = folder.checkpoint_file
    if "kind" not in found or "state" not in found:
        raise InputError(
            f"{file} is of another version of repdyn-keras. Expected one of this version: go on "
            "with the version that wrote it, or move it away to begin again from epoch 0."
        )
    stored = found["kind"].values.tolist()
    if len(stored) != len(variables):
        raise InputError(
            f"{file} is of another network or optimizer: it holds {len(stored)} variables. "
            f"Expected {len(variables)}."
        )
    for variable, there, here in zip(variables, stored, kinds_of(model), strict=True):
        if here != there:
            raise InputError(
                f"{file} is of another network or optimizer: for {variable.path!r} it holds "
                f"{there}. Expected {here}."
            )
    state, start = found["state"].values, 0
    for variable in variables:
        dtype, shape = numpy_dtype(variable.dtype), tuple(variable.shape)
        end = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        variable.assign(np.frombuffer(state[start:end].tobytes(), dtype).reshape(shape))
        start = end
    if weights_hash(model) != found.attrs["weights_hash"]:
        raise InputError(
            f"{file} does not give the weights that it was made of. Expected one of this version "
            "of Keras and of this network: move it away to begin again from epoch 0."
        )
    return Checkpoint(int(found.attrs["epoch"]), rows_of(found))

"""The state of a training as one file, from which it goes on as if nothing had happened."""

from dataclasses import dataclass

import keras
import numpy as np

from repdyn_keras.errors import Diverged, InputError
from repdyn_keras.experiment.history import HISTORY, rows_of
from repdyn_keras.recording.identity import weights_hash
from repdyn_keras.records import RunFolder
from repdyn_keras.records.netcdf import netcdf_bytes
from repdyn_keras.records.tables import as_csv

# Bytes that HDF5 takes for a variable beside its numbers.
OVERHEAD = 1024
# What NetCDF holds as it is; everything else is kept as the bits of its numbers.
STORABLE = ("float32", "float64", "int32", "int64", "uint32", "uint8")


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
    return numbers + OVERHEAD * len(variables_of(model))


def numpy_dtype(dtype: str) -> np.dtype:
    """NumPy's dtype for one of Keras's."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def save_checkpoint(folder: RunFolder, model: keras.Model, epoch: int, rows: list[dict]) -> None:
    """Writes the state of a training, in place of the checkpoint before.

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
        f"v{place:05d}": (
            tuple(f"v{place:05d}_{axis}" for axis in range(array.ndim)),
            storable(array),
            {"path": variable.path, "keras_dtype": variable.dtype},
        )
        for place, (variable, array) in enumerate(zip(variables_of(model), arrays, strict=True))
    }
    history = np.frombuffer(as_csv(rows, HISTORY, header=True), np.uint8)
    variables["history"] = (("byte",), history)
    attributes = {"epoch": epoch, "weights_hash": weights_hash(model), "variables": len(arrays)}
    folder.write(folder.checkpoint_file, netcdf_bytes(xarray.Dataset(variables, attrs=attributes)))


def storable(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that NetCDF holds, bit for bit."""
    if array.dtype.name in STORABLE:
        return array
    return np.array(array, order="C").view(f"uint{8 * array.dtype.itemsize}")


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
    stored = [found[f"v{place:05d}"] for place in range(int(found.attrs["variables"]))]
    file = folder.checkpoint_file
    if len(stored) != len(variables):
        raise InputError(
            f"{file} is of another network or optimizer: it holds {len(stored)} variables. "
            f"Expected {len(variables)}."
        )
    for held, variable in zip(stored, variables, strict=True):
        here = (variable.dtype, tuple(variable.shape))
        there = (held.attrs["keras_dtype"], held.shape)
        if here != there:
            raise InputError(
                f"{file} is of another network or optimizer: for {variable.path!r} it holds "
                f"{there[0]} of shape {there[1]}. Expected {here[0]} of shape {here[1]}."
            )
    for held, variable in zip(stored, variables, strict=True):
        variable.assign(held.values.view(numpy_dtype(variable.dtype)))
    if weights_hash(model) != found.attrs["weights_hash"]:
        raise InputError(
            f"{file} does not give the weights that it was made of. Expected one of this version "
            "of Keras and of this network: move it away to begin again from epoch 0."
        )
    return Checkpoint(int(found.attrs["epoch"]), rows_of(found))

"""The callback that ends a training with a non-finite loss."""

import math

import keras

from repdyn_keras.errors import Diverged
from repdyn_keras.records import RunFolder


class Divergence(keras.callbacks.Callback):
    """Ends a training when the loss is NaN or infinite.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise diverged(self.folder, self.model, epoch + 1, f"the loss is {loss}")


def diverged(folder: RunFolder, model: keras.Model, epoch: int, problem: str) -> Diverged:
    """The error for a non-finite loss or weight."""
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    checkpoint = folder.checkpoint()
    last = "missing" if checkpoint is None else f"that of epoch {checkpoint.attrs['epoch']}"
    cause = f"The training diverged in epoch {epoch}: {problem}, at the learning rate {rate:g}."
    return Diverged(
        f"{cause} The last good checkpoint is {last}. The records are kept; see "
        f"`repdyn analyze {folder.path}`. Start a new run with a lower --set learning_rate=...",
        cause,
    )

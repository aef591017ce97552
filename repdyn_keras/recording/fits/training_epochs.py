"""The end of each epoch, and the number of epochs trained over several calls of `fit`."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from weakref import WeakKeyDictionary

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.text import is_whole

# The last epoch that a model reached in this process, by folder.
REACHED: "WeakKeyDictionary[keras.Model, dict[Path, int]]" = WeakKeyDictionary()


class EpochEnd(keras.callbacks.Callback):
    """Calls a function at the end of every epoch.

    First in a list of callbacks, it does so before another callback changes the weights.

    Args:
        function: receives Keras's number of the epoch, counted from 0.
    """

    def __init__(self, function: Callable[[int], None]):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        self.function(epoch)


def calling_list() -> keras.callbacks.CallbackList | None:
    """The outermost `CallbackList` whose `set_model` is running; None if none is.

    Keras gives a callback no other access to the list that contains it.
    """
    found: keras.callbacks.CallbackList | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "set_model":
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            found = owner
        frame = frame.f_back
    return found


def call_first(callback_list: keras.callbacks.CallbackList, function: Callable) -> None:
    """Lets a list of callbacks call a function first at the end of every epoch; once per list."""
    callbacks = callback_list.callbacks
    if not any(isinstance(each, EpochEnd) and each.function == function for each in callbacks):
        # A new list, since the list of callbacks may be iterated at this time.
        callback_list.callbacks = [EpochEnd(function), *callbacks]


def first_epoch(folder: RunFolder, first: int, weights: str | None, reached: int | None) -> int:
    """The number of epochs that a model was trained for when a `fit` begins.

    Keras counts the epochs of every `fit` from `initial_epoch`, 0 by default.

    Args:
        folder: the run folder.
        first: Keras's number of the first epoch.
        weights: hash of the initial weights; None if it is not known.
        reached: the epoch that the same model reached in this folder in an earlier `fit`, or None.

    Raises:
        InputError: the `fit` begins at 0 with weights of another training than the records.
    """
    recorded = [int(epoch) for epoch in folder.epochs() if is_whole(epoch)]
    if not recorded or weights is None:
        return first
    if first > 0:
        # `fit` begins at the epoch that BackupAndRestore once restored in every later call, too.
        if reached is None or reached <= first or reached not in recorded:
            return first
        return reached if folder.recorded_hash(reached) == weights else first
    if recorded[0] == 0 and folder.recorded_hash(0) == weights:
        return 0
    if reached is not None:
        return reached
    if folder.recorded_hash(recorded[-1]) == weights:
        return recorded[-1]
    raise InputError(
        f"Expected a folder of this training, or a new one. Received: {folder.path}, whose records "
        f"of epochs {recorded[0]} to {recorded[-1]} belong to another training: its weights at "
        "these two epochs differ from the initial ones of this fit. Record into a new folder, or "
        "pass overwrite=True, which moves the earlier records to set_aside/."
    )


def reached_epoch(model: keras.Model, folder: RunFolder) -> int | None:
    """The last epoch that a model reached while it was recorded into a folder, or None."""
    return REACHED.get(model, {}).get(folder.path.resolve())


def note_reached(model: keras.Model, folder: RunFolder, epoch: int) -> None:
    """Notes that a model that is recorded into a folder was trained for `epoch` epochs."""
    REACHED.setdefault(model, {})[folder.path.resolve()] = epoch


def is_restored(model: keras.Model, first: int) -> bool:
    """Whether BackupAndRestore restored a model, so that `fit` begins at the epoch `first`."""
    return first > 0 and getattr(model, "_initial_epoch", None) == first


def iterations_of(model: keras.Model) -> int | None:
    """The number of training steps of a model's optimizer; None without an optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    iterations = optimizer.iterations
    if getattr(optimizer, "gradient_accumulation_steps", None):
        # `iterations` then counts updates.
        iterations = getattr(optimizer, "_iterations", iterations)
    return int(keras.ops.convert_to_numpy(iterations.value))


def is_end_of_epoch(
    epoch: int, iterations: int, known: list[tuple[int, int]], steps: int | None
) -> bool:
    """Whether the steps of an optimizer are those at the end of an epoch.

    Args:
        epoch: number of epochs trained.
        iterations: steps of the optimizer.
        known: (epoch, steps of the optimizer) of the last two records before.
        steps: steps per epoch, or None if they are not known.
    """
    if len(known) > 1:
        (one, at_one), (two, at_two) = known
        return (iterations - at_two) * (two - one) == (epoch - two) * (at_two - at_one)
    start, at_start = known[0] if known else (0, 0)
    return steps is not None and iterations - at_start == (epoch - start) * steps

"""Early records: which training steps they follow, and the callback that waits for these steps."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from repdyn_keras.text import EPOCH_DECIMALS, is_whole

# Early records are within this many epochs.
EARLY_EPOCHS = 2


def early_steps(count: int, steps: int, execution: int = 1, update: int = 1) -> dict[int, float]:
    """The training steps after which early records are made, on a logarithmic grid.

    The grid has `count` points from the first step to below two epochs, at a constant ratio. Each
    is moved to the nearest step, by ratio, that no other point has and that is not the end of an
    epoch.

    Args:
        count: number of early records.
        steps: number of training steps in an epoch.
        execution: number of steps after which Keras calls callbacks (`steps_per_execution`).
        update: number of steps after which the optimizer changes the weights
            (`gradient_accumulation_steps`).

    Returns:
        The epoch of each step, counted from the beginning of the training: steps / `steps`, rounded
        to six decimals. Fewer than `count` if there are not so many steps.

    Example:
        >>> early_steps(4, 100)
        {1: 0.01, 4: 0.04, 14: 0.14, 53: 0.53}
    """
    number = np.arange(1, EARLY_EPOCHS * steps)
    position = number % steps
    number = number[(position % execution == 0) & (position > 0) & (number % update == 0)]
    chosen = number
    if len(number) > count > 0:
        ratio = EARLY_EPOCHS * steps / number[0]
        targets = np.log(number[0]) + np.log(ratio) * np.arange(count) / count
        places = np.array([np.abs(np.log(number) - target).argmin() for target in targets])
        # Distinct, in ascending order, and such that the last ones have room.
        each = np.arange(count)
        places = each + np.maximum.accumulate(places - each)
        chosen = number[np.minimum(places, len(number) - count + each)]
    chosen = chosen if count > 0 else chosen[:0]
    epochs = {int(step): round(int(step) / steps, EPOCH_DECIMALS) for step in chosen}
    # A millionth of an epoch or less cannot be told from a whole one.
    return {step: epoch for step, epoch in epochs.items() if not is_whole(epoch)}


def steps_between_changes(model: keras.Model) -> tuple[int, int]:
    """`execution` and `update` of `early_steps` for a compiled model."""
    optimizer = getattr(model, "optimizer", None)
    # That of a mixed-precision policy holds another one.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    update = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    return int(getattr(model, "steps_per_execution", None) or 1), int(update)


class EarlySteps(keras.callbacks.Callback):
    """Calls a function after some training steps, from a list of callbacks that it leaves then.

    It is the first in the list, so that it precedes callbacks that change weights. As long as it or
    that of another recorder is in the list, Keras calls all callbacks after each step in the thread
    of the training, and not in another one, where the weights may belong to a later step.

    Args:
        callback_list: the list of the `fit`.
        due: epoch by number of steps, counted from the beginning of the training.
        steps: number of steps in an epoch.
        record: called with the epoch.
        notify: called with a message to the user.
    """

    def __init__(
        self,
        callback_list: keras.callbacks.CallbackList,
        due: Mapping[int, float],
        steps: int,
        record: Callable[[float], None],
        notify: Callable[[str], None],
    ):
        super().__init__()
        self._list = callback_list
        self._due = dict(due)
        self._steps = steps
        self._record = record
        self._notify = notify
        self._begin = 0
        self._thread = threading.get_ident()
        # Keras has no public setting for it, and decides when the list is created.
        others = self._in_list()
        self._was_asynchronous: Any = (
            others[0]._was_asynchronous if others else getattr(callback_list, "_async_train", None)
        )
        if self._was_asynchronous is not None:
            callback_list._async_train = False
        # A new list, since the list of callbacks may be iterated at this time.
        callback_list.callbacks = [self, *callback_list.callbacks]

    def begin_epoch(self, epochs: int) -> None:
        """Notes the number of epochs trained before the present one."""
        self._begin = epochs * self._steps
        self._leave_if_done()

    def on_train_batch_end(self, batch, logs=None):
        if not self._due:
            return
        if threading.get_ident() != self._thread:
            self._due = {}
            self._notify(
                "warning: there are no early records: this version of Keras calls callbacks in "
                "another thread than that of the training."
            )
            return
        epoch = self._due.pop(self._begin + batch + 1, None)
        if epoch is not None:
            self._record(epoch)
            self._leave_if_done(batch + 1)

    def leave(self) -> None:
        """Leaves the list of callbacks, and restores its way of calling them."""
        if self not in self._list.callbacks:
            return
        self._list.callbacks = [each for each in self._list.callbacks if each is not self]
        if self._was_asynchronous is not None and not self._in_list():
            self._list._async_train = self._was_asynchronous

    def _in_list(self) -> list["EarlySteps"]:
        """All callbacks of this kind in the list."""
        return [each for each in self._list.callbacks if isinstance(each, EarlySteps)]

    def _leave_if_done(self, passed: int = 0) -> None:
        if not any(step > self._begin + passed for step in self._due):
            self.leave()

"""Which epochs are recorded."""

import math
from collections.abc import Iterable

from repdyn_keras.errors import InputError, unknown

PER_OCTAVE = 6


class Schedule:
    """The epochs to record; epoch 0 and the last one are always among them.

    Args:
        epochs: "log" for the distinct round(2^(i/6)), independent of the length of the training;
            a whole number k for every k-th epoch; or a list of epochs.

    Raises:
        InputError: none of these.

    Example:
        >>> Schedule("log").planned(10)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        >>> Schedule(4).planned(10)
        [0, 4, 8, 10]
    """

    def __init__(self, epochs: str | int | Iterable[int] = "log"):
        self.epochs: str | int | frozenset[int] = "log"
        if isinstance(epochs, str):
            if epochs != "log":
                raise unknown(
                    "epochs", epochs, ("log",), "Or use a whole number, or a list of epochs."
                )
            return
        if isinstance(epochs, Iterable):
            self.epochs = frozenset(epochs)
            numbers, minimum = list(self.epochs), 0
        else:
            self.epochs = epochs
            numbers, minimum = [epochs], 1
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
                raise InputError(
                    "Expected 'log', a whole number k of at least 1 to record every k-th epoch, or "
                    f"a list of epochs of at least 0. Received: epochs={epochs!r}."
                )

    def wants(self, epoch: int) -> bool:
        """Whether the state after `epoch` epochs is recorded, whatever the training's length."""
        if epoch == 0:
            return True
        if isinstance(self.epochs, str):
            return is_log_epoch(epoch)
        if isinstance(self.epochs, int):
            return epoch % self.epochs == 0
        return epoch in self.epochs

    def planned(self, last: int) -> list[int]:
        """The epochs recorded in a training of `last` epochs."""
        return [epoch for epoch in range(last + 1) if epoch == last or self.wants(epoch)]


def is_log_epoch(epoch: int) -> bool:
    """Whether an epoch of at least 1 is round(2^(i/6)) for some i = 0, 1, ..."""
    near = round(PER_OCTAVE * math.log2(epoch))
    return any(round(2 ** (i / PER_OCTAVE)) == epoch for i in range(max(0, near - 1), near + 2))

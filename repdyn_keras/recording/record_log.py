"""One line on the last record of a training: the recorder's `log`."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from repdyn_keras.recording.record_summary import Summary
from repdyn_keras.text import format_epoch, visible

# Accuracies by their names in a summary, and in the line.
ACCURACIES = {"train_accuracy": "train", "memorized": "memorized", "test_accuracy": "test"}
PREVIOUS = "similarity_to_previous/"
MAX_LAYER = 40


class RecordLog:
    """Shows what the last record says, without touching the progress bar of Keras.

    In a notebook it is one line above the bar, which is updated in place. Elsewhere each record has
    a line on stderr, which is printed when the bar of its epoch is complete.

    Args:
        then: called with the epoch and the summary afterwards; None for nothing.
    """

    def __init__(self, then: Callable[[float, Summary], None] | None = None):
        self.then = then
        self._display: Any = None
        self._waiting: list[str] = []

    def __call__(self, epoch: float, summary: Summary) -> None:
        line = record_line(epoch, summary)
        if not self._show_in_notebook(line):
            self._waiting.append(line)
        if self.then is not None:
            self.then(epoch, summary)

    def flush(self, *, is_end: bool = False) -> None:
        """Prints the lines that wait for the end of a bar.

        Args:
            is_end: whether the `fit` ends, so that the next one has a line in its own cell.
        """
        lines, self._waiting = self._waiting, []
        if is_end:
            self._display = None
        if lines:
            # Without a terminal there is nobody to tell, which does not concern the training.
            with suppress(OSError, ValueError):
                print("\n".join(lines), file=sys.stderr, flush=True)

    def __getstate__(self) -> dict:
        # The line in a notebook belongs to one training.
        return {**vars(self), "_display": None, "_waiting": []}

    def _show_in_notebook(self, line: str) -> bool:
        """Shows the line in the present cell of a notebook; False where that is not possible."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is None or not hasattr(shell, "kernel"):
            return False
        from IPython.display import display

        text = {"text/plain": line}
        try:
            if self._display is None:
                self._display = display(text, raw=True, display_id=True)
            else:
                self._display.update(text, raw=True)
        except Exception:
            # A kernel that has lost its front end; the line is printed instead.
            return False
        return True


def record_line(epoch: float, summary: Summary) -> str:
    """A record on one line: its accuracies, and the layer that changed most.

    Example:
        >>> record_line(3, {"train_accuracy": 0.5, "similarity_to_previous/stem": 0.9})
        'repdyn: epoch 3 recorded · train 0.50 · changed most: stem (CKA 0.90 with the one before)'
    """
    parts = [f"repdyn: epoch {format_epoch(epoch)} recorded"]
    known = [f"{name} {summary[key]:.2f}" for key, name in ACCURACIES.items() if key in summary]
    parts += [", ".join(known)] if known else []
    before = {
        key.removeprefix(PREVIOUS): float(value)
        for key, value in summary.items()
        if key.startswith(PREVIOUS)
    }
    if before:
        layer = min(before, key=before.__getitem__)
        shown = visible(layer, MAX_LAYER)
        parts.append(f"changed most: {shown} (CKA {before[layer]:.2f} with the one before)")
    return " · ".join(parts)

"""The lock of a run folder during a `fit`, released even if the `fit` ends without a hook."""

import sys
import threading
from types import FrameType

from keras.callbacks import CallbackList

from repdyn_keras.records import RunFolder

# Seconds between two looks at whether the `fit` still runs.
INTERVAL = 0.2
# The file of Keras with the methods that call the hooks of all callbacks of a list.
HOOKS_FILE = CallbackList.on_epoch_begin.__code__.co_filename


class FitLock:
    """Holds the lock of a run folder while a frame runs.

    Keras calls no hook when an exception or an interrupt ends a `fit`, and a notebook keeps the
    traceback and all its objects. A thread therefore looks whether the frame of the `fit` is still
    on the stack of its thread.
    """

    def __init__(self):
        self._guard = threading.Lock()
        self._held: tuple[RunFolder, threading.Event] | None = None

    def hold(self, folder: RunFolder, frame: FrameType) -> None:
        """Locks a folder until `release` is called or the frame has ended.

        Args:
            folder: the folder.
            frame: a frame on the stack of the current thread.

        Raises:
            InputError: another process holds the lock.
            StorageError: the folder is not writable.
        """
        self.release()
        folder.lock()
        ended = threading.Event()
        with self._guard:
            self._held = folder, ended
        watch = threading.Thread(
            target=self._watch,
            args=(frame, threading.get_ident(), ended),
            name="repdyn-fit-lock",
            daemon=True,
        )
        watch.start()

    def release(self) -> None:
        """Releases the lock, if it is held, and ends the thread."""
        with self._guard:
            held, self._held = self._held, None
        if held is not None:
            held[1].set()
            held[0].unlock()

    def _watch(self, frame: FrameType, thread: int, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL):
            if is_running(frame, thread):
                continue
            with self._guard:
                is_current = self._held is not None and self._held[1] is ended
            if is_current:
                self.release()
            return


def is_running(frame: FrameType, thread: int) -> bool:
    """Whether a frame is on the stack of a thread."""
    current = sys._current_frames().get(thread)
    while current is not None and current is not frame:
        current = current.f_back
    return current is not None


def fit_frame(callback_list: CallbackList | None) -> FrameType:
    """The frame that calls the hooks of the current epoch: that of `fit`, or of a custom loop.

    Args:
        callback_list: the list that contains the caller; None if its hooks are called directly.
    """
    outside: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        is_ours = frame.f_globals.get("__name__", "").startswith("repdyn_keras.recording.")
        if outside is None and not is_ours:
            outside = frame
        is_hook = callback_list is not None and frame.f_code.co_filename == HOOKS_FILE
        if is_hook and frame.f_locals.get("self") is callback_list and frame.f_back is not None:
            return frame.f_back
        frame = frame.f_back
    return outside or sys._getframe(1)

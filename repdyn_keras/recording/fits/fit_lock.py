"""The lock of a run folder during a `fit`, released even if the `fit` ends without a hook."""

import os
import sys
import threading
from dataclasses import dataclass
from types import FrameType

from keras.callbacks import CallbackList

from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder

# Seconds between two looks at whether the `fit` still runs.
INTERVAL = 0.2
# The file of Keras with the methods that call the hooks of all callbacks of a list.
HOOKS_FILE = CallbackList.on_epoch_begin.__code__.co_filename


# The locks that fits of this process hold, by folder.
HELD: "dict[str, FitLock]" = {}
GUARD = threading.RLock()


@dataclass(frozen=True)
class Watched:
    """A running frame, during which a folder is locked.

    Attributes:
        folder: the folder.
        frame: the frame.
        thread: the thread that runs it.
        ended: is set when the lock is released.
    """

    folder: RunFolder
    frame: FrameType
    thread: int
    ended: threading.Event

    def is_running(self) -> bool:
        """Whether the frame is on the stack of its thread."""
        current = sys._current_frames().get(self.thread)
        while current is not None and current is not self.frame:
            current = current.f_back
        return current is not None


class FitLock:
    """Holds the lock of a run folder while a frame runs.

    Keras calls no hook when an exception or an interrupt ends a `fit`, and a notebook keeps the
    traceback and all its objects. A thread therefore looks whether the frame of the `fit` is still
    on the stack of its thread.
    """

    def __init__(self):
        self._watched: Watched | None = None

    def hold(self, folder: RunFolder, frame: FrameType) -> None:
        """Locks a folder until `release` is called or the frame has ended.

        Args:
            folder: the folder.
            frame: a frame on the stack of the current thread.

        Raises:
            InputError: another process, or another `fit` of this process, holds the lock.
            StorageError: the folder is not writable.
        """
        self.release()
        key = os.path.realpath(folder.path)
        with GUARD:
            other = HELD.get(key)
            if other is not None and other._watched is not None and other._watched.is_running():
                raise InputError(
                    f"Another fit of this process records into {folder.path}. Expected one "
                    "recorder per folder. Received: a second one while the first one records. Give "
                    "each its own folder."
                )
            folder.lock()
            ended = threading.Event()
            self._watched = Watched(folder, frame, threading.get_ident(), ended)
            HELD[key] = self
        threading.Thread(
            target=self._watch, args=(ended,), name="repdyn-fit-lock", daemon=True
        ).start()

    def release(self) -> None:
        """Releases the lock, if it is held, and ends the thread."""
        with GUARD:
            watched, self._watched = self._watched, None
            if watched is None:
                return
            key = os.path.realpath(watched.folder.path)
            if HELD.get(key) is self:
                del HELD[key]
            watched.ended.set()
            watched.folder.unlock()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL):
            with GUARD:
                watched = self._watched
                if watched is not None and watched.ended is ended and not watched.is_running():
                    self.release()


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

"""TensorFlow beside another backend: only to read, never on a GPU."""

import sys


def keep_tensorflow_off_gpus(backend: str) -> None:
    """Hides the GPUs from TensorFlow where it is loaded beside another backend.

    Its first operation would take all their memory otherwise.

    Args:
        backend: the backend that Keras runs on.
    """
    if backend != "tensorflow" and "tensorflow" in sys.modules:
        try:
            sys.modules["tensorflow"].config.set_visible_devices([], "GPU")
        except RuntimeError:
            # It has run before, in the user's hands: what it took of the GPUs it keeps.
            return


def load_tensorflow(backend: str) -> None:
    """Imports TensorFlow, away from the GPUs where Keras runs on another backend."""
    import tensorflow  # noqa: F401

    keep_tensorflow_off_gpus(backend)

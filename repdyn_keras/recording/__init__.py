"""Recording: the callback, the schedule of recorded epochs, and passes through the layers."""

from repdyn_keras.recording.network.layers import recordable_layers
from repdyn_keras.recording.recorder import RepresentationRecorder
from repdyn_keras.recording.settings import Schedule

__all__ = ["RepresentationRecorder", "Schedule", "recordable_layers"]

"""Recording: the callback, the schedule of recorded epochs, and passes through the layers."""

from repdyn_keras.recording.recorder import RepresentationRecorder
from repdyn_keras.recording.recording_callback import RecordingCallback
from repdyn_keras.recording.settings import Schedule

__all__ = ["RecordingCallback", "RepresentationRecorder", "Schedule"]

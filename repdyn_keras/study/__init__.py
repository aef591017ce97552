"""Studies: grids of runs over seeds, their calibration, their summary and their findings."""

from repdyn_keras.study.driver import StudyWatcher, run_study
from repdyn_keras.study.study_file import Study, load_study, preset_file, preset_names

__all__ = ["Study", "StudyWatcher", "load_study", "preset_file", "preset_names", "run_study"]

from repdyn_keras.config import Config as Config
from repdyn_keras.dynamics import compare as compare
from repdyn_keras.dynamics import compare_runs as compare_runs
from repdyn_keras.dynamics import open_run as open_run
from repdyn_keras.errors import InputError as InputError
from repdyn_keras.experiment import record as record
from repdyn_keras.experiment import run as run
from repdyn_keras.figures import plot_curves as plot_curves
from repdyn_keras.figures import plot_progress as plot_progress
from repdyn_keras.figures import plot_regions as plot_regions
from repdyn_keras.figures import plot_similarity as plot_similarity
from repdyn_keras.measures.cka import cka as cka
from repdyn_keras.measures.cka import cka_matrix as cka_matrix
from repdyn_keras.measures.mutual_knn import mutual_knn as mutual_knn
from repdyn_keras.measures.procrustes import procrustes as procrustes
from repdyn_keras.measures.pwcca import pwcca as pwcca
from repdyn_keras.measures.rsa import rsa as rsa
from repdyn_keras.measures.svcca import svcca as svcca
from repdyn_keras.recording import RepresentationRecorder as RepresentationRecorder

__version__: str

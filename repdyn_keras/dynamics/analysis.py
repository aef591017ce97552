"""All results of a run, computed from its records by the registered measures."""

from collections.abc import Callable
from typing import Any

from repdyn_keras.dynamics.series import RecordSeries
from repdyn_keras.measures import registered
from repdyn_keras.measures.contract import labelled
from repdyn_keras.records import SCHEMA_VERSION, RunFolder

# Constants that describe the results.
DESCRIPTION = ("batch", "n_classes", "margin", "resolution", "pooling", "batch_norm", "images_hash")
PLANES = ("plane_sample", "plane_label", "plane_position", "plane_image")


def analyze(folder: RunFolder, progress: Callable[[str], None] | None = None):
    """Computes a run's dynamics and writes `dynamics.nc`; see `compute_dynamics`."""
    dynamics = compute_dynamics(folder, progress)
    folder.write_dynamics(dynamics)
    return dynamics


def compute_dynamics(folder: RunFolder, progress: Callable[[str], None] | None = None):
    """Everything that follows from a run's records, without retraining and without a backend.

    Args:
        folder: a folder with records.
        progress: called with a description of each step.

    Returns:
        `xarray.Dataset` with `cka`, `region_agreement`, `region_kappa` (layer, epoch,
        epoch_other), `regions`, `fragments`, `probe_accuracy`, `phase`, `synchronization` and
        more; attributes `perfect_fit_epoch`, `memorized_share`, `synchronization_mean`.

    Raises:
        InputError: a record is unreadable or of another recording.
    """
    import xarray

    series = RecordSeries(folder)
    constants, layers, epochs = series.constants, series.layers, series.epochs
    sizes = {"layer": len(layers), "layer_other": len(layers)}
    sizes |= {"epoch": len(epochs), "epoch_other": len(epochs)}
    attributes: dict[str, Any] = {}
    for measure in registered():
        if measure.over_epochs is None:
            continue
        if progress is not None:
            progress(measure.title)
        arrays = dict(measure.over_epochs(series))
        attributes |= {name: arrays.pop(name) for name in measure.attributes if name in arrays}
        series.variables |= labelled(measure, arrays, measure.computed, sizes)
    variables: dict[str, Any] = dict(series.variables)
    coordinates = {"layer": layers, "epoch": epochs, "epoch_other": epochs, "layer_other": layers}
    if "probe_accuracy" in variables:
        coordinates["subset"] = constants["subset"].values.tolist()
    if "plane_sample" in constants:
        variables |= {name: constants[name].variable for name in PLANES}
    if "class_name" in constants:
        attributes["class_names"] = constants["class_name"].values.tolist()
    attributes |= {name: constants.attrs[name] for name in DESCRIPTION}
    return xarray.Dataset(
        variables,
        coords=coordinates,
        attrs={**attributes, "title": title(folder), "schema_version": SCHEMA_VERSION},
    )


def title(folder: RunFolder) -> str:
    """Data set, network, optimizer and seed of a run, or the name of its folder."""
    config = folder.config()
    words = [str(config[name]) for name in ("dataset", "model", "optimizer") if name in config]
    if "seed" in config:
        words.append(f"seed {config['seed']}")
    return ", ".join(words) or folder.path.resolve().name

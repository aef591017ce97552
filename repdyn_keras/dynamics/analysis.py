"""All results of a run, computed from its records."""

from collections.abc import Callable

import numpy as np

from repdyn_keras.dynamics.milestones import memorized_share, perfect_fit_epoch
from repdyn_keras.dynamics.paths import path_variables
from repdyn_keras.dynamics.regions import region_variables
from repdyn_keras.dynamics.similarities import cka_by_layer
from repdyn_keras.dynamics.timing import synchronization_mean, timing_variables
from repdyn_keras.errors import InputError
from repdyn_keras.records import SCHEMA_VERSION, RunFolder

# Constants that say what the results are of.
DESCRIPTION = ("batch", "n_classes", "margin", "resolution", "pooling", "batch_norm", "images_hash")


def analyze(folder: RunFolder, progress: Callable[[str], None] | None = None):
    """Computes a run's dynamics and writes `dynamics.nc`; see `compute_dynamics`."""
    dynamics = compute_dynamics(folder, progress)
    folder.write_dynamics(dynamics)
    return dynamics


def compute_dynamics(folder: RunFolder, progress: Callable[[str], None] | None = None):
    """Everything that follows from a run's records, without retraining and without a backend.

    Args:
        folder: a folder with records.
        progress: called with a word for each step.

    Returns:
        `xarray.Dataset` with `cka`, `region_agreement`, `region_kappa` (layer, epoch,
        epoch_other), `regions`, `fragments`, `probe_accuracy`, `phase`, `synchronization` and
        more; attributes `perfect_fit_epoch`, `memorized_share`, `synchronization_mean`.

    Raises:
        InputError: a record is unreadable or of another recording.
    """
    import xarray

    progress = progress or (lambda step: None)
    folder.require_records()
    constants = folder.constants()
    epochs = folder.epochs()
    names = constants["layer"].values.tolist()
    coordinates = {"layer": names, "epoch": epochs, "epoch_other": epochs, "layer_other": names}
    for epoch in epochs:
        check_record(folder, epoch, names, constants.attrs["images_hash"])
    progress("similarities")
    cka = cka_by_layer(folder, epochs, len(names))
    variables = {"cka": (("layer", "epoch", "epoch_other"), cka)}
    progress("accuracies")
    variables |= accuracy_variables(folder, epochs)
    if "probe_accuracy" in variables:
        coordinates["subset"] = constants["subset"].values.tolist()
    if "plane_sample" in constants:
        progress("decision regions")
        found, agreement = region_variables(folder, epochs, int(constants.attrs["n_classes"]))
        variables |= found
        for name in ("plane_sample", "plane_label", "plane_position", "plane_image"):
            variables[name] = constants[name].variable
    progress("phases")
    variables |= path_variables(cka, epochs)
    if "plane_sample" in constants:
        variables |= path_variables(agreement, epochs, "_regions")
    progress("synchronization")
    variables |= timing_variables(cka, epochs)
    dynamics = xarray.Dataset(variables, coords=coordinates)
    if "class_name" in constants:
        dynamics.attrs["class_names"] = constants["class_name"].values.tolist()
    fit = perfect_fit_epoch(dynamics)
    return dynamics.assign_attrs(
        title=title(folder),
        perfect_fit_epoch=fit,
        memorized_share=memorized_share(dynamics),
        synchronization_mean=synchronization_mean(dynamics),
        schema_version=SCHEMA_VERSION,
        **{name: constants.attrs[name] for name in DESCRIPTION},
    )


def check_record(folder: RunFolder, epoch: int, names: list[str], images: str) -> None:
    """Raises InputError unless a record is of the layers and images of the folder's constants."""
    found = folder.recorded_layers(epoch)
    if found != names:
        raise InputError(
            f"{folder.record_file(epoch)} is of another recording: it holds the layers "
            f"{', '.join(found)}. Expected {', '.join(names)}; set it aside."
        )
    if folder.recorded_images_hash(epoch) != images:
        raise InputError(
            f"{folder.record_file(epoch)} is of another recording: its images are not those of "
            f"{folder.constants_file}. Expected the same; set it aside."
        )


def accuracy_variables(folder: RunFolder, epochs: list[int]) -> dict:
    """Accuracies and the probes' solutions of all epochs, where they were recorded."""
    wanted = {
        "probe_accuracy": ("layer", "epoch", "subset"),
        "probe_objective": ("layer", "epoch"),
        "probe_gradient_norm": ("layer", "epoch"),
        "accuracy_inference": ("epoch",),
        "accuracy_training": ("epoch",),
    }
    found = folder.series(epochs, wanted)
    return {
        name: (wanted[name], np.moveaxis(array, 0, wanted[name].index("epoch")))
        for name, array in found.items()
    }


def title(folder: RunFolder) -> str:
    """What the run was, in a few words."""
    config = folder.config()
    words = [str(config[name]) for name in ("dataset", "model", "optimizer") if name in config]
    if "seed" in config:
        words.append(f"seed {config['seed']}")
    return ", ".join(words) or folder.path.resolve().name

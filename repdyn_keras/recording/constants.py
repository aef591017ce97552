"""What is the same at every epoch of a recording, by which a folder is told from another."""

from pathlib import Path

import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.recording.identity import arrays_hash
from repdyn_keras.recording.inputs import Labelled
from repdyn_keras.recording.measurement import SUBSETS, Measurement


def constants_of(measurement: Measurement, class_names: list[str], attributes: dict):
    """Images, layers and planes of a recording, as an `xarray.Dataset`.

    Args:
        measurement: what is measured.
        class_names: names of the classes; empty where they have none.
        attributes: settings and hashes to be written beside them.
    """
    import xarray

    evaluation = measurement.evaluation
    unknown_label = np.full(len(evaluation.x), -1)
    variables = {
        "sample": (("image",), evaluation.ids),
        "label_given": (("image",), as_stored(evaluation.given, unknown_label)),
        "label_true": (("image",), as_stored(evaluation.true, unknown_label)),
        "epsilon": (("layer",), np.array(measurement.epsilons)),
    }
    if measurement.planes:
        corners = measurement.plane_samples
        variables |= {
            "plane_sample": (("plane", "corner"), evaluation.ids[corners]),
            "plane_label": (("plane", "corner"), evaluation.true[corners]),
            "plane_position": (
                ("plane", "corner", "axis"),
                np.stack([p.positions(measurement.resolution) for p in measurement.planes]),
            ),
            "plane_image": (
                ("plane", "corner", *axis_names(evaluation.x.ndim - 1)),
                evaluation.x[corners].astype(np.float32),
            ),
        }
    if class_names:
        variables["class_name"] = (("class",), np.array(class_names))
    if measurement.probed is not None:
        variables["probe_width"] = (("hidden",), np.array(measurement.widths))
    return xarray.Dataset(
        variables,
        coords={"layer": measurement.names, "subset": list(SUBSETS)},
        attrs={"batch": evaluation.batch, "n_classes": measurement.n_classes, **attributes},
    )


def check_constants(found, constants, folder: Path) -> None:
    """Raises InputError unless the constants that a folder holds are these."""
    found.attrs.pop("schema_version", None)
    if found.identical(constants):
        return
    differing = [
        name
        for name in {**constants.variables, **found.variables}
        if name not in found or name not in constants or not found[name].equals(constants[name])
    ]
    differing += [k for k, v in constants.attrs.items() if found.attrs.get(k) != v]
    raise InputError(
        f"{folder} holds another recording: {', '.join(sorted(differing))} differ. "
        "Expected the same images, layers and settings, or a new folder."
    )


def as_stored(labels: np.ndarray | None, absent: np.ndarray) -> np.ndarray:
    """Labels, or -1 for each image where there are none."""
    return absent if labels is None else labels


def hash_of(data: Labelled | None) -> str:
    """Hash of images and labels, empty where there are none."""
    if data is None:
        return ""
    return arrays_hash([data.x, data.y, *([] if data.true is None else [data.true])])


def axis_names(count: int) -> tuple[str, ...]:
    """Names of an image's axes."""
    return ("height", "width", "channel") if count == 3 else tuple(f"axis{i}" for i in range(count))

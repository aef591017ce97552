"""The constants of a recording: everything that is the same at every epoch."""

import json
from pathlib import Path

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures import registered
from repdyn_keras.measures.accuracies import SUBSETS
from repdyn_keras.recording.inputs import LabelledImages, arrays_hash
from repdyn_keras.recording.network.recorded_model import RecordedModel
from repdyn_keras.recording.thumbnails import thumbnails
from repdyn_keras.records import SCHEMA_VERSION

# Variables and attributes that earlier versions did not write.
OPTIONAL = (
    "is_block",
    "plane_label_given",
    "probe_sample",
    "probe_label_given",
    "probe_label_true",
)
PICTURES = "probe_picture"
OPTIONAL_ATTRIBUTES = ("drawn_planes", "drawn_resolution")


def constants_of(recorded: RecordedModel):
    """Images, layers, planes and settings of a recording, as an `xarray.Dataset`."""
    import xarray

    settings = recorded.settings
    evaluation, probes, planes = settings.evaluation, settings.probes, settings.planes
    no_labels = np.full(len(evaluation.ids), -1)
    variables: dict = {
        "sample": (("image",), evaluation.ids),
        "label_given": (
            ("image",),
            no_labels if evaluation.given is None else evaluation.given,
        ),
        "label_true": (("image",), no_labels if evaluation.true is None else evaluation.true),
        "epsilon": (("layer",), np.array(recorded.epsilons)),
        "is_block": (("layer",), recorded.blocks.astype(np.uint8)),
    }
    corners, images = recorded.corners, recorded.plane_images
    if recorded.planes and corners is not None and corners.true is not None:
        positions = [plane.positions(planes.resolution) for plane in recorded.planes]
        variables |= {
            "plane_sample": (("plane", "corner"), corners.ids),
            "plane_label": (("plane", "corner"), corners.true),
            "plane_position": (("plane", "corner", "axis"), np.stack(positions)),
            "plane_image": (
                ("plane", "corner", *axis_names(images.ndim - 2)),
                images.astype(np.float32),
            ),
        }
        if corners.given is not None:
            variables["plane_label_given"] = (("plane", "corner"), corners.given)
    if settings.class_names:
        variables["class_name"] = (("class",), np.array(settings.class_names))
    if probes.fitted is not None:
        fitted = probes.fitted
        variables |= {
            "probe_width": (("hidden",), np.array(recorded.widths)),
            "probe_sample": (("probe_image",), fitted.ids),
            "probe_label_given": (("probe_image",), fitted.y),
        }
        if fitted.true is not None:
            variables["probe_label_true"] = (("probe_image",), fitted.true)
        pictures = thumbnails(fitted.x)
        if pictures is not None:
            dims = ("probe_image", "pixel_row", "pixel_column", "pixel_channel")
            variables[PICTURES] = (dims, pictures)
    chosen: dict = {}
    if not recorded.head.has_scores and probes.fitted is not None:
        chosen["output_classes"] = 0
    if recorded.plane_input:
        chosen["plane_input"] = recorded.plane_input
    if recorded.planes and planes.triplets:
        chosen["planes_chosen"] = 1
    if settings.measures:
        chosen["measures"] = " ".join(sorted(settings.measures))
    channel_axis = settings.selection.channel_axis
    if channel_axis is not None:
        named = channel_axis if isinstance(channel_axis, int) else dict(channel_axis)
        chosen["channel_axis"] = json.dumps(named, sort_keys=True)
    return xarray.Dataset(
        variables,
        coords={"layer": recorded.names, "subset": list(SUBSETS)},
        attrs={
            "batch": evaluation.batch,
            "n_classes": recorded.n_classes,
            "margin": float(planes.margin),
            "resolution": planes.resolution,
            "drawn_planes": planes.drawn_count,
            "drawn_resolution": planes.drawn_resolution,
            "pooling": str(probes.pooling),
            "batch_norm": settings.batch_norm,
            "images_hash": evaluation.hash,
            "probe_images_hash": hash_of(probes.fitted),
            "test_images_hash": hash_of(probes.held_out),
            **chosen,
        },
    )


def check_constants(stored, constants, folder: Path) -> None:
    """Raises InputError unless the stored constants of a folder equal the given ones.

    Records of version 1 of the file format can be continued unless they have planes, which had
    other grids.
    """
    version = stored.attrs.pop("schema_version", None)
    # Means of pixels may round differently on another machine; the hashes identify the images.
    stored, constants = (each.drop_vars(PICTURES, errors="ignore") for each in (stored, constants))
    constants = constants.drop_vars(
        [name for name in OPTIONAL if name in constants and name not in stored]
    )
    # The same planes may have been drawn first, and given by their triplets now.
    for each in (stored, constants):
        each.attrs.pop("planes_chosen", None)
    # The other measures on request need nothing that a record does not hold anyway.
    if keeps_features(stored) == keeps_features(constants):
        constants.attrs.pop("measures", None)
        stored.attrs.pop("measures", None)
    for name in OPTIONAL_ATTRIBUTES:
        if name not in stored.attrs:
            constants.attrs.pop(name, None)
    if "epsilon" in stored and stored["layer"].equals(constants["layer"]):
        # A layer may get another precision in a training. Every record was made with its own.
        constants = constants.assign(epsilon=stored["epsilon"])
    if stored.identical(constants):
        return
    differing = [
        name
        for name in {**constants.variables, **stored.variables}
        if name not in stored or name not in constants or not stored[name].equals(constants[name])
    ]
    attrs = {**constants.attrs, **stored.attrs}
    differing += [k for k in attrs if stored.attrs.get(k) != constants.attrs.get(k)]
    older = ""
    if version != SCHEMA_VERSION and "plane_position" in differing:
        older = f", of version {version} of the file format, which has other grids of planes"
    if {"sample", "probe_images_hash"} & set(differing) and has_wrong_labels(stored):
        older += (
            ", perhaps of an earlier version of this package, which drew images by given label and "
            "now draws them by true label"
        )
    raise InputError(
        f"Expected {folder} to hold records of the same images, layers and settings. Received: "
        f"another recording, with different {', '.join(sorted(differing))}{older}. Record into a "
        "new folder, or move this one away."
    )


def keeps_features(constants) -> bool:
    """Whether the records of a recording hold features, which only some measures need."""
    names = str(constants.attrs.get("measures", "")).split()
    return any(each.needs_features and each.name in names for each in registered())


def has_wrong_labels(stored) -> bool:
    """Whether the given labels of a recording's evaluation images differ from the true ones."""
    known = {"label_given", "label_true"} <= set(stored)
    return known and not np.array_equal(stored["label_given"], stored["label_true"])


def hash_of(data: LabelledImages | None) -> str:
    """Hash of images and labels; empty if there are none."""
    if data is None:
        return ""
    return arrays_hash(
        [*keras.tree.flatten(data.x), data.y, *([] if data.true is None else [data.true])]
    )


def axis_names(count: int) -> tuple[str, ...]:
    """Names of an image's axes."""
    return ("height", "width", "channel") if count == 3 else tuple(f"axis{i}" for i in range(count))

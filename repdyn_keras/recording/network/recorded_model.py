"""A model with compiled passes through its recorded layers."""

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures import ProbeWeights, device
from repdyn_keras.measures.map_agreement import region_dtype
from repdyn_keras.measures.planes import Plane, draw_planes, planes_through
from repdyn_keras.recording.backend_code import compiled, unchanged
from repdyn_keras.recording.generators import GlobalGenerators
from repdyn_keras.recording.inputs import count, indices_among, taken
from repdyn_keras.recording.network.axes import channel_axes
from repdyn_keras.recording.network.class_scores import resolved_head, training_of
from repdyn_keras.recording.network.head import OUTPUT, Head, find_head
from repdyn_keras.recording.network.layer_choice import by_tap, choose_layers, renamed
from repdyn_keras.recording.network.masks import mask_sources
from repdyn_keras.recording.network.model_inputs import (
    check_images,
    check_model,
    fixed_batch,
    inputs_for,
)
from repdyn_keras.recording.network.passes import (
    BatchStatisticsPass,
    FeaturePass,
    FingerprintPass,
    LayerOutputs,
    RegionPass,
    updated_norms,
)
from repdyn_keras.recording.network.plane_input import PlaneInput, plane_input
from repdyn_keras.recording.network.preprocessing import preprocessed
from repdyn_keras.recording.network.taps import TappedCall
from repdyn_keras.recording.network.tracing import described, traced
from repdyn_keras.recording.plane_corners import PlaneCorners
from repdyn_keras.recording.settings import PlaneSettings, Settings
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.text import format_names, format_shape

# Number of pixels of plane points in one call, which limits the memory of the widest layer.
CHUNK_PIXELS = 1 << 20
MIN_POINTS, MAX_POINTS = 16, 1024
# Number of batches that are computed while a result is read.
MAX_PENDING = 1
EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float64": 2.0**-52}


class RecordedModel:
    """The recorded layers of a model, and compiled passes through them.

    Args:
        model: a built model.
        settings: the settings of the recorder.

    Attributes:
        model: the model.
        settings: the settings, with images as the network receives them.
        generators: the global random generators that the passes draw from.
        names: names of the layers, the output last.
        blocks: (layer,) whether a layer is a block of the network.
        choice: description of the chosen layers.
        head: the output, with the number of classes.
        channel_axes: the axis of the channels of each hidden layer, by name.
        epsilons: machine epsilon of each layer's activations.
        widths: number of features of each hidden layer's probe; empty without probes.
        fixed_batch: number of images in a call, if the model accepts no other; else None.
        renamed: a message about layers with other names than Keras gave them; empty for none.
        planes, corners: the planes, and the images at their corners; None without planes.
        plane_images: (plane, 3, ...) the images at the corners, in the input of the planes.
        plane_input: name of the input in which the planes are; empty for the only one.
        plane_notice: why there are no planes, though they were asked for; empty if there are.
        norms: BatchNormalization layers that training updates; empty without probes.
        statistics_batch: number of probe images in a batch of which these layers use the moments;
            0 if the model's fixed batch is larger than all of them, which measures none.
        shared: (n,) index of each probe image among the evaluation images; -1 if it is not one.

    Raises:
        InputError: the model cannot be recorded, or the data does not fit it.
    """

    def __init__(self, model: keras.Model, settings: Settings):
        check_model(model)
        self.model = model
        self.generators = GlobalGenerators()
        with unchanged(model, GlobalGenerators()):
            self.settings = preprocessed(model, settings)
            self._build(model, self.settings)

    def _build(self, model: keras.Model, settings: Settings) -> None:
        check_data(model, settings)
        evaluation, fitted = settings.evaluation, settings.probes.fitted
        self.fixed_batch = fixed_batch(model, evaluation.batch)
        inputs = inputs_for(model, evaluation.x)
        trace = traced(model, inputs)
        head = find_head(trace, settings.selection.output)
        taps, self.choice = choose_layers(trace, settings.selection.layers, head)
        self.renamed = renamed(taps)
        self.head = resolved_head(model, head, settings)
        self.names = [*taps, OUTPUT]
        self.blocks = block_flags(self.names, settings.selection.blocks)
        tensors = {name: tap.tensor for name, tap in taps.items()}
        dtypes = [tensor.dtype for tensor in (*tensors.values(), self.head.tensor)]
        self.epsilons = [EPSILONS.get(dtype, 2.0**-23) for dtype in dtypes]
        given = settings.selection.channel_axis
        given = by_tap(taps, given) if isinstance(given, Mapping) else given
        self.channel_axes = channel_axes(trace, tensors, given)
        axes = [channels.axis for channels in self.channel_axes.values()]
        call = TappedCall(
            model, [(tap.call.operation, tap.call.number, tap.path) for tap in taps.values()]
        )
        masks = mask_sources(trace, taps)
        self._outputs = LayerOutputs(
            call, self.head, settings.probes, axes, masks, self.fixed_batch
        )
        self.widths: list[int] = []
        self.shared = np.zeros(0, int)
        self.norms: list = []
        self.statistics_batch = 0
        if fitted is not None:
            pooling = settings.probes.pooling
            if pooling != "mean":
                check_sizes(settings)
            pairs = zip(tensors.values(), axes, strict=True)
            self.widths = [int(device.pooled(x, pooling, axis).shape[-1]) for x, axis in pairs]
            # Images that are both evaluation and probe images go through the network once.
            self.shared = indices_among(fitted.x, evaluation.x)
            self.norms = updated_norms(model, inputs)
            self.statistics_batch = self.fixed_batch or min(evaluation.batch, len(fitted.y))
            if self.statistics_batch > len(fitted.y):
                self.statistics_batch = 0
            check_statistics(self)
        self.fingerprint_pass = compiled(
            FingerprintPass(
                self._outputs,
                evaluation.batch,
                with_features=self.has_shared or settings.keeps_features,
            ),
            model,
        )
        self.feature_pass = compiled(FeaturePass(self._outputs), model)
        self.statistics_pass: Callable | None = None
        if self.norms and self.statistics_batch:
            statistics = BatchStatisticsPass(model, self.norms, self.head)
            self.statistics_pass = compiled(statistics, model)
        self._structure = structure_of(model, self.head)
        self.planes: list[Plane] = []
        self.corners: PlaneCorners | None = None
        self.plane_images = np.zeros((0, 3))
        self.plane_input = self.plane_notice = ""
        if settings.has_planes:
            place, self.plane_notice = plane_input(trace, settings.planes.place)
            if place is not None:
                self._build_planes(place)

    @property
    def n_classes(self) -> int:
        """Number of classes of the output, or of the labels if it holds no class scores."""
        return self.head.classes

    @property
    def has_shared(self) -> bool:
        """Whether some images are both evaluation and probe images."""
        return bool((self.shared >= 0).any())

    def _build_planes(self, place: PlaneInput) -> None:
        evaluation, planes = self.settings.evaluation, self.settings.planes
        corners = self.settings.corners
        if corners is None:
            labels = np.zeros(0) if evaluation.true is None else evaluation.true
            points = place.points(evaluation.x)
            samples, self.planes = draw_planes(
                points, labels, planes.count, planes.margin, planes.seed
            )
            corners = PlaneCorners.among(evaluation, samples)
        else:
            points = place.points(corners.x)
            self.planes = planes_through(points, planes.triplets, planes.margin)
        regions = RegionPass(self._outputs, place, region_dtype(self.n_classes))
        self._region_pass = compiled(regions, self.model)
        self.plane_input = place.name
        self.corners = corners
        self.plane_images = place.points(corners.x)
        self._held = place.others(corners.x)

    def classify_planes(
        self, values: ModelValues, probes: list[ProbeWeights]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Classes at the points of the grids and of the drawn grids, see `measures.State`.

        All points go through the network in one sequence of batches.
        """
        images = self.settings.evaluation.x
        constants = keras.tree.map_structure(
            keras.ops.convert_to_tensor,
            (
                np.stack([plane.origin for plane in self.planes]).astype(np.float32),
                np.stack([plane.axes for plane in self.planes]).astype(np.float32),
                self._held,
                probes,
            ),
        )
        settings = self.settings.planes
        numbers, coordinates = grid_points(self.planes, settings)
        shapes = [array.shape[1:] for array in keras.tree.flatten(images)]
        size = self.fixed_batch or points_per_call(max(shapes, key=math.prod))
        inputs = zip(batches(numbers, size), batches(coordinates, size), strict=True)
        parts = results(self._region_pass, ((values.tensors, *i, *constants) for i in inputs))
        classes = np.concatenate(list(parts))[: len(numbers)].T.astype(region_dtype(self.n_classes))
        of_probes = classes[:-1].reshape(len(probes), len(self.names) - 1, -1)
        output = np.broadcast_to(classes[-1], (len(probes), 1, len(numbers)))
        maps = np.concatenate([of_probes, output], axis=1)
        count, side = len(self.planes) * settings.resolution**2, settings.resolution
        drawn = settings.drawn_count, settings.drawn_resolution, settings.drawn_resolution
        return (
            maps[..., :count].reshape(*maps.shape[:2], len(self.planes), side, side),
            maps[0, :, count:].reshape(len(self.names), *drawn),
        )

    def is_current(self) -> bool:
        """Whether the passes still fit the model.

        They do not after layers were frozen or thawed, or got other variables, as by `quantize` or
        `enable_lora`, after the model was compiled with another loss or to run in another way, or
        after a task got another preprocessor.
        """
        return structure_of(self.model, self.head) == self._structure

    def features(
        self, values: ModelValues, x: Any, indices: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Each hidden layer's pooled features (n, d) and the output's scores (n, classes).

        Args:
            values: the values of the model's variables.
            x: images.
            indices: indices of the images to use; None for all.
        """
        n = count(x) if indices is None else len(indices)
        size = self.settings.evaluation.batch
        inputs = ((values.tensors, batch) for batch in batches(x, size, indices))
        parts = results(self.feature_pass, inputs)
        return [np.concatenate(layer)[:n] for layer in zip(*parts, strict=True)]


def structure_of(model: keras.Model, head: Head) -> tuple:
    """What passes depend on: variables, what is trained, precision, input, loss, execution."""
    variables = [(v.path, tuple(v.shape), v.dtype, v.trainable, id(v)) for v in model.variables]
    layers = [(layer.trainable, layer.dtype_policy.name) for layer in model._flatten_layers()]
    execution = bool(model.run_eagerly), bool(model.jit_compile)
    preprocessor = id(getattr(model, "preprocessor", None))
    return variables, layers, execution, preprocessor, training_of(model, head)


def block_flags(names: list[str], pattern: str | None) -> np.ndarray:
    """(layer,) whether a layer is a block; without a pattern, every hidden layer is one."""
    flags = [pattern is None or bool(re.fullmatch(pattern, name)) for name in names[:-1]]
    return np.array([*flags, False])


def batches(x: Any, size: int, indices: np.ndarray | None = None) -> Iterator[Any]:
    """Batches of equal size; the last one is padded with copies of its last image.

    Args:
        x: (n, ...) images, or a structure of arrays.
        size: images in a batch.
        indices: indices of the images to use; None for all.
    """
    for start in range(0, count(x) if indices is None else len(indices), size):
        part = slice(start, start + size)
        batch = taken(x, part if indices is None else indices[part])
        if count(batch) < size:
            batch = keras.tree.map_structure(partial(padded, size=size), batch)
        yield batch


def padded(batch: np.ndarray, size: int) -> np.ndarray:
    """A batch with copies of its last image."""
    padding = np.repeat(batch[-1:], size - len(batch), axis=0)
    return np.concatenate([batch, padding])


def results(function: Callable, inputs: Iterable[tuple]) -> Iterator:
    """Results of a compiled pass, in order, as NumPy arrays; one batch is computed ahead."""
    pending: deque = deque()
    for arguments in inputs:
        pending.append(function(*arguments))
        if len(pending) > MAX_PENDING:
            yield as_numpy(pending.popleft())
    while pending:
        yield as_numpy(pending.popleft())


def as_numpy(structure):
    """A structure of backend arrays as NumPy arrays."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, structure)


def grid_points(planes: list[Plane], settings: PlaneSettings) -> tuple[np.ndarray, np.ndarray]:
    """The points of the grids of all planes, and then of the drawn grids of the first planes.

    Returns:
        (points,) int32 number of each point's plane, and (points, 2) float32 coordinates on it.
    """
    drawn = settings.drawn_count
    sides = [settings.resolution] * len(planes) + [settings.drawn_resolution] * drawn
    numbers = [*range(len(planes)), *range(drawn)]
    grids = [planes[n].grid(side).reshape(-1, 2) for n, side in zip(numbers, sides, strict=True)]
    return (
        np.repeat(np.array(numbers, np.int32), np.square(sides)),
        np.concatenate(grids).astype(np.float32),
    )


def points_per_call(image_shape: tuple[int, ...]) -> int:
    """Number of plane points that go through the network in one call."""
    return int(np.clip(CHUNK_PIXELS // int(np.prod(image_shape)), MIN_POINTS, MAX_POINTS))


def check_data(model: keras.Model, settings: Settings) -> None:
    """Raises InputError unless the images fit the model."""
    probes = settings.probes
    for name, images in (
        ("images", settings.evaluation),
        ("train images", probes.fitted),
        ("test images", probes.held_out),
    ):
        if images is not None:
            check_images(model, images.x, name)
            check_structure(images.x, settings.evaluation.x, name)


def check_structure(images: Any, evaluated: Any, name: str) -> None:
    """Raises InputError unless images are arrays in the structure of the evaluation images."""
    parts, others = (
        {tuple(path): array.ndim for path, array in keras.tree.flatten_with_path(each)}
        for each in (images, evaluated)
    )
    if parts != others:
        raise InputError(
            f"Expected {name} in the structure of images: {described(evaluated)}. Received: "
            f"{described(images)}."
        )


def check_statistics(recorded: RecordedModel) -> None:
    """Raises InputError if moments are to be recomputed on fewer images than a batch."""
    is_needed = recorded.norms and recorded.settings.batch_norm == "recalibrate"
    fitted = recorded.settings.probes.fitted
    if is_needed and fitted is not None and not recorded.statistics_batch:
        raise InputError(
            f"Expected at least {recorded.fixed_batch} probe images for "
            f"batch_norm='recalibrate', the fixed batch size of the model {recorded.model.name!r}. "
            f"Received: {len(fitted.y)} probe images. Give more images in train=(x, y), or use "
            "batch_norm='moving'."
        )


def check_sizes(settings: Settings) -> None:
    """Raises InputError unless all images have one size, as probes of all positions need."""
    probes = settings.probes
    shapes = {
        name: tuple(array.shape[1:] for array in keras.tree.flatten(images.x))
        for name, images in (
            ("images", settings.evaluation),
            ("train images", probes.fitted),
            ("test images", probes.held_out),
        )
        if images is not None
    }
    for name, shape in shapes.items():
        if shape != shapes["images"]:
            expected, found = (
                format_names(map(format_shape, each)) for each in (shapes["images"], shape)
            )
            raise InputError(
                f"Expected {name} of size {expected}, as images, for pooling={probes.pooling!r}. "
                f"Received: {found}. Use pooling='mean', which averages over positions."
            )

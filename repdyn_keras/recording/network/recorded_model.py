"""A model with compiled passes through its recorded layers."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures import ProbeWeights
from repdyn_keras.measures.map_agreement import region_dtype
from repdyn_keras.measures.planes import Plane, draw_planes, planes_notice
from repdyn_keras.recording.backend_code import compiled, unchanged
from repdyn_keras.recording.generators import GlobalGenerators
from repdyn_keras.recording.inputs import indices_among
from repdyn_keras.recording.network.axes import axis_notices, channel_axes
from repdyn_keras.recording.network.class_scores import resolved_head, training_of
from repdyn_keras.recording.network.graph import check_model, has_continuous_input
from repdyn_keras.recording.network.layers import OUTPUT, Head, choose_layers, find_head
from repdyn_keras.recording.network.passes import (
    BatchStatisticsPass,
    FeaturePass,
    FingerprintPass,
    LayerOutputs,
    RegionPass,
    updated_norms,
)
from repdyn_keras.recording.settings import PlaneSettings, Settings
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.text import format_shape

# Number of pixels of plane points in one call, which limits the memory of the widest layer.
CHUNK_PIXELS = 1 << 20
MIN_POINTS, MAX_POINTS = 16, 1024
# Number of batches that are computed while a result is read.
MAX_PENDING = 1
EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float64": 2.0**-52}


class RecordedModel:
    """The recorded layers of a model, and compiled passes through them.

    Args:
        model: a built functional or Sequential model.
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
        is_continuous: whether points between two inputs are valid inputs.
        planes, plane_samples: the planes, and (plane, 3) indices of their evaluation images.
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
        head = find_head(model, settings.selection.output)
        tensors, self.choice = choose_layers(model, settings.selection.layers, head)
        check_data(model, settings)
        self.head = resolved_head(model, head, settings)
        self.names = [*tensors, OUTPUT]
        self.blocks = block_flags(self.names, settings.selection.blocks)
        self.is_continuous = has_continuous_input(model)
        outputs = [*tensors.values(), self.head.tensor]
        self.epsilons = [EPSILONS.get(tensor.dtype, 2.0**-23) for tensor in outputs]
        self._fixed_batch = fixed_batch(model, settings.evaluation.batch)
        layers = keras.Model(model.inputs[0], outputs, name="recorded_layers")
        self.channel_axes = channel_axes(layers, tensors, settings.selection.channel_axis)
        axes = [channels.axis for channels in self.channel_axes.values()]
        self._outputs = LayerOutputs(layers, self.head, settings.probes, axes, self._fixed_batch)
        self.widths: list[int] = []
        self.shared = np.zeros(0, int)
        self.norms: list = []
        self.statistics_batch = 0
        evaluation, fitted = settings.evaluation, settings.probes.fitted
        if fitted is not None:
            check_sizes(tensors, axes, settings.probes.pooling)
            self.widths = self._outputs.widths()
            # Images that are both evaluation and probe images go through the network once.
            self.shared = indices_among(fitted.x, evaluation.x)
            self.norms = updated_norms(model, evaluation.x.shape[1:])
            self.statistics_batch = self._fixed_batch or min(evaluation.batch, len(fitted.y))
            if self.statistics_batch > len(fitted.y):
                self.statistics_batch = 0
            check_statistics(self)
        self.fingerprint_pass = compiled(
            FingerprintPass(self._outputs, evaluation.batch, with_features=self.has_shared), model
        )
        self.feature_pass = compiled(FeaturePass(self._outputs), model)
        self.statistics_pass: Callable | None = None
        if self.norms and self.statistics_batch:
            statistics = BatchStatisticsPass(model, self.norms, self.head)
            self.statistics_pass = compiled(statistics, model)
        self._structure = structure_of(model, self.head)
        self.planes: list[Plane] = []
        self.plane_samples = np.zeros((0, 3), int)
        if settings.has_planes and self.is_continuous:
            self._build_planes()

    @property
    def n_classes(self) -> int:
        """Number of classes of the output, or of the labels if it holds no class scores."""
        return self.head.classes

    @property
    def has_shared(self) -> bool:
        """Whether some images are both evaluation and probe images."""
        return bool((self.shared >= 0).any())

    def _build_planes(self) -> None:
        evaluation, planes = self.settings.evaluation, self.settings.planes
        labels = np.zeros(0) if evaluation.true is None else evaluation.true
        self.plane_samples, self.planes = draw_planes(
            evaluation.x,
            labels,
            planes.count,
            planes.margin,
            planes.seed,
        )
        dtype = region_dtype(self.n_classes)
        regions = RegionPass(self._outputs, evaluation.x.shape[1:], dtype)
        self._region_pass = compiled(regions, self.model)

    def classify_planes(
        self, values: ModelValues, probes: list[ProbeWeights]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Classes at the points of the grids and of the drawn grids, see `measures.State`.

        All points go through the network in one sequence of batches.
        """
        constants = keras.tree.map_structure(
            keras.ops.convert_to_tensor,
            (
                np.stack([plane.origin for plane in self.planes]).astype(np.float32),
                np.stack([plane.axes for plane in self.planes]).astype(np.float32),
                probes,
            ),
        )
        settings = self.settings.planes
        numbers, coordinates = grid_points(self.planes, settings)
        size = self._fixed_batch or points_per_call(self.settings.evaluation.x.shape[1:])
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
        self, values: ModelValues, x: np.ndarray, indices: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Each hidden layer's pooled features (n, d) and the output's scores (n, classes).

        Args:
            values: the values of the model's variables.
            x: images.
            indices: indices of the images to use; None for all.
        """
        n = len(x) if indices is None else len(indices)
        size = self.settings.evaluation.batch
        inputs = ((values.tensors, batch) for batch in batches(x, size, indices))
        parts = results(self.feature_pass, inputs)
        return [np.concatenate(layer)[:n] for layer in zip(*parts, strict=True)]


def preprocessed(model: keras.Model, settings: Settings) -> Settings:
    """Settings with the images that the network of a KerasHub task receives.

    Such a task applies its `preprocessor` to the images in `fit`. For other models, the settings
    are returned unchanged.
    """
    if not has_preprocessor(model):
        return settings
    size = settings.evaluation.batch

    def prepared(x: np.ndarray) -> np.ndarray:
        parts = [model.preprocess_samples(x[i : i + size]) for i in range(0, len(x), size)]
        return np.concatenate([np.asarray(part) for part in as_numpy(parts)])

    fitted, held_out = (
        images and replace(images, x=prepared(images.x))
        for images in (settings.probes.fitted, settings.probes.held_out)
    )
    return replace(
        settings,
        evaluation=settings.evaluation.prepared(prepared),
        probes=replace(settings.probes, fitted=fitted, held_out=held_out),
    )


def has_preprocessor(model: keras.Model) -> bool:
    """Whether a model is a KerasHub task that preprocesses its images in `fit`."""
    return hasattr(model, "preprocess_samples") and getattr(model, "preprocessor", None) is not None


def structure_of(model: keras.Model, head: Head) -> tuple:
    """What passes depend on: variables, what is trained, precision, input, loss, execution."""
    variables = [(v.path, tuple(v.shape), v.dtype, v.trainable, id(v)) for v in model.variables]
    layers = [(layer.trainable, layer.dtype_policy.name) for layer in model._flatten_layers()]
    execution = bool(model.run_eagerly), bool(model.jit_compile)
    preprocessor = id(getattr(model, "preprocessor", None))
    return variables, layers, execution, preprocessor, training_of(model, head)


def announcements(recorded: RecordedModel) -> Iterator[str]:
    """Messages before the first record about what is recorded and what is not."""
    settings, head = recorded.settings, recorded.head
    evaluation = settings.evaluation
    yield f"recording {recorded.choice}."
    if has_preprocessor(recorded.model):
        preprocessor = recorded.model.preprocessor
        name = getattr(preprocessor, "name", type(preprocessor).__name__)
        yield f"images are preprocessed by {name}, as in fit."
    if evaluation.left_out:
        yield (
            f"{evaluation.left_out} evaluation images are left out: {len(evaluation.x)} are whole "
            f"batches of {evaluation.batch}."
        )
    if settings.probes.fitted is None:
        yield "no labels given: only fingerprints are recorded, no probes and no decision regions."
        return
    if head.notice:
        yield head.notice
    yield from axis_notices(recorded.channel_axes, settings.selection.channel_axis)
    if settings.fits_on_evaluation:
        yield "no train=(x, y) given: probes are fitted on the evaluation images."
    if recorded.norms and not recorded.statistics_batch:
        yield (
            f"{len(settings.probes.fitted.y)} probe images are less than a batch of "
            f"{recorded.model.inputs[0].shape[0]}, the fixed batch size of the model: the accuracy "
            "with batch statistics is not recorded."
        )
    if settings.planes.count and not settings.has_planes:
        yield "no labels of the evaluation images given: no decision regions are recorded."
    elif settings.planes.count and not recorded.is_continuous:
        yield (
            "the model takes whole numbers, such as word indices, so that points between two "
            "inputs are not valid inputs: no decision regions are recorded."
        )
    elif recorded.planes and (notice := planes_notice(evaluation.true)):
        yield notice
    if len(np.unique(settings.probes.fitted.y)) == 1:
        yield "the probe images are all of one class: their accuracy is 1 for every probe."
    if head.is_single:
        yield (
            f"{OUTPUT} is one unit ({head.activation}): class 1 above {head.threshold:g}, "
            "else class 0."
        )


def block_flags(names: list[str], pattern: str | None) -> np.ndarray:
    """(layer,) whether a layer is a block; without a pattern, every hidden layer is one."""
    flags = [pattern is None or bool(re.fullmatch(pattern, name)) for name in names[:-1]]
    return np.array([*flags, False])


def batches(x: np.ndarray, size: int, indices: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Batches of equal size; the last one is padded with copies of its last image.

    Args:
        x: (n, ...) images.
        size: images in a batch.
        indices: indices of the images to use; None for all.
    """
    for start in range(0, len(x) if indices is None else len(indices), size):
        part = slice(start, start + size)
        batch = x[part] if indices is None else x[indices[part]]
        if len(batch) < size:
            padding = np.repeat(batch[-1:], size - len(batch), axis=0)
            batch = np.concatenate([batch, padding])
        yield batch


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


def fixed_batch(model: keras.Model, batch: int) -> int | None:
    """The number of images that a model accepts in a call, or None if it accepts any.

    Raises:
        InputError: the recorder's batches are not a multiple of it.
    """
    fixed = model.inputs[0].shape[0]
    if fixed is not None and batch % fixed:
        raise InputError(
            f"Expected batch_size as a multiple of {fixed}, the fixed batch size of the model "
            f"{model.name!r}. Received: batches of {batch} evaluation images."
        )
    return fixed


def check_data(model: keras.Model, settings: Settings) -> None:
    """Raises InputError unless the images fit the model."""
    evaluation, fitted = settings.evaluation, settings.probes.fitted
    held_out = settings.probes.held_out
    expected = tuple(model.inputs[0].shape[1:])
    arrays = {
        "images": evaluation.x,
        "train images": None if fitted is None else fitted.x,
        "test images": None if held_out is None else held_out.x,
    }
    for name, x in arrays.items():
        if x is None:
            continue
        fits = x.ndim == len(expected) + 1 and all(
            side in (None, size) for side, size in zip(expected, x.shape[1:], strict=True)
        )
        if not fits:
            raise InputError(
                f"Expected {name} of shape {format_shape(expected)}, the input of the model "
                f"{model.name!r}. Received: {name} of shape {format_shape(x.shape[1:])}."
            )


def check_statistics(recorded: RecordedModel) -> None:
    """Raises InputError if moments are to be recomputed on fewer images than a batch."""
    is_needed = recorded.norms and recorded.settings.batch_norm == "recalibrate"
    fitted = recorded.settings.probes.fitted
    if is_needed and fitted is not None and not recorded.statistics_batch:
        raise InputError(
            f"Expected at least {recorded.model.inputs[0].shape[0]} probe images for "
            f"batch_norm='recalibrate', the fixed batch size of the model {recorded.model.name!r}. "
            f"Received: {len(fitted.y)} probe images. Give more images in train=(x, y), or use "
            "batch_norm='moving'."
        )


def check_sizes(tensors: dict, axes: list[int], pooling: str | int) -> None:
    """Raises InputError unless each hidden layer has a fixed number of pooled features."""
    for (name, tensor), axis in zip(tensors.items(), axes, strict=True):
        if pooling != "mean" and None in tensor.shape[1:] or tensor.shape[axis] is None:
            raise InputError(
                f"Expected layers of fixed size for pooling={pooling!r}. Received: layer {name!r} "
                f"of size {format_shape(tensor.shape[1:])}. Use pooling='mean', which averages "
                "over positions."
            )

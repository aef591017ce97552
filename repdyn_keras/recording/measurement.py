"""One state of a model, measured: fingerprints, probes, regions and accuracies."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.measures import device
from repdyn_keras.measures.cka import is_dead
from repdyn_keras.measures.planes import draw_planes
from repdyn_keras.measures.probe import solve_probe
from repdyn_keras.measures.regions import region_dtype
from repdyn_keras.recording.backend import compiled, undisturbed
from repdyn_keras.recording.heads import Head
from repdyn_keras.recording.inputs import Evaluation, Labelled, places_among
from repdyn_keras.recording.layers import OUTPUT
from repdyn_keras.recording.passes import (
    BatchStatisticsPass,
    ComparedPass,
    FeaturePass,
    RegionPass,
    updated_norms,
)

SUBSETS = ("train", "clean", "mislabeled_given", "mislabeled_true", "test")
# Pixels of the grid images of one call: bounds the memory of the widest layer.
CHUNK_PIXELS = 1 << 20
MOST_POINTS = 1024
# Batches that are computed while the result of one is read.
AHEAD = 1


class Measurement:
    """Everything that is measured of one model, with its passes built once.

    Args:
        model: the model that is trained.
        tensors: hidden layers' tensors by name.
        head: the recorded output.
        evaluation: the images that are compared.
        probed: the images and given labels that probes are fitted on, or None for no probes.
        test: images and labels that nothing is fitted on, or None.
        planes: number of planes.
        resolution: points along each side of a grid.
        margin: margin around the three images.
        pooling: features of a probe.
        recalibrate: whether BatchNormalization uses moments recomputed on the probed images.
        seed: seed of the draw of planes.
    """

    def __init__(
        self,
        model: keras.Model,
        tensors: dict,
        head: Head,
        evaluation: Evaluation,
        probed: Labelled | None,
        test: Labelled | None,
        *,
        planes: int,
        resolution: int,
        margin: float,
        pooling: str | int,
        recalibrate: bool,
        seed: int,
    ):
        self.model = model
        self.names = [*tensors, OUTPUT]
        self.head = head
        self.evaluation = evaluation
        self.probed = probed
        self.test = test
        self.resolution = resolution
        self.recalibrate = recalibrate
        self.timings: dict[str, float] = {}
        outputs = [*tensors.values(), head.tensor]
        self.epsilons = [float(keras_epsilon(tensor.dtype)) for tensor in outputs]
        layers = keras.Model(model.inputs[0], outputs, name="recorded_layers")
        self.n_classes = head.classes
        self.check_data()
        self.widths = self.probe_widths(layers, pooling)
        # Images that are both compared and probed go through the network once.
        self.shared = np.zeros(0, int)
        if probed is not None:
            self.shared = places_among(probed.x, evaluation.x)
        self.shares = bool((self.shared >= 0).any())
        self.compare = compiled(
            ComparedPass(layers, pooling, head, evaluation.batch, with_features=self.shares)
        )
        self.pool = compiled(FeaturePass(layers, pooling, head))
        self.norms = [] if probed is None else updated_norms(model, evaluation.x.shape[1:])
        self.find_statistics = None
        if self.norms:
            self.find_statistics = compiled(BatchStatisticsPass(model, self.norms, head))
        self.planes, self.plane_samples, self.region_pass = [], np.zeros((0, 3), int), None
        self.classify = None
        if planes:
            self.plane_samples, self.planes = draw_planes(
                evaluation.x, evaluation.true, planes, margin, seed
            )
            self.region_pass = RegionPass(
                layers,
                evaluation.x.shape[1:],
                pooling,
                self.widths,
                head,
                self.planes,
                region_dtype(self.n_classes),
            )
            self.classify = compiled(self.region_pass)

    def check_data(self) -> None:
        """Raises InputError unless images and labels fit the model."""
        wanted = tuple(self.model.inputs[0].shape[1:])
        arrays = {
            "images": self.evaluation.x,
            "train images": None if self.probed is None else self.probed.x,
            "test images": None if self.test is None else self.test.x,
        }
        for name, x in arrays.items():
            if x is None:
                continue
            fits = x.ndim == len(wanted) + 1 and all(
                side in (None, size) for side, size in zip(wanted, x.shape[1:], strict=True)
            )
            if not fits:
                raise InputError(
                    f"{name} have shape {shape_words(x.shape[1:])} each; the model "
                    f"{self.model.name!r} takes {shape_words(wanted)}. Expected that shape."
                )
        labels = {
            "labels": self.evaluation.given,
            "train labels": None if self.probed is None else self.probed.y,
            "test labels": None if self.test is None else self.test.y,
        }
        is_labelled = any(y is not None for y in labels.values())
        if is_labelled and self.head.is_single and not self.head.is_told:
            raise InputError(
                f"The output {self.head.name!r} is one unit behind {self.head.activation!r}: "
                "whether it is a probability or a logit cannot be told. Expected a Dense(1) with "
                "the activation sigmoid or none, or no labels: then fingerprints alone are "
                "recorded."
            )
        if is_labelled and not self.n_classes:
            raise InputError(
                f"Labels came, and the output {self.head.name!r} of the model has shape "
                f"{shape_words(self.head.tensor.shape[1:])}. Expected one number a class, or no "
                "labels: then fingerprints alone are recorded."
            )
        for name, y in labels.items():
            if y is not None and y.max() >= self.n_classes:
                raise InputError(
                    f"{name} reach {y.max()}; the model puts out {self.n_classes} classes. "
                    f"Expected labels from 0 to {self.n_classes - 1}."
                )

    def probe_widths(self, layers: keras.Model, pooling) -> list[int]:
        """Number of features of each hidden layer's probe."""
        if self.probed is None:
            return []
        for name, tensor in zip(self.names, layers.outputs[:-1], strict=False):
            if pooling != "mean" and None in tensor.shape[1:] or tensor.shape[-1] is None:
                raise InputError(
                    f"Layer {name!r} puts out {shape_words(tensor.shape[1:])}, of no fixed size. "
                    f"Expected one for pooling={pooling!r}; pooling='mean' averages positions."
                )
        return [int(device.pooled(tensor, pooling).shape[-1]) for tensor in layers.outputs[:-1]]

    def measure(self) -> dict[str, tuple]:
        """Measures the model as it is now.

        Returns:
            Variables by name, each (dims, array), and scalars as ((), number).
        """
        self.timings = {}
        with undisturbed():
            variables = {}
            moments = None
            if self.find_statistics is not None:
                with self.timed("batch statistics"):
                    accuracy, moments = self.batch_statistics()
                variables["accuracy_training"] = ((), accuracy)
            with self.recalibrated(moments if self.recalibrate else None):
                with self.timed("fingerprints"):
                    found, compared = self.fingerprints()
                variables |= found
                if self.probed is not None:
                    variables |= self.probes_and_regions(compared)
        return variables

    @contextmanager
    def timed(self, purpose: str) -> Iterator[None]:
        """Adds the seconds of the block to those of its purpose."""
        start = time.perf_counter()
        yield
        self.timings[purpose] = self.timings.get(purpose, 0.0) + time.perf_counter() - start

    def batches(
        self, x: np.ndarray, size: int, places: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Batches of one size; the last one is filled up with its last image.

        Args:
            x: (n, ...) images.
            size: images of a batch.
            places: which of the images; None for all.
        """
        for start in range(0, len(x) if places is None else len(places), size):
            part = slice(start, start + size)
            batch = x[part] if places is None else x[places[part]]
            if len(batch) < size:
                more = np.repeat(batch[-1:], size - len(batch), axis=0)
                batch = np.concatenate([batch, more])
            yield batch

    def results(self, function: Callable, batches: Iterable) -> Iterator:
        """What a compiled pass makes of batches, in order; one is computed ahead."""
        waiting: deque = deque()
        for batch in batches:
            waiting.append(function(batch))
            if len(waiting) > AHEAD:
                yield as_numpy(waiting.popleft())
        while waiting:
            yield as_numpy(waiting.popleft())

    def fingerprints(self) -> tuple[dict[str, tuple], list[np.ndarray]]:
        """Every layer's fingerprint, (layer, pair) float32, and norms, (layer, norm).

        Returns:
            Those, and the features of the compared images, see `features`; none of them where
            no compared image is probed.
        """
        size = self.evaluation.batch
        pairs = size * (size - 1) // 2
        batches = len(self.evaluation.x) // size
        prints = np.empty((len(self.names), batches, pairs), np.float32)
        norms = np.zeros((len(self.names), 3))
        features = []
        found = self.results(self.compare, self.batches(self.evaluation.x, size))
        for place, (vectors, squares, of_images) in enumerate(found):
            prints[:, place] = vectors
            norms += squares
            features.append(of_images)
        prints = prints.reshape(len(self.names), -1)
        finite = np.isfinite(norms).all(axis=1) & np.isfinite(prints).all(axis=1)
        with np.errstate(invalid="ignore"):
            dead = np.array(
                [is_dead(n, epsilon) for n, epsilon in zip(norms, self.epsilons, strict=True)]
            )
        variables = {
            "fingerprint": (("layer", "pair"), prints),
            "norm": (("layer", "square"), norms),
            "finite": (("layer",), finite.astype(np.uint8)),
            "dead": (("layer",), (dead & finite).astype(np.uint8)),
        }
        return variables, [np.concatenate(layer) for layer in zip(*features, strict=True)]

    def features(self, x: np.ndarray, places: np.ndarray | None = None) -> list[np.ndarray]:
        """Each hidden layer's pooled features (n, d) and the output's scores (n, classes).

        Args:
            x: images.
            places: which of them; None for all.
        """
        n = len(x) if places is None else len(places)
        parts = self.results(self.pool, self.batches(x, self.evaluation.batch, places))
        return [np.concatenate(layer)[:n] for layer in zip(*parts, strict=True)]

    def probed_features(self, compared: list[np.ndarray]) -> list[np.ndarray]:
        """What `features` gives of the probed images.

        Args:
            compared: what it gives of the compared ones; empty where none is probed.
        """
        if not self.shares:
            return self.features(self.probed.x)
        layers = [layer[self.shared] for layer in compared]
        rest = np.flatnonzero(self.shared < 0)
        if len(rest):
            for layer, found in zip(layers, self.features(self.probed.x, rest), strict=True):
                layer[rest] = found
        return layers

    def probes_and_regions(self, compared: list[np.ndarray]) -> dict[str, tuple]:
        """The probes, their accuracies and those of the output, and everybody's regions."""
        layers, hidden = len(self.names), len(self.names) - 1
        with self.timed("accuracies"):
            *features, output = self.probed_features(compared)
            held_out = self.features(self.test.x) if self.test is not None else None
        accuracy = np.full((layers, len(SUBSETS)), np.nan)
        solution = np.full((layers, 3), np.nan)
        weights = []
        with self.timed("probes"):
            for index, x in enumerate(features):
                if not np.isfinite(x).all():
                    nothing = np.full((x.shape[1] + 1, self.n_classes), np.nan, np.float32)
                    weights.append((nothing[:-1], nothing[-1]))
                    continue
                probe = solve_probe(x, self.probed.y, self.n_classes)
                solution[index] = probe.objective, probe.gradient_norm, probe.gap
                weights.append((probe.kernel, probe.bias))
                test_logits = None if held_out is None else probe.logits(held_out[index])
                accuracy[index] = self.accuracies(probe.logits(x), test_logits)
        accuracy[hidden] = self.accuracies(output, None if held_out is None else held_out[hidden])
        flat = [part.ravel() for kernel, bias in weights for part in (kernel, bias)]
        variables = {
            "probe_accuracy": (("layer", "subset"), accuracy),
            "probe_objective": (("layer",), solution[:, 0]),
            "probe_gradient_norm": (("layer",), solution[:, 1]),
            "probe_gap": (("layer",), solution[:, 2]),
            "probe_weights": (("parameter",), np.concatenate(flat)),
            "accuracy_inference": ((), accuracy[hidden, 0]),
        }
        if self.region_pass is not None:
            with self.timed("regions"):
                self.region_pass.set_probes(weights)
                dims = ("layer", "plane", "row", "column")
                variables["regions"] = (dims, self.regions())
        return variables

    def accuracies(self, logits: np.ndarray, test_logits: np.ndarray | None) -> list[float]:
        """The accuracy on each of SUBSETS, NaN where it is absent or has no images."""
        found = dict.fromkeys(SUBSETS, float("nan"))
        if np.isfinite(logits).all():
            right = logits.argmax(axis=1)
            for name, (chosen, labels) in self.probed.subsets().items():
                if chosen.any():
                    found[name] = float(np.mean(right[chosen] == labels[chosen]))
        if test_logits is not None and np.isfinite(test_logits).all():
            found["test"] = float(np.mean(test_logits.argmax(axis=1) == self.test.y))
        return list(found.values())

    def regions(self) -> np.ndarray:
        """(layer, plane, row, column) class indices of the probes and the output on the planes."""
        grids = np.stack([plane.grid(self.resolution) for plane in self.planes])
        coordinates = grids.reshape(-1, 2).astype(np.float32)
        number = np.repeat(np.arange(len(self.planes), dtype=np.int32), self.resolution**2)
        size = points_at_once(self.evaluation.x.shape[1:])
        batches = zip(self.batches(number, size), self.batches(coordinates, size), strict=True)
        classes = np.concatenate(list(self.results(self.classify, map(list, batches))))
        dtype = self.region_pass.region_dtype
        shape = (len(self.names), len(self.planes), self.resolution, self.resolution)
        return classes[: len(number)].T.astype(dtype).reshape(shape)

    def batch_statistics(self) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
        """Training-mode accuracy on the probed images, and each BatchNormalization's moments.

        Only whole batches count: a padded one would have moments of its own.
        """
        size = min(self.evaluation.batch, len(self.probed.y))
        right, moments = 0, []
        whole = len(self.probed.y) // size * size
        labels = self.probed.y[:whole].reshape(-1, size)
        found = self.results(self.find_statistics, self.batches(self.probed.x[:whole], size))
        for given, (output, of_batch) in zip(labels, found, strict=True):
            right += int(np.sum(output.argmax(axis=1) == given))
            moments.append(of_batch)
        pooled = []
        for of_batches in zip(*moments, strict=True):
            means = np.stack([mean for mean, _ in of_batches]).astype(np.float64)
            variances = np.stack([variance for _, variance in of_batches]).astype(np.float64)
            pooled.append((means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)))
        return right / whole, pooled

    @contextmanager
    def recalibrated(self, moments: list | None) -> Iterator[None]:
        """BatchNormalization with other moments inside the block; the model's own are put back."""
        if moments is None:
            yield
            return
        own = [
            (variable, keras.ops.convert_to_numpy(variable.value).copy())
            for norm in self.norms
            for variable in (norm.moving_mean, norm.moving_variance)
        ]
        try:
            for norm, (mean, variance) in zip(self.norms, moments, strict=True):
                norm.moving_mean.assign(mean.astype(np.float32))
                norm.moving_variance.assign(variance.astype(np.float32))
            yield
        finally:
            for variable, value in own:
                variable.assign(value)


def as_numpy(found):
    """Arrays of a backend, in any structure, as NumPy's."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, found)


def points_at_once(image_shape: tuple[int, ...]) -> int:
    """Points of planes that go through the network in one call."""
    return int(np.clip(CHUNK_PIXELS // int(np.prod(image_shape)), 16, MOST_POINTS))


def keras_epsilon(dtype: str) -> float:
    """Machine epsilon of a Keras float dtype."""
    return {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float64": 2.0**-52}.get(dtype, 2.0**-23)


def shape_words(shape) -> str:
    """A shape as people write it."""
    return " x ".join("any" if side is None else str(side) for side in shape)

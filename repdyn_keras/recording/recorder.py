"""The callback that records every layer while a model trains."""

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.graph import check_model, takes_numbers
from repdyn_keras.recording.heads import find_head
from repdyn_keras.recording.identity import arrays_hash, weights_hash
from repdyn_keras.recording.inputs import Evaluation, Labelled
from repdyn_keras.recording.layers import OUTPUT, choose_layers
from repdyn_keras.recording.measurement import SUBSETS, Measurement
from repdyn_keras.recording.schedule import Schedule
from repdyn_keras.records import RunFolder

BATCH_NORM_GAP = 0.1
# Purposes that seeds are derived for.
ORDER, PROBES, PLANES = 11, 12, 13


class RepresentationRecorder(keras.callbacks.Callback):
    """Records the representation in every layer at chosen epochs of a training.

    At each recorded epoch it stores, as one file: the fingerprint of every layer, whose cosine
    with any other is their minibatch unbiased CKA; a linear probe of every layer, solved to its
    optimum; and the decision regions of all probes and of the network's output on planes through
    image triplets. Epoch 0, the initialization, and the last state are always recorded. Recording
    never changes the training: the same seed gives the same weights with and without it.

    Source: Nguyen et al. 2021 (arXiv 2010.15327, eq. 2-4) for minibatch CKA; Alain and Bengio 2016
    (arXiv 1610.01644) for probes; Somepalli et al. 2022 (arXiv 2203.08124) for planes and regions.

    Args:
        folder: the run's folder; records of the same training that it holds are kept.
        images: (n, ...) images whose representations are compared, in the model's input space.
            n is cut to a multiple of `batch_size`.
        labels: (n,) integers or (n, classes) one-hot, as the network is given them; without them
            only fingerprints are recorded.
        layers: names; a regular expression; or None for the outputs of additions, `Add` layers
            or `x + y`, and where there are fewer than 3, of every layer with weights. A layer
            inside a nested model is called `nested/layer`.
        epochs: "log" for 0, the distinct round(2^(i/6)) and the last; a whole number k for every
            k-th; or a list. Epoch e is the state after e epochs.
        train: (x, y) that the probes are fitted on; None takes `images` and `labels`.
        true_labels: (n,) labels of `train` before label noise.
        test: (x, y) that nothing is fitted on.
        planes: number of planes; 0 records no regions.
        resolution: points along each side of a plane's grid.
        margin: margin around a plane's three images, in parts of their extent.
        batch_size: images of a batch of CKA, at least 4.
        pooling: features of a probe: "mean" over positions, "flatten", or the side of a grid.
        batch_norm: "moving" records with the model's moving statistics, "recalibrate" with
            moments recomputed on the probes' images.
        seed: seed of the order of the images, of the probes' images and of the planes.
        probe_images: training images that the probes are fitted on, at most.
        sample_ids: (n,) ids of `images`; None numbers them.
        images_true_labels: (n,) labels of `images` before noise, by which the corners of a plane
            differ; None takes `labels`.
        output: which output is recorded as `output`, by the name of its layer or its key; None
            for a model with one. Labels are of this output.
        class_names: names of the classes, for pictures.

    Raises:
        InputError: arrays that do not fit together, when it is made; a model or layer that cannot
            be recorded, or a folder with another training, when the training begins.

    Example:
        >>> recorder = RepresentationRecorder("runs/mine", x[:1024], y[:1024])  # doctest: +SKIP
        >>> model.fit(x, y, epochs=20, callbacks=[recorder])  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        images,
        labels=None,
        *,
        layers: str | Iterable[str] | None = None,
        epochs: str | int | Iterable[int] = "log",
        train=None,
        true_labels=None,
        test=None,
        planes: int = 16,
        resolution: int = 24,
        margin: float = 0.1,
        batch_size: int = 256,
        pooling: str | int = "mean",
        batch_norm: str = "moving",
        seed: int = 0,
        probe_images: int = 10_000,
        sample_ids=None,
        images_true_labels=None,
        output: str | None = None,
        class_names: Iterable[str] | None = None,
    ):
        super().__init__()
        check_settings(planes, resolution, margin, pooling, batch_norm, probe_images)
        self.folder = RunFolder(folder)
        self.schedule = Schedule(epochs)
        self.layers = layers
        self.output = output
        self.class_names = [] if class_names is None else [str(name) for name in class_names]
        self.planes = planes
        self.resolution = resolution
        self.margin = margin
        self.pooling = pooling
        self.batch_norm = batch_norm
        self.seed = seed
        self.evaluation = Evaluation.of(
            images, labels, images_true_labels, sample_ids, batch_size, seed * 100 + ORDER
        )
        self.without_train = train is None
        if train is None and labels is not None:
            train = (images, labels)
        self.probed = None
        if train is not None:
            fitted = Labelled.of(train, "train", true_labels)
            self.probed = self.choose_probed(fitted, probe_images)
        self.test = None if test is None else Labelled.of(test, "test")
        self.without_planes = planes > 0 and (self.evaluation.true is None or self.probed is None)
        if self.without_planes:
            self.planes = 0
        self.measurement: Measurement | None = None
        self.timings: dict[str, float] = {}
        self._last_epoch: int | None = None
        self._choice = ""
        self._prepared = False
        self._warned: set[str] = set()

    def choose_probed(self, train: Labelled, most: int) -> Labelled:
        """The training images that the probes are fitted on, `most` at most."""
        return train.probe_sample(most, self.seed * 100 + PROBES)

    def on_epoch_begin(self, epoch, logs=None):
        if self._last_epoch is None:
            self.record(self.model, epoch)
        self._last_epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self._last_epoch = epoch + 1
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        if is_last or self.schedule.wants(epoch + 1):
            self.record(self.model, epoch + 1)

    def on_train_end(self, logs=None):
        if self._last_epoch is not None and not self.has_record(self._last_epoch):
            self.record(self.model, self._last_epoch)
        self._last_epoch = None

    def has_record(self, epoch: int) -> bool:
        """Whether the folder holds a record of this epoch."""
        return self.folder.record_file(epoch).is_file()

    def record(self, model: keras.Model, epoch: int) -> None:
        """Records the model as the state after `epoch` epochs; works without `fit`, too.

        A record of the same epoch and the same weights is kept as it is.

        Args:
            model: a built functional or Sequential model; the same one in every call.
            epoch: epochs that it has been trained.

        Raises:
            InputError: the model cannot be recorded, or the folder holds another training.
        """
        self.prepare(model)
        state = weights_hash(model)
        if self.has_record(epoch):
            if self.folder.recorded_hash(epoch) != state:
                raise InputError(
                    f"{self.folder.record_file(epoch)} records another training: its weights at "
                    f"epoch {epoch} differ from these. Expected a folder of this training, or a "
                    "new one."
                )
            return
        record = self.measure(epoch, state)
        self.before_write(epoch, record)
        with self.measurement.timed("writing"):
            self.folder.write_record(epoch, record)
        self.timings = self.measurement.timings

    def before_write(self, epoch: int, record) -> None:
        """Called with each new record just before it is written; does nothing by itself."""

    def say(self, text: str) -> None:
        """Tells the user something once."""
        print(f"repdyn: {text}", flush=True)

    def prepare(self, model: keras.Model) -> None:
        """Builds what the recording needs, once, and checks that the folder is its own."""
        self.build(model)
        if self._prepared:
            return
        constants = self.constants(self.measurement)
        if self.folder.constants_file.is_file():
            self.check_constants(constants)
        else:
            if self.folder.epochs():
                raise InputError(
                    f"{self.folder.records} holds records but no constants.nc. Expected both: "
                    "restore it, or record into a new folder."
                )
            self.folder.write_constants(constants)
        self._prepared = True
        self.announce()

    def build(self, model: keras.Model) -> None:
        """Builds what measures this model, once; writes nothing.

        Raises:
            InputError: the model cannot be recorded, the data does not fit it, or another model
                was built for before.
        """
        if self.measurement is not None:
            if self.measurement.model is not model:
                raise InputError(
                    f"Another model ({model.name!r}) came than this recorder began with "
                    f"({self.measurement.model.name!r}). Expected one recorder a model."
                )
            return
        check_model(model)
        head = find_head(model, self.output)
        tensors, self._choice = choose_layers(model, self.layers, head)
        self.between_inputs = takes_numbers(model)
        self.measurement = Measurement(
            model,
            tensors,
            head,
            self.evaluation,
            self.probed,
            self.test,
            planes=self.planes if self.between_inputs else 0,
            resolution=self.resolution,
            margin=self.margin,
            pooling=self.pooling,
            recalibrate=self.batch_norm == "recalibrate",
            seed=self.seed * 100 + PLANES,
        )

    def announce(self) -> None:
        """Says what is recorded and what is not."""
        self.say(f"recording {self._choice}.")
        if self.evaluation.left_out:
            self.say(
                f"{self.evaluation.left_out} evaluation images are left out: "
                f"{len(self.evaluation.x)} are whole batches of {self.evaluation.batch}."
            )
        if self.probed is None:
            self.say("no labels came: fingerprints only, no probes and no decision regions.")
            return
        if self.without_train:
            self.say("no train=(x, y) came: probes are fitted on the evaluation images.")
        if self.without_planes:
            self.say("no labels of the images came: no planes and no decision regions.")
        elif self.planes and not self.between_inputs:
            self.say(
                "the model takes whole numbers, such as words': points between two inputs are "
                "none, hence no planes and no decision regions."
            )
        head = self.measurement.head
        if head.is_single:
            self.say(
                f"{OUTPUT} is one unit ({head.activation}): class 1 above {head.threshold:g}, "
                "else class 0."
            )

    def constants(self, measurement: Measurement):
        """What is the same at every epoch, as an `xarray.Dataset`."""
        import xarray

        evaluation = self.evaluation
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
                    np.stack([p.positions(self.resolution) for p in measurement.planes]),
                ),
                "plane_image": (
                    ("plane", "corner", *axis_names(evaluation.x.ndim - 1)),
                    evaluation.x[corners].astype(np.float32),
                ),
            }
        if self.class_names:
            variables["class_name"] = (("class",), np.array(self.class_names))
        if self.probed is not None:
            variables["probe_width"] = (("hidden",), np.array(measurement.widths))
        return xarray.Dataset(
            variables,
            coords={"layer": measurement.names, "subset": list(SUBSETS)},
            attrs={
                "batch": evaluation.batch,
                "n_classes": measurement.n_classes,
                "margin": float(self.margin),
                "resolution": self.resolution,
                "pooling": str(self.pooling),
                "batch_norm": self.batch_norm,
                "images_hash": arrays_hash([evaluation.x]),
                "probe_images_hash": hash_of(self.probed),
                "test_images_hash": hash_of(self.test),
            },
        )

    def check_constants(self, constants) -> None:
        """Raises InputError unless the folder's constants are these."""
        found = self.folder.constants()
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
            f"{self.folder.path} holds another recording: {', '.join(sorted(differing))} differ. "
            "Expected the same images, layers and settings, or a new folder."
        )

    def measure(self, epoch: int, state: str):
        """Measures the model and returns the record as an `xarray.Dataset`."""
        import xarray

        variables = self.measurement.measure()
        record = xarray.Dataset(
            variables,
            coords={"layer": self.measurement.names},
            attrs={"epoch": epoch, "weights_hash": state},
        )
        self.warn(epoch, record)
        return record

    def warn(self, epoch: int, record) -> None:
        """Says which layers are dead or not finite, and when BatchNormalization lags, once each."""
        for layer, finite, dead in zip(
            record["layer"].values.tolist(),
            record["finite"].values,
            record["dead"].values,
            strict=True,
        ):
            norms = ", ".join(f"{v:.3g}" for v in np.sqrt(record["norm"].sel(layer=layer).values))
            if not finite:
                self.warn_once(
                    f"not finite {layer}",
                    f"layer {layer!r} puts out NaN or infinite values at epoch {epoch} "
                    f"(n = {len(self.evaluation.x)}): its similarities are NaN there.",
                )
            elif dead:
                self.warn_once(
                    f"dead {layer}",
                    f"layer {layer!r} is constant over the {len(self.evaluation.x)} images at "
                    f"epoch {epoch} (norms of U, K, x: {norms}): its similarities are NaN there.",
                )
        if "accuracy_training" in record and "accuracy_inference" in record:
            gap = float(record["accuracy_training"] - record["accuracy_inference"])
            if self.batch_norm == "moving" and abs(gap) > BATCH_NORM_GAP:
                self.warn_once(
                    "gap",
                    f"at epoch {epoch} the accuracy is {float(record['accuracy_training']):.2f} "
                    f"with batch statistics and {float(record['accuracy_inference']):.2f} with "
                    "moving ones: BatchNormalization lags, and an early phase may be its own. "
                    "Compare batch_norm='recalibrate'.",
                )

    def warn_once(self, key: str, text: str) -> None:
        """Says something unless it was said of the same thing before."""
        if key not in self._warned:
            self._warned.add(key)
            self.say(f"warning: {text}")


def check_settings(planes, resolution, margin, pooling, batch_norm, probe_images) -> None:
    """Raises InputError unless the recorder's settings are in range."""
    whole = {
        "planes": (planes, 0),
        "resolution": (resolution, 2),
        "probe_images": (probe_images, 1),
    }
    for name, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name}={value!r} came. Expected a whole number of at least {least}.")
    if not 0 <= margin < np.inf:
        raise InputError(f"margin={margin!r} came. Expected a number of at least 0.")
    if pooling not in ("mean", "flatten") and (not isinstance(pooling, int) or pooling < 1):
        raise unknown("pooling", pooling, ("mean", "flatten"), "Or the side of a grid, from 1.")
    if batch_norm not in ("moving", "recalibrate"):
        raise unknown("batch_norm", batch_norm, ("moving", "recalibrate"))


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

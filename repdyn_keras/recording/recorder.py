"""The callback that records every layer while a model trains."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from repdyn_keras.errors import InputError, unknown
from repdyn_keras.recording.constants import check_constants, constants_of, hash_of
from repdyn_keras.recording.graph import check_model, takes_numbers
from repdyn_keras.recording.heads import find_head
from repdyn_keras.recording.identity import arrays_hash, weights_hash
from repdyn_keras.recording.inputs import Evaluation, Labelled
from repdyn_keras.recording.layers import choose_layers
from repdyn_keras.recording.measurement import Measurement
from repdyn_keras.recording.notices import announcements, warnings_of
from repdyn_keras.recording.schedule import Schedule
from repdyn_keras.records import RunFolder
from repdyn_keras.text import visible

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
        self._went_on_from: int | None = None
        self._holds_folder = False
        self._choice = ""
        self._prepared = False
        self._warned: set[str] = set()

    def choose_probed(self, train: Labelled, most: int) -> Labelled:
        """The training images that the probes are fitted on, `most` at most."""
        return train.probe_sample(most, self.seed * 100 + PROBES)

    @cached_property
    def images_hash(self) -> str:
        """The hash by which recordings of the same images are told from others."""
        return arrays_hash([self.evaluation.x])

    def on_train_begin(self, logs=None):
        self._last_epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._last_epoch is None:
            self.begin(epoch)
        self._last_epoch = epoch

    def begin(self, epoch: int) -> None:
        """Before the first epoch of a `fit`: takes the folder, and records the state it begins at.

        A training that goes on, from a backup or in another `fit`, is recorded where the schedule
        wants it, as it would have been without the break.
        """
        if not self._holds_folder:
            self.folder.lock()
            self._holds_folder = True
        goes_on = epoch > 0 and bool(self.folder.epochs())
        if not goes_on or self.schedule.wants(epoch) or self.has_record(epoch):
            self.record(self.model, epoch)
        self._went_on_from = epoch if goes_on else None

    def on_epoch_end(self, epoch, logs=None):
        self._last_epoch = epoch + 1
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        if is_last or self.schedule.wants(epoch + 1):
            self.record(self.model, epoch + 1)

    def on_train_end(self, logs=None):
        last = self.brought_back() if self._last_epoch is None else self._last_epoch
        if last is not None and not self.has_record(last):
            self.record(self.model, last)
        self._last_epoch = self._went_on_from = None
        if self._holds_folder:
            self.folder.unlock()
            self._holds_folder = False

    def brought_back(self) -> int | None:
        """The last epoch, where BackupAndRestore brought it back and nothing was left to train.

        Such a training ends without the beginning of an epoch. None for every other.
        """
        epoch = getattr(self.model, "_initial_epoch", None)
        recorded = self.folder.epochs()
        is_last = epoch is not None and epoch == (self.params or {}).get("epochs")
        return epoch if is_last and recorded and recorded[-1] < epoch else None

    def has_record(self, epoch: int) -> bool:
        """Whether the folder holds a record of this epoch."""
        return self.folder.record_file(epoch).is_file()

    def record(self, model: keras.Model, epoch: int) -> None:
        """Records the model as the state after `epoch` epochs; works without `fit`, too.

        A record of the same epoch and the same weights is kept as it is. Where a training went
        back to a backup and comes to other weights than before, the record of before is moved to
        `set_aside/` in the folder.

        Args:
            model: a built functional or Sequential model; the same one in every call.
            epoch: epochs that it has been trained.

        Raises:
            InputError: the model cannot be recorded, the folder holds another training, or
                another process writes to it.
            StorageError: the disk is full, or the folder cannot be written to.
        """
        self.build(model)
        with self.folder.locked():
            self.prepare(model)
            state = weights_hash(model)
            if self.has_record(epoch) and self.keeps(epoch, state):
                return
            record = self.measure(epoch, state)
            self.before_write(epoch, record)
            with self.measurement.timed("writing"):
                self.folder.write_record(epoch, record)
            self.timings = self.measurement.timings

    def keeps(self, epoch: int, state: str) -> bool:
        """Whether the record of an epoch stays: the one of these weights does.

        Raises:
            InputError: it is of another training.
        """
        if self.folder.recorded_hash(epoch) == state:
            return True
        if self._went_on_from is None or epoch <= self._went_on_from:
            raise InputError(
                f"{self.folder.record_file(epoch)} records another training: its weights at "
                f"epoch {epoch} differ from these. Expected a folder of this training, or a "
                "new one."
            )
        moved = self.folder.set_aside(self.folder.record_file(epoch))
        self.say(
            f"epoch {epoch} was recorded before the training went back to epoch "
            f"{self._went_on_from}, with other weights: that record is now {moved}."
        )
        return False

    def before_write(self, epoch: int, record) -> None:
        """Called with each new record just before it is written; does nothing by itself."""

    def say(self, text: str) -> None:
        """Tells the user something once."""
        print(f"repdyn: {visible(text)}", flush=True)

    def prepare(self, model: keras.Model) -> None:
        """Builds what the recording needs, once, and checks that the folder is its own."""
        self.build(model)
        if self._prepared:
            return
        constants = self.constants()
        if self.folder.constants_file.is_file():
            check_constants(self.folder.constants(), constants, self.folder.path)
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
        for text in announcements(self):
            self.say(text)

    def constants(self):
        """What is the same at every epoch, as an `xarray.Dataset`."""
        attributes = {
            "margin": float(self.margin),
            "resolution": self.resolution,
            "pooling": str(self.pooling),
            "batch_norm": self.batch_norm,
            "images_hash": self.images_hash,
            "probe_images_hash": hash_of(self.probed),
            "test_images_hash": hash_of(self.test),
        }
        return constants_of(self.measurement, self.class_names, attributes)

    def measure(self, epoch: int, state: str):
        """Measures the model and returns the record as an `xarray.Dataset`."""
        import xarray

        variables = self.measurement.measure()
        record = xarray.Dataset(
            variables,
            coords={"layer": self.measurement.names},
            attrs={"epoch": epoch, "weights_hash": state, "images_hash": self.images_hash},
        )
        self.warn(epoch, record)
        return record

    def warn(self, epoch: int, record) -> None:
        """Says which layers are dead or not finite, and when BatchNormalization lags, once each."""
        n = len(self.evaluation.x)
        for key, text in warnings_of(record, epoch, n, self.batch_norm == "moving"):
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

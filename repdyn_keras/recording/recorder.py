"""The callback that records every layer of a model during training."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from repdyn_keras import seeds
from repdyn_keras.errors import InputError
from repdyn_keras.recording.constants import check_constants, constants_of
from repdyn_keras.recording.inputs import EvaluationImages, LabelledImages, weights_hash
from repdyn_keras.recording.recorded_model import RecordedModel, announcements
from repdyn_keras.recording.settings import (
    LayerSelection,
    PlaneSettings,
    ProbeSettings,
    Schedule,
    Settings,
    fitted_images,
)
from repdyn_keras.recording.state import Stopwatch, measure, record_warnings
from repdyn_keras.records import RunFolder
from repdyn_keras.text import visible

if TYPE_CHECKING:
    import xarray


class RepresentationRecorder(keras.callbacks.Callback):
    """Records the representation in every layer at selected epochs of a training.

    Each recorded epoch is stored in one file. It holds the fingerprint of every layer, such that
    the cosine of two fingerprints is minibatch unbiased CKA; a linear probe of every layer, solved
    to its optimum; and the decision regions of all probes and of the network's output on planes
    through three images. Epoch 0, the initialization, and the last epoch are always recorded.
    Recording does not change the training: the same seed gives the same weights with and without
    it.

    Source: Nguyen et al. 2021 (arXiv 2010.15327, eq. 2-4) for minibatch CKA; Alain and Bengio 2016
    (arXiv 1610.01644) for probes; Somepalli et al. 2022 (arXiv 2203.08124) for planes and regions.

    Args:
        folder: the run folder. Existing records of the same training are kept.
        images: (n, ...) evaluation images, whose representations are compared, as the model
            receives them. n is rounded down to a multiple of `batch_size`.
        labels: (n,) integers or (n, classes) one-hot given labels; without labels, only
            fingerprints are recorded. If the output holds no class scores, such as a regression,
            the probes of hidden layers are recorded, but no accuracy and no regions of the output.
        layers: names; a regular expression; or None for the outputs of additions (`Add` layers or
            `x + y`), or of all layers with weights if there are fewer than 3 additions. A layer
            inside a nested model is called `nested/layer`.
        epochs: "log" for 0, the distinct values of round(2^(i/6)) and the last epoch; a whole
            number k for every k-th epoch; or a list. Epoch e is the state after e epochs.
        train: (x, y), images and given labels that the probes are fitted on; None for `images`
            and `labels`.
        true_labels: (n,) labels of `train` before label noise.
        test: (x, y), held-out images and labels.
        planes: number of planes; 0 records no decision regions.
        resolution: points along each side of a plane's grid.
        margin: margin around a plane's three images, relative to their extent.
        batch_size: number of images in a CKA batch, at least 4.
        pooling: features of a probe: "mean" over positions, "flatten", or the side of a grid.
        batch_norm: "moving" records with the model's moving statistics, "recalibrate" with moments
            recomputed on the probe images.
        seed: seed of the order of the images, the selection of probe images, and the planes.
        probe_images: maximum number of training images that the probes are fitted on.
        sample_ids: (n,) ids of `images`; None numbers them.
        images_true_labels: (n,) labels of `images` before label noise, by which the corners of a
            plane have different classes if there are three; None for `labels`.
        output: name of the layer, or key, of the output to record as `output`; None for a model
            with one output. The labels belong to this output.
        channel_axis: the axis of the channels, such as 1, in layers that do not tell it by a
            `data_format` or otherwise; or a dict of axes by the name of a layer. A message says
            which layers need it.
        class_names: names of the classes, for figures.

    Raises:
        InputError: in the constructor, arrays do not fit together; when the training begins, the
            model or a layer cannot be recorded, or the folder holds another training.

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
        channel_axis: int | Mapping[str, int] | None = None,
        class_names: Iterable[str] | None = None,
    ):
        plane_settings = PlaneSettings(
            planes, resolution, margin, seeds.derived(seed, seeds.PLANES)
        )
        order = seeds.derived(seed, seeds.IMAGE_ORDER)
        settings = Settings(
            evaluation=EvaluationImages.from_arrays(
                images, labels, images_true_labels, sample_ids, batch_size, order
            ),
            probes=ProbeSettings(
                fitted_images(train, images, labels, true_labels, probe_images, seed),
                None if test is None else LabelledImages.from_pair(test, "test"),
                pooling,
            ),
            planes=plane_settings,
            selection=LayerSelection(layers, output, channel_axis=channel_axis),
            schedule=Schedule(epochs),
            batch_norm=batch_norm,
            class_names=tuple(str(name) for name in class_names or ()),
            fits_on_evaluation=train is None,
        )
        self._begin(RunFolder(folder), settings, print_notice)

    @property
    def measurement(self) -> RecordedModel | None:
        """The model with its passes; None before the first record."""
        return self._recorded

    @classmethod
    def from_settings(
        cls, folder: RunFolder, settings: Settings, notify: Callable[[str], None]
    ) -> "RepresentationRecorder":
        """Creates a recorder from complete settings.

        Args:
            folder: the run folder.
            settings: what to record.
            notify: called with each message to the user.
        """
        recorder = cls.__new__(cls)
        recorder._begin(folder, settings, notify)
        return recorder

    def _begin(self, folder: RunFolder, settings: Settings, notify: Callable[[str], None]) -> None:
        super().__init__()
        self.folder = folder
        self.settings = settings
        self.timings: dict[str, float] = {}
        self._notify = notify
        self._recorded: RecordedModel | None = None
        self._is_prepared = False
        self._holds_folder = False
        # The latest epoch of the current `fit`; None before its first epoch.
        self._latest_epoch: int | None = None
        # The epoch at which the current `fit` continued an earlier recorded one.
        self._resumed_at: int | None = None
        # A record that is measured but not yet written, with its epoch and the hash of the weights.
        self._pending: tuple[int, str, xarray.Dataset] | None = None
        self._stopwatch = Stopwatch()
        self._warned: set[str] = set()

    def on_train_begin(self, logs=None):
        self._latest_epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._latest_epoch is None:
            self._begin_fit(epoch)
        self._latest_epoch = epoch

    def _begin_fit(self, epoch: int) -> None:
        """Locks the folder, and records the first state of a `fit` if it is due."""
        if not self._holds_folder:
            self.folder.lock()
            self._holds_folder = True
        is_resumed = self._is_resumed(epoch)
        if self.is_due(epoch):
            self.record(self.model, epoch)
        self._resumed_at = epoch if is_resumed else None

    def on_epoch_end(self, epoch, logs=None):
        self._latest_epoch = epoch + 1
        if self.is_due(epoch + 1):
            self.record(self.model, epoch + 1)

    def on_train_end(self, logs=None):
        last = self._latest_epoch
        if last is None:
            last = self._restored_final_epoch()
        if last is not None and not self._has_record(last):
            self.record(self.model, last)
        self._latest_epoch = self._resumed_at = None
        if self._holds_folder:
            self.folder.unlock()
            self._holds_folder = False

    def _is_resumed(self, epoch: int) -> bool:
        """Whether a `fit` that begins at this epoch continues an earlier recorded one."""
        return epoch > 0 and bool(self.folder.epochs())

    def is_due(self, epoch: int) -> bool:
        """Whether to record the state after `epoch` epochs in the current `fit`.

        A `fit` that continues an earlier one is recorded as if there were no interruption.
        """
        is_last = epoch == (self.params or {}).get("epochs")
        if is_last or self.settings.schedule.includes(epoch):
            return True
        is_first = self._latest_epoch is None
        return is_first and (not self._is_resumed(epoch) or self._has_record(epoch))

    def _restored_final_epoch(self) -> int | None:
        """The last epoch, if BackupAndRestore restored it and no epoch remained to train.

        `fit` then ends without beginning an epoch. None in all other cases.
        """
        epoch = getattr(self.model, "_initial_epoch", None)
        recorded = self.folder.epochs()
        if epoch is None or epoch != (self.params or {}).get("epochs"):
            return None
        return epoch if recorded and recorded[-1] < epoch else None

    def _has_record(self, epoch: int) -> bool:
        return self.folder.record_file(epoch).is_file()

    def record(self, model: keras.Model, epoch: int) -> None:
        """Records the model as the state after `epoch` epochs; also works without `fit`.

        An existing record of the same epoch and the same weights is kept. If a training was
        restored from a backup and now has other weights, the earlier record is moved to
        `set_aside/`.

        Args:
            model: a built functional or Sequential model; the same one in every call.
            epoch: number of epochs that the model was trained for.

        Raises:
            InputError: the model cannot be recorded, the folder holds another training, or
                another process writes to it.
            StorageError: the disk is full, or the folder cannot be written to.
        """
        self.build(model)
        with self.folder.locked():
            record = self._new_record(model, epoch)
            if record is None:
                return
            with self._stopwatch.timed("writing"):
                self.folder.write_record(epoch, record)
            self._pending = None
            self.timings = self._stopwatch.seconds

    def measured(self, epoch: int) -> "xarray.Dataset | None":
        """The record of the current state, for callbacks that write files before the record.

        Such a callback has to come before the recorder in the list of callbacks. The state is
        measured only once.

        Args:
            epoch: number of epochs that the model was trained for.

        Returns:
            The record that is written, or has been written, for this epoch; None if none is due.
        """
        if not self.is_due(epoch):
            return None
        self.build(self.model)
        with self.folder.locked():
            record = self._new_record(self.model, epoch)
            return self.folder.record(epoch) if record is None else record

    def _new_record(self, model: keras.Model, epoch: int) -> "xarray.Dataset | None":
        """Measures a state once; returns None if the folder already holds its record."""
        recorded = self._prepare(model)
        weights = weights_hash(model)
        if self._has_record(epoch) and self._keeps(epoch, weights):
            return None
        if self._pending is None or self._pending[:2] != (epoch, weights):
            self._pending = (epoch, weights, self._measure(epoch, weights, recorded))
        return self._pending[2]

    def _keeps(self, epoch: int, weights: str) -> bool:
        """Whether the record of an epoch has these weights; if not, it is set aside.

        Raises:
            InputError: the record belongs to another training.
        """
        if self.folder.recorded_hash(epoch) == weights:
            return True
        if self._resumed_at is None or epoch <= self._resumed_at:
            raise InputError(
                f"Expected a folder of this training, or a new one. Received: "
                f"{self.folder.record_file(epoch)}, which belongs to another training: its weights "
                f"at epoch {epoch} differ."
            )
        moved = self.folder.set_aside(self.folder.record_file(epoch))
        self._notify(
            f"epoch {epoch} was recorded with other weights before the training was restored at "
            f"epoch {self._resumed_at}: the earlier record was moved to {moved}."
        )
        return False

    def build(self, model: keras.Model) -> RecordedModel:
        """Builds the passes that measure the model, once; writes nothing.

        Raises:
            InputError: the model cannot be recorded, the data does not fit the model, or the
                recorder was built for another model.
        """
        if self._recorded is None:
            self._recorded = RecordedModel(model, self.settings)
        elif self._recorded.model is not model:
            raise InputError(
                f"Expected the model that this recorder was built for, "
                f"{self._recorded.model.name!r}. Received: another model, {model.name!r}. Use one "
                "recorder per model."
            )
        return self._recorded

    def _prepare(self, model: keras.Model) -> RecordedModel:
        """Writes the constants to a new folder, or checks those of an existing one, once."""
        recorded = self.build(model)
        if self._is_prepared:
            return recorded
        constants = constants_of(recorded)
        if self.folder.constants_file.is_file():
            check_constants(self.folder.constants(), constants, self.folder.path)
        else:
            if self.folder.epochs():
                raise InputError(
                    f"Expected constants.nc next to the records in {self.folder.records}. "
                    "Received: records without it. Restore the file, or record into a new folder."
                )
            self.folder.write_constants(constants)
        self._is_prepared = True
        for text in announcements(recorded):
            self._notify(text)
        return recorded

    def _measure(self, epoch: int, weights: str, recorded: RecordedModel) -> "xarray.Dataset":
        """Measures the model, and reports each kind of problem once."""
        import xarray

        self._stopwatch = Stopwatch()
        record = xarray.Dataset(
            measure(recorded, self._stopwatch),
            coords={"layer": recorded.names},
            attrs={
                "epoch": epoch,
                "weights_hash": weights,
                "images_hash": self.settings.evaluation.hash,
            },
        )
        n, is_moving = len(self.settings.evaluation.x), self.settings.batch_norm == "moving"
        for key, text in record_warnings(record, epoch, n, is_moving):
            if key not in self._warned:
                self._warned.add(key)
                self._notify(f"warning: {text}")
        return record


def print_notice(text: str) -> None:
    """Prints a message from the recorder."""
    print(f"repdyn: {visible(text)}", flush=True)

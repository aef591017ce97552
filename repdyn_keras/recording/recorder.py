"""The callback that records every layer of a model during training."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from repdyn_keras import seeds
from repdyn_keras.errors import unknown
from repdyn_keras.recording.fits.epoch_records import EpochRecords
from repdyn_keras.recording.fits.fit_lock import FitLock
from repdyn_keras.recording.fits.recorded_fit import RecordedFit
from repdyn_keras.recording.fits.training_epochs import call_first, calling_list
from repdyn_keras.recording.inputs import EvaluationImages, LabelledImages
from repdyn_keras.recording.network.recorded_model import RecordedModel
from repdyn_keras.recording.record_log import RecordLog
from repdyn_keras.recording.record_summary import Summary
from repdyn_keras.recording.settings import (
    LayerSelection,
    PlaneSettings,
    ProbeSettings,
    Schedule,
    Settings,
    fitted_images,
    print_notice,
)
from repdyn_keras.recording.values import ModelValues
from repdyn_keras.records import RunFolder

if TYPE_CHECKING:
    import xarray

ON_ERROR = ("raise", "warn")


class RepresentationRecorder(keras.callbacks.Callback):
    """Records the representation in every layer at selected epochs of a training.

    Each recorded epoch is stored in one file. It holds the fingerprint of every layer, such that
    the cosine of two fingerprints is minibatch unbiased CKA; a linear probe of every layer, solved
    to its optimum; and the decision regions of all probes and of the network's output on planes
    through three images. Epoch 0, the initialization, and the last epoch are always recorded.
    Recording does not change the training: the same seed gives the same weights with and without
    it.

    Every record is of the weights that the last step of its epoch left, before other callbacks
    change them, in whatever order the callbacks are. Epochs are counted over several calls of
    `fit`: one with `initial_epoch`, or restored by `BackupAndRestore`, begins at that epoch; one
    that begins at 0 counts on from the recorded epochs, unless the model has the weights of epoch 0
    again. If the schedule does not include the last epoch of a `fit`, its record is removed when
    the training is continued.

    A deep copy of a recorder, such as KerasTuner makes for each trial, records into a folder of its
    own: `<folder>-2`, `<folder>-3`, ...

    Source: Nguyen et al. 2021 (arXiv 2010.15327, eq. 2-4) for minibatch CKA; Alain and Bengio 2016
    (arXiv 1610.01644) for probes; Somepalli et al. 2022 (arXiv 2203.08124) for planes and regions.

    Args:
        folder: the run folder. Existing records of the same training are kept; another training
            is rejected.
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
        drawn_planes: number of planes, the first ones, whose regions are recorded on a second,
            finer grid for figures.
        drawn_resolution: points along each side of such a grid; if it is not above `resolution`,
            there is no second grid.
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
        overwrite: whether to move an earlier recording of the folder to its `set_aside/` when this
            recorder first records, unless the `fit` resumes that training.
        on_error: "raise" ends the training when an epoch cannot be recorded; "warn" prints a
            warning and goes on. None raises errors when a `fit` begins and until this recorder has
            written its first record, and warns after that. `record` raises unless it is "warn".
        on_record: called with the epoch and a dict of numbers and paths after each new record, see
            `record_summary`; its errors only give a warning.
        log: whether to show a line on the last record, in a notebook updated in place.

    Attributes:
        folder: the run folder.
        evaluation: the evaluation images, in their order in the records.
        measurement: the recorded layers of the model; None before it was first recorded.

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
        resolution: int = 14,
        drawn_planes: int = 3,
        drawn_resolution: int = 45,
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
        overwrite: bool = False,
        on_error: str | None = None,
        on_record: Callable[[int, Summary], None] | None = None,
        log: bool = False,
    ):
        self._on_record = RecordLog(on_record) if log else on_record
        plane_seed = seeds.derived(seed, seeds.PLANES)
        plane_settings = PlaneSettings(
            planes, resolution, margin, plane_seed, drawn_planes, drawn_resolution
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
        self._begin(
            RunFolder(folder), settings, print_notice, on_error=on_error, overwrite=overwrite
        )

    @classmethod
    def from_settings(
        cls, folder: RunFolder, settings: Settings, notify: Callable[[str], None]
    ) -> "RepresentationRecorder":
        """Creates a recorder from complete settings, for a training that is configured as a whole.

        Its errors end the training. In a list of callbacks, it records when its turn comes, so
        that callbacks before it can write other files of the epoch first.

        Args:
            folder: the run folder.
            settings: what to record.
            notify: called with each message to the user.
        """
        recorder = cls.__new__(cls)
        recorder._on_record = None
        recorder._begin(folder, settings, notify, on_error="raise", is_configured=True)
        return recorder

    def _begin(
        self,
        folder: RunFolder,
        settings: Settings,
        notify: Callable[[str], None],
        *,
        on_error: str | None,
        overwrite: bool = False,
        is_configured: bool = False,
    ) -> None:
        if on_error is not None and on_error not in ON_ERROR:
            raise unknown("on_error", on_error, ON_ERROR, "Or None for the default.")
        self.settings = settings
        self._notify = notify
        self._on_error = on_error
        # Whether `repdyn run` created the recorder: it writes the other files of an epoch before
        # the record, and its configuration determines the last epoch.
        self._is_configured = is_configured
        self._set_records(folder, overwrites=overwrite)

    def _set_records(
        self, folder: RunFolder, *, overwrites: bool = False, is_copy: bool = False
    ) -> None:
        """Sets all attributes that a copy does not share."""
        super().__init__()
        self._records = EpochRecords(
            folder,
            self.settings,
            self._notify,
            overwrites=overwrites,
            is_copy=is_copy,
            on_record=self._on_record,
        )
        self._fit: RecordedFit | None = None
        self._fit_lock = FitLock()
        self._callback_list: keras.callbacks.CallbackList | None = None

    def __getstate__(self) -> dict:
        left_out = {"params", "_model", "_records", "_fit", "_fit_lock", "_callback_list"}
        state = {name: value for name, value in vars(self).items() if name not in left_out}
        records = self._records
        kept = {"overwrites": records.overwrites, "is_copy": records.is_copy}
        return {**state, "_records": (records.folder, kept)}

    def __setstate__(self, state: dict) -> None:
        folder, kept = state.pop("_records")
        self.__dict__.update(state)
        self._set_records(folder, **kept)

    def __deepcopy__(self, memo: dict) -> "RepresentationRecorder":
        """A recorder of another training, such as KerasTuner makes for each trial.

        It shares the images, and creates a folder of its own when it first records.
        """
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        state = self.__getstate__()
        state["_records"] = (RunFolder(self._records.original), {"is_copy": True})
        shared = ("settings", "_notify", "_on_record", "_records")
        for name in state.keys() - set(shared):
            state[name] = copy.deepcopy(state[name], memo)
        copied.__setstate__(state)
        return copied

    @property
    def folder(self) -> RunFolder:
        """The run folder. A copy has its own once it has recorded."""
        return self._records.folder

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by purpose of the last written record."""
        return self._records.timings

    @timings.setter
    def timings(self, seconds: dict[str, float]) -> None:
        self._records.timings = seconds

    @property
    def evaluation(self) -> EvaluationImages:
        """The evaluation images, in their fixed order."""
        return self.settings.evaluation

    @property
    def measurement(self) -> RecordedModel | None:
        """The recorded layers of the model; None before it was first recorded."""
        return self._records.recorded

    # The hooks of Keras.

    def set_model(self, model):
        super().set_model(model)
        self._callback_list = calling_list()

    def on_train_begin(self, logs=None):
        self._end_fit()
        if self._callback_list is not None:
            call_first(self._callback_list, self._end_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        if self._fit is None:
            self._begin_fit(epoch).record_first(self.model)
        else:
            self._fit.begin_epoch()

    def on_epoch_end(self, epoch, logs=None):
        if self._fit is None or self._fit.ended != epoch:
            self._end_epoch(epoch)
        if self._fit is not None and self._is_configured:
            self._fit.record_kept()

    def on_train_end(self, logs=None):
        if self._fit is not None:
            self._fit.record_last()
        self._end_fit()

    def _begin_fit(self, first: int) -> RecordedFit:
        self._fit = RecordedFit(
            self._records,
            self._fit_lock,
            first,
            self.params or {},
            self._callback_list,
            on_error=self._on_error,
            is_configured=self._is_configured,
        )
        return self._fit

    def _end_epoch(self, epoch: int) -> None:
        """Receives the weights at the end of an epoch, before other callbacks change them."""
        (self._fit or self._begin_fit(epoch)).end_epoch(epoch, self.model)

    def _end_fit(self) -> None:
        """Ends a `fit`, which an exception may have ended before."""
        if self._fit is not None:
            self._fit.end()
        self._fit = None

    # Recording.

    def is_due(self, epoch: int) -> bool:
        """Whether to record the state after `epoch` epochs in the current `fit`.

        The last epoch of a `fit` is recorded, too. A `fit` that continues an earlier one is
        recorded as if there were no interruption.
        """
        if self._fit is not None:
            return self._fit.is_due(epoch)
        if epoch == (self.params or {}).get("epochs") or self.settings.schedule.includes(epoch):
            return True
        return not self.folder.epochs() or self._records.has(epoch)

    def record(self, model: keras.Model, epoch: int) -> None:
        """Records the model as the state after `epoch` epochs; also works without `fit`.

        An existing record of the same epoch and the same weights is kept.

        Args:
            model: a built functional or Sequential model; the same one in every call.
            epoch: number of epochs that the model was trained for.

        Raises:
            InputError: the model cannot be recorded, the folder holds another training, or
                another process writes to it.
            StorageError: the disk is full, or the folder cannot be written to.
        """
        try:
            self.build(model)
            values = ModelValues.live(model)
            with self.locked():
                self._records.overwrite()
                self._records.write(epoch, values)
            self._records.flush_log()
        except Exception as error:
            if self._on_error != "warn":
                raise
            self._records.report(epoch, error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the run folder inside a block, for many calls of `record`.

        Without it, `record` locks the folder anew in each call, and another process may write in
        between. `fit` holds the lock by itself.

        Raises:
            InputError: another process writes to the folder.
            StorageError: the folder cannot be written to.
        """
        self._records.create_folder()
        with self.folder.locked():
            yield

    def measured(self, epoch: int) -> "xarray.Dataset | None":
        """The record of the current state, for callbacks that write files before the record.

        Such a callback comes before the recorder in the list. The state is measured only once.

        Args:
            epoch: number of epochs that the model was trained for.

        Returns:
            The record that is written, or has been written, for this epoch; None if none is due.
        """
        if not self.is_due(epoch):
            return None
        self.build(self.model)
        values = None if self._fit is None else self._fit.kept_values(epoch)
        values = values or ModelValues.live(self.model)
        with self.folder.locked():
            record = self._records.new_record(epoch, values)
            return self.folder.record(epoch) if record is None else record

    def build(self, model: keras.Model) -> RecordedModel:
        """Builds the passes that measure the model, if that is necessary; writes nothing.

        Raises:
            InputError: the model cannot be recorded, the data does not fit the model, or the
                recorder was built for another model.
        """
        return self._records.build(model)

"""The callback that records every layer of a model during training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from repdyn_keras import seeds
from repdyn_keras.errors import InputError
from repdyn_keras.measures import measure_names
from repdyn_keras.recording.inputs import EvaluationImages, LabelledImages
from repdyn_keras.recording.plane_corners import PlaneCorners
from repdyn_keras.recording.record_log import RecordLog
from repdyn_keras.recording.record_summary import Summary
from repdyn_keras.recording.recording_callback import RecordingCallback
from repdyn_keras.recording.sampling.samples import draw
from repdyn_keras.recording.settings import (
    LayerSelection,
    PlaneSettings,
    ProbeSettings,
    Schedule,
    Settings,
    fitted_images,
    print_notice,
    require_whole,
)
from repdyn_keras.records import RunFolder
from repdyn_keras.triplets import triplets_of


class RepresentationRecorder(RecordingCallback):
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
            receives them; for several inputs a dict, list or tuple of arrays, as the model takes
            them. n is rounded down to a multiple of `batch_size`.
        labels: (n,) integers or (n, classes) one-hot given labels; without labels, only
            fingerprints are recorded. If the output holds no class scores, such as a regression,
            the probes of hidden layers are recorded, but no accuracy and no regions of the output.
        layers: names; a regular expression that matches whole names; or None for the sums of
            residual branches, if there are 3 or more, else for 3 or more blocks of one class side
            by side, else for all layers with weights, and never for more than 40. A layer inside
            another one is called `outer/layer`, its second call `layer@2`, and a part of what it
            returns `layer[0]` or `layer[key]`. See `repdyn layers`.
        epochs: "log" for 0, the distinct values of round(2^(i/6)) and the last epoch; a whole
            number k for every k-th epoch; or a list. Epoch e is the state after e epochs.
        early_records: number of further records within the first two epochs, after a logarithmic
            grid of training steps. Their epoch is the number of steps over that of an epoch, such
            as 0.03125.
        train: (x, y), images and given labels that the probes are fitted on; None for `images`
            and `labels`.
        true_labels: (n,) labels of `train` before label noise, by which the probe images are drawn;
            None for `images_true_labels` without `train`, else for the given labels.
        train_ids: (n,) ids of `train`, such as names of files, under which `repdyn images` lists
            the images; None numbers them.
        test: (x, y), held-out images and labels.
        planes: number of planes through three images of different classes, which are drawn at
            random; 0 records no decision regions. Or a triplet of `sample_ids` for each plane,
            such as `[(3, 17, 42), (5, 6, 7)]`; these images may be among those that are left out
            so that n is a multiple of `batch_size`.
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
        images_true_labels: (n,) labels of `images` before label noise, by which the images are
            ordered and the corners of a plane have different classes if there are three; None for
            `labels`. Recordings of one training with different label noise can be compared if they
            have the same.
        output: name of the layer, or key, of the output to record as `output`; None for a model
            with one output. The labels belong to this output.
        channel_axis: the axis of the channels, such as 1, in layers that do not tell it by a
            `data_format` or otherwise; or a dict of axes by the name of a layer. A message says
            which layers need it.
        plane_input: name or number of the input in which the planes are, of a model with several
            inputs of real numbers; the others are held at those of a plane's first corner.
        class_names: names of the classes, for figures.
        measures: similarities that analyses compute beside CKA: "rsa" and "mutual_knn" cost nothing
            here; "procrustes", "svcca" and "pwcca" need the pooled features of `images` in every
            record, 4 n bytes for each feature of each layer. A folder keeps the measures of the
            recorder that began it; `repdyn analyze --measure` adds others.
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
        early_records: int = 0,
        train=None,
        true_labels=None,
        train_ids=None,
        test=None,
        planes: int | Sequence[Sequence[int | str]] = 16,
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
        plane_input: str | int | None = None,
        class_names: Iterable[str] | None = None,
        measures: str | Iterable[str] | None = None,
        overwrite: bool = False,
        on_error: str | None = None,
        on_record: Callable[[float, Summary], None] | None = None,
        log: bool = False,
    ):
        if train_ids is not None and train is None:
            raise InputError(
                "Expected train_ids with train=(x, y), whose images they name. Received: train_ids "
                "alone. Give sample_ids, the ids of images."
            )
        plane_seed = seeds.derived(seed, seeds.PLANES)
        plane_settings = PlaneSettings(
            planes if isinstance(planes, int) else triplets_of(planes),
            resolution,
            margin,
            plane_seed,
            drawn_planes,
            drawn_resolution,
            plane_input,
        )
        order = seeds.derived(seed, seeds.IMAGE_ORDER)
        settings = Settings(
            evaluation=EvaluationImages.from_arrays(
                images, labels, images_true_labels, sample_ids, batch_size, order
            ),
            probes=ProbeSettings(
                fitted_images(
                    train,
                    images,
                    labels,
                    true_labels,
                    images_true_labels,
                    sample_ids if train is None else train_ids,
                    probe_images,
                    seed,
                ),
                None if test is None else LabelledImages.from_pair(test, "test"),
                pooling,
            ),
            planes=plane_settings,
            selection=LayerSelection(layers, output, channel_axis=channel_axis),
            schedule=Schedule(epochs, early_records),
            batch_norm=batch_norm,
            class_names=tuple(str(name) for name in class_names or ()),
            fits_on_evaluation=train is None,
            corners=PlaneCorners.named(
                plane_settings.triplets, images, labels, images_true_labels, sample_ids
            )
            if plane_settings.triplets
            else None,
            measures=measure_names(measures),
        )
        super().__init__(
            RunFolder(folder),
            settings,
            print_notice,
            on_error=on_error,
            overwrite=overwrite,
            on_record=RecordLog(on_record) if log else on_record,
        )

    @classmethod
    def from_data(
        cls,
        folder: str | Path,
        data,
        n: int = 1024,
        *,
        probe_images: int | None = None,
        test=None,
        labelled: bool = True,
        seed: int = 0,
        output: str | None = None,
        **options,
    ) -> "RepresentationRecorder":
        """Creates a recorder with images that are drawn from the data of the training.

        The data is read once, and what is drawn is kept in memory. The draw is random, stratified
        by label, and depends on the samples and `seed` alone, not on their order: shuffled data
        gives the same images again, which a recording needs that is continued in another process.
        Images that are augmented at random are recorded as they were once, and differ in every
        process. Reading leaves the training as it is: shuffled data is in the same order as without
        the recorder, unless a data set of your own draws from a generator that it does not hold as
        an attribute. A message says what was taken.

        Args:
            folder: the run folder.
            data: a `tf.data.Dataset`, a `keras.utils.PyDataset` or a torch `DataLoader` of batches
                (x, y) or (x, y, weights), as `fit` takes it, of known length.
            n: number of evaluation images.
            probe_images: number of images that the probes are fitted on; None for the evaluation
                images.
            test: held-out data in the same forms, from which as many images are drawn as from
                `data`, or all of it as (x, y).
            labelled: whether the labels are classes. If not, only fingerprints are recorded.
            seed: seed of the draw, and of all else, as of the constructor.
            output: as of the constructor; the key of its labels, where they are a dict.
            options: the other arguments of the constructor, such as `layers` and `epochs`.

        Raises:
            InputError: as in the constructor; the length of the data is unknown, or it holds no
                labels.

        Example:
            >>> recorder = RepresentationRecorder.from_data("runs/mine", data)  # doctest: +SKIP
            >>> model.fit(data, epochs=20, callbacks=[recorder])  # doctest: +SKIP
        """
        require_whole("n", n, 1)
        most = n
        if probe_images is not None and labelled:
            require_whole("probe_images", probe_images, 1)
            most = max(n, probe_images)
        if test is not None and not labelled:
            raise InputError(
                "Expected test=None for labelled=False: test accuracies need labels. Received: "
                f"test of type {type(test).__name__}."
            )
        drawn = draw(data, most, seed, "data", labelled=labelled, output=output)
        print_notice(f"{drawn.description}.")
        if probe_images is not None and labelled:
            options.setdefault("train", (drawn.x, drawn.y))
            options["probe_images"] = probe_images
        if test is not None and not isinstance(test, tuple | list):
            held_out = draw(test, most, seed, "test", labelled=True, output=output)
            print_notice(f"{held_out.description}, as test images.")
            test = held_out.x, held_out.y
        images = drawn.first(n)
        return cls(folder, images.x, images.y, test=test, seed=seed, output=output, **options)

"""Time of the first record, tracing and compiling included, against `model.predict`.

EfficientNetB0, 32 images of 224 x 224 in one batch. Both compile the network once; a record with
probes calls it in training mode, too.

    KERAS_BACKEND=jax python benchmarks/bench_first_record.py
"""

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "jax")

from measuring import in_process, print_table, seconds_of
from networks import images

IMAGES, SIDE, REPEATS = 32, 224, 3
TARGET = 2.5


def measured(with_labels: bool) -> tuple[float, float]:
    """Seconds of the first prediction and of the first record, in a process of its own."""
    import keras

    from repdyn_keras import RepresentationRecorder

    model = keras.applications.EfficientNetB0(weights=None, classes=10)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = images(IMAGES, SIDE)
    predict = seconds_of(lambda: model.predict(x, batch_size=IMAGES, verbose=0))
    with tempfile.TemporaryDirectory() as folder:
        labels = y if with_labels else None
        recorder = RepresentationRecorder(folder, x, labels, batch_size=IMAGES, planes=0)
        return predict, seconds_of(lambda: recorder.record(model, 0))


def row(what: str, with_labels: bool) -> list:
    """The row of the table for one kind of record."""
    times = [in_process(measured, with_labels) for _ in range(REPEATS)]
    predict, record = sorted(times, key=lambda pair: pair[1] / pair[0])[REPEATS // 2]
    target = "" if with_labels else f"<= {TARGET}"
    return [os.environ["KERAS_BACKEND"], what, predict, record, record / predict, target]


if __name__ == "__main__":
    print_table(
        ["backend", "record", "first predict, s", "first record, s", "ratio", "target"],
        [row("fingerprints", False), row("fingerprints and probes", True)],
        ["keras"],
    )

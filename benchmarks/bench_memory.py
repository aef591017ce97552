"""Peak memory by the number of recorded epochs.

python benchmarks/bench_memory.py

Trains a small network, records every epoch, and analyzes the records, each in a separate process.
Peak memory includes imports.
"""

import os
import tempfile

from measuring import in_process, peak_mib, print_table

FEW, MANY, IMAGES, LAYERS = 20, 200, 1024, 10


def recorded(folder: str, records: int) -> float:
    """Peak MiB of a training with this number of records."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    import numpy as np

    from repdyn_keras import RepresentationRecorder

    x = np.random.default_rng(0).standard_normal((IMAGES, 8, 8, 1), np.float32)
    y = np.arange(IMAGES) % 10
    z = inputs = keras.Input((8, 8, 1))
    for place in range(LAYERS):
        z = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{place}")(z)
    z = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, z)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder = RepresentationRecorder(folder, x, y, epochs=1, layers="conv.*")
    model.fit(x[:256], y[:256], epochs=records - 1, verbose=0, callbacks=[recorder])
    return peak_mib()


def analyzed(folder: str) -> float:
    """Peak MiB of the analysis."""
    from repdyn_keras.dynamics import analyze
    from repdyn_keras.records import RunFolder

    analyze(RunFolder(folder))
    return peak_mib()


if __name__ == "__main__":
    peaks = {}
    with tempfile.TemporaryDirectory() as root:
        for records in (FEW, MANY):
            run = f"{root}/{records}"
            peaks[records] = in_process(recorded, run, records), in_process(analyzed, run)
    print_table(
        ["process", f"{FEW} records, MiB", f"{MANY} records, MiB", "ratio", "target"],
        [
            [name, few, many, many / few, target]
            for name, few, many, target in zip(
                ("training with the recorder", "repdyn analyze"),
                *peaks.values(),
                ("<= 1.05", "-"),
                strict=True,
            )
        ],
        ["jax", "keras", "xarray"],
    )

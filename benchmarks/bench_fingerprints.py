"""Time of the fingerprints of all layers, against the forward pass. ResNet-18, 1024 images.

The recorder takes what the layers return while the model is called. The last ratio compares that
with a model whose outputs are those of the layers, which only functional models permit.

    python benchmarks/bench_fingerprints.py             # widths 16 and 64
"""

import dataclasses
import os
import statistics

os.environ.setdefault("KERAS_BACKEND", "jax")

from measuring import in_turn, print_table, ratio
from networks import fingerprints, images, recorded_model, resnet18

IMAGES, BATCH, REPEATS = 1024, 256, 9
TARGETS = {16: 1.45, 64: 1.15}
MAX_TAPS = 1.02


def with_submodel(recorded, names: list[str]) -> None:
    """Gives the fingerprints of a recorded model a functional model of the layers' outputs."""
    import keras

    from repdyn_keras.recording.backend_code import compiled
    from repdyn_keras.recording.network.passes import FingerprintPass

    model = recorded.model
    outputs = [model.get_layer(name).output for name in names]
    submodel = keras.Model(model.inputs, [*outputs, model.output])

    def call(x):
        *hidden, output = submodel(x, training=False)
        return hidden, output

    outputs = dataclasses.replace(recorded._outputs, call=call)
    whole = FingerprintPass(outputs, BATCH, with_features=recorded.has_shared)
    recorded.fingerprint_pass = compiled(whole, model)


def row(width: int) -> list:
    """The row of the table for one width."""
    from repdyn_keras.recording.backend_code import full_precision

    model, names = resnet18(width)
    x, y = images(IMAGES)
    settings = {"planes": 0, "batch_size": BATCH}
    recorded = recorded_model(model, names, x, y, **settings)
    other = recorded_model(model, names, x, y, **settings)
    with_submodel(other, names)

    def forward():
        for start in range(0, IMAGES, BATCH):
            model.predict_on_batch(x[start : start + BATCH])

    functions = {
        "forward": forward,
        "taps": lambda: fingerprints(recorded),
        "submodel": lambda: fingerprints(other),
    }
    with full_precision():
        seconds = in_turn(functions, REPEATS)
    forward, taps = seconds["forward"], seconds["taps"]
    medians = statistics.median(forward), statistics.median(taps)
    against = ratio(taps, seconds["submodel"])
    return [
        width,
        len(names) + 1,
        *medians,
        ratio(taps, forward),
        f"<= {TARGETS[width]}",
        against,
        f"<= {MAX_TAPS}",
    ]


if __name__ == "__main__":
    print_table(
        [
            "width",
            "layers",
            "forward pass, s",
            "fingerprints, s",
            "ratio",
            "target",
            "taps / submodel",
            "target",
        ],
        [row(width) for width in TARGETS],
        ["jax", "keras"],
    )

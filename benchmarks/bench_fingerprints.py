"""Time of the fingerprints of all layers, against the forward pass. ResNet-18, 1024 images.

python benchmarks/bench_fingerprints.py             # widths 16 and 64
"""

import os
import statistics

os.environ.setdefault("KERAS_BACKEND", "jax")

from measuring import in_turn, print_table, ratio
from networks import fingerprints, images, recorded_model, resnet18

IMAGES, BATCH, REPEATS = 1024, 256, 9
TARGETS = {16: 1.45, 64: 1.15}


def row(width: int) -> list:
    """The row of the table for one width."""
    from repdyn_keras.recording.backend_code import full_precision

    model, names = resnet18(width)
    x, y = images(IMAGES)
    recorded = recorded_model(model, names, x, y, planes=0, batch_size=BATCH)

    def forward():
        for start in range(0, IMAGES, BATCH):
            model.predict_on_batch(x[start : start + BATCH])

    with full_precision():
        seconds = in_turn({"forward": forward, "ours": lambda: fingerprints(recorded)}, REPEATS)
    forward, ours = seconds["forward"], seconds["ours"]
    medians = statistics.median(forward), statistics.median(ours)
    return [width, len(names) + 1, *medians, ratio(ours, forward), f"<= {TARGETS[width]}"]


if __name__ == "__main__":
    print_table(
        ["width", "layers", "forward pass, s", "fingerprints, s", "ratio", "target"],
        [row(width) for width in TARGETS],
        ["jax", "keras"],
    )

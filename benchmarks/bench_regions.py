"""Time of the decision regions of all probes. ResNet-18 of width 16, 20 planes of 50 x 50.

python benchmarks/bench_regions.py

Against the forward pass over as many images, and against one pass for each layer over image grids
that are made on the host, as public code for decision regions does it. The latter is timed on 2 of
the 20 planes and multiplied by 10.
"""

import os
import statistics

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from measuring import in_turn, print_table, ratio
from networks import images, recorded_model, resnet18

WIDTH, PLANES, RESOLUTION, REPEATS = 16, 20, 50, 3
HOST_PLANES = 2


def main() -> None:
    """Times the three ways alternately."""
    import keras

    from repdyn_keras.measures import device
    from repdyn_keras.recording.backend_code import full_precision
    from repdyn_keras.recording.network.recorded_model import batches, points_per_call
    from repdyn_keras.recording.values import ModelValues

    model, names = resnet18(WIDTH)
    x, y = images(256)
    recorded = recorded_model(
        model, names, x, y, planes=PLANES, resolution=RESOLUTION, drawn_planes=0
    )
    rng = np.random.default_rng(1)
    probes = [
        (rng.standard_normal((width, 10), np.float32), rng.standard_normal(10, np.float32))
        for width in recorded.widths
    ]
    size = points_per_call(x.shape[1:])
    points = PLANES * RESOLUTION**2
    some = images(size)[0]
    until_layer = [
        keras.Model(model.inputs, device.pooled(model.get_layer(name).output, "mean"))
        for name in names
    ]

    def forward():
        for _ in range(0, points, size):
            model.predict_on_batch(some)

    def by_layer():
        for plane in recorded.planes[:HOST_PLANES]:
            grid = plane.grid(RESOLUTION).reshape(-1, 2)
            host = (plane.origin + grid @ plane.axes).reshape(-1, *x.shape[1:]).astype(np.float32)
            for layer, (kernel, bias) in zip(
                [*until_layer, model], [*probes, (None, None)], strict=True
            ):
                for batch in batches(host, size):
                    found = np.asarray(layer.predict_on_batch(batch))
                    scores = found if kernel is None else found @ kernel + bias
                    scores.argmax(axis=1)

    with full_precision():
        seconds = in_turn(
            {
                "forward": forward,
                "ours": lambda: recorded.classify_planes(ModelValues.live(model), [probes]),
                "by layer": by_layer,
            },
            REPEATS,
        )
    host = [lap * PLANES / HOST_PLANES for lap in seconds["by layer"]]
    ours, bare = seconds["ours"], seconds["forward"]
    what = f"{PLANES} planes of {RESOLUTION} x {RESOLUTION}, {len(names) + 1} layers"
    median = statistics.median
    print_table(
        ["what", "against", "ours, s", "theirs, s", "ratio", "target"],
        [
            [what, "forward pass", median(ours), median(bare), ratio(ours, bare), "<= 1.2"],
            [what, "a pass a layer, host grid", median(ours), median(host)]
            + [ratio(host, ours), ">= 5"],
        ],
        ["jax", "keras"],
    )


if __name__ == "__main__":
    main()

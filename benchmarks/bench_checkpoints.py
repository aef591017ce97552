"""Time to compare 20 checkpoints with one another, against pytorch-cka and torch_cka.

python benchmarks/bench_checkpoints.py

A ResNet-18 of width 16, ten layers, 1024 images of 32 x 32. repdyn computes the fingerprints of
each checkpoint once. The other packages compare two models at a time, which makes 190 pairs: the
time of one pair of the same architecture in torch is multiplied by 190. The last column is the
ratio for 20 bare forward passes, without any comparison. Needs the extra `bench` and torch.
"""

import contextlib
import io
import os
import statistics
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from measuring import in_turn, print_table, seconds_of
from networks import fingerprints, images, recorded_model, resnet18

CHECKPOINTS, WIDTH, IMAGES, BATCH, REPEATS = 20, 16, 1024, 256, 3
PAIRS = CHECKPOINTS * (CHECKPOINTS - 1) // 2


def ours() -> tuple[float, float]:
    """Median seconds from 20 sets of weights to ten CKA matrices, and for 20 forward passes."""
    from repdyn_keras.measures.cka import cosines
    from repdyn_keras.recording.backend_code import full_precision

    model, names = resnet18(WIDTH)
    x, y = images(IMAGES)
    recorded = recorded_model(model, names, x, y, planes=0, batch_size=BATCH)
    rng = np.random.default_rng(1)
    weights = model.get_weights()
    checkpoints = [
        [w + 0.01 * rng.standard_normal(w.shape).astype(w.dtype) for w in weights]
        for _ in range(CHECKPOINTS)
    ]

    def compare():
        prints = []
        for checkpoint in checkpoints:
            model.set_weights(checkpoint)
            prints.append(fingerprints(recorded))
        prints = np.stack(prints)
        return [cosines(prints[:, layer]) for layer in range(prints.shape[1])]

    def forward():
        for _ in checkpoints:
            for start in range(0, IMAGES, BATCH):
                model.predict_on_batch(x[start : start + BATCH])

    with full_precision():
        seconds = in_turn({"ours": compare, "forward": forward}, REPEATS)
    return statistics.median(seconds["ours"]), statistics.median(seconds["forward"])


def torch_resnet18():
    """The same architecture in torch, and the names of its ten recorded modules."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """A pre-activation basic block."""

        def __init__(self, before: int, after: int, stride: int):
            super().__init__()
            self.norms = nn.ModuleList([nn.BatchNorm2d(before), nn.BatchNorm2d(after)])
            self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            changes = stride != 1 or before != after
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

        def forward(self, x):
            activated = torch.relu(self.norms[0](x))
            kept = x if self.shortcut is None else self.shortcut(activated)
            return kept + self.second(torch.relu(self.norms[1](self.first(activated))))

    modules = {"stem": nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)}
    before = WIDTH
    for stage in range(4):
        for index in range(2):
            after = WIDTH * 2**stage
            stride = 2 if stage > 0 and index == 0 else 1
            modules[f"stage{stage + 1}_block{index + 1}"] = Block(before, after, stride)
            before = after
    modules["final_norm"] = nn.BatchNorm2d(before)
    modules["final_relu"] = nn.ReLU()
    modules["pooled"] = nn.AdaptiveAvgPool2d(1)
    modules["flat"] = nn.Flatten()
    modules["output"] = nn.Linear(before, 10)
    model = nn.Sequential()
    for name, module in modules.items():
        model.add_module(name, module)
    recorded = [name for name in modules if name == "stem" or "block" in name or name == "pooled"]
    return model.eval(), recorded


def peers() -> dict[str, float]:
    """Median seconds for one pair of models, by package."""
    import cka
    import torch
    import torch_cka
    from torch.utils.data import DataLoader, TensorDataset

    x = torch.from_numpy(images(IMAGES)[0].transpose(0, 3, 1, 2).copy())
    loader = DataLoader(TensorDataset(x, torch.zeros(IMAGES)), batch_size=BATCH)
    (one, names), (other, _) = torch_resnet18(), torch_resnet18()

    def by_pytorch_cka():
        cka.compute_cka(one, other, loader, layers=names, device="cpu", progress=False)

    def by_torch_cka():
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            found = torch_cka.CKA(
                one, other, model1_layers=names, model2_layers=names, device="cpu"
            )
            found.compare(loader)
        for model in (one, other):
            for module in model.modules():
                module._forward_hooks.clear()

    found = {}
    for name, compare in (
        ("pytorch-cka compute_cka", by_pytorch_cka),
        ("torch_cka", by_torch_cka),
    ):
        compare()
        found[name] = statistics.median(seconds_of(compare) for _ in range(REPEATS))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    mine, forward = ours()
    targets = {"pytorch-cka compute_cka": ">= 15", "torch_cka": ">= 100"}
    print_table(
        ["what", "against", "ours, s", "a pair of theirs, s", "190 pairs, s", "ratio", "target"]
        + ["of 20 bare passes"],
        [
            [f"{CHECKPOINTS} checkpoints", name, mine, pair, PAIRS * pair]
            + [PAIRS * pair / mine, targets[name], PAIRS * pair / forward]
            for name, pair in peers().items()
        ],
        ["jax", "keras", "torch", "pytorch-cka", "torch-cka"],
    )

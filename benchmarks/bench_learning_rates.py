"""Perfect fit and test accuracy by learning rate, from which the presets' rates are chosen.

    python benchmarks/bench_learning_rates.py                  # all four presets
    python benchmarks/bench_learning_rates.py vit adam 2e-3    # one rate

Trains every preset at every rate of a grid on digits with 20% wrong labels, records one layer
without regions, and prints a table.
"""

import sys
import tempfile
from pathlib import Path

from repdyn_keras import run
from repdyn_keras.config import Config, resolve

GRID = {
    ("resnet", "sgd"): (0.02, 0.05, 0.1, 0.2),
    ("resnet", "adam"): (5e-4, 1e-3, 2e-3, 4e-3),
    ("vit", "sgd"): (0.01, 0.02, 0.05, 0.1),
    ("vit", "adam"): (2.5e-4, 5e-4, 1e-3, 2e-3),
}
LAYER = {"resnet": "pooled", "vit": "class_token"}
# Not the seed of the figures in the documentation.
SEED = 100
EPOCHS = 102


def measure(model: str, optimizer: str, rate: float) -> str:
    """Trains once; returns a row of the table."""
    config = resolve(
        Config(
            model=model,
            optimizer=optimizer,
            learning_rate=rate,
            seed=SEED,
            epochs=EPOCHS,
            planes=0,
            layers=LAYER[model],
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        dynamics = run(config, out=Path(folder) / "run").dynamics
        test = dynamics["probe_accuracy"].sel(layer="output", subset="test").values
        fit = dynamics.attrs["perfect_fit_epoch"]
        memorized = dynamics.attrs["memorized_share"]
    return (
        f"| {model} | {optimizer} | {rate:g} | {fit:.0f} | {memorized:.2f} "
        f"| {test.max():.3f} | {test[-1]:.3f} |"
    )


def main() -> None:
    """Prints the table."""
    wanted = [(m, o, r) for (m, o), rates in GRID.items() for r in rates]
    if len(sys.argv) == 4:
        wanted = [(sys.argv[1], sys.argv[2], float(sys.argv[3]))]
    print("| model | optimizer | rate | perfect fit | memorized | best test | last test |")
    print("|---|---|---|---|---|---|---|")
    for model, optimizer, rate in wanted:
        print(measure(model, optimizer, rate), flush=True)


if __name__ == "__main__":
    main()

"""What moving statistics of BatchNormalization that lag behind do to the results of a run.

    python benchmarks/bench_batch_normalization.py RUN RUN ... [--layer pooled] [--out FILE.png]

The runs are recordings of one training, for example with another momentum of BatchNormalization or
with `batch_norm=recalibrate`; docs/batch_normalization.md has the commands. Prints the accuracy in
both modes, the similarity of a layer between epochs, and its phases, and draws the curves and the
similarity of every run side by side.
"""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

from repdyn_keras import open_run
from repdyn_keras.dynamics import describe_phases
from repdyn_keras.figures import plot_similarity

GAP = 0.1
EPOCHS = (1, 5, 10, 20, 40)
EARLY = 20


def row(name: str, dynamics: xr.Dataset, layer: str) -> str:
    """A row of the table for one run."""
    inference, training = dynamics["accuracy_inference"], dynamics["accuracy_training"]
    test = dynamics["probe_accuracy"].sel(layer="output", subset="test")
    cka = dynamics["cka"].sel(layer=layer)
    phases = describe_phases(dynamics)
    spans = [
        f"{phase.first}-{phase.last}" + (f" ({phase.border.kind})" if phase.border else "")
        for phase in phases
        if phase.layer == layer
    ]
    early = {phase.layer for phase in phases if phase.border and phase.first <= EARLY}
    cells = [
        name,
        " / ".join(f"{value:.2f}" for value in inference.sel(epoch=list(EPOCHS)).values),
        f"{int((training - inference > GAP).sum())}",
        f"{float(test.max()):.2f} at {int(test.idxmax('epoch'))}",
        f"{dynamics.attrs['perfect_fit_epoch']:.0f}",
        f"{float(cka.sel(epoch=5, epoch_other=20)):.2f}",
        f"{len(early)}",
        ", ".join(spans),
    ]
    return f"| {' | '.join(cells)} |"


def draw(runs: dict[str, xr.Dataset], layer: str, path: Path) -> None:
    """Draws the accuracies and the similarity of a layer, one column for each run."""
    from matplotlib.figure import Figure

    figure = Figure((4.2 * len(runs), 7.4), layout="constrained", facecolor="white")
    axes = figure.subplots(2, len(runs), squeeze=False, height_ratios=(1, 1.7))
    for (name, dynamics), (top, bottom) in zip(runs.items(), axes.T, strict=True):
        epochs = dynamics["epoch"].values
        position = np.log2(1 + epochs)
        test = dynamics["probe_accuracy"].sel(layer="output", subset="test")
        top.plot(position, dynamics["accuracy_training"], label="given labels, batch statistics")
        style = {"label": "given labels, as recorded", "linestyle": "--"}
        top.plot(position, dynamics["accuracy_inference"], **style)
        top.plot(position, test, label="test images, as recorded", linestyle=":")
        ticks = [0, 1, 2, 5, 11, 20, 40, 102]
        top.set_xticks(np.log2(1 + np.array(ticks)), [str(tick) for tick in ticks])
        top.set(ylim=(0, 1.03), title=name, xlabel="epoch", ylabel="accuracy")
        plot_similarity(dynamics, layer, ax=bottom)
    axes[0, 0].legend(loc="lower right", fontsize="small", frameon=False)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--layer", default="pooled")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    runs = {path.name: open_run(path).dynamics for path in given.runs}
    accuracies = "accuracy as recorded at epochs " + " / ".join(map(str, EPOCHS))
    print(
        f"| run | {accuracies} | records with a gap above {GAP} | best test accuracy "
        f"| perfect fit | CKA of {given.layer} at epochs 5 and 20 "
        f"| layers with a border up to epoch {EARLY} | phases of {given.layer} |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, dynamics in runs.items():
        print(row(name, dynamics, given.layer))
    if given.out is not None:
        draw(runs, given.layer, given.out)


if __name__ == "__main__":
    main()

"""The claims of the paper that a study tests, written down before a result is seen.

The source is Sharon and Dar, arXiv 2405.17377. Smallest effects of interest are the project's own
choice. Every claim predicts that its left side is the larger one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from repdyn_keras.measures.phases import MIN_CONTRAST, MIN_FALL
from repdyn_keras.study.paired_runs import NotTestable, PairedRuns, RunValue
from repdyn_keras.study.run_values import (
    depth_correlation,
    has_double_descent,
    memorization_contrast,
    memorization_fall,
    perfect_fit_chance,
    perfect_fit_share,
    state_distinguishability,
    strongest_fall,
    synchronization,
    zero,
)
from repdyn_keras.text import visible

ABSTRACT, FIRST_VERSION = "arXiv 2405.17377v2, abstract", "arXiv 2405.17377v1"
MODELS, OPTIMIZERS = ("resnet", "vit"), ("sgd", "adam")
MODEL_NAMES = {"resnet": "ResNet", "vit": "ViT"}
OPTIMIZER_NAMES = {"sgd": "SGD", "adam": "Adam"}
# Smallest effects of interest, in the units of the effects.
MIN_SYNCHRONIZATION = 0.05
MIN_SHARE = 0.5
MIN_CORRELATION = 0.3
# Fall of the test accuracy from which on a run counts as one with double descent.
MIN_TEST_FALL = 0.02


class Sides(NamedTuple):
    """The cells that are compared: each on the left with that at the same place on the right.

    With nothing on the right, the left cells are compared with their reference values.
    """

    left: tuple[str, ...]
    right: tuple[str, ...] = ()
    paired: bool = True


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim, what is measured for it, and how large an effect has to be to matter.

    Attributes:
        name: short name of its row.
        text: the claim, one sentence.
        source: the paper's version and place.
        quantity: what is measured, as the label of an axis.
        unit: of the quantity and of the effect.
        smallest_effect: smallest effect of interest, in that unit.
        left, right: what the two sides are, the left one predicted to be larger.
        value: the number of a run that is compared.
        sides: the cells of both sides; it raises NotTestable or NotComparable.
        explanation: what is measured, which sign is predicted, and what it cannot say.
        reference: the number of a run that `value` is compared with if there is no right side.
        by_state: whether scatter lowers `value`, so that the noise shares must be alike.
        about_memorization: whether it needs wrong labels.
    """

    name: str
    text: str
    source: str
    quantity: str
    unit: str
    smallest_effect: float
    left: str
    right: str
    value: RunValue
    sides: Callable[[PairedRuns], Sides]
    explanation: str
    reference: RunValue = zero
    by_state: bool = False
    about_memorization: bool = False

    def pairs(
        self, runs: PairedRuns, similarity: str, reading: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the left and the right side, (seed,) each, means over their cells.

        NaN for seeds for which a run is missing or its number is not defined.

        Args:
            runs: of the study.
            similarity: "cka" or "region_agreement".
            reading: "aligned", "recalibrated" or "raw".

        Raises:
            NotTestable: the study has not what the claim needs.
            NotComparable: calibration found a cell not comparable.
        """
        sides = self.sides(runs)
        if self.about_memorization:
            _require_wrong_labels(runs)
        values = runs.values(self.value, similarity, reading)
        left = runs.mean_by_seed(sides.left, values)
        if sides.right:
            return left, runs.mean_by_seed(sides.right, values)
        reference = runs.values(self.reference, similarity, reading)
        return left, runs.mean_by_seed(sides.left, reference)


def _require_wrong_labels(runs: PairedRuns) -> None:
    noise = [keys["label_noise"] for keys in runs.configurations.values() if "label_noise" in keys]
    known = np.isfinite(runs.array("memorized_10_epoch")).any()
    if not any(noise) if noise else not known:
        raise NotTestable("The study has no wrong labels (label_noise = 0), so none is memorized.")


def _sgd_and_adam(*models: str) -> Callable[[PairedRuns], Sides]:
    """SGD on the left, Adam on the right, of each of these architectures."""

    def sides(runs: PairedRuns) -> Sides:
        left, right = (tuple(runs.cell(m, optimizer) for m in models) for optimizer in OPTIMIZERS)
        return Sides(left, right)

    return sides


def _vit_and_resnet(runs: PairedRuns) -> Sides:
    left, right = (tuple(runs.cell(model, o) for o in OPTIMIZERS) for model in ("vit", "resnet"))
    return Sides(left, right)


def _vit(runs: PairedRuns) -> Sides:
    return Sides(tuple(runs.cell("vit", optimizer) for optimizer in OPTIMIZERS))


def _all_cells(runs: PairedRuns) -> Sides:
    return Sides(tuple(runs.cell(model, o) for model in MODELS for o in OPTIMIZERS))


def _double_descent(runs: PairedRuns) -> Sides:
    """Cells with epoch-wise double descent on the left, those without it on the right."""
    cells = _all_cells(runs).left
    descends = has_double_descent(runs, MIN_TEST_FALL)
    shares = {}
    for cell in cells:
        found = runs.by_seed(cell, descends)
        known = found[np.isfinite(found)]
        if not len(known):
            raise NotTestable(f"{visible(cell)} has no runs with a test accuracy.")
        shares[cell] = float(np.mean(known))
    left = tuple(cell for cell in cells if shares[cell] >= 0.5)
    right = tuple(cell for cell in cells if shares[cell] < 0.5)
    if not (left and right):
        runs_with = ", ".join(f"{visible(cell)} {share:.0%}" for cell, share in shares.items())
        rule = (
            f"the test accuracy falls by {MIN_TEST_FALL:g} or more and regains at least half of "
            f"it in half of the runs or more"
        )
        which = "No cell shows" if not left else "All cells show"
        raise NotTestable(f"{which} epoch-wise double descent: {rule}. Runs with it: {runs_with}.")
    return Sides(left, right, paired=False)


BY_STATE = (
    "A layer's phases are distinguishable by state if its records are more alike within a phase "
    "than across a border, beyond what smooth surrogates of the same layer show. The value of a "
    "run is the mean over its blocks of this distinguishability, in units of similarity, with the "
    "scatter from record to record removed."
)
BY_RESTLESSNESS = (
    "A layer's phases are distinguishable by restlessness if its records scatter before a border "
    "and are quiet after it. The value of a run is the mean over its blocks of the fall of "
    "restlessness at the strongest border of that kind (of the largest z), in units of similarity, "
    "0 for a block without one."
)
SCATTER = (
    "Scatter makes borders harder to find, so the noise shares of the two sides are stated; where "
    "they differ by more than a factor of 3, the row is confounded by noise."
)
NO_CAUSE = (
    "Both sides are trained with learning rates calibrated to fit the training images equally "
    "fast; other learning rates, data and sizes may give another answer."
)
ACROSS = (
    "Runs of the two architectures share the data and the wrong labels of their seed, and nothing "
    "else, and their blocks are of different kinds and numbers."
)
MEMORIZATION = (
    "The memorization lasts from the record at which 10% of the wrongly labelled training images "
    "have their given labels to that at which 90% have. Borders up to half an octave outside of "
    "it count. The mean is over the blocks of a run and over both architectures."
)


def _by_optimizer(model: str) -> tuple[Claim, Claim]:
    name = MODEL_NAMES[model]
    sign = f"The paper predicts more under SGD than under Adam; this row is about {name} alone."
    return (
        Claim(
            name=f"{model}-sgd-state",
            text=f"In {name}, phases are more distinguishable by state under SGD than under Adam.",
            source=ABSTRACT,
            quantity="distinguishability by state",
            unit="similarity",
            smallest_effect=MIN_CONTRAST,
            left=f"{name} SGD",
            right=f"{name} Adam",
            value=state_distinguishability,
            sides=_sgd_and_adam(model),
            by_state=True,
            explanation=f"{BY_STATE} {sign} {SCATTER} {NO_CAUSE}",
        ),
        Claim(
            name=f"{model}-sgd-restlessness",
            text=f"In {name}, phases are more distinguishable by restlessness under SGD than "
            "under Adam.",
            source=ABSTRACT,
            quantity="fall of restlessness at the strongest border",
            unit="similarity",
            smallest_effect=MIN_FALL,
            left=f"{name} SGD",
            right=f"{name} Adam",
            value=strongest_fall,
            sides=_sgd_and_adam(model),
            explanation=f"{BY_RESTLESSNESS} {sign} A fall needs scatter before it, so a calm "
            f"training has none, however much its state changes. {NO_CAUSE}",
        ),
    )


CLAIMS = (
    *_by_optimizer("resnet"),
    *_by_optimizer("vit"),
    Claim(
        name="vit-state",
        text="Phases are more distinguishable by state in ViT than in ResNet.",
        source=ABSTRACT,
        quantity="distinguishability by state",
        unit="similarity",
        smallest_effect=MIN_CONTRAST,
        left="ViT",
        right="ResNet",
        value=state_distinguishability,
        sides=_vit_and_resnet,
        by_state=True,
        explanation=f"{BY_STATE} The mean is over both optimizers. The paper predicts more in ViT "
        f"than in ResNet. {ACROSS} {SCATTER}",
    ),
    Claim(
        name="vit-restlessness",
        text="Phases are more distinguishable by restlessness in ViT than in ResNet.",
        source=ABSTRACT,
        quantity="fall of restlessness at the strongest border",
        unit="similarity",
        smallest_effect=MIN_FALL,
        left="ViT",
        right="ResNet",
        value=strongest_fall,
        sides=_vit_and_resnet,
        explanation=f"{BY_RESTLESSNESS} The mean is over both optimizers. The paper predicts more "
        f"in ViT than in ResNet. {ACROSS} A fall needs scatter before it, so a calm training has "
        "none, however much its state changes.",
    ),
    Claim(
        name="memorization-sgd-state",
        text="The memorization phase is more distinct by state under SGD than under Adam.",
        source=ABSTRACT,
        quantity="contrast at the memorization",
        unit="similarity",
        smallest_effect=MIN_CONTRAST,
        left="SGD",
        right="Adam",
        value=memorization_contrast,
        sides=_sgd_and_adam(*MODELS),
        by_state=True,
        about_memorization=True,
        explanation="The value of a block is the contrast at the strongest border by state near "
        f"the memorization, in units of similarity, 0 without one. {MEMORIZATION} The paper "
        "predicts more under SGD. A border near the memorization need not be caused by it: "
        f"learning and perfect fit may fall into the same epochs. {SCATTER}",
    ),
    Claim(
        name="memorization-sgd-restlessness",
        text="The memorization phase is more distinct by restlessness under SGD than under Adam.",
        source=ABSTRACT,
        quantity="fall of restlessness at the memorization",
        unit="similarity",
        smallest_effect=MIN_FALL,
        left="SGD",
        right="Adam",
        value=memorization_fall,
        sides=_sgd_and_adam(*MODELS),
        about_memorization=True,
        explanation="The value of a block is the fall of restlessness at the strongest border of "
        "that kind near the memorization, in units of similarity, 0 without one. "
        f"{MEMORIZATION} The paper predicts more under SGD. A border near the memorization need "
        "not be caused by it: gradients vanish at the perfect fit, which ends the memorization, "
        "whatever is learned.",
    ),
    Claim(
        name="vit-synchronization",
        text="The layers of a ViT are more synchronized than those of a ResNet.",
        source=ABSTRACT,
        quantity="synchronization of blocks",
        unit="synchronization",
        smallest_effect=MIN_SYNCHRONIZATION,
        left="ViT",
        right="ResNet",
        value=synchronization,
        sides=_vit_and_resnet,
        explanation="Synchronization is 1 minus the area between the progress curves of two "
        "layers, beyond what their scatter causes, in shares of the window of five octaves: 0.05 "
        "is a quarter of an octave. The value of a run is the mean over pairs of blocks, and the "
        "mean is over both optimizers. The paper predicts more in ViT than in ResNet. Blocks "
        f"whose first and last states are alike have no timing and are left out. {ACROSS}",
    ),
    Claim(
        name="vit-perfect-fit",
        text="The perfect fit is a border in every block of a ViT.",
        source=FIRST_VERSION,
        quantity="share of blocks with a border",
        unit="share of blocks",
        smallest_effect=MIN_SHARE,
        left="share of ViT blocks",
        right="expected by chance",
        value=perfect_fit_share,
        sides=_vit,
        reference=perfect_fit_chance,
        explanation="The left side is the share of a ViT's blocks with a border of any kind "
        "within half an octave of the perfect fit; the right side is the share expected if each "
        "of a block's m borders fell on any record where one can be: 1 - (1 - q)^m, where q is "
        "the share of those records that are within half an octave of the perfect fit. The mean "
        "is over both optimizers. The paper predicts all blocks. An effect of 1 cannot be "
        "reached: with one border per block, even a border of every block at the perfect fit is "
        "1 - q, about 0.75, above chance, and less with more borders. Half an octave is a factor "
        "of 1.4 in epochs, so that other events of these epochs cannot be told from the fit.",
    ),
    Claim(
        name="depth-change",
        text="Deeper layers change more.",
        source=FIRST_VERSION,
        quantity="correlation of change with depth",
        unit="rank correlation",
        smallest_effect=MIN_CORRELATION,
        left="correlation with depth",
        right="no correlation",
        value=depth_correlation,
        sides=_all_cells,
        explanation="The change of a block is 1 minus the similarity of its first and its last "
        "state in the window, with the scatter removed. The value of a run is Spearman's rank "
        "correlation over blocks of this change with depth: 1 = every block changes more than all "
        "before it. The mean is over all four cells, and it is compared with 0. The paper "
        "predicts a positive correlation. It says nothing about how much more they change, and an "
        "architecture in which it is positive may hide one in which it is negative.",
    ),
    Claim(
        name="double-descent-depth",
        text="Deeper layers change more where epoch-wise double descent occurs.",
        source=FIRST_VERSION,
        quantity="correlation of change with depth",
        unit="rank correlation",
        smallest_effect=MIN_CORRELATION,
        left="double descent",
        right="no double descent",
        value=depth_correlation,
        sides=_double_descent,
        explanation="A run shows epoch-wise double descent if its test accuracy falls by 0.02 or "
        "more from its best value and later regains at least half of the fall; a cell does if at "
        "least half of its runs do. The value of a run is Spearman's rank correlation over blocks "
        "of the change of a block with its depth. The paper predicts a larger one in cells with "
        "double descent. The row is tested only where some cells show it and others do not. The "
        "cells are sorted by what happened and not assigned, so a difference may come from "
        "whatever else differs between them.",
    ),
)

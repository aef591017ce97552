"""Epochs and shares that mark the course of a training."""

import numpy as np

PERFECT_FIT = 0.995
IN_A_ROW = 3


def perfect_fit_epoch(dynamics) -> float:
    """First of three consecutive records (fewer at the end) with a perfect fit; NaN if none.

    A perfect fit is an inference-mode accuracy of at least 0.995 on the given labels.
    """
    if "accuracy_inference" not in dynamics:
        return float("nan")
    fits = dynamics["accuracy_inference"].values >= PERFECT_FIT
    for index in range(len(fits)):
        if fits[index : index + IN_A_ROW].all():
            return float(dynamics["epoch"].values[index])
    return float("nan")


def memorized_share(dynamics) -> float:
    """Share of the wrongly labelled images whose given label the network gives at the end."""
    if "probe_accuracy" not in dynamics:
        return float("nan")
    last = dynamics["probe_accuracy"].sel(layer="output", subset="mislabeled_given").values[-1]
    return float(last) if np.isfinite(last) else float("nan")
